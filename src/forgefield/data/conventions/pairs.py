"""Pairs of like structures, whose energy difference must equal the work of their forces and stresses.

For two structures with the same atoms in the same order, cells h_i, h_j (rows) and mean cell h, the displacement
gradient is L = h^-1 (h_j - h_i), the strain e its symmetric part, and the displacements beyond it are
u = (s_j - s_i) h with scaled coordinates s. To third order in e and u

    E_j - E_i = V <stress> : e - <forces> . u

where < > is the mean of the two labels and V the volume of the mean cell (trapezoidal rule).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.data.frames import get_energy, get_forces, get_stress

__all__ = ["PairTable", "find_pairs"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

_MAX_STRAIN = 0.06
_MAX_ROTATION = 0.06
_MIN_STRAIN = 1e-4
_MAX_MOVE = 0.15
_CLASS_LIMIT = 700
_SAME_CELL_LIMIT = 150
_PER_STRUCTURE = 6


@dataclass(frozen=True)
class PairTable:
    """Pairs of like structures.

    Parameters
    ----------
    first, second : (n,) int
        Indices of the structures.
    energy : (n,) [eV]
        E_j - E_i.
    force_work : (n,) [eV]
        -<forces> . u, zero where forces are missing and no atom moved.
    volume : (n,) [Å^3]
        Of the mean cell.
    strain : (n, 6)
        e in the order xx yy zz yz xz xy (tensor components, not doubled).
    stress : (n, 6) [units of the label]
        Mean of the two labels.
    move : (n,) [Å]
        Largest displacement beyond the strain.
    """

    first: IntArray
    second: IntArray
    energy: FloatArray
    force_work: FloatArray
    volume: FloatArray
    strain: FloatArray
    stress: FloatArray
    move: FloatArray

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.first)

    def select(self, mask: NDArray[np.bool_]) -> PairTable:
        """Return the pairs where `mask` is true."""
        return PairTable(**{name: getattr(self, name)[mask] for name in self.__dataclass_fields__})


def find_pairs(
    frames: Sequence[Atoms],
    *,
    strained: bool = True,
    max_strain: float = _MAX_STRAIN,
    max_move: float = _MAX_MOVE,
) -> PairTable:
    """Find pairs of like structures with energies.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Of one group; structures without energy (and, if `strained`, without stress) are left out.
    strained : bool
        Only pairs whose cells differ (for the stress); False: only pairs with the same cell (for the forces).
    max_strain : float
        Largest component of the strain.
    max_move : float [Å]
        Largest displacement beyond the strain.
    """
    classes: dict[bytes, list[int]] = {}
    for k, atoms in enumerate(frames):
        usable = get_energy(atoms) is not None and atoms.pbc.all() and abs(atoms.cell.volume) > 0
        if usable and (not strained or get_stress(atoms) is not None):
            classes.setdefault(np.asarray(atoms.numbers, dtype=np.int64).tobytes(), []).append(k)
    rows = [
        row
        for members in classes.values()
        if len(members) > 1
        for row in _class_pairs(frames, members, strained, max_strain, max_move)
    ]
    return PairTable(
        first=np.array([row.first for row in rows], dtype=np.intp),
        second=np.array([row.second for row in rows], dtype=np.intp),
        energy=np.array([row.energy for row in rows]),
        force_work=np.array([row.force_work for row in rows]),
        volume=np.array([row.volume for row in rows]),
        strain=np.array([row.strain for row in rows]).reshape(-1, 6),
        stress=np.array([row.stress for row in rows]).reshape(-1, 6),
        move=np.array([row.move for row in rows]),
    )


class _Pair(NamedTuple):
    first: int
    second: int
    energy: float
    force_work: float
    volume: float
    strain: FloatArray
    stress: FloatArray
    move: float


def _class_pairs(
    frames: Sequence[Atoms], members: list[int], strained: bool, max_strain: float, max_move: float
) -> Iterator[_Pair]:
    limit = _CLASS_LIMIT if strained else _SAME_CELL_LIMIT
    if len(members) > limit:
        members = [members[k] for k in np.linspace(0, len(members) - 1, limit).astype(int)]
    cells = np.array([frames[k].cell.array for k in members])
    scaled = np.array([frames[k].get_scaled_positions(wrap=False) for k in members])
    first, second = _candidates(cells, strained=strained, max_strain=max_strain)
    mean = 0.5 * (cells[first] + cells[second])
    shift = scaled[second] - scaled[first]
    shift -= np.round(shift)
    moves = np.einsum("pai,pij->paj", shift, mean)
    moves -= moves.mean(axis=1, keepdims=True)
    largest = np.sqrt((moves**2).sum(axis=2)).max(axis=1, initial=0.0)
    near = largest <= max_move
    if not strained:
        near &= largest > 1e-4
    first, second, mean, moves, largest = (a[near] for a in (first, second, mean, moves, largest))
    gradient = np.linalg.solve(mean, cells[second] - cells[first])
    strain = 0.5 * (gradient + gradient.transpose(0, 2, 1))
    size = np.abs(strain).max(axis=(1, 2), initial=0.0) + largest / 10.0
    for p in _nearest(first, second, size, len(members)):
        i, j = members[first[p]], members[second[p]]
        forces_i, forces_j = get_forces(frames[i]), get_forces(frames[j])
        if forces_i is None or forces_j is None:
            if largest[p] > 1e-4:
                continue
            work = 0.0
        else:
            work = -0.5 * float(((forces_i + forces_j) * moves[p]).sum())
        stress_i, stress_j = get_stress(frames[i]), get_stress(frames[j])
        mean_stress = np.zeros(6) if stress_i is None or stress_j is None else 0.5 * (stress_i + stress_j)
        energy = (get_energy(frames[j]) or 0.0) - (get_energy(frames[i]) or 0.0)
        volume = abs(float(np.linalg.det(mean[p])))
        voigt = strain[p][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        yield _Pair(i, j, energy, work, volume, voigt, mean_stress, float(largest[p]))


def _candidates(cells: FloatArray, *, strained: bool, max_strain: float) -> tuple[IntArray, IntArray]:
    """Return pairs whose cells differ by a small strain without much rotation (or not at all)."""
    first, second = np.triu_indices(len(cells), k=1)
    gradient = np.linalg.solve(0.5 * (cells[first] + cells[second]), cells[second] - cells[first])
    strain = np.abs(gradient + gradient.transpose(0, 2, 1)).max(axis=(1, 2)) / 2.0
    rotation = np.abs(gradient - gradient.transpose(0, 2, 1)).max(axis=(1, 2)) / 2.0
    if strained:
        keep = (strain >= _MIN_STRAIN) & (strain <= max_strain) & (rotation <= _MAX_ROTATION)
    else:
        keep = (strain < 1e-6) & (rotation < 1e-6)
    return first[keep], second[keep]


def _nearest(first: IntArray, second: IntArray, size: FloatArray, n: int) -> list[int]:
    """Return the closest pairs, at most `_PER_STRUCTURE` that start from each structure."""
    count = np.zeros(n, dtype=np.intp)
    chosen = []
    for p in np.argsort(size, kind="stable"):
        if count[first[p]] < _PER_STRUCTURE or count[second[p]] < _PER_STRUCTURE:
            count[first[p]] += 1
            count[second[p]] += 1
            chosen.append(int(p))
    return chosen
