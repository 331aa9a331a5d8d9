"""Sparse polynomials of the numbers of an atom as instructions of a kernel.

The reverse of a polynomial is a polynomial as well, in its inputs and the adjoints of its outputs, so both directions
are the same loops over other tables, every result is a sum kept in registers, and nothing is scattered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from forgefield.expansions.terms import TermMemory, Terms, add_terms, evaluate
from forgefield.stages.products import ProductTable

if TYPE_CHECKING:
    from forgefield.stages.kernel_stage import KernelArray, KernelStage

__all__ = ["ProductEntry", "add_products", "emit_products"]


@dataclass(frozen=True)
class ProductEntry:
    """A polynomial and where it lies in memory.

    Attributes
    ----------
    table : ProductTable
    forward, reverse : Terms
        Its values, and the adjoints of its inputs, as polynomials of inputs, adjoints of outputs, and a one.
    """

    table: ProductTable
    forward: Terms
    reverse: Terms


def add_products(memory: TermMemory, table: ProductTable) -> ProductEntry:
    """Lay a table out in memory."""
    n, m = table.n_inputs, table.n_outputs
    # The place behind the inputs, which stands for 1, is taken by the adjoints of the outputs.
    factors = np.where(table.indices == n, n + m, table.indices)
    gradient = ProductTable((n,), m, table.outputs, table.indices, table.coefficients).gradient(0)
    return ProductEntry(
        table,
        add_terms(memory, m, table.outputs, factors, table.coefficients),
        add_terms(memory, n, gradient.outputs, gradient.indices, gradient.coefficients),
    )


def emit_products(stage: KernelStage, entry: ProductEntry, xs: tuple[KernelArray, ...]) -> KernelArray:
    """Emit a polynomial; see `Stage.products`.

    With a tangent, adjoints of changes belong to values and adjoints of values to changes: the reverse is then the
    polynomial of the adjoints, taken at (values, adjoints of the changes), and its change along (changes, adjoints of
    the values).
    """
    k, planes = stage.k, stage.planes
    n, m = entry.table.n_inputs, entry.table.n_outputs
    memory = [k.buffer(n + m + 1) for _ in range(planes)]
    for p, rows in enumerate(memory):
        rows[n + m] = 1.0 if p == 0 else 0.0
    x = stage.joined(stage.array(n, 1, memory), xs)
    y = stage.array(m, 1, bars=[memory[planes - 1 - p] + n for p in range(planes)])
    x.used()

    def store(o: Any, values: list[Any]) -> None:
        for p, v in enumerate(values):
            y.put(p, o, 0, v)

    def give(o: Any, values: list[Any]) -> None:
        for p, v in enumerate(values):
            x.give(planes - 1 - p, o, 0, v)

    evaluate(k, entry.forward, stage.term_memory, memory, store)
    stage.reverse.append(lambda: evaluate(k, entry.reverse, stage.term_memory, memory, give))
    return y
