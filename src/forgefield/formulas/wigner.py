"""Functions on the 3-sphere: Wigner U matrices, Clebsch-Gordan coefficients, the map of a vector to the sphere.

Everything is indexed by integers 2j, as half-integer j occur. The matrix U^j has rows mb = 0 ... 2j and columns
ma = 0 ... 2j, with ``U[2j - mb, 2j - ma] = (-1)^(ma - mb) conj(U[mb, ma])``: rows up to the middle determine the rest,
and in the middle row of an integer j the columns up to the middle. That leaves (2j + 1)^2 real numbers.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forgefield.formulas.namespace import functions_of

__all__ = [
    "Component",
    "clebsch_gordan",
    "component_norms",
    "components",
    "n_diagonal",
    "sphere_point",
    "switching",
    "wigner_functions",
]


class Component(NamedTuple):
    """One independent real number of the matrices U: real (0) or imaginary (1) `part` of ``U^(two_j/2)[mb, ma]``."""

    two_j: int
    mb: int
    ma: int
    part: int


@lru_cache(maxsize=16)
def components(two_j_max: int) -> tuple[Component, ...]:
    """Return the independent numbers of U^j, 2j = 0 ... two_j_max: the diagonal ones (mb = ma) first, then the rest.

    The diagonal ones are real parts, which is where the contribution of the central atom to itself goes.
    """
    diagonal: list[Component] = []
    rest: list[Component] = []
    for two_j in range(two_j_max + 1):
        for mb in range(two_j // 2 + 1):
            middle = 2 * mb == two_j
            for ma in range(mb + 1 if middle else two_j + 1):
                (diagonal if ma == mb else rest).append(Component(two_j, mb, ma, 0))
                if not (middle and ma == mb):
                    rest.append(Component(two_j, mb, ma, 1))
    return tuple(diagonal + rest)


def n_diagonal(two_j_max: int) -> int:
    """Return how many of the `components` are on the diagonal; they come first."""
    return sum(two_j // 2 + 1 for two_j in range(two_j_max + 1))


@lru_cache(maxsize=16)
def component_norms(two_j_max: int) -> NDArray[np.float64]:
    """Return the factors that turn `wigner_functions` into elements of U: ``sqrt((2j-ma)! ma! / (2j-mb)! mb!)``."""
    f = math.factorial
    return np.array(
        [
            math.sqrt(f(c.two_j - c.ma) * f(c.ma) / (f(c.two_j - c.mb) * f(c.mb)))
            for c in components(two_j_max)
        ]
    )


def sphere_point(x: Any, y: Any, z: Any, angle: Any) -> tuple[Any, Any, Any, Any]:
    """Return the Cayley-Klein parameters (Re a, Im a, Re b, Im b) of the unit vector (x, y, z) at a polar angle.

    ``a = cos(angle) - i z sin(angle)``, ``b = (y - i x) sin(angle)``: a point of the 3-sphere.

    Source: Bartók et al., PRB 87 (2013) 184115, section III; Thompson et al., J. Comput. Phys. 285 (2015) 316, eq. 3.
    """
    f = functions_of(angle)
    sine = f.sin(angle)
    return f.cos(angle), -(z * sine), y * sine, -(x * sine)


_Row = list[tuple[Any, Any]]


def wigner_functions(a_r: Any, a_i: Any, b_r: Any, b_i: Any, two_j_max: int) -> list[Any]:
    """Return the `components` of U^j(a, b), up to the constant factors `component_norms`.

    Row mb holds the coefficients of t^ma in ``(conj(a) - conj(b) t)^(2j - mb) (b + a t)^mb``, which the recursion
    multiplies out one factor at a time: sums of products only, no roots. Factors are left to be applied after the
    sum over neighbours.

    Parameters
    ----------
    a_r, a_i, b_r, b_i : values
        Parts of the Cayley-Klein parameters, ``|a|^2 + |b|^2 = 1``.
    two_j_max : int

    Returns
    -------
    list of values
        The first is the plain number 1.

    Notes
    -----
    Source: Varshalovich et al., Quantum Theory of Angular Momentum (1988), section 4.8.2, without its roots.
    """
    rows: list[_Row] = [[(1.0, 0.0)]]
    table: dict[tuple[int, int], _Row] = {(0, 0): rows[0]}
    for two_j in range(1, two_j_max + 1):
        new = [_lower(row, a_r, a_i, b_r, b_i) for row in rows]
        if two_j % 2 == 0:
            new.append(_middle(rows[-1], a_r, a_i, b_r, b_i))
        rows = new
        table.update({(two_j, mb): row for mb, row in enumerate(rows)})
    return [table[c.two_j, c.mb][c.ma][c.part] for c in components(two_j_max)]


def _lower(row: _Row, a_r: Any, a_i: Any, b_r: Any, b_i: Any) -> _Row:
    """Multiply the polynomial in t by (conj(a) - conj(b) t)."""
    by_a = [(a_r * u + a_i * v, a_r * v - a_i * u) for u, v in row]
    by_b = [(b_r * u + b_i * v, b_r * v - b_i * u) for u, v in row]
    between = [(p[0] - q[0], p[1] - q[1]) for p, q in zip(by_a[1:], by_b[:-1], strict=True)]
    return [by_a[0], *between, (-by_b[-1][0], -by_b[-1][1])]


def _middle(row: _Row, a_r: Any, a_i: Any, b_r: Any, b_i: Any) -> _Row:
    """Multiply by (b + a t), where the symmetry gives the second half of the row."""
    by_b = [(b_r * u - b_i * v, b_r * v + b_i * u) for u, v in row]
    by_a = [(a_r * u - a_i * v, a_r * v + a_i * u) for u, v in row]
    centre = len(row) // 2
    result = [by_b[0]]
    result += [(p[0] + q[0], p[1] + q[1]) for p, q in zip(by_b[1 : centre + 1], by_a[:centre], strict=True)]
    for ma in range(centre - 1, -1, -1):
        u, v = result[ma]
        result.append((-u, v) if (centre - ma) % 2 else (u, -v))
    return result


def switching(r: Any, cutoff: Any, start: float) -> Any:
    """Return 1 up to `start`, half a cosine down to 0 at `cutoff`, 0 beyond.

    Source: Thompson et al., J. Comput. Phys. 285 (2015) 316, eq. 2.
    """
    f = functions_of(r)
    inside = 0.5 + 0.5 * f.cos((r - start) * (math.pi / (cutoff - start)))
    return f.where(r < cutoff, f.where(r > start, inside, 1.0), 0.0)


@lru_cache(maxsize=512)
def clebsch_gordan(two_j1: int, two_j2: int, two_j: int) -> NDArray[np.float64]:
    """Return ``<j1 m1 j2 m2 | j m1 + m2>`` as an array over (j1 + m1, j2 + m2); zero where |m1 + m2| > j.

    Parameters
    ----------
    two_j1, two_j2, two_j : int
        Twice the angular momenta; they fulfil the triangle inequality and have an even sum.

    Returns
    -------
    (two_j1 + 1, two_j2 + 1) array

    Notes
    -----
    Racah's sum in exact integers, so only the last square root rounds: relative error <= 4e-16.
    Source: Varshalovich et al. (1988), eq. 8.2.1(3).
    """
    f = math.factorial
    total = (two_j1 + two_j2 + two_j) // 2
    triangle = (total - two_j1, total - two_j2, total - two_j)
    table = np.zeros((two_j1 + 1, two_j2 + 1))
    for p1 in range(two_j1 + 1):
        for p2 in range(two_j2 + 1):
            p = p1 + p2 - (two_j1 + two_j2 - two_j) // 2  # j + m
            if not 0 <= p <= two_j:
                continue
            series, scale = _racah(triangle, two_j1 - p1, p2)
            square = (
                (two_j + 1)
                * math.prod(map(f, triangle))
                * math.prod(map(f, (p1, two_j1 - p1, p2, two_j2 - p2, p, two_j - p)))
            )
            table[p1, p2] = math.copysign(
                math.sqrt(_ratio(square * series * series, f(total + 1) * scale * scale)), series
            )
    return table


def _racah(triangle: tuple[int, int, int], q1: int, p2: int) -> tuple[int, int]:
    """Return numerator and common denominator of Racah's sum for ``q1 = j1 - m1`` and ``p2 = j2 + m2``."""
    f = math.factorial
    by_j1, by_j2, by_j = triangle  # (-j1 + j2 + j), (j1 - j2 + j), (j1 + j2 - j)
    first = max(0, q1 - by_j2, p2 - by_j1)
    last = min(by_j, q1, p2)
    denominators = [
        f(z) * f(by_j - z) * f(q1 - z) * f(p2 - z) * f(by_j2 - q1 + z) * f(by_j1 - p2 + z)
        for z in range(first, last + 1)
    ]
    common = math.lcm(*denominators)
    series = sum((-1) ** z * (common // d) for z, d in enumerate(denominators, start=first))
    return series, common


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator
