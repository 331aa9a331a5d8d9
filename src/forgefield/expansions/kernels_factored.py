"""The expansion over pairs of neighbours where its functions are products, as instructions of a kernel.

The factors of single neighbours are evaluated once per neighbour and those of the angle once per pair; the factors of
the distance between two neighbours are polynomials of its square wherever that is exact to rounding. In the reverse,
the functions of the angle that multiply one factor are one polynomial, whose coefficients are made once per atom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from forgefield.expansions.fitted import FittedFactors, value, value_and_slope
from forgefield.expansions.kernels import Direction, Edges, Matrix, Store
from forgefield.expansions.kernels_triplets import NEAREST, TracedTriplets
from forgefield.expansions.triplets import FactoredBasis, TripletExpansion
from forgefield.tracer.memory import Rows, Scalars
from forgefield.tracer.trace import Int, Kernel
from forgefield.tracer.values import Vec

__all__ = ["FactoredTriplets"]

Keep = Callable[[Any, list[Any]], None]

GEOMETRY = 5
"""Numbers kept of a neighbour beside its factors: its vector, one over its length, a multiple of its square."""


class FactoredTriplets(TracedTriplets):
    """Emits the instructions of one expansion for one block of atoms; see `TracedTriplets`.

    Parameters
    ----------
    keep : bool
        `forward` and `reverse` are both emitted, and nobody else writes to the scratch memory between them.
    """

    def __init__(
        self,
        k: Kernel,
        expansion: TripletExpansion,
        edges: Edges,
        scratch: Rows,
        channels: Scalars,
        *,
        keep: bool = False,
    ) -> None:
        super().__init__(k, expansion, edges, scratch, channels)
        assert isinstance(expansion.basis, FactoredBasis)  # noqa: S101 - `traced.KINDS` chooses by that
        self.basis: FactoredBasis = expansion.basis
        self.keep = keep
        self.width = _width(self.basis)
        self.pairs = list(self.basis.factors)
        self.has_third = any(isinstance(x, np.ndarray) for x in self.basis.thirds(np.ones(1)))
        self.fitted = None
        if self.has_third:
            self.fitted = FittedFactors.of(self.basis.thirds, self.basis.third_reach, k.bits)

    @staticmethod
    def rows_per_edge(expansion: TripletExpansion) -> int:
        """Return how many numbers of scratch memory a row of neighbours takes."""
        assert isinstance(expansion.basis, FactoredBasis)  # noqa: S101 - `traced.KINDS` chooses by that
        return 2 * _width(expansion.basis)

    # ---- rows of neighbours ----------------------------------------------------------------------------------

    def _numbers(self, row: Any, first: int = 0) -> list[Vec]:
        """Return what is kept of a row, counted from the first of the block, or from `width` on its changes."""
        return [self.scratch[row * (2 * self.width) + (first + n)] for n in range(self.width)]

    def _of_vector(self, d: list[Vec]) -> list[Any]:
        """Return what is kept of a neighbour beside its vector."""
        square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
        r = d[0].formula_functions.sqrt(square)
        multiple = square if self.fitted is None else square * (2.0 / self.fitted.reach**2) - 0.5
        return [1.0 / r, multiple, *self.basis.sides(r)]

    def _rows_to_scratch(self, direction: Direction | None) -> None:
        first, last = self.edges.rows(0, self.n_species)
        with self.k.range(first, last) as e:
            d = self.edges.vector(e)
            with self.k.tape() as tape:
                kept = self._of_vector(d)
            change: list[Any] = [0.0] * self.width
            if direction is not None:
                change = direction(e)
                change = [*change, *self.k.jvp(tape, d, change, kept)]
            for n, v in enumerate([*d, *kept, *change]):
                self.scratch[(e - first) * (2 * self.width) + n] = v

    def _between(self, own: list[Vec], other: list[Vec]) -> tuple[Vec, Any]:
        """Return the cosine, and the variable that the factors of the distance between two neighbours depend on."""
        dot = own[0] * other[0] + own[1] * other[1] + own[2] * other[2]
        cosine = dot * (own[3] * other[3])
        f = dot.formula_functions
        if not self.has_third:
            return cosine, None
        if self.fitted is None:
            square = own[4] + other[4] - 2.0 * dot
            return cosine, f.where(square > NEAREST, square, 1.0)
        y = own[4] + other[4] - (4.0 / self.fitted.reach**2) * dot
        return cosine, f.where(y < 1.0, y, 1.0)

    def _thirds(self, y: Any) -> list[Any]:
        """Return the factors of the distance between two neighbours."""
        if not self.has_third:
            return [1.0] * (self.width - GEOMETRY)
        if self.fitted is None:
            return self.basis.thirds(y.formula_functions.sqrt(y))
        u = 1.0 - y
        squared = u * u
        return [1.0 if c is None else squared * value(c, y) for c in self.fitted.coefficients]

    def _thirds_and_slopes(self, y: Any) -> tuple[list[Any], list[Any]]:
        """Return the factors of the distance between two neighbours, and their derivatives with their variable."""
        if not self.has_third:
            return self._thirds(y), [0.0] * (self.width - GEOMETRY)
        if self.fitted is None:
            with self.k.tape() as tape:
                values = self._thirds(y)
            return values, self.k.jvp(tape, [y], [1.0], values)
        u = 1.0 - y
        squared, powers = u * u, _powers(y, max(len(c or ()) for c in self.fitted.coefficients) - 1)
        values, slopes = [], []
        for c in self.fitted.coefficients:
            if c is None:
                values.append(1.0)
                slopes.append(0.0)
                continue
            q, slope = value_and_slope(c, powers)
            values.append(squared * q)
            slopes.append(squared * slope - (2.0 * u) * q)
        return values, slopes

    # ---- sums over pairs -------------------------------------------------------------------------------------

    def _emit(self, store: Store, add: Store, direction: Direction | None) -> None:
        k, n = self.k, self.n_functions
        self._rows_to_scratch(direction)
        if not self.expansion.resolves_species:
            with k.range(self.n_channels * n) as i:
                store(i, 0, 0.0)
        with self._species_pairs() as (s, t):
            sums = k.accumulators(n)
            with k.range(*self._rows(s)) as e:
                own = self._numbers(e)
                own_change = None if direction is None else self._numbers(e, self.width)
                with self._second(e, t) as f:
                    other = self._numbers(f)
                    with k.tape() as tape:
                        values = self._functions(own, other)
                    if own_change is not None:
                        changes = [*own_change, *self._numbers(f, self.width)]
                        values = k.jvp(tape, [*own, *other], changes, values)
                    for q, v in enumerate(values):
                        sums[q] += v
            self._store_sums((s, t), sums.values(), store, add)

    def _functions(self, own: list[Vec], other: list[Vec]) -> list[Any]:
        cosine, y = self._between(own, other)
        angles = self.basis.angles(cosine)
        sides = [a * b for a, b in zip(own[GEOMETRY:], other[GEOMETRY:], strict=True)]
        radial = [a * b for a, b in zip(sides, self._thirds(y), strict=True)]
        return [radial[e] * angles[a] for e, a in self.pairs]

    # ---- one neighbour at a time -----------------------------------------------------------------------------

    def lay_out(self) -> None:
        """Emit what `moves` needs of all neighbours of the block; nobody else may write to the scratch memory then."""
        self._rows_to_scratch(None)

    def moves(self, row: Int, species: Int | int, weight: Any, store: Keep, add: Keep) -> None:
        """Emit the changes of A, times a weight, when the neighbours of one row move along x, y and z.

        Parameters
        ----------
        row : Int
        species : Int or int
            Element of its neighbours.
        weight : value
        store, add : callable (coefficient, three values)
            Set or add to the changes of a coefficient; every one is set first.
        """
        k, n = self.k, self.n_functions
        e = row - self.edges.rows(0, 1)[0]
        vector = self._numbers(e)[:3]
        with k.tape() as tape:
            kept = self._of_vector(vector)
        own, changes = [*vector, *kept], []
        for c in range(3):
            unit = [float(a == c) for a in range(3)]
            changes.append([*unit, *k.jvp(tape, vector, unit, kept)])
        with k.range(self.n_channels * n) as i:
            store(i, [0.0] * 3)
        with k.range(self.n_species) as t:
            sums = k.accumulators(3 * n)
            with self._others(e, t) as f:
                with k.tape() as tape:
                    values = self._functions(own, self._numbers(f))
                for c, change in enumerate(changes):
                    for q, v in enumerate(k.jvp(tape, own, change, values)):
                        sums[q * 3 + c] += v
            low, high = k.integer("min", species, t), k.integer("max", species, t)
            for q in range(n):
                moved = [weight * sums[q * 3 + c] for c in range(3)]
                if self.expansion.resolves_species:
                    add(self._channel(low, high) * n + q, moved)
                    continue
                for channel in range(self.n_channels):
                    factor = self._weight(low, high, channel)
                    add(channel * n + q, [factor * x for x in moved])

    @contextmanager
    def _others(self, e: Any, t: Int | int) -> Iterator[Any]:
        """Loop over the rows of species t except row e; rows are counted from the first of the block."""
        k, (lo, hi) = self.k, self._rows(t)

        def is_less(a: Any, b: Any) -> Any:
            """Return 1 where a < b, else 0."""
            return k.integer("min", k.integer("max", b - a, 0), 1)

        inside = is_less(lo - 1, e) * is_less(e, hi)
        with k.range(lo, hi - inside) as f:
            yield f + is_less(e - 1, f) * inside

    # ---- back to the neighbours ------------------------------------------------------------------------------

    def reverse(self, bar: Matrix, use: Callable[[Int, list[Vec], list[Any]], None]) -> None:
        """Emit ``g_ij = sum A_bar dA/dr_ij``; see `kernels.TracedExpansion.reverse`."""
        k, width = self.k, self.width
        if not self.keep:
            self._rows_to_scratch(None)
        with self._species_pairs() as (s, t):
            seeds = [self._seed(s, t, q, bar) for q in range(self.n_functions)]
            angular = self._angular(seeds)
            with k.range(*self._rows(s)) as e:
                own, sums = self._numbers(e), k.accumulators(width)
                with self._second(e, t) as f:
                    mine, theirs = self._pull(own, self._numbers(f), angular)
                    for n, (a, b) in enumerate(zip(mine, theirs, strict=True)):
                        sums[n] += a
                        self.scratch.add(f * (2 * width) + (width + n), b)
                for n in range(width):
                    self.scratch.add(e * (2 * width) + (width + n), sums[n])
        first, last = self.edges.rows(0, self.n_species)
        with k.range(first, last) as row:
            d = self._numbers(row - first)[:3]
            g = self._numbers(row - first, width)
            with k.tape() as tape:
                kept = self._of_vector(d)
            along = k.vjp(tape, kept, g[3:], d)
            use(row, d, [a + b for a, b in zip(g[:3], along, strict=True)])

    def _angular(self, seeds: list[Any]) -> Callable[[Any, list[Any]], tuple[list[Any], Any]]:
        """Return the function that pulls back the angles.

        It takes the cosine and the products of the other factors, and returns for each of these what multiplies it,
        and the derivative with respect to the cosine.
        """
        n, degree = self.width - GEOMETRY, self.basis.angular_degree
        n_angles = max(a for _, a in self.pairs) + 1
        if degree is None or n * degree > self.n_functions + 2 * n_angles:
            return lambda cosine, radial: self._angles_one_by_one(seeds, cosine, radial)
        powers = _as_powers(self.basis)
        series: list[list[Any]] = [[0.0] * (degree + 1) for _ in range(n)]
        for (e, a), seed in zip(self.pairs, seeds, strict=True):
            for p, c in enumerate(powers[a].tolist()):
                series[e][p] = series[e][p] + c * seed

        def pull(cosine: Any, radial: list[Any]) -> tuple[list[Any], Any]:
            x = _powers(cosine, degree)
            both = [value_and_slope(c, x) for c in series]
            return [v for v, _ in both], sum(w * slope for w, (_, slope) in zip(radial, both, strict=True))

        return pull

    def _angles_one_by_one(self, seeds: list[Any], cosine: Any, radial: list[Any]) -> tuple[list[Any], Any]:
        with self.k.tape() as tape:
            angles = self.basis.angles(cosine)
        bars: list[Any] = [0.0] * len(angles)
        factors: list[Any] = [0.0] * len(radial)
        for (e, a), seed in zip(self.pairs, seeds, strict=True):
            bars[a] = bars[a] + seed * radial[e]
            factors[e] = factors[e] + seed * angles[a]
        return factors, self.k.vjp(tape, angles, bars, [cosine])[0]

    def _pull(
        self,
        own: list[Vec],
        other: list[Vec],
        angular: Callable[[Any, list[Any]], tuple[list[Any], Any]],
    ) -> tuple[list[Any], list[Any]]:
        """Return the gradients with respect to what is kept of either neighbour of a pair."""
        k = self.k
        with k.tape() as tape:
            cosine, y = self._between(own, other)
        thirds, slopes = self._thirds_and_slopes(y)
        sides = [a * b for a, b in zip(own[GEOMETRY:], other[GEOMETRY:], strict=True)]
        factors, by_cosine = angular(cosine, [a * b for a, b in zip(sides, thirds, strict=True)])
        by_sides = [t * p for t, p in zip(thirds, factors, strict=True)]
        outputs, bars = [cosine], [by_cosine]
        if self.has_third:
            outputs.append(y)
            bars.append(sum(s * (d * p) for s, d, p in zip(sides, slopes, factors, strict=True)))
        geometry = k.vjp(tape, outputs, bars, [*own[:GEOMETRY], *other[:GEOMETRY]])
        mine = [b * x for b, x in zip(by_sides, other[GEOMETRY:], strict=True)]
        theirs = [b * x for b, x in zip(by_sides, own[GEOMETRY:], strict=True)]
        return [*geometry[:GEOMETRY], *mine], [*geometry[GEOMETRY:], *theirs]


def _width(basis: FactoredBasis) -> int:
    return GEOMETRY + max(e for e, _ in basis.factors) + 1


def _powers(x: Any, n: int) -> list[Any]:
    """Return 1, x, ... x^n."""
    powers = [1.0, x]
    while len(powers) <= n:
        powers.append(powers[len(powers) // 2] * powers[(len(powers) + 1) // 2])
    return powers


def _as_powers(basis: FactoredBasis) -> list[NDArray[np.float64]]:
    """Return the coefficients of the angles in powers of the cosine."""
    return [p.coef for p in basis.angles(Polynomial([0.0, 1.0]))]
