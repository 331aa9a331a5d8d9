"""Classical potentials whose properties are known."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

import forgefield as ff
from forgefield.deployment import lammps_any
from forgefield.deployment.cpp import CompilerMissingError
from forgefield.deployment.engines import EngineMissingError


@pytest.fixture(scope="session")
def stillinger_weber():
    """Stillinger and Weber's silicon, by LAMMPS."""
    from pathlib import Path

    from forgefield.errors import ConfigError
    from forgefield.properties.calculators import find_calculator

    try:
        import forgefield.deployment.engine_worker as worker

        folder = Path(worker.import_lammps().__file__).parent
        file = folder / "share" / "lammps" / "potentials" / "Si.sw"
        return find_calculator(f"lammps:pair_style sw;pair_coeff * * {file} Si", elements=["Si"])
    except (ImportError, OSError, ConfigError) as error:
        pytest.skip(f"LAMMPS is not installed: {error}")


@pytest.fixture
def silicon() -> Atoms:
    """The primitive cell of Stillinger and Weber's silicon at rest: its length is fixed by its parameters."""
    return bulk("Si", "diamond", a=5.430949)


@pytest.fixture(scope="session")
def copper(tmp_path_factory):
    """A potential of copper as effective-medium theory has it; skips where LAMMPS cannot run it."""
    try:
        lammps_any.plugin()
    except (EngineMissingError, CompilerMissingError) as error:
        pytest.skip(str(error))
    folder, rng = tmp_path_factory.mktemp("copper"), np.random.default_rng(0)
    frames = []
    for n in range(24):
        atoms = bulk("Cu", a=3.61 + 0.01 * rng.standard_normal(), cubic=True)
        strain = 0.02 * rng.standard_normal((3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
        atoms.positions += (0.1 + 0.2 * (n % 2)) * rng.standard_normal((4, 3))
        atoms.calc = EMT()
        atoms.get_forces(), atoms.get_stress()
        frames.append(atoms)
    write(folder / "copper.xyz", frames)
    return ff.train(
        {
            "data": {"train": [str(folder / "copper.xyz")]},
            "descriptor": {"kind": "snap", "two_j_max": 4, "cutoff": 4.5},
            "model": {"kind": "linear"},
            "training": {"kind": "least_squares"},
            "dtype": "float64",
            "threads": 1,
        },
        output=folder / "run",
    ).potential
