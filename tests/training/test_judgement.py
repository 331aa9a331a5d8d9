"""What is as good as learned, what has learned nothing, and what a run that has not leaves in its folder."""

from __future__ import annotations

import logging
import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from test_gradient import make_trainer as make_adam  # type: ignore[import-not-found]
from test_loss import small_potential  # type: ignore[import-not-found]
from test_optimisers import make_trainer, run  # type: ignore[import-not-found]

import forgefield as ff
from forgefield.api.train import Silent
from forgefield.errors import ConfigError, TrainingError
from forgefield.training.accumulate import Errors
from forgefield.training.batches import LEAST_SCALES, LabelledSet
from forgefield.training.judgement import shortcomings
from forgefield.training.loss import PRESETS, Loss, LossSettings, Residuals
from forgefield.training.loss_arrays import compare
from forgefield.training.objective import make_objective
from forgefield.training.weighting import make_weighting, parse_weights

NAMES = ["energy", "forces", "stress"]


# ---- floors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ["mse", "mae", "huber"])
@pytest.mark.parametrize("name", PRESETS)
def test_floors_are_the_terms_of_errors_at_the_precision(name: str, error: str, frames: list[Atoms]) -> None:
    potential, data = small_potential(frames)
    loss = Loss(LossSettings(normalisation=name, error=error), data.scales())
    labels = make_objective(potential, data, loss, "torch").labels_of(range(len(frames)))
    e, f, s = (loss.precision[k] for k in NAMES)
    volumes = labels.n_atoms[:, None] * 10.0 if loss.preset.virial else labels.volumes[:, None]
    predictions = labels.energy + e * labels.n_atoms, labels.forces - f, labels.strain + s * volumes
    assert compare(loss, labels, *predictions, {}).values == pytest.approx(loss.floors(), rel=1e-6)
    assert e == pytest.approx(max(1e-4 * data.scales()["energy"], 1e-5))


def test_precision_is_far_below_ordinary_errors() -> None:
    loss = Loss(LossSettings(), {"energy": 0.1, "forces": 1.0, "stress": 0.03})
    assert loss.precision == pytest.approx({"energy": 1e-5, "forces": 1e-4, "stress": 3e-6})
    perfect = Loss(LossSettings(), LEAST_SCALES)
    assert perfect.precision == pytest.approx({"energy": 1e-5, "forces": 1e-4, "stress": 1e-6})


def test_noise_below_the_precision_does_not_judge() -> None:
    def score(force: float, energy: float) -> float:
        errors = Errors({"energy": 1e-5, "forces": 1e-4, "stress": 1e-6})
        values = (np.full(4, energy), np.full((8, 3), force), np.full((4, 6), 1e-3))
        errors.add(Residuals(*map(torch.from_numpy, values)))
        return errors.score(NAMES)

    assert score(1e-8, 0.02) == score(1e-6, 0.02)
    assert score(1e-8, 0.01) < score(1e-9, 0.02)
    assert score(2e-4, 0.02) > score(1e-4, 0.02)


@pytest.mark.parametrize("kind", ["balanced", "uncertainty", "relobralo", "gradnorm", "config"])
def test_no_rule_follows_noise(kind: str) -> None:
    """Forces that are right for every potential: the other terms are weighted as though they were not there."""
    given = {"energy": 1.0, "forces": 1.0, "stress": 1.0}
    rule = make_weighting(parse_weights({"kind": kind}), given)
    rule.floors = {"energy": 1e-8, "forces": 1e-8, "stress": 1e-8}
    generator = torch.Generator().manual_seed(0)
    g = {k: torch.randn(30, generator=generator) * s for k, s in zip(NAMES, (1.0, 1e-9, 0.5), strict=True)}
    found = rule.current()
    for k in range(40):
        values = {"energy": 0.2, "forces": 1e-14 * (1 + k % 3), "stress": 0.1}
        if rule.wants_gradients():
            found = rule.from_gradients(g, values)
        rule.end_of_step(values)
        rule.end_of_epoch(values)
    found = found if kind == "config" else rule.current()
    assert found["forces"] <= 1.001 * max(
        1e8 if kind == "balanced" else 0.0, 1.0 if kind == "gradnorm" else 3.0
    )
    assert found["energy"] > 0.1
    if kind in ("gradnorm", "config"):
        rest = make_weighting(parse_weights({"kind": kind}), {"energy": 1.0, "stress": 1.0})
        expected = rest.from_gradients({k: g[k] for k in ("energy", "stress")}, values)
        for k in ("energy", "stress"):
            assert found[k] == pytest.approx(expected[k], rel=1e-9)


def strained_crystals(n: int) -> list[Atoms]:
    frames = []
    for a in np.linspace(3.4, 3.9, n):
        atoms = bulk("Cu", "fcc", a=a, cubic=True)
        atoms.calc = EMT()
        labels = {
            "energy": atoms.get_potential_energy(),
            "forces": np.zeros((4, 3)),
            "stress": atoms.get_stress(),
        }
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    return frames


def test_perfect_crystals_are_learned_by_default(tmp_path: Any) -> None:
    write(tmp_path / "eos.xyz", strained_crystals(16), format="extxyz")
    config = {
        "data": {"train": [str(tmp_path / "eos.xyz")], "split": {"valid": 0.25}},
        "descriptor": {"kind": "so3", "cutoff": 4.5, "n_max": 2, "l_max": 2},
        "model": {"kind": "network", "hidden": [8]},
        "training": {"kind": "adam", "epochs": 80},
    }
    found = ff.train(config, output=tmp_path / "run")
    assert all(row["weight_forces"] <= 1e4 for row in found.history)
    first, last = (found.history[k]["energy_rmse_valid"] for k in (0, -1))
    assert last < 0.3 * first


# ---- the potential before training ---------------------------------------------------------------------------


def diverging(frames: list[Atoms], **settings: Any) -> Any:
    schedule = {"start": 1.0, "stop": 1.0, "warmup_epochs": 0}
    return make_trainer(frames, "sgd", epochs=3, schedule=schedule, clip=None, average=0.0, **settings)


@pytest.mark.parametrize("valid", [True, False])
def test_a_training_that_diverges_keeps_what_it_began_with(valid: bool, frames: list[Atoms]) -> None:
    trainer = diverging(frames)
    if not valid:
        trainer.valid = LabelledSet(trainer.potential, [])
    begin = trainer.flat.detach().clone()
    run(trainer)
    assert trainer.progress.best_score > trainer.progress.initial_score + math.log(4.0)
    assert not torch.equal(trainer.flat, begin)
    assert trainer.progress.kept_epoch == 0
    trainer.use_best()
    assert torch.equal(trainer.flat, begin)
    said = trainer.warning()
    assert "in all epochs errors were far above those of the potential before training, which is kept" in said
    where = frames[6:] if valid else frames[:6]
    forces = np.concatenate([trainer.potential.predict(a).forces - a.get_forces() for a in where])
    kept = re.search(r"forces ([\d.e+]+) meV/Å \(([\d.e+]+)\)", said)
    assert kept is not None
    assert float(kept[1]) == pytest.approx(1e3 * np.sqrt(np.square(forces).mean()), rel=0.01)
    labels = np.sqrt(np.mean(np.square([a.get_forces() for a in where])))
    assert float(kept[2]) == pytest.approx(1e3 * labels, rel=0.01)


def test_a_collapse_from_the_start_is_left_at_half_the_rate(frames: list[Atoms]) -> None:
    trainer = diverging(frames)
    begin = trainer.flat.detach().clone()
    for _ in range(4):
        trainer.epoch()
    assert trainer.progress.rate_factor == 0.5
    assert torch.equal(trainer.flat, begin)


def test_judging_the_beginning_draws_nothing_and_is_resumed(frames: list[Atoms]) -> None:
    one, other = (make_trainer(frames, "adam") for _ in range(2))
    other._begin()
    assert other.sampler.bit_generator.state == one.sampler.bit_generator.state
    assert math.isfinite(other.progress.initial_score)
    assert other.progress.initial_score == other.validate().score(NAMES)
    rest = make_trainer(frames, "adam")
    rest.load_state(*other.state())
    assert rest.progress.initial_score == other.progress.initial_score
    run(one)
    run(rest)
    assert torch.equal(one.flat, rest.flat)
    assert all(torch.equal(one.best[k], rest.best[k]) for k in one.best)


def test_what_has_learned_is_not_warned_of(frames: list[Atoms]) -> None:
    trainer = make_adam(frames, epochs=60)
    run(trainer)
    trainer.use_best()
    assert trainer.progress.kept_epoch > 0
    assert trainer.warning() == ""
    with torch.no_grad():
        trainer.potential.model.weights[-1].zero_()  # a network that is dead
        trainer.potential.model.biases[-1].zero_()
    assert "no better than a constant" in trainer.warning()


def test_the_words_name_both_numbers() -> None:
    labels = {"energy": 0.1, "forces": 1.0}
    assert shortcomings(5, {"energy": 0.05, "forces": 0.9}, labels, "validation", 0.01) == ""
    said = shortcomings(5, {"energy": 1.7, "forces": 0.9}, labels, "validation", 0.01)
    assert "of epoch 5, predicts energy no better than a constant" in said
    assert "energy 1.7e+03 meV/atom (100), forces 900 meV/Å (1e+03)" in said
    assert "training.schedule.start (now 0.01)" in said
    assert shortcomings(5, {"energy": math.nan, "forces": 0.9}, labels, "validation", 0.01)


# ---- a run in its folder -------------------------------------------------------------------------------------


def small_run(path: Any, **training: Any) -> dict[str, Any]:
    return {
        "data": {"train": [str(path)]},
        "descriptor": {"kind": "so3", "cutoff": 4.2, "n_max": 2, "l_max": 2},
        "model": {"kind": "network", "hidden": [6]},
        "training": {"kind": "adam", "epochs": 3, **training},
        "weights": {"kind": "fixed"},
    }


RESULTS = ("potential.ff", "metrics.json", "predictions.extxyz", "report.html")


def test_a_run_that_has_not_learned_says_so_in_terminal_and_report(alloy_file, tmp_path, caplog):
    schedule = {"start": 1.0, "stop": 1.0, "warmup_epochs": 0}
    with caplog.at_level(logging.WARNING):
        ff.train(small_run(alloy_file, schedule=schedule, clip=None), output=tmp_path)
    said = [r.getMessage() for r in caplog.records if "training has not learned the data" in r.getMessage()]
    assert len(said) == 1
    assert re.search(r"forces [\d.e+]+ meV/Å \([\d.e+]+\)", said[0])
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert said[0].removeprefix("warning: ")[:60] in report


def test_results_of_an_earlier_run_do_not_stay_beside_one_that_diverged(alloy_file, tmp_path):
    ff.train(small_run(alloy_file), output=tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in RESULTS}
    spoilt = small_run(alloy_file) | {"loss": {"energy": 1e300}}
    with pytest.raises(TrainingError, match="in epoch 1; no epoch has left a potential worth keeping"):
        ff.train(spoilt, output=tmp_path)
    assert not any((tmp_path / name).exists() for name in RESULTS)
    assert all((tmp_path / "earlier" / name).read_bytes() == before[name] for name in RESULTS)
    bad = small_run(alloy_file) | {"group_weights": {"nobody": 1.0}}
    ff.train(small_run(alloy_file), output=tmp_path)
    with pytest.raises(ConfigError):
        ff.train(bad, output=tmp_path)
    assert all((tmp_path / name).exists() for name in RESULTS)  # nothing was begun


class Interrupting(Silent):
    def on_epoch(self, row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt


def test_an_interrupted_run_leaves_its_own_potential_alone(alloy_file, tmp_path):
    ff.train(small_run(alloy_file), output=tmp_path)
    old = (tmp_path / "potential.ff").read_bytes()
    config = small_run(alloy_file, epochs=40) | {"seed": 5}
    config["training"]["schedule"] = {"start": 0.003, "warmup_epochs": 0}
    with pytest.raises(KeyboardInterrupt):
        ff.train(config, output=tmp_path, listener=Interrupting())
    assert not (tmp_path / "metrics.json").exists()
    assert (tmp_path / "earlier" / "potential.ff").read_bytes() == old
    ff.train(config, output=tmp_path, resume=True)
    assert all((tmp_path / name).exists() for name in RESULTS)
