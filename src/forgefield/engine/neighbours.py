"""Neighbour lists for the kernels: images, bins and a compiled search.

Points lie in bins aligned with x, y and z over the box that the atoms fill and one cutoff around it; the bins of a
column along z follow each other in memory, so that all candidates of an atom are a few contiguous runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.engine.neighbour_kernel import list_kernel, sort_kernel
from forgefield.engine.points import MOST_POINTS, Listing, Points, make_points
from forgefield.errors import ConfigError, StructureError
from forgefield.graph import checked_geometry, neighbour_pairs, species_index, still_listed
from forgefield.parallel import get_num_threads, run_parts
from forgefield.tracer.cache import aligned

__all__ = ["SkinnedList", "list_neighbours", "search_points", "spatial_order"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Int32 = NDArray[np.int32]

EDGES = (1.0, 1.0, 0.125)
"""Edges of a bin in units of the cutoff."""

_FEW_PAIRS = 50_000
"""Atoms times points up to which no bins are made."""

_ROOM_FOR_ALL = 160
_SAMPLES = 64
_ATOMS_PER_THREAD = 256


@dataclass(frozen=True)
class _Bins:
    """Points sorted by bin.

    Attributes
    ----------
    keys : (stride,) int32
        Bin of every point.
    start : (n_bins + 1,) int32
        First rank of every bin.
    order : (stride,) int32
        Point of every rank.
    ranked : (3, stride) float64 [Å]
        x, y and z of the point of every rank.
    low, high : (n_columns,) int32
        Runs of bins around a bin, see `list_kernel`.
    """

    keys: Int32
    start: Int32
    order: Int32
    ranked: FloatArray
    low: Int32
    high: Int32


def list_neighbours(
    atoms: Atoms, species: Sequence[int], cutoffs: Sequence[float]
) -> tuple[Points, tuple[Listing, ...]]:
    """Return the points of a structure and a list of neighbours for each cutoff.

    Parameters
    ----------
    atoms : ase.Atoms
        Any cell: triclinic, left-handed, thinner than the cutoff, periodic in any directions.
    species : sequence of int
        Atomic numbers the potential knows, in its order.
    cutoffs : sequence of float [Å]
        Equal ones share their list.

    Raises
    ------
    StructureError
        No atoms, non-finite positions, a flat periodic cell, or two atoms at the same place.
    UnknownSpeciesError
        An element is not in `species`.
    """
    if len(atoms) == 0:
        raise StructureError("the structure has no atoms; nothing to predict")
    index = species_index(atoms.numbers, species)
    positions, cell, pbc = checked_geometry(atoms)
    distinct = sorted(set(map(float, cutoffs)), reverse=True)
    points = make_points(positions, cell, pbc, index, distinct[0])
    lists, close = search_points(points, distinct, len(species))
    if close != points.n_atoms:
        neighbour_pairs(atoms, min(0.1, distinct[0]))  # names the two
    found = dict(zip(distinct, lists, strict=True))
    return points, tuple(found[float(c)] for c in cutoffs)


def search_points(points: Points, cutoffs: Sequence[float], n_species: int) -> tuple[list[Listing], int]:
    """Return a list for every cutoff (descending), and how many points lie on atoms: as many as atoms, if all is well."""
    few = points.n_atoms * points.padding <= _FEW_PAIRS
    bins = _one_bin(points) if few else _sorted(points, cutoffs[0])
    return _search(points, bins, cutoffs, n_species)


def _one_bin(points: Points) -> _Bins:
    """Return all points in one bin: to look at each of few is quicker than to sort them."""
    n = points.padding
    keys, start, order, low, high = _nothing_sorted(n, list_kernel(1, 1).lanes)
    ranked = aligned((3, len(order)), np.float64)
    ranked[:, :n] = points.positions[:n, :3].T
    return _Bins(keys, start, order, ranked, low, high)


@lru_cache(maxsize=16)
def _nothing_sorted(n: int, lanes: int) -> tuple[Int32, Int32, Int32, Int32, Int32]:
    """Return keys, start, order, low and high of one bin of n points."""
    order = np.arange(n + lanes, dtype=np.int32)
    order[n:] = 0
    first, last = np.zeros(1, dtype=np.int32), np.ones(1, dtype=np.int32)
    start = np.array([0, n], dtype=np.int32)
    return np.zeros(n, dtype=np.int32), start, order, first, last


def _sorted(points: Points, cutoff: float) -> _Bins:
    """Return all points sorted by bin.

    The first bin that holds atoms has the outermost of them in its middle, so that rounding puts none outside.
    """
    own, n = points.positions[: points.n_atoms, :3].T.copy(), points.padding
    low, high = own.min(axis=1).tolist(), own.max(axis=1).tolist()
    edges = [cutoff * e for e in EDGES]
    while True:
        reach = [_reach(cutoff, e) for e in edges]
        shape = [int((b - a) / e) + 2 + 2 * r for a, b, e, r in zip(low, high, edges, reach, strict=True)]
        n_bins = math.prod(shape)
        if n_bins <= 8 * n + 8192:
            break
        edges = [1.26 * e for e in edges]
    origin = [a - r * e for a, e, r in zip(low, edges, reach, strict=True)]
    grid = np.array([*origin, *(1.0 / e for e in edges), *(m - 1.0 for m in shape), *shape[1:]])
    kernel = sort_kernel()
    n_chunks = -(-n // kernel.lanes)
    stride = (n_chunks + 1) * kernel.lanes
    every = np.arange(stride, dtype=np.int32)
    every[n:] = 0
    keys, ranked = np.empty(stride, dtype=np.int32), aligned((3, stride), np.float64)
    start, order = np.zeros(n_bins + 1, dtype=np.int32), np.zeros(stride, dtype=np.int32)
    kernel(n, n_chunks, n_bins, points.positions, every, grid, keys, start, order, ranked)
    return _Bins(keys, start, order, ranked, *_runs(cutoff, tuple(edges), *shape[1:]))


def _reach(cutoff: float, edge: float) -> int:
    """Return how many bins away a neighbour may be."""
    return math.ceil(cutoff / edge)


@lru_cache(maxsize=64)
def _runs(cutoff: float, edges: tuple[float, ...], ny: int, nz: int) -> tuple[Int32, Int32]:
    """Return the runs of bins that may hold points within the cutoff of a point in bin 0."""
    rx, ry, rz = (_reach(cutoff, e) for e in edges)
    x, y = (g.ravel() for g in np.mgrid[-rx : rx + 1, -ry : ry + 1])
    apart2 = (np.maximum(abs(x) - 1, 0) * edges[0]) ** 2 + (np.maximum(abs(y) - 1, 0) * edges[1]) ** 2
    near = apart2 < cutoff * cutoff
    column = (x * ny + y)[near] * nz
    half = np.minimum(np.ceil(np.sqrt(cutoff * cutoff - apart2[near]) / edges[2]), rz).astype(np.int64)
    return (column - half).astype(np.int32), (column + half + 1).astype(np.int32)


def _search(
    points: Points, bins: _Bins, cutoffs: Sequence[float], n_species: int
) -> tuple[list[Listing], int]:
    """Return a list for every cutoff, and how many points lie on atoms."""
    kernel, n = list_kernel(len(cutoffs), n_species), points.n_atoms
    stride = len(bins.order)
    kinds = np.zeros(1, dtype=np.int32)
    if n_species > 1:
        own = points.species.astype(np.int32)
        kinds = np.concatenate([own, own.take(points.owner)]).take(bins.order)
    limits = np.array(cutoffs) ** 2
    threads = max(1, min(get_num_threads(), n // _ATOMS_PER_THREAD))
    close = aligned((threads, kernel.lanes), np.float64)
    parts: list[list[tuple[Int32, Int32]]] = [[] for _ in range(threads)]
    each_atom = _estimate(bins, n) + n_species

    def part(thread: int, b0: int, b1: int) -> None:
        found = [np.empty(stride if n_species > 1 else 0, dtype=np.int32) for _ in cutoffs]
        counts = np.empty(n_species, dtype=np.int32)
        room = int((b1 - b0) * each_atom) + 64 * n_species
        while True:
            if room > MOST_POINTS:
                raise StructureError(
                    f"{b1 - b0} atoms with about {each_atom:.0f} neighbours each are too many for one thread (allowed: "
                    f"{MOST_POINTS:.1e} pairs); use more threads or a smaller cutoff"
                )
            parts[thread] = []
            arguments: list[Any] = []
            for f in found:
                listed = np.empty(room + kernel.lanes, dtype=np.int32)
                first = np.empty((b1 - b0) * n_species + 2, dtype=np.int32)
                parts[thread].append((listed, first))
                arguments += [room, listed, first, f]
            close[thread] = 0.0
            kernel(
                b0, b1, points.padding, points.positions, bins.keys, bins.start, len(bins.low), bins.low, bins.high,
                stride, bins.ranked, bins.order, kinds, limits, counts, close[thread], *arguments,
            )  # fmt: skip
            needed = max(int(first[-1]) for _, first in parts[thread])
            if needed <= room:
                return
            room = needed if n_species > 1 else 2 * needed

    run_parts(n, threads, part)
    return [_joined([p[c] for p in parts]) for c in range(len(cutoffs))], round(float(close.sum()))


def _estimate(bins: _Bins, n: int) -> float:
    """Return about how many neighbours an atom has at most; the search makes room where it is too few."""
    if len(bins.start) == 2:
        return float(min(len(bins.order), _ROOM_FOR_ALL))
    keys = bins.keys[: n : max(1, n // _SAMPLES)][:_SAMPLES, None]
    candidates = (bins.start[keys + bins.high] - bins.start[keys + bins.low]).sum(axis=1)
    return float(candidates.mean()) * 0.75 + 4.0


def _joined(parts: list[tuple[Int32, Int32]]) -> Listing:
    """Return the lists of consecutive atoms as one."""
    if len(parts) == 1:
        listed, first = parts[0]
        return Listing(listed[: first[-2]], first[:-1].astype(np.int64))
    totals = np.array([first[-2] for _, first in parts], dtype=np.int64)
    pairs = [x[:n] for (x, _), n in zip(parts, totals, strict=True)]
    bases = np.cumsum(totals) - totals
    starts = [first[:-2] + base for (_, first), base in zip(parts, bases, strict=True)]
    return Listing(np.concatenate(pairs), np.concatenate([*starts, [totals.sum()]]))


def spatial_order(atoms: Atoms, length: float = 5.0) -> IntArray:
    """Return an order in which atoms that follow each other are near each other.

    Large structures whose atoms come in no order in space (from a hundred thousand on) are listed and computed faster
    as ``atoms[spatial_order(atoms)]``: what an atom reads then lies in the processor's cache.

    Parameters
    ----------
    atoms : ase.Atoms
    length : float [Å], > 0
        Edge of the boxes that are put one after the other.
    """
    positions, cell, pbc = checked_geometry(atoms)
    below = np.floor(positions @ np.linalg.inv(cell))
    boxes = np.floor((positions - np.where(pbc, below, 0.0) @ cell) / length)
    return np.lexsort(boxes.T[::-1])


class SkinnedList:
    """Points and lists of a moving structure, listed anew only when a list might miss a pair.

    The lists hold all pairs within cutoff + skin and are kept while `graph.still_listed` says that nothing can be
    missing. Until then the points merely move, and blocks made from them stay valid.

    Parameters
    ----------
    species : sequence of int
        Atomic numbers the potential knows, in its order.
    cutoffs : sequence of float [Å]
    skin : float [Å], >= 0
        With 0 the lists are made anew at every step.

    Attributes
    ----------
    n_builds : int
        How often the lists have been made.
    """

    def __init__(self, species: Sequence[int], cutoffs: Sequence[float], skin: float = 1.0) -> None:
        if not (np.isfinite(skin) and skin >= 0):
            raise ConfigError(f"`skin` must be >= 0 Å, got {skin!r}; 1.0 suits most simulations")
        self.species, self.cutoffs, self.skin = tuple(species), tuple(cutoffs), float(skin)
        self.n_builds = 0
        self._then: Atoms | None = None
        self._made: tuple[Points, tuple[Listing, ...]] | None = None

    def update(self, atoms: Atoms) -> tuple[Points, tuple[Listing, ...]]:
        """Return points and lists of the structure; the same objects as before while the lists are kept."""
        if self._made is not None and self._keeps(atoms):
            self._made[0].move(atoms.positions, atoms.cell.array)
            return self._made
        self._made = list_neighbours(atoms, self.species, [c + self.skin for c in self.cutoffs])
        self.n_builds += 1
        if self.skin:
            self._then = Atoms(
                numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc
            )
        return self._made

    def _keeps(self, atoms: Atoms) -> bool:
        then = self._then
        if then is None or self.skin == 0 or not np.array_equal(then.numbers, atoms.numbers):
            return False
        if not np.array_equal(then.pbc, atoms.pbc):
            return False
        # Compression is most dangerous for the largest cutoff, expansion for the smallest.
        return all(
            still_listed(then.positions, then.cell.array, atoms, cutoff=c, listed=c + self.skin)
            for c in {min(self.cutoffs), max(self.cutoffs)}
        )
