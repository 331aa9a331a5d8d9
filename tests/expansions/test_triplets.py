"""The expansion over pairs of neighbours: the definition, the torch backend against NumPy, derivatives, padding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from forgefield.descriptors import ACSF
from forgefield.expansions import TripletExpansion, numpy_backend, torch_backend, torch_triplets
from forgefield.expansions.fitted import FittedFactors, value, value_and_slope
from forgefield.expansions.triplets import FactoredBasis, pair_channels, product_channel
from forgefield.formulas.symmetry_functions import triplet_functions
from forgefield.testing.computation import measure_backend, measure_derivatives, random_pairs


@dataclass(frozen=True)
class Basis:
    cutoff: float
    near: tuple[tuple[float, float, float], ...] = ()
    wide: tuple[tuple[float, float, float], ...] = ()

    @property
    def n_functions(self):
        return len(self.near) + len(self.wide)

    @property
    def reach(self):
        return float("inf") if self.wide else self.cutoff

    def __call__(self, r_ij, r_ik, r_jk):
        return triplet_functions(r_ij, r_ik, r_jk, self.cutoff, self.near, self.wide)


G4 = ((0.01, 1.0, 1.0), (0.01, 4.0, -1.0), (0.2, 3.5, 1.0))
G5 = ((0.0, 2.0, -1.0), (0.1, 1.5, 0.5))
EXPANSIONS = {
    "one element": TripletExpansion(Basis(4.0, near=G4), 4.0, pair_channels(1)),
    "pairs of elements": TripletExpansion(Basis(4.0, near=G4, wide=G5), 4.0, pair_channels(3)),
    "far neighbours": TripletExpansion(Basis(3.0, wide=G5), 3.0, pair_channels(2)),
    "weighted": TripletExpansion(Basis(4.0, near=G4), 4.0, product_channel((8.0, 14.0))),
    "two weights": TripletExpansion(
        Basis(4.0, near=G4, wide=G5), 4.0, (((1.0, 0.5), (2.0, -1.0)), ((2.0, -1.0), (3.0, 0.0)))
    ),
}


@pytest.mark.parametrize("name", EXPANSIONS)
def test_values_are_the_sum_over_pairs_of_neighbours(name):
    """Written as the definition: one pair, one function at a time, the angle from the vectors."""
    e = EXPANSIONS[name]
    vectors, species = random_pairs(e, 2, 5, np.random.default_rng(0))
    a = np.zeros((2, *e.shape))
    for i in range(2):
        for j in range(5):
            for k in range(j):
                v, w = vectors[i, j], vectors[i, k]
                r, s, t = np.linalg.norm(v), np.linalg.norm(w), np.linalg.norm(w - v)
                if max(r, s) >= e.cutoff:
                    continue

                def cut(d):
                    return 0.5 * (1 + np.cos(np.pi * d / e.cutoff)) if d < e.cutoff else 0.0

                cosine, weights = v @ w / (r * s), np.array(e.channels[species[i, j]][species[i, k]])
                for q, (eta, zeta, lam) in enumerate((*e.basis.near, *e.basis.wide)):
                    angle = 2 ** (1 - zeta) * (1 + lam * cosine) ** zeta * cut(r) * cut(s)
                    near = np.exp(-eta * (r * r + s * s + t * t)) * cut(t)
                    wide = np.exp(-eta * (r * r + s * s))
                    a[i, :, q, 0] += weights * angle * (near if q < len(e.basis.near) else wide)
    assert (a != 0).any()
    assert np.allclose(numpy_backend.forward(e, vectors, species), a, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", EXPANSIONS)
@pytest.mark.parametrize(("n_atoms", "width"), [(1, 2), (3, 5), (2, 17)])
def test_torch_is_numpy(name, n_atoms, width):
    measured = list(measure_backend(EXPANSIONS[name], n_atoms, width))
    assert len(measured) == 4
    assert [m for m in measured if not m.passed] == []


@pytest.mark.parametrize("name", EXPANSIONS)
def test_derivatives_twice(name):
    measured = list(measure_derivatives(EXPANSIONS[name]))
    assert len(measured) == 2
    assert [m for m in measured if not m.passed] == []


def test_any_slicing_gives_the_same(monkeypatch):
    e = EXPANSIONS["pairs of elements"]
    vectors, species = random_pairs(e, 3, 9, np.random.default_rng(1))
    x, s = torch.from_numpy(vectors).requires_grad_(), torch.from_numpy(species)
    a_bar = torch.from_numpy(np.random.default_rng(2).standard_normal((3, *e.shape))).requires_grad_()

    def everything():
        a = torch_backend.expand(e, x, s)
        g = torch_backend.pull_back(e, x, s, a_bar)
        return (a.detach(), g.detach(), *torch.autograd.grad((g**2).sum(), (x, a_bar)))

    whole = everything()
    monkeypatch.setattr(torch_triplets, "SLICE", 7)
    for got, expected in zip(everything(), whole, strict=True):
        assert torch.allclose(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", EXPANSIONS)
def test_single_precision(name):
    e = EXPANSIONS[name]
    vectors, species = random_pairs(e, 3, 6, np.random.default_rng(3))
    a_bar = np.random.default_rng(4).standard_normal((3, *e.shape))
    x, s = torch.from_numpy(vectors).float(), torch.from_numpy(species)
    g = torch_backend.geometry(e, x, s)
    values = torch_backend.forward(e, g)
    gradient = torch_backend.vjp(e, g, torch.from_numpy(a_bar).float())
    assert values.dtype == gradient.dtype == torch.float32
    exact = numpy_backend.forward(e, vectors, species)
    exact_gradient = numpy_backend.vjp(e, vectors, species, a_bar)
    assert np.abs(values.numpy() - exact).max() < 1e-5 * np.abs(exact).max()
    assert np.abs(gradient.numpy() - exact_gradient).max() < 2e-5 * np.abs(exact_gradient).max()


@pytest.mark.parametrize("name", EXPANSIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 3])
def test_padding_adds_exactly_nothing(name, dtype, width):
    e = EXPANSIONS[name]
    x = torch.zeros((2, width, 3), dtype=dtype)
    x[..., 0] = 2.0 * e.cutoff
    x[0, 0, 0] = 0.5 * e.cutoff  # one neighbour alone makes no pair
    species = torch.zeros((2, width), dtype=torch.int64)
    g = torch_backend.geometry(e, x, species)
    assert len(g.target) == 0
    assert (torch_backend.forward(e, g) == 0).all()
    assert (torch_backend.vjp(e, g, torch.ones((2, *e.shape), dtype=dtype)) == 0).all()
    assert (numpy_backend.forward(e, x.double().numpy(), species.numpy()) == 0).all()


def test_atoms_in_a_line():
    """Where 1 - cos or 1 + cos vanishes even fractional powers have finite derivatives."""
    e = EXPANSIONS["far neighbours"]
    x = torch.tensor([[[1.5, 0, 0], [-1.6, 0, 0], [1.0, 0, 0]]], dtype=torch.float64)
    species = torch.zeros((1, 3), dtype=torch.int64)
    for dtype in (torch.float32, torch.float64):
        y = x.to(dtype).requires_grad_()
        a = torch_backend.expand(e, y, species)
        (first,) = torch.autograd.grad((a**2).sum(), y, create_graph=True)
        (second,) = torch.autograd.grad((first**2).sum(), y)
        assert all(torch.isfinite(v).all() for v in (a, first, second))


def test_no_atoms_at_all():
    e = EXPANSIONS["one element"]
    x, s = torch.zeros((0, 4, 3), dtype=torch.float64), torch.zeros((0, 4), dtype=torch.int64)
    assert torch_backend.expand(e, x, s).shape == (0, *e.shape)
    assert torch_backend.pull_back(e, x, s, torch.zeros((0, *e.shape), dtype=torch.float64)).shape == x.shape


def test_a_third_derivative_raises():
    e = EXPANSIONS["one element"]
    vectors, species = random_pairs(e, 1, 4, np.random.default_rng(5))
    x = torch.from_numpy(vectors).requires_grad_()
    a = torch_backend.expand(e, x, torch.from_numpy(species))
    (first,) = torch.autograd.grad((a**2).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="a third was asked for"):
        torch.autograd.grad(second.sum(), x)


def test_channels():
    assert pair_channels(2) == (((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    assert product_channel((2.0, 3.0)) == (((4.0,), (6.0,)), ((6.0,), (9.0,)))
    assert [e.shape for e in EXPANSIONS.values()] == [(1, 3, 1), (6, 5, 1), (3, 2, 1), (1, 3, 1), (2, 5, 1)]
    assert [e.n_species for e in EXPANSIONS.values()] == [1, 3, 2, 2, 2]


G4_AND_G5 = {
    "g4": [{"etas": [0.0, 0.1], "zetas": [1, 2.5]}],
    "g5": [{"etas": [0.1, 0.3], "zetas": [1.5], "lambdas": [0.5]}],
}


@pytest.mark.parametrize(
    "settings", [{}, {"preset": "behler"}, {"cutoff_function": "exponential"}, G4_AND_G5]
)
def test_factors_make_the_functions(settings):
    basis = ACSF(["Si"], **settings)._triplets
    assert isinstance(basis, FactoredBasis)
    rng = np.random.default_rng(6)
    j, k = rng.uniform(-3, 3, (2, 40, 3))
    r, s, t = (np.linalg.norm(v, axis=-1) for v in (j, k, k - j))
    angles = basis.angles((j * k).sum(axis=-1) / (r * s))
    sides = [a * b * c for a, b, c in zip(basis.sides(r), basis.sides(s), basis.thirds(t), strict=True)]
    got = [sides[e] * angles[a] for e, a in basis.factors]
    assert np.allclose(got, basis(r, s, t), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(("bits", "allowed"), [(64, 3e-15), (32, 5e-8)])
@pytest.mark.parametrize("settings", [{}, {"preset": "behler", "cutoff": 6.0}])
def test_fitted_factors(settings, bits, allowed):
    basis = ACSF(["Si"], **settings)._triplets
    fitted = FittedFactors.of(basis.thirds, basis.third_reach, bits)
    r = np.linspace(0.0, fitted.reach, 1001)
    y = 2.0 * (r / fitted.reach) ** 2 - 1.0
    for c, expected in zip(fitted.coefficients, basis.thirds(r), strict=True):
        assert np.abs((1.0 - y) ** 2 * value(c, y) - expected).max() < allowed * expected.max()


def test_what_no_polynomial_fits():
    """Functions with a kink, or that do not vanish at the reach with their slope."""
    for function in (abs, lambda r: 1.0 - r, lambda r: (1.0 - r) ** 3):
        assert FittedFactors.of(lambda r, f=function: [f(r - 0.5)], 1.0, 64) is None
    assert FittedFactors.of(lambda r: [1.0, (1.0 - r * r) ** 2], 1.0, 64).coefficients[0] is None


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_value_and_slope(n):
    polynomial = np.polynomial.Polynomial(np.random.default_rng(n).standard_normal(n))
    for x in (-0.7, 0.0, 1.3):
        got, slope = value_and_slope(polynomial.coef.tolist(), [x**p for p in range(max(n, 2))])
        assert abs(got - polynomial(x)) < 1e-13
        assert abs(slope - polynomial.deriv()(x)) < 1e-12
