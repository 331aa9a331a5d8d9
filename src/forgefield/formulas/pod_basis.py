"""Proper orthogonal descriptors: radial modes of a set of snapshots, and powers of the cosines between neighbours."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from forgefield.formulas.harmonics import harmonics
from forgefield.formulas.namespace import combine, functions_of

__all__ = [
    "cosine_powers",
    "four_body_exponents",
    "four_body_tensor",
    "pod_cutoff",
    "pod_modes",
    "pod_radial",
    "pod_snapshots",
]

FloatArray = NDArray[np.float64]

SCALES = (1e-3, 2.0, 4.0)
"""Decay constants of the scaled distance in the sine snapshots."""

N_POINTS = 2000
"""Points of the quadrature behind the modes."""


def pod_cutoff(r: Any, inner_cutoff: float, cutoff: float) -> Any:
    """Return ``exp(1 - 1 / sqrt((1 - y^3)^2 + 10^-6))``, y = (r - inner_cutoff) / (cutoff - inner_cutoff); 0 beyond.

    Source: documentation of LAMMPS, `fitpod` command.
    """
    f = functions_of(r)
    y = (f.where(r < cutoff, r, cutoff) - inner_cutoff) * (1.0 / (cutoff - inner_cutoff))
    u = 1.0 - y * y * y
    return f.where(r < cutoff, f.exp(1.0 - 1.0 / f.sqrt(u * u + 1e-6)), 0.0)


def _one_minus_exp(x: Any) -> Any:
    """Return ``1 - exp(-x)`` for small x, without cancellation."""
    series: Any = 0.0
    for k in range(6, 0, -1):
        series = (1.0 - series) * x * (1.0 / k)
    return series


def pod_snapshots(
    r: Any,
    inner_cutoff: float,
    cutoff: float,
    bessel_degree: int,
    inverse_degree: int,
    *,
    plain: bool = False,
) -> list[Any]:
    """Return the functions whose combinations are the radial basis.

    ``sqrt(2 / d) / k sin(k pi x_b(r)) / (r - inner_cutoff) f_c(r)`` for each scale b, k = 1 ... bessel_degree, with
    ``x_b = (1 - exp(-b s)) / (1 - exp(-b))``, ``s = (r - inner_cutoff) / d``, ``d = cutoff - inner_cutoff``; then
    ``f_c(r) / r^k``, k = 1 ... inverse_degree.

    Notes
    -----
    The smallest scale, 0.001, cancels three digits of ``1 - exp(-b s)``; a series avoids that unless `plain`.
    Source: Nguyen and Rohskopf, J. Comput. Phys. 480 (2023) 112030; documentation of LAMMPS, `fitpod` command.
    """
    f = functions_of(r)
    width = cutoff - inner_cutoff
    cut = pod_cutoff(r, inner_cutoff, cutoff)
    inside = f.where(r < cutoff, r, cutoff)
    # At the inner cutoff the quotient has its limit but no value.
    distance = inside - inner_cutoff
    distance = f.where(distance * distance < 1e-16 * width * width, 1e-8 * width, distance)
    envelope = cut / distance
    result = []
    for scale in SCALES:
        exponent = distance * (scale / width)
        share = 1.0 - f.exp(-exponent) if plain or scale > 0.01 else _one_minus_exp(exponent)
        # The end of the scale keeps the rounding it has in LAMMPS, which the modes amplify.
        angle = share * (math.pi / (1.0 - math.exp(-scale)))
        sines = [f.sin(angle)]
        if bessel_degree > 1:
            double = 2.0 * f.cos(angle)
            sines.append(double * sines[0])
        while len(sines) < bessel_degree:
            sines.append(double * sines[-1] - sines[-2])
        result += [(math.sqrt(2.0 / width) / k) * envelope * s for k, s in enumerate(sines, start=1)]
    inverse, power = 1.0 / inside, cut
    for _ in range(inverse_degree):
        power = power * inverse
        result.append(power)
    return result


@lru_cache(maxsize=64)
def pod_modes(inner_cutoff: float, cutoff: float, bessel_degree: int, inverse_degree: int) -> FloatArray:
    """Return the coefficients (n_modes, n_snapshots) of the radial basis in the snapshots.

    The modes are the eigenvectors of the overlap of the snapshots between the two cutoffs, the largest eigenvalue
    first, scaled such that the integral of each squared is one.

    Notes
    -----
    Quadrature, order and sign (coefficient m of mode m is positive) are those of LAMMPS's ML-POD, so that coefficients
    in its files mean the same functions here; for that the snapshots are also rounded as there. Double precision
    defines a mode with eigenvalue e only up to 1e-16 e_1 / e.
    """
    first = inner_cutoff + 1e-6
    r = first + (cutoff - inner_cutoff - 1e-6) * np.arange(N_POINTS) / (N_POINTS - 1)
    snapshots = np.stack(pod_snapshots(r, inner_cutoff, cutoff, bessel_degree, inverse_degree, plain=True))
    _, vectors = linalg.eigh(snapshots @ snapshots.T / N_POINTS, driver="ev")
    modes = vectors.T[::-1]
    values = (modes @ snapshots) ** 2
    area = (0.5 * np.diff(r) * (values[:, 1:] + values[:, :-1])).sum(axis=1)
    modes = modes / np.sqrt(area)[:, None]
    modes = modes * np.where(np.diag(modes) < 0, -1.0, 1.0)[:, None]
    modes.setflags(write=False)
    result: FloatArray = modes
    return result


def pod_radial(
    r: Any, inner_cutoff: float, cutoff: float, bessel_degree: int, inverse_degree: int, n: int
) -> list[Any]:
    """Return the first n radial functions of POD."""
    modes = pod_modes(inner_cutoff, cutoff, bessel_degree, inverse_degree)[:n].copy()
    return combine(modes, pod_snapshots(r, inner_cutoff, cutoff, bessel_degree, inverse_degree))


@lru_cache(maxsize=32)
def cosine_powers(degree: int) -> FloatArray:
    """Return c with ``cos^p = sum_l c[p, l] sum_m Y_lm Y'_lm``, p, l = 0 ... degree, and Y_00 = 1 instead of its norm."""
    table = np.zeros((degree + 1, degree + 1))
    for p in range(degree + 1):
        series = np.polynomial.legendre.poly2leg([0.0] * p + [1.0])
        table[p, : p + 1] = series * 4.0 * math.pi / (2.0 * np.arange(p + 1) + 1.0)
        table[p, 0] = series[0]
    table.setflags(write=False)
    return table


def four_body_exponents(degree: int) -> list[tuple[int, int, int]]:
    """Return the exponents of ``cos_jk^a cos_jl^b cos_kl^c``: a >= b >= c by their sum, then descending."""
    return [
        (a, b, total - a - b)
        for total in range(degree + 1)
        for a in range(total, -1, -1)
        for b in range(min(a, total - a), -1, -1)
        if total - a - b <= b
    ]


def _monomials(degree: int) -> list[tuple[int, int, int]]:
    return [(x, y, degree - x - y) for x in range(degree, -1, -1) for y in range(degree - x, -1, -1)]


@lru_cache(maxsize=32)
def _monomials_in_harmonics(degree: int, l_max: int) -> dict[tuple[int, int, int], FloatArray]:
    """Coefficients of ``x^i y^j z^k`` on the unit sphere, i + j + k = degree, in the harmonics (Y_00 = 1)."""
    nodes, weights = np.polynomial.legendre.leggauss(l_max + 2)
    phi = 2.0 * math.pi * np.arange(2 * l_max + 3) / (2 * l_max + 3)
    z, phi = (g.ravel() for g in np.meshgrid(nodes, phi, indexing="ij"))
    weight = np.repeat(weights, 2 * l_max + 3) * (2.0 * math.pi / (2 * l_max + 3))
    s = np.sqrt(1.0 - z * z)
    x, y = s * np.cos(phi), s * np.sin(phi)
    basis = np.stack(np.broadcast_arrays(z, *harmonics(x, y, z, l_max))[1:])
    table = {}
    for i, j, k in _monomials(degree):
        row = basis @ (weight * x**i * y**j * z**k)
        row[0] *= basis[0, 0]
        table[i, j, k] = np.where(np.abs(row) > 1e-14, row, 0.0)
    return table


@lru_cache(maxsize=16)
def four_body_tensor(degree: int) -> FloatArray:
    """Return T with ``sum_jkl cos_jk^a cos_jl^b cos_kl^c = sum_uvw T[p, u, v, w] A_u B_v C_w``.

    Returns
    -------
    (n_functions, n, n, n) array, n = (degree + 1)^2
        p numbers `four_body_exponents`; A, B, C are sums of the harmonics over the neighbours j, k, l, with Y_00 = 1.
    """
    functions = four_body_exponents(degree)
    n = (degree + 1) ** 2
    tensor = np.zeros((len(functions), n, n, n))
    harmonic = {
        power: row for d in range(degree + 1) for power, row in _monomials_in_harmonics(d, degree).items()
    }

    def multinomial(power: tuple[int, int, int]) -> float:
        return math.factorial(sum(power)) / math.prod(math.factorial(e) for e in power)

    def product(*powers: tuple[int, int, int]) -> FloatArray:
        return harmonic[tuple(sum(e) for e in zip(*powers, strict=True))]

    for p, (a, b, c) in enumerate(functions):
        for jk, jl, kl in itertools.product(_monomials(a), _monomials(b), _monomials(c)):
            weight = multinomial(jk) * multinomial(jl) * multinomial(kl)
            tensor[p] += weight * np.einsum("u,v,w->uvw", product(jk, jl), product(jk, kl), product(jl, kl))
    tensor[np.abs(tensor) < 1e-12] = 0.0
    tensor.setflags(write=False)
    return tensor
