"""Weights of structures and groups: zero leaves labels out everywhere, others count alike in the loss and in judgements."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from test_loss import small_potential  # type: ignore[import-not-found]
from test_optimisers import QUICK, run  # type: ignore[import-not-found]

from forgefield.errors import ConfigError
from forgefield.training.accumulate import Errors
from forgefield.training.batches import LabelledSet
from forgefield.training.flat import flatten
from forgefield.training.gradient import GradientTrainer
from forgefield.training.laplace import fit_last_layer
from forgefield.training.loss import Loss, LossSettings
from forgefield.training.maxvol import fit_extrapolation
from forgefield.training.objective import make_objective
from forgefield.training.settings import TRAINERS
from forgefield.training.step import LabelWeights
from forgefield.training.weighting import make_weighting, parse_weights

NAMES = ["energy", "forces", "stress"]


def absurd(atoms: Atoms, **info: float | str) -> Atoms:
    """Return a copy with labels that nothing can learn."""
    other = atoms.copy()
    r = atoms.calc.results
    other.calc = SinglePointCalculator(
        other, energy=r["energy"] + 400.0, forces=30.0 * r["forces"] + 5.0, stress=r["stress"] + 3.0
    )
    other.info.update(info)
    return other


def make_trainer(
    train: list[Atoms], valid: list[Atoms], kind: str = "adam", rule: str = "fixed", **settings: object
) -> GradientTrainer:
    potential, _ = small_potential([a for a in train if a.info.get("weight", 1.0) > 0])
    sets = [LabelledSet(potential, x) for x in (train, valid)]
    loss = LossSettings()
    return GradientTrainer(
        potential,
        sets[0],
        sets[1],
        loss=Loss(loss, sets[0].scales()),
        weights=make_weighting(parse_weights({"kind": rule}), loss.weights()),
        settings=TRAINERS[kind].parse({"kind": kind, "epochs": 5, **QUICK.get(kind, {}), **settings}),
        seed=1,
    )


@pytest.mark.parametrize("backend", ["compiled", "torch"])
def test_where_all_weights_are_zero_there_is_no_term(backend: str, frames: list[Atoms]) -> None:
    frames[0].info["stress_weight"] = 0.0
    frames[1].info["weight"] = 0.0
    potential, data = small_potential(frames)
    objective = make_objective(potential, data, Loss(LossSettings(), data.scales()), backend, 1)
    flatten(potential)
    assert set(objective.gradient([0, 1], dict.fromkeys(NAMES, 1.0)).values) == {"energy", "forces"}
    assert objective.gradient([1], dict.fromkeys(NAMES, 1.0)).values == {}
    assert objective.terms([1]).values == {}
    both, one = objective.terms([1, 2]).values, objective.terms([2]).values
    assert both == pytest.approx(one, rel=1e-12)


@pytest.mark.parametrize(("kind", "rule"), [("adam", "balanced"), ("adam", "gradnorm"), ("adam", "config")])
def test_training_with_weight_zero_is_training_without(kind: str, rule: str, frames: list[Atoms]) -> None:
    left_out = [absurd(a, weight=0.0) for a in frames[:3]]
    whole = {"batch_size": 100, "schedule": {"warmup_epochs": 0}}
    with_them = make_trainer(frames[:6] + left_out, frames[6:], kind, rule, **whole)
    without = make_trainer(frames[:6], frames[6:], kind, rule, **whole)
    begin = without.flat.detach().clone()
    run(with_them)
    run(without)
    assert float((without.flat.detach() - begin).abs().max()) > 1e-3
    assert torch.allclose(with_them.flat, without.flat, rtol=1e-6, atol=1e-8)


def test_a_filter_takes_batches_without_weights(frames: list[Atoms]) -> None:
    left_out = [absurd(a, weight=0.0) for a in frames[:3]]
    trainer = make_trainer(frames[:6] + left_out, frames[6:], "kalman", "balanced", batch_size=1)
    run(trainer)
    assert trainer.progress.best_score < trainer.progress.initial_score


def test_a_term_of_which_nothing_is_left_is_refused(frames: list[Atoms]) -> None:
    for atoms in frames:
        atoms.info["stress_weight"] = 0.0
    with pytest.raises(ConfigError, match=r"`loss\.stress` is 0\.1, but all.*weight zero.*loss\.stress: 0"):
        make_trainer(frames[:6], frames[6:])
    for atoms in frames:
        del atoms.calc.results["stress"]  # no label at all is another matter, and the audit's
    make_trainer(frames[:6], frames[6:])


def test_weight_zero_takes_no_part_in_the_scales_of_labels(frames: list[Atoms]) -> None:
    potential, data = small_potential(frames)
    odd = [absurd(a, weight=0.0) for a in frames]
    assert LabelledSet(potential, frames + odd).scales() == data.scales()
    assert LabelledSet(potential, odd).scales()["energy"] == pytest.approx(data.scales()["energy"])
    for atoms in frames:
        atoms.info["weight"] = 7.0  # weights of another size change nothing
    assert LabelledSet(potential, frames).scales() == data.scales()


def errors_of(frames: list[Atoms], parts: list[list[int]]) -> Errors:
    potential, _ = small_potential(frames[:9])
    data = LabelledSet(potential, frames, {"heavy": 2.0})
    loss = Loss(LossSettings(), data.scales())
    objective, labels, errors = (
        make_objective(potential, data, loss, "torch", 1),
        LabelWeights(data, loss),
        Errors(),
    )
    for index in parts:
        errors.add(objective.terms(index), labels.rows(index))
    return errors


def test_a_weight_counts_in_the_score_as_often(frames: list[Atoms]) -> None:
    plain = errors_of(frames, [list(range(9)), [2, 4]])  # two of them twice
    for k in (2, 4):
        frames[k].info["config_type"] = "heavy"
    weighted = errors_of(frames, [[3, 2, 1], [0, 8, 7, 6, 5, 4]])
    assert weighted.score(NAMES) == pytest.approx(plain.score(NAMES), abs=1e-12)
    frames[2].info["energy_weight"] = 0.5
    other = errors_of(frames, [list(range(9))])
    assert other.score(["forces", "stress"]) == pytest.approx(plain.score(["forces", "stress"]), abs=1e-12)
    assert other.score(["energy"]) != pytest.approx(plain.score(["energy"]), abs=1e-3)


def test_an_outlier_of_weight_zero_is_reported_but_does_not_judge(frames: list[Atoms]) -> None:
    trainer = make_trainer(frames[:6], frames[6:])
    odd = make_trainer(frames[:6], [*frames[6:], absurd(frames[0], weight=0.0)])
    own, other = trainer.validate(), odd.validate()
    assert other.score(NAMES) == pytest.approx(own.score(NAMES), abs=1e-12)
    assert other.rmse()["energy_rmse"] > 10 * own.rmse()["energy_rmse"]
    run(trainer)
    run(odd)
    assert (odd.progress.best_epoch, odd.progress.kept_epoch) == (
        trainer.progress.best_epoch,
        trainer.progress.kept_epoch,
    )


def test_weights_of_one_go_the_same_way_to_the_bit(frames: list[Atoms]) -> None:
    potential, data = small_potential(frames)
    loss = Loss(LossSettings(), data.scales())
    assert LabelWeights(data, loss).rows([0, 1]) is None
    frames[3].info["weight"] = 3.0
    rows = LabelWeights(LabelledSet(potential, frames), loss).rows([3, 1])
    assert {k: len(v) for k, v in rows.items()} == {"energy": 2, "forces": 24, "stress": 12}
    assert rows["energy"].tolist() == [3.0, 1.0]


def test_the_last_layer_leaves_out_what_has_no_weight(frames: list[Atoms]) -> None:
    potential, _ = small_potential(frames)
    expected = fit_last_layer(potential, frames)
    odd = [absurd(a, config_type="odd") for a in frames[:4]]
    found = fit_last_layer(potential, frames + odd, group_weights={"odd": 0.0})
    assert found.noise == pytest.approx(expected.noise, rel=1e-12)
    np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-6, atol=1e-12)
    spoilt = fit_last_layer(potential, frames + odd)
    assert spoilt.noise["energy"] > 5 * expected.noise["energy"]
    same = fit_last_layer(potential, frames, group_weights={"unlabelled": 3.0, "default": 5.0})
    for atoms in frames:
        atoms.info["weight"] = 5.0
    factor = fit_last_layer(potential, frames)
    for other in (same, factor):
        assert other.noise == pytest.approx(expected.noise, rel=1e-12)
        np.testing.assert_allclose(other.covariance, expected.covariance, rtol=1e-6, atol=1e-12)


def test_the_last_layer_is_scaled_by_validation_errors(frames: list[Atoms]) -> None:
    potential, _ = small_potential(frames)
    posterior = fit_last_layer(potential, frames[:5])
    valid = frames[5:]
    found = posterior.calibrated(valid)
    errors = [np.linalg.norm(potential.predict(a).forces - a.get_forces(), axis=1) for a in valid]
    spreads = [posterior.spread(a).forces for a in valid]
    expected = math.sqrt(np.square(np.concatenate(errors)).mean() / np.square(np.concatenate(spreads)).mean())
    assert found.scale["forces"] == pytest.approx(expected, rel=1e-6)
    assert found.scale["energy"] == found.scale["forces"]  # four energies tell too little
    stress = [potential.predict(a).stress - a.get_stress() for a in valid]
    spreads = [posterior.spread(a).stress for a in valid]
    ratio = math.sqrt(np.square(stress).mean() / np.square(spreads).mean())
    assert found.scale["stress"] == pytest.approx(ratio, rel=1e-6)
    plain, scaled = posterior.spread(frames[0]), found.spread(frames[0])
    np.testing.assert_allclose(scaled.forces, found.scale["forces"] * plain.forces, rtol=1e-12)
    np.testing.assert_allclose(scaled.stress, found.scale["stress"] * plain.stress, rtol=1e-12)
    assert scaled.energy == pytest.approx(found.scale["energy"] * plain.energy)
    valid[0].info["weight"] = 9.0
    odd = [*valid, absurd(frames[0], weight=0.0)]
    assert posterior.calibrated(odd).scale == pytest.approx(found.scale, rel=1e-12)


def test_grades_leave_out_what_has_no_weight(frames: list[Atoms]) -> None:
    potential, _ = small_potential(frames)
    far = copy.deepcopy(frames[0])
    far.rattle(0.5, seed=1)
    far.info["config_type"] = "odd"
    expected = fit_extrapolation(potential, frames)
    for found in (
        fit_extrapolation(potential, [*frames, far], {"odd": 0.0}),
        fit_extrapolation(potential, frames, {"odd": 0.3}),
    ):
        assert all(torch.equal(a, b) for a, b in zip(found.matrices, expected.matrices, strict=True))
    other = fit_extrapolation(potential, [*frames, far], {"odd": 0.3})
    assert not all(
        a.shape == b.shape and torch.equal(a, b)
        for a, b in zip(other.matrices, expected.matrices, strict=True)
    )
