"""Small labelled structures for the training tests, labelled by a classical potential."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator


def labelled(n: int, seed: int = 0) -> list[Atoms]:
    """Strained, rattled Cu-Au cells with EMT energies, forces and stresses."""
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(n):
        atoms = bulk("Cu", "fcc", a=3.75, cubic=True)
        atoms.numbers[rng.permutation(4)[: k % 3]] = 79
        strain = np.eye(3) + 0.04 * rng.normal(size=(3, 3))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.positions += rng.normal(scale=0.1, size=(4, 3))
        atoms.calc = EMT()
        results = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["name"] = f"cell{k}"
        frames.append(atoms)
    return frames


@pytest.fixture
def frames() -> list[Atoms]:
    return labelled(9)
