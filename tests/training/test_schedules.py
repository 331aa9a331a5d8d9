"""Learning rates and means of parameters."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from ase import Atoms
from test_optimisers import make_trainer, run  # type: ignore[import-not-found]
from torch import nn

from forgefield.training.averages import ParameterMean
from forgefield.training.schedules import SCHEDULES, Plateaus, ScheduleSettings, learning_rate


def rates(steps: int = 100, left: int = 0, **settings: Any) -> list[float]:
    s = ScheduleSettings(**{"start": 0.1, "stop": 0.001, "warmup_epochs": 0, **settings})
    return [learning_rate(s, step, 10, 10, left) for step in range(steps)]


@pytest.mark.parametrize("kind", SCHEDULES)
def test_between_stop_and_start(kind: str) -> None:
    values = rates(150, kind=kind, warmup_epochs=1)
    assert min(values) >= 0.001 * (1 - 1e-12)
    assert max(values) == pytest.approx(0.1, rel=0.01)
    if kind != "one_cycle":
        assert values[0] == pytest.approx(0.001)
        assert values[5] == pytest.approx(0.001 + 0.5 * 0.099)


def test_exponential_falls_by_equal_factors_to_stop() -> None:
    values = rates(101, kind="exponential")
    ratios = [b / a for a, b in itertools.pairwise(values)]
    assert ratios == pytest.approx([0.01**0.01] * 100)
    assert values[100] == pytest.approx(0.001)


def test_step_falls_every_interval() -> None:
    values = rates(kind="step", interval=3, decay=0.5)
    assert (values[29], values[30], values[60], values[90]) == pytest.approx((0.1, 0.05, 0.025, 0.0125))


def test_plateau_falls_when_the_score_stays() -> None:
    def plateaus(*scores: float) -> int:
        found = Plateaus()
        for score in scores:
            found.add(score, 2)
        return found.left

    assert plateaus(3.0, 2.0, 1.0, 0.5) == 0
    assert plateaus(3.0, 2.0, 2.5, 2.0, 1.9) == 1
    assert plateaus(3.0, 3.0, 3.0, 3.0, 3.0) == 2
    assert rates(kind="plateau", left=2)[50] == pytest.approx(0.025)


def test_plateau_in_training(frames: list[Atoms]) -> None:
    schedule = {"kind": "plateau", "interval": 2, "start": 1e-12, "stop": 1e-20, "warmup_epochs": 0}
    trainer = make_trainer(frames, "sgd", epochs=7, schedule=schedule)
    run(trainer)
    found = [row["learning_rate"] / 1e-12 for row in trainer.progress.history]
    assert found == pytest.approx([1, 1, 1, 0.5, 0.5, 0.25, 0.25])


def test_one_cycle_rises_and_falls() -> None:
    values = rates(kind="one_cycle", rise=0.3, warmup_epochs=2)
    assert values[0] == pytest.approx(0.1 / 25)
    assert values[15] == pytest.approx((0.1 / 25 + 0.1) / 2)
    assert values.index(max(values)) == 30
    assert values[99] < 0.0011


def test_running_mean_then_plain_mean() -> None:
    flat = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    mean = ParameterMean(flat, 0.5, 3)
    expected = 0.0
    for step in range(1, 7):
        flat.data.fill_(float(step))
        mean.update(step)
        if step <= 3:
            memory = min(0.5, step / (step + 10))
            expected = memory * expected + (1 - memory) * step
        else:
            expected = sum(range(4, step + 1)) / (step - 3)
        assert float(mean.mean) == pytest.approx(expected, rel=1e-12)
    with mean.in_place():
        assert float(flat.detach()) == pytest.approx(5.0)
    assert float(flat.detach()) == 6.0


def test_swa_in_training_is_the_mean_of_the_last_steps(frames: list[Atoms]) -> None:
    trainer = make_trainer(frames, "adam", epochs=4, swa_start=0.5)
    for _ in range(2):
        trainer.epoch()
    seen = []
    move = trainer.optimiser.move

    def watched(rate: float) -> None:
        move(rate)
        seen.append(trainer.flat.detach().clone())

    trainer.optimiser.move = watched
    run(trainer)
    assert len(seen) == 6
    assert torch.allclose(trainer.average.mean, torch.stack(seen).mean(0), rtol=1e-12, atol=1e-14)
    assert math.isfinite(trainer.progress.best_score)
