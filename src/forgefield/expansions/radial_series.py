"""Values and slopes of Chebyshev series for nearly the price of the values.

A polynomial in x of degree n is ``E(w) + x O(w)`` with w = T_2(x): an even and an odd part in powers of w. The sums
``s_k = sum_(j >= k) c_j w^(j - 1)`` give the value, ``c_0 + w s_1``, and by additions alone the slope, ``s_1 + s_2 + ...``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

__all__ = ["ChebyshevRadial", "Powers"]

LARGEST_DEGREE = {32: 12, 64: 24}
"""Of the series, by the bits of a number: powers lose ``(1 + sqrt(2))^(degree / 2)`` units in the last place."""

FloatArray = NDArray[np.float64]


@runtime_checkable
class ChebyshevRadial(Protocol):
    """Radial functions ``R_k(r) = f(r) sum_p series[k, p] T_p(x(r))``."""

    @property
    def series(self) -> FloatArray:
        """(n_radial, n_terms) coefficients."""
        ...

    def factors(self, r: Any) -> tuple[Any, Any]:
        """Return f and x at r."""
        ...


class Powers:
    """Sums ``sum_k a_k R_k`` of radial functions as polynomials in powers, with their slopes.

    Their coefficients are those of the even part, ``w^0, w^1, ...``, then those of the odd one.

    Parameters
    ----------
    radial : ChebyshevRadial
    """

    def __init__(self, radial: ChebyshevRadial) -> None:
        self.factors = radial.factors
        series = radial.series
        n = series.shape[1]
        self.n_even = (n + 1) // 2
        powers, odd = np.zeros((n, n)), np.zeros(self.n_even)
        for q in range(self.n_even):
            even = chebyshev.cheb2poly([0.0] * q + [1.0])
            powers[2 * q, : q + 1] = even
            if 2 * q + 1 < n:  # T_(2q + 1) = 2 x T_2q - T_(2q - 1)
                odd = -odd
                odd[: q + 1] += 2.0 * even if q else even
                powers[2 * q + 1, self.n_even :] = odd[: n // 2]
        self.matrix: FloatArray = series @ powers

    @classmethod
    def of(cls, radial: Any, bits: int) -> Powers | None:
        """Return the powers for radial functions that are series of a degree that these number types allow."""
        if not isinstance(radial, ChebyshevRadial) or radial.series.shape[1] > LARGEST_DEGREE[bits] + 1:
            return None
        return cls(radial)

    @property
    def n(self) -> int:
        """Coefficients of a polynomial."""
        return int(self.matrix.shape[1])

    def coefficients(self, a: Sequence[Any]) -> list[Any]:
        """Return the coefficients of ``sum_k a_k R_k / f``."""
        return [sum(m * v for m, v in zip(column, a, strict=True)) for column in self.matrix.T.tolist()]

    def evaluator(self, x: Any) -> Callable[[Sequence[Any]], tuple[Any, Any, Any]]:
        """Return the function from coefficients to E, O and ``dE/dw + x dO/dw``, for one x."""
        w = 2.0 * x * x - 1.0
        powers = [1.0, w]
        while len(powers) < self.n_even:
            powers.append(powers[-1] * w)

        def part(c: Sequence[Any]) -> tuple[Any, Any]:
            """Return value and slope with w."""
            if len(c) < 2:
                return (c[0] if c else 0.0), 0.0
            slope = last = c[-1] * powers[len(c) - 2]
            for j in range(len(c) - 2, 0, -1):
                last = last + c[j] * powers[j - 1]
                slope = slope + last
            return c[0] + w * last, slope

        def parts(c: Sequence[Any]) -> tuple[Any, Any, Any]:
            (even, even_slope), (odd, odd_slope) = part(c[: self.n_even]), part(c[self.n_even :])
            return even, odd, even_slope + x * odd_slope

        return parts
