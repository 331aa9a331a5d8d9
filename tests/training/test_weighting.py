"""Rules for the weights of the loss terms, each against its equations."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from test_optimisers import make_trainer, run, same  # type: ignore[import-not-found]

from forgefield.config import apply_overrides
from forgefield.errors import ConfigError
from forgefield.training.checkpoint import read_checkpoint, write_checkpoint
from forgefield.training.settings import RunSettings
from forgefield.training.weighting import WEIGHTINGS, Weighting, make_weighting, parse_weights

GIVEN = {"energy": 0.3, "forces": 1.0, "stress": 0.1}
KEYS = tuple(GIVEN)
LOSSES = [
    (4.0, 9.0, 2.0),
    (3.0, 8.5, 2.1),
    (2.5, 7.0, 1.9),
    (2.4, 6.0, 1.9),
    (2.0, 6.1, 1.0),
    (1.9, 5.0, 1.2),
]


def rule(kind: str, given: dict[str, float] | None = None, **settings: Any) -> Weighting:
    return make_weighting(parse_weights({"kind": kind, **settings}), given or GIVEN, seed=3)


def feed(weighting: Weighting, losses: list[tuple[float, ...]] = LOSSES) -> Weighting:
    for values in losses:
        weighting.end_of_epoch(dict(zip(KEYS, values, strict=True)))
    return weighting


def algorithm_1(losses: list[tuple[float, ...]], n: int, beta: float, slope: str) -> np.ndarray:
    """Straight from the paper: weights after the last complete block of n epochs."""
    weights, epoch_weights = np.full(3, 1 / 3), []
    for i, now in enumerate(np.array(losses)):
        if i % n == 0:
            epoch_weights = []
        if i:
            s = now - np.array(losses[i - 1])
            s = {
                "normalised": s / (np.abs(s).sum() + 1e-8),
                "l2": s / (np.linalg.norm(s) + 1e-8),
                "plain": s,
            }[slope]
            epoch_weights.append(np.exp(beta * s) / (np.exp(beta * s).sum() + 1e-8))
        if (i + 1) % n == 0 and epoch_weights:
            weights = np.mean(epoch_weights, axis=0)
    return weights


@pytest.mark.parametrize("slope", ["normalised", "l2", "plain"])
@pytest.mark.parametrize(("n", "beta"), [(1, 1.0), (2, 2.0), (3, -0.5), (4, 0.0)])
def test_softadapt_is_algorithm_1(slope: str, n: int, beta: float) -> None:
    expected = algorithm_1(LOSSES, n, beta, slope)
    plain = feed(rule("softadapt", n=n, beta=beta, slope=slope, prior=False)).current()
    assert [plain[k] for k in KEYS] == pytest.approx(expected, rel=1e-12)
    with_prior = feed(rule("softadapt", n=n, beta=beta, slope=slope)).current()
    assert [with_prior[k] / GIVEN[k] for k in KEYS] == pytest.approx(expected, rel=1e-12)


def test_softadapt_favours_what_improves_least() -> None:
    weights = feed(
        rule("softadapt", n=1, prior=False, beta=5.0), [(4.0, 4.0, 4.0), (1.0, 3.9, 4.5)]
    ).current()
    assert weights["stress"] > weights["forces"] > weights["energy"]
    assert sum(weights.values()) == pytest.approx(1.0)


def test_softadapt_loss_weighted_and_initial() -> None:
    first = rule("softadapt", initial={"energy": 0.9, "forces": 0.05, "stress": 0.05}, prior=False)
    assert first.current() == pytest.approx({"energy": 0.9, "forces": 0.05, "stress": 0.05})
    found = feed(rule("softadapt", n=1, loss_weighted=True, prior=False), LOSSES[:2]).current()
    s = np.array(LOSSES[1]) - np.array(LOSSES[0])
    e = np.exp(s / np.abs(s).sum()) * np.array(LOSSES[1])
    assert [found[k] for k in KEYS] == pytest.approx(e / e.sum(), rel=1e-7)


def test_softadapt_does_not_overflow() -> None:
    weights = feed(rule("softadapt", n=1, slope="plain", prior=False), [(1.0, 1.0, 1.0), (1e6, 1.0, 0.0)])
    assert weights.current() == pytest.approx({"energy": 1.0, "forces": 0.0, "stress": 0.0}, abs=1e-7)


def test_softadapt_by_steps_skips_batches_without_a_label() -> None:
    weighting = rule("softadapt", n=1, per="step", prior=False)
    for values in LOSSES[:3]:
        weighting.end_of_step(dict(zip(KEYS, values, strict=True)))
        weighting.end_of_step({"energy": 1.0, "forces": 2.0})
    weighting.end_of_epoch(dict.fromkeys(KEYS, 100.0))
    expected = algorithm_1(LOSSES[:3], 1, 1.0, "normalised")
    assert [weighting.current()[k] for k in KEYS] == pytest.approx(expected, rel=1e-12)


def test_ramp_is_deepmd() -> None:
    weighting = rule("ramp", start={"energy": 0.02, "forces": 1000}, limit={"energy": 1, "forces": 1})
    assert weighting.current(rate=1.0) == pytest.approx({"energy": 0.006, "forces": 1000.0, "stress": 0.1})
    quarter = weighting.current(rate=0.25)
    assert quarter["energy"] == pytest.approx(0.3 * (0.75 + 0.25 * 0.02))
    assert quarter["forces"] == pytest.approx(0.75 + 250)


def test_two_stages_change_once() -> None:
    weighting = rule("two_stage", switch=0.5, first={"energy": 0.0}, second={"energy": 10.0})
    found = [weighting.current(share=x)["energy"] for x in (0.0, 0.49, 0.5, 1.0)]
    assert found == pytest.approx([0.0, 0.0, 3.0, 3.0])


def test_early_factors_fade_with_the_rate() -> None:
    weighting = rule("fixed", early={"energy": 0.1})
    assert weighting.current(rate=1.0)["energy"] == pytest.approx(0.03)
    assert weighting.current(rate=0.5)["energy"] == pytest.approx(0.3 * 0.55)
    assert weighting.current(rate=0.0) == GIVEN


def test_learned_uncertainty_goes_to_one_over_the_term() -> None:
    weighting = rule("uncertainty", rate=0.02)
    for _ in range(1500):
        weighting.end_of_step({"energy": 4.0, "forces": 0.05, "stress": 1.0})
    factors = {k: w / GIVEN[k] for k, w in weighting.current().items()}
    assert factors == pytest.approx({"energy": 0.25, "forces": 20.0, "stress": 1.0}, rel=0.02)


def test_relobralo_is_its_recursion() -> None:
    weighting = feed(rule("relobralo", memory=0.9, temperature=0.5, look_back=0.5))
    weights = np.ones(3)

    def balance(now: np.ndarray, then: np.ndarray) -> np.ndarray:
        e = np.exp(now / (0.5 * then))
        return 3 * e / e.sum()

    x = np.array(LOSSES)
    drawn = []
    for i in range(1, len(x)):
        drawn.append(np.random.default_rng([3, i]).random() < 0.5)
        past = weights if drawn[-1] else balance(x[i], x[0])
        weights = 0.9 * past + 0.1 * balance(x[i], x[i - 1])
    assert set(drawn) == {True, False}
    assert [weighting.current()[k] / GIVEN[k] for k in KEYS] == pytest.approx(weights, rel=1e-12)


def test_gradnorm_makes_norms_equal() -> None:
    g = {k: torch.randn(20, generator=torch.Generator().manual_seed(n)) * 10.0**n for n, k in enumerate(KEYS)}
    weighting = rule("gradnorm", dict.fromkeys(KEYS, 1.0))
    assert weighting.wants_gradients()
    found = weighting.from_gradients(g, dict.fromkeys(KEYS, 1.0))
    norms = [found[k] * float(g[k].norm()) for k in KEYS]
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-5)
    weighting.end_of_step({})
    assert not weighting.wants_gradients()
    slower = rule("gradnorm", dict.fromkeys(KEYS, 1.0), alpha=1.0)
    slower.from_gradients(g, {"energy": 2.0, "forces": 1.0, "stress": 1.0})
    slower.count = 20
    again = slower.from_gradients(g, {"energy": 2.0, "forces": 0.5, "stress": 0.5})
    assert again["energy"] / again["forces"] > found["energy"] / found["forces"]


def test_config_agrees_with_every_term() -> None:
    a = torch.tensor([1.0, 0.2, 0.0, 0.0], dtype=torch.float64)
    b = torch.tensor([-0.9, 0.5, 0.3, 0.0], dtype=torch.float64) * 7
    c = torch.tensor([0.1, -0.3, 1.0, 0.2], dtype=torch.float64)
    g = dict(zip(KEYS, (a, b, c), strict=True))
    assert float(a @ b) < 0
    found = rule("config", dict.fromkeys(KEYS, 1.0)).from_gradients(g, dict.fromkeys(KEYS, 1.0))
    step = sum(found[k] * g[k] for k in KEYS)
    cosines = [float(step @ x / step.norm() / x.norm()) for x in (a, b, c)]
    assert cosines == pytest.approx([cosines[0]] * 3, rel=1e-9)
    assert cosines[0] > 0
    u = step / step.norm()
    assert float(step.norm()) == pytest.approx(float(sum(x @ u for x in (a, b, c))), rel=1e-9)


@pytest.mark.parametrize("kind", ["kalman", "levenberg_marquardt"])
def test_sums_of_squares_refuse_a_rule_with_negative_weights(kind: str) -> None:
    given = {"data": {"train": ["x.xyz"]}, "training": {"kind": kind}}
    RunSettings.parse({**given, "weights": {"kind": "gradnorm"}})
    with pytest.raises(ConfigError, match=f"config.*negative weight.*{kind}"):
        RunSettings.parse({**given, "weights": {"kind": "config"}})


@pytest.mark.parametrize("kind", WEIGHTINGS)
def test_state_goes_through_a_checkpoint(kind: str, frames: list[Atoms], tmp_path: Any) -> None:
    settings = {"kind": kind, **({"n": 2} if kind == "softadapt" else {})}
    whole, part, rest = (make_trainer(frames, "adam", settings, epochs=6) for _ in range(3))
    run(whole)
    for _ in range(3):
        part.epoch()
    write_checkpoint(tmp_path / "c.ff", *part.state(), "run")
    rest.load_state(*read_checkpoint(tmp_path / "c.ff", "run"))
    run(rest)
    assert same(whole, rest)
    assert json.dumps(whole.weights.state()) == json.dumps(rest.weights.state())


@pytest.mark.parametrize("kind", WEIGHTINGS)
def test_trains_and_logs_its_weights(kind: str, frames: list[Atoms]) -> None:
    trainer = make_trainer(frames, "adam", {"kind": kind}, epochs=10)
    run(trainer)
    first, last = trainer.progress.history[0], trainer.progress.history[-1]
    assert last["forces_rmse_train"] < first["forces_rmse_train"]
    assert all(math.isfinite(last[f"weight_{k}"]) for k in KEYS)
    changed = any(last[f"weight_{k}"] != pytest.approx(first[f"weight_{k}"]) for k in KEYS)
    assert changed == (kind not in ("fixed", "softadapt"))  # SoftAdapt changes after ten epochs


@pytest.mark.parametrize("kind", WEIGHTINGS)
def test_a_term_without_weight_stays_out(kind: str) -> None:
    weighting = feed(rule(kind, {"energy": 1.0, "forces": 2.0, "stress": 0.0}))
    weighting.end_of_step(dict.fromkeys(KEYS, 1.0))
    assert weighting.names == ("energy", "forces")
    assert weighting.current()["stress"] == 0.0


def test_chosen_by_name() -> None:
    values = apply_overrides({"data": {"train": ["x.xyz"]}}, ["weights.kind=softadapt", "weights.beta=0.1"])
    settings = RunSettings.parse(values)
    assert settings.weights.beta == 0.1
    assert RunSettings.parse(settings.model_dump(mode="json")).weights == settings.weights
    with pytest.raises(ConfigError, match=r"unknown setting `weights\.betta`.*beta"):
        RunSettings.parse(apply_overrides(values, ["weights.betta=1"]))
    with pytest.raises(ConfigError, match="softadapt"):
        RunSettings.parse(apply_overrides(values, ["weights.kind=softadept"]))
