"""Coupling of angular momenta in the real harmonics of `harmonics`: order, signs and normalisation as there."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["clebsch_gordan", "real_clebsch_gordan", "real_harmonics_of_complex"]


def _square_of_racah_prefix(j1: int, j2: int, j: int, m1: int, m2: int) -> Fraction:
    f = math.factorial
    m = m1 + m2
    triangle = Fraction(f(j1 + j2 - j) * f(j1 - j2 + j) * f(j2 - j1 + j), f(j1 + j2 + j + 1))
    states = f(j + m) * f(j - m) * f(j1 + m1) * f(j1 - m1) * f(j2 + m2) * f(j2 - m2)
    return (2 * j + 1) * triangle * states


def _racah_sum(j1: int, j2: int, j: int, m1: int, m2: int) -> Fraction:
    f = math.factorial
    total = Fraction(0)
    for k in range(j1 + j2 - j + 1):
        parts = (k, j1 + j2 - j - k, j1 - m1 - k, j2 + m2 - k, j - j2 + m1 + k, j - j1 - m2 + k)
        if min(parts) >= 0:
            total += Fraction((-1) ** k, math.prod(f(p) for p in parts))
    return total


@lru_cache(maxsize=1024)
def clebsch_gordan(l1: int, l2: int, l: int) -> NDArray[np.float64]:
    """Return ``<l1 m1 l2 m2 | l m>`` for integer angular momenta.

    Returns
    -------
    (2 l1 + 1, 2 l2 + 1, 2 l + 1) array
        Each axis ascends from -l to l; all zero where the triangle inequality fails.

    Notes
    -----
    Exact rational arithmetic up to the last square root. Source: Racah's formula; Varshalovich et al., Quantum
    Theory of Angular Momentum (1988), section 8.2.1.
    """
    table = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l + 1))
    if abs(l1 - l2) <= l <= l1 + l2:
        for m1 in range(-l1, l1 + 1):
            for m2 in range(max(-l2, -l - m1), min(l2, l - m1) + 1):
                total = _racah_sum(l1, l2, l, m1, m2)
                size = math.sqrt(total * total * _square_of_racah_prefix(l1, l2, l, m1, m2))
                table[m1 + l1, m2 + l2, m1 + m2 + l] = math.copysign(size, total)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=64)
def real_harmonics_of_complex(l: int) -> NDArray[np.complex128]:
    """Return the unitary matrix U with ``Y_real = U @ Y_complex``.

    Rows: the real harmonics of angular momentum l in the order of `harmonics` (0, then cosine and sine for each m);
    columns: the complex ones with the Condon-Shortley phase, m = -l ... l.
    """
    u = np.zeros((2 * l + 1, 2 * l + 1), dtype=np.complex128)
    u[0, l] = 1.0
    for m in range(1, l + 1):
        sign = (-1) ** m
        u[2 * m - 1, [l + m, l - m]] = sign * math.sqrt(0.5), math.sqrt(0.5)
        u[2 * m, [l + m, l - m]] = -1j * sign * math.sqrt(0.5), 1j * math.sqrt(0.5)
    u.setflags(write=False)
    return u


@lru_cache(maxsize=1024)
def real_clebsch_gordan(l1: int, l2: int, l: int) -> NDArray[np.float64]:
    """Return C such that ``z_m = sum_(m1 m2) C[m1, m2, m] x_m1 y_m2`` rotates like the real harmonics of l.

    Returns
    -------
    (2 l1 + 1, 2 l2 + 1, 2 l + 1) array
        Axes in the order of `harmonics`. Orthonormal: ``sum_(m1 m2) C[m1, m2, m] C[m1, m2, n] = delta_mn``.

    Notes
    -----
    In real harmonics the coupling is unique up to its sign, which is fixed by a positive first non-zero coefficient;
    where l1 + l2 + l is odd (z is a pseudo-tensor), the coefficients of the complex coupling turn purely imaginary and
    the factor i is left out. With l = 0 it is ``delta_(m1 m2) / sqrt(2 l1 + 1)``.
    """
    left, right = real_harmonics_of_complex(l1).conj(), real_harmonics_of_complex(l2).conj()
    table = np.einsum(
        "abc,ia,jb,kc->ijk",
        clebsch_gordan(l1, l2, l),
        left,
        right,
        real_harmonics_of_complex(l),
        optimize=True,
    )
    real = table.imag if (l1 + l2 + l) % 2 else table.real
    real = np.where(np.abs(real) > 1e-14, real, 0.0)
    nonzero = real[real != 0.0]
    if len(nonzero) and nonzero[0] < 0:
        real = -real
    real.setflags(write=False)
    return real
