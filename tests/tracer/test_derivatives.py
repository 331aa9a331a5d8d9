"""vjp, jvp and their nesting against torch's autograd, and where no derivative flows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from run_kernels import WAYS, N, on_columns

from forgefield.formulas.harmonics import harmonics
from forgefield.formulas.namespace import functions_of
from forgefield.formulas.radial import nep_radial

RNG = np.random.default_rng(2)
D, T = RNG.uniform(-2.0, 2.0, (3, N)), RNG.standard_normal((3, N))


def everything(d):
    """A formula that uses every operation the compiler knows, some results several times."""
    f = functions_of(d[0])
    r = f.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
    unit = [c / r for c in d]
    radial = nep_radial(r, 3.5, 4)
    outs = [f.tanh(a * 3.0) for a in radial] + [radial[1] * y for y in harmonics(*unit, 3)[1:]]
    outs += [f.exp(-0.3 * r), f.log1p(r), f.sin(2.0 * r) * f.cos(d[1]), r**2.5 / (1.0 + d[2] ** 2)]
    outs += [f.where(d[0] < 0.4, d[0] * d[1], d[2] ** 3), 2.0 - r]
    return outs


W = RNG.standard_normal(len(everything([0.5, 0.6, 0.7])))


def weighted(outs):
    return sum(float(w) * o for w, o in zip(W, outs, strict=True))


def truth():
    """Return gradient, directional derivative and the gradient of that, by torch."""
    d = [torch.tensor(c, requires_grad=True) for c in D]
    gradient = torch.autograd.grad(weighted(everything(d)).sum(), d, create_graph=True)
    along = sum(g * torch.tensor(t) for g, t in zip(gradient, T, strict=True))
    second = torch.autograd.grad(along.sum(), d)
    return [[x.detach().numpy() for x in xs] for xs in (gradient, [along], second)]


def reverse(k, x):
    with k.tape() as tape:
        outs = everything(x)
    return k.vjp(tape, outs, list(map(float, W)), x)


def forward(k, x):
    with k.tape() as tape:
        outs = everything(x[:3])
    return [weighted(k.jvp(tape, x[:3], x[3:], outs))]


def forward_over_reverse(k, x):
    d, t = x[:3], x[3:]
    with k.tape() as outer:
        g = reverse(k, d)
    return k.jvp(outer, d, t, g)


def reverse_over_forward(k, x):
    d = x[:3]
    with k.tape() as outer:
        (along,) = forward(k, x)
    return k.vjp(outer, [along], [1.0], d)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    ("derivative", "which", "columns"),
    [
        (reverse, 0, list(D)),
        (forward, 1, [*D, *T]),
        (forward_over_reverse, 2, [*D, *T]),
        (reverse_over_forward, 2, [*D, *T]),
    ],
)
def test_against_autograd(derivative, which, columns, how):
    expected = truth()[which]
    got = on_columns(derivative, columns, 64, how)
    assert len(got) == len(expected)
    assert np.abs(np.array(got) - expected).max() < 1e-12 * np.abs(expected).max()


def test_second_derivatives_of_single_precision_kernels():
    expected = np.array(truth()[2])
    got = np.array(on_columns(forward_over_reverse, [*D, *T], 32))
    assert np.abs(got - expected).max() < 2e-5 * np.abs(expected).max()


def test_an_output_that_is_an_input():
    def kernel(k, x):
        with k.tape() as tape:
            y = x[0] * x[1]
        return k.vjp(tape, [y, x[0], y], [1.0, 10.0, 2.0], x[:2])

    a, b = on_columns(kernel, list(D[:2]))
    assert np.allclose(a, 3 * D[1] + 10, rtol=1e-14)
    assert np.allclose(b, 3 * D[0], rtol=1e-14)


def test_what_does_not_depend_has_derivative_zero():
    found = []

    def kernel(k, x):
        with k.tape() as tape:
            y = 2.0 * x[0]
        found.extend(k.vjp(tape, [y, 3.0], [1.0, 1.0], x[:2]))
        found.extend(k.jvp(tape, [x[1]], [1.0], [y, 5.0]))
        return [y]

    on_columns(kernel, list(D[:2]))
    assert found == [2.0, 0.0, 0.0, 0.0]


def test_the_chosen_side_alone_has_a_derivative():
    """Also where the other side is not finite, as a square root below zero."""

    def kernel(k, x):
        f = functions_of(x[0])
        with k.tape() as tape:
            y = f.where(x[0] < 1.0, 5.0, x[0] * x[0])
        return k.vjp(tape, [y], [1.0], [x[0]])

    assert np.allclose(on_columns(kernel, [D[0]])[0], np.where(D[0] < 1, 0, 2 * D[0]), rtol=1e-15)


def test_rounding_has_no_derivative():
    def kernel(k, x):
        with k.tape() as tape:
            y = k.op("rint", 3.0 * x[0]) + 7.0 * x[0]
        return [y, *k.vjp(tape, [y], [1.0], [x[0]]), *k.jvp(tape, [x[0]], [2.0], [y])]

    values, *derivatives = on_columns(kernel, [D[0]])
    assert np.allclose(values, np.rint(3 * D[0]) + 7 * D[0], rtol=1e-14)
    assert [set(x) for x in derivatives] == [{7.0}, {14.0}]
