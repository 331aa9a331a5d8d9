"""The torch expansion against the NumPy truth: values, both derivatives, number types, odd shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from forgefield.descriptors.nep import NEPRadial
from forgefield.descriptors.so3 import SO3Radial
from forgefield.expansions import SphericalExpansion, numpy_backend, torch_backend
from forgefield.expansions.spherical import identity_channels
from forgefield.testing.computation import measure_backend, measure_derivatives, random_pairs

EXPANSIONS = {
    "one element": SphericalExpansion(NEPRadial(4.0, 5), 4.0, 0, 4, identity_channels(1), unit_l0=True),
    "radial only": SphericalExpansion(NEPRadial(4.0, 5), 4.0, 0, 0, identity_channels(2), unit_l0=True),
    "without l = 0": SphericalExpansion(NEPRadial(3.0, 4), 3.0, 1, 3, identity_channels(3)),
    "own functions for each l": SphericalExpansion(
        SO3Radial(4.0, 3, 4, 2.0), 4.0, 0, 4, identity_channels(2)
    ),
    "one weighted density": SphericalExpansion(SO3Radial(4.0, 2, 3, 2.0), 4.0, 0, 3, ((1.0,), (2.5,))),
    "weighted elements": SphericalExpansion(NEPRadial(4.0, 3), 4.0, 0, 2, ((8.0, 1.0), (14.0, -0.5))),
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


@pytest.mark.parametrize("name", EXPANSIONS)
def test_values_are_the_sum_over_neighbours(name):
    """Written as the definition: one neighbour, one function, one harmonic at a time."""
    e = EXPANSIONS[name]
    vectors, species = random_pairs(e, 2, 4, np.random.default_rng(0))
    a = np.zeros((2, *e.shape))
    for i, w in np.ndindex(2, 4):
        r = float(np.linalg.norm(vectors[i, w]))
        radial, angular = e.radial(r), e.angular(*(vectors[i, w] / r))
        for c, k, m in np.ndindex(*e.shape):
            l = int(np.sqrt(m + e.l_min**2))
            function = radial[(l - e.l_min) * e.radial.n_radial + k] if e.radial.per_l else radial[k]
            a[i, c, k, m] += e.channels[species[i, w]][c] * function * angular[m]
    assert np.allclose(numpy_backend.forward(e, vectors, species), a, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", EXPANSIONS)
def test_single_precision(name):
    e = EXPANSIONS[name]
    vectors, species = random_pairs(e, 3, 6, np.random.default_rng(1))
    a_bar = np.random.default_rng(2).standard_normal((3, *e.shape))
    x, s = torch.from_numpy(vectors).float(), torch.from_numpy(species)
    g = torch_backend.geometry(e, x, s)
    values = torch_backend.forward(e, g)
    gradient = torch_backend.vjp(e, g, torch.from_numpy(a_bar).float())
    assert values.dtype == gradient.dtype == torch.float32
    exact = numpy_backend.forward(e, vectors, species)
    exact_gradient = numpy_backend.vjp(e, vectors, species, a_bar)
    assert np.abs(values.numpy() - exact).max() < 1e-5 * np.abs(exact).max()
    assert np.abs(gradient.numpy() - exact_gradient).max() < 2e-5 * np.abs(exact_gradient).max()


def test_memory_order_of_the_input_does_not_matter():
    e = EXPANSIONS["own functions for each l"]
    vectors, species = random_pairs(e, 4, 6, np.random.default_rng(3))
    x, s = torch.from_numpy(vectors), torch.from_numpy(species)
    strided = torch.from_numpy(np.asfortranarray(vectors))[::2, ::3]
    assert not strided.is_contiguous()
    got = torch_backend.expand(e, strided, s[::2, ::3])
    assert torch.equal(got, torch_backend.expand(e, x[::2, ::3].contiguous(), s[::2, ::3].contiguous()))


@pytest.mark.parametrize("name", EXPANSIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_padding_adds_exactly_nothing(name, dtype):
    e = EXPANSIONS[name]
    x = torch.zeros((2, 3, 3), dtype=dtype)
    x[..., 0] = 2.0 * e.cutoff
    species = torch.zeros((2, 3), dtype=torch.int64)
    g = torch_backend.geometry(e, x, species)
    assert (torch_backend.forward(e, g) == 0).all()
    assert (torch_backend.vjp(e, g, torch.ones((2, *e.shape), dtype=dtype)) == 0).all()


def test_no_atoms_at_all():
    e = EXPANSIONS["without l = 0"]
    x, s = torch.zeros((0, 1, 3), dtype=torch.float64), torch.zeros((0, 1), dtype=torch.int64)
    assert torch_backend.expand(e, x, s).shape == (0, *e.shape)


def test_a_third_derivative_raises():
    e = EXPANSIONS["one element"]
    vectors, species = random_pairs(e, 1, 3, np.random.default_rng(4))
    x = torch.from_numpy(vectors).requires_grad_()
    a = torch_backend.expand(e, x, torch.from_numpy(species))
    (first,) = torch.autograd.grad((a**2).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="a third was asked for"):
        torch.autograd.grad(second.sum(), x)
