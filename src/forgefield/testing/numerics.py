"""Helpers of the checks: deviations, rigid motions, central differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from forgefield.keys import VOIGT

__all__ = [
    "OFFSETS",
    "STEP",
    "central_difference",
    "deviation",
    "forces_along",
    "random_rotation",
    "strain_gradient",
    "transformed",
]

FloatArray = NDArray[np.float64]
Energies = Callable[[Sequence[Atoms]], FloatArray]
"""Energies [eV] of several structures."""

STEP = 2e-5
"""Displacement [Å] or strain of the finite differences.

Small, as the second derivative jumps where a pair crosses the cutoff; the rounding error is still below 1e-9.
"""

OFFSETS = (-2.0, -1.0, 1.0, 2.0)
"""Points of the differences, in steps."""


def deviation(value: ArrayLike, expected: ArrayLike, floor: float = 1e-6) -> float:
    """Return ``max |value - expected| / max(max |expected|, floor)``; infinite where a value is not finite."""
    a, b = np.asarray(value, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if a.shape != b.shape or not np.isfinite(a).all():
        return np.inf
    if a.size == 0:
        return 0.0
    return float(np.abs(a - b).max() / max(float(np.abs(b).max()), floor))


def central_difference(points: Iterable[Any]) -> FloatArray:
    """Return the derivative from f at the four `OFFSETS` (in units of `STEP`), fourth order in the step."""
    far_left, left, right, far_right = (np.asarray(p, dtype=np.float64) for p in points)
    return np.asarray((8.0 * (right - left) - (far_right - far_left)) / (12.0 * STEP), dtype=np.float64)


def forces_along(energies: Energies, atoms: Atoms, directions: Sequence[FloatArray]) -> FloatArray:
    """Return ``-dE/dt`` for positions + t direction, one for each direction."""
    frames = []
    for direction in directions:
        for offset in OFFSETS:
            frames.append(atoms.copy())
            frames[-1].positions += offset * STEP * direction
    return -central_difference(energies(frames).reshape(-1, 4).T)


def strain_gradient(energies: Energies, atoms: Atoms) -> FloatArray:
    """Return ``dE/dstrain`` (6,) for symmetric strains, Voigt order of `keys.VOIGT` [eV]."""
    frames = []
    for a, b in VOIGT:
        strain = np.zeros((3, 3))
        strain[a, b] += 0.5
        strain[b, a] += 0.5
        frames += [transformed(atoms, np.eye(3) + offset * STEP * strain) for offset in OFFSETS]
    return central_difference(energies(frames).reshape(-1, 4).T)


def transformed(atoms: Atoms, matrix: FloatArray) -> Atoms:
    """Return the structure with every vector x replaced by ``x @ matrix``."""
    other = atoms.copy()
    other.set_cell(atoms.cell.array @ matrix, scale_atoms=False)
    other.positions = atoms.positions @ matrix
    return other


def random_rotation(rng: np.random.Generator, *, improper: bool = False) -> FloatArray:
    """Return a random rotation matrix, or a rotation with a reflection."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    wanted = -1.0 if improper else 1.0
    q[:, 0] *= wanted * np.sign(np.linalg.det(q))
    return np.asarray(q, dtype=np.float64)
