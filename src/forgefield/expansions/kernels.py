"""The spherical expansion as instructions of a kernel: forward, reverse (VJP) and tangent (JVP).

One atom per lane. The neighbours of a block of atoms come in rows of one neighbour per lane, grouped by species. The
basis of every row is evaluated once into scratch memory; the sums over neighbours then run as a product of radial
functions and harmonics, a few harmonics at a time, so that all sums stay in registers.

The reverse goes neighbour by neighbour, one harmonic after the other. Where radial functions are polynomials times a
factor, the adjoints of the functions become coefficients of powers once per atom, see `radial_series`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from forgefield.expansions.radial_series import Powers
from forgefield.expansions.spherical import RadialBasis, SphericalExpansion
from forgefield.tracer.memory import Rows, Scalars
from forgefield.tracer.trace import Int, Kernel
from forgefield.tracer.values import Vec

__all__ = ["Edges", "TracedExpansion"]

HARMONICS_AT_A_TIME = 2
"""With ten radial functions this fills the registers of AVX-512."""

COSTLY = 16
"""Operations per radial function from which on values and slopes are kept for the reverse."""

GEOMETRY = 8
"""Numbers kept of a neighbour beside the functions: its vector, one over its length, factors of the functions."""

Matrix = Callable[[Any, Any], Any]
Store = Callable[[Any, Any, Any], None]
Direction = Callable[[Int], list[Any]]
Stretch = Callable[[Int | int], Vec]
Pull = Callable[[Int, "Polar", tuple[Rows, Rows]], tuple[Any, Any]]
"""From a row, its geometry, and memory for its harmonics and their adjoints, which it writes, to the slope with distance
and a factor that the adjoints lack, or None."""


class Edges(Protocol):
    """Where a kernel finds the neighbours of a block."""

    def rows(self, species: Int | int, count: int) -> tuple[Int, Int]:
        """Return first and last row of the neighbours of `count` species from `species` on."""
        ...

    def vector(self, row: Int) -> list[Vec]:
        """Return the components of ``r_ij``, one neighbour per lane."""
        ...


def _is_costly(radial: RadialBasis, bits: int) -> bool:
    """Whether radial functions take so long that they are better not evaluated anew for their derivatives."""
    k = Kernel(bits)
    n = len(radial(k.emit("parameter", Vec)))
    return len(k.body) > COSTLY * n


@dataclass(frozen=True)
class Polar:
    """Vectors, lengths, one over them and unit vectors of one row."""

    vector: list[Vec]
    distance: Vec
    inverse: Vec
    unit: list[Vec]


class TracedExpansion:
    """Emits the instructions of one expansion for one block of atoms.

    Parameters
    ----------
    k : Kernel
    expansion : SphericalExpansion
    edges : Edges
    scratch : Rows
        Memory of this thread for ``rows_per_edge`` numbers per row of neighbours, twice that with a tangent.
    channels : Scalars
        The (n_species, n_channels) weights of the channels; not looked at where there is one channel per species.
    stretch : callable, optional
        From the species of a neighbour to the factor on its distance in the radial functions.
    keep : bool
        `forward` and `reverse` are both emitted, and nobody else writes to the scratch memory between them: what is
        costly to evaluate is kept there.
    """

    def __init__(
        self,
        k: Kernel,
        expansion: SphericalExpansion,
        edges: Edges,
        scratch: Rows,
        channels: Scalars,
        stretch: Stretch | None = None,
        *,
        keep: bool = False,
    ) -> None:
        self.k, self.expansion, self.edges, self.scratch = k, expansion, edges, scratch
        self.channels, self.stretch = channels, stretch
        self.n_species = len(expansion.channels)
        self.n_radial = expansion.radial.n_radial
        self.n_functions = len(expansion.radial(1.0))
        plain = expansion.angular(0.3, 0.4, 0.5)
        self.n_constant = 1 if expansion.l_min == 0 else 0
        self.n_harmonics = len(plain)
        self.constants = plain[: self.n_constant]
        self.keep = keep
        self.powers = None if expansion.radial.per_l else Powers.of(expansion.radial, k.bits)
        self.kept = keep and self.powers is None and _is_costly(expansion.radial, k.bits)

    @staticmethod
    def rows_per_edge(expansion: SphericalExpansion) -> int:
        """Return how many numbers of scratch memory a row of neighbours takes."""
        return 2 * len(expansion.radial(1.0)) + expansion.n_harmonics + GEOMETRY

    def polar(self, row: Int) -> Polar:
        """Evaluate the geometry of one neighbour per lane."""
        d = self.edges.vector(row)
        f = d[0].formula_functions
        r = f.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
        inverse = 1.0 / r
        return Polar(d, r, inverse, [x * inverse for x in d])

    def radial(self, b: Polar, species: Int | int) -> list[Any]:
        """Evaluate the radial functions for neighbours of one species."""
        stretched = b.distance if self.stretch is None else b.distance * self.stretch(species)
        return self.expansion.radial(stretched)

    @property
    def stride(self) -> int:
        """Numbers from one row of neighbours to the next in the scratch memory."""
        if not self.keep:
            return self.n_functions + self.n_harmonics
        return self.n_functions * (2 if self.kept else 1) + self.n_harmonics + GEOMETRY

    # ---- sums over neighbours --------------------------------------------------------------------------------

    def forward(self, store: Store, add: Store) -> None:
        """Emit A.

        Parameters
        ----------
        store, add : callable (row, column, value)
            Set or add to an element of A; rows are (channel, radial function).
        """
        self._emit(store, add, None)

    def tangent(self, store: Store, add: Store, direction: Direction) -> None:
        """Emit the change of A along a `direction`: a callable from a row of neighbours to the change of r_ij."""
        self._emit(store, add, direction)

    def _emit(self, store: Store, add: Store, direction: Direction | None) -> None:
        resolved, n = self.expansion.resolves_species, self.n_radial
        n_channels = self.expansion.n_channels
        stride = self.stride if direction is None else 2 * (self.n_functions + self.n_harmonics)
        first, last = self.edges.rows(0, self.n_species)
        if not resolved:
            with self.k.range(n_channels * n) as i, self.k.range(self.n_harmonics) as m:
                store(i, m, 0.0)
        if self.stretch is None:
            with self.k.range(first, last) as e:
                self._basis_to_scratch(e, 0, (e - first) * stride, direction)
        else:
            with self.k.range(self.n_species) as s, self.k.range(*self.edges.rows(s, 1)) as e:
                self._basis_to_scratch(e, s, (e - first) * stride, direction)
        with self.k.range(self.n_species) as s:
            lo, hi = self.edges.rows(s, 1)
            for i, m, v in self._sums(lo - first, hi - first, stride, tangent=direction is not None):
                if resolved:
                    store(s * n + i, m, v)
                    continue
                for c in range(n_channels):
                    add(c * n + i, m, self.channels[s * n_channels + c] * v)

    def _basis_to_scratch(self, e: Int, species: Int | int, at: Any, direction: Direction | None) -> None:
        with self.k.tape() as tape:
            b = self.polar(e)
            values = self.radial(b, species) + self.expansion.angular(*b.unit)
        if direction is not None:
            values = values + self.k.jvp(tape, b.vector, direction(e), values)
        elif self.keep:
            values += [*b.vector, b.inverse]
            if self.kept:
                values += self.k.jvp(tape, [b.distance], [1.0], values[: self.n_functions])
            elif self.powers is not None:
                values += self._factors(self.powers, b, species)
        for n, v in enumerate(values):
            self.scratch[at + n] = v

    def _factors(self, powers: Powers, b: Polar, species: Int | int) -> list[Any]:
        """Return factor and argument of the polynomials, and their derivatives with respect to the distance."""
        with self.k.tape() as tape:
            stretched = b.distance if self.stretch is None else b.distance * self.stretch(species)
            values = list(powers.factors(stretched))
        return values + self.k.jvp(tape, [b.distance], [1.0], values)

    def _recalled(self, row: Int) -> Polar:
        """Return the geometry of a row as `forward` has kept it."""
        *d, inverse = self._kept(row, self.n_functions + self.n_harmonics, 4)
        return Polar(
            d, (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]) * inverse, inverse, [x * inverse for x in d]
        )

    def _sums(self, lo: Any, hi: Any, stride: int, *, tangent: bool) -> Iterator[tuple[int, Any, Any]]:
        """Yield (radial function, harmonic, sum over the neighbours lo ... hi - 1)."""
        for functions, harmonics in self.expansion.radial_blocks():
            start = max(harmonics.start, self.n_constant)
            for m in range(harmonics.start, start):
                yield from self._constant(lo, hi, functions, m, stride, tangent=tangent)
            count, size = harmonics.stop - start, HARMONICS_AT_A_TIME
            if count // size:
                with self.k.range(start, start + count // size * size, size) as m:
                    yield from self._tile(lo, hi, functions, (m, size), stride, tangent=tangent)
            if count % size:
                last = harmonics.stop - count % size
                yield from self._tile(lo, hi, functions, (last, count % size), stride, tangent=tangent)

    def _constant(
        self, lo: Any, hi: Any, functions: slice, m: int, stride: int, *, tangent: bool
    ) -> Iterator[tuple[int, Any, Any]]:
        """Yield the sums with a harmonic that is a plain number: those of the radial functions alone."""
        n = functions.stop - functions.start
        sums = self.k.accumulators(n)
        start = functions.start + (self.n_functions + self.n_harmonics if tangent else 0)
        with self.k.range(lo, hi) as e:
            for i in range(n):
                sums[i] += self.scratch[e * stride + (start + i)]
        for i in range(n):
            yield i, m, self.constants[m] * sums[i]

    def _tile(
        self, lo: Any, hi: Any, functions: slice, tile: tuple[Any, int], stride: int, *, tangent: bool
    ) -> Iterator[tuple[int, Any, Any]]:
        first, size = tile
        n, width = functions.stop - functions.start, self.n_functions + self.n_harmonics
        sums = [self.k.accumulators(n) for _ in range(size)]
        with self.k.range(lo, hi) as e:
            at = e * stride
            y = [self.scratch[at + (first + (self.n_functions + t))] for t in range(size)]
            y_dot = (
                [self.scratch[at + (first + (width + self.n_functions + t))] for t in range(size)]
                if tangent
                else y
            )
            for i in range(functions.start, functions.stop):
                r = self.scratch[at + i]
                for t in range(size):
                    if tangent:
                        r_dot = self.scratch[at + (width + i)]
                        sums[t][i - functions.start] += r_dot * y[t] + r * y_dot[t]
                    else:
                        sums[t][i - functions.start] += r * y[t]
        for t in range(size):
            for i in range(n):
                yield i, first + t, sums[t][i]

    # ---- back to the neighbours ------------------------------------------------------------------------------

    def reverse(self, bar: Matrix, use: Callable[[Int, list[Vec], list[Any]], None]) -> None:
        """Emit ``g_ij = sum A_bar dA/dr_ij``.

        Parameters
        ----------
        bar : callable (row, column)
            Adjoint of an element of A.
        use : callable (row of neighbours, r_ij, g_ij)
        """
        own, bars = self.k.buffer(self.n_harmonics), self.k.buffer(self.n_harmonics)
        with self.k.range(self.n_species) as s:
            pull = self._pull(s, bar) if self.powers is None else self._pull_powers(s, bar, self.powers)
            with self.k.range(*self.edges.rows(s, 1)) as e:
                b = self._recalled(e) if self.keep else self.polar(e)
                with self.k.tape() as tape:
                    angular = self.expansion.angular(*b.unit)
                if self.keep:
                    values = self.scratch + (self._row(e) + self.n_functions)
                else:
                    values = own
                    for m in range(self.n_constant, self.n_harmonics):
                        values[m] = angular[m]
                slope, scale = pull(e, b, (values, bars))
                seeds = [bars[m] for m in range(self.n_constant, self.n_harmonics)]
                u = self.k.vjp(tape, angular[self.n_constant :], seeds, b.unit)
                # Along the vector the slope, across it what turns the unit vector.
                inverse = b.inverse if scale is None else b.inverse * scale
                along = slope - inverse * sum(x * y for x, y in zip(u, b.unit, strict=True))
                use(e, b.vector, [x * inverse + along * y for x, y in zip(u, b.unit, strict=True)])

    def _pull(self, s: Int | int, bar: Matrix) -> Pull:
        """Return the pull for neighbours of species s: adjoints of products to those of radial functions and harmonics."""
        k, n, seed = self.k, self.n_radial, self._seeds(s, bar)

        def pull(e: Int, b: Polar, memory: tuple[Rows, Rows]) -> tuple[Any, Any]:
            values, bars = memory
            with k.tape() as tape:
                radial = self._kept(e, 0, self.n_functions) if self.kept else self.radial(b, s)
            radial_bar: list[Any] = []
            for functions, harmonics in self.expansion.radial_blocks():
                own, sums = radial[functions], k.accumulators(n)
                start = max(harmonics.start, self.n_constant)
                for m in range(harmonics.start, start):
                    for i in range(n):
                        sums[i] = seed(i, m) * self.constants[m]
                if start < harmonics.stop:
                    with k.range(start, harmonics.stop) as m:
                        y, g = values[m], [seed(i, m) for i in range(n)]
                        bars[m] = sum(a * r for a, r in zip(g, own, strict=True))
                        for i, a in enumerate(g):
                            sums[i] += a * y
                radial_bar += sums.values()
            if self.kept:
                slopes = self._kept(e, self.n_functions + self.n_harmonics + 4, self.n_functions)
                return sum(a * slope for a, slope in zip(radial_bar, slopes, strict=True)), None
            return k.vjp(tape, radial, radial_bar, [b.distance])[0], None

        return pull

    def _pull_powers(self, s: Int | int, bar: Matrix, powers: Powers) -> Pull:
        """Return the pull for radial functions that are polynomials times a factor."""
        k, n, seed = self.k, powers.n, self._seeds(s, bar)
        rows = k.buffer(n * self.n_harmonics)
        with k.range(self.n_harmonics) as m:
            for p, c in enumerate(powers.coefficients([seed(i, m) for i in range(self.n_radial)])):
                rows[m * n + p] = c

        def pull(e: Int, b: Polar, memory: tuple[Rows, Rows]) -> tuple[Any, Any]:
            values, bars = memory
            if self.keep:
                factor, x, factor_dot, x_dot = self._kept(e, self.n_functions + self.n_harmonics + 4, 4)
            else:
                factor, x, factor_dot, x_dot = self._factors(powers, b, s)
            parts = powers.evaluator(x)
            sums = k.accumulators(3)

            def add(m: Any, y: Any) -> None:
                even, odd, slope = parts([rows[m * n + p] for p in range(n)])
                value = even + x * odd
                if not isinstance(y, float):
                    bars[m] = value
                for i, v in enumerate((value, slope, odd)):
                    sums[i] += v * y

            for m in range(self.n_constant):
                add(m, self.constants[m])
            if self.n_constant < self.n_harmonics:
                with k.range(self.n_constant, self.n_harmonics) as m:
                    add(m, values[m])
            value, slope, odd = sums.values()
            return factor_dot * value + factor * x_dot * (4.0 * x * slope + odd), factor

        return pull

    def _row(self, e: Int) -> Any:
        """Return where a row of neighbours begins in the scratch memory."""
        return (e - self.edges.rows(0, 1)[0]) * self.stride

    def _kept(self, e: Int, start: int, count: int) -> list[Any]:
        """Return numbers that `forward` has kept in the scratch memory."""
        at = self._row(e) + start
        return [self.scratch[at + i] for i in range(count)]

    def _seeds(self, s: Int | int, bar: Matrix) -> Matrix:
        """Return the adjoint of what neighbours of species s add, by radial function and harmonic."""
        n, n_channels, n_harmonics = self.n_radial, self.expansion.n_channels, self.n_harmonics
        if self.expansion.resolves_species:
            return lambda i, m: bar(s * n + i, m)
        rows = self.k.buffer(n * n_harmonics)
        with self.k.range(n) as i, self.k.range(n_harmonics) as m:
            total: Any = 0.0
            for c in range(n_channels):
                total = total + self.channels[s * n_channels + c] * bar(i + c * n, m)
            rows[i * n_harmonics + m] = total
        return lambda i, m: rows[i * n_harmonics + m]
