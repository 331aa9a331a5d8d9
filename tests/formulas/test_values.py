"""Dual numbers, activations and linear combinations on every kind of value."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from forgefield.formulas.activations import ACTIVATIONS
from forgefield.formulas.dual import Dual
from forgefield.formulas.namespace import combine, functions_of

X = np.array([-2.3, -0.4, 0.3, 1.7])

FORMULAS = {
    "arithmetic": lambda x: (2.0 - x) * x / (3.0 + x * x) - (1.0 / (x + 5.0)) + x**3 - (-x),
    "power 0": lambda x: x**0 + x,
    "sin": lambda x: functions_of(x).sin(x),
    "cos": lambda x: functions_of(x).cos(x),
    "exp": lambda x: functions_of(x).exp(x),
    "sqrt": lambda x: functions_of(x).sqrt(x * x + 1.0),
    "tanh": lambda x: functions_of(x).tanh(x),
    "log1p": lambda x: functions_of(x).log1p(x * x),
    "where": lambda x: functions_of(x).where(x > 0, x * x, 3.0 * x),
    "combine": lambda x: combine(np.array([[0.5, 2.0, -1.0]]), [1.0, x, x * x])[0],
    **ACTIVATIONS,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_dual_numbers_carry_the_derivative(name):
    f, h = FORMULAS[name], 1e-4
    result = f(Dual(X, np.ones_like(X)))
    expected = (8 * (f(X + h) - f(X - h)) - (f(X + 2 * h) - f(X - 2 * h))) / (12 * h)
    assert np.allclose(result.value, f(X), rtol=1e-14)
    assert np.allclose(result.tangent, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", FORMULAS)
def test_numpy_torch_and_floats_give_the_same(name):
    f = FORMULAS[name]
    assert np.allclose(f(torch.from_numpy(X)).numpy(), f(X), rtol=1e-14)
    assert np.allclose([f(float(x)) for x in X], f(X), rtol=1e-14)


def test_activations_do_not_overflow():
    x = np.array([-1e4, 1e4])
    with np.errstate(over="raise", invalid="raise"):
        assert np.allclose(ACTIVATIONS["silu"](x), [0.0, 1e4])
        assert np.allclose(ACTIVATIONS["softplus"](x), [-math.log(2), 1e4 - math.log(2)])


def test_dual_numbers_with_several_tangents():
    x, y = Dual(X, np.stack([np.ones(4), np.zeros(4)])), Dual(2 * X, np.stack([np.zeros(4), np.ones(4)]))
    product = x * y
    assert np.allclose(product.tangent, np.stack([2 * X, X]))
