"""The last layer as a linear model, and its posterior against the Bayesian formula by brute force."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from forgefield.descriptors import NEP, SO3
from forgefield.errors import DataError
from forgefield.models import Linear, Network, NetworkSettings
from forgefield.models.potential import Potential
from forgefield.training.laplace import fit_last_layer, last_layer


def crystal(seed: int) -> Atoms:
    atoms = bulk("SiC", "zincblende", a=4.36, cubic=True)[:6]
    atoms.rattle(0.15, seed=seed)
    return atoms


@pytest.fixture(scope="module", params=["one", "two", "linear"])
def potential(request) -> Potential:
    generator = torch.Generator().manual_seed(1)
    if request.param == "linear":
        descriptor = SO3(["C", "Si"], cutoff=3.2, n_max=1, l_max=2)
        model = Linear(descriptor.n_features, 2)
    else:
        descriptor = NEP(
            ["C", "Si"], cutoff_radial=4.0, cutoff_angular=3.5, n_max_radial=2, n_max_angular=2, l_max=2
        )
        hidden = (5,) if request.param == "one" else (6, 4)
        model = Network(descriptor.n_features, 2, NetworkSettings(hidden=hidden))
    model.reset_parameters(generator)
    exact = request.param == "two"
    result = Potential(descriptor, model, {6: -1.0, 14: -3.0}, 0.7, exact_free_atom=exact)
    result.scaler.fit(torch.randn(100, descriptor.n_features, generator=generator) + 0.5, "whitened")
    return result.to_dtype(torch.float64)


@pytest.fixture(scope="module")
def frames(potential) -> list[Atoms]:
    rng = np.random.default_rng(0)
    found = []
    for seed in range(6):
        atoms = crystal(seed)
        p = potential.predict(atoms)
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=p.energy + 0.3 * rng.standard_normal(),
            forces=p.forces + 0.1 * rng.standard_normal(p.forces.shape),
            stress=p.stress + 0.01 * rng.standard_normal(6),
        )
        found.append(atoms)
    return found


def test_same_predictions_as_the_network(potential):
    linear, atoms = last_layer(potential), crystal(9)
    a, b = potential.predict(atoms), linear.predict(atoms)
    for name in ("energies", "forces", "stress"):
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), rtol=1e-10, atol=1e-12)


def last_parameters(potential: Potential) -> list[torch.Tensor]:
    model = potential.model
    if isinstance(model, Linear):
        return [model.weight, model.bias]
    return [model.weights[-1], model.biases[-1]]


def jacobian(potential: Potential, atoms: Atoms) -> dict[str, np.ndarray]:
    """Return the change of predictions with each parameter of the last layer: exact, as they are linear in it."""
    probe = copy.deepcopy(potential)

    def values() -> dict[str, np.ndarray]:
        p = probe.predict(atoms)
        return {"energy": np.array([p.energy / len(atoms)]), "forces": p.forces.ravel(), "stress": p.stress}

    base, columns = values(), []
    for parameter in last_parameters(probe):
        flat = parameter.data.view(-1)
        for i in range(len(flat)):
            flat[i] += 1.0
            moved = values()
            columns.append({k: moved[k] - base[k] for k in base})
            flat[i] -= 1.0
    return {k: np.stack([c[k] for c in columns], axis=1) for k in base}


def test_spreads_are_those_of_the_bayesian_formula(potential, frames):
    posterior = fit_last_layer(potential, frames, prior=0.3)
    precision = 0.3 * np.eye(posterior.covariance.shape[0])
    for k in ("energy", "forces", "stress"):
        rows, residuals = [], []
        for atoms in frames:
            p, label = potential.predict(atoms), atoms.calc.results
            rows.append(jacobian(potential, atoms)[k])
            difference = {
                "energy": np.array([(label["energy"] - p.energy) / len(atoms)]),
                "forces": (label["forces"] - p.forces).ravel(),
                "stress": label["stress"] - p.stress,
            }
            residuals.append(difference[k])
        noise = np.sqrt(np.mean(np.square(np.concatenate(residuals))))
        assert posterior.noise[k] == pytest.approx(noise, rel=1e-6)
        joined = np.concatenate(rows)
        precision += joined.T @ joined / noise**2
    covariance, new = np.linalg.inv(precision), crystal(20)
    found, rows = posterior.spread(new), jacobian(potential, new)
    variance = {k: np.einsum("np,pq,nq->n", x, covariance, x) for k, x in rows.items()}
    assert found.energy == pytest.approx(len(new) * np.sqrt(variance["energy"][0]), rel=1e-6)
    np.testing.assert_allclose(
        found.forces, np.sqrt(variance["forces"].reshape(-1, 3).sum(axis=1)), rtol=1e-6
    )
    np.testing.assert_allclose(found.stress, np.sqrt(variance["stress"]), rtol=1e-6)


def test_prior_of_largest_evidence_is_a_fixed_point(potential, frames):
    posterior = fit_last_layer(potential, frames)
    # MacKay: prior = gamma / |w|^2 with gamma = n - prior * trace(covariance).
    weights = np.concatenate([p.detach().numpy().ravel() for p in last_parameters(potential)])
    gamma = len(weights) - posterior.prior * np.trace(posterior.covariance)
    assert posterior.prior == pytest.approx(gamma / (weights @ weights), rel=1e-5)


def test_more_data_less_spread(potential, frames):
    few, many = (fit_last_layer(potential, x, prior=1.0) for x in (frames[:2], frames))
    scaled = {k: few.noise[k] / many.noise[k] for k in few.noise}
    assert max(scaled.values()) < 3
    assert np.linalg.det(many.covariance) < np.linalg.det(few.covariance)


def test_labels_are_needed(potential):
    with pytest.raises(DataError, match="label"):
        fit_last_layer(potential, [crystal(0)])
