"""Harmonics and invariants against scipy and against rotations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from forgefield.formulas.harmonics import harmonics
from forgefield.formulas.invariants import nep_invariants, power_spectrum
from forgefield.testing.numerics import random_rotation

L_MAX = 8


def unit_vectors(n, seed=0):
    v = np.random.default_rng(seed).standard_normal((n, 3))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def evaluate(v, l_max=L_MAX):
    return np.array([np.broadcast_to(y, len(v)) for y in harmonics(*v.T, l_max)])


def test_harmonics_are_scipys_real_combinations():
    v = unit_vectors(50)
    theta, phi = np.arccos(v[:, 2]), np.arctan2(v[:, 1], v[:, 0])
    got = evaluate(v)
    for l in range(L_MAX + 1):
        assert np.allclose(got[l * l], special.sph_harm_y(l, 0, theta, phi).real, atol=1e-12)
        for m in range(1, l + 1):
            y = special.sph_harm_y(l, m, theta, phi) * (-1) ** m * np.sqrt(2)
            assert np.allclose(got[l * l + 2 * m - 1], y.real, atol=1e-12)
            assert np.allclose(got[l * l + 2 * m], y.imag, atol=1e-12)


def test_harmonics_are_orthonormal():
    x, w = np.polynomial.legendre.leggauss(12)
    phi = 2 * np.pi * np.arange(24) / 24
    z, p = np.repeat(x, 24), np.tile(phi, 12)
    v = np.stack([np.sqrt(1 - z * z) * np.cos(p), np.sqrt(1 - z * z) * np.sin(p), z], axis=1)
    weights = np.repeat(w, 24) * 2 * np.pi / 24
    y = evaluate(v)
    assert np.allclose((y * weights) @ y.T, np.eye(len(y)), atol=1e-12)


def test_harmonics_on_the_axis_are_finite():
    y = evaluate(np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]))
    assert np.isfinite(y).all()


def test_power_spectrum_is_the_addition_theorem():
    a, b = unit_vectors(20, 1), unit_vectors(20, 2)
    spectrum = power_spectrum(evaluate(a), evaluate(b), L_MAX)
    cosine = (a * b).sum(axis=1)
    for l, value in enumerate(spectrum):
        assert np.allclose(value, (2 * l + 1) / (4 * np.pi) * special.eval_legendre(l, cosine), atol=1e-12)


@pytest.mark.parametrize("improper", [False, True])
def test_nep_invariants_do_not_turn(improper):
    rng = np.random.default_rng(3)
    v, weights = unit_vectors(7, 4), rng.uniform(0.2, 1.0, 7)

    def features(vectors):
        s = (evaluate(vectors, 4) * weights).sum(axis=1)[1:]
        return np.array(nep_invariants(s, 4, four_body=True, five_body=True))

    before = features(v)
    after = features(v @ random_rotation(rng, improper=improper))
    assert len(before) == 6
    assert np.abs(before).min() > 1e-4
    assert np.allclose(after, before, rtol=1e-12)


def test_four_body_invariant_is_the_triple_product_of_quadrupoles():
    """For Q_ab = sum_j w_j (3 v_a v_b - delta_ab), det Q and the l = 2 cubic invariant are proportional."""
    ratios = []
    for seed in range(3):
        v = unit_vectors(5, seed)
        w = np.random.default_rng(seed).uniform(0.2, 1, 5)
        s = (evaluate(v, 2) * w).sum(axis=1)[1:]
        cubic = nep_invariants(s, 2, four_body=True, five_body=False)[-1]
        q = 3 * np.einsum("j,ja,jb->ab", w, v, v) - w.sum() * np.eye(3)
        ratios.append(cubic / np.linalg.det(q))
    assert np.allclose(ratios, ratios[0], rtol=1e-12)
    assert abs(ratios[0]) > 1e-3
