"""The output layer before training: energies far from zero start at their mean, near ones as drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from forgefield.descriptors import NEPSettings, make_descriptor
from forgefield.models import LinearSettings, NetworkSettings, make_model
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.energy_start import PRIOR, _least_change
from forgefield.training.initialise import initialise

DEEP = -30.0
"""Energy per atom [eV], far beyond the unit of the forces."""


def moved(frames: list[Atoms], offset: float) -> list[Atoms]:
    copies = []
    for atoms in frames:
        copy = atoms.copy()
        results = dict(atoms.calc.results)
        results["energy"] = results["energy"] + offset * len(atoms)
        copy.calc = SinglePointCalculator(copy, **results)
        copies.append(copy)
    return copies


def start(frames: list[Atoms], *, exact: bool, kind: str = "network") -> tuple[Potential, LabelledSet]:
    settings = NEPSettings(cutoff_radial=4.0, cutoff_angular=4.0, n_max_radial=3, n_max_angular=2, l_max=2)
    descriptor = make_descriptor(settings, ("Cu", "Au"))
    how = NetworkSettings(hidden=(6, 5)) if kind == "network" else LinearSettings()
    model = make_model(how, descriptor.n_features, 2)
    potential = Potential(descriptor, model, {29: 0.0, 79: 0.0}, exact_free_atom=exact)
    potential = potential.to_dtype(torch.float64)
    data = LabelledSet(potential, frames)
    initialise(potential, data, "whitened", torch.Generator().manual_seed(0))
    return potential, data


def per_atom(potential: Potential, frames: list[Atoms]) -> np.ndarray:
    return np.array([p.energy / len(a) for p, a in zip(potential.predict_many(frames), frames, strict=True)])


@pytest.mark.parametrize("exact", [True, False])
def test_far_energies_start_at_their_mean(frames: list[Atoms], exact: bool) -> None:
    deep = moved(frames, DEEP)
    potential, _ = start(deep, exact=exact)
    wanted = np.array([a.get_potential_energy() / len(a) for a in deep])
    off = per_atom(potential, deep) - wanted
    assert abs(off.mean()) < 0.02 * abs(DEEP)
    assert np.abs(off).max() < 0.2 * abs(DEEP)
    lone = Atoms("Cu", positions=[[0, 0, 0]], cell=[20] * 3, pbc=True)
    if exact:
        assert per_atom(potential, [lone])[0] == pytest.approx(0.0, abs=1e-9)


def test_near_energies_leave_the_draw_as_it_is(frames: list[Atoms]) -> None:
    near = moved(frames, 0.0)
    potential, _ = start(near, exact=True)
    drawn = make_model(NetworkSettings(hidden=(6, 5)), potential.descriptor.n_features, 2).double()
    generator = torch.Generator().manual_seed(0)
    potential.descriptor.reset_parameters(generator)
    drawn.reset_parameters(generator)
    assert torch.equal(potential.model.weights[-1], drawn.weights[-1])


def test_models_without_hidden_neurons_are_left_alone(frames: list[Atoms]) -> None:
    potential, _ = start(moved(frames, DEEP), exact=False, kind="linear")
    assert all(torch.isfinite(p).all() for p in potential.parameters())


def test_change_is_that_of_augmented_least_squares() -> None:
    rng = np.random.default_rng(0)
    g, e = rng.normal(size=(7, 4)), rng.normal(size=7)
    ridge = PRIOR * np.sqrt((g**2).sum(1).mean())
    stacked = np.vstack([g, ridge * np.eye(4)])
    truth = np.linalg.lstsq(stacked, np.concatenate([e, np.zeros(4)]), rcond=None)[0]
    assert np.allclose(_least_change(g, e), truth, atol=1e-12)
