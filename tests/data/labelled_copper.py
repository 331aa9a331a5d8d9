"""Labelled structures from a classical potential: energies, forces and stresses that are consistent."""

from __future__ import annotations

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator


def label(atoms, group="default", **info):
    """Return a frame labelled with effective-medium theory."""
    work = atoms.copy()
    work.calc = EMT()
    results = {
        "energy": work.get_potential_energy(),
        "forces": work.get_forces(),
        "stress": work.get_stress(),
    }
    frame = atoms.copy()
    frame.info = {"config_type": group, **info}
    frame.calc = SinglePointCalculator(frame, **results)
    return frame


def strained_series(n=40, seed=3, shear=0.03, group="Elastic"):
    """Return copper cells under small random strains, four atoms, the positions relaxed by nothing."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
        strain = rng.uniform(-0.02, 0.02, (3, 3)) * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
        off = rng.uniform(-shear, shear, 3)
        strain[1, 2] = strain[2, 1] = off[0] / 2
        strain[0, 2] = strain[2, 0] = off[1] / 2
        strain[0, 1] = strain[1, 0] = off[2] / 2
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        frames.append(label(atoms, group))
    return frames
