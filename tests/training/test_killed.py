"""Runs killed without warning (SIGKILL) at random moments and resumed, and runs whose loss becomes NaN.

Every optimiser and every weighting rule, against the uninterrupted run: the same file, byte for byte. All of them with
each other: benchmarks/kill_resume.py.
"""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest
from killed_run import TRAININGS, children, descend, kill, settings

from forgefield.api.train import Silent
from forgefield.errors import TrainingError
from forgefield.training.compiled import CompiledObjective
from forgefield.training.optimisers import OPTIMISERS
from forgefield.training.weighting import WEIGHTINGS

CASES = [(kind, "balanced") for kind in TRAININGS] + [
    ("adam", rule) for rule in WEIGHTINGS if rule != "balanced"
]
"""Every optimiser with the default rule, every other rule with the default optimiser."""


@pytest.fixture(scope="module")
def processes():
    return children()


def test_every_optimiser_and_rule_is_here():
    assert {kind for kind, _ in CASES} == set(OPTIMISERS)
    assert {rule for _, rule in CASES} == set(WEIGHTINGS)


@pytest.mark.parametrize(("kind", "rule"), CASES, ids=["-".join(c) for c in CASES])
def test_killed_and_resumed_equals_uninterrupted(kind, rule, alloy_file, tmp_path, processes):
    config = settings(alloy_file, kind, rule)
    start = time.monotonic()
    expected = descend(config, tmp_path / "whole")
    delay = 0.3 * (time.monotonic() - start) * np.random.default_rng([7, len(kind), len(rule)]).random()
    for attempt in range(10):
        output = tmp_path / f"killed_{attempt}"
        if kill(processes, config, output, delay) == -signal.SIGKILL:
            break
        delay *= 0.5  # it was done before
    else:
        pytest.fail("the run ended before it could be killed, ten times")
    assert not (output / "potential.ff").exists()
    assert descend(config, output, resume=True) == expected


def test_the_same_seed_gives_the_same_file_and_another_one_another(alloy_file, tmp_path):
    first, second = (descend(settings(alloy_file, "adam"), tmp_path / name) for name in "ab")
    assert first == second
    other = settings(alloy_file, "adam") | {"seed": 1}
    assert descend(other, tmp_path / "c") != first


class After(Silent):
    """Does something after the third epoch."""

    def __init__(self, what):
        self.what = what

    def on_epoch(self, row):
        if row["epoch"] == 3:
            self.what()


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("kind", "bad"), [(kind, np.nan) for kind in OPTIMISERS] + [("adam", np.inf), ("lbfgs", np.inf)]
)
def test_a_loss_that_is_not_finite_stops_keeps_the_best_and_explains(
    kind, bad, alloy_file, tmp_path, monkeypatch
):
    config = settings(alloy_file, kind)
    with pytest.raises(KeyboardInterrupt):
        descend(config, tmp_path / "stopped", listener=After(interrupt))
    predict = CompiledObjective._predict

    def spoilt(self, *arguments):
        energy, forces, strain = predict(self, *arguments)
        return energy, np.full_like(forces, bad), strain

    def spoil():
        monkeypatch.setattr(CompiledObjective, "_predict", spoilt)

    with pytest.raises(TrainingError, match=r"in epoch 4; the best potential of epoch \d+ is kept. Lower"):
        descend(config, tmp_path / "spoilt", listener=After(spoil))
    kept, best = ((tmp_path / n / "potential.ff").read_bytes() for n in ("spoilt", "stopped"))
    assert kept == best
    monkeypatch.undo()
    assert descend(config, tmp_path / "spoilt", resume=True) == descend(config, tmp_path / "whole")
