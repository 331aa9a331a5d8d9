"""The hyperspherical expansion as instructions of a kernel: forward, reverse (VJP) and tangent (JVP).

The matrices are never formed for a neighbour: its few left and right functions (`formulas.wigner_factors`) are, and the
sums over neighbours of their products run like those of radial functions and harmonics. A constant sparse map at the
end, once per atom, makes the matrices of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.expansions.hyperspherical import HypersphericalExpansion
from forgefield.expansions.kernels import Direction, Edges, Matrix, Store
from forgefield.expansions.terms import (
    TermArguments,
    TermMemory,
    Terms,
    add_terms,
    evaluate,
    evaluate_linear,
)
from forgefield.formulas.wigner_factors import (
    factor_map,
    left_functions,
    n_left,
    n_products,
    product_start,
    right_functions,
)
from forgefield.tracer.memory import Rows, Scalars
from forgefield.tracer.trace import Int, Kernel
from forgefield.tracer.values import Vec

__all__ = ["HypersphericalMap", "TracedHyperspherical"]

LEFT_AT_A_TIME = 12
"""With real and imaginary part of a right function this fills the registers of AVX-512."""


@dataclass(frozen=True)
class HypersphericalMap:
    """Products to matrix elements, and adjoints back."""

    forward: Terms
    reverse: Terms

    @classmethod
    def of(cls, expansion: HypersphericalExpansion, memory: TermMemory) -> HypersphericalMap:
        """Lay the map of an expansion out in memory."""
        n, m = expansion.n_harmonics, factor_map(expansion.two_j_max)
        order = np.argsort(m.columns, kind="stable")
        return cls(
            add_terms(memory, n, m.components, m.columns[:, None], m.coefficients),
            add_terms(memory, n, m.columns[order], m.components[order, None], m.coefficients[order]),
        )


@dataclass(frozen=True)
class Basis:
    """Vectors and functions of one row; right functions as pairs, the first a single plain number."""

    vector: list[Vec]
    left: list[Any]
    right: list[list[Any]]


class TracedHyperspherical:
    """Emits the instructions of one expansion for one block of atoms.

    Parameters
    ----------
    k : Kernel
    expansion : HypersphericalExpansion
    edges : Edges
    scratch : Rows
        Memory of this thread for `rows_per_edge` numbers per row of neighbours, twice that with a tangent.
    constants : Scalars
        What `constants_of` returns.
    centre : Int
        Species of the block.
    terms : HypersphericalMap, TermArguments
        The constant map, and the memory of all tables.
    """

    def __init__(
        self,
        k: Kernel,
        expansion: HypersphericalExpansion,
        edges: Edges,
        scratch: Rows,
        constants: Scalars,
        centre: Int,
        terms: tuple[HypersphericalMap, TermArguments],
    ) -> None:
        self.k, self.expansion, self.edges, self.scratch = k, expansion, edges, scratch
        self.constants, self.centre = constants, centre
        self.map, self.memory = terms
        self.degree, self.n_species = expansion.two_j_max, expansion.n_species
        self.n_channels = expansion.n_channels
        self.n_left, self.n_products = n_left(self.degree), n_products(self.degree)

    @staticmethod
    def rows_per_edge(expansion: HypersphericalExpansion) -> int:
        """Return how many numbers of scratch memory a row of neighbours takes."""
        return n_left(expansion.two_j_max) + 2 * expansion.two_j_max

    @staticmethod
    def constants_of(expansion: HypersphericalExpansion) -> NDArray[np.float64]:
        """Return the channel weights, then cutoff, middle and half width for every pair of species."""
        return np.concatenate([expansion.channel_weights.ravel(), expansion.pair_table.ravel()])

    def weight(self, species: Int | int, channel: int) -> Vec:
        """Return what a neighbour of a species counts in a channel."""
        return self.constants[species * self.n_channels + channel]

    def basis(self, row: Int, species: Int | int, weight: Any = None) -> Basis:
        """Evaluate the formulas for one neighbour per lane, all of one species.

        `weight` is what it counts; by default its weight in a single channel, and 1 where there are more.
        """
        e, d = self.expansion, self.edges.vector(row)
        start = self.n_species * self.n_channels
        cutoff, middle, half_width = (
            self.constants[(self.centre * self.n_species + species) * 3 + (start + n)] for n in range(3)
        )
        r = d[0].formula_functions.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
        inverse = 1.0 / r
        a_r, a_i, b_r, b_i = e.point(d[0] * inverse, d[1] * inverse, d[2] * inverse, r, cutoff)
        strength = e.strength(r, cutoff, middle, half_width)
        if weight is not None or self.n_channels == 1:
            strength = strength * (self.weight(species, 0) if weight is None else weight)
        return Basis(
            d,
            left_functions(a_r, a_i, strength, self.degree),
            right_functions(b_r, b_i, self.degree),
        )

    # ---- sums over neighbours --------------------------------------------------------------------------------

    def forward(self, store: Store, add: Store) -> None:
        """Emit A; see `kernels.TracedExpansion.forward`."""
        self._emit(store, add, None)

    def tangent(self, store: Store, add: Store, direction: Direction) -> None:
        """Emit the change of A along a direction; see `kernels.TracedExpansion.tangent`."""
        self._emit(store, add, direction)

    def _emit(self, store: Store, add: Store, direction: Direction | None) -> None:
        del add
        k, n = self.k, self.n_products
        width = self.rows_per_edge(self.expansion)
        stride = width if direction is None else 2 * width
        first, last = self.edges.rows(0, self.n_species)
        sums = k.buffer(self.n_channels * n)
        with k.range(self.n_species) as s, k.range(*self.edges.rows(s, 1)) as e:
            self._basis_to_scratch(e, s, (e - first) * stride, direction)
        if self.n_channels == 1:
            self._products(0, last - first, stride, sums.__setitem__, tangent=direction is not None)
        else:
            with k.range(self.n_channels * n) as i:
                sums[i] = 0.0
            with k.range(self.n_species) as s:
                lo, hi = self.edges.rows(s, 1)

                def collect(i: Int | int, value: Any) -> None:
                    for c in range(self.n_channels):
                        sums.add(i + c * n, self.weight(s, c) * value)

                self._products(lo - first, hi - first, stride, collect, tangent=direction is not None)
        for c in range(self.n_channels):
            evaluate(
                k,
                self.map.forward,
                self.memory,
                [sums + c * n],
                lambda m, v, c=c: store(c, m, v[0]),  # type: ignore[misc]
            )

    def _basis_to_scratch(self, e: Int, species: Int | int, at: Any, direction: Direction | None) -> None:
        with self.k.tape() as tape:
            b = self.basis(e, species)
        values = b.left + [x for pair in b.right[1:] for x in pair]
        if direction is not None:
            values = values + self.k.jvp(tape, b.vector, direction(e), values)
        for n, v in enumerate(values):
            self.scratch[at + n] = v

    def _products(
        self, lo: Any, hi: Any, stride: int, collect: Callable[[Any, Any], None], *, tangent: bool
    ) -> None:
        """Emit the sums of all products over the neighbours lo ... hi - 1."""
        size = LEFT_AT_A_TIME // (2 if tangent else 1)
        for q in range(self.degree + 1):
            count = n_left(self.degree - q)
            whole = count // size * size
            if whole:
                with self.k.range(0, whole, size) as first:
                    self._tile(lo, hi, stride, q, (first, size), collect, tangent=tangent)
            if count % size:
                self._tile(lo, hi, stride, q, (whole, count % size), collect, tangent=tangent)

    def _tile(
        self,
        lo: Any,
        hi: Any,
        stride: int,
        q: int,
        tile: tuple[Any, int],
        collect: Callable[[Any, Any], None],
        *,
        tangent: bool,
    ) -> None:
        k, (first, size), width = self.k, tile, self.rows_per_edge(self.expansion)
        parts = range(2 if q else 1)
        sums = [k.accumulators(size) for _ in parts]
        with k.range(lo, hi) as e:
            at = e * stride
            right = [self.scratch[at + (self.n_left + 2 * (q - 1) + t)] if q else 1.0 for t in parts]
            change = [
                self.scratch[at + (width + self.n_left + 2 * (q - 1) + t)] if q and tangent else 0.0
                for t in parts
            ]
            for i in range(size):
                left = self.scratch[at + (first + i)]
                left_change = self.scratch[at + (first + (width + i))] if tangent else left
                for t in parts:
                    sums[t][i] += left_change * right[t] + left * change[t] if tangent else left * right[t]
        for t in parts:
            for i in range(size):
                collect(first + (product_start(self.degree, q, t) + i), sums[t][i])

    def moves(
        self, row: Int, species: Int | int, weight: Any, store: Callable[[Int, list[Any]], None]
    ) -> None:
        """Emit the changes of the matrices when the neighbours of one row move along x, y and z.

        Parameters
        ----------
        row, species
            The neighbours and their element.
        weight : Vec
            What they count.
        store : callable (component, [by x, by y, by z])
        """
        k, n_left_all = self.k, self.n_left
        with k.tape() as tape:
            b = self.basis(row, species, weight)
        values = b.left + [x for pair in b.right[1:] for x in pair]
        slopes = [k.jvp(tape, b.vector, [float(a == c) for a in range(3)], values) for c in range(3)]
        functions, products = k.buffer(4 * len(values)), k.buffer(3 * self.n_products)
        for n, v in enumerate(values):
            for t, x in enumerate((v, *(slope[n] for slope in slopes))):
                functions[4 * n + t] = x
        for q in range(self.degree + 1):
            parts = range(2 if q else 1)
            right = [
                [functions[4 * (n_left_all + 2 * (q - 1) + t) + a] for a in range(4)] for t in parts if q
            ]
            with k.range(n_left(self.degree - q)) as i:
                left = [functions[i * 4 + a] for a in range(4)]
                for t in parts:
                    place = (i + product_start(self.degree, q, t)) * 3
                    for a in range(3):
                        change = left[a + 1]
                        if q:
                            change = change * right[t][0] + left[0] * right[t][a + 1]
                        products[place + a] = change
        evaluate_linear(k, self.map.forward, self.memory, 3, products, store)

    # ---- back to the neighbours ------------------------------------------------------------------------------

    def reverse(self, bar: Matrix, use: Callable[[Int, list[Vec], list[Any]], None]) -> None:
        """Emit ``g_ij = sum A_bar dA/dr_ij``; see `kernels.TracedExpansion.reverse`."""
        k, n = self.k, self.n_products
        a_bar, product_bar = k.buffer(n), k.buffer(self.n_channels * n)
        for c in range(self.n_channels):
            with k.range(n) as m:
                a_bar[m] = bar(c, m)
            evaluate(
                k,
                self.map.reverse,
                self.memory,
                [a_bar],
                lambda m, v, c=c: product_bar.__setitem__(m + c * n, v[0]),  # type: ignore[misc]
            )
        own = product_bar if self.n_channels == 1 else k.buffer(n)
        with k.range(self.n_species) as s:
            if self.n_channels > 1:
                with k.range(n) as m:
                    own[m] = sum(self.weight(s, c) * product_bar[m + c * n] for c in range(self.n_channels))
            with k.range(*self.edges.rows(s, 1)) as e:
                self._pull_back(e, s, own, use)

    def _pull_back(
        self, e: Int, s: Int | int, bars: Rows, use: Callable[[Int, list[Vec], list[Any]], None]
    ) -> None:
        with self.k.tape() as tape:
            b = self.basis(e, s)
        left_bar: list[Any] = [0.0] * len(b.left)
        outputs, seeds = [], []
        for q, pair in enumerate(b.right):
            for t, right in enumerate(pair):
                total: Any = 0.0
                for i in range(n_left(self.degree - q)):
                    seed = bars[product_start(self.degree, q, t) + i]
                    left_bar[i] = left_bar[i] + seed * right
                    total = total + seed * b.left[i]
                if q:
                    outputs.append(right)
                    seeds.append(total)
        use(e, b.vector, self.k.vjp(tape, b.left + outputs, left_bar + seeds, b.vector))
