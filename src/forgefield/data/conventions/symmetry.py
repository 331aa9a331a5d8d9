"""The symmetry test: a stress must be invariant under the point group of its own structure.

No model and no other structure is needed. The operations are found from the cell (integer matrices that keep
its metric) and the atoms (a translation that maps them onto themselves).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from forgefield.data.fingerprint import fingerprint
from forgefield.data.frames import get_stress
from forgefield.data.stress import ORDERS, order_indices
from forgefield.keys import voigt_to_matrix

__all__ = ["SymmetryTest", "point_group", "symmetry_test"]

FloatArray = NDArray[np.float64]

_TOLERANCE = 3e-3
_MAX_ATOMS = 200
_TRIVIAL_ATOMS = 4
_MAX_STRUCTURES = 30
_MIN_VIOLATION = 3e-3
_ORDER_RATIO = 3.0
_CLEAR_SHARE = 0.8


@dataclass(frozen=True)
class SymmetryTest:
    """Outcome for one group.

    Parameters
    ----------
    n_structures : int
        Structures whose symmetry tells at least two orders apart.
    residuals : dict
        Order -> root mean square of the part of the stress that breaks the symmetry [units of the label].
    orders : tuple of str
        Orders that are as symmetric as the best one; all six where symmetry says nothing.
    """

    n_structures: int
    residuals: dict[str, float]
    orders: tuple[str, ...]


_ROWS = np.array([row for row in itertools.product((-1, 0, 1), repeat=3) if any(row)], dtype=np.int64)


def _lattice_operations(cell: FloatArray, tolerance: float) -> NDArray[np.int64]:
    """Return the integer matrices M (n, 3, 3) for which ``M @ cell`` has the metric of a reduced cell."""
    metric = cell @ cell.T
    length = np.sqrt(np.diag(metric))
    moved = _ROWS @ cell
    moved_length = np.linalg.norm(moved, axis=1)
    choices = [np.flatnonzero(np.abs(moved_length - length[k]) < tolerance) for k in range(3)]
    index = np.array(list(itertools.product(*choices)), dtype=np.intp).reshape(-1, 3)
    dots = moved @ moved.T
    keep = np.abs(np.linalg.det(_ROWS[index].astype(np.float64))).round() == 1
    for a, b in ((0, 1), (0, 2), (1, 2)):
        limit = 2.0 * tolerance * min(length[a], length[b])
        keep &= np.abs(dots[index[:, a], index[:, b]] - metric[a, b]) < limit
    operations: NDArray[np.int64] = _ROWS[index[keep]]
    return operations


def point_group(atoms: Atoms, tolerance: float = _TOLERANCE) -> FloatArray:
    """Return the rotations and reflections that leave a periodic structure unchanged.

    Parameters
    ----------
    atoms : ase.Atoms
        Periodic in three directions.
    tolerance : float [Å]
        Atoms and lattice vectors closer than this coincide.

    Returns
    -------
    (n_operations, 3, 3)
        Cartesian matrices R with ``r' = R r``; the identity is always among them. A group of the identity and
        the inversion is returned as the identity alone.
    """
    cell, _ = minkowski_reduce(np.asarray(atoms.cell.array))
    inverse = np.linalg.inv(cell)
    scaled = atoms.positions @ inverse
    operations = _lattice_operations(cell, tolerance)
    if len(operations) <= 2:
        # The identity and the inversion; neither tells anything about a stress.
        return np.eye(3)[None]
    kinds = _kinds(atoms, tolerance)
    if len(atoms) > _TRIVIAL_ATOMS and len(np.unique(kinds)) == len(atoms):
        return np.eye(3)[None]
    # Rows of `cell` become rows of `matrix @ cell`: r' = r @ (inverse @ matrix @ cell).
    found = [
        (inverse @ matrix @ cell).T
        for matrix in operations
        if _maps_atoms(scaled, matrix, kinds, cell, tolerance)
    ]
    return np.array(found)


def _kinds(atoms: Atoms, tolerance: float) -> NDArray[np.int64]:
    """Return a number per atom, equal for atoms whose neighbours are at the same distances.

    Only such atoms can be mapped onto each other, which leaves few translations to try.
    """
    order = np.argsort(atoms.numbers, kind="stable")
    table = np.concatenate([1e3 * np.sort(atoms.numbers)[:, None], fingerprint(atoms)], axis=1)
    close = np.array([np.abs(row - table).max(axis=1) < 4.0 * tolerance for row in table])
    kinds = np.empty(len(atoms), dtype=np.int64)
    kinds[order] = connected_components(coo_array(close), directed=False)[1]
    return kinds


def _maps_atoms(
    scaled: FloatArray,
    matrix: NDArray[np.int64],
    numbers: NDArray[np.int64],
    cell: FloatArray,
    tolerance: float,
) -> bool:
    """Tell whether a translation completes the operation so that every atom lands on one of its kind."""
    rotated = scaled @ matrix
    kinds, counts = np.unique(numbers, return_counts=True)
    rare = np.flatnonzero(numbers == kinds[np.argmin(counts)])
    translations = scaled[rare] - rotated[rare[0]]
    for probe in np.linspace(0, len(scaled) - 1, min(4, len(scaled))).astype(int):
        hits = _near(rotated[probe] + translations, scaled, cell, tolerance) & (numbers == numbers[probe])
        translations = translations[hits.any(axis=1)]
    same = numbers[:, None] == numbers[None, :]
    return any(
        bool((_near(rotated + t, scaled, cell, tolerance) & same).any(axis=1).all()) for t in translations
    )


def _near(first: FloatArray, second: FloatArray, cell: FloatArray, tolerance: float) -> NDArray[np.bool_]:
    """Tell which scaled positions coincide modulo the lattice, (n_first, n_second)."""
    gaps = first[:, None, :] - second[None, :, :]
    gaps -= np.round(gaps)
    near: NDArray[np.bool_] = ((gaps @ cell) ** 2).sum(axis=2) < tolerance**2
    return near


def symmetry_test(frames: Sequence[Atoms]) -> SymmetryTest:
    """Compare how well the stresses keep the symmetry of their structures under the six orders.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        One group; at most 30 periodic structures of at most 200 atoms with sheared stress are looked at.
    """
    usable = [a for a in frames if _usable(a)]
    if len(usable) > _MAX_STRUCTURES:
        usable = [usable[k] for k in np.linspace(0, len(usable) - 1, _MAX_STRUCTURES).astype(int)]
    table = np.array([row for row in map(_residuals, usable) if row is not None]).reshape(-1, len(ORDERS))
    if not len(table):
        return SymmetryTest(0, {}, ORDERS)
    total = np.sqrt((table**2).mean(axis=0))
    residuals = dict(zip(ORDERS, map(float, total), strict=True))
    best = min(residuals, key=lambda order: residuals[order])
    allowed = []
    for k, order in enumerate(ORDERS):
        # An order is excluded where it breaks the symmetry clearly more than the best in most structures that
        # can tell the two apart; a single odd structure must not decide.
        mine, theirs = table[:, k], table[:, ORDERS.index(best)]
        differ = np.abs(mine - theirs) > 1e-9 * np.abs(table).max()
        worse = mine[differ] > _ORDER_RATIO * theirs[differ]
        clear = (
            bool(len(worse))
            and worse.mean() >= _CLEAR_SHARE
            and residuals[order] > _ORDER_RATIO * residuals[best]
        )
        if order == best or not clear:
            allowed.append(order)
    return SymmetryTest(len(table), residuals, tuple(allowed))


def _usable(atoms: Atoms) -> bool:
    stress = get_stress(atoms)
    if stress is None or len(atoms) > _MAX_ATOMS or not atoms.pbc.all():
        return False
    return float(np.abs(stress[3:]).max()) > _MIN_VIOLATION * float(np.abs(stress).max())


def _residuals(atoms: Atoms) -> FloatArray | None:
    """Return the symmetry-breaking part under each order, None where all are the same."""
    stress = get_stress(atoms)
    group = point_group(atoms)
    if stress is None or len(group) <= 1:
        return None
    candidates = np.array(
        [np.concatenate([stress[:3], stress[3:][order_indices(order)]]) for order in ORDERS]
    )
    tensors = voigt_to_matrix(candidates)
    mean = np.mean([rotation @ tensors @ rotation.T for rotation in group], axis=0)
    broken = np.sqrt(((tensors - mean) ** 2).mean(axis=(1, 2)))
    return broken if np.ptp(broken) > _MIN_VIOLATION * float(np.abs(stress).max()) else None
