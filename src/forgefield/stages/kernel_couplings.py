"""Products of complex numbers as instructions of a kernel: loops over groups of outputs that share their products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from forgefield.expansions.terms import TermArguments, TermMemory, Terms, add_terms, evaluate
from forgefield.stages.products import ProductTable
from forgefield.tracer.memory import Rows

if TYPE_CHECKING:
    from forgefield.stages.kernel_stage import KernelArray, KernelStage
    from forgefield.tracer.trace import Int

__all__ = ["CouplingEntry", "add_couplings", "emit_couplings"]


WIDTH = 4
"""Rows of a complex number: its parts and their adjoints, side by side, as they are used together."""


@dataclass(frozen=True)
class _Family:
    """Groups with the same number of outputs.

    Integers: first and last term and the rows of the outputs, group by group; then the two factors, term by term.
    """

    n_groups: int
    n_outputs: int
    groups: int
    factors: int
    numbers: int


@dataclass(frozen=True)
class CouplingEntry:
    """Where products of complex numbers lie in memory.

    Attributes
    ----------
    table : ProductTable
    n_rows : int
        Rows of memory of all complex numbers, `WIDTH` each.
    spread, collect : Terms
        Complex numbers from inputs, with adjoints of zero, and adjoints of inputs from theirs.
    families : tuple
    """

    table: ProductTable
    n_rows: int
    spread: Terms
    collect: Terms
    families: tuple[_Family, ...]


def add_couplings(memory: TermMemory, table: ProductTable) -> CouplingEntry:
    """Lay the complex products of a table out in memory."""
    products = table.complex_products
    if products is None:
        raise ValueError("the table has no complex products")
    inputs, signs = products.parts.ravel(), products.signs.ravel()
    n_rows = WIDTH * len(products.parts)
    places = (WIDTH * np.arange(len(products.parts))[:, None] + (0, 1)).ravel()
    used = signs != 0
    order = np.argsort(inputs[used], kind="stable")
    sizes = sorted({g.outputs.shape[0] for g in products.groups})
    families = []
    for size in sizes:
        groups = [g for g in products.groups if g.outputs.shape[0] == size]
        ends = np.cumsum([len(g.left) for g in groups])
        outputs = np.stack([g.outputs.ravel() for g in groups])
        # What is not wanted goes to a row behind the outputs.
        outputs = np.where(outputs < 0, table.n_outputs, outputs)
        head = np.column_stack([np.append(0, ends[:-1]), ends, outputs])
        factors = np.concatenate([np.stack([g.left, g.right], axis=1) for g in groups])
        first, _ = memory.add(head, np.zeros(0))
        start, numbers = memory.add(WIDTH * factors, np.concatenate([g.coefficients for g in groups]))
        families.append(_Family(len(groups), size, first, start, numbers))
    return CouplingEntry(
        table,
        n_rows,
        add_terms(memory, n_rows, places[used], inputs[used, None], signs[used]),
        add_terms(
            memory, table.n_inputs, inputs[used][order], places[used][order, None] + 2, signs[used][order]
        ),
        tuple(families),
    )


def emit_couplings(stage: KernelStage, entry: CouplingEntry, xs: tuple[KernelArray, ...]) -> KernelArray:
    """Emit a table that has complex products; see `Stage.products`."""
    k, planes = stage.k, stage.planes
    x = stage.joined(stage.array(entry.table.n_inputs, 1), xs)
    m = entry.table.n_outputs
    y = stage.array(m, 1, *([k.buffer(m + 1) for _ in range(planes)] for _ in ("values", "bars")))
    x.used()
    parts = [k.buffer(entry.n_rows) for _ in range(planes)]
    for p in range(planes):
        evaluate(k, entry.spread, stage.term_memory, [x.base.values[p]], _setter(parts[p]))
    for family in entry.families:
        _forward(stage, family, parts, y)

    def reverse() -> None:
        for p in range(planes):
            y.base.bars[p][m] = 0.0
            if stage.repeats:
                with k.range(0, entry.n_rows, WIDTH) as i:
                    parts[p][i + 2] = parts[p][i + 3] = 0.0
        for family in entry.families:
            _reverse(stage, family, parts, y)
        for p, rows in enumerate(parts):
            evaluate(k, entry.collect, stage.term_memory, [rows], _giver(x, p))

    stage.reverse.append(reverse)
    return y


def _setter(rows: Rows) -> Callable[[Int, list[Any]], None]:
    def store(i: Int, values: list[Any]) -> None:
        rows[i] = values[0]

    return store


def _giver(x: KernelArray, plane: int) -> Callable[[Int, list[Any]], None]:
    def store(i: Int, values: list[Any]) -> None:
        x.give(plane, i, 0, values[0])

    return store


def _product(v: Sequence[Any]) -> list[Any]:
    a, b, c, d = v
    return [a * c - b * d, a * d + b * c]


def _factors(family: _Family, memory: TermArguments, t: Int) -> tuple[list[Any], list[Any]]:
    """Return the rows of the four parts of a term, and its coefficients."""
    at = memory[0] + (t * 2 + family.factors)
    left, right = at[0], at[1]
    numbers = memory[1] + (t * family.n_outputs + family.numbers)
    return [left, left + 1, right, right + 1], [numbers[n] for n in range(family.n_outputs)]


def _forward(stage: KernelStage, family: _Family, parts: list[Rows], y: KernelArray) -> None:
    k, n, memory = stage.k, family.n_outputs, stage.term_memory
    with k.range(family.n_groups) as q:
        head = memory[0] + (q * (2 + 2 * n) + family.groups)
        sums = [k.accumulators(2 * n) for _ in parts]
        with k.range(head[0], head[1]) as t:
            rows, coefficients = _factors(family, memory, t)
            lifted = stage.lifted(_product, [[part[r] for r in rows] for part in parts])
            for total, values in zip(sums, lifted, strict=True):
                for o, c in enumerate(coefficients):
                    for part in (0, 1):
                        total[2 * o + part] += c * values[part]
        for p, total in enumerate(sums):
            for o in range(2 * n):
                y.base.values[p][head[2 + o]] = total[o]


def _reverse(stage: KernelStage, family: _Family, parts: list[Rows], y: KernelArray) -> None:
    k, n, memory = stage.k, family.n_outputs, stage.term_memory
    with k.range(family.n_groups) as q:
        head = memory[0] + (q * (2 + 2 * n) + family.groups)
        of_outputs = [[rows[head[2 + o]] for o in range(2 * n)] for rows in y.base.bars]
        with k.range(head[0], head[1]) as t:
            rows, coefficients = _factors(family, memory, t)
            with k.tape() as tape:
                planes = [[part[r] for r in rows] for part in parts]
                results = stage.lifted(_product, planes)
            seeds = [
                sum(c * bar[2 * o + part] for o, c in enumerate(coefficients))
                for bar in of_outputs
                for part in (0, 1)
            ]
            flat = k.vjp(tape, [v for r in results for v in r], seeds, [v for plane in planes for v in plane])
            for i, value in enumerate(flat):
                parts[i // 4].add(rows[i % 4] + 2, value)
