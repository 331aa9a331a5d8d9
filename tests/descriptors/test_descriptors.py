"""Descriptors: SO(3) against direct quadrature, names, settings, the registry."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy import special

from forgefield.descriptors import DESCRIPTORS, NEP, SO3, make_descriptor, parse_settings
from forgefield.errors import ConfigError, UnknownSpeciesError

CUTOFF, ALPHA, N_MAX, L_MAX = 3.5, 2.0, 2, 3


def quadrature(n_radial=48, n_polar=28, n_azimuth=56):
    """Points (n, 3), their spherical coordinates and weights of the integral over the ball of radius CUTOFF."""
    x, wx = np.polynomial.legendre.leggauss(n_radial)
    z, wz = np.polynomial.legendre.leggauss(n_polar)
    r = 0.5 * CUTOFF * (x + 1)
    phi = 2 * np.pi * np.arange(n_azimuth) / n_azimuth
    r, theta, phi = (g.ravel() for g in np.meshgrid(r, np.arccos(z), phi, indexing="ij"))
    weights = np.einsum("i,j->ij", 0.5 * CUTOFF * wx, wz).repeat(n_azimuth) * (2 * np.pi / n_azimuth) * r * r
    points = np.stack(
        [r * np.sin(theta) * np.cos(phi), r * np.sin(theta) * np.sin(phi), r * np.cos(theta)], axis=1
    )
    return points, r, theta, phi, weights


def orthonormal_basis(r):
    x, w = np.polynomial.legendre.leggauss(48)
    x, w = 0.5 * CUTOFF * (x + 1), 0.5 * CUTOFF * w
    powers = np.arange(1, N_MAX + 1)[:, None] + 2
    phi = (CUTOFF - x) ** powers
    norm = np.sqrt((w * x * x * phi**2).sum(axis=1, keepdims=True))
    values, vectors = np.linalg.eigh((w * x * x * phi / norm) @ (phi / norm).T)
    return (vectors @ np.diag(values**-0.5) @ vectors.T) @ ((CUTOFF - r) ** powers / norm)


def direct_power_spectrum(neighbours):
    """c_nlm by integrating g_n Y*_lm times the density of Gaussians in space; P = sum_m c c*."""
    points, r, theta, phi, weights = quadrature()
    density = np.zeros(len(points))
    for x in neighbours:
        d = np.linalg.norm(x)
        fc = 0.5 * (1 + np.cos(np.pi * d / CUTOFF))
        density += fc * np.exp(-ALPHA * ((points - x) ** 2).sum(axis=1))
    g = orthonormal_basis(r)
    spectrum = []
    for l in range(L_MAX + 1):
        y = np.array([special.sph_harm_y(l, m, theta, phi) for m in range(-l, l + 1)])
        c = np.einsum("np,mp,p->nm", g, y.conj(), weights * density, optimize=True)
        p = np.einsum("am,bm->ab", c, c.conj())
        assert np.abs(p.imag).max() < 1e-12 * np.abs(p).max()
        spectrum += [p.real[a, b] for a in range(N_MAX) for b in range(a, N_MAX)]
    return np.array(spectrum)


def test_so3_is_the_integral_over_space():
    neighbours = np.array([[1.1, 0.4, -0.6], [-0.9, 1.5, 0.7], [0.3, -1.0, 2.4]])
    atoms = Atoms("Si4", np.vstack([[0, 0, 0], neighbours]))
    descriptor = SO3(["Si"], cutoff=CUTOFF, alpha=ALPHA, n_max=N_MAX, l_max=L_MAX)
    got = descriptor.compute(atoms)[0]
    expected = direct_power_spectrum(neighbours)
    assert got.shape == expected.shape == (12,)
    assert np.abs(got - expected).max() < 1e-9 * np.abs(expected).max()


def test_so3_weighted_by_atomic_number():
    atoms = Atoms("SiSi", [[0, 0, 0], [0, 0, 2.0]])
    mixed = Atoms("SiO", [[0, 0, 0], [0, 0, 2.0]])
    weighted = SO3(["Si", "O"], cutoff=CUTOFF, species_weighting="atomic_number")
    ratio = weighted.compute(mixed)[0] / weighted.compute(atoms)[0]
    assert np.allclose(ratio, (8 / 14) ** 2, rtol=1e-12)


def test_so3_resolves_elements():
    d = SO3(["Si", "O"], cutoff=CUTOFF, n_max=1, l_max=0)
    assert d.feature_names == ["O1 O1 l0", "O1 Si1 l0", "Si1 Si1 l0"]
    features = d.compute(Atoms("SiO", [[0, 0, 0], [0, 0, 2.0]]))
    assert features[0, 0] > 0
    assert (features[0, 1:] == 0).all()
    assert (features[1, :2] == 0).all()


def test_nep_features_are_the_sums_of_the_definition():
    d = NEP(["O", "Si"], n_max_radial=2, n_max_angular=1, basis_size_radial=3, basis_size_angular=2, l_max=2)
    d.double()
    atoms = Atoms("SiOSi", [[0, 0, 0], [1.4, 0.8, 0], [0, 2.1, 1.3]])
    got = d.compute(atoms)[0]
    names = d.feature_names
    assert len(names) == len(got) == 3 + 2 * 2 + 2 + 2

    def radial(r, k):
        x = 2 * (r / 5.0 - 1) ** 2 - 1
        return (special.eval_chebyt(k, x) + 1) / 2 * 0.5 * (1 + np.cos(np.pi * r / 5.0))

    vectors = atoms.positions[1:]
    r = np.linalg.norm(vectors, axis=1)
    neighbours = [0, 1]  # O, Si
    c_radial = d.c_radial.detach().numpy().reshape(2, 2, 4, 3)[1]
    c_angular = d.c_angular.detach().numpy().reshape(2, 2, 3, 2)[1]
    for n in range(3):
        expected = sum(
            c_radial[s, k, n] * radial(x, k) for s, x in zip(neighbours, r, strict=True) for k in range(4)
        )
        assert got[names.index(f"n{n}")] == pytest.approx(expected, rel=1e-12)
    g = [
        [sum(c_angular[s, k, n] * radial(x, k) for k in range(3)) for s, x in zip(neighbours, r, strict=True)]
        for n in range(2)
    ]
    unit = vectors / r[:, None]
    for n in range(2):
        for l in (1, 2):
            # Addition theorem: sum_m |S_lm|^2 = (2l + 1) / 4 pi sum_jk g_j g_k P_l(cos theta_jk).
            legendre = special.eval_legendre(l, np.clip(unit @ unit.T, -1, 1))
            expected = (2 * l + 1) / (4 * np.pi) * np.einsum("j,k,jk->", g[n], g[n], legendre)
            assert got[names.index(f"n{n} l{l}")] == pytest.approx(expected, rel=1e-12)


def test_nep_with_shared_and_separate_expansions_agree():
    settings = {"n_max_radial": 3, "n_max_angular": 2, "basis_size_radial": 4, "l_max": 3}
    shared = NEP(["Si"], basis_size_angular=4, **settings)
    separate = NEP(["Si"], basis_size_angular=4, cutoff_radial=5.0, cutoff_angular=5.0 - 1e-9, **settings)
    assert (len(shared.expansions), len(separate.expansions)) == (1, 2)
    separate.load_state_dict(shared.state_dict())
    atoms = bulk("Si") * (2, 1, 1)
    atoms.rattle(0.1, seed=0)
    assert np.allclose(shared.double().compute(atoms), separate.double().compute(atoms), rtol=1e-7)


@pytest.mark.parametrize("kind", DESCRIPTORS)
def test_every_descriptor(kind):
    d = make_descriptor({"kind": kind}, ["O", 14])
    assert d.species == (8, 14)
    assert len(d.feature_names) == d.n_features == len(set(d.feature_names))
    atoms = Atoms("SiOO", [[0, 0, 0], [1.6, 0, 0.2], [0.1, -1.5, 1.0]])
    assert d.compute(atoms).shape == (3, d.n_features)
    alone = d.compute(Atoms("Si"))
    assert np.abs(alone).max() < 1e-11
    with pytest.raises(UnknownSpeciesError, match="C"):
        d.compute(Atoms("C"))
    again = parse_settings(d.settings.model_dump())
    assert again == d.settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "nepp"}, "did you mean 'nep'"),
        ({}, "`descriptor.kind` is None"),
        ({"kind": "nep", "lmax": 3}, r"unknown setting `descriptor.lmax`.*did you mean 'l_max'"),
        ({"kind": "so3", "cutoff": -1}, "`descriptor.cutoff`: .*greater than 0.*got -1"),
        ({"kind": "nep", "cutoff_radial": 4, "cutoff_angular": 5}, "must not exceed"),
        ({"kind": "nep", "l_max": 1}, "needs `l_max` >= 2"),
        ({"kind": "so3", "n_max": "three"}, "`descriptor.n_max`.*'three'"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_descriptor(settings, ["Si"])


@pytest.mark.parametrize(("species", "message"), [([], "empty"), (["Xx"], "'Xx'"), ([0], "0")])
def test_species_are_checked(species, message):
    with pytest.raises(ConfigError, match=message):
        NEP(species)
