"""Blocks of atoms for kernels: as many atoms of one element as the processor works on at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from forgefield.engine.points import Listing

__all__ = ["Block", "BlockLayout", "BlockList", "make_blocks"]

Int32 = NDArray[np.int32]
IntArray = NDArray[np.int64]

_FEW = 1 << 16
"""Numbers of atoms that are gathered through places kept from call to call."""


@dataclass(frozen=True)
class BlockList:
    """Where the neighbours of each lane of each block are listed.

    Attributes
    ----------
    starts, ends : (n_blocks, n_species, lanes) int32
        First entry and padding entry of each lane's run in `Listing.neighbours`.
    offsets : (n_blocks, n_species + 1) int32
        First row of each species of each block, counted over all blocks; a species has as many rows as its longest run.
    picked : (n_rows, lanes) int32
        The neighbours in rows of one per lane: memory that kernels fill and keep, see `Block.is_picked`.
    """

    starts: Int32
    ends: Int32
    offsets: Int32
    picked: Int32

    @property
    def longest(self) -> int:
        """Rows of the longest block."""
        return int((self.offsets[:, -1] - self.offsets[:, 0]).max(initial=1))


@dataclass(frozen=True)
class BlockLayout:
    """Which atom is in which lane: all that does not change while atoms move.

    Attributes
    ----------
    species : (n_blocks,) int32
    atoms : (n_blocks * lanes,) int64
        Index into the atoms that were asked for; `n_atoms` where there is none.
    points : (n_blocks * lanes,) int32
        Index of the point in each lane; anything where there is none.
    bounds : (n_blocks, n_species + 1, lanes) int64
        Where in `Listing.first` the runs of each lane begin; those of row 0 where there is none.
    nobody : (3, n) int
        Block, element and lane of runs of lanes without an atom, or with one that has no neighbours.
    n_atoms : int
    """

    species: Int32
    atoms: IntArray
    points: Int32
    bounds: IntArray
    nobody: tuple[IntArray, ...] | None
    n_atoms: int
    _places: dict[int, IntArray] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, atoms: IntArray, rows: IntArray, species: IntArray, n_species: int, lanes: int
    ) -> BlockLayout:
        """Group atoms into blocks; see `make_blocks`."""
        n = len(atoms)
        order = np.argsort(species, kind="stable")
        counts = np.bincount(species, minlength=n_species)
        blocks = -(-counts // lanes)
        kinds = np.repeat(np.arange(n_species), blocks).astype(np.int32)
        starts = (blocks.cumsum() - blocks) * lanes - (counts.cumsum() - counts)
        where, size = np.arange(n) + np.repeat(starts, counts), int(blocks.sum()) * lanes
        slots, listed = np.full(size, n, dtype=np.int64), np.full(size, -1, dtype=np.int64)
        points = np.zeros(size, dtype=np.int32)
        slots[where], listed[where], points[where] = order, rows[order], atoms[order]
        runs = np.arange(n_species + 1)[:, None]
        bounds = np.maximum(listed, 0).reshape(-1, 1, lanes) * n_species + runs
        nobody = None
        if (listed < 0).any():
            empty = np.broadcast_to((listed < 0).reshape(-1, 1, lanes), (len(kinds), n_species, lanes))
            nobody = np.nonzero(empty)
        return cls(kinds, slots, points, bounds, nobody, n)

    @cached_property
    def real(self) -> IntArray:
        """Lanes, counted over all blocks, that hold an atom."""
        return np.flatnonzero(self.atoms < self.n_atoms)

    @cached_property
    def unreal(self) -> IntArray:
        """The other lanes."""
        return np.flatnonzero(self.atoms >= self.n_atoms)

    @cached_property
    def slots(self) -> IntArray:
        """(n_atoms,) lane of every atom that was asked for, counted over all blocks."""
        slots = np.empty(self.n_atoms, dtype=np.int64)
        slots[self.atoms[self.real]] = self.real
        return slots

    def by_atom(self, rows: NDArray[np.floating], width: int) -> NDArray[np.float64]:
        """Return the (n_atoms, width) numbers of the atoms, of `width` rows of one number per lane for each block."""
        if not self.is_small(width):
            result = np.empty((self.n_atoms, width))
            self.give(rows, result, 0, len(self.species))
            return result
        if width not in self._places:
            lanes = self.bounds.shape[2]
            block, lane = np.divmod(self.slots, lanes)
            self._places[width] = (block[:, None] * width + np.arange(width)) * lanes + lane[:, None]
        return rows.take(self._places[width]).astype(np.float64, copy=False)

    def is_small(self, width: int) -> bool:
        """Whether `by_atom` is better done at once than by every thread for its own blocks, with `give`."""
        return width * self.n_atoms <= _FEW

    def give(self, rows: NDArray[np.floating], result: NDArray[np.float64], first: int, last: int) -> None:
        """Write the numbers of the atoms in blocks first ... last - 1 to (n_atoms, width) places; see `by_atom`."""
        lanes, width = self.bounds.shape[2], result.shape[1]
        atoms = self.atoms[first * lanes : last * lanes]
        of_lanes = rows[first * width * lanes : last * width * lanes].reshape(-1, width, lanes)
        of_lanes = of_lanes.transpose(0, 2, 1)
        if self.is_in_order and len(atoms) and atoms[-1] < self.n_atoms:
            result[atoms[0] : atoms[-1] + 1].reshape(-1, lanes, width)[:] = of_lanes
            return
        inside = atoms < self.n_atoms
        result[atoms[inside]] = of_lanes.reshape(-1, width)[inside]

    @cached_property
    def is_in_order(self) -> bool:
        """Whether the atoms are in the lanes one after the other."""
        n = min(self.n_atoms, len(self.atoms))
        return np.array_equal(self.atoms[:n], np.arange(n))

    def block(self, lists: Sequence[Listing], padding: int) -> Block:
        """Return the blocks of these atoms with these neighbours; see `make_blocks`."""
        lanes = self.bounds.shape[2]
        centres = self.points.copy()
        centres[self.unreal] = padding + 1
        # Expansions with the same cutoff share their listing.
        unique = {id(x): x for x in lists}
        of_listing = {key: self._block_list(x) for key, x in unique.items()}
        own = tuple(of_listing[id(x)] for x in lists)
        return Block(centres.reshape(-1, lanes), own, self)

    def _block_list(self, listing: Listing) -> BlockList:
        """Return where the neighbours of these atoms are; lanes without an atom have padding entries of the first."""
        n_blocks, n_bounds, lanes = self.bounds.shape
        bounds = listing.first.astype(np.int32).take(self.bounds)
        starts, ends = np.ascontiguousarray(bounds[:, :-1]), bounds[:, 1:] - np.int32(1)
        if self.nobody is not None:
            starts[self.nobody] = ends[self.nobody]
        counts = (ends - starts).max(axis=2)
        ends_of_runs = counts.ravel().cumsum(dtype=np.int32).reshape(counts.shape)
        offsets = np.empty((n_blocks, n_bounds), dtype=np.int32)
        offsets[:, 1:] = ends_of_runs
        offsets[:1, 0] = 0
        offsets[1:, 0] = ends_of_runs[:-1, -1]
        n_rows = int(offsets[-1, -1]) if n_blocks else 0
        return BlockList(starts, ends, offsets, np.empty((n_rows, lanes), dtype=np.int32))


@dataclass
class Block:
    """Atoms in blocks.

    Attributes
    ----------
    centres : (n_blocks, lanes) int32
        Index of the point in each lane; the padding centre where there is none.
    lists : tuple of BlockList
        One for each `Listing`.
    layout : BlockLayout
    is_picked : bool
        Whether a kernel has filled `BlockList.picked`.
    """

    centres: Int32
    lists: tuple[BlockList, ...]
    layout: BlockLayout
    is_picked: bool = False

    @property
    def species(self) -> Int32:
        """(n_blocks,) element of each block."""
        return self.layout.species

    @property
    def atoms(self) -> IntArray:
        """(n_blocks * lanes,) index into the atoms that were asked for; `n_atoms` where there is none."""
        return self.layout.atoms

    @property
    def n_atoms(self) -> int:
        """Atoms that were asked for."""
        return self.layout.n_atoms

    @property
    def n_blocks(self) -> int:
        """Blocks."""
        return len(self.layout.species)

    @property
    def real(self) -> IntArray:
        """Lanes, counted over all blocks, that hold an atom."""
        return self.layout.real

    @property
    def slots(self) -> IntArray:
        """(n_atoms,) lane of every atom that was asked for, counted over all blocks."""
        return self.layout.slots


def make_blocks(
    atoms: IntArray,
    rows: IntArray,
    species: IntArray,
    lists: Sequence[Listing],
    *,
    n_species: int,
    lanes: int,
    padding: int,
) -> Block:
    """Group atoms into blocks of one element.

    Parameters
    ----------
    atoms : (n,) int
        Points that are centres, in an order in which near ones are near in space.
    rows : (n,) int
        Row of each in the listings; -1 for one without neighbours.
    species : (n,) int
        Element of each.
    lists : sequence of Listing
    n_species, lanes : int
    padding : int
        Point that stands for no neighbour; the next one stands for no centre.
    """
    return BlockLayout.of(atoms, rows, species, n_species, lanes).block(lists, padding)
