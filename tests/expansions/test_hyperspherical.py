"""The hyperspherical expansion: Wigner matrices against the exponential of angular momenta, backends, switches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from sympy.physics.wigner import clebsch_gordan as exact_clebsch_gordan

from forgefield.expansions import HypersphericalExpansion, numpy_backend, torch_backend
from forgefield.formulas.wigner import (
    clebsch_gordan,
    component_norms,
    components,
    n_diagonal,
    sphere_point,
    wigner_functions,
)
from forgefield.testing.computation import measure_backend, measure_derivatives, random_pairs

INNER = (((1.5, 0.4), (1.4, 0.3)), ((1.4, 0.3), (1.3, 0.3)))
TWO = ((4.0, 3.5), (3.5, 3.0))
EXPANSIONS = {
    "scalar": HypersphericalExpansion(0, ((4.0,),), ((1.0,),)),
    "smallest": HypersphericalExpansion(1, ((4.0,),), ((1.0,),)),
    "even": HypersphericalExpansion(6, ((4.0,),), ((1.0,),)),
    "odd, start of the angle": HypersphericalExpansion(5, ((4.0,),), ((1.0,),), rfac0=0.8, rmin0=1.2),
    "two elements": HypersphericalExpansion(4, TWO, ((1.0,), (-0.7,))),
    "density for each element": HypersphericalExpansion(3, TWO, ((1.0, 0.0), (0.0, 0.7)), inner=INNER),
    "no switch": HypersphericalExpansion(3, TWO, ((1.0,), (0.7,)), switch=False),
    "inner switch alone": HypersphericalExpansion(2, TWO, ((1.0,), (0.7,)), switch=False, inner=INNER),
}


@pytest.mark.parametrize("name", EXPANSIONS)
@pytest.mark.parametrize(("n_atoms", "width"), [(1, 1), (3, 5), (2, 17)])
def test_torch_is_numpy(name, n_atoms, width):
    measured = list(measure_backend(EXPANSIONS[name], n_atoms, width))
    assert len(measured) == 4
    assert [m for m in measured if not m.passed] == []


@pytest.mark.parametrize("name", EXPANSIONS)
def test_derivatives_twice(name):
    measured = list(measure_derivatives(EXPANSIONS[name]))
    assert len(measured) == 2
    assert [m for m in measured if not m.passed] == []


@pytest.mark.parametrize("name", ["even", "density for each element"])
def test_atoms_in_pieces(name, monkeypatch):
    e = EXPANSIONS[name]
    whole = [m.deviation for m in measure_backend(e, 5, 3)]
    monkeypatch.setattr("forgefield.expansions.torch_hyperspherical.NUMBERS_PER_CHUNK", 1)
    pieces = list(measure_backend(e, 5, 3))
    assert len(pieces) == len(whole) == 4
    assert all(m.passed for m in pieces)
    assert all(m.passed for m in measure_derivatives(e))


@pytest.mark.parametrize("name", EXPANSIONS)
@pytest.mark.parametrize("chunk", [1, 1 << 19])
def test_many_gradients_at_once(name, chunk, monkeypatch):
    e = EXPANSIONS[name]
    vectors, species = (torch.from_numpy(x) for x in random_pairs(e, 3, 4, np.random.default_rng(7)))
    g = torch_backend.geometry(e, vectors, species, torch.arange(3) % e.n_species)
    bars = torch.randn((5, 3, *e.shape), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([torch_backend.vjp(e, g, bar) for bar in bars])
    monkeypatch.setattr("forgefield.expansions.torch_hyperspherical.NUMBERS_PER_CHUNK", chunk)
    assert torch.allclose(torch_backend.vjp_many(e, g, bars), expected, rtol=1e-12, atol=1e-12)


def matrix(values, two_j_max, two_j):
    """The full matrix U^j from its independent numbers."""
    u = np.zeros((two_j + 1, two_j + 1), dtype=complex)
    for c, value, norm in zip(components(two_j_max), values, component_norms(two_j_max), strict=True):
        if c.two_j == two_j:
            u[c.mb, c.ma] += norm * value * (1j if c.part else 1.0)
            mirror = two_j - c.mb, two_j - c.ma
            if mirror != (c.mb, c.ma):
                u[mirror] += (-1) ** (c.ma - c.mb) * norm * value * (-1j if c.part else 1.0)
    return u


def spin(two_j):
    """Return Jx, Jy, Jz in the basis of Jz from +j to -j."""
    m = np.arange(two_j, -two_j - 1, -2) / 2
    j = two_j / 2
    up = np.diag(np.sqrt(j * (j + 1) - m[1:] * (m[1:] + 1)), 1)
    return (up + up.T) / 2, (up - up.T) / 2j, np.diag(m)


@pytest.mark.parametrize("two_j", range(9))
def test_matrices_are_exponentials_of_angular_momenta(two_j):
    rng = np.random.default_rng(two_j)
    x, y, z = rng.standard_normal(3)
    x, y, z = np.array([x, y, z]) / np.linalg.norm([x, y, z])
    angle = 0.8
    u = matrix(wigner_functions(*sphere_point(x, y, z, angle), 8), 8, two_j)
    jx, jy, jz = spin(two_j)
    # For j = 1/2: conj(a) = cos + i z sin, -conj(b) = -(y + i x) sin in the first row.
    rotation = expm(2j * angle * (-x * jx - y * jy + z * jz))
    assert np.allclose(u, rotation, atol=1e-13)


def test_character():
    """The trace of U^j at polar angle t is sin((2j + 1) t) / sin t."""
    values = wigner_functions(*sphere_point(0.6, 0.0, 0.8, 0.7), 12)
    for two_j in range(13):
        expected = np.sin((two_j + 1) * 0.7) / np.sin(0.7)
        assert np.trace(matrix(values, 12, two_j)) == pytest.approx(expected, abs=1e-12)


def test_independent_numbers():
    for two_j_max in (0, 3, 8):
        found = components(two_j_max)
        assert len(found) == len(set(found)) == sum((n + 1) ** 2 for n in range(two_j_max + 1))
        n = n_diagonal(two_j_max)
        assert all(c.ma == c.mb and c.part == 0 for c in found[:n])
        assert not any(c.ma == c.mb and c.part == 0 for c in found[n:])


@pytest.mark.parametrize("two_js", [(0, 0, 0), (1, 1, 2), (2, 1, 3), (3, 2, 3), (4, 4, 6), (5, 2, 3)])
def test_clebsch_gordan_coefficients(two_js):
    table = clebsch_gordan(*two_js)
    j1, j2, j = (n / 2 for n in two_js)
    for p1, p2 in np.ndindex(*table.shape):
        m1, m2 = p1 - j1, p2 - j2
        expected = float(exact_clebsch_gordan(j1, j2, j, m1, m2, m1 + m2)) if abs(m1 + m2) <= j else 0.0
        assert table[p1, p2] == pytest.approx(expected, rel=1e-14, abs=1e-15)


def test_clebsch_gordan_coefficients_are_orthonormal_where_factorials_are_large():
    blocks = [clebsch_gordan(20, 14, two_j).ravel() for two_j in range(6, 35, 2)]
    overlap = np.array(blocks) @ np.array(blocks).T
    assert np.allclose(np.diag(overlap), np.arange(6, 35, 2) + 1, rtol=1e-13)


@pytest.mark.parametrize("name", EXPANSIONS)
def test_values_are_the_sum_over_neighbours(name):
    """Written as the definition: one neighbour at a time, with the switches of the papers."""
    e = EXPANSIONS[name]
    vectors, species = random_pairs(e, 2, 4, np.random.default_rng(0))
    centres = np.array([0, e.n_species - 1])
    a = np.zeros((2, *e.shape))
    for i, w in np.ndindex(2, 4):
        r = float(np.linalg.norm(vectors[i, w]))
        cutoff = e.cutoffs[centres[i]][species[i, w]]
        s = float(r < cutoff)
        if e.switch and r > e.rmin0:
            s *= 0.5 * (np.cos(np.pi * (r - e.rmin0) / (cutoff - e.rmin0)) + 1)
        if e.inner is not None:
            middle, half = e.inner[centres[i]][species[i, w]]
            s *= 0.5 * (1 - np.cos(np.pi / 2 + np.clip((r - middle) / half, -1, 1) * np.pi / 2))
        angle = e.rfac0 * np.pi * (r - e.rmin0) / (cutoff - e.rmin0)
        u = wigner_functions(*sphere_point(*(vectors[i, w] / r), angle), e.two_j_max)
        for c in range(e.n_channels):
            a[i, c, 0] += e.channels[species[i, w]][c] * s * np.array(u) * e.norms
    assert np.allclose(numpy_backend.forward(e, vectors, species, centres), a, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", EXPANSIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_padding_adds_exactly_nothing(name, dtype):
    e = EXPANSIONS[name]
    x = torch.zeros((2, 3, 3), dtype=dtype)
    x[..., 0] = 2.0 * e.cutoff
    g = torch_backend.geometry(e, x, torch.zeros((2, 3), dtype=torch.int64))
    assert (torch_backend.forward(e, g) == 0).all()
    assert (torch_backend.vjp(e, g, torch.ones((2, *e.shape), dtype=dtype)) == 0).all()


def test_single_precision():
    e = EXPANSIONS["even"]
    vectors, species = random_pairs(e, 3, 6, np.random.default_rng(1))
    a_bar = np.random.default_rng(2).standard_normal((3, *e.shape))
    x, s = torch.from_numpy(vectors).float(), torch.from_numpy(species)
    g = torch_backend.geometry(e, x, s)
    values, gradient = torch_backend.forward(e, g), torch_backend.vjp(e, g, torch.from_numpy(a_bar).float())
    assert values.dtype == gradient.dtype == torch.float32
    exact = numpy_backend.forward(e, vectors, species)
    exact_gradient = numpy_backend.vjp(e, vectors, species, a_bar)
    assert np.abs(values.numpy() - exact).max() < 1e-5 * np.abs(exact).max()
    assert np.abs(gradient.numpy() - exact_gradient).max() < 2e-5 * np.abs(exact_gradient).max()


def test_no_atoms_at_all():
    e = EXPANSIONS["even"]
    x, s = torch.zeros((0, 1, 3), dtype=torch.float64), torch.zeros((0, 1), dtype=torch.int64)
    assert torch_backend.expand(e, x, s).shape == (0, *e.shape)


def test_a_third_derivative_raises():
    e = EXPANSIONS["smallest"]
    vectors, species = random_pairs(e, 1, 3, np.random.default_rng(4))
    x = torch.from_numpy(vectors).requires_grad_()
    a = torch_backend.expand(e, x, torch.from_numpy(species))
    (first,) = torch.autograd.grad((a**2).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="a third was asked for"):
        torch.autograd.grad(second.sum(), x)
