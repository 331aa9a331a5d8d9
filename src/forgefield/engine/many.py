"""Points and neighbour lists of many structures at once: the work of small cells is in calls, not in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.engine.neighbour_kernel import image_kernel
from forgefield.engine.neighbours import search_points
from forgefield.engine.points import FAR, MOST_POINTS, Listing, Points
from forgefield.errors import StructureError
from forgefield.graph import checked_geometry, neighbour_pairs, species_index
from forgefield.tracer.cache import aligned

__all__ = ["LONGEST", "Together", "length_of", "list_together"]

LONGEST = 2.0e4
"""How far structures that are listed together may reach, one behind the other [Å]."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Together:
    """Several structures as points with one common numbering.

    Attributes
    ----------
    points : Points
        Atoms of all structures, then all images; every structure where it is, so that they overlap.
    lists : tuple of Listing
        For each cutoff; pairs within structures only.
    n_atoms : (n_structures,) int
    """

    points: Points
    lists: tuple[Listing, ...]
    n_atoms: IntArray


def length_of(atoms: Atoms, cutoff: float) -> float:
    """Return the room [Å] along x that a structure and its images take at most, and what parts it from the next."""
    along, pbc = (
        atoms.cell.array[:, 0].tolist(),
        atoms.pbc.tolist(),
    )  # plain numbers: NumPy takes five times as long
    cell = sum(abs(x) for x, periodic in zip(along, pbc, strict=True) if periodic)
    own = float(np.ptp(atoms.positions[:, 0])) if False in pbc and len(atoms) else 0.0
    return float(cell) + own + 6.0 * cutoff


def list_together(frames: Sequence[Atoms], species: Sequence[int], cutoffs: Sequence[float]) -> Together:
    """Return the points of several structures, and their neighbours for each cutoff.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        At least one; together at most `LONGEST` long unless it is a single one.
    species : sequence of int
        Atomic numbers the potential knows, in its order.
    cutoffs : sequence of float [Å]

    Raises
    ------
    StructureError, UnknownSpeciesError
        As `list_neighbours`.
    """
    for atoms in frames:
        if len(atoms) == 0:
            raise StructureError("a structure has no atoms; nothing to fit")
    n_atoms = np.array([len(a) for a in frames], dtype=np.int64)
    index = species_index(np.concatenate([a.numbers for a in frames]), species)
    geometry = [checked_geometry(a) for a in frames]
    reach = max(map(float, cutoffs))
    cells, starts = np.stack([g[1] for g in geometry]), np.cumsum(n_atoms) - n_atoms
    pbc, of_atom = np.stack([g[2] for g in geometry]), np.repeat(np.arange(len(frames)), n_atoms)
    inverse = np.linalg.inv(cells)
    positions = np.concatenate([g[0] for g in geometry])
    fractional = np.einsum("ia,iab->ib", positions, inverse[of_atom])
    wraps = np.where(pbc[of_atom], np.floor(fractional), 0.0)
    fractional -= wraps
    positions = positions - np.einsum("ia,iab->ib", wraps, cells[of_atom])
    margins = reach * np.sqrt((inverse * inverse).sum(axis=1))
    owner, shifts = _images(fractional, margins, pbc, of_atom, starts)
    moved = np.einsum("ia,iab->ib", shifts.astype(np.float64), cells[of_atom[owner]])
    n, n_images = len(positions), len(owner)
    rows = aligned((n + n_images + 2, 4), np.float64)
    rows[:n, :3], rows[n:-2, :3] = positions, positions[owner] + moved
    rows[-2], rows[-1] = FAR, -FAR
    points = Points(rows, index, owner, shifts)
    where = np.concatenate([of_atom, of_atom[owner]])
    distinct = sorted(set(map(float, cutoffs)), reverse=True)
    lists, close = search_points(_apart(points, where, reach), distinct, len(species))
    if close != n:
        for atoms in frames:
            neighbour_pairs(atoms, min(0.1, reach))  # names the two
    found = dict(zip(distinct, lists, strict=True))
    return Together(points, tuple(found[float(c)] for c in cutoffs), n_atoms)


def _images(
    fractional: FloatArray, margins: FloatArray, pbc: NDArray[np.bool_], of_atom: IntArray, starts: IntArray
) -> tuple[IntArray, NDArray[np.int32]]:
    """Return the images within `margins` of the box that the atoms of their structure fill, and their shifts."""
    low = np.minimum.reduceat(fractional, starts) - margins
    high = np.maximum.reduceat(fractional, starts) + margins
    bounds = np.ceil(np.stack([low[of_atom] - fractional, high[of_atom] - fractional]))
    bounds = np.where(pbc[of_atom], bounds, np.array([0.0, 1.0])[:, None, None])
    many = bounds[1] - bounds[0]
    expected = float(many.prod(axis=1).sum())
    if expected > MOST_POINTS:
        raise StructureError(
            f"{len(fractional)} atoms would need about {expected:.1e} periodic images (allowed: {MOST_POINTS:.1e}); a "
            "cell is far too thin for the cutoff"
        )
    n_images = int(expected) - len(fractional)
    owner, shifts = np.empty(n_images + 1, dtype=np.int32), np.empty((n_images + 1, 3), dtype=np.int32)
    lanes_first = np.ascontiguousarray(bounds.transpose(0, 2, 1)).astype(np.int32)
    image_kernel()(len(fractional), lanes_first, owner, shifts)
    return owner[:-1].astype(np.int64), shifts[:-1]


def _apart(points: Points, where: IntArray, reach: float) -> Points:
    """Return the points with the structures one behind the other along x, the same places along y and z."""
    rows = aligned(points.positions.shape, np.float64)
    rows[:] = points.positions
    own = rows[:-2, :3]
    order = np.argsort(where, kind="stable")
    starts = np.searchsorted(where[order], np.arange(int(where.max()) + 1))
    low = np.minimum.reduceat(own[order], starts)
    high = np.maximum.reduceat(own[order], starts)
    offsets = -low
    ends = np.cumsum(high[:, 0] - low[:, 0] + 1.01 * reach)
    offsets[1:, 0] += ends[:-1]
    own += offsets[where]
    return Points(rows, points.species, points.owner, points.shifts)
