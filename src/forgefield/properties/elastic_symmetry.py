"""Elastic tensors and the symmetry of the crystal: projection, independent constants, rotation, moduli."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.errors import ConfigError, StructureError
from forgefield.keys import VOIGT

__all__ = [
    "CrystalSymmetry",
    "Moduli",
    "find_symmetry",
    "independent_constants",
    "moduli",
    "project",
    "rotated",
    "to_tensor",
    "to_voigt",
]

FloatArray = NDArray[np.float64]

PAIRS = [(a, b) for a in range(6) for b in range(a, 6)]
"""The 21 elements of a symmetric 6 x 6 matrix, row by row."""


@dataclass(frozen=True)
class CrystalSymmetry:
    """Symmetry of a crystal.

    Attributes
    ----------
    number : int
        Of the space group.
    international : str
        Its symbol.
    system : str
        Crystal system, e.g. ``cubic``.
    rotations : (n, 3, 3)
        Cartesian rotations and reflections of the point group, in the axes of the structure.
    to_standard : (3, 3)
        Rotation of Cartesian vectors to the conventional orientation.
    """

    number: int
    international: str
    system: str
    rotations: FloatArray
    to_standard: FloatArray


SYSTEMS = (
    (2, "triclinic"),
    (15, "monoclinic"),
    (74, "orthorhombic"),
    (142, "tetragonal"),
    (167, "trigonal"),
    (194, "hexagonal"),
    (230, "cubic"),
)
"""Last space group of each crystal system."""


def find_symmetry(atoms: Atoms, tolerance: float = 1e-3) -> CrystalSymmetry:
    """Return the symmetry of a crystal; distances within `tolerance` [Å] count as equal.

    Raises
    ------
    ConfigError
        spglib is not installed.
    StructureError
        It finds no symmetry, not even none: two atoms in one place.
    """
    try:
        import spglib
    except ImportError:
        raise ConfigError("the symmetry of crystals needs spglib: pip install 'forgefield[md]'") from None
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    try:
        with warnings.catch_warnings():  # its own call of what it will remove
            warnings.filterwarnings("ignore", message="Set OLD_ERROR_HANDLING")
            found = spglib.get_symmetry_dataset(cell, symprec=tolerance)
    except spglib.SpglibError as error:
        raise StructureError(f"no symmetry found within {tolerance} Å: {error}") from None
    if found is None:
        raise StructureError(f"no symmetry found within {tolerance} Å; are two atoms in one place?")
    lattice = atoms.cell.array.T  # columns are vectors
    rotations = np.unique(found.rotations, axis=0)
    cartesian = lattice @ rotations @ np.linalg.inv(lattice)
    number = int(found.number)
    return CrystalSymmetry(
        number=number,
        international=str(found.international),
        system=next(name for last, name in SYSTEMS if number <= last),
        rotations=np.asarray(cartesian, dtype=np.float64),
        to_standard=np.asarray(found.std_rotation_matrix, dtype=np.float64),
    )


def to_tensor(matrix: FloatArray) -> FloatArray:
    """Return the tensor (3, 3, 3, 3) of a 6 x 6 matrix of elastic constants."""
    index = np.empty((3, 3), dtype=int)
    for n, (a, b) in enumerate(VOIGT):
        index[a, b] = index[b, a] = n
    return np.asarray(matrix[index[:, :, None, None], index[None, None]])


def to_voigt(tensor: FloatArray) -> FloatArray:
    """Return the 6 x 6 matrix of a tensor of elastic constants."""
    a, b = np.array(VOIGT).T
    return np.asarray(tensor[a[:, None], b[:, None], a[None], b[None]])


def rotated(matrix: FloatArray, rotation: FloatArray) -> FloatArray:
    """Return the matrix in axes turned by `rotation`: vectors r become ``rotation @ r``."""
    r = rotation
    return to_voigt(np.einsum("ai,bj,ck,dl,ijkl->abcd", r, r, r, r, to_tensor(matrix), optimize=True))


def project(matrix: FloatArray, rotations: FloatArray) -> FloatArray:
    """Return the matrix averaged over a point group: the nearest one that has its symmetry."""
    return np.asarray(np.mean([rotated(matrix, r) for r in rotations], axis=0))


def independent_constants(rotations: FloatArray) -> dict[str, list[tuple[int, int, float]]]:
    """Return the independent constants of a point group and the elements of the matrix each one determines.

    Returns
    -------
    dict
        From a name such as ``c11`` to elements ``(a, b, factor)`` which are that factor times it and contain nothing
        else; a is at most b. In the conventional orientation the names are those of textbooks: c11, c12, c44 of a
        cubic crystal.
    """
    projector = np.zeros((21, 21))
    for column, (a, b) in enumerate(PAIRS):
        unit = np.zeros((6, 6))
        unit[a, b] = unit[b, a] = 1.0
        image = project(unit, rotations)
        projector[:, column] = [image[c, d] for c, d in PAIRS]
    rank = round(float(np.trace(projector)))
    reduced, pivots = _row_echelon(np.linalg.svd(projector)[0][:, :rank].T)
    constants = {}
    for row, pivot in zip(reduced, pivots, strict=True):
        a, b = PAIRS[pivot]
        alone = np.abs(row) > 1e-6
        mixed = (np.abs(reduced) > 1e-6).sum(axis=0) > 1
        elements = [(*PAIRS[k], float(row[k])) for k in np.flatnonzero(alone & ~mixed)]
        constants[f"c{a + 1}{b + 1}"] = elements
    return constants


def _row_echelon(rows: FloatArray) -> tuple[FloatArray, list[int]]:
    """Return the reduced row echelon form and its pivot columns."""
    rows, pivots, top = rows.copy(), [], 0
    for column in range(rows.shape[1]):
        if top == len(rows):
            break
        best = top + int(np.abs(rows[top:, column]).argmax())
        if abs(rows[best, column]) < 1e-6:
            continue
        rows[[top, best]] = rows[[best, top]]
        rows[top] /= rows[top, column]
        others = [k for k in range(len(rows)) if k != top]
        rows[others] -= np.outer(rows[others, column], rows[top])
        pivots.append(column)
        top += 1
    return rows[:top], pivots


@dataclass(frozen=True)
class Moduli:
    """Moduli of a polycrystal [GPa] and what follows from them.

    Attributes
    ----------
    bulk_voigt, bulk_reuss, shear_voigt, shear_reuss : float [GPa]
        Bounds for uniform strain and uniform stress.
    bulk, shear : float [GPa]
        Hill's means of the two.
    young : float [GPa]
    poisson : float
    pugh : float
        Bulk over shear modulus.
    anisotropy : float
        Universal index: 0 for an isotropic crystal.
    """

    bulk_voigt: float
    bulk_reuss: float
    shear_voigt: float
    shear_reuss: float
    bulk: float
    shear: float
    young: float
    poisson: float
    pugh: float
    anisotropy: float


def moduli(matrix: FloatArray) -> Moduli:
    """Return the moduli of a polycrystal from the elastic constants [GPa] of the crystal.

    Raises
    ------
    StructureError
        The matrix has no inverse.

    Notes
    -----
    R. Hill, Proc. Phys. Soc. A 65, 349 (1952); universal anisotropy: S. I. Ranganathan and M. Ostoja-Starzewski, Phys.
    Rev. Lett. 101, 055504 (2008), ``5 G_V / G_R + K_V / K_R - 6``.
    """
    try:
        s: FloatArray = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    except np.linalg.LinAlgError:
        raise StructureError(
            "the matrix of elastic constants is singular: the structure resists some strain not at all"
        ) from None

    def sums(m: FloatArray) -> tuple[float, float, float]:
        diagonal = m[0, 0] + m[1, 1] + m[2, 2]
        return float(diagonal), float(m[0, 1] + m[0, 2] + m[1, 2]), float(m[3, 3] + m[4, 4] + m[5, 5])

    normal, mixed, shear = sums(matrix)
    k_v, g_v = (normal + 2 * mixed) / 9.0, (normal - mixed + 3 * shear) / 15.0
    normal, mixed, shear = sums(s)
    k_r, g_r = 1.0 / (normal + 2 * mixed), 15.0 / (4 * normal - 4 * mixed + 3 * shear)
    k, g = 0.5 * (k_v + k_r), 0.5 * (g_v + g_r)
    return Moduli(
        bulk_voigt=k_v,
        bulk_reuss=k_r,
        shear_voigt=g_v,
        shear_reuss=g_r,
        bulk=k,
        shear=g,
        young=9.0 * k * g / (3.0 * k + g),
        poisson=(3.0 * k - 2.0 * g) / (2.0 * (3.0 * k + g)),
        pugh=k / g,
        anisotropy=5.0 * g_v / g_r + k_v / k_r - 6.0,
    )
