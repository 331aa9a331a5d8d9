"""Classical potentials whose properties are known."""

from __future__ import annotations

import pytest
from ase import Atoms
from ase.build import bulk


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
