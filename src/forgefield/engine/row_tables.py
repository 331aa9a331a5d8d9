"""What the rows of a linear model need not multiply.

The Jacobian of the features is mostly zeros where invariants couple a few angular momenta each, and what is not zero
occurs several times: the derivative of ``Z(x, y) . u`` with respect to x is also that of other invariants of x, y and
u, times a number. Its pattern and its repetitions are found once per descriptor, by looking at it at random
coefficients. Kernels then multiply every distinct vector once, up to `LARGEST` of them at a time, and add up features
from the products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgefield.descriptors.base import Descriptor, Jacobian
from forgefield.engine.row_vectors import (
    Vectors,
    lengths_of,
    lone_channels,
    reached_by,
    slopes_of,
    vectors_of,
)
from forgefield.expansions.terms import TermMemory, Terms, add_terms

__all__ = ["LARGEST", "PIECE", "ROWS", "JacobianTerms", "RowTables"]

LARGEST = 4
ROWS = 2
"""Vectors of a tile and rows of neighbours at a time: with three directions each this fills the registers of AVX-512,
and every number of the Jacobian is read from memory once for two rows."""

PIECE = 4
"""Products that are added up without a loop."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class RowTables:
    """Products of vectors of the Jacobian, and sums of them, for each expansion and element of a neighbour.

    Attributes
    ----------
    integers : (n,) int32
        For each (expansion, element) a directory of (first, last) records: of tiles of 1, 2, ... `LARGEST` vectors,
        then of sums of each of the lengths `sums`. Record of a tile: where its vectors start, place of its first
        product, first and last of its columns. A column: which coefficient changes, where in the vectors it is.
        Record of a sum: feature, its first factor, places of the products. Where there are `lone_channels`, coefficients
        are counted within the channel.
    starts : tuple of int
        Where the directories of an expansion start.
    sizes, sums : tuple of tuple of int
        Tile sizes and lengths of sums that occur, for each expansion.
    n_products : int
        Products of the expansion and element that has most.
    factors, features : (n,) float64 and int
        Factors of all sums, and the feature that each belongs to.
    n_wanted : int
        Features whose rows are wanted.
    places : tuple of (n_features, n_coefficients) int
        Where each number of the Jacobian is kept, -1 for those that are not read.
    n_places : tuple of int
    """

    integers: NDArray[np.int32]
    starts: tuple[int, ...]
    sizes: tuple[tuple[int, ...], ...]
    sums: tuple[tuple[int, ...], ...]
    n_products: int
    factors: FloatArray
    features: IntArray
    n_wanted: int
    places: tuple[IntArray, ...]
    n_places: tuple[int, ...]

    def directory(self, n: int) -> tuple[int, int]:
        """Return where the directories of expansion n start, and the integers of each."""
        return self.starts[n], 2 * (LARGEST + len(self.sums[n]))

    @property
    def signature(self) -> tuple[object, ...]:
        """All that a kernel depends on."""
        return self.starts, self.sizes, self.sums, self.n_products, self.n_wanted, self.n_places

    @staticmethod
    def of(
        descriptor: Descriptor, some: IntArray | None = None, jacobian: Jacobian | None = None
    ) -> RowTables:
        """Return the tables of a descriptor.

        Parameters
        ----------
        descriptor : Descriptor
        some : (n_features,) int, optional
            Features whose rows are wanted; default: all.
        jacobian : Jacobian, optional
            If the descriptor knows it: vectors are then kept one after the other, the shortest polynomials where there
            is a choice. Else they are kept as the whole Jacobian, as reverse sweeps leave it.
        """
        slopes = slopes_of(descriptor)
        wanted = np.arange(descriptor.n_features) if some is None else some
        lists = []
        for e, x in zip(descriptor.expansions, slopes, strict=True):
            costs = None if jacobian is None else lengths_of(jacobian, x.shape[1:])
            reached = [reached_by(e, s) for s in range(descriptor.n_species)]
            lists.append(vectors_of(x, wanted, reached, costs))
        return _Layout(lists, descriptor, wanted, packed=jacobian is not None).tables()


class _Layout:
    """Puts tables into one array of integers."""

    def __init__(
        self, lists: list[Vectors], descriptor: Descriptor, wanted: IntArray, *, packed: bool
    ) -> None:
        self.lists, self.packed, self.n_species = lists, packed, descriptor.n_species
        self.n_features, self.wanted = descriptor.n_features, wanted
        self.widths = [int(np.prod(e.shape)) for e in descriptor.expansions]
        self.channels = [lone_channels(e) for e in descriptor.expansions]
        self.lengths = [int(np.prod(e.shape[1:])) for e in descriptor.expansions]
        self.row_of = np.full(self.n_features, -1)
        self.row_of[wanted] = np.arange(len(wanted))
        self.integers: list[int] = []
        self.factors, self.features = list[float](), list[int]()
        self.n_products = 1

    def tables(self) -> RowTables:
        """Return the tables."""
        places, n_places, addresses = [], [], []
        for x, width in zip(self.lists, self.widths, strict=True):
            kept, size, at = self._place(x, width)
            places.append(kept)
            n_places.append(size)
            addresses.append(at)
        sums = [self._sum_lengths(x) for x in self.lists]
        sizes, starts = list[set[int]](), list[int]()
        for lengths in sums:
            starts.append(len(self.integers))
            self.integers += [0] * (self.n_species * 2 * (LARGEST + len(lengths)))
        for n, (x, lengths, start) in enumerate(zip(self.lists, sums, starts, strict=True)):
            sizes.append(set())
            lone = self.channels[n]
            for s in range(self.n_species):
                directory = start + s * 2 * (LARGEST + len(lengths))
                before = 0 if lone is None else int(lone[s]) * self.lengths[n]
                slots = self._tiles(x, addresses[n], (s, before), directory, sizes[-1])
                self._sums(x, s, slots, lengths, directory + 2 * LARGEST)
        return RowTables(
            np.array([*self.integers, 0], dtype=np.int32),
            tuple(starts),
            tuple(tuple(sorted(x)) for x in sizes),
            tuple(sums),
            self.n_products,
            np.array(self.factors),
            np.array(self.features, dtype=np.int64),
            len(self.wanted),
            tuple(places),
            tuple(n_places),
        )

    def _place(self, x: Vectors, width: int) -> tuple[IntArray, int, IntArray]:
        """Return where the numbers of the Jacobian are kept, how many, and where each vector starts."""
        places = np.full((self.n_features, width), -1)
        starts, size = np.zeros(len(x.features), dtype=np.int64), 0
        for v in np.flatnonzero(x.first == np.arange(len(x.first))):
            f, columns = x.features[v], x.columns[x.groups[v]][1]
            starts[v] = size if self.packed else f * width
            places[f, columns] = starts[v] + (np.arange(len(columns)) if self.packed else columns)
            size += len(columns)
        return places, size if self.packed else self.n_features * width, starts[x.first]

    def _sum_lengths(self, x: Vectors) -> tuple[int, ...]:
        """Return the lengths of sums that occur: up to `PIECE` as they are, else multiples of it."""
        found = set()
        for s in range(self.n_species):
            own = [x.columns[g][0] == s for g in x.groups]
            _, counts = np.unique(x.features[own], return_counts=True)
            found |= {_padded(int(c)) for c in counts}
        return tuple(sorted(found))

    def _tiles(
        self, x: Vectors, addresses: IntArray, kind: tuple[int, int], directory: int, sizes: set[int]
    ) -> dict[tuple[int, int], int]:
        """Lay out the tiles of an element and the coefficients before its own; return the places of the products.

        They belong to (group, vector).
        """
        species, before = kind
        tiles = list[tuple[int, IntArray, int, int]]()
        for g, (s, coefficients) in enumerate(x.columns):
            if s != species:
                continue
            first = len(self.integers)
            inside = np.arange(len(coefficients)) if self.packed else coefficients
            self.integers += np.stack([coefficients - before, inside], axis=1).ravel().tolist()
            vectors = np.unique(x.first[x.groups == g])
            parts = np.array_split(vectors, -(-len(vectors) // LARGEST))
            tiles += [(g, some, first, len(self.integers)) for some in parts]
        slots = dict[tuple[int, int], int]()
        for size in range(1, LARGEST + 1):
            self.integers[directory + 2 * size - 2] = len(self.integers)
            for g, some, first, last in tiles:
                if len(some) == size:
                    sizes.add(size)
                    self.integers += [*addresses[some].tolist(), len(slots), first, last]
                    slots |= {(g, v): len(slots) + k for k, v in enumerate(some.tolist())}
            self.integers[directory + 2 * size - 1] = len(self.integers)
        self.n_products = max(self.n_products, len(slots))
        return slots

    def _sums(
        self,
        x: Vectors,
        species: int,
        slots: dict[tuple[int, int], int],
        lengths: tuple[int, ...],
        directory: int,
    ) -> None:
        """Lay out which products make each feature."""
        terms = dict[int, list[tuple[int, float]]]()
        for f, g, v, factor in zip(x.features, x.groups, x.first, x.factors, strict=True):
            if x.columns[g][0] == species:
                terms.setdefault(int(f), []).append((slots[int(g), int(v)], float(factor)))
        for n, length in enumerate(lengths):
            self.integers[directory + 2 * n] = len(self.integers)
            for f, own in terms.items():
                if _padded(len(own)) == length:
                    padded = own + [(own[0][0], 0.0)] * (length - len(own))
                    self.integers += [self.row_of[f], len(self.factors), *(slot for slot, _ in padded)]
                    self.factors += [factor for _, factor in padded]
                    self.features += [f] * length
            self.integers[directory + 2 * n + 1] = len(self.integers)


def _padded(count: int) -> int:
    return count if count <= PIECE else -(-count // PIECE) * PIECE


@dataclass(frozen=True)
class JacobianTerms:
    """The polynomials of a Jacobian, laid out in memory, and where their values go.

    Attributes
    ----------
    n_inputs : int
    terms : Terms
        In the inputs and a one; their outputs are places of the Jacobian.
    """

    n_inputs: int
    terms: Terms

    @staticmethod
    def of(jacobian: Jacobian, places: IntArray, n_places: int, memory: TermMemory) -> JacobianTerms:
        """Lay out what of a Jacobian is read.

        Parameters
        ----------
        jacobian : Jacobian
        places : (n_features, n_coefficients) int
        n_places : int
        memory : TermMemory
        """
        table = jacobian.table
        outputs = places[jacobian.features, jacobian.coefficients]
        read = np.flatnonzero(outputs >= 0)
        read = read[np.argsort(outputs[read], kind="stable")]
        counts = np.diff(table.starts)[read]
        steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        term = np.repeat(table.starts[read], counts) + steps
        terms = add_terms(
            memory, n_places, np.repeat(outputs[read], counts), table.indices[term], table.coefficients[term]
        )
        return JacobianTerms(table.n_inputs, terms)
