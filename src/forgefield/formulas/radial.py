"""Radial functions: lists of values at one distance r [Å]."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

from forgefield.formulas.cutoffs import COSINE, CutoffShape, cosine_cutoff
from forgefield.formulas.namespace import combine, functions_of

__all__ = [
    "chebyshev",
    "chebyshev_series",
    "nep_factors",
    "nep_radial",
    "so3_radial_coefficients",
    "so3_radial_integral",
]


def chebyshev(x: Any, n: int) -> list[Any]:
    """Return T_0(x) ... T_{n-1}(x), the first of them the plain number 1."""
    polynomials: list[Any] = [1.0, x]
    while len(polynomials) < n:
        polynomials.append(2.0 * x * polynomials[-1] - polynomials[-2])
    return polynomials[:n]


def nep_factors(r: Any, cutoff: float) -> tuple[Any, Any]:
    """Return f_c(r) and x = 2 (r/cutoff - 1)^2 - 1, the factor and the argument of NEP's polynomials."""
    # Beyond the cutoff the polynomials would overflow in float32 before the cutoff function zeroes them.
    u = functions_of(r).where(r < cutoff, r * (1.0 / cutoff) - 1.0, 0.0)
    return cosine_cutoff(r, cutoff), 2.0 * u * u - 1.0


def nep_radial(r: Any, cutoff: float, n: int) -> list[Any]:
    """Return NEP's n radial functions ``(T_k(2 (r/cutoff - 1)^2 - 1) + 1) / 2 * f_c(r)``.

    Source: Huang et al. (GNEP), eq. 6 and appendix A; Fan et al., PRB 104 (2021) 104309, eqs. 4-6.
    """
    cut, x = nep_factors(r, cutoff)
    half = 0.5 * cut
    return [(t + 1.0) * half for t in chebyshev(x, n)]


def chebyshev_series(
    r: Any, cutoff: float, coefficients: NDArray[np.float64], shape: CutoffShape = COSINE
) -> list[Any]:
    """Return ``f_c(r) sum_p coefficients[q, p] T_p(2 r / cutoff - 1)`` for every q.

    Any smooth function on [0, cutoff] is such a series to machine precision, which makes radial functions
    that are defined by an integral as cheap as polynomials.
    """
    x = functions_of(r).where(r < cutoff, r * (2.0 / cutoff) - 1.0, 0.0)
    cut = shape(r, cutoff)
    return [cut * s for s in combine(coefficients, chebyshev(x, coefficients.shape[1]))]


def so3_radial_integral(
    r: NDArray[np.float64], cutoff: float, n_max: int, l_max: int, alpha: float, n_nodes: int = 96
) -> NDArray[np.float64]:
    """Overlap of a Gaussian at distance r with the radial basis: the part of c_nlm that depends on r.

    ``I_nl(r) = 4 pi exp(-alpha r^2) int_0^cutoff x^2 g_n(x) i_l(2 alpha x r) exp(-alpha x^2) dx``

    with g_n the orthonormalised ``(cutoff - x)^(a + 2)``, a = 1 ... n_max.

    Parameters
    ----------
    r : (n,) array [Å]
    cutoff : float [Å]
    n_max, l_max : int
        Radial functions 1 ... n_max, angular momenta 0 ... l_max.
    alpha : float [1/Å^2]
        Width of the Gaussian density.
    n_nodes : int
        Gauss-Legendre nodes of the integral.

    Returns
    -------
    (l_max + 1, n_max, n) array

    Notes
    -----
    Source: Yanxon et al. (PyXtal_FF), eqs. 15-17 and the expression for c_nlm between them; the exponentials
    are merged into ``exp(-alpha (x - r)^2)`` so that nothing overflows.
    """
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
    x = 0.5 * cutoff * (nodes + 1.0)
    weights = 0.5 * cutoff * weights
    a = np.arange(1, n_max + 1)
    norm = np.sqrt(2.0 * cutoff ** (2 * a + 7) / ((2 * a + 5) * (2 * a + 6) * (2 * a + 7)))
    phi = (cutoff - x) ** (a[:, None] + 2) / norm[:, None]
    product = (2 * a + 5) * (2 * a + 6) * (2 * a + 7)
    pair = a[:, None] + a[None, :]
    overlap = np.sqrt(np.outer(product, product)) / ((5 + pair) * (6 + pair) * (7 + pair))
    basis = np.real(linalg.inv(linalg.sqrtm(overlap))) @ phi
    z = 2.0 * alpha * np.outer(x, r)
    gaussian = np.exp(-alpha * (x[:, None] - r[None, :]) ** 2)
    # i_l(z) exp(-z) = sqrt(pi / 2z) ive(l + 1/2, z); the limit at z = 0 is delta_l0.
    safe = np.where(z > 0, z, 1.0)
    result = np.empty((l_max + 1, n_max, len(r)))
    for l in range(l_max + 1):
        bessel = np.where(z > 0, np.sqrt(np.pi / (2 * safe)) * special.ive(l + 0.5, safe), float(l == 0))
        result[l] = 4 * np.pi * (basis * (weights * x * x)) @ (gaussian * bessel)
    return result


def so3_radial_coefficients(
    cutoff: float, n_max: int, l_max: int, alpha: float, tolerance: float = 1e-13
) -> NDArray[np.float64]:
    """Chebyshev coefficients (for `chebyshev_series`) of the integrals of `so3_radial_integral`.

    Returns
    -------
    ((l_max + 1) * n_max, n_terms) array
        l-major rows; terms below `tolerance` times the largest are dropped.
    """
    n_points = 192
    angles = np.pi * (np.arange(n_points) + 0.5) / n_points
    r = 0.5 * cutoff * (np.cos(angles) + 1.0)
    values = so3_radial_integral(r, cutoff, n_max, l_max, alpha).reshape(-1, n_points)
    transform = np.cos(np.outer(angles, np.arange(n_points))) * (2.0 / n_points)
    transform[:, 0] *= 0.5
    coefficients = values @ transform
    size = np.abs(coefficients).max(axis=0)
    n_terms = int(np.flatnonzero(size > tolerance * size.max())[-1]) + 1
    kept: NDArray[np.float64] = coefficients[:, : max(n_terms, 2)]
    return kept
