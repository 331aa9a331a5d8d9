"""Near-duplicates, found through neighbour distances: blind to rotation, renumbering and a shift of the origin.

Two structures are twins within a tolerance when their atoms can be matched so that every atom has the same
neighbours at the same distances within that tolerance. Candidates come from averages, which never differ by
more than the distances do; a matching of the atoms then decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

__all__ = ["fingerprint", "neighbour_pairs", "twin_clusters", "twin_links"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

_CUTOFF = 5.0
_NEIGHBOURS = 16
_CHUNK = 1024
_EXACT = 1e-3


def neighbour_pairs(atoms: Atoms, cutoff: float, quantities: str = "ijd") -> list[NDArray[np.float64]]:
    """Return all pairs within a cutoff, in both directions.

    Parameters
    ----------
    atoms : ase.Atoms
        Any cell and periodicity.
    cutoff : float [Å], > 0
    quantities : str
        ``i`` centres, ``j`` neighbours (n_pairs,), ``d`` distances (n_pairs,) [Å], ``D`` vectors
        ``r_j - r_i + S @ cell`` (n_pairs, 3) [Å].
    """
    # Imported here because it loads torch, which reading a file does not need.
    from vesin import NeighborList

    calculator = NeighborList(cutoff=cutoff, full_list=True)
    found = calculator.compute(
        points=np.ascontiguousarray(atoms.positions, dtype=np.float64),
        box=np.ascontiguousarray(atoms.cell.complete().array, dtype=np.float64),
        periodic=np.asarray(atoms.pbc, dtype=bool),
        quantities=quantities,
    )
    return list(found)


def fingerprint(atoms: Atoms, cutoff: float = _CUTOFF, n_neighbours: int = _NEIGHBOURS) -> FloatArray:
    """Return the ascending neighbour distances of every atom.

    Parameters
    ----------
    atoms : ase.Atoms
        n_atoms atoms of n_species elements.
    cutoff : float [Å], > 0
        Longer distances count as `cutoff`.
    n_neighbours : int, >= 1
        Neighbours of each species listed per atom.

    Returns
    -------
    (n_atoms, n_species * n_neighbours) [Å]
        Rows in order of ascending atomic number, columns of ascending species.
    """
    numbers = np.asarray(atoms.numbers)
    species, species_index = np.unique(numbers, return_inverse=True)
    i, j, distance = neighbour_pairs(atoms, cutoff)
    slot = i.astype(np.intp) * len(species) + species_index[j.astype(np.intp)]
    order = np.lexsort((distance, slot))
    slot, distance = slot[order], distance[order]
    rank = np.arange(len(slot)) - np.searchsorted(slot, slot)
    near = rank < n_neighbours
    table = np.full((len(atoms) * len(species), n_neighbours), cutoff)
    table[slot[near], rank[near]] = distance[near]
    rows: FloatArray = table.reshape(len(atoms), -1)[np.argsort(numbers, kind="stable")]
    return rows


def twin_links(frames: Sequence[Atoms], tolerance: float) -> list[tuple[int, int, float]]:
    """Find enough links between twins to connect each cluster of them.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Only structures with the same number of atoms of each element are compared.
    tolerance : float [Å], > 0
        Largest difference of any neighbour distance between twins.

    Returns
    -------
    list of (first, second, difference)
        Indices, first < second, and the largest difference of a neighbour distance [Å].
    """
    classes: dict[bytes, list[int]] = {}
    for k, atoms in enumerate(frames):
        classes.setdefault(np.sort(atoms.numbers).astype(np.int64).tobytes(), []).append(k)
    links: list[tuple[int, int, float]] = []
    for members in classes.values():
        if len(members) > 1:
            links.extend(_links_of_class(frames, members, tolerance))
    return sorted(links)


def _links_of_class(
    frames: Sequence[Atoms], members: list[int], tolerance: float
) -> Iterator[tuple[int, int, float]]:
    species = np.sort(frames[members[0]].numbers)
    tables = np.array([fingerprint(frames[k]) for k in members])
    blocks = [np.flatnonzero(species == z) for z in np.unique(species)]
    means = np.concatenate([tables[:, block].mean(axis=1) for block in blocks], axis=1)
    tree = cKDTree(means)
    parent = list(range(len(members)))
    # Exact copies are linked first, so that their links are never replaced by looser ones.
    for limit in sorted({min(_EXACT, tolerance), tolerance}):
        pairs = tree.query_pairs(limit, p=np.inf, output_type="ndarray")
        for p, q, gap in _joined(tables, pairs, blocks, limit, parent):
            yield min(members[p], members[q]), max(members[p], members[q]), gap


def _joined(
    tables: FloatArray, pairs: IntArray, blocks: list[IntArray], limit: float, parent: list[int]
) -> Iterator[tuple[int, int, float]]:
    """Link pairs that agree atom by atom, then those that agree after a matching of the atoms."""
    pending = []
    for chunk in np.array_split(pairs, max(1, len(pairs) // _CHUNK)):
        gaps = np.abs(tables[chunk[:, 0]] - tables[chunk[:, 1]]).max(axis=(1, 2), initial=0.0)
        for (p, q), gap in zip(chunk.tolist(), gaps.tolist(), strict=True):
            if gap > limit:
                pending.append((p, q))
            elif _join(parent, p, q):
                yield p, q, gap
    for p, q in pending:
        if _root(parent, p) == _root(parent, q):
            continue
        matched = _matched_gap(tables[p], tables[q], blocks, limit)
        if matched is not None and _join(parent, p, q):
            yield p, q, matched


def _matched_gap(
    first: FloatArray, second: FloatArray, blocks: list[IntArray], tolerance: float
) -> float | None:
    """Return the largest difference under the best matching of atoms, None if above `tolerance`."""
    largest = 0.0
    for block in blocks:
        a, b = first[block], second[block]
        if np.abs(np.sort(a, axis=0) - np.sort(b, axis=0)).max() > tolerance:
            return None
        cost = np.array([np.abs(row - b).max(axis=1) for row in a])
        allowed = cost <= tolerance
        if not (allowed.any(axis=0).all() and allowed.any(axis=1).all()):
            return None
        rows, columns = linear_sum_assignment(np.where(allowed, 0.0, 1.0))
        if not allowed[rows, columns].all():
            return None
        largest = max(largest, float(cost[rows, columns].max()))
    return largest


def _root(parent: list[int], k: int) -> int:
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


def _join(parent: list[int], p: int, q: int) -> bool:
    """Merge two clusters; False if they were one already."""
    a, b = _root(parent, p), _root(parent, q)
    parent[max(a, b)] = min(a, b)
    return a != b


def twin_clusters(frames: Sequence[Atoms], tolerance: float) -> NDArray[np.int64]:
    """Return a cluster number per structure, equal for twins and twins of twins.

    Parameters
    ----------
    frames : sequence of ase.Atoms
    tolerance : float [Å], > 0
        See `twin_links`.

    Returns
    -------
    (n_frames,) int
        Clusters are numbered in order of their first structure.
    """
    parent = list(range(len(frames)))
    for first, second, _ in twin_links(frames, tolerance):
        _join(parent, first, second)
    roots = [_root(parent, k) for k in range(len(frames))]
    numbers = {root: n for n, root in enumerate(dict.fromkeys(roots))}
    return np.array([numbers[root] for root in roots], dtype=np.int64)
