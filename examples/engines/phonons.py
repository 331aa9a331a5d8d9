"""Phonon bands of silicon by phonopy, from a potential: ``python phonons.py potential.ff bands.png``."""

from __future__ import annotations

import sys

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from phonopy import Phonopy
from phonopy.phonon.band_structure import get_band_qpoints_and_path_connections
from phonopy.structure.atoms import PhonopyAtoms

import forgefield as ff


def phonons(calculator: object, repeat: int = 3) -> Phonopy:
    """Return phonopy with force constants of relaxed diamond silicon and its bands along L-G-X-K-G."""
    crystal = bulk("Si", "diamond", a=5.46)
    crystal.calc = calculator
    FIRE(FrechetCellFilter(crystal), logfile=None).run(fmax=1e-5, steps=300)
    unit = PhonopyAtoms(
        crystal.symbols[:], cell=crystal.cell[:], scaled_positions=crystal.get_scaled_positions()
    )
    phonon = Phonopy(unit, supercell_matrix=np.eye(3, dtype=int) * repeat)
    phonon.generate_displacements(distance=0.01)
    forces = []
    for cell in phonon.supercells_with_displacements or []:
        atoms = Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)
        atoms.calc = calculator
        forces.append(atoms.get_forces())
    phonon.forces = forces
    phonon.produce_force_constants()
    points = [[[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0.5]], [[0.375, 0.375, 0.75], [0, 0, 0]]]
    qpoints, connections = get_band_qpoints_and_path_connections(points, npoints=41)
    labels = ["L", r"$\Gamma$", "X", "K", r"$\Gamma$"]
    phonon.run_band_structure(qpoints, path_connections=connections, labels=labels)
    return phonon


if __name__ == "__main__":
    potential, picture = sys.argv[1:3]
    result = phonons(ff.load(potential).calculator(dtype="float64"))
    optical = result.band_structure.frequencies[0][-1].max()
    print(f"highest frequency at Gamma: {optical:.2f} THz")
    result.plot_band_structure().savefig(picture, dpi=120)
