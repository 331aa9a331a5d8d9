"""Radial functions as polynomials in powers: NumPy's Chebyshev series are the truth for values and slopes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.polynomial import chebyshev

from forgefield.descriptors.nep import NEPRadial
from forgefield.descriptors.so3 import SO3
from forgefield.expansions.radial_series import LARGEST_DEGREE, Powers

X = np.linspace(-1.0, 1.0, 41)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 9, 10, 13, 20])
def test_values_and_slopes(n):
    radial = NEPRadial(5.0, n)
    powers, a = Powers.of(radial, 64), np.random.default_rng(n).normal(size=n)
    even, odd, slope = powers.evaluator(X)(powers.coefficients(a))
    truth = radial.series.T @ a
    largest = abs(a).sum() * n * n
    assert abs(even + X * odd - chebyshev.chebval(X, truth)).max() < 1e-13 * largest
    expected = chebyshev.chebval(X, chebyshev.chebder(truth))
    assert abs(4.0 * X * slope + odd - expected).max() < 1e-12 * largest


@pytest.mark.parametrize("n", [3, 11])
def test_series_times_factor_are_the_functions(n):
    radial, r = NEPRadial(5.0, n), np.linspace(0.5, 5.5, 40)
    factor, x = radial.factors(r)
    assert np.allclose(
        np.array(radial(r)), factor * chebyshev.chebval(x, radial.series.T), rtol=0, atol=1e-14
    )


def test_single_precision_within_its_degrees():
    n = LARGEST_DEGREE[32] + 1
    powers, a = Powers.of(NEPRadial(5.0, n), 32), np.random.default_rng(0).normal(size=n).astype(np.float32)
    coefficients = np.array(powers.coefficients(a.astype(np.float64)), dtype=np.float32)
    even, odd, _ = powers.evaluator(X.astype(np.float32))(list(coefficients))
    truth = chebyshev.chebval(X, NEPRadial(5.0, n).series.T @ a)
    assert abs(even + X.astype(np.float32) * odd - truth).max() < 1e-5 * abs(truth).max()


def test_who_is_a_series():
    assert Powers.of(NEPRadial(5.0, 14), 32) is None
    assert Powers.of(NEPRadial(5.0, 14), 64) is not None
    assert Powers.of(SO3(["Si"], cutoff=4.0).expansions[0].radial, 64) is None
