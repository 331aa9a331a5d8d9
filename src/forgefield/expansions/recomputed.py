"""The spherical expansion as instructions of a kernel for a GPU: nothing is kept of a neighbour but its position.

A thread has at most 255 registers, no vector units to fill, and memory is far away. So the sums over neighbours are
formed a group of harmonics at a time, with all sums of a group in registers, and the basis is evaluated anew for each
group: what a group does not need of it, the compiler leaves out. The reverse goes group by group within a neighbour,
and the harmonics of a group are pulled back before the next begins, so that few numbers are alive at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from forgefield.expansions.kernels import Direction, Edges, Matrix, Store, Stretch
from forgefield.expansions.spherical import SphericalExpansion
from forgefield.tracer.memory import Scalars
from forgefield.tracer.trace import Int, Kernel
from forgefield.tracer.values import Vec

__all__ = ["RecomputedExpansion"]

SUMS = {32: 80, 64: 40}
"""Sums over neighbours at a time in registers, by the bits of a number; half as many with a tangent."""

PULLED_BACK = {32: 5, 64: 9}
"""Harmonics at a time in the reverse, by the bits of a number: what left most registers free with CUDA 13.0."""


@dataclass(frozen=True)
class Basis:
    """Vectors, radial functions and harmonics of one row; constants among the harmonics are plain numbers."""

    vector: list[Vec]
    radial: list[Any]
    angular: list[Any]


class RecomputedExpansion:
    """Emits the instructions of one expansion for one block of atoms; see `kernels.TracedExpansion`.

    Parameters
    ----------
    k : Kernel
    expansion : SphericalExpansion
    edges : Edges
    channels : Scalars
        The (n_species, n_channels) weights of the channels; not looked at where there is one channel per species.
    stretch : callable, optional
        From the species of a neighbour to the factor on its distance in the radial functions.
    """

    def __init__(
        self,
        k: Kernel,
        expansion: SphericalExpansion,
        edges: Edges,
        channels: Scalars,
        stretch: Stretch | None = None,
    ) -> None:
        self.k, self.expansion, self.edges = k, expansion, edges
        self.channels, self.stretch = channels, stretch
        self.n_radial = expansion.radial.n_radial

    def groups(self, size: int) -> Iterator[tuple[slice, range]]:
        """Yield radial functions and harmonics that multiply, nearly equal groups of at most `size` harmonics."""
        for functions, harmonics in self.expansion.radial_blocks():
            count = harmonics.stop - harmonics.start
            n = -(-count // max(1, size))
            cuts = [harmonics.start + count * g // n for g in range(n + 1)]
            yield from ((functions, range(*cut)) for cut in pairwise(cuts))

    def basis(self, row: Int, species: Int | int) -> Basis:
        """Evaluate the formulas for one neighbour per lane, all of one species."""
        d, radial, unit = self._radial(row, species)
        return Basis(d, radial, self.expansion.angular(*unit))

    def _radial(self, row: Int, species: Int | int) -> tuple[list[Vec], list[Any], list[Vec]]:
        d = self.edges.vector(row)
        f = d[0].formula_functions
        r = f.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
        inverse = 1.0 / r
        stretched = r if self.stretch is None else r * self.stretch(species)
        return d, self.expansion.radial(stretched), [x * inverse for x in d]

    # ---- sums over neighbours --------------------------------------------------------------------------------

    def forward(self, store: Store, add: Store) -> None:
        """Emit A; see `TracedExpansion.forward`."""
        self._emit(store, add, None)

    def tangent(self, store: Store, add: Store, direction: Direction) -> None:
        """Emit the change of A along a direction; see `TracedExpansion.tangent`."""
        self._emit(store, add, direction)

    def _emit(self, store: Store, add: Store, direction: Direction | None) -> None:
        k, e, n = self.k, self.expansion, self.n_radial
        size = SUMS[k.bits] // n // (1 if direction is None else 2)
        if not e.resolves_species:
            with k.range(e.n_channels * n) as i, k.range(e.n_harmonics) as m:
                store(i, m, 0.0)
        with k.range(e.n_species) as s:
            for functions, harmonics in self.groups(size):
                sums = {m: k.accumulators(n) for m in harmonics}
                with k.range(*self.edges.rows(s, 1)) as row:
                    for m, i, v in self._terms((row, s), functions, harmonics, direction):
                        sums[m][i] += v
                for m in harmonics:
                    for i in range(n):
                        if e.resolves_species:
                            store(s * n + i, m, sums[m][i])
                            continue
                        for c in range(e.n_channels):
                            add(c * n + i, m, self.channels[s * e.n_channels + c] * sums[m][i])

    def _terms(
        self, at: tuple[Int, Int | int], functions: slice, harmonics: range, direction: Direction | None
    ) -> Iterator[tuple[int, int, Any]]:
        """Yield (harmonic, radial function, what a neighbour adds to their sum)."""
        with self.k.tape() as tape:
            b = self.basis(*at)
        radial, angular = b.radial[functions], [b.angular[m] for m in harmonics]
        if direction is None:
            yield from (
                (m, i, r * y) for m, y in zip(harmonics, angular, strict=True) for i, r in enumerate(radial)
            )
            return
        dots = self.k.jvp(tape, b.vector, direction(at[0]), radial + angular)
        for m, y, y_dot in zip(harmonics, angular, dots[len(radial) :], strict=True):
            for i, (r, r_dot) in enumerate(zip(radial, dots[: len(radial)], strict=True)):
                yield m, i, r_dot * y + r * y_dot

    # ---- back to the neighbours ------------------------------------------------------------------------------

    def reverse(self, bar: Matrix, use: Callable[[Int, list[Vec], list[Any]], None]) -> None:
        """Emit ``g_ij = sum A_bar dA/dr_ij``; see `TracedExpansion.reverse`."""
        with self.k.range(self.expansion.n_species) as s:
            seed = self._seeds(s, bar)
            with self.k.range(*self.edges.rows(s, 1)) as row:
                self._reverse((row, s), seed, use)

    def _reverse(
        self, at: tuple[Int, Int | int], seed: Matrix, use: Callable[[Int, list[Vec], list[Any]], None]
    ) -> None:
        k, row = self.k, at[0]
        with k.tape() as tape:
            d, radial, unit = self._radial(*at)
        radial_bar: list[Any] = [0.0] * len(radial)
        unit_bar: list[Any] = [0.0] * 3
        # Always zero, though no compiler can know: else it would read all adjoints before the loop and spill them.
        zero = k.integer("min", row, 0)
        for functions, harmonics in self.groups(PULLED_BACK[k.bits]):
            with k.tape() as inner:
                angular = self.expansion.angular(*unit)
            bars: list[Any] = []
            for m in harmonics:
                g = [seed(zero + i, m) for i in range(self.n_radial)]
                bars.append(sum(a * r for a, r in zip(g, radial[functions], strict=True)))
                for i, a in enumerate(g):
                    radial_bar[functions.start + i] += a * angular[m]
            back = k.vjp(inner, [angular[m] for m in harmonics], bars, unit)
            unit_bar = [a + b for a, b in zip(unit_bar, back, strict=True)]
        use(row, d, k.vjp(tape, [*radial, *unit], [*radial_bar, *unit_bar], d))

    def _seeds(self, s: Int | int, bar: Matrix) -> Matrix:
        """Return the adjoint of what neighbours of species s add, by radial function and harmonic."""
        e, n = self.expansion, self.n_radial
        if e.resolves_species:
            return lambda i, m: bar(s * n + i, m)
        rows = self.k.buffer(n * e.n_harmonics)
        with self.k.range(n) as i, self.k.range(e.n_harmonics) as m:
            total: Any = 0.0
            for c in range(e.n_channels):
                total = total + self.channels[s * e.n_channels + c] * bar(i + c * n, m)
            rows[i * e.n_harmonics + m] = total
        return lambda i, m: rows[i * e.n_harmonics + m]
