"""Sparse polynomials of the numbers of an atom as instructions of a kernel.

The reverse of a polynomial is a polynomial as well, in its inputs and the adjoints of its outputs, so both directions
are the same loops over other tables, every result is a sum kept in registers, and nothing is scattered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forgefield.expansions.terms import evaluate
from forgefield.stages.products import ProductTable

if TYPE_CHECKING:
    from forgefield.stages.kernel_stage import KernelArray, KernelStage

__all__ = ["emit_products"]


def emit_products(stage: KernelStage, table: ProductTable, xs: tuple[KernelArray, ...]) -> KernelArray:
    """Emit a polynomial; see `Stage.products`.

    With a tangent, adjoints of changes belong to values and adjoints of values to changes: the reverse is then the
    polynomial of the adjoints, taken at (values, adjoints of the changes), and its change along (changes, adjoints of
    the values).
    """
    k, entry, planes = stage.k, stage.layout.products_of(table), stage.planes
    n, m = table.n_inputs, table.n_outputs
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
