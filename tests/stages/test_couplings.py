"""Products of complex numbers against the same polynomials spelt out."""

from __future__ import annotations

import numpy as np
import pytest

from forgefield.descriptors.bispectrum import coupling_table


@pytest.mark.parametrize(
    ("two_j_max", "n_elements", "per_dimension"),
    [(0, 1, False), (1, 1, False), (4, 1, True), (7, 1, False), (3, 2, False)],
)
def test_complex_products(two_j_max: int, n_elements: int, per_dimension: bool) -> None:
    table = coupling_table(two_j_max, n_elements, per_dimension=per_dimension)
    x = np.random.default_rng(0).standard_normal((table.n_inputs, 3))
    products = table.complex_products
    assert products is not None
    found = sorted(int(o) for g in products.groups for o in g.outputs.ravel() if o >= 0)
    assert found == list(range(table.n_outputs))
    expected = table.evaluate(x)
    assert np.abs(products.evaluate(x, table.n_outputs) - expected).max() < 1e-14 * np.abs(expected).max()
