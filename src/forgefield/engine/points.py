"""Atoms and their periodic images as plain points, and which of them are near which atom.

Kernels see no cell: images within reach are points of their own, and what is computed for them is added to the atom
they are images of.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from forgefield.engine.neighbour_kernel import image_kernel
from forgefield.errors import StructureError
from forgefield.tracer.cache import aligned

__all__ = ["FAR", "MOST_POINTS", "Listing", "Points", "make_points"]

FAR = 1.0e5
"""Where points that fill up rows lie [Å]: beyond every cutoff of every atom."""

MOST_POINTS = 2**31 - 64
"""Points and pairs are numbered in 32 bits."""

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
        From atom to image, in units of the cell vectors.
    wraps : (n_atoms, 3) int or None
        From where the structure has each atom to its point, in units of the cell vectors; None where all are zero.
    """

    positions: FloatArray
    species: IntArray
    owner: IntArray
    shifts: NDArray[np.int32]
    wraps: IntArray | None = None
    _cell: FloatArray | None = field(default=None, repr=False)
    _offsets: tuple[FloatArray, FloatArray | None] | None = field(default=None, repr=False)

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
        if self._offsets is None or self._cell is None or not np.array_equal(self._cell, cell):
            images = np.zeros((len(self.owner), 4))
            np.matmul(self.shifts.astype(np.float64), cell, out=images[:, :3])
            self._offsets = images, None if self.wraps is None else self.wraps @ cell
            self._cell = cell.copy()
        images, wraps = self._offsets
        if wraps is None:
            for c in range(3):  # column by column: rows of three are slow
                self.positions[:n, c] = positions[:, c]
        else:
            for c in range(3):
                np.add(positions[:, c], wraps[:, c], out=self.positions[:n, c])
        if len(self.owner):
            np.take(self.positions, self.owner, axis=0, out=self.positions[n:-2], mode="clip")
            self.positions[n:-2] += images

    def fold(self, values: NDArray[np.floating]) -> FloatArray:
        """Add what images collected to their atoms: (n_points, 4) to (n_atoms, 3), in float64."""
        n = self.n_atoms
        result = np.empty((n, 3))
        for c in range(3):  # column by column, see `move`
            result[:, c] = values[:n, c]
            if len(self.owner):
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


def make_points(
    positions: FloatArray, cell: FloatArray, pbc: NDArray[np.bool_], species: IntArray, reach: float
) -> Points:
    """Return the atoms of a structure, wrapped into the cell, and all images within `reach` of the box they fill.

    Parameters
    ----------
    positions : (n_atoms, 3) [Å]
        Finite, at least one.
    cell : (3, 3) [Å]
        With vectors for all directions, also those that are not periodic.
    pbc : (3,) bool
    species : (n_atoms,) int
    reach : float [Å]
    """
    inverse = np.linalg.inv(cell)
    fractional = inverse.T @ positions.T
    below = np.floor(fractional)
    if not pbc.all():
        below[~pbc] = 0.0
    wraps = None
    if below.any():
        fractional -= below
        wraps = np.ascontiguousarray(-below.T).astype(np.int64)
    owner, shifts = _images(fractional, reach * np.sqrt((inverse * inverse).sum(axis=0)), pbc)
    rows = aligned((len(species) + len(owner) + 2, 4), np.float64)
    points = Points(rows, species, owner, shifts, wraps)
    points.move(positions, cell)
    largest = float(np.abs(rows).max())
    if not largest < FAR / 2:
        raise StructureError(
            f"an atom or image lies {largest:.4g} Å from the origin (allowed: < {FAR / 2:.0f} Å); "
            "move the structure to the origin"
        )
    rows[-2], rows[-1] = FAR, -FAR
    return points


def _images(
    fractional: FloatArray, margins: FloatArray, pbc: NDArray[np.bool_]
) -> tuple[IntArray, NDArray[np.int32]]:
    """Return the images within `margins` of the box that the atoms fill: their atoms, and their shifts (n_images, 3)."""
    n = fractional.shape[1]
    limits = np.stack([fractional.min(axis=1) - margins, fractional.max(axis=1) + margins])
    bounds = np.ceil(limits[:, :, None] - fractional)
    if not pbc.all():
        bounds[0, ~pbc], bounds[1, ~pbc] = 0.0, 1.0
    many = bounds[1] - bounds[0]
    expected = float((many[0] * many[1]) @ many[2])
    if expected > MOST_POINTS:
        raise StructureError(
            f"{n} atoms would need about {expected:.1e} periodic images (allowed: {MOST_POINTS:.1e}); the cell is far "
            "too thin for the cutoff"
        )
    n_images = int(expected) - n
    owner, shifts = np.empty(n_images + 1, dtype=np.int32), np.empty((n_images + 1, 3), dtype=np.int32)
    image_kernel()(n, bounds.astype(np.int32), owner, shifts)
    return owner[:-1].astype(np.int64), shifts[:-1]
