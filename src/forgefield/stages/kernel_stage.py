"""The operations as instructions of a kernel, with their reverse sweep and, for training, their tangents.

Arrays lie in the workspace of a thread. `KernelStage.backward` emits the reverse of everything done so far: adjoints of
the coefficients and, on request, gradients with respect to the parameters. With `tangent`, every array carries a
second plane, its change along a direction; the reverse sweep then starts from (value, change), which is what the
gradient of a loss on forces needs (second derivatives without anything stored).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from forgefield.errors import ForgefieldError
from forgefield.expansions.terms import TermArguments
from forgefield.stages.base import Function
from forgefield.stages.kernel_couplings import CouplingEntry, emit_couplings
from forgefield.stages.kernel_products import emit_products
from forgefield.stages.parameters import Entry, ParameterLayout
from forgefield.stages.products import ProductTable
from forgefield.tracer.memory import Rows, Scalars, Sums, Totals
from forgefield.tracer.trace import Int, Kernel

__all__ = ["KernelArray", "KernelStage"]

TILE = 12
"""Outputs of a matrix product kept in registers at a time."""


class _Base:
    """Memory of an array: planes of values and of adjoints, and how often each element has been used."""

    def __init__(
        self,
        k: Kernel,
        size: int,
        planes: int,
        values: Sequence[Rows] | None = None,
        bars: Sequence[Rows] | None = None,
    ) -> None:
        self.size = size
        self.values = list(values) if values else [k.buffer(size) for _ in range(planes)]
        self.bars = list(bars) if bars else [k.buffer(size) for _ in range(planes)]
        self.uses = np.zeros(size, dtype=np.int64)
        self.fixed = False  # nobody asks for its adjoints

    @property
    def once(self) -> bool:
        """Every element is used by one operation only: its adjoint is stored, not added to."""
        return bool((self.uses == 1).all())


class KernelArray:
    """Rows and columns of numbers in memory: element (i, j) lies in row ``start + i * step_i + j * step_j``."""

    def __init__(
        self,
        base: _Base,
        shape: tuple[int, int],
        steps: tuple[int, int],
        start: int = 0,
        *,
        scaled: bool = False,
    ) -> None:
        self.base, self.shape, self.steps, self.start, self.scaled = base, shape, steps, start, scaled

    def columns(self, first: int, last: int) -> KernelArray:
        """Return columns first ... last - 1."""
        return KernelArray(
            self.base, (self.shape[0], last - first), self.steps, self.start + first * self.steps[1]
        )

    def rows(self, first: int, last: int) -> KernelArray:
        """Return rows first ... last - 1."""
        return KernelArray(
            self.base, (last - first, self.shape[1]), self.steps, self.start + first * self.steps[0]
        )

    def at(self, i: Int | int, j: Int | int) -> Int | int:
        """Return the row in memory of element (i, j)."""
        return i * self.steps[0] + j * self.steps[1] + self.start

    def value(self, plane: int, i: Int | int, j: Int | int) -> Any:
        """Return an element of a plane (0: value, 1: tangent)."""
        return self.base.values[plane][self.at(i, j)]

    def put(self, plane: int, i: Int | int, j: Int | int, value: Any) -> None:
        """Set an element of a plane."""
        self.base.values[plane][self.at(i, j)] = value

    def bar(self, plane: int, i: Int | int, j: Int | int) -> Any:
        """Return the adjoint of an element."""
        return self.base.bars[plane][self.at(i, j)]

    def give(self, plane: int, i: Int | int, j: Int | int, value: Any, *, add: bool = False) -> None:
        """Pass an adjoint back to an element."""
        rows = self.base.bars[plane]
        if self.base.once and not add:
            rows[self.at(i, j)] = value
        else:
            rows.add(self.at(i, j), value)

    def used(self, times: int = 1) -> None:
        """Count a use of every element."""
        rows, columns = (np.arange(n) * s for n, s in zip(self.shape, self.steps, strict=True))
        self.base.uses[(self.start + rows[:, None] + columns).ravel()] += times


class KernelStage:
    """`Stage` that emits instructions for one block of atoms.

    Parameters
    ----------
    k : Kernel
    species : Int
        Element of the block.
    layout : ParameterLayout
        Where the parameters lie.
    parameters : Scalars
    terms : TermArguments, optional
        The tables of the polynomials, `ParameterLayout.memory`.
    gradients : Sums or Totals, optional
        Where `backward` adds the gradients of the parameters, one row or number each.
    tangent : bool
        Carry a second plane.
    """

    def __init__(
        self,
        k: Kernel,
        species: Int,
        layout: ParameterLayout,
        parameters: Scalars,
        *,
        terms: TermArguments | None = None,
        gradients: Sums | Totals | None = None,
        tangent: bool = False,
    ) -> None:
        self.k, self.species, self.layout = k, species, layout
        self.parameters, self.gradients, self._terms = parameters, gradients, terms
        self.planes = 2 if tangent else 1
        self.repeats = False
        """Whether `backward` is emitted within a loop, for one output after the other."""
        self.kept: dict[Any, Any] = {}
        """What descriptors have emitted and may need again; keys hold what it was made of."""
        self.bases: list[_Base] = []
        self.reverse: list[Callable[[], None]] = []

    # ---- arrays --------------------------------------------------------------------------------------------

    def array(
        self, n: int, m: int, values: Sequence[Rows] | None = None, bars: Sequence[Rows] | None = None
    ) -> KernelArray:
        """Return a new array; `values` and `bars` may name the memory of its planes."""
        base = _Base(self.k, n * m, self.planes, values, bars)
        self.bases.append(base)
        return KernelArray(base, (n, m), (m, 1))

    def scaled(self, x: KernelArray) -> KernelArray:
        """Mark the features as scaled: the linear map that uses them has the scaling in its parameters."""
        return KernelArray(x.base, x.shape, x.steps, x.start, scaled=True)

    def backward(self) -> None:
        """Emit the reverse sweep; the adjoints of the last array must have been set."""
        for base in self.bases:
            if not base.once and base.uses.any():
                for bar in base.bars:
                    with self.k.range(base.size) as i:
                        bar[i] = 0.0
        for step in reversed(self.reverse):
            step()

    # ---- linear maps ---------------------------------------------------------------------------------------

    def linear(self, weight: Tensor, x: KernelArray, bias: Tensor | None = None) -> KernelArray:
        """See `Stage.linear`."""
        k, (n_in, n_columns) = self.k, x.shape
        n_out = weight.shape[2] if weight.ndim == 3 else 1
        entry = self.layout.add(weight, bias, (n_in, n_out), folded=x.scaled)
        w_start = self.species * (n_in * n_out) + entry.weight_start
        w = self.parameters + w_start
        b = None if entry.bias_start < 0 else self.parameters + (self.species * n_out + entry.bias_start)
        y = self.array(n_out, n_columns)
        x.used()
        for p in range(self.planes):
            self._product(
                (n_out, n_in, n_columns),
                lambda o, i: w[i * n_out + o],
                lambda i, c, p=p: x.value(p, i, c),
                lambda o, c, v, p=p: y.put(p, o, c, v),
                (lambda o: b[o]) if b is not None and p == 0 else None,
            )

        def reverse() -> None:
            if self.gradients is not None:
                self._gradient(entry, x, y)
            for p in range(0 if x.base.fixed else self.planes):
                self._product(
                    (n_in, n_out, n_columns),
                    lambda i, o: w[i * n_out + o],
                    lambda o, c, p=p: y.bar(p, o, c),
                    lambda i, c, v, p=p: x.give(p, i, c, v),
                )

        self.reverse.append(reverse)
        del k
        return y

    def _product(
        self,
        shape: tuple[int, int, int],
        weight: Callable[..., Any],
        x: Callable[..., Any],
        store: Callable[..., None],
        bias: Callable[..., Any] | None = None,
    ) -> None:
        """``store(o, c, bias(o) + sum_i weight(o, i) x(i, c))``, `TILE` outputs at a time in registers."""
        k, (n_out, n_in, n_columns) = self.k, shape

        def block(first: Int | int, size: int, c: Int | int) -> None:
            sums = k.accumulators(size)
            if bias is not None:
                for o in range(size):
                    sums[o] = bias(first + o)
            with k.range(n_in) as i:
                xi = x(i, c)
                for o in range(size):
                    sums[o] += weight(first + o, i) * xi
            for o in range(size):
                store(first + o, c, sums[o])

        with k.range(n_columns) as c:
            if n_out >= TILE:
                with k.range(0, n_out // TILE * TILE, TILE) as first:
                    block(first, TILE, c)
            if n_out % TILE:
                block(n_out // TILE * TILE, n_out % TILE, c)

    def _gradient(self, entry: Entry, x: KernelArray, y: KernelArray) -> None:
        """Add ``sum_c x[i, c] y_bar[o, c]`` to the gradient of the weights, ``sum_c y_bar`` to that of the bias."""
        k, gradients = self.k, self.gradients
        assert gradients is not None  # noqa: S101 - asked for by `linear` only where present
        (n_in, n_columns), n_out = x.shape, entry.n_out
        w_bar = gradients + (self.species * (n_in * n_out) + entry.weight_start)
        tile = min(TILE, n_out)

        def block(i: Int | int, first: Int | int, size: int) -> None:
            sums = k.accumulators(size)
            for p in range(self.planes):
                with k.range(n_columns) as c:
                    xi = x.value(p, i, c)
                    for o in range(size):
                        sums[o] += xi * y.bar(p, first + o, c)
            w_bar.add_all(i * n_out + first, sums.values())

        with k.range(n_in) as i:
            with k.range(0, n_out // tile * tile, tile) as first:
                block(i, first, tile)
            if n_out % tile:
                block(i, n_out // tile * tile, n_out % tile)
        if entry.bias_start >= 0:
            b_bar = gradients + (self.species * n_out + entry.bias_start)
            with k.range(n_out) as o, k.range(n_columns) as c:
                b_bar.add(o, y.bar(0, o, c))

    # ---- formulas ------------------------------------------------------------------------------------------

    def map(self, function: Function, *xs: KernelArray) -> KernelArray:
        """See `Stage.map`."""
        n = xs[0].shape[0]
        y = self.array(n, len(function([0.5] * sum(x.shape[1] for x in xs))))
        for x in xs:
            x.used()

        def elements(i: Int | int, p: int) -> list[Any]:
            return [x.value(p, i, j) for x in xs for j in range(x.shape[1])]

        def give(i: Int | int, p: int, values: list[Any]) -> None:
            rest = iter(values)
            for x in xs:
                for j in range(x.shape[1]):
                    x.give(p, i, j, next(rest))

        with self.k.range(n) as i:
            self._forward(function, [elements(i, p) for p in range(self.planes)], y, i)

        def reverse() -> None:
            with self.k.range(n) as i:
                for p, bars in enumerate(self._backward(function, lambda p: elements(i, p), y, i)):
                    give(i, p, bars)

        self.reverse.append(reverse)
        return y

    def map_pairs(self, function: Callable[[Any, Any], list[Any]], x: KernelArray) -> KernelArray:
        """See `Stage.map_pairs`."""
        n, m = x.shape
        y = self.array(n * (n + 1) // 2, len(function([0.5] * m, [0.5] * m)))
        x.used(2 * n)

        def joined(v: Sequence[Any]) -> list[Any]:
            return function(list(v[:m]), list(v[m:]))

        def elements(i: Int | int, j: Int | int, p: int) -> list[Any]:
            return [x.value(p, row, c) for row in (i, j) for c in range(m)]

        def position(i: Int | int, j: Int | int) -> Int | int:
            return (i * (2 * n - 1 - i)) // 2 + j

        with self.k.range(n) as i, self.k.range(i, n) as j:
            self._forward(joined, [elements(i, j, p) for p in range(self.planes)], y, position(i, j))

        def reverse() -> None:
            with self.k.range(n) as i, self.k.range(i, n) as j:
                for p, bars in enumerate(
                    self._backward(joined, lambda p: elements(i, j, p), y, position(i, j))
                ):
                    for c in range(m):
                        x.give(p, i, c, bars[c], add=True)
                        x.give(p, j, c, bars[m + c], add=True)

        self.reverse.append(reverse)
        return y

    def _forward(self, function: Function, planes: list[list[Any]], y: KernelArray, row: Int | int) -> None:
        for p, values in enumerate(self.lifted(function, planes)):
            for j, v in enumerate(values):
                y.put(p, row, j, v)

    def _backward(
        self, function: Function, elements: Callable[[int], list[Any]], y: KernelArray, row: Int | int
    ) -> list[list[Any]]:
        """Return the adjoints of the elements of each plane, from those of a row of y."""
        k = self.k
        with k.tape() as tape:
            planes = [elements(p) for p in range(self.planes)]
            results = self.lifted(function, planes)
        seeds = [y.bar(p, row, j) for p, r in enumerate(results) for j in range(len(r))]
        outputs = [v for r in results for v in r]
        stored = [y.value(p, row, j) for p, r in enumerate(results) for j in range(len(r))]
        known = dict(zip(outputs, stored, strict=True))
        flat = k.vjp(tape, outputs, seeds, [v for plane in planes for v in plane], known)
        width = len(planes[0])
        return [flat[p * width : (p + 1) * width] for p in range(self.planes)]

    def lifted(self, function: Function, planes: list[list[Any]]) -> list[list[Any]]:
        """Return the values of a formula and, with a second plane, their tangents."""
        if len(planes) == 1:
            return [list(function(planes[0]))]
        with self.k.tape() as tape:
            values = list(function(planes[0]))
        return [values, self.k.jvp(tape, planes[0], planes[1], values)]

    @property
    def term_memory(self) -> TermArguments:
        """The tables of the polynomials."""
        if self._terms is None:
            raise ForgefieldError(
                "this kernel has polynomials but no memory for their tables; give it `terms`"
            )
        return self._terms

    def products(self, table: ProductTable, *xs: KernelArray) -> KernelArray:
        """See `Stage.products`."""
        entry = self.layout.products_of(table)
        if isinstance(entry, CouplingEntry):
            return emit_couplings(self, entry, xs)
        return emit_products(self, entry, xs)

    def join(self, *parts: KernelArray) -> KernelArray:
        """See `Stage.join`."""
        return self.joined(self.array(sum(x.shape[0] * x.shape[1] for x in parts), 1), parts)

    def joined(self, y: KernelArray, parts: Sequence[KernelArray]) -> KernelArray:
        """Copy all numbers to a column and return it."""
        start = 0
        for x in parts:
            n, m = x.shape
            if not n * m:
                continue
            x.used()
            for p in range(self.planes):
                with self.k.range(m) as j, self.k.range(n) as i:
                    y.put(p, j * n + i + start, 0, x.value(p, i, j))
            self.reverse.append(lambda x=x, start=start: self._split(x, y, start))  # type: ignore[misc]
            start += n * m
        return y

    def _split(self, x: KernelArray, y: KernelArray, start: int) -> None:
        n, m = x.shape
        for p in range(self.planes):
            with self.k.range(m) as j, self.k.range(n) as i:
                x.give(p, i, j, y.bar(p, j * n + i + start, 0))
