"""Sparse polynomials: against their definition, derivatives of every order, on NumPy and torch."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from forgefield.stages import ProductTable, TorchArray, TorchStage
from forgefield.stages.torch_products import products

SIZES, N_OUTPUTS = (4, 3), 6


def random_terms(n_terms=60, degree=3, seed=0):
    rng = np.random.default_rng(seed)
    outputs = rng.integers(0, N_OUTPUTS - 1, n_terms)  # the last output has no terms
    return outputs, rng.integers(0, sum(SIZES) + 1, (n_terms, degree)), rng.standard_normal(n_terms)


def definition(terms, x):
    y = np.zeros((N_OUTPUTS, x.shape[1]))
    extended = np.concatenate([x, np.ones((1, x.shape[1]))])
    for o, factors, c in zip(*terms, strict=True):
        y[o] += c * np.prod([extended[f] for f in factors], axis=0)
    return y


@pytest.fixture(scope="module")
def table():
    return ProductTable.build(SIZES, N_OUTPUTS, *random_terms())


def inputs(n_atoms=5, seed=1, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.standard_normal((s, n_atoms))).to(dtype).requires_grad_() for s in SIZES]


def test_values_are_the_definition(table):
    xs = inputs()
    expected = definition(random_terms(), torch.cat(xs).detach().numpy())
    assert np.allclose(table.evaluate(*(x.detach().numpy() for x in xs)), expected, rtol=1e-13, atol=1e-13)
    assert np.allclose(products(table, *xs).detach().numpy(), expected, rtol=1e-13, atol=1e-13)
    assert (expected[-1] == 0).all()


def test_equal_products_are_added_up_and_zeros_dropped():
    t = ProductTable.build((2,), 2, [1, 1, 0, 0], [[0, 1], [1, 0], [0, 0], [0, 0]], [1.0, 2.0, 3.0, -3.0])
    assert (t.n_terms, t.degree) == (1, 2)
    assert t.coefficients.tolist() == [3.0]
    assert t.starts.tolist() == [0, 0, 1]
    assert copy.deepcopy(t) is t


def test_derivatives_of_the_first_three_orders(table):
    xs = inputs(n_atoms=2)
    assert torch.autograd.gradcheck(lambda *x: products(table, *x), xs)
    assert torch.autograd.gradgradcheck(lambda *x: products(table, *x), xs)
    y_bar = torch.randn(N_OUTPUTS, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def gradient(*x):
        return torch.autograd.grad((products(table, *x) * y_bar).sum(), x, create_graph=True)

    assert torch.autograd.gradgradcheck(gradient, xs)


def test_gradient_tables_on_numpy(table):
    xs = inputs()
    y_bar = np.random.default_rng(2).standard_normal((N_OUTPUTS, 5))
    expected = torch.autograd.grad((products(table, *xs) * torch.from_numpy(y_bar)).sum(), xs)
    plain = [x.detach().numpy() for x in xs]
    for k in range(2):
        assert np.allclose(table.gradient(k).evaluate(*plain, y_bar), expected[k].numpy(), rtol=1e-12)


def test_many_terms_in_pieces_and_single_precision(monkeypatch):
    terms = random_terms(n_terms=3000, degree=2, seed=3)
    table = ProductTable.build(SIZES, N_OUTPUTS, *terms)
    xs = inputs(n_atoms=7)
    whole = products(table, *xs)
    monkeypatch.setattr("forgefield.stages.torch_products.NUMBERS_PER_CHUNK", 64)
    assert torch.allclose(products(table, *xs), whole, rtol=1e-13, atol=1e-13)
    single = products(table, *(x.detach().float() for x in xs))
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), whole, rtol=1e-4, atol=1e-4)


def test_in_a_stage_numbers_are_taken_column_by_column():
    tensor = torch.arange(24.0, dtype=torch.float64).reshape(3, 4, 2)  # 3 columns, 4 atoms, 2 rows
    x = TorchArray(tensor)
    stage = TorchStage(0)
    table = ProductTable.build((6, 6), 6, range(6), [[i, i + 6] for i in range(6)], [2.0] * 6)
    y = stage.products(table, x, x)
    assert y.shape == (6, 1)
    assert torch.equal(y.features(), 2.0 * stage.join(x).features() ** 2)


def test_no_atoms_and_no_terms():
    table = ProductTable.build((2,), 3, [], np.zeros((0, 2)), [])
    assert (products(table, torch.ones(2, 4)) == 0).all()
    some = ProductTable.build((2,), 1, [0], [[0, 1]], [1.0])
    assert products(some, torch.ones(2, 0)).shape == (1, 0)


@pytest.mark.parametrize(
    ("outputs", "indices", "coefficients", "message"),
    [
        ([3], [[0]], [1.0], r"outputs must be 0 \.\.\. 2, got 3"),
        ([0], [[5]], [1.0], r"factors must be 0 \.\.\. 4, got 5"),
        ([0, 1], [[0]], [1.0], "one output, one row"),
    ],
)
def test_terms_are_checked(outputs, indices, coefficients, message):
    with pytest.raises(ValueError, match=message):
        ProductTable.build((2, 2), 3, outputs, indices, coefficients)
