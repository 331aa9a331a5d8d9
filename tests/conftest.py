"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of published reference data kept beside the repository (not part of it)."""
    if not SHARED_DATA.is_dir():
        pytest.skip("published reference data (../shared/data) are not present")
    return SHARED_DATA


def labelled(atoms: Atoms) -> Atoms:
    """Return a copy with energy, forces and stress of effective-medium theory as its labels."""
    copy = atoms.copy()
    copy.calc = EMT()
    results = {"energy": copy.get_potential_energy(), "forces": copy.get_forces()}
    if atoms.pbc.all():
        results["stress"] = copy.get_stress()
    copy.calc = SinglePointCalculator(copy, **results)
    return copy


@pytest.fixture(scope="session")
def alloy_frames() -> list[Atoms]:
    """24 strained and rattled 4-atom cells of Cu, Au and their alloy, labelled by a classical potential."""
    rng = np.random.default_rng(7)
    frames = []
    for k in range(24):
        n_gold = k % 4
        atoms = bulk("Cu", "fcc", a=3.63 + 0.08 * n_gold, cubic=True)
        atoms.numbers[:n_gold] = 79
        strain = 0.02 * rng.standard_normal((3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
        atoms.positions += 0.06 * rng.standard_normal((4, 3))
        atoms = labelled(atoms)
        atoms.info["config_type"] = "copper" if n_gold == 0 else "alloy"
        frames.append(atoms)
    return frames


@pytest.fixture(scope="session")
def alloy_file(alloy_frames: list[Atoms], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same structures as an extended XYZ file."""
    path = tmp_path_factory.mktemp("alloy") / "alloy.xyz"
    write(path, alloy_frames, format="extxyz")
    return path
