"""Start values where the data are nearly all the same: noise is not blown up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from forgefield.descriptors import NEP
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.initialise import initialise, least_spread

LARGEST_FORCE = 200.0
"""Of an untrained potential in units of its energy scale per Å, in a rattled crystal."""


def labelled(atoms: Atoms) -> Atoms:
    atoms.calc = SinglePointCalculator(atoms, energy=-9.3 * len(atoms), forces=np.zeros((len(atoms), 3)))
    return atoms


def started(frames: list[Atoms], scaling: str) -> tuple[Potential, LabelledSet]:
    descriptor = NEP(["C"], l_max=4, four_body=True, five_body=True)
    model = make_model({"kind": "network", "hidden": (10,)}, descriptor.n_features, 1)
    potential = Potential(descriptor, model, {6: -9.3}).to_dtype(torch.float64)
    data = LabelledSet(potential, frames)
    initialise(potential, data, scaling, torch.Generator().manual_seed(0))
    return potential, data


@pytest.mark.parametrize("scaling", ["whitened", "standard"])
def test_perfect_crystals_do_not_make_wild_potentials(scaling):
    """In diamond many features are zero by symmetry: before, forces of a rattled crystal were up to 1e5 times this unit."""
    frames = [labelled(bulk("C", "diamond", a, cubic=True)) for a in (3.556, 3.557, 3.558)]
    potential, _ = started(frames, scaling)
    rattled = bulk("C", "diamond", 3.557, cubic=True)
    rattled.rattle(0.03, seed=1)
    forces = potential.predict(rattled).forces
    assert np.abs(forces).max() < LARGEST_FORCE * float(potential.energy_scale)
    assert np.abs(forces).max() > 0


def test_varied_structures_are_scaled_as_before():
    """Where features vary as in dynamics, what they vary by alone decides."""
    frames = []
    for seed in range(6):
        atoms = bulk("C", "diamond", 3.5 + 0.02 * seed, cubic=True)
        atoms.rattle(0.08, seed=seed)
        frames.append(labelled(atoms))
    potential, data = started(frames, "standard")
    features = torch.cat([torch.from_numpy(potential.descriptor.compute(a)) for a in frames])
    assert (features.std(dim=0, correction=0) > least_spread(potential, data)).all()
    alone = type(potential.scaler)(features.shape[1])
    alone.fit(features, "standard")
    assert torch.allclose(alone.scale.double(), potential.scaler.scale, rtol=1e-6)


def test_free_atoms_alone_have_nothing_to_rattle():
    frames = [labelled(Atoms("C", cell=[20.0] * 3, pbc=True))]
    potential, data = started(frames, "standard")
    assert least_spread(potential, data) is None
    assert torch.isfinite(potential.scaler.scale).all()
