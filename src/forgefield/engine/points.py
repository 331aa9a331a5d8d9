"""Atoms and their periodic images as plain points, and which of them are near which atom.

Kernels see no cell: images within reach are points of their own, and what is computed for them is added to the atom
they are images of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.graph import neighbour_pairs, species_index
from forgefield.tracer.cache import aligned

__all__ = ["Listing", "Points", "list_neighbours"]

FAR = 1.0e5
"""Where points that fill up rows lie [Å]: beyond every cutoff of every atom."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass
class Points:
    """Atoms, then images, then two points far away (a neighbour for padding, a centre for padding).

    Attributes
    ----------
    positions : (n_atoms + n_images + 2, 4) float64 [Å]
        x, y, z and an unused number.
    species : (n_atoms,) int
        Index of each atom's element.
    owner : (n_images,) int
        The atom that each image repeats.
    shifts : (n_images, 3) int
        In units of the cell vectors.
    """

    positions: FloatArray
    species: IntArray
    owner: IntArray
    shifts: IntArray

    @property
    def n_atoms(self) -> int:
        """Atoms without images."""
        return len(self.species)

    @property
    def padding(self) -> int:
        """Index of the point that stands for no neighbour; the next one stands for no centre."""
        return len(self.positions) - 2

    def move(self, positions: FloatArray, cell: FloatArray) -> None:
        """Put the atoms at new (n_atoms, 3) positions in a (3, 3) cell; the images follow."""
        n = self.n_atoms
        self.positions[:n, :3] = positions
        if len(self.owner):
            self.positions[n:-2, :3] = positions[self.owner] + self.shifts @ cell

    def fold(self, values: NDArray[np.floating]) -> FloatArray:
        """Add what images collected to their atoms: (n_points, 4) to (n_atoms, 3), in float64."""
        n = self.n_atoms
        result = values[:n, :3].astype(np.float64)
        if len(self.owner):
            for c in range(3):
                result[:, c] += np.bincount(self.owner, values[n:-2, c], n)
        return result


@dataclass(frozen=True)
class Listing:
    """The neighbours of every atom within one cutoff, by species.

    Attributes
    ----------
    neighbours : (n_entries,) int32
        Indices of points. The neighbours of atom i of species s are the entries from ``first[i * n_species + s]`` up
        to the one before the next start; each such run ends with the padding point, which does not count.
    first : (n_atoms * n_species + 1,) int64
    """

    neighbours: NDArray[np.int32]
    first: IntArray


def list_neighbours(
    atoms: Atoms, species: Sequence[int], cutoffs: Sequence[float]
) -> tuple[Points, tuple[Listing, ...]]:
    """Return the points of a structure and a list of neighbours for each cutoff.

    Parameters
    ----------
    atoms : ase.Atoms
    species : sequence of int
        Atomic numbers the potential knows, in its order.
    cutoffs : sequence of float [Å]
    """
    index = species_index(atoms.numbers, species)
    i, j, shifts, vectors = neighbour_pairs(atoms, max(cutoffs))
    n = len(index)
    target = j.copy()
    outside = shifts.any(axis=1)
    images, owner = np.zeros((0, 3), dtype=np.int64), np.zeros(0, dtype=np.int64)
    if outside.any():
        reach = int(np.abs(shifts).max())
        width = 2 * reach + 1
        s = shifts[outside] + reach
        code = ((s[:, 0] * width + s[:, 1]) * width + s[:, 2]) * n + j[outside]
        unique, inverse = np.unique(code, return_inverse=True)
        target[outside] = n + inverse
        cells, owner = np.divmod(unique, n)
        images = np.stack(np.unravel_index(cells, (width, width, width)), axis=1) - reach
    positions = aligned((n + len(owner) + 2, 4), np.float64)
    positions[-2], positions[-1] = FAR, -FAR
    points = Points(positions, index, owner, images)
    points.move(atoms.positions, atoms.cell.array)
    distances2 = (vectors * vectors).sum(axis=1)
    lists = []
    for cutoff in cutoffs:
        near = distances2 < cutoff * cutoff
        lists.append(_listing(i[near], target[near], index[j[near]], n, len(species), points.padding))
    return points, tuple(lists)


def _listing(
    i: IntArray, target: IntArray, kinds: IntArray, n_atoms: int, n_species: int, padding: int
) -> Listing:
    segment = i * n_species + kinds
    order = np.argsort(segment, kind="stable") if n_species > 1 else np.arange(len(i))
    counts = np.bincount(segment, minlength=n_atoms * n_species)
    first = np.concatenate([[0], np.cumsum(counts + 1)])
    neighbours = np.full(int(first[-1]), padding, dtype=np.int32)
    sorted_segment = segment[order]
    rank = np.arange(len(i)) - (np.cumsum(counts) - counts)[sorted_segment]
    neighbours[first[sorted_segment] + rank] = target[order]
    return Listing(neighbours, first)
