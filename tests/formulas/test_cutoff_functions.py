"""Cutoff functions against the published expressions, differences, and on every kind of value."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from forgefield.formulas.cutoffs import COSINE, CutoffName, CutoffShape, cosine_cutoff
from forgefield.formulas.dual import Dual

CUTOFF = 4.5
NAMES = get_args(CutoffName)

# As n2p2 prints them, x = (r - start cutoff) / (cutoff - start cutoff).
PRINTED = {
    "cosine": lambda x: (np.cos(np.pi * x) + 1) / 2,
    "tanh": lambda x: np.tanh(1 - x) ** 3,
    "exponential": lambda x: np.exp(1 - 1 / (1 - x**2)),
    "poly1": lambda x: (2 * x - 3) * x**2 + 1,
    "poly2": lambda x: ((15 - 6 * x) * x - 10) * x**3 + 1,
    "poly3": lambda x: (x * (x * (20 * x - 70) + 84) - 35) * x**4 + 1,
    "poly4": lambda x: (x * (x * ((315 - 70 * x) * x - 540) + 420) - 126) * x**5 + 1,
}
SHAPES = [CutoffShape(name) for name in NAMES]
SHAPES += [CutoffShape(name, 0.4) for name in NAMES if name != "tanh"]
SHAPES += [
    CutoffShape("poly2", 0.3, (0.8, 1.4)),
    CutoffShape("tanh", 0.0, (0.0, 1.0)),
    CutoffShape(inner=(1.0, 2.0)),
]


def identity(shape):
    return f"{shape.function} {shape.start} {shape.inner}"


def slope(shape, r):
    return shape(Dual(r, np.ones_like(r)), CUTOFF).tangent


def test_every_function_is_compared():
    assert set(PRINTED) == set(NAMES)
    assert CutoffShape() == COSINE


@pytest.mark.parametrize("start", [0.0, 0.4])
@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_printed(name, start):
    if name == "tanh" and start:
        pytest.skip("tanh starts at the atom")
    r = np.linspace(start * CUTOFF, CUTOFF, 50)[:-1]
    x = (r - start * CUTOFF) / (CUTOFF * (1 - start))
    assert np.allclose(CutoffShape(name, start)(r, CUTOFF), PRINTED[name](x), rtol=0, atol=1e-13)
    if name != "tanh":
        assert CutoffShape(name, start)(np.linspace(0.0, start * CUTOFF, 5), CUTOFF) == pytest.approx(
            1.0, abs=1e-14
        )


def test_the_default_is_the_cosine_to_the_last_bit():
    r = np.linspace(0.0, 5.0, 101)
    assert np.array_equal(COSINE(r, CUTOFF), cosine_cutoff(r, CUTOFF))


@pytest.mark.parametrize("shape", SHAPES, ids=identity)
def test_value_and_slope_vanish_at_the_cutoff_and_beyond(shape):
    beyond = np.array([CUTOFF, CUTOFF + 1e-9, 1.3 * CUTOFF, 50.0])
    assert (shape(beyond, CUTOFF) == 0).all()
    assert (slope(shape, beyond) == 0).all()
    for step in (1e-3, 1e-4, 1e-5):
        # By Taylor: quadratic in the step or better, the slope linear.
        assert 0 <= shape(CUTOFF - step, CUTOFF) < 2.0 * step**2
        difference = (shape(CUTOFF - step, CUTOFF) - shape(CUTOFF - 2 * step, CUTOFF)) / step
        assert abs(difference) < 4.0 * step
        assert abs(slope(shape, np.array([CUTOFF - step]))[0]) < 4.0 * step
    assert shape(0.5 * CUTOFF, CUTOFF) > 0.05


@pytest.mark.parametrize("shape", [s for s in SHAPES if s.inner], ids=identity)
def test_the_inner_switch_fades_out_close_neighbours(shape):
    first, last = shape.inner
    plain = CutoffShape(shape.function, shape.start)
    r = np.linspace(last, CUTOFF, 20)
    assert np.array_equal(shape(r, CUTOFF), plain(r, CUTOFF))
    assert (shape(np.linspace(0.0, first, 5), CUTOFF) == 0).all()
    middle = 0.5 * (first + last)
    assert shape(middle, CUTOFF) == pytest.approx(0.5 * plain(middle, CUTOFF), rel=1e-12)
    step = 1e-4
    assert abs(shape(first + step, CUTOFF)) < 100 * step**3
    assert slope(shape, np.array([last - step, last + step])) == pytest.approx(
        slope(plain, np.array([last - step, last + step])), abs=1e-5
    )


@pytest.mark.parametrize("shape", SHAPES, ids=identity)
def test_slopes_against_differences_and_kinks_nowhere(shape):
    r = np.linspace(0.03, 4.47, 149)
    h = 1e-4
    differences = (shape(r + h, CUTOFF) - shape(r - h, CUTOFF)) / (2 * h)
    # A jump of the slope would show as a difference of order one, one of the curvature as h.
    assert np.allclose(slope(shape, r), differences, rtol=0, atol=5e-4)
    dense = np.linspace(0.01, CUTOFF + 0.1, 20001)
    assert np.abs(np.diff(slope(shape, dense))).max() < 0.05


@pytest.mark.parametrize("shape", SHAPES, ids=identity)
def test_floats_arrays_and_tensors_agree_and_nothing_is_nan(shape):
    close = CUTOFF * (1 - np.array([1e-3, 1e-6, 1e-9, 1e-12, 1e-16, 0.0, -1e-3]))
    r = np.concatenate([[0.0], np.linspace(0.2, 4.4, 40), close])
    expected = shape(r, CUTOFF)
    assert np.allclose([shape(float(x), CUTOFF) for x in r], expected, rtol=1e-14, atol=1e-16)
    for dtype, allowed in ((torch.float64, 1e-14), (torch.float32, 2e-6)):
        x = torch.tensor(r, dtype=dtype, requires_grad=True)
        value = shape(x, CUTOFF)
        assert np.allclose(value.detach().numpy(), expected, rtol=0, atol=allowed)
        (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(gradient.sum(), x)
        assert torch.isfinite(gradient).all()
        assert torch.isfinite(second).all()
        inside = r < CUTOFF * (1 - 1e-5)
        assert np.allclose(
            gradient.detach().numpy()[inside], slope(shape, r)[inside], rtol=0, atol=20 * allowed
        )
