"""Perfect cells of the two phases, strained cells and surfaces of silicon."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk, diamond100, diamond111, surface

A_DIAMOND = 5.475
"""Lattice constant of the diamond cells [Å]; the PBE minimum with these settings, rounded."""
A_BETASN, C_BETASN = 4.81, 2.67
"""Lattice constants of the beta-Sn cells [Å]; close to the PBE minimum, rounded."""

STRAINS: dict[str, np.ndarray] = {
    "uniaxial_x": np.diag([1.0, 0.0, 0.0]),
    "uniaxial_z": np.diag([0.0, 0.0, 1.0]),
    "uniaxial_110": np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]),
    "uniaxial_111": np.full((3, 3), 1.0 / 3.0),
    "biaxial_xy": np.diag([1.0, 1.0, 0.0]),
    "biaxial_xz": np.diag([1.0, 0.0, 1.0]),
    "tetragonal": np.diag([-0.5, -0.5, 1.0]),
    "trigonal": np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]) / 2.0,
    "shear_xy": np.array([[0.0, 0.5, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    "shear_xz": np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.0], [0.5, 0.0, 0.0]]),
    "volumetric": np.eye(3),
}
"""Strain tensor (3, 3) of unit size for each mode; shear entries are half the engineering strain."""


def diamond(n_atoms: int, a: float = A_DIAMOND) -> Atoms:
    """Diamond in its 2-atom primitive, 4-atom tetragonal, 8-atom cubic cell or 16-64 atom supercell.

    Parameters
    ----------
    n_atoms : {2, 4, 8, 16, 32, 64}
        Atoms in the cell; 16, 32 and 64 repeat the cubic cell along z, then y, then x.
    a : float [Å]
        Cubic lattice constant.
    """
    if n_atoms == 2:
        return bulk("Si", "diamond", a)
    if n_atoms == 4:
        side = a / np.sqrt(2.0)
        return _four_atoms(side, a)
    repeats = {8: (1, 1, 1), 16: (1, 1, 2), 32: (1, 2, 2), 64: (2, 2, 2)}[n_atoms]
    return bulk("Si", "diamond", a, cubic=True) * repeats


def betasn(a: float = A_BETASN, c: float = C_BETASN) -> Atoms:
    """beta-Sn in its 4-atom tetragonal cell with lattice constants ``a``, ``c`` [Å]."""
    return _four_atoms(a, c)


def _four_atoms(a: float, c: float) -> Atoms:
    """Body-centred tetragonal cell of space group I4_1/amd, site 4a; diamond is c/a = sqrt(2)."""
    fractions = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.0, 0.5, 0.25], [0.5, 0.0, 0.75]]
    return Atoms("Si4", cell=[a, a, c], scaled_positions=fractions, pbc=True)


def deform(atoms: Atoms, mode: str, size: float) -> Atoms:
    """Return a copy strained by ``size`` times ``STRAINS[mode]``, ions moving with the cell."""
    gradient = np.eye(3) + size * STRAINS[mode]
    strained = atoms.copy()
    strained.set_cell(atoms.cell.array @ gradient, scale_atoms=True)
    return strained


def slab(kind: str, vacuum: float = 5.0) -> Atoms:
    """Unrelaxed silicon slab, periodic in all directions, with 2 x ``vacuum`` [Å] between images.

    Parameters
    ----------
    kind : {"001", "001_2x1", "110", "111"}
        Surface; "001_2x1" carries a buckled dimer row on its upper side.
    """
    if kind == "001":
        cell = diamond100("Si", (1, 1, 8), a=A_DIAMOND, vacuum=vacuum)
    elif kind == "001_2x1":
        cell = diamond100("Si", (1, 2, 6), a=A_DIAMOND, vacuum=vacuum)
        _dimerise(cell)
    elif kind == "111":
        cell = diamond111("Si", (1, 1, 10), a=A_DIAMOND)
        heights = cell.positions[:, 2]
        cell = cell[(heights > heights.min() + 0.1) & (heights < heights.max() - 0.1)]  # one dangling bond
        cell.center(vacuum=vacuum, axis=2)
    else:
        cell = surface(diamond(4), (1, 0, 0), 2, vacuum=vacuum)
    plain = Atoms(cell.symbols, positions=cell.positions, cell=cell.cell, pbc=True)
    plain.wrap()
    return plain


def _dimerise(cell: Atoms) -> None:
    """Pull the two top atoms together along the doubled axis and buckle them (2.35 Å apart)."""
    top = np.argsort(cell.positions[:, 2])[-2:]
    first, second = sorted(top, key=lambda index: cell.positions[index, 1])
    axis = cell.positions[second] - cell.positions[first]
    length = np.linalg.norm(axis)
    shift = 0.5 * (length - 2.25) * axis / length
    cell.positions[first] += shift + np.array([0.0, 0.0, 0.30])
    cell.positions[second] -= shift + np.array([0.0, 0.0, 0.40])
