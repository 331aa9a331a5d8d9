"""Wigner matrices as products: ``U = sum over (p, k, q) of constants * [a^p T_k(|b|^2 - |a|^2)] [b^q]``.

The elements of U are polynomials in a, b and their conjugates that share the phases of one power of a and one of b;
what is left depends on ``c = |b|^2 - |a|^2`` alone. So a sum of U over neighbours is a sum of products of few
functions of a with few functions of b, followed by a constant sparse map.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from forgefield.formulas.wigner import Component, component_norms, components

__all__ = [
    "FactorMap",
    "factor_map",
    "left_functions",
    "n_left",
    "n_products",
    "product_start",
    "right_functions",
]


def n_left(degree: int) -> int:
    """Return the number of left functions up to a degree; those of lower degree come first."""
    return (degree + 1) * (degree + 2) // 2


def left_functions(a_r: Any, a_i: Any, strength: Any, degree: int) -> list[Any]:
    """Return ``strength a^p T_k(c)``, real and imaginary part, for p + 2k <= degree with ``c = 1 - 2 |a|^2``.

    Ascending in p + 2k, then in p; there is no imaginary part for p = 0.
    """
    c = 1.0 - 2.0 * (a_r * a_r + a_i * a_i)
    even = [strength, strength * c]
    while len(even) <= degree // 2:
        even.append(2.0 * c * even[-1] - even[-2])
    powers = _powers(a_r, a_i, degree)
    values = []
    for d in range(degree + 1):
        for p in range(d % 2, d + 1, 2):
            t = even[(d - p) // 2]
            values += [t * x for x in powers[p]] if p else [t]
    return values


def right_functions(b_r: Any, b_i: Any, degree: int) -> list[list[Any]]:
    """Return real and imaginary part of b^q for q = 0 ... degree; the first is ``[1.0]``."""
    return _powers(b_r, b_i, degree)


def _powers(x: Any, y: Any, degree: int) -> list[list[Any]]:
    powers: list[list[Any]] = [[1.0], [x, y]]
    while len(powers) <= degree:
        u, v = powers[-1]
        powers.append([x * u - y * v, x * v + y * u])
    return powers[: degree + 1]


def product_start(two_j_max: int, q: int, part: int) -> int:
    """Return the place of the products of ``Re b^q`` (part 0) or ``Im b^q`` (1) with the left functions."""
    before = n_left(two_j_max) + 2 * sum(n_left(two_j_max - x) for x in range(1, q)) if q else 0
    return before + part * n_left(two_j_max - q)


def n_products(two_j_max: int) -> int:
    """Return the number of products: as many as components."""
    return product_start(two_j_max, two_j_max + 1, 0)


class FactorMap(NamedTuple):
    """``U[components] = sum over terms of coefficients * products[columns]``, with the norms.

    Attributes
    ----------
    components, columns : (n_terms,) int array
    coefficients : (n_terms,) array
    """

    components: NDArray[np.int64]
    columns: NDArray[np.int64]
    coefficients: NDArray[np.float64]


@lru_cache(maxsize=16)
def factor_map(two_j_max: int) -> FactorMap:
    """Return how the products make up the matrices, terms ascending by component."""
    norms = component_norms(two_j_max)
    terms: list[tuple[int, int, float]] = []
    for n, component in enumerate(components(two_j_max)):
        p, q = component.two_j - component.mb - component.ma, component.ma - component.mb
        conjugate_a, conjugate_b = (-1.0 if p > 0 else 1.0), (-1.0 if q > 0 else 1.0)
        if component.part == 0:
            parts = [(0, 0, 1.0), (1, 1, -conjugate_a * conjugate_b)]
        else:
            parts = [(0, 1, conjugate_b), (1, 0, conjugate_a)]
        for k, value in enumerate(_series(component)):
            for left, right, sign in parts:
                if value and (p or not left) and (q or not right):
                    column = product_start(two_j_max, abs(q), right) + _left(abs(p), k, left)
                    terms.append((n, column, sign * value * norms[n]))
    columns = list(zip(*terms, strict=True))
    return FactorMap(
        np.array(columns[0], dtype=np.int64), np.array(columns[1], dtype=np.int64), np.array(columns[2])
    )


def _left(p: int, k: int, part: int) -> int:
    """Return the place of a left function."""
    d = p + 2 * k
    first = n_left(d - 1) if d else 0
    return first + max(p - 1, 0) + part


def _series(component: Component) -> NDArray[np.float64]:
    """Return the Chebyshev series in c of an element without its powers of a and b.

    From ``(conj(a) - conj(b) t)^(2j - mb) (b + a t)^mb``, whose coefficients of t^ma the elements are, with
    ``|a|^2 = (1 - c)/2`` and ``|b|^2 = (1 + c)/2``.
    """
    two_j, mb, ma, _ = component
    p = two_j - mb - ma
    total = np.zeros(1)
    for s in range(max(0, ma - (two_j - mb)), min(mb, ma) + 1):
        factor = math.comb(mb, s) * math.comb(two_j - mb, ma - s) * (-1.0) ** (ma - s)
        by_a = np.polynomial.polynomial.polypow([0.5, -0.5], s + min(0, p))
        by_b = np.polynomial.polynomial.polypow([0.5, 0.5], min(mb, ma) - s)
        total = np.polynomial.polynomial.polyadd(total, factor * np.polynomial.polynomial.polymul(by_a, by_b))
    series: NDArray[np.float64] = np.asarray(chebyshev.poly2cheb(total), dtype=np.float64)
    series[np.abs(series) < 1e-14 * np.abs(series).max(initial=0.0)] = 0.0
    return series
