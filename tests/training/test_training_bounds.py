"""Bounds of settings of a training, and rules, moves and means where they used to go wrong."""

from __future__ import annotations

import logging
import math
import warnings as python_warnings
from typing import Any

import pytest
import torch
from ase import Atoms
from test_optimisers import make_trainer  # type: ignore[import-not-found]
from torch import nn

from forgefield.errors import ConfigError
from forgefield.evaluation.report.axes import Axis
from forgefield.training.accumulate import Errors
from forgefield.training.averages import ParameterMean
from forgefield.training.optimisers.levenberg import MOST
from forgefield.training.progress import Means
from forgefield.training.schedules import ScheduleSettings
from forgefield.training.settings import TRAINERS
from forgefield.training.step import Step
from forgefield.training.weighting import make_weighting, parse_weights

NAMES = ["energy", "forces", "stress"]


# ---- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("adam", {"betas": [1.5, 0.9]}, "betas"),
        ("adamw", {"betas": [0.9, 1.0]}, "betas"),
        ("snes", {"sigma": 2.0}, "sigma"),
        ("adam", {"schedule": {"start": 0.001, "stop": 0.5}}, r"schedule\.stop.*0\.5.*schedule\.start"),
    ],
)
def test_settings_outside_their_domain_are_refused(kind: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TRAINERS[kind].parse({"kind": kind, **values}, where="training")


def test_a_warm_up_longer_than_the_training_is_said(frames: list[Atoms], caplog: Any) -> None:
    for kind, epochs, warned in (("adam", 2, True), ("adam", 3, False), ("lbfgs", 2, False)):
        caplog.clear()
        trainer = make_trainer(frames, kind, epochs=epochs)
        with caplog.at_level(logging.WARNING):
            trainer.epoch()
        assert ("never reaches training.schedule.start" in caplog.text) is warned
    assert ScheduleSettings(kind="one_cycle", warmup_epochs=9).never_reached(3) == ""


def test_a_sharp_softadapt_does_not_overflow() -> None:
    for beta in (1e6, -1e6):
        rule = make_weighting(
            parse_weights({"kind": "softadapt", "n": 1, "beta": beta}), dict.fromkeys(NAMES, 1.0)
        )
        rule.end_of_epoch({"energy": 1.0, "forces": 1.0, "stress": 1.0})
        rule.end_of_epoch({"energy": 0.9, "forces": 1.4, "stress": 0.2})
        best = "forces" if beta > 0 else "stress"
        assert rule.current() == pytest.approx({k: float(k == best) for k in NAMES}, abs=1e-9)
    for beta in (1e7, math.inf, math.nan):
        with pytest.raises(ConfigError, match="beta"):
            parse_weights({"kind": "softadapt", "beta": beta})


# ---- rules, moves and means ----------------------------------------------------------------------------------


def test_early_factors_hold_in_steps_that_measure_gradients(frames: list[Atoms], monkeypatch: Any) -> None:
    generator = torch.Generator().manual_seed(2)
    g = {k: torch.randn(30, generator=generator, dtype=torch.float64) for k in NAMES}
    early = {"early": {"energy": 0.01}}
    values = dict.fromkeys(NAMES, 1.0)
    rule = make_weighting(parse_weights({"kind": "gradnorm", **early}), values)
    assert rule.from_gradients(g, values, 1.0, 0.0) == rule.current(1.0, 0.0)
    assert rule.current(1.0)["energy"] == pytest.approx(0.01 * rule.current(0.0)["energy"])
    config = make_weighting(parse_weights({"kind": "config", **early}), values)
    found = config.from_gradients(g, values, 1.0, 0.0)
    step = sum(found[k] * g[k] for k in NAMES)
    cosine = {k: float(step @ g[k] / g[k].norm()) for k in NAMES}
    assert cosine["energy"] / cosine["forces"] == pytest.approx(0.01, rel=1e-6)

    trainer = make_trainer(frames, "adam", {"kind": "config"}, schedule={"warmup_epochs": 1})
    moments = []

    def heard(g: Any, values: Any, rate: float, share: float) -> dict[str, float]:
        moments.append((rate, share))
        return dict.fromkeys(NAMES, 1.0)

    monkeypatch.setattr(trainer.weights, "from_gradients", heard)
    trainer.epoch()
    trainer.epoch()
    assert [s for _, s in moments] == [0.0] * 3 + [0.2] * 3
    assert moments[3][0] == 1.0
    assert moments[0][0] < 0.01


def test_damping_has_an_end(frames: list[Atoms], monkeypatch: Any) -> None:
    trainer = make_trainer(frames, "levenberg_marquardt")
    before, calls, real = trainer.flat.detach().clone(), [0], Step.terms

    def never_lower(self: Step) -> Any:
        calls[0] += 1
        found = real(self)
        object.__setattr__(found, "total", math.inf)
        return found

    monkeypatch.setattr(Step, "terms", never_lower)
    for _ in range(5):
        trainer._step(list(range(6)), Errors(), Means(), Means())
    assert trainer.optimiser.damping == MOST
    assert torch.equal(trainer.flat, before)
    calls[0] = 0
    trainer._step(list(range(6)), Errors(), Means(), Means())
    assert calls[0] == 1


def test_a_plain_mean_starts_anew_after_a_rescue() -> None:
    flat = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    mean = ParameterMean(flat, 0.5, 2)
    for step in range(1, 8):
        flat.data.fill_(float(step))
        mean.update(step)
    flat.data.fill_(100.0)
    mean.restart()
    assert float(mean.mean) == 100.0
    other = ParameterMean(flat, 0.5, 2)
    other.load({k: v.clone() for k, v in mean.state().items()})
    for step, value in ((8, 10.0), (9, 14.0), (10, 18.0)):
        flat.data.fill_(value)
        for m in (mean, other):
            m.update(step)
    assert float(mean.mean) == pytest.approx(14.0)  # of the three, not a tenth of the way to them
    assert float(other.mean) == float(mean.mean)


def test_axes_reach_as_far_as_numbers() -> None:
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("error")
        assert Axis(1e-300, 1e300, 0.0, 100.0, log=True).pixel(1.0) == pytest.approx(50.0)
        assert Axis(-1.5e308, 1.5e308, 0.0, 100.0).pixel(0.0) == pytest.approx(50.0)
