"""Radial functions against their definitions, written down again here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, special

from forgefield.formulas.cutoffs import cosine_cutoff
from forgefield.formulas.dual import Dual
from forgefield.formulas.radial import (
    chebyshev,
    chebyshev_series,
    nep_radial,
    so3_radial_coefficients,
    so3_radial_integral,
)

CUTOFF = 4.5
R = np.linspace(0.3, 4.49, 41)


def test_chebyshev_polynomials():
    x = np.linspace(-1, 1, 33)
    for n, value in enumerate(chebyshev(x, 12)):
        assert np.allclose(value, special.eval_chebyt(n, x), rtol=0, atol=1e-13)


def test_cosine_cutoff_ends():
    r = np.array([0.0, CUTOFF / 2, CUTOFF, 2 * CUTOFF])
    assert np.allclose(cosine_cutoff(r, CUTOFF), [1.0, 0.5, 0.0, 0.0], atol=1e-15)


def test_nep_radial_definition():
    fc = 0.5 * (1 + np.cos(np.pi * R / CUTOFF))
    x = 2 * (R / CUTOFF - 1) ** 2 - 1
    for k, value in enumerate(nep_radial(R, CUTOFF, 9)):
        assert np.allclose(value, (special.eval_chebyt(k, x) + 1) / 2 * fc, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nep_radial_vanishes_beyond_the_cutoff_and_at_it(dtype):
    far = torch.tensor([CUTOFF, 1.5 * CUTOFF, 100 * CUTOFF], dtype=dtype)
    for value in nep_radial(Dual(far, torch.ones_like(far)), CUTOFF, 12):
        assert (value.value == 0).all()
        assert (value.tangent == 0).all()


def functions_nep(r):
    return nep_radial(r, CUTOFF, 9)


COEFFICIENTS = so3_radial_coefficients(CUTOFF, 3, 2, 1.7)


def functions_so3(r):
    return chebyshev_series(r, CUTOFF, COEFFICIENTS)


@pytest.mark.parametrize("functions", [functions_nep, functions_so3])
def test_slopes_against_finite_differences(functions):
    h = 1e-3
    slopes = [d.tangent for d in functions(Dual(R[1:-1], np.ones_like(R[1:-1])))]
    left2, left, right, right2 = (functions(R[1:-1] + k * h) for k in (-2, -1, 1, 2))
    for slope, a, b, c, d in zip(slopes, left2, left, right, right2, strict=True):
        assert np.allclose(slope, (8 * (c - b) - (d - a)) / (12 * h), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("functions", [functions_nep, functions_so3])
def test_numpy_torch_and_floats_agree(functions):
    on_numpy = np.array(functions(R))
    on_torch = torch.stack(functions(torch.from_numpy(R))).numpy()
    on_floats = np.array([functions(float(r)) for r in R]).T
    assert np.allclose(on_torch, on_numpy, rtol=0, atol=1e-13 * np.abs(on_numpy).max())
    assert np.allclose(on_floats, on_numpy, rtol=0, atol=1e-13 * np.abs(on_numpy).max())


def direct_basis(n_max):
    """Orthonormal radial basis: Löwdin's orthogonalisation of (cutoff - x)^(a + 2), weight x^2, by quadrature."""

    def phi(a, x):
        return (CUTOFF - x) ** (a + 2)

    overlap = np.array(
        [
            [
                integrate.quad(lambda x, a=a, b=b: x * x * phi(a, x) * phi(b, x), 0, CUTOFF)[0]
                for a in range(1, n_max + 1)
            ]
            for b in range(1, n_max + 1)
        ]
    )
    norm = np.sqrt(np.diag(overlap))
    # The paper normalises each power in closed form; the same as dividing by the root of its overlap.
    values, vectors = np.linalg.eigh(overlap / np.outer(norm, norm))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    return lambda n, x: sum(root[n, a] * phi(a + 1, x) / norm[a] for a in range(n_max))


def test_so3_radial_integral_by_adaptive_quadrature():
    alpha, basis = 1.7, direct_basis(2)
    r = np.array([0.8, 2.3, 4.1])
    got = so3_radial_integral(r, CUTOFF, 2, 3, alpha)
    for l in (0, 1, 3):
        for n in range(2):
            for i, distance in enumerate(r):

                def integrand(x, l=l, n=n, distance=distance):
                    bessel = special.spherical_in(l, 2 * alpha * x * distance)
                    return x * x * basis(n, x) * bessel * np.exp(-alpha * (x * x + distance * distance))

                expected = 4 * np.pi * integrate.quad(integrand, 0, CUTOFF, epsabs=1e-14, limit=200)[0]
                assert got[l, n, i] == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_so3_series_reproduces_the_integrals():
    exact = so3_radial_integral(R, CUTOFF, 3, 2, 1.7).reshape(-1, len(R)) * cosine_cutoff(R, CUTOFF)
    assert np.abs(np.array(functions_so3(R)) - exact).max() < 1e-12 * np.abs(exact).max()
