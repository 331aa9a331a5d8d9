"""ACE: coupling coefficients, counts and independence of the functions, and their values written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy import special
from scipy.spatial.transform import Rotation
from sympy.physics.wigner import clebsch_gordan as exact_clebsch_gordan

from forgefield.descriptors import ACE, make_descriptor
from forgefield.errors import ConfigError
from forgefield.formulas.ace_basis import (
    chebyshev_exponential,
    cluster_functions,
    coupling_tensor,
    independent_couplings,
    spherical_bessel,
)
from forgefield.formulas.clebsch_gordan_real import clebsch_gordan, real_clebsch_gordan
from forgefield.formulas.dual import Dual
from forgefield.formulas.harmonics import harmonics
from forgefield.testing.interpreter import interpret
from forgefield.tracer import trace

COUPLINGS = [
    (l1, l2, l)
    for l1, l2 in itertools.product(range(4), repeat=2)
    for l in range(abs(l1 - l2), min(l1 + l2, 4) + 1)
]


def real_harmonics(vectors, l):
    """Y_lm of unit vectors (n, 3), (2 l + 1, n), in the order of `harmonics`."""
    x, y, z = vectors.T
    return np.stack(np.broadcast_arrays(z, *harmonics(x, y, z, l))[1:])[l * l :]


def wigner_matrix(l, rotation):
    """D with Y_l(R v) = D Y_l(v), from the harmonics at many points."""
    v = np.random.default_rng(5).standard_normal((60, 3))
    v /= np.linalg.norm(v, axis=1)[:, None]
    return np.linalg.lstsq(real_harmonics(v, l).T, real_harmonics(v @ rotation.T, l).T, rcond=None)[0].T


def environment(species, n, seed):
    """A central atom of the last species and n neighbours of all species between 1.2 and 4.8 Å."""
    rng = np.random.default_rng(seed)
    v = rng.standard_normal((n, 3))
    v *= (rng.uniform(1.2, 4.8, n) / np.linalg.norm(v, axis=1))[:, None]
    symbols = [species[-1]] + [species[i % len(species)] for i in range(n)]
    return Atoms(symbols, np.vstack([[0, 0, 0], v]))


@pytest.mark.parametrize("l", [(1, 1, 0), (1, 1, 1), (2, 1, 3), (3, 2, 2), (4, 3, 5), (2, 2, 5)])
def test_clebsch_gordan_coefficients(l):
    table = clebsch_gordan(*l)
    for (i, j, k), value in np.ndenumerate(table):
        m1, m2, m = i - l[0], j - l[1], k - l[2]
        assert value == pytest.approx(float(exact_clebsch_gordan(*l, m1, m2, m)), abs=1e-15)


def test_real_couplings_rotate_like_harmonics():
    rotation = Rotation.random(random_state=1).as_matrix()
    d = [wigner_matrix(l, rotation) for l in range(5)]
    for l1, l2, l in COUPLINGS:
        c = real_clebsch_gordan(l1, l2, l)
        before = np.einsum("abm,nm->abn", c, d[l])
        after = np.einsum("ijn,ia,jb->abn", c, d[l1], d[l2])
        assert np.abs(after - before).max() < 1e-12
        assert np.abs(np.einsum("ijm,ijn->mn", c, c) - np.eye(2 * l + 1)).max() < 1e-14
    assert np.abs(real_clebsch_gordan(2, 2, 0)[..., 0] - np.eye(5) / math.sqrt(5)).max() < 1e-15


def symmetric_character(l, k, angle):
    """Character of the k-th symmetric power of the representation l, by Newton's identities."""
    p = [1 + 2 * sum(np.cos(j * m * angle) for m in range(1, l + 1)) for j in range(1, k + 1)]
    h = [np.ones_like(angle)]
    for n in range(1, k + 1):
        h.append(sum(p[j - 1] * h[n - j] for j in range(1, n + 1)) / n)
    return h[k]


def number_of_invariants(labels):
    """Even invariants among the products of A with these labels (l, ...), by averaging characters over rotations."""
    if sum(label[0] for label in labels) % 2:
        return 0
    angle = (np.arange(200) + 0.5) * np.pi / 200
    character = 1 - np.cos(angle)
    for label in set(labels):
        character = character * symmetric_character(label[0], labels.count(label), angle)
    mean = character.mean()
    assert abs(mean - round(mean)) < 1e-9
    return round(mean)


def test_number_of_independent_functions_is_that_of_group_theory():
    checked = 0
    for n_factors, l_max in ((1, 2), (2, 5), (3, 5), (4, 3)):
        for ls in itertools.combinations_with_replacement(range(l_max + 1), n_factors):
            for marks in itertools.product(range(min(n_factors, 3)), repeat=n_factors):
                labels = sorted(zip(ls, marks, strict=True))
                classes = tuple(labels.index(label) for label in labels)
                kept = independent_couplings(tuple(label[0] for label in labels), classes)
                assert len(kept) == number_of_invariants(labels), labels
                checked += 1
    assert checked > 3000


def counts(*arguments):
    functions = list(cluster_functions(*arguments))
    assert len(set(functions)) == len(functions)
    return [sum(len(f.factors) == n for f in functions) for n in range(1, len(arguments[1]) + 1)]


def test_published_numbers_of_functions():
    # FitSNAP, examples/Ta_PACE, Ta_pot.acecoeff of 17 October 2022: B[1]-B[22], B[23]-B[28], B[29]-B[38].
    assert counts(1, (22, 2, 2), (0, 1, 1), (0, 2, 2)) == [22, 6, 10]
    # pyscal, documentation of ACE descriptors: 4 and 70 functions for n_max = 4, l_max = 6.
    assert counts(1, (4, 4), (0, 0), (0, 6)) == [4, 70]
    # A power spectrum of K = 2 * 3 densities has K (K + 1) / 2 numbers for every l.
    assert counts(2, (1, 3), (0, 0), (0, 4)) == [2, 5 * 21]


@pytest.mark.parametrize(
    ("species", "settings"),
    [
        (["Si"], {"n_max": [4, 3, 2, 2], "l_min": [0, 0, 0, 0], "l_max": [0, 3, 3, 3]}),
        (["O", "Si"], {"n_max": [3, 2, 1, 1], "l_min": [0, 0, 0, 0], "l_max": [0, 2, 2, 2]}),
        (
            ["O", "Si"],
            {
                "n_max": [3, 2, 1, 1],
                "l_min": [0, 0, 1, 1],
                "l_max": [0, 2, 2, 2],
                "radial": "spherical_bessel",
            },
        ),
    ],
)
def test_functions_are_linearly_independent(species, settings):
    d = ACE(species, **settings)
    rng = np.random.default_rng(0)
    n = 2 * d.n_features
    a = [torch.from_numpy(rng.standard_normal((n, *e.shape))) for e in d.expansions]
    features = d.invariants(a, 0).numpy()
    singular = np.linalg.svd(features / np.abs(features).max(axis=0), compute_uv=False)
    assert singular[-1] > 1e-3 * singular[0]


def test_functions_are_independent_on_neighbourhoods():
    species = ["O", "Si"]
    d = ACE(species, n_max=[3, 2, 1, 1], l_min=[0, 0, 1, 1], l_max=[0, 2, 2, 2])
    assert d.n_features > 50
    features = np.array([d.compute(environment(species, 12, seed))[0] for seed in range(2 * d.n_features)])
    singular = np.linalg.svd(features / np.abs(features).max(axis=0), compute_uv=False)
    assert singular[-1] > 1e-7 * singular[0]


@pytest.mark.parametrize("radial", ["chebyshev_exponential", "spherical_bessel"])
def test_rotation_and_reflection(radial):
    species = ["O", "Si"]
    d = ACE(species, radial=radial, n_max=[3, 2, 2, 1], l_min=[0, 0, 0, 0], l_max=[0, 3, 3, 3])
    atoms = environment(species, 9, 0)
    expected = d.compute(atoms)
    atoms.positions = -atoms.positions @ Rotation.random(random_state=2).as_matrix()
    assert np.abs(d.compute(atoms) - expected).max() < 1e-12 * np.abs(expected).max()


def complex_coefficients(d, atoms):
    """A_(s n l m) = sum_j R_n Y_lm of scipy's complex harmonics, as a dictionary of arrays over m = -l ... l."""
    vectors = atoms.positions[1:]
    r = np.linalg.norm(vectors, axis=1)
    theta, phi = np.arccos(vectors[:, 2] / r), np.arctan2(vectors[:, 1], vectors[:, 0])
    e = d.expansions[-1]
    values = np.array(e.radial(r))
    of = [np.array([a.number == z for a in atoms[1:]]) for z in d.species]
    return {
        (l, s, n): np.array(
            [(values[n] * special.sph_harm_y(l, m, theta, phi))[of[s]].sum() for m in range(-l, l + 1)]
        )
        for l in range(e.l_max + 1)
        for s in range(d.n_species)
        for n in range(e.radial.n_radial)
    }


def couple(x, y, l):
    """(x y)_l by the exact complex coefficients."""
    l1, l2 = (len(x) - 1) // 2, (len(y) - 1) // 2
    z = np.zeros(2 * l + 1, dtype=complex)
    for i, j in itertools.product(range(2 * l1 + 1), range(2 * l2 + 1)):
        m1, m2 = i - l1, j - l2
        if abs(m1 + m2) <= l:
            z[m1 + m2 + l] += float(exact_clebsch_gordan(l1, l2, l, m1, m2, m1 + m2)) * x[i] * y[j]
    return z


def test_values_are_those_of_complex_harmonics():
    species = ["O", "Si"]
    d = ACE(species, n_max=[2, 2, 1, 1], l_min=[0, 0, 0, 0], l_max=[0, 2, 2, 2])
    atoms = environment(species, 7, 3)
    a, got = complex_coefficients(d, atoms), d.compute(atoms)[0]
    rng = np.random.default_rng(0)
    many = [i for i, f in enumerate(d.functions) if len(f.factors) > 2]
    chosen = [i for i, f in enumerate(d.functions) if len(f.factors) < 3] + list(
        rng.choice(many, 60, replace=False)
    )
    assert any(d.functions[i].coupling % 2 for i in chosen)
    for i in chosen:
        factors, coupling = d.functions[i]
        x = [a[f] for f in factors]
        if len(x) == 1:
            expected = x[0]
        elif len(x) == 2:
            expected = couple(*x, 0)
        elif len(x) == 3:
            expected = couple(couple(x[0], x[1], coupling), x[2], 0) * math.sqrt(2 * coupling + 1)
        else:
            pairs = couple(x[0], x[1], coupling), couple(x[2], x[3], coupling)
            expected = couple(*pairs, 0) * math.sqrt(2 * coupling + 1)
        assert abs(expected[0].imag) < 1e-13
        # The sign of a coupling of real harmonics is a convention.
        assert abs(got[i]) == pytest.approx(abs(expected[0]), rel=1e-11, abs=1e-13), d.feature_names[i]


def test_steps_are_the_full_contraction():
    d = ACE(["Si"], n_max=[2, 2, 2, 2], l_min=[0, 0, 0, 0], l_max=[0, 2, 2, 2])
    rng = np.random.default_rng(1)
    a = rng.standard_normal(d.expansions[0].shape)
    got = d.invariants([torch.from_numpy(a[None])], 0)[0].numpy()
    letters = "abcd"
    for value, (factors, coupling) in zip(got, d.functions, strict=True):
        tensor = coupling_tensor([f.l for f in factors], coupling)
        x = [a[f.channel, f.n, f.l**2 : (f.l + 1) ** 2] for f in factors]
        subscripts = ",".join(letters[: len(x)])
        expected = np.einsum(f"{letters[: len(x)]},{subscripts}->", tensor, *x)
        assert value == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_chebyshev_functions():
    r, cutoff, decay = np.linspace(0.3, 6.0, 40), 5.0, 1.7
    got = np.array(chebyshev_exponential(r, cutoff, 5, decay))
    x = 1 - 2 * np.expm1(-decay * (r / cutoff - 1)) / np.expm1(decay)
    cut = np.where(r < cutoff, 0.5 * (1 + np.cos(np.pi * r / cutoff)), 0)
    expected = [cut] + [0.5 * (1 - special.eval_chebyt(k, x)) * cut for k in range(1, 5)]
    assert np.abs(got - expected).max() < 1e-14
    assert np.array_equal(chebyshev_exponential(r, cutoff, 1, decay)[0], got[0])


def test_bessel_functions_are_orthonormal_and_vanish_smoothly():
    x, w = np.polynomial.legendre.leggauss(80)
    cutoff = 4.2
    r, w = 0.5 * cutoff * (x + 1), 0.5 * cutoff * w
    g = np.array(spherical_bessel(r, cutoff, 7))
    assert np.abs((g * w * r**2) @ g.T - np.eye(7)).max() < 1e-12
    outside = spherical_bessel(Dual(np.array([cutoff - 1e-7, cutoff, 9.0]), np.ones(3)), cutoff, 7)
    assert all(np.abs(f.value).max() < 1e-11 and np.abs(f.tangent).max() < 1e-4 for f in outside)


@pytest.mark.parametrize("radial", ["chebyshev_exponential", "spherical_bessel"])
def test_radial_functions_in_kernels(radial):
    basis = ACE(["Si"], radial=radial).expansions[0].radial

    def kernel(k, r, out):
        del k
        for n, value in enumerate(basis(r[0])):
            out[n] = value

    r, out = np.array([[0.7, 1.5, 4.99, 5.0, 9.0]]), np.zeros((basis.n_radial, 5))
    interpret(trace("radial", {"r": "rows", "out": "rows"}, 64, kernel), 5, {"r": r, "out": out})
    assert np.abs(out - np.array(basis(r[0]))).max() < 1e-13


def test_only_radial_functions_and_one_body_order():
    d = ACE(["O", "Si"], n_max=[3], l_min=[0], l_max=[0])
    assert d.feature_names == ["O1l0", "O2l0", "O3l0", "Si1l0", "Si2l0", "Si3l0"]
    two = ACE(["Si"], n_max=[1, 2], l_min=[0, 1], l_max=[0, 1])
    assert two.feature_names == ["Si1l0", "Si1l1 Si1l1", "Si1l1 Si2l1", "Si2l1 Si2l1"]
    assert two.shared
    assert two.compute(environment(["Si"], 4, 0)).shape == (5, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_max": [4, 3]}, "need the same number of entries.* got 2, 4 and 4"),
        ({"n_max": [4], "l_min": [0], "l_max": [1]}, "first entry of `l_min` and `l_max` must be 0"),
        ({"n_max": [4, 4], "l_min": [0, 3], "l_max": [0, 2]}, "`l_min` must be <= `l_max`, got 3 > 2 for 2"),
        ({"n_max": [1] * 5, "l_min": [0] * 5, "l_max": [0] * 5}, "at most 4"),
        ({"n_max": [8, 8, 8, 8], "l_max": [0, 6, 6, 6]}, "more than 50000 functions for 1 elements"),
        ({"radial": "gaussian"}, "chebyshev_exponential"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_descriptor({"kind": "ace", **settings}, ["Si"])
