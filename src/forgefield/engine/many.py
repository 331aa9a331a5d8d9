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
    pbc, along = (
        atoms.pbc.tolist(),
        atoms.cell.array[:, 0].tolist(),
    )  # plain numbers: NumPy takes five times as long
    x, y, z = (abs(x) if periodic else 0.0 for x, periodic in zip(along, pbc, strict=True))
    own = float(np.ptp(atoms.positions[:, 0])) if False in pbc and len(atoms) else 0.0
    return float(x + y + z) + own + 6.0 * cutoff


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
    positions, cells, pbc = _checked_geometries(frames)
    reach = max(map(float, cutoffs))
    starts, of_atom = np.cumsum(n_atoms) - n_atoms, np.repeat(np.arange(len(frames)), n_atoms)
    inverse = np.linalg.inv(cells)
    fractional = np.einsum("ia,iab->ib", positions, inverse[of_atom])
    wraps = np.where(pbc[of_atom], np.floor(fractional), 0.0)
    fractional -= wraps
    positions -= np.einsum("ia,iab->ib", wraps, cells[of_atom])
    margins = reach * np.sqrt((inverse * inverse).sum(axis=1))
    owner, shifts = _images(fractional, margins, pbc, of_atom, starts)
    where, n = np.concatenate([of_atom, of_atom.take(owner)]), len(positions)
    xyz = _columns(positions, cells, (owner, shifts, where[n:]))
    points = Points(_rows(xyz), index, owner, shifts)
    distinct = sorted(set(map(float, cutoffs)), reverse=True)
    apart = Points(_rows(_apart(xyz, n, where, reach)), index, owner, shifts)
    lists, close = search_points(apart, distinct, len(species))
    if close != n:
        for atoms in frames:
            neighbour_pairs(atoms, min(0.1, reach))  # names the two
    found = dict(zip(distinct, lists, strict=True))
    return Together(points, tuple(found[float(c)] for c in cutoffs), n_atoms)


def _checked_geometries(frames: Sequence[Atoms]) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return positions of all atoms, (n_structures, 3, 3) cells and periodic directions; see `checked_geometry`."""
    positions = np.concatenate([a.positions for a in frames], dtype=np.float64)
    cells = np.array([a.cell.array for a in frames], dtype=np.float64)
    pbc = np.array([a.pbc for a in frames], dtype=bool)
    lengths = np.sqrt((cells * cells).sum(axis=2))
    with np.errstate(all="ignore"):
        fine = np.abs(np.linalg.det(cells)) > 1.01e-5 * lengths.prod(axis=1)
    fine &= pbc.all(axis=1) & (lengths > 1.01e-6).all(axis=1) & np.isfinite(lengths).all(axis=1)
    if not np.isfinite(positions).all():
        fine[:] = False
    for k in np.flatnonzero(~fine).tolist():  # not periodic in all directions, or wrong
        cells[k] = checked_geometry(frames[k])[1]
    return positions, cells, pbc


def _columns(
    positions: FloatArray, cells: FloatArray, images: tuple[IntArray, NDArray[np.int32], IntArray]
) -> FloatArray:
    """Return x, y and z of atoms and images, (3, n_points); images are (atom, shift, structure).

    Column by column, here and below: NumPy takes several times as long for rows of three.
    """
    owner, shifts, structure = images
    n = len(positions)
    along = np.ascontiguousarray(shifts.T, dtype=np.float64)
    xyz = np.empty((3, n + len(owner)))
    for b in range(3):
        own = np.ascontiguousarray(positions[:, b])
        moved = sum(along[a] * cells[:, a, b].take(structure) for a in range(3))
        xyz[b, :n] = own
        np.add(own.take(owner), moved, out=xyz[b, n:])
    return xyz


def _rows(xyz: FloatArray) -> FloatArray:
    """Return the points as rows of four, those far away behind them."""
    rows = aligned((xyz.shape[1] + 2, 4), np.float64)
    rows[:-2, :3] = xyz.T
    rows[-2], rows[-1] = FAR, -FAR
    return rows


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


def _apart(xyz: FloatArray, n: int, where: IntArray, reach: float) -> FloatArray:
    """Return x, y and z with the structures one behind the other along x, the same places along y and z.

    Points are n atoms, then images, both sorted by structure, which `where` names.
    """
    low, high = (_outermost(pick, xyz, n, where) for pick in (np.minimum, np.maximum))
    offsets = -low
    ends = np.cumsum(high[0] - low[0] + 1.01 * reach)
    offsets[0, 1:] += ends[:-1]
    return xyz + offsets.take(where, axis=1)


def _outermost(pick: np.ufunc, xyz: FloatArray, n: int, where: IntArray) -> FloatArray:
    """Return the least or largest coordinates of every structure, (3, n_structures)."""
    found = np.empty((3, int(where[n - 1]) + 1))
    for part, of_part, old in ((xyz[:, :n], where[:n], None), (xyz[:, n:], where[n:], found)):
        if not len(of_part):
            continue
        starts = np.flatnonzero(np.diff(of_part, prepend=-1))
        some = of_part[starts]
        values = pick.reduceat(part, starts, axis=1)
        found[:, some] = values if old is None else pick(values, old[:, some])
    return found
