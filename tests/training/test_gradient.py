"""Gradient training: learns, resumes bit for bit, keeps the best, stops when it diverges."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from ase import Atoms
from test_loss import small_potential  # type: ignore[import-not-found]

from forgefield.errors import CheckpointError, TrainingError
from forgefield.training.accumulate import Errors
from forgefield.training.batches import LabelledSet
from forgefield.training.checkpoint import read_checkpoint, write_checkpoint
from forgefield.training.gradient import PATIENCE_WHEN_LOST, GradientTrainer
from forgefield.training.loss import Loss, LossSettings
from forgefield.training.optimisers import AdamSettings
from forgefield.training.progress import COLUMNS, History, Means
from forgefield.training.schedules import ScheduleSettings, learning_rate
from forgefield.training.weighting import make_weighting, parse_weights


def make_trainer(frames: list[Atoms], epochs: int = 6, **settings: object) -> GradientTrainer:
    potential, _ = small_potential(frames)
    train, valid = LabelledSet(potential, frames[:6]), LabelledSet(potential, frames[6:])
    loss = LossSettings()
    return GradientTrainer(
        potential,
        train,
        valid,
        loss=Loss(loss, train.scales()),
        weights=make_weighting(parse_weights({}), loss.weights()),
        settings=AdamSettings(epochs=epochs, batch_size=2, **settings),
        seed=1,
    )


def run(trainer: GradientTrainer) -> None:
    trainer.run(on_epoch=lambda row: None, on_checkpoint=lambda: None)


def test_learns(frames: list[Atoms]) -> None:
    trainer = make_trainer(frames, epochs=60)
    run(trainer)
    first, last = trainer.progress.history[0], trainer.progress.history[-1]
    assert last["forces_rmse_train"] < 0.2 * first["forces_rmse_train"]
    assert last["energy_rmse_train"] < 0.2 * first["energy_rmse_train"]
    assert last["loss_valid"] > 0


@pytest.mark.parametrize("stop", [1, 4])
def test_resumed_equals_uninterrupted(stop: int, frames: list[Atoms], tmp_path: object) -> None:
    whole = make_trainer(frames)
    run(whole)
    part = make_trainer(frames)
    for _ in range(stop):
        part.epoch()
    write_checkpoint(tmp_path / "c.ff", *part.state(), "run")
    part.epoch()  # work after the checkpoint is lost by an interruption
    rest = make_trainer(frames)
    rest.load_state(*read_checkpoint(tmp_path / "c.ff", "run"))
    run(rest)
    for (name, a), b in zip(
        whole.potential.state_dict().items(), rest.potential.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    assert whole.best.keys() == rest.best.keys()
    assert all(torch.equal(whole.best[k], rest.best[k]) for k in whole.best)
    for a, b in zip(whole.progress.history, rest.progress.history, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {
            k: v for k, v in b.items() if k != "seconds"
        }


def test_boundary_is_the_last_complete_epoch(frames: list[Atoms]) -> None:
    trainer = make_trainer(frames)
    trainer.run(on_epoch=lambda row: None, on_checkpoint=lambda: None)
    tensors, values = trainer.boundary()
    assert values["progress"]["epoch"] == 6
    trainer._step([0, 1], *_collectors())
    assert not torch.equal(trainer.potential.model.weights[0], tensors["potential.model.weights.0"])


def test_an_epoch_takes_no_work_on_those_before_it(frames: list[Atoms]) -> None:
    trainer = make_trainer(frames, epochs=40, schedule={"kind": "plateau"})
    sizes, places = [], []

    def look(_: object) -> None:
        tensors, _ = trainer.boundary()
        assert trainer._boundary is not None
        sizes.append(len(trainer._boundary[1]))
        places.append(tensors["history.values"].data_ptr())

    trainer.run(on_epoch=look, on_checkpoint=lambda: None)
    assert max(sizes) < sizes[1] + 40  # digits of counters, no rows
    assert len(set(places)) == 3  # 16, 32, 64 rows: views of a block that has been doubled, no copies
    assert [row["epoch"] for row in trainer.progress.history] == list(range(1, 41))


def test_history_gives_back_what_it_was_given() -> None:
    history = History()
    rows = [{"epoch": n, "loss_train": 0.1 * n, "loss_valid": None, "score": -math.inf} for n in range(1, 40)]
    early = {}
    for n, row in enumerate(rows):
        history.append(row)
        if n == 20:
            early = history.state()
    again = History()
    again.load(early)
    again.append(rows[30])
    assert len(history) == 39
    assert [{k: x[k] for k in rows[0]} for x in history] == rows
    assert [x["epoch"] for x in again[19:]] == [20, 21, 31]
    assert isinstance(history[-1]["epoch"], int)
    assert set(history[0]) == set(COLUMNS)
    empty = History()
    empty.load(History().state())
    empty.append({"epoch": 1, "loss_train": math.nan})
    assert math.isnan(empty[0]["loss_train"])  # not None
    with pytest.raises(IndexError):
        empty[1]


@pytest.mark.parametrize("stop", [3, 5])
def test_the_count_of_plateaus_is_resumed(stop: int, frames: list[Atoms], tmp_path: Path) -> None:
    how = {
        "epochs": 9,
        "schedule": {"kind": "plateau", "interval": 2, "start": 1e-12, "stop": 1e-20, "warmup_epochs": 0},
    }
    whole, part, rest = (make_trainer(frames, **how) for _ in range(3))
    run(whole)
    for _ in range(stop):
        part.epoch()
    write_checkpoint(tmp_path / "c.ff", *part.state(), "run")
    rest.load_state(*read_checkpoint(tmp_path / "c.ff", "run"))
    run(rest)
    rates = [[row["learning_rate"] for row in t.progress.history] for t in (whole, rest)]
    assert rates[0] == rates[1]
    assert whole.progress.plateaus == rest.progress.plateaus
    assert whole.progress.plateaus.left == 4


def _collectors() -> tuple[Errors, Means, Means]:
    return Errors(), Means(), Means()


def test_best_is_chosen_by_validation(frames: list[Atoms]) -> None:
    trainer = make_trainer(frames, epochs=12)
    scores = []
    while not trainer.finished:
        trainer.epoch()
        with trainer.average.in_place():
            scores.append(trainer.validate().score(["energy", "forces", "stress"]))
    assert trainer.progress.best_epoch == 1 + scores.index(min(scores))
    trainer.use_best()
    assert trainer.validate().score(["energy", "forces", "stress"]) == pytest.approx(min(scores), abs=1e-12)


def test_a_margin_keeps_later_epochs(frames: list[Atoms], monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([3.0, 2.0, 2.05, 2.11, 2.09, 2.2])
    monkeypatch.setattr(Errors, "score", lambda self, names: next(scores))
    trainer, kept = make_trainer(frames, margin=0.1), []
    for epoch in range(1, 7):
        trainer._keep_best(Errors(), epoch)
        kept.append(trainer.progress.kept_epoch)
        trainer.flat.data.add_(1.0)
    assert kept == [1, 2, 3, 3, 5, 5]
    assert trainer.progress.best_epoch == 2
    now = trainer.flat.detach().clone()
    trainer.use_best()
    assert torch.allclose(now - trainer.flat, torch.full_like(now, 2.0))


def test_divergence_stops_with_advice(frames: list[Atoms]) -> None:
    trainer = make_trainer(frames)
    trainer.epoch()
    with torch.no_grad():
        trainer.potential.model.weights[0].fill_(math.nan)
    with pytest.raises(TrainingError, match=r"training\.schedule\.start"):
        trainer.epoch()


def test_a_collapse_returns_to_the_best_at_half_the_rate(frames: list[Atoms]) -> None:
    trainer = make_trainer(frames, epochs=40)
    for _ in range(20):
        trainer.epoch()
    best = trainer.progress.best_score
    with torch.no_grad():  # far away: small steps do not lead back
        trainer.potential.model.weights[-1].fill_(1e3)
    for _ in range(PATIENCE_WHEN_LOST):
        trainer.epoch()
    assert trainer.progress.rate_factor == 0.5
    assert trainer.validate().score(["energy", "forces", "stress"]) == pytest.approx(best, abs=1e-9)
    row = trainer.epoch()
    assert row["learning_rate"] < 0.51 * trainer.settings.schedule.start


def test_patience_stops_early(frames: list[Atoms]) -> None:
    trainer = make_trainer(frames, epochs=400, patience=3, schedule={"start": 1e-9, "stop": 1e-10})
    trainer.progress.best_score = -1e9
    run(trainer)
    assert trainer.progress.epoch == 3


def test_schedule_is_equation_17() -> None:
    s = ScheduleSettings(start=0.1, stop=0.001, warmup_epochs=2, cycles=1)
    values = [learning_rate(s, step, 10, 10) for step in range(100)]
    assert values[0] == pytest.approx(0.001)
    assert values[10] == pytest.approx(0.001 + 0.5 * 0.099)
    assert values[20] == pytest.approx(0.1)
    assert values[60] == pytest.approx(0.001 + 0.099 * 0.5 * (1 + math.cos(math.pi * 40 / 80)))
    assert values[99] < 0.0011


def test_restarts_lower_the_top() -> None:
    s = ScheduleSettings(start=0.1, stop=0.001, warmup_epochs=0, cycles=2, decay=0.5)
    values = [learning_rate(s, step, 10, 10) for step in range(100)]
    assert values[0] == pytest.approx(0.1)
    assert values[50] == pytest.approx(0.05)
    assert values[49] < 0.0012


def test_balanced_weights_divide_by_the_running_mean() -> None:
    settings = parse_weights({"kind": "balanced", "memory": 0.5})
    weights = make_weighting(settings, {"energy": 2.0, "forces": 1.0, "stress": 0.0})
    assert weights.current()["energy"] == 2.0
    weights.end_of_epoch({"energy": 4.0, "forces": 0.1})
    weights.end_of_epoch({"energy": 2.0, "forces": 0.1})
    assert weights.current() == pytest.approx({"energy": 2.0 / 3.0, "forces": 10.0, "stress": 0.0})
    other = make_weighting(settings, weights.given)
    other.load(weights.state())
    assert other.current() == weights.current()


def test_damaged_or_foreign_checkpoints_are_refused(frames: list[Atoms], tmp_path: object) -> None:
    path = tmp_path / "c.ff"
    write_checkpoint(path, *make_trainer(frames).state(), "run A")
    with pytest.raises(CheckpointError, match="another configuration"):
        read_checkpoint(path, "run B")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path, "run A")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_checkpoint(tmp_path / "absent", "run A")
