"""Blocks of atoms for kernels: as many atoms of one element as the processor works on at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from forgefield.engine.points import Listing

__all__ = ["Block", "BlockList", "make_blocks"]

Int32 = NDArray[np.int32]


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


@dataclass
class Block:
    """Atoms in blocks.

    Attributes
    ----------
    centres : (n_blocks, lanes) int32
        Index of the point in each lane; the padding centre where there is none.
    species : (n_blocks,) int32
    lists : tuple of BlockList
        One for each `Listing`.
    atoms : (n_blocks * lanes,) int64
        Index into the atoms that were asked for; `n_atoms` where there is none.
    n_atoms : int
    is_picked : bool
        Whether a kernel has filled `BlockList.picked`.
    """

    centres: Int32
    species: Int32
    lists: tuple[BlockList, ...]
    atoms: NDArray[np.int64]
    n_atoms: int
    is_picked: bool = False

    @property
    def n_blocks(self) -> int:
        """Blocks."""
        return len(self.species)

    @cached_property
    def real(self) -> NDArray[np.int64]:
        """Lanes, counted over all blocks, that hold an atom."""
        return np.flatnonzero(self.atoms < self.n_atoms)

    @cached_property
    def slots(self) -> NDArray[np.int64]:
        """(n_atoms,) lane of every atom that was asked for, counted over all blocks."""
        slots = np.empty(self.n_atoms, dtype=np.int64)
        slots[self.atoms[self.real]] = self.real
        return slots

    @cached_property
    def strain_slots(self) -> NDArray[np.int64]:
        """(n_atoms, 6) places of every atom's numbers where each block has six rows of one number per lane."""
        lanes = self.centres.shape[1]
        block, lane = np.divmod(self.slots, lanes)
        places: NDArray[np.int64] = (block[:, None] * 6 + np.arange(6)) * lanes + lane[:, None]
        return places


def make_blocks(
    atoms: NDArray[np.int64],
    rows: NDArray[np.int64],
    species: NDArray[np.int64],
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
        Row of each in the listings.
    species : (n,) int
        Element of each.
    lists : sequence of Listing
    n_species, lanes : int
    padding : int
        Point that stands for no neighbour; the next one stands for no centre.
    """
    n = len(atoms)
    order = np.argsort(species, kind="stable")
    counts = np.bincount(species, minlength=n_species)
    blocks = -(-counts // lanes)
    kinds = np.repeat(np.arange(n_species), blocks)
    starts = (blocks.cumsum() - blocks) * lanes - (counts.cumsum() - counts)
    where, size = np.arange(n) + np.repeat(starts, counts), int(blocks.sum()) * lanes
    slots, listed = np.full(size, n, dtype=np.int64), np.full(size, -1, dtype=np.int64)
    centres = np.full(size, padding + 1, dtype=np.int32)
    slots[where], listed[where], centres[where] = order, rows[order], atoms[order]
    # Expansions with the same cutoff share their listing.
    unique = {id(x): x for x in lists}
    of_listing = {key: _block_list(listed, x, n_species, lanes) for key, x in unique.items()}
    return Block(
        centres=centres.reshape(-1, lanes),
        species=kinds.astype(np.int32),
        lists=tuple(of_listing[id(x)] for x in lists),
        atoms=slots,
        n_atoms=n,
    )


def _block_list(rows: NDArray[np.int64], listing: Listing, n_species: int, lanes: int) -> BlockList:
    """Return where the neighbours of these atoms are; row -1 has none: its runs are padding entries of the first."""
    nobody = rows < 0
    bounds = listing.first[np.maximum(rows, 0)[:, None] * n_species + np.arange(n_species + 1)]
    starts, ends = bounds[:, :-1], bounds[:, 1:] - 1
    starts[nobody] = ends[nobody]
    shape = (-1, lanes, n_species)
    counts = (ends - starts).reshape(shape).max(axis=1)
    offsets = np.zeros((len(counts), n_species + 1), dtype=np.int32)
    counts.cumsum(axis=1, out=offsets[:, 1:])
    ends_of_blocks = offsets[:, -1].cumsum()
    offsets += (ends_of_blocks - offsets[:, -1])[:, None].astype(np.int32)
    n_rows = int(ends_of_blocks[-1]) if len(ends_of_blocks) else 0
    first, last = (
        np.ascontiguousarray(x.reshape(shape).transpose(0, 2, 1), dtype=np.int32) for x in (starts, ends)
    )
    return BlockList(first, last, offsets, np.empty((n_rows, lanes), dtype=np.int32))
