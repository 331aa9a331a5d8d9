"""Neighbour lists and batches: the only place that knows about periodic images.

Pairs are kept in rows, one row per centre, padded to the longest row of the batch: row i holds every neighbour j of
atom i with ``r_ij = r_j - r_i + S @ cell``. A padding entry points from an atom to itself at twice the cutoff, where
every radial function and its derivative vanish, so no kernel needs a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.geometry import complete_cell
from numpy.typing import NDArray
from vesin import NeighborList

from forgefield.errors import StructureError, UnknownSpeciesError

__all__ = ["Graph", "Pairs", "batch", "build_graph", "neighbour_pairs", "species_index"]

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
    positions = np.ascontiguousarray(atoms.positions, dtype=np.float64)
    pbc = np.asarray(atoms.pbc, dtype=bool)
    cell = np.asarray(atoms.cell.array, dtype=np.float64)
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        raise StructureError("positions or cell are not finite (NaN or infinity); check the input structure")
    _check_cell(cell, pbc)
    cell = np.ascontiguousarray(complete_cell(cell))
    calculator = NeighborList(cutoff=float(cutoff), full_list=True, sorted=True, n_threads=1)
    i, j, shifts, vectors = calculator.compute(
        points=positions, box=cell, periodic=list(map(bool, pbc)), quantities="ijSD"
    )
    distances = np.sqrt((vectors * vectors).sum(axis=1))
    if len(distances) and distances.min() < CLOSEST_PAIR:
        worst = int(distances.argmin())
        raise StructureError(
            f"atoms {int(i[worst])} and {int(j[worst])} are {distances[worst]:.4f} Å apart (allowed: "
            f">= {CLOSEST_PAIR} Å); remove the duplicate atom"
        )
    return i.astype(np.int64), j.astype(np.int64), shifts.astype(np.int64), np.ascontiguousarray(vectors)


def _check_cell(cell: FloatArray, pbc: NDArray[np.bool_]) -> None:
    vectors = cell[pbc]
    if len(vectors) == 0:
        return
    gram = vectors @ vectors.T
    lengths = np.sqrt(np.diag(gram))
    if (lengths < 1e-6).any() or np.linalg.det(gram / np.outer(lengths, lengths)) < 1e-10:
        raise StructureError(
            f"the cell {cell.tolist()} has no volume along its periodic directions {pbc.tolist()}; "
            "set a cell or pbc=False"
        )


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
    n_atoms = len(atoms)
    if n_atoms == 0:
        raise StructureError("the structure has no atoms; nothing to predict")
    index = species_index(atoms.numbers, species)
    i, j, _, vectors = neighbour_pairs(atoms, max(cutoffs))
    distances2 = (vectors * vectors).sum(axis=1)
    pairs = []
    for cutoff in cutoffs:
        keep = slice(None) if cutoff == max(cutoffs) else distances2 < cutoff * cutoff
        pairs.append(_in_rows(i[keep], j[keep], vectors[keep], n_atoms, cutoff))
    volume = abs(float(np.linalg.det(atoms.cell.array))) if atoms.pbc.all() else np.nan
    return Graph(
        species=index,
        structure=np.zeros(n_atoms, dtype=np.int64),
        n_atoms_per_structure=np.array([n_atoms]),
        volumes=np.array([volume]),
        pairs=tuple(pairs),
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
