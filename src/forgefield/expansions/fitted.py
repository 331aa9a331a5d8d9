"""Functions of one distance as polynomials of its square, where that is exact to rounding.

A factor of the distance between two neighbours is evaluated for every pair of neighbours. As a polynomial it takes one
multiply-add per degree, no square root, no exponential and no cosine. The formula remains the definition: coefficients
are fitted to it, and where a polynomial of moderate degree misses it by more than rounding, there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

__all__ = ["FittedFactors", "value", "value_and_slope"]

LARGEST_DEGREE = {32: 12, 64: 20}
"""Beyond, an exponential and a cosine are cheaper, by the bits of a number."""

TOLERANCE = {32: 2e-8, 64: 4e-16}
"""How far a polynomial may be off, relative to the largest value of the function."""

SAMPLES = 160

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class FittedFactors:
    """``f_e(r) = u^2 Q_e(y)`` with ``y = 2 (r / reach)^2 - 1`` and ``u = 1 - y``, which vanishes with its slope at the reach.

    Attributes
    ----------
    reach : float [Å]
    coefficients : tuple
        Of y^0, y^1, ... of every Q_e; None for functions that are constant.
    """

    reach: float
    coefficients: tuple[tuple[float, ...] | None, ...]

    @classmethod
    def of(cls, functions: Callable[[Any], list[Any]], reach: float, bits: int) -> FittedFactors | None:
        """Return the polynomials, or None where one of the functions is none.

        Parameters
        ----------
        functions : callable
            From distances to functions that vanish with their slopes at the reach; plain numbers are constant ones.
        reach : float [Å]
        bits : int
            Of the numbers that kernels work with.
        """
        y = np.cos(np.pi * (np.arange(SAMPLES) + 0.5) / SAMPLES)
        values = functions(reach * np.sqrt(0.5 * (1.0 + y)))
        fitted: list[tuple[float, ...] | None] = []
        for v in values:
            if isinstance(v, int | float):
                fitted.append(None)
                continue
            found = _fitted(y, np.asarray(v, dtype=np.float64), bits)
            if found is None:
                return None
            fitted.append(found)
        return cls(float(reach), tuple(fitted))


def _fitted(y: FloatArray, values: FloatArray, bits: int) -> tuple[float, ...] | None:
    weights = (1.0 - y) ** 2
    largest = float(np.abs(values).max())
    basis = chebyshev.chebvander(y, LARGEST_DEGREE[bits]) * weights[:, None]
    for degree in range(2, LARGEST_DEGREE[bits] + 1):
        columns = basis[:, : degree + 1]
        series = np.linalg.lstsq(columns, values, rcond=None)[0]
        # Samples carry rounding errors of their own, so the root mean square is what tells.
        if float(np.sqrt(np.mean((columns @ series - values) ** 2))) < TOLERANCE[bits] * largest:
            return tuple(chebyshev.cheb2poly(series).tolist())
    return None


def value(coefficients: Sequence[Any], x: Any) -> Any:
    """Return ``sum_k coefficients[k] x^k``."""
    total: Any = coefficients[-1]
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


def value_and_slope(coefficients: Sequence[Any], powers: Sequence[Any]) -> tuple[Any, Any]:
    """Return a polynomial and its derivative: multiply-adds for the former, additions for the latter.

    Parameters
    ----------
    coefficients : sequence
    powers : sequence
        1, x, x^2, ..., at least two of them and one less than there are coefficients.

    Notes
    -----
    The sums ``s_k = sum_(j >= k) c_j x^(j - 1)`` give the value, ``c_0 + x s_1``, and the derivative, ``s_1 + s_2 + ...``.
    """
    if len(coefficients) < 2:
        return (coefficients[0] if coefficients else 0.0), 0.0
    slope = last = coefficients[-1] * powers[len(coefficients) - 2]
    for j in range(len(coefficients) - 2, 0, -1):
        last = last + coefficients[j] * powers[j - 1]
        slope = slope + last
    return coefficients[0] + powers[1] * last, slope
