"""Every operation and function of traced values against NumPy, compiled and interpreted, in both precisions."""

from __future__ import annotations

import numpy as np
import pytest
from run_kernels import WAYS, N, number_type, on_columns

from forgefield.formulas.namespace import functions_of

RNG = np.random.default_rng(0)
A, B = RNG.uniform(0.3, 3.0, N), RNG.uniform(-3.0, -0.3, N)
MIXED = np.where(RNG.random(N) < 0.5, A, B)

OPERATIONS = {
    "sum": (lambda a, b: [a + b, a + 2.5, 2.5 + a, a + 0.0]),
    "difference": (lambda a, b: [a - b, a - 2.5, 2.5 - a, 0.0 - a]),
    "product": (lambda a, b: [a * b, a * 2.5, 2.5 * a, 1.0 * a, a * b * a]),
    "quotient": (lambda a, b: [a / b, a / 2.5, 2.5 / a, 0.0 / a + b]),
    "sign": (lambda a, b: [-a, -b, abs(b), abs(a)]),
    "powers": (lambda a, b: [a**2, b**3, a**7, a**-2, a**1, a**0.5, a**2.5, a**-1.5, a**0.3]),
    "numpy scalars": (
        lambda a, b: [np.float64(2.5) * a, np.float32(2.5) - b, a / np.float64(3), np.float64(1) + a]
    ),
    "square root": (lambda a, b: [functions_of(a).sqrt(a), functions_of(a).sqrt(a * a + b * b)]),
}


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", OPERATIONS)
def test_arithmetic(name, bits, how):
    eps = np.finfo(number_type(bits)).eps
    a, b = (x.astype(number_type(bits)).astype(np.float64) for x in (A, B))
    expected = OPERATIONS[name](a, b)
    got = on_columns(lambda k, x: OPERATIONS[name](*x), [A, B], bits, how)
    assert len(got) == len(expected)
    for x, y in zip(got, expected, strict=True):
        assert np.abs(x / y - 1).max() < 8 * eps


def test_a_power_of_zero_is_a_plain_one():
    assert on_columns(lambda k, x: [x[0] ** 0 + x[0]], [A])[0] == pytest.approx(A + 1, rel=1e-15)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("bits", [32, 64])
def test_comparisons_choose(bits, how):
    edge = np.tile([-1.0, 0.0, 1.0, 2.0], N // 4)

    def choices(x):
        f = functions_of(x)
        return [f.where(c, x, 9.0) for c in (x < 1.0, x <= 1.0, x > 1.0, x >= 1.0, x > 0.5 * x, 0.5 < x)]  # noqa: SIM300

    for got, expected in zip(
        on_columns(lambda k, x: choices(x[0]), [edge], bits, how), choices(edge), strict=True
    ):
        assert np.array_equal(got, expected)


def test_a_condition_known_while_tracing_chooses_at_once():
    got = on_columns(
        lambda k, x: [functions_of(x[0]).where(True, x[0], 0.0), functions_of(x[0]).where(False, 0.0, 3.0)],
        [A],
    )
    assert np.array_equal(got[0], A)
    assert (got[1] == 3.0).all()


RANGES = {
    "exp": (-80.0, 80.0),
    "log": (1e-30, 1e30),
    "log1p": (-0.9, 50.0),
    "tanh": (-12.0, 12.0),
    "sin": (-20.0, 20.0),
    "cos": (-20.0, 20.0),
}


def spread(name):
    low, high = RANGES[name]
    return np.geomspace(low, high, N) if name == "log" else np.linspace(low, high, N)


def measured(name, x, bits, how):
    """Return value, exact value of what the kernel was given, both in float64."""
    given = x.astype(number_type(bits)).astype(np.float64)
    got = on_columns(lambda k, v: [getattr(functions_of(v[0]), name)(v[0])], [x], bits, how)[0]
    return got, getattr(np, name)(given)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", RANGES)
def test_functions(name, bits, how):
    got, expected = measured(name, spread(name), bits, how)
    allowed = (16 if name in ("sin", "cos") else 6) * np.finfo(number_type(bits)).eps
    assert (np.abs(got - expected) <= allowed * np.maximum(np.abs(expected), 1)).all()


@pytest.mark.parametrize("bits", [32, 64])
def test_exp_is_accurate_relative_to_small_results(bits):
    got, expected = measured("exp", np.linspace(-80, 0, N), bits, "compiled")
    assert np.abs(got / expected - 1).max() < 8 * np.finfo(number_type(bits)).eps


@pytest.mark.parametrize("bits", [32, 64])
def test_exp_saturates_where_it_would_overflow(bits):
    x = np.tile([-1e30, -1000.0, 1000.0, 1e30], N // 4)
    got = on_columns(lambda k, v: [functions_of(v[0]).exp(v[0])], [x], bits)[0]
    limits = np.finfo(number_type(bits))
    assert np.isfinite(got).all()
    assert (got[x < 0] < 1e3 * limits.tiny).all()
    assert (got[x < 0] >= limits.tiny).all()
    assert (got[x > 0] > 1e-2 * limits.max).all()


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", ["tanh", "log1p", "sin"])
def test_near_zero_the_error_is_that_of_one(name, bits):
    x = np.concatenate([[0.0], np.geomspace(1e-12, 1e-2, N // 2), -np.geomspace(1e-12, 1e-2, N // 2 - 1)])
    got, expected = measured(name, x, bits, "compiled")
    assert np.abs(got - expected).max() < 3 * np.finfo(number_type(bits)).eps
    assert got[0] == 0.0


@pytest.mark.parametrize("bits", [32, 64])
def test_tanh_goes_to_one(bits):
    x = np.where(np.arange(N) % 2, 1.0, -1.0) * np.geomspace(20, 1e6, N)
    got, _ = measured("tanh", x, bits, "compiled")
    assert np.array_equal(got, np.sign(x))


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_large_angles_lose_as_many_digits_as_they_have(name, bits):
    """As documented: up to 1000, where the argument itself is known to 1000 units of the last place."""
    x = np.linspace(-1000, 1000, N)
    got, expected = measured(name, x, bits, "compiled")
    assert np.abs(got - expected).max() < 1000 * np.finfo(number_type(bits)).eps


@pytest.mark.parametrize("how", WAYS)
def test_functions_of_plain_numbers_are_computed_while_tracing(how):
    got = on_columns(lambda k, x: [x[0] * functions_of(x[0]).sin(0.5)], [A], 64, how)
    assert got[0] == pytest.approx(A * np.sin(0.5), rel=1e-15)
