"""The expansion over pairs of neighbours as instructions of a kernel: forward, reverse (VJP) and tangent (JVP).

Every lane goes through the pairs of its atom's neighbours, pairs of two species at a time, so that the sums of a
channel stay in registers. Rows that stand for no neighbour lie beyond the cutoff, where all functions vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.expansions.kernels import Direction, Edges, Matrix, Store
from forgefield.expansions.triplets import TripletExpansion
from forgefield.tracer.memory import Rows, Scalars
from forgefield.tracer.trace import Int, Kernel
from forgefield.tracer.values import Vec

__all__ = ["TracedTriplets"]

NEAREST = 1e-3
"""Squared distance [Å^2] below which two neighbours are one point: rows that stand for none."""

WIDTH = 8
"""Numbers of scratch memory for a row of neighbours: a vector, its length, and the change or gradient of these four."""


class TracedTriplets:
    """Emits the instructions of one expansion for one block of atoms.

    Parameters
    ----------
    k : Kernel
    expansion : TripletExpansion
    edges : Edges
    scratch : Rows
        Memory of this thread for `rows_per_edge` numbers per row of neighbours.
    channels : Scalars
        What `constants_of` returns; not looked at where there is one channel per pair of species.
    """

    def __init__(
        self, k: Kernel, expansion: TripletExpansion, edges: Edges, scratch: Rows, channels: Scalars
    ) -> None:
        self.k, self.expansion, self.edges, self.scratch = k, expansion, edges, scratch
        self.channels = channels
        self.n_species, self.n_channels = expansion.n_species, expansion.n_channels
        self.n_functions = expansion.basis.n_functions

    @staticmethod
    def rows_per_edge(expansion: TripletExpansion) -> int:
        """Return how many numbers of scratch memory a row of neighbours takes."""
        del expansion
        return WIDTH

    @staticmethod
    def constants_of(expansion: TripletExpansion) -> NDArray[np.float64]:
        """Return the channel weights of every pair of species."""
        return expansion.channel_weights.ravel()

    def third_side(self, j: list[Vec], k: list[Vec]) -> tuple[list[Vec], Vec]:
        """Return ``r_ik - r_ij`` and its length."""
        d = [b - a for a, b in zip(j[:3], k[:3], strict=True)]
        square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
        f = square.formula_functions
        return d, f.sqrt(f.where(square > NEAREST, square, 1.0))

    # ---- loops -----------------------------------------------------------------------------------------------

    def _load(self, row: Any, first: int = 0) -> list[Vec]:
        """Return four numbers of a row, counted from the first of the block."""
        return [self.scratch[row * WIDTH + (first + n)] for n in range(4)]

    def _to_scratch(self, direction: Direction | None) -> None:
        first, last = self.edges.rows(0, self.n_species)
        with self.k.range(first, last) as e:
            d = self.edges.vector(e)
            r = d[0].formula_functions.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
            change: list[Any] = [0.0] * 4
            if direction is not None:
                change = direction(e)
                change = [*change, sum(a * b for a, b in zip(d, change, strict=True)) / r]
            for n, v in enumerate([*d, r, *change]):
                self.scratch[(e - first) * WIDTH + n] = v

    @contextmanager
    def _species_pairs(self) -> Iterator[tuple[Int | int, Int | int]]:
        """Loop over pairs of species s <= t."""
        n = self.n_species
        with self.k.range(n) as s:
            if n == 1:
                yield s, s
                return
            with self.k.range(s, n) as t:
                yield s, t

    @contextmanager
    def _second(self, e: Any, t: Int | int) -> Iterator[Any]:
        """Loop over the rows of species t behind row e; rows are counted from the first of the block."""
        first, (lo, hi) = self.edges.rows(0, 1)[0], self.edges.rows(t, 1)
        with self.k.range(self.k.integer("max", lo - first, e + 1), hi - first) as f:
            yield f

    def _rows(self, s: Int | int) -> tuple[Any, Any]:
        first, (lo, hi) = self.edges.rows(0, 1)[0], self.edges.rows(s, 1)
        return lo - first, hi - first

    def _channel(self, s: Int | int, t: Int | int) -> Int | int:
        return (s * (2 * self.n_species - 1 - s)) // 2 + t

    def _weight(self, s: Int | int, t: Int | int, channel: int) -> Vec:
        return self.channels[(s * self.n_species + t) * self.n_channels + channel]

    # ---- sums over pairs -------------------------------------------------------------------------------------

    def forward(self, store: Store, add: Store) -> None:
        """Emit A; see `kernels.TracedExpansion.forward`."""
        self._emit(store, add, None)

    def tangent(self, store: Store, add: Store, direction: Direction) -> None:
        """Emit the change of A along a direction; see `kernels.TracedExpansion.tangent`."""
        self._emit(store, add, direction)

    def _emit(self, store: Store, add: Store, direction: Direction | None) -> None:
        k, n = self.k, self.n_functions
        self._to_scratch(direction)
        if not self.expansion.resolves_species:
            with k.range(self.n_channels * n) as i:
                store(i, 0, 0.0)
        with self._species_pairs() as (s, t):
            sums = k.accumulators(n)
            with k.range(*self._rows(s)) as e:
                own, own_change = self._load(e), self._load(e, 4)
                with self._second(e, t) as f:
                    other = self._load(f)
                    d, r = self.third_side(own, other)
                    with k.tape() as tape:
                        values = self.expansion.basis(own[3], other[3], r)
                    if direction is not None:
                        change = self._load(f, 4)
                        third = sum(x * (b - a) for x, a, b in zip(d, own_change, change, strict=False)) / r
                        values = k.jvp(tape, [own[3], other[3], r], [own_change[3], change[3], third], values)
                    for q, v in enumerate(values):
                        sums[q] += v
            self._store_sums((s, t), sums.values(), store, add)

    def _store_sums(
        self, species: tuple[Int | int, Int | int], sums: list[Vec], store: Store, add: Store
    ) -> None:
        """Put the sums over the pairs of two species where they belong."""
        n = self.n_functions
        for q, v in enumerate(sums):
            if self.expansion.resolves_species:
                store(self._channel(*species) * n + q, 0, v)
                continue
            for c in range(self.n_channels):
                add(c * n + q, 0, self._weight(*species, c) * v)

    # ---- back to the neighbours ------------------------------------------------------------------------------

    def reverse(self, bar: Matrix, use: Callable[[Int, list[Vec], list[Any]], None]) -> None:
        """Emit ``g_ij = sum A_bar dA/dr_ij``; see `kernels.TracedExpansion.reverse`."""
        k = self.k
        self._to_scratch(None)
        with self._species_pairs() as (s, t):
            seeds = [self._seed(s, t, q, bar) for q in range(self.n_functions)]
            with k.range(*self._rows(s)) as e:
                own, sums = self._load(e), k.accumulators(4)
                with self._second(e, t) as f:
                    other = self._load(f)
                    d, r = self.third_side(own, other)
                    with k.tape() as tape:
                        values = self.expansion.basis(own[3], other[3], r)
                    along, along_other, third = k.vjp(tape, values, seeds, [own[3], other[3], r])
                    pull = [x * (third / r) for x in d]
                    for n, (own_part, part) in enumerate(
                        zip([*(-x for x in pull), along], [*pull, along_other], strict=True)
                    ):
                        sums[n] += own_part
                        self.scratch.add(f * WIDTH + (4 + n), part)
                for n in range(4):
                    self.scratch.add(e * WIDTH + (4 + n), sums[n])
        first, last = self.edges.rows(0, self.n_species)
        with k.range(first, last) as row:
            (*d, r), (*g, along) = self._load(row - first), self._load(row - first, 4)
            use(row, d, [a + x * (along / r) for a, x in zip(g, d, strict=True)])

    def _seed(self, s: Int | int, t: Int | int, q: int, bar: Matrix) -> Any:
        n = self.n_functions
        if self.expansion.resolves_species:
            return bar(self._channel(s, t) * n + q, 0)
        total: Any = 0.0
        for c in range(self.n_channels):
            total = total + self._weight(s, t, c) * bar(c * n + q, 0)
        return total
