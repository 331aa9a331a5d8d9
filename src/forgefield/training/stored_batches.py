"""Batches of a stored table: lanes for their atoms, and their labels; those of a whole epoch put together at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgefield.engine.derivative_table import DerivativeTable
from forgefield.engine.stored_model import StoredBatch
from forgefield.tracer.cache import address
from forgefield.training.loss_arrays import ArrayLabels

__all__ = ["Batches", "LabelledStored"]

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class LabelledStored:
    """A batch, the element of each of its atoms, and its labels."""

    batch: StoredBatch
    species: IntArray
    labels: ArrayLabels


class Batches:
    """Makes batches.

    Parameters
    ----------
    table : DerivativeTable
    labels : ArrayLabels
        Of the same structures.
    lanes : int
    free_atoms : bool
        Add an atom of each element without neighbours to every batch.
    """

    def __init__(self, table: DerivativeTable, labels: ArrayLabels, lanes: int, *, free_atoms: bool) -> None:
        self.table, self.labels, self.lanes = table, labels, lanes
        self.n_species = len(table.features) - len(table.species)
        self.n_free = self.n_species if free_atoms else 0
        self._starts = table.atom_start.astype(np.int64)
        self._sizes = np.diff(self._starts)
        self._known: dict[range, LabelledStored] = {}
        self._expected: dict[tuple[int, ...], LabelledStored] = {}

    def expect(self, batches: Sequence[Sequence[int]]) -> None:
        """Put together the batches that are asked for next, in place of those expected before."""
        wanted = [b for b in batches if len(b)]
        self._expected = {}
        if wanted:
            made = self._assemble(wanted)
            self._expected = {tuple(b): x for b, x in zip(wanted, made, strict=True)}

    def __getitem__(self, index: Sequence[int]) -> LabelledStored:
        """Return the batch of some structures; ranges are kept for the next time."""
        if isinstance(index, range):
            if index not in self._known:
                (self._known[index],) = self._assemble([index])
            return self._known[index]
        found = self._expected.get(tuple(index))
        return self._assemble([index])[0] if found is None else found

    def _assemble(self, batches: Sequence[Sequence[int]]) -> list[LabelledStored]:
        counts = np.array([len(b) for b in batches], dtype=np.int64)
        structures = np.concatenate([np.asarray(b, dtype=np.int64) for b in batches])
        sizes = self._sizes[structures]
        firsts, starts = _starts(counts), _starts(sizes)
        n_atoms = np.add.reduceat(sizes, firsts)
        atoms = np.arange(sizes.sum()) + (self._starts[structures] - starts).repeat(sizes)
        atom_firsts = _starts(n_atoms)
        within = (starts - atom_firsts.repeat(counts)).astype(np.int32)
        number = (np.arange(len(structures)) - firsts.repeat(counts)).repeat(sizes)
        labels, species = self.labels.batch(structures, atoms, number), self.table.species[atoms]
        rows, slots, kinds, blocks = self._lanes(atoms, species, n_atoms)
        as_stored, result, lanes = structures.astype(np.int32), list[LabelledStored](), self.lanes
        block, slot = 0, 0
        bases = [address(x) for x in (as_stored, within, slots, kinds)]
        for b, n in enumerate(n_atoms.tolist()):
            own = slice(int(firsts[b]), int(firsts[b] + counts[b]))
            of_atoms = slice(int(atom_firsts[b]), int(atom_firsts[b]) + n)
            end, last = block + int(blocks[b]), slot + n + self.n_free
            batch = StoredBatch(
                as_stored[own],
                within[own],
                n,
                rows[block * lanes : end * lanes],
                slots[slot:last],
                kinds[block:end],
                _pointers(bases, (own.start, own.start, slot, block)),
            )
            result.append(LabelledStored(batch, species[of_atoms], labels.part(own, of_atoms)))
            block, slot = end, last
        return result

    def _lanes(
        self, atoms: IntArray, species: IntArray, n_atoms: IntArray
    ) -> tuple[IntArray, NDArray[np.int32], NDArray[np.int32], IntArray]:
        """Return rows, slots, elements of blocks, and the number of blocks of each batch; see `StoredBatch`."""
        n, n_free, first_free = self.n_species, self.n_free, len(self.table.species)
        n_batches, members = len(n_atoms), n_atoms + n_free
        place = np.arange(len(atoms)) + (n_free * np.arange(n_batches)).repeat(n_atoms)
        free = np.tile(np.arange(n_free), n_batches)
        free_place = (_starts(members) + n_atoms).repeat(n_free) + free
        wanted, element = np.empty((2, int(members.sum())), dtype=np.int64)
        wanted[place], element[place] = atoms, species
        wanted[free_place], element[free_place] = first_free + free, free
        group = np.arange(n_batches).repeat(members) * n + element
        counts = np.bincount(group, minlength=n_batches * n)
        of_groups = -(-counts // self.lanes)
        slots = np.empty(len(group), dtype=np.int64)
        shift = _starts(of_groups) * self.lanes - _starts(counts)
        slots[group.argsort(kind="stable")] = np.arange(len(group)) + shift.repeat(counts)
        kinds = np.tile(np.arange(n), n_batches).repeat(of_groups)
        rows = first_free + kinds.repeat(self.lanes)
        rows[slots] = wanted
        blocks = of_groups.reshape(n_batches, n).sum(axis=1)
        own = slots - (_starts(blocks) * self.lanes).repeat(members)
        return rows, own.astype(np.int32), kinds.astype(np.int32), blocks


def _pointers(bases: list[int], starts: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Return where elements of int32 arrays lie."""
    a, b, c, d = (base + 4 * start for base, start in zip(bases, starts, strict=True))
    return a, b, c, d


def _starts(counts: IntArray) -> IntArray:
    """Return where runs of some lengths begin."""
    starts: IntArray = counts.cumsum() - counts
    return starts
