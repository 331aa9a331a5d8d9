"""Force constants of second and third order of silicon by phono3py: ``python force_constants.py potential.ff``."""

from __future__ import annotations

import sys

import numpy as np
from ase import Atoms
from ase.build import bulk
from phono3py import Phono3py
from phonopy.structure.atoms import PhonopyAtoms

import forgefield as ff


def force_constants(calculator: object, a: float = 5.46, repeat: int = 2, cutoff: float = 4.0) -> Phono3py:
    """Return phono3py with fc2 and fc3 of diamond silicon; pairs displaced together are within `cutoff` [Å]."""
    crystal = bulk("Si", "diamond", a=a)
    unit = PhonopyAtoms(
        crystal.symbols[:], cell=crystal.cell[:], scaled_positions=crystal.get_scaled_positions()
    )
    p3 = Phono3py(unit, supercell_matrix=np.eye(3, dtype=int) * repeat)
    p3.generate_displacements(distance=0.03, cutoff_pair_distance=cutoff)
    forces = []
    for cell in p3.supercells_with_displacements:
        atoms = Atoms(p3.supercell.symbols, cell=p3.supercell.cell, pbc=True)
        if cell is None:  # beyond the cutoff: not needed
            forces.append(np.zeros((len(atoms), 3)))
            continue
        atoms.set_scaled_positions(cell.scaled_positions)
        atoms.calc = calculator
        forces.append(atoms.get_forces())
    p3.forces = np.array(forces)
    p3.produce_fc2()
    p3.produce_fc3()
    return p3


if __name__ == "__main__":
    result = force_constants(ff.load(sys.argv[1]).calculator(dtype="float64"))
    print(f"fc2 {result.fc2.shape}, fc3 {result.fc3.shape}; the files fc2.hdf5, fc3.hdf5 are phono3py's")
    result.save("phono3py_params.yaml")
