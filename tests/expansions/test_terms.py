"""Loops over terms in memory, and the factors of Wigner matrices, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from forgefield.expansions.terms import LONGEST, TermMemory, add_terms, evaluate
from forgefield.formulas.wigner import component_norms, wigner_functions
from forgefield.formulas.wigner_factors import (
    factor_map,
    left_functions,
    n_left,
    n_products,
    product_start,
    right_functions,
)
from forgefield.stages import ProductTable
from forgefield.testing.interpreter import interpret
from forgefield.tracer import trace

LANES, N = 4, 9
COUNTS = (0, 1, 2, 3, LONGEST, LONGEST + 1, 30, 1)


def random_table(degree: int) -> ProductTable:
    """Outputs with numbers of terms below, at and beyond what is written out; the last factor may stand for 1."""
    rng = np.random.default_rng(degree)
    outputs = np.repeat(np.arange(len(COUNTS)), COUNTS)
    indices = rng.integers(0, N + 1, (len(outputs), degree))
    return ProductTable.build([N], len(COUNTS), outputs, indices, rng.standard_normal(len(outputs)))


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_values_and_changes(degree: int, planes: int) -> None:
    table, memory = random_table(degree), TermMemory()
    memory.add(np.arange(3), np.ones(5))  # something that lies before
    terms = add_terms(memory, table.n_outputs, table.outputs, table.indices, table.coefficients)
    x = np.random.default_rng(0).standard_normal((planes, N + 1, LANES))
    x[0, N], x[1:, N] = 1.0, 0.0
    y = np.full((planes, table.n_outputs, LANES), np.nan)

    def kernel(k, x, y, integers, numbers):
        def store(o, values):
            for p, v in enumerate(values):
                y[o + p * table.n_outputs] = v

        evaluate(k, terms, (integers, numbers), [x + p * (N + 1) for p in range(planes)], store)

    signature = {"x": "rows", "y": "rows", "integers": "indices", "numbers": "scalars"}
    integers, numbers = memory.arrays(np.float64)
    program = trace("terms", signature, 64, kernel)
    interpret(program, LANES, {"x": x, "y": y, "integers": integers, "numbers": numbers})
    assert np.allclose(y[0], table.evaluate(x[0, :N]), rtol=1e-13, atol=1e-13)
    if planes == 2:
        slopes = table.gradient(0)
        for o in range(table.n_outputs):
            seed = np.zeros((table.n_outputs, LANES))
            seed[o] = 1.0
            expected = (slopes.evaluate(x[0, :N], seed) * x[1, :N]).sum(axis=0)
            assert np.allclose(y[1, o], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("two_j_max", [0, 1, 2, 5, 8, 14])
def test_factors_make_up_the_matrices(two_j_max: int) -> None:
    q = np.random.default_rng(two_j_max).standard_normal((4, 20))
    q /= np.sqrt((q * q).sum(axis=0))
    strength = np.linspace(0.1, 1.0, 20)
    norms = component_norms(two_j_max)[:, None]
    expected = np.stack([strength * u for u in wigner_functions(*q, two_j_max)]) * norms
    left, right = left_functions(q[0], q[1], strength, two_j_max), right_functions(q[2], q[3], two_j_max)
    assert len(left) == n_left(two_j_max)
    products = np.empty((n_products(two_j_max), 20))
    for power, parts in enumerate(right):
        for part, value in enumerate(parts):
            start, count = product_start(two_j_max, power, part), n_left(two_j_max - power)
            products[start : start + count] = np.stack(left[:count]) * value
    m = factor_map(two_j_max)
    got = np.zeros_like(expected)
    np.add.at(got, m.components, m.coefficients[:, None] * products[m.columns])
    assert np.abs(got - expected).max() < 1e-13
