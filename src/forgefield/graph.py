"""Neighbour lists and batches: the only place that knows about periodic images.

Pairs are kept in rows, one row per centre, padded to the longest row of the batch: row i holds every neighbour j of
atom i with ``r_ij = r_j - r_i + S @ cell``. A padding entry points from an atom to itself at twice the cutoff, where
every radial function and its derivative vanish, so no kernel needs a mask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.geometry import complete_cell
from numpy.typing import NDArray
from vesin import NeighborList

from forgefield.errors import ConfigError, StructureError, UnknownSpeciesError

__all__ = [
    "Graph",
    "Pairs",
    "SkinnedNeighbours",
    "batch",
    "build_graph",
    "checked_geometry",
    "neighbour_pairs",
    "species_index",
    "still_listed",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CLOSEST_PAIR = 0.01
"""Atoms nearer than this [Å] are the same atom twice: an error, not physics."""


@dataclass(frozen=True)
class Pairs:
    """All neighbours within one cutoff, in padded rows.

    Attributes
    ----------
    cutoff : float [Å]
    neighbours : (n_atoms, width) int
        Index j of each neighbour in the batch; the centre itself where padded.
    vectors : (n_atoms, width, 3) [Å]
        ``r_ij``; ``(2 cutoff, 0, 0)`` where padded.
    counts : (n_atoms,) int
        Real neighbours of each row; they come first.
    """

    cutoff: float
    neighbours: IntArray
    vectors: FloatArray
    counts: IntArray

    @property
    def width(self) -> int:
        """Length of the rows, at least one."""
        return int(self.neighbours.shape[1])


@dataclass(frozen=True)
class Graph:
    """One or several structures, ready for a potential.

    Attributes
    ----------
    species : (n_atoms,) int
        Index of each atom's element in the potential's list.
    structure : (n_atoms,) int
        Which structure each atom belongs to; non-decreasing.
    n_atoms_per_structure : (n_structures,) int
    volumes : (n_structures,) [Å^3]
        NaN where the structure is not periodic in three directions.
    pairs : tuple of Pairs
        One per cutoff asked for, in that order.
    """

    species: IntArray
    structure: IntArray
    n_atoms_per_structure: IntArray
    volumes: FloatArray
    pairs: tuple[Pairs, ...]

    @property
    def n_atoms(self) -> int:
        """Atoms in the batch."""
        return len(self.species)

    @property
    def n_structures(self) -> int:
        """Structures in the batch."""
        return len(self.volumes)


def species_index(numbers: NDArray[np.int64], species: Sequence[int]) -> IntArray:
    """Return the position of each atomic number in `species`.

    Raises
    ------
    UnknownSpeciesError
        Naming the elements that are not in `species`.
    """
    lookup = np.full(len(chemical_symbols) + 1, -1, dtype=np.int64)
    lookup[np.asarray(species, dtype=np.int64)] = np.arange(len(species))
    index = lookup[np.asarray(numbers, dtype=np.int64)]
    if (index < 0).any():
        unknown = sorted({chemical_symbols[z] for z in np.asarray(numbers)[index < 0]})
        known = ", ".join(chemical_symbols[z] for z in species)
        raise UnknownSpeciesError(
            f"this potential knows {known}, but the structure contains {', '.join(unknown)}; "
            "train it with data of these elements"
        )
    return index


def neighbour_pairs(atoms: Atoms, cutoff: float) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
    """Return the full neighbour list (i, j, S, r_ij), sorted by centre i.

    Parameters
    ----------
    atoms : ase.Atoms
        Any cell: triclinic, left-handed, thinner than the cutoff, periodic in any directions.
    cutoff : float [Å]

    Raises
    ------
    StructureError
        Non-finite positions, a flat periodic cell, or two atoms at the same place.
    """
    positions, cell, pbc = checked_geometry(atoms)
    calculator = NeighborList(cutoff=float(cutoff), full_list=True, sorted=True, n_threads=1)
    i, j, shifts, vectors = calculator.compute(
        points=positions, box=cell, periodic=list(map(bool, pbc)), quantities="ijSD"
    )
    _check_distances(i, j, vectors)
    return i.astype(np.int64), j.astype(np.int64), shifts.astype(np.int64), np.ascontiguousarray(vectors)


def checked_geometry(atoms: Atoms) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return (positions, cell, pbc) of a structure; vectors of the cell that do not count are replaced.

    Raises
    ------
    StructureError
        Non-finite positions or a flat periodic cell.
    """
    positions = np.ascontiguousarray(atoms.positions, dtype=np.float64)
    pbc = np.asarray(atoms.pbc, dtype=bool)
    cell = np.asarray(atoms.cell.array, dtype=np.float64)
    vectors = cell.tolist()  # plain numbers: for three vectors NumPy takes ten times as long
    # A sum is not finite if a number is not; only sums that overflow need a closer look.
    total = float(positions.sum()) + sum(map(sum, vectors))
    if not math.isfinite(total) and not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        raise StructureError("positions or cell are not finite (NaN or infinity); check the input structure")
    _check_cell(vectors, pbc.tolist())
    return positions, _completed(cell, pbc), pbc


def _check_distances(i: IntArray, j: IntArray, vectors: FloatArray) -> None:
    distances2 = (vectors * vectors).sum(axis=1)
    if len(distances2) and not distances2.min() >= CLOSEST_PAIR**2:
        worst = int(distances2.argmin())
        raise StructureError(
            f"atoms {int(i[worst])} and {int(j[worst])} are {distances2[worst] ** 0.5:.4f} Å apart (allowed: "
            f">= {CLOSEST_PAIR} Å); remove the duplicate atom"
        )


def _completed(cell: FloatArray, pbc: NDArray[np.bool_]) -> FloatArray:
    """Return the cell with unit vectors across its periodic directions in place of those that do not count."""
    if pbc.all():
        return np.ascontiguousarray(cell, dtype=np.float64)
    return np.ascontiguousarray(complete_cell(np.where(pbc[:, None], cell, 0.0)), dtype=np.float64)


def _check_cell(cell: list[list[float]], pbc: list[bool]) -> None:
    vectors = [v for v, periodic in zip(cell, pbc, strict=True) if periodic]
    lengths = [math.hypot(*v) for v in vectors]
    if vectors and (min(lengths) < 1e-6 or _content(vectors) / math.prod(lengths) < 1e-5):
        raise StructureError(
            f"the cell {cell} has no volume along its periodic directions {pbc}; set a cell or pbc=False"
        )


def _content(vectors: list[list[float]]) -> float:
    """Return the length, area or volume that one to three vectors span."""
    if len(vectors) == 1:
        return math.hypot(*vectors[0])
    (a, b, c), (x, y, z) = vectors[:2]
    across = b * z - c * y, c * x - a * z, a * y - b * x
    if len(vectors) == 2:
        return math.hypot(*across)
    return abs(sum(p * q for p, q in zip(across, vectors[2], strict=True)))


def build_graph(atoms: Atoms, species: Sequence[int], cutoffs: Sequence[float]) -> Graph:
    """Return the graph of one structure.

    Parameters
    ----------
    atoms : ase.Atoms
    species : sequence of int
        Atomic numbers the potential knows, in its order.
    cutoffs : sequence of float [Å]
        One list of pairs is made for each.
    """
    index = _index(atoms, species)
    i, j, _, vectors = neighbour_pairs(atoms, max(cutoffs))
    return _one_structure(atoms, index, (i, j, vectors), cutoffs)


def _index(atoms: Atoms, species: Sequence[int]) -> IntArray:
    if len(atoms) == 0:
        raise StructureError("the structure has no atoms; nothing to predict")
    return species_index(atoms.numbers, species)


def _one_structure(
    atoms: Atoms, index: IntArray, pairs: tuple[IntArray, IntArray, FloatArray], cutoffs: Sequence[float]
) -> Graph:
    """Return the graph of a structure from its pairs (i, j, r_ij), sorted by i; those beyond a cutoff drop out."""
    i, j, vectors = pairs
    n_atoms = len(atoms)
    distances2 = (vectors * vectors).sum(axis=1)
    rows = []
    for cutoff in cutoffs:
        keep = distances2 < cutoff * cutoff
        rows.append(_in_rows(i[keep], j[keep], vectors[keep], n_atoms, cutoff))
    volume = abs(float(np.linalg.det(atoms.cell.array))) if atoms.pbc.all() else np.nan
    return Graph(
        species=index,
        structure=np.zeros(n_atoms, dtype=np.int64),
        n_atoms_per_structure=np.array([n_atoms]),
        volumes=np.array([volume]),
        pairs=tuple(rows),
    )


@dataclass(frozen=True)
class _Snapshot:
    """The list of pairs within cutoff + skin, and the structure it was made for."""

    numbers: IntArray
    pbc: NDArray[np.bool_]
    cell: FloatArray
    positions: FloatArray
    index: IntArray
    i: IntArray
    j: IntArray
    shifts: FloatArray | None


def still_listed(
    positions: FloatArray, cell: FloatArray, atoms: Atoms, *, cutoff: float, listed: float
) -> bool:
    """Return whether a list of all pairs within `listed` of a structure holds those within `cutoff` of `atoms`.

    With F the change of the cell and u what the atoms moved beyond it, a pair that is not listed is still farther apart
    than ``s_min(F) listed - 2 max |u|``, s_min being the smallest singular value.

    Parameters
    ----------
    positions : (n_atoms, 3) [Å]
        When the list was made.
    cell : (3, 3) [Å]
        When the list was made.
    atoms : ase.Atoms
        The same atoms now, periodic in the same directions.
    cutoff, listed : float [Å]
    """
    expected, smallest = positions, 1.0
    if not np.array_equal(cell, atoms.cell.array):
        if not np.isfinite(atoms.cell.array).all():
            return False
        deformation = np.linalg.solve(_completed(cell, atoms.pbc), _completed(atoms.cell.array, atoms.pbc))
        expected = positions @ deformation
        smallest = float(np.linalg.svd(deformation, compute_uv=False)[-1])
    moved2 = float(((atoms.positions - expected) ** 2).sum(axis=1).max())
    # The comparison is False for NaN positions, which the new list then reports.
    return bool(smallest * listed - 2.0 * moved2**0.5 >= cutoff)


class SkinnedNeighbours:
    """Graphs of a moving structure from one neighbour list, made anew only when it might miss a pair.

    The list holds all pairs within cutoff + skin. It is kept while `still_listed` says that nothing can be missing; for
    a fixed cell this is the usual rule: no atom moved by more than half the skin.

    Parameters
    ----------
    species : sequence of int
        Atomic numbers the potential knows, in its order.
    cutoffs : sequence of float [Å]
    skin : float [Å], >= 0
        With 0 the list is made anew at every step.

    Attributes
    ----------
    n_builds : int
        How often the list has been made.
    """

    def __init__(self, species: Sequence[int], cutoffs: Sequence[float], skin: float = 1.0) -> None:
        if not (np.isfinite(skin) and skin >= 0):
            raise ConfigError(f"`skin` must be >= 0 Å, got {skin!r}; 1.0 suits most simulations")
        self.species = tuple(species)
        self.cutoffs = tuple(cutoffs)
        self.skin = float(skin)
        self.n_builds = 0
        self._snapshot: _Snapshot | None = None

    def graph(self, atoms: Atoms) -> Graph:
        """Return the graph of the structure, equal to that of `build_graph` up to the order within rows."""
        if self.skin == 0.0:
            self.n_builds += 1
            return build_graph(atoms, self.species, self.cutoffs)
        if self._snapshot is None or not self._covers(self._snapshot, atoms):
            self._snapshot = self._build(atoms)
        now = self._snapshot
        vectors = atoms.positions[now.j] - atoms.positions[now.i]
        if now.shifts is not None:
            vectors += now.shifts @ atoms.cell.array
        _check_distances(now.i, now.j, vectors)
        return _one_structure(atoms, now.index, (now.i, now.j, vectors), self.cutoffs)

    def _covers(self, then: _Snapshot, atoms: Atoms) -> bool:
        if not (np.array_equal(then.numbers, atoms.numbers) and np.array_equal(then.pbc, atoms.pbc)):
            return False
        return still_listed(
            then.positions, then.cell, atoms, cutoff=max(self.cutoffs), listed=max(self.cutoffs) + self.skin
        )

    def _build(self, atoms: Atoms) -> _Snapshot:
        index = _index(atoms, self.species)
        i, j, shifts, _ = neighbour_pairs(atoms, max(self.cutoffs) + self.skin)
        self.n_builds += 1
        return _Snapshot(
            numbers=atoms.numbers.copy(),
            pbc=atoms.pbc.copy(),
            cell=atoms.cell.array.copy(),
            positions=atoms.positions.copy(),
            index=index,
            i=i,
            j=j,
            shifts=shifts.astype(np.float64) if shifts.any() else None,
        )


def _in_rows(i: IntArray, j: IntArray, vectors: FloatArray, n_atoms: int, cutoff: float) -> Pairs:
    counts = np.bincount(i, minlength=n_atoms)
    width = max(int(counts.max(initial=0)), 1)
    neighbours, rows = _empty_rows(n_atoms, width, cutoff)
    column = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
    neighbours[i, column] = j
    rows[i, column] = vectors
    return Pairs(cutoff=float(cutoff), neighbours=neighbours, vectors=rows, counts=counts)


def _empty_rows(n_atoms: int, width: int, cutoff: float) -> tuple[IntArray, FloatArray]:
    neighbours = np.repeat(np.arange(n_atoms)[:, None], width, axis=1)
    vectors = np.zeros((n_atoms, width, 3))
    vectors[:, :, 0] = 2.0 * cutoff
    return neighbours, vectors


def batch(graphs: Sequence[Graph]) -> Graph:
    """Join graphs into one; every structure keeps its own atoms and pairs."""
    if len(graphs) == 1:
        return graphs[0]
    sizes = np.array([g.n_atoms for g in graphs])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    n_structures = np.cumsum([0] + [g.n_structures for g in graphs])
    pairs = []
    for k, first in enumerate(graphs[0].pairs):
        width = max(g.pairs[k].width for g in graphs)
        neighbours, vectors = _empty_rows(int(starts[-1]), width, first.cutoff)
        for g, lo, hi in zip(graphs, starts[:-1], starts[1:], strict=True):
            p = g.pairs[k]
            neighbours[lo:hi, : p.width] = p.neighbours + lo
            vectors[lo:hi, : p.width] = p.vectors
        counts = np.concatenate([g.pairs[k].counts for g in graphs])
        pairs.append(Pairs(cutoff=first.cutoff, neighbours=neighbours, vectors=vectors, counts=counts))
    return Graph(
        species=np.concatenate([g.species for g in graphs]),
        structure=np.concatenate([g.structure + n for g, n in zip(graphs, n_structures, strict=False)]),
        n_atoms_per_structure=np.concatenate([g.n_atoms_per_structure for g in graphs]),
        volumes=np.concatenate([g.volumes for g in graphs]),
        pairs=tuple(pairs),
    )
