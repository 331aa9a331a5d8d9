"""Symmetry functions of Behler, Gastegger, Zhang (embedded density) and Artrith: radial parts and sums over angles.

A sum over pairs of neighbours of a polynomial of the cosine between them needs no loop over pairs: the polynomial is
a sum of Legendre polynomials, and by the addition theorem

``sum_jk f_j g_k F(cos theta_jk) = sum_l a_l 4 pi / (2l + 1) sum_m A_lm B_lm``

with ``A_lm = sum_j f_j Y_lm(j)``, ``B_lm = sum_k g_k Y_lm(k)``. The double sum includes j = k, where the cosine is 1;
that is a sum over single neighbours and taken off where a pair must be of two atoms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.formulas.cutoffs import COSINE, CutoffShape
from forgefield.formulas.invariants import power_spectrum
from forgefield.formulas.namespace import combine, functions_of
from forgefield.formulas.radial import chebyshev

__all__ = [
    "aenet_radial",
    "angular_factors",
    "angular_power",
    "angular_weights",
    "cosine_sums",
    "distinct_pair_sums",
    "embedded_density_radial",
    "gaussians",
    "squared_gaussians",
    "triplet_functions",
]

FloatArray = NDArray[np.float64]
Angular = tuple[float, float, float]
"""Parameters (eta [1/Å^2], zeta, lambda) of an angular symmetry function."""


def gaussians(
    r: Any, cutoff: float, parameters: Sequence[tuple[float, float]], shape: CutoffShape = COSINE
) -> list[Any]:
    """Return ``exp(-eta (r - shift)^2) f_c(r)`` for every (eta [1/Å^2], shift [Å]).

    Source: Yanxon et al. (PyXtal_FF), eq. 6.
    """
    f, cut = functions_of(r), shape(r, cutoff)
    return [f.exp(-eta * (r - shift) * (r - shift)) * cut for eta, shift in parameters]


def squared_gaussians(r: Any, cutoff: float, etas: Sequence[float], shape: CutoffShape = COSINE) -> list[Any]:
    """Return ``(exp(-eta r^2) f_c(r))^2`` for every eta [1/Å^2]."""
    return [g * g for g in gaussians(r, cutoff, [(eta, 0.0) for eta in etas], shape)]


def embedded_density_radial(
    r: Any,
    cutoff: float,
    parameters: Sequence[tuple[float, float]],
    l_max: int,
    shape: CutoffShape = COSINE,
) -> list[Any]:
    """Return the radial functions of the embedded atom density, l-major for l = 0 ... l_max.

    For each l: ``(r/cutoff)^(l + 2p) exp(-eta (r - shift)^2) f_c(r)``, p-major for p = 0 ... l_max // 2, then the
    (eta, shift); those with l + 2p > l_max are not needed and zero. They are the parts of angular momentum l of the
    products of x/cutoff, y/cutoff and z/cutoff of degree l + 2p.

    Source: Yanxon et al. (PyXtal_FF), eq. 10.
    """
    x = r * (1.0 / cutoff)
    powers = [gaussians(r, cutoff, parameters, shape)]
    while len(powers) <= l_max:
        powers.append([x * g for g in powers[-1]])
    nothing = [0.0] * len(parameters)
    return [
        value
        for l in range(l_max + 1)
        for p in range(l_max // 2 + 1)
        for value in (powers[l + 2 * p] if l + 2 * p <= l_max else nothing)
    ]


def aenet_radial(r: Any, cutoff: float, n: int, shape: CutoffShape = COSINE) -> list[Any]:
    """Return ``T_k(2 r/cutoff - 1) f_c(r)`` for k = 0 ... n - 1.

    Source: Artrith, Urban and Ceder, PRB 96 (2017) 014112: the coefficients of the radial distribution function.
    """
    # Beyond the cutoff the polynomials would overflow in float32 before the cutoff function zeroes them.
    x = functions_of(r).where(r < cutoff, r * (2.0 / cutoff) - 1.0, 0.0)
    cut = shape(r, cutoff)
    return [t * cut for t in chebyshev(x, n)]


def angular_power(zeta: int, lam: float) -> Callable[[FloatArray], FloatArray]:
    """Return the function ``2^(1 - zeta) (1 + lambda x)^zeta`` of the cosine x."""
    return lambda x: 2.0 ** (1 - zeta) * (1.0 + lam * x) ** zeta


def angular_weights(polynomials: Sequence[Callable[[FloatArray], FloatArray]], l_max: int) -> FloatArray:
    """Return ``4 pi a_ql / (2l + 1)`` for ``F_q(x) = sum_l a_ql P_l(x)``.

    Parameters
    ----------
    polynomials : sequence of functions of the cosine
        Of degree <= l_max.
    l_max : int

    Returns
    -------
    (n_polynomials, l_max + 1) array
        Exact to rounding: the projections are Gauss-Legendre sums of polynomials.
    """
    x, w = np.polynomial.legendre.leggauss(l_max + 1)
    legendre = np.polynomial.legendre.legvander(x, l_max).T
    values = np.stack([f(x) for f in polynomials])
    weights: FloatArray = 2.0 * math.pi * (values * w) @ legendre.T
    weights[np.abs(weights) < 1e-14 * np.abs(weights).max(axis=1, keepdims=True)] = 0.0
    return weights


def cosine_sums(left: Any, right: Any, weights: FloatArray) -> list[Any]:
    """Return ``sum_jk f_j g_k F_q(cos theta_jk)`` over all j and k for every q.

    Parameters
    ----------
    left, right : sequence of values
        A_lm and B_lm from l = 0 on, of orthonormal harmonics.
    weights : (n_q, l_max + 1) array
        From `angular_weights`.
    """
    return combine(weights, power_spectrum(left, right, weights.shape[1] - 1))


def distinct_pair_sums(coefficients: Any, own: Any, weights: FloatArray, ends: Sequence[float]) -> list[Any]:
    """Return ``sum over j < k of f_j f_k F_q(cos theta_jk)`` for every q.

    Parameters
    ----------
    coefficients : sequence of values
        A_lm from l = 0 on.
    own : value
        ``sum_j f_j^2``.
    weights : (n_q, l_max + 1) array
        From `angular_weights`.
    ends : n_q floats
        ``F_q(1)``.
    """
    sums = cosine_sums(coefficients, coefficients, weights)
    return [0.5 * s - (0.5 * end) * own if end else 0.5 * s for s, end in zip(sums, ends, strict=True)]


def _power(x: Any, exponent: float) -> Any:
    """Return ``(1 + x)^exponent`` for x >= -1; rounding below -1 does no harm."""
    if float(exponent).is_integer():
        result, square, rest = None, 1.0 + x, int(exponent)
        while rest:
            if rest & 1:
                result = square if result is None else result * square
            rest >>= 1
            square = square * square if rest else square
        return result
    f = functions_of(x)
    # exp(zeta log(1 + x)); kept off the singularity of the logarithm, where the power is nothing.
    return f.exp(exponent * f.log1p(f.where(x > -0.9999999, x, -0.9999999)))


def angular_factors(cosine: Any, powers: Sequence[tuple[float, float]]) -> list[Any]:
    """Return ``2^(1 - zeta) (1 + lambda cos theta)^zeta`` for every (zeta, lambda)."""
    return [2.0 ** (1 - zeta) * _power(lam * cosine, zeta) for zeta, lam in powers]


def triplet_functions(
    r_ij: Any,
    r_ik: Any,
    r_jk: Any,
    cutoff: float,
    near: Sequence[Angular],
    wide: Sequence[Angular],
    shape: CutoffShape = COSINE,
) -> list[Any]:
    """Return the G4 (`near`) and then the G5 (`wide`) functions of one pair of neighbours j, k.

    ``2^(1 - zeta) (1 + lambda cos theta)^zeta exp(-eta (r_ij^2 + r_ik^2 [+ r_jk^2])) f_c(r_ij) f_c(r_ik) [f_c(r_jk)]``

    with the parts in brackets in G4 only.

    Parameters
    ----------
    r_ij, r_ik, r_jk : values [Å]
    cutoff : float [Å]
    near, wide : sequences of (eta [1/Å^2], zeta >= 1, lambda)
    shape : CutoffShape
        f_c.

    Notes
    -----
    Source: Yanxon et al. (PyXtal_FF), eqs. 7-8 with the cutoff functions of eq. A4 (all three in G4).
    """
    a, b, c = r_ij * r_ij, r_ik * r_ik, r_jk * r_jk
    cosine = (a + b - c) / (2.0 * r_ij * r_ik)
    cut = shape(r_ij, cutoff) * shape(r_ik, cutoff)
    powers = list(dict.fromkeys((zeta, lam) for _, zeta, lam in (*near, *wide)))
    angles = dict(zip(powers, angular_factors(cosine, powers), strict=True))
    radial: dict[tuple[float, bool], Any] = {}
    if near:
        closed = cut * shape(r_jk, cutoff)
        radial |= _exponentials(a + b + c, closed, near, key=True)
    if wide:
        radial |= _exponentials(a + b, cut, wide, key=False)
    return [radial[eta, True] * angles[zeta, lam] for eta, zeta, lam in near] + [
        radial[eta, False] * angles[zeta, lam] for eta, zeta, lam in wide
    ]


def _exponentials(
    size: Any, cut: Any, functions: Sequence[Angular], *, key: bool
) -> dict[tuple[float, bool], Any]:
    """Return ``exp(-eta size) cut`` for each eta that occurs, once."""
    f = functions_of(size)
    return {(eta, key): f.exp(-eta * size) * cut for eta in dict.fromkeys(p[0] for p in functions)}
