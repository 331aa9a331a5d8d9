"""Optimisers: each lowers the loss, resumes bit for bit, and does what its equations say."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from test_loss import small_potential  # type: ignore[import-not-found]

from forgefield.config import apply_overrides
from forgefield.errors import ConfigError, ForgefieldError, TrainingError
from forgefield.training.batches import LabelledSet
from forgefield.training.checkpoint import read_checkpoint, write_checkpoint
from forgefield.training.flat import flatten, segments
from forgefield.training.gradient import GradientTrainer
from forgefield.training.loss import Loss, LossSettings
from forgefield.training.objective import make_objective
from forgefield.training.optimisers import OPTIMISERS, Parameters
from forgefield.training.optimisers.blocks import blocks
from forgefield.training.progress import COLUMNS
from forgefield.training.rows import LinearRows
from forgefield.training.settings import TRAINERS, RunSettings
from forgefield.training.step import LabelWeights, Step
from forgefield.training.weighting import make_weighting, parse_weights

WEIGHTS = {"energy": 0.3, "forces": 1.0, "stress": 0.2}
QUICK: dict[str, dict[str, Any]] = {
    "snes": {"population": 8},
    "lbfgs": {"iterations": 4},
    "levenberg_marquardt": {"iterations": 6, "probes": 2},
    "kalman": {"probes": 2, "prior": 1e-3},
}


def make_trainer(
    frames: list[Atoms], kind: str, weights: dict[str, Any] | None = None, epochs: int = 5, **settings: Any
) -> GradientTrainer:
    potential, _ = small_potential(frames)
    train, valid = LabelledSet(potential, frames[:6]), LabelledSet(potential, frames[6:])
    loss = LossSettings()
    values = {"kind": kind, "epochs": epochs, "batch_size": 2, **QUICK.get(kind, {}), **settings}
    return GradientTrainer(
        potential,
        train,
        valid,
        loss=Loss(loss, train.scales()),
        weights=make_weighting(parse_weights(weights or {"kind": "fixed"}), loss.weights()),
        settings=TRAINERS[kind].parse(values),
        seed=1,
    )


def run(trainer: GradientTrainer) -> None:
    trainer.run(on_epoch=lambda row: None, on_checkpoint=lambda: None)


def same(a: GradientTrainer, b: GradientTrainer) -> bool:
    one, other = a.state()[0], b.state()[0]
    for x in (one, other):  # all but the time that epochs took
        x["history.values"] = x["history.values"][:, [name != "seconds" for name in COLUMNS]].nan_to_num()
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_lowers_the_loss(kind: str, frames: list[Atoms]) -> None:
    trainer = make_trainer(frames, kind, epochs=12)
    run(trainer)
    first, last = trainer.progress.history[0], trainer.progress.history[-1]
    assert last["loss_train"] < 0.7 * first["loss_train"]
    assert math.isfinite(last["loss_valid"])


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_resumed_equals_uninterrupted(kind: str, frames: list[Atoms], tmp_path: Any) -> None:
    whole, part, rest = (make_trainer(frames, kind) for _ in range(3))
    run(whole)
    for _ in range(2):
        part.epoch()
    write_checkpoint(tmp_path / "c.ff", *part.state(), "run")
    part.epoch()  # work after the checkpoint is lost by an interruption
    rest.load_state(*read_checkpoint(tmp_path / "c.ff", "run"))
    run(rest)
    assert same(whole, rest)
    assert [r["loss_train"] for r in whole.progress.history] == [
        r["loss_train"] for r in rest.progress.history
    ]


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_divergence_stops_and_keeps_the_best(kind: str, frames: list[Atoms]) -> None:
    trainer = make_trainer(frames, kind)
    trainer.epoch()
    with torch.no_grad():
        trainer.potential.model.weights[0].fill_(math.nan)
    with pytest.raises(TrainingError, match="the best potential of epoch 1 is kept"):
        trainer.epoch()
    trainer.use_best()
    assert torch.isfinite(trainer.flat).all()


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_reset_forgets(kind: str, frames: list[Atoms]) -> None:
    trainer = make_trainer(frames, kind)
    fresh = {k: v.clone() for k, v in trainer.optimiser.state().items()}
    trainer.epoch()
    trainer.optimiser.reset()
    after = trainer.optimiser.state()
    changed = {"generator", "forget"}  # draws go on, and so does the forgetting
    assert after.keys() == fresh.keys()
    assert all(torch.equal(after[k], fresh[k]) for k in fresh if k not in changed)


# ---- rows: the truth behind the second-order methods ---------------------------------------------------------------


@pytest.mark.parametrize("backend", ["torch", "compiled"])
def test_rows_are_the_loss_and_its_gradient(backend: Any, frames: list[Atoms]) -> None:
    potential, data = small_potential(frames)
    flat = flatten(potential)
    objective = make_objective(potential, data, Loss(LossSettings(), data.scales()), backend, 1)
    terms = objective.gradient([0, 2, 5], WEIGHTS)
    gradient = flat.grad.clone()
    rows = LinearRows(objective, [0, 2, 5], WEIGHTS)
    assert rows.loss == pytest.approx(terms.total, rel=1e-12)
    rows.pull_back(2.0 * rows.residuals)
    assert torch.allclose(flat.grad, gradient, rtol=1e-10, atol=1e-10)
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=len(rows)), torch.from_numpy(rng.normal(size=len(flat)))
    rows.pull_back(u)
    pulled = float(flat.grad @ v)
    start, h, sides = flat.detach().clone(), 1e-5, []
    for sign in (1, -1):
        flat.data.copy_(start + sign * h * v)
        sides.append(LinearRows(objective, [0, 2, 5], WEIGHTS).residuals)
    assert pulled == pytest.approx(float(u @ (sides[0] - sides[1])) / (2 * h), rel=1e-6)


def test_pull_back_needs_a_linearised_batch(frames: list[Atoms]) -> None:
    potential, data = small_potential(frames)
    for backend in ("torch", "compiled"):
        objective = make_objective(potential, data, Loss(LossSettings(), data.scales()), backend, 1)
        with pytest.raises(ForgefieldError, match="linearise"):
            objective.pull_back(np.zeros(1), np.zeros((4, 3)), np.zeros((1, 6)))


def test_parts_add_up_to_the_whole(frames: list[Atoms]) -> None:
    frames[1].calc.results.pop("stress")
    frames[2].calc.results.pop("energy")
    frames[3].info["weight"] = 3.0
    potential, data = small_potential(frames)
    loss = Loss(LossSettings(), data.scales())
    flat = flatten(potential)
    objective, labels = make_objective(potential, data, loss, "compiled", 1), LabelWeights(data, loss)
    found = []
    for part in (9, 4, 1):
        step = Step(objective, flat, labels, range(9), WEIGHTS, part)
        terms = step.gradient()
        found.append((terms, flat.grad.clone(), step.terms().total, sum(r.loss for r in step.rows())))
    whole, gradient, total, _ = found[0]
    for terms, other, again, rows in found:
        assert terms.values == pytest.approx(whole.values, rel=1e-12)
        assert torch.allclose(other, gradient, rtol=1e-9, atol=1e-11)
        assert (again, rows, terms.total) == pytest.approx((total,) * 3, rel=1e-12)
        assert len(terms.energy) == 8


def test_accumulated_batches_are_one_batch(frames: list[Atoms]) -> None:
    one = make_trainer(frames, "adam", batch_size=6)
    parts = make_trainer(frames, "adam", batch_size=2, accumulate=3)
    run(one)
    run(parts)
    assert parts.progress.step == one.progress.step == 5
    assert torch.allclose(one.flat, parts.flat, rtol=1e-9, atol=1e-10)


# ---- single methods ------------------------------------------------------------------------------------------------


def test_snes_takes_the_natural_gradient(frames: list[Atoms]) -> None:
    trainer = make_trainer(frames, "snes", batch_size=100, lambda_1=0.0, lambda_2=0.0, population=6)
    n = len(trainer.flat)
    mean, sigma = trainer.flat.detach().clone(), torch.full((n,), 0.1, dtype=torch.float64)
    draws = torch.randn((6, n), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    costs = []
    for draw in draws:
        trainer.flat.data.copy_(mean + sigma * draw)
        values = trainer.objective.terms(range(6)).values
        costs.append(sum(w * math.sqrt(values[k]) for k, w in trainer.weights.given.items()))
    trainer.flat.data.copy_(mean)
    trainer.epoch()
    raw = np.maximum(0.0, np.log(4.0) - np.log(np.arange(1, 7)))
    utility = np.empty(6)
    utility[np.argsort(costs)] = raw / raw.sum() - 1 / 6
    eta = (3 + math.log(n)) / (5 * math.sqrt(n)) / 2
    draws_, start = draws.numpy(), mean.numpy()
    assert np.allclose(trainer.flat.detach().numpy(), start + 0.1 * utility @ draws_, rtol=1e-12)
    expected = 0.1 * np.exp(eta * utility @ (draws_**2 - 1))
    assert np.allclose(trainer.optimiser.state()["sigma"].numpy(), expected, rtol=1e-12)


def test_snes_regularises_as_gpumd_does(frames: list[Atoms]) -> None:
    trainer = make_trainer(frames, "snes")
    assert trainer.optimiser.lambda_1 == trainer.optimiser.lambda_2 == math.sqrt(len(trainer.flat)) / 1000


def test_kalman_in_one_block_is_recursive_least_squares(frames: list[Atoms]) -> None:
    trainer = make_trainer(
        frames, "kalman", blocks="all", probes=3, variance=0.5, batch_size=6, forget=0.9, prior=0.0
    )
    flat, start = trainer.flat, trainer.flat.detach().clone()
    order = list(range(6))
    step = Step(trainer.objective, flat, trainer.labels, order, WEIGHTS, 6)
    (rows,) = step.rows()
    signs = 2.0 * torch.randint(0, 2, (3, len(rows)), generator=torch.Generator().manual_seed(1)).numpy() - 1
    h = []
    for u in (rows.residuals / np.sqrt(rows.loss), *(signs / np.sqrt(3))):
        rows.pull_back(u)
        h.append(flat.grad.numpy().copy())
    rows.pull_back(rows.residuals)
    gradient = flat.grad.numpy().copy()
    information = 0.9 * np.eye(len(flat)) / 0.5 + np.array(h).T @ np.array(h)
    trainer.optimiser.step(step, 1.0)
    assert np.allclose(
        flat.detach().numpy(), start.numpy() - np.linalg.solve(information, gradient), atol=1e-9
    )


@pytest.mark.parametrize("output", [None, 0.5])
@pytest.mark.parametrize("anchor", ["zero", "start"])
def test_kalman_prior_is_further_rows_of_the_loss(
    frames: list[Atoms], anchor: str, output: float | None
) -> None:
    trainer = make_trainer(
        frames,
        "kalman",
        blocks="all",
        probes=3,
        batch_size=6,
        forget=0.9,
        prior=0.02,
        output_prior=output,
        anchor=anchor,
    )
    flat, began = trainer.flat, trainer.flat.detach().clone().numpy()
    prior = np.full(len(flat), 0.02)
    if output is not None:
        last = max(
            (s for s in trainer.optimiser.parameters.segments if "weights" in s.name), key=lambda s: s.start
        )
        assert np.allclose(
            began[last.start : last.stop], trainer.potential.model.weights[-1].detach().ravel()
        )
        prior[last.start : last.stop] = output
    origin = began if anchor == "start" else np.zeros_like(began)
    flat.data.add_(0.1 * torch.randn(len(flat), generator=torch.Generator().manual_seed(5)))
    here = flat.detach().clone().numpy()
    step = Step(trainer.objective, flat, trainer.labels, list(range(6)), WEIGHTS, 6)
    (rows,) = step.rows()
    generator = torch.Generator().manual_seed(1)
    signs, others = (
        2.0 * torch.randint(0, 2, (3, n), generator=generator).numpy() - 1 for n in (len(rows), len(flat))
    )
    rows.pull_back(rows.residuals)
    gradient = flat.grad.numpy() + prior * (here - origin)
    h = [gradient / np.sqrt(rows.loss + (prior * np.square(here - origin)).sum())]
    for u, v in zip(signs, others, strict=True):
        rows.pull_back(u)
        h.append((flat.grad.numpy() + np.sqrt(prior) * v) / np.sqrt(3))
    information = 0.9 * np.eye(len(flat)) + np.array(h).T @ np.array(h)
    trainer.optimiser.step(step, 1.0)
    assert np.allclose(flat.detach().numpy(), here - np.linalg.solve(information, gradient), atol=1e-9)


def test_kalman_prior_holds_back(frames: list[Atoms]) -> None:
    away, sizes = [], []
    for settings in ({}, {"prior": 10.0, "anchor": "start"}, {"prior": 10.0}, {"output_prior": 10.0}):
        trainer = make_trainer(frames, "kalman", blocks="all", epochs=8, **settings)
        start = trainer.flat.detach().clone()
        run(trainer)
        away.append(float((trainer.flat.detach() - start).norm()))
        sizes.append(float(trainer.potential.model.weights[-1].detach().norm()))
    assert away[1] < 0.5 * away[0]
    assert max(sizes[2:]) < 0.5 * sizes[0]


def test_kalman_blocks_share_the_innovation(frames: list[Atoms]) -> None:
    trainer = make_trainer(frames, "kalman", blocks="neuron", block_size=20, variance=0.5, forget=0.9)
    optimiser, n = trainer.optimiser, len(trainer.flat)
    dense, rng, forget = 0.5 * np.eye(n), np.random.default_rng(0), 0.9
    inside = np.zeros((n, n), dtype=bool)
    for place in optimiser.blocks:
        inside[np.ix_(place, place)] = True
    for _ in range(3):
        h = rng.normal(size=(4, n))
        gain = dense @ h.T @ np.linalg.inv(forget * np.eye(4) + h @ dense @ h.T)
        dense = np.where(inside, dense - gain @ h @ dense, 0.0) / forget
        move = optimiser._filter(h)
        assert np.allclose(move, gain[:, 0], rtol=1e-9, atol=1e-12)
    for place, p in zip(optimiser.blocks, optimiser.covariance, strict=True):
        assert np.allclose(p.product(np.eye(len(place))), dense[np.ix_(place, place)], atol=1e-12)


def test_kalman_survives_a_covariance_that_is_not_one(frames: list[Atoms]) -> None:
    trainer = make_trainer(frames, "kalman", blocks="all")
    covariance = trainer.optimiser.covariance[0]
    covariance.scale = -1e6
    trainer.epoch()
    assert torch.isfinite(trainer.flat).all()
    assert trainer.optimiser.covariance[0] is not covariance
    assert np.diag(trainer.optimiser.covariance[0].product(np.eye(len(trainer.flat)))).min() > 0


@pytest.mark.parametrize("grouping", ["neuron", "layer", "all"])
def test_blocks_hold_every_parameter_once(grouping: Any, frames: list[Atoms]) -> None:
    potential, _ = small_potential(frames)
    places = segments(potential)
    flat = flatten(potential)
    found = blocks(Parameters(flat, places, 2), grouping, 40)
    assert sorted(torch.cat(found).tolist()) == list(range(len(flat)))
    assert max(len(b) for b in found) <= 40
    if grouping == "neuron":
        weight = next(s for s in places if s.name == "model.weights.0")
        bias = next(s for s in places if s.name == "model.biases.0")
        column = [weight.start + k * 5 + 2 for k in range(weight.shape[1])] + [bias.start + 2]
        assert any(b.tolist() == column for b in found)


def test_levenberg_marquardt_solves_a_linear_problem_at_once(frames: list[Atoms]) -> None:
    """With the output layer alone free, rows are linear: one undamped move is the least-squares answer."""
    trainer = make_trainer(
        frames, "levenberg_marquardt", damping=1e-9, iterations=60, tolerance=1e-10, batch_size=4
    )
    step = Step(trainer.objective, trainer.flat, trainer.labels, range(6), WEIGHTS, 4)
    places = next(s for s in segments(trainer.potential) if s.name == "model.weights.1")
    keep = torch.zeros(len(trainer.flat), dtype=torch.bool)
    keep[places.start : places.stop] = True
    optimiser = trainer.optimiser
    written = type(optimiser)._written
    optimiser._written = lambda: np.where(keep.numpy(), written(optimiser), 0.0)
    start = trainer.flat.detach().clone()
    base = np.concatenate([r.residuals for r in step.rows()])
    columns = []
    for k in range(places.start, places.stop):
        trainer.flat.data[k] += 1.0
        columns.append(np.concatenate([r.residuals for r in step.rows()]) - base)
        trainer.flat.data.copy_(start)
    best = np.linalg.lstsq(np.array(columns).T, -base, rcond=None)[0]
    optimiser.step(step, 1.0)
    moved = (trainer.flat.detach() - start)[keep].numpy()
    assert np.allclose(moved, best, rtol=1e-4, atol=1e-5 * np.abs(best).max())
    assert torch.equal(trainer.flat.detach()[~keep], start[~keep])


def test_lbfgs_beats_its_first_gradient_step_by_far(frames: list[Atoms]) -> None:
    trainer = make_trainer(frames, "lbfgs", epochs=15, iterations=10)
    run(trainer)
    losses = [row["loss_train"] for row in trainer.progress.history]
    assert all(b <= a * (1 + 1e-9) for a, b in itertools.pairwise(losses))
    assert losses[-1] < 0.05 * losses[0]


# ---- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_chosen_by_name(kind: str) -> None:
    values = apply_overrides({"data": {"train": ["x.xyz"]}}, [f"training.kind={kind}", "training.epochs=7"])
    settings = RunSettings.parse(values).training
    assert (settings.kind, settings.epochs) == (kind, 7)
    with pytest.raises(ConfigError, match=r"unknown setting `training\.epoch`.*epochs"):
        RunSettings.parse(apply_overrides(values, ["training.epoch=3"]))


def test_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="kalman"):
        RunSettings.parse({"data": {"train": ["x.xyz"]}, "training": {"kind": "kalmann"}})


@pytest.mark.parametrize("kind", ["kalman", "levenberg_marquardt"])
def test_least_squares_methods_refuse_other_losses(kind: str, frames: list[Atoms]) -> None:
    potential, data = small_potential(frames)
    loss = LossSettings(error="huber")
    with pytest.raises(ConfigError, match=r"loss\.error: mse"):
        GradientTrainer(
            potential,
            data,
            data,
            loss=Loss(loss, data.scales()),
            weights=make_weighting(parse_weights({}), loss.weights()),
            settings=TRAINERS[kind].parse({"kind": kind}),
            seed=0,
        )
