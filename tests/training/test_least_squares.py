"""Least squares: design rows are derivatives, the solution is the minimum of the loss, exact data are recovered."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from forgefield.descriptors import SO3
from forgefield.errors import ConfigError
from forgefield.models import Linear, make_model
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.initialise import initialise
from forgefield.training.least_squares import LeastSquaresSettings, design_rows, fit_linear
from forgefield.training.loss import PRESETS, Loss, LossSettings

LOSS = {"energy": 2.0, "forces": 0.5, "stress": 1.5}


def linear_potential(frames: list[Atoms], *, exact: bool = False) -> tuple[Potential, LabelledSet]:
    descriptor = SO3(["Cu", "Au"], cutoff=3.8, n_max=2, l_max=1)
    model = make_model({"kind": "linear"}, descriptor.n_features, 2)
    potential = Potential(descriptor, model, exact_free_atom=exact).to_dtype(torch.float64)
    data = LabelledSet(potential, frames)
    initialise(potential, data, "standard", torch.Generator().manual_seed(0))
    return potential, data


@pytest.mark.parametrize("exact", [False, True])
def test_design_rows_give_the_predictions(frames: list[Atoms], *, exact: bool) -> None:
    potential, data = linear_potential(frames, exact=exact)
    graph = data.batch([1], torch.float64).graph
    rows = design_rows(potential, graph)
    model = potential.model
    assert isinstance(model, Linear)
    x = np.concatenate([model.weight.detach().numpy().ravel(), model.bias.detach().numpy()])
    predicted = potential.predict(frames[1])
    assert rows.energy @ x == pytest.approx(predicted.energy, rel=1e-11)
    assert np.allclose(rows.forces @ x, predicted.forces, rtol=0, atol=1e-11)
    assert np.allclose(
        rows.strain_gradient @ x / frames[1].get_volume(), predicted.stress, rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("normalisation", sorted(PRESETS))
def test_solution_is_the_minimum_of_the_loss(normalisation: str, frames: list[Atoms]) -> None:
    frames = [*frames, frames[0].repeat((2, 1, 1))]
    results = frames[0].calc.results
    frames[-1].calc = SinglePointCalculator(
        frames[-1],
        energy=2 * results["energy"],
        forces=np.tile(results["forces"], (2, 1)),
        stress=results["stress"],
    )
    frames[2].info["weight"] = 2.5
    potential, data = linear_potential(frames)
    settings = LossSettings(normalisation=normalisation, **LOSS)
    fit_linear(potential, data, settings, LeastSquaresSettings(ridge=0.0))
    loss = Loss(settings, data.scales())
    batch = data.batch(range(len(data)), torch.float64)

    def total() -> torch.Tensor:
        terms = loss.terms(potential.evaluate(batch.graph, training=True), batch).values
        return torch.stack([LOSS[k] * v for k, v in terms.items()]).sum()

    value = total()
    gradients = torch.autograd.grad(value, list(potential.model.parameters()))
    best = float(value.detach())
    assert max(float(g.abs().max()) for g in gradients) < 1e-7 * max(best, 1e-6) + 1e-10
    with torch.no_grad():
        potential.model.weight[0, 0] += 1e-3
    assert float(total().detach()) > best


def test_recovers_a_linear_potential_exactly(frames: list[Atoms]) -> None:
    truth, _ = linear_potential(frames)
    labelled = []
    for atoms in frames:
        p = truth.predict(atoms)
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, energy=p.energy, forces=p.forces, stress=p.stress)
        labelled.append(copy)
    potential, data = linear_potential(labelled)
    with torch.no_grad():
        potential.model.weight.zero_()
    report = fit_linear(potential, data, LossSettings(), LeastSquaresSettings(ridge=0.0))
    assert report.n_rows == 9 * (1 + 12 + 6)
    unseen = frames[3].copy()
    unseen.rattle(0.1, seed=5)
    assert np.allclose(potential.predict(unseen).forces, truth.predict(unseen).forces, rtol=0, atol=1e-8)


def test_refuses_what_it_cannot_solve(frames: list[Atoms]) -> None:
    potential, data = linear_potential(frames)
    with pytest.raises(ConfigError, match=r"loss\.error"):
        fit_linear(potential, data, LossSettings(error="huber"), LeastSquaresSettings())
    network = make_model({"kind": "network"}, potential.descriptor.n_features, 2)
    with pytest.raises(ConfigError, match=r"model\.kind: linear"):
        fit_linear(Potential(potential.descriptor, network), data, LossSettings(), LeastSquaresSettings())
