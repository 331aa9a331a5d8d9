"""Compiled stages against torch: values, adjoints, gradients of parameters, and all of it along a direction."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from forgefield.errors import ForgefieldError
from forgefield.stages import TorchArray, TorchStage
from forgefield.stages.kernel_stage import TILE, KernelStage
from forgefield.stages.parameters import Shape, ShapeStage
from forgefield.testing.interpreter import interpret
from forgefield.tracer import trace
from forgefield.tracer.cache import Native, aligned, host, object_code

SPECIES, N_SPECIES = 1, 2
GENERATOR = torch.Generator().manual_seed(3)


def parameter(*shape):
    return torch.randn((N_SPECIES, *shape), generator=GENERATOR, dtype=torch.float64).requires_grad_()


W, B = parameter(5, 3), parameter(3)
WIDE, WIDE_B = parameter(5, 2 * TILE + 3), parameter(2 * TILE + 3)
LAST, LAST_B = parameter(2 * TILE + 3), parameter()
ONE, THREE, SIX = parameter(5), parameter(3), parameter(6)


def product(v):
    return [v[0] * v[1] + v[2], v[1] ** 2 / (1.0 + v[2] ** 2)]


def network(stage, a):
    """A hidden layer wider than a tile and its odd rest, one output with a bias."""
    hidden = stage.map(lambda v: [v[0] / (1.0 + v[0] * v[0])], stage.linear(WIDE, a[0].columns(0, 1), WIDE_B))
    return stage.linear(LAST, hidden, LAST_B)


def used_twice(stage, a):
    """Rows 0 ... 4 go into a linear map and into a formula."""
    y = stage.map(product, stage.linear(W, a[0], B))
    z = stage.map(product, a[0])
    return stage.linear(parameters_of(used_twice, 16), stage.join(y, z))


def used_by_parts(stage, a):
    """Some columns once, some twice, one never."""
    left = stage.linear(ONE, a[0].columns(0, 2))
    right = stage.linear(ONE, a[0].columns(1, 2))
    rows = a[0].rows(1, 4).columns(0, 1)
    total = stage.join(left, right, rows)
    return stage.linear(SIX, total)


def pairs(stage, a):
    return stage.linear(
        parameters_of(pairs, 30),
        stage.join(stage.map_pairs(lambda u, v: [u[0] * v[0], u[1] * v[2] ** 2], a[0])),
    )


def several_inputs(stage, a):
    both = stage.map(lambda v: [v[0] * v[3], v[1] * v[4]], a[0], a[1])
    return stage.linear(parameters_of(several_inputs, 20), stage.join(both, a[1]))


_OWN = {}


def parameters_of(case, n):
    """Return the weights of a case, the same at every call."""
    return _OWN.setdefault((case.__name__, n), parameter(n))


CASES = [network, used_twice, used_by_parts, pairs, several_inputs]
SHAPES = [(5, 3), (5, 2)]


def compiled(case, x, e_bar=None, *, how="compiled"):
    """Return energies, adjoints of the inputs and gradients of the parameters by name.

    x are (planes, n_inputs, lanes); with two planes the second is a direction.
    """
    planes, n, lanes = x.shape
    shapes = ShapeStage(N_SPECIES)
    case(shapes, [Shape(s) for s in SHAPES])
    layout = shapes.layout

    def kernel(k, *, species, x, y, bars, parameters, gradients, work):
        stage = KernelStage(k, species[0], layout, parameters, gradients=gradients, tangent=planes == 2)
        arrays, start = [], 0
        for rows, columns in SHAPES:
            arrays.append(stage.array(rows, columns, [x + (p * n + start) for p in range(planes)]))
            start += rows * columns
        energy = case(stage, arrays)
        assert energy.shape == (1, 1)
        for p in range(planes):
            y[p] = energy.value(p, 0, 0)
            energy.base.bars[p][energy.at(0, 0)] = 1.0 if e_bar is None or p == 1 else e_bar
        stage.backward()
        start = 0
        for a in arrays:
            for p in range(planes):
                for i in range(a.base.size):
                    used = a.base.uses[i] > 0
                    bars[p * n + start + i] = a.base.bars[p][i] if used else 0.0
            start += a.base.size

    signature = {"species": "indices", "x": "rows", "y": "rows", "bars": "rows", "parameters": "scalars"}
    program = trace("stage", signature | {"gradients": "sums", "work": "workspace"}, 64, kernel)
    flat = aligned(layout.size, np.float64)
    for e in layout.entries:
        flat[e.weight_start : e.weight_start + e.weight.numel()] = e.weight.detach().numpy().ravel()
        if e.bias is not None:
            flat[e.bias_start : e.bias_start + e.bias.numel()] = e.bias.detach().numpy().ravel()
    arguments = {
        "species": np.array([SPECIES], np.int32),
        "x": aligned((planes * n, lanes), np.float64),
        "y": aligned((planes, lanes), np.float64),
        "bars": aligned((planes * n, lanes), np.float64),
        "parameters": flat,
        "gradients": aligned((layout.size, lanes), np.float64),
        "work": aligned((program.workspace, lanes), np.float64),
    }
    arguments["x"][...] = x.reshape(planes * n, lanes)
    arguments["work"][...] = np.nan  # nothing may be read before it is written
    if how == "compiled":
        native = Native("stage", program.signature, lanes, program.workspace, object_code(program, host()))
        native(*arguments.values())
    else:
        interpret(program, lanes, arguments)
    sums = arguments["gradients"].sum(axis=1)
    gradients = {}
    for e in layout.entries:
        gradients[id(e.weight)] = sums[e.weight_start : e.weight_start + e.weight.numel()]
        if e.bias is not None:
            gradients[id(e.bias)] = sums[e.bias_start : e.bias_start + e.bias.numel()]
    weights = [t for e in layout.entries for t in (e.weight, e.bias) if t is not None]
    return arguments["y"], arguments["bars"].reshape(planes, n, lanes), gradients, weights


def with_torch(case, x):
    """Return energies (n_atoms,) of inputs (n_inputs, n_atoms)."""
    arrays, start = [], 0
    for rows, columns in SHAPES:
        block = x[start : start + rows * columns].reshape(rows, columns, -1)
        arrays.append(TorchArray(block.permute(1, 2, 0)))
        start += rows * columns
    return case(TorchStage(SPECIES), arrays).tensor[0, :, 0]


def close(a, b, tolerance=1e-12):
    return np.abs(np.asarray(a) - np.asarray(b)).max() <= tolerance * max(1.0, np.abs(b).max())


def inputs(planes):
    n = sum(r * c for r, c in SHAPES)
    return np.random.default_rng(4).standard_normal((planes, n, host().lanes(64)))


@pytest.mark.parametrize("how", ["compiled", "interpreted"])
@pytest.mark.parametrize("case", CASES)
def test_values_adjoints_and_gradients(case, how):
    x = inputs(1)
    y, bars, gradients, weights = compiled(case, x, how=how)
    t = torch.from_numpy(x[0]).requires_grad_()
    energy = with_torch(case, t)
    x_bar, *expected = torch.autograd.grad(energy.sum(), [t, *weights])
    assert close(y[0], energy.detach().numpy())
    assert close(bars[0], x_bar.numpy())
    assert len(expected) == len(gradients)
    for w, g in zip(weights, expected, strict=True):
        assert close(gradients[id(w)], g.numpy().ravel())


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_of_values_and_changes(case):
    """Of ``L = e_bar E(x) + <dE/dx, direction>``, as force training needs it."""
    x, e_bar = inputs(2), 0.7
    y, bars, gradients, weights = compiled(case, x, e_bar)
    t, direction = torch.from_numpy(x[0]).requires_grad_(), torch.from_numpy(x[1])
    energy = with_torch(case, t)
    (slope,) = torch.autograd.grad(energy.sum(), t, create_graph=True)
    along = (slope * direction).sum(dim=0)
    loss = e_bar * energy.sum() + along.sum()
    x_bar, *expected = torch.autograd.grad(loss, [t, *weights], allow_unused=True)
    assert close(y[1], along.detach().numpy())
    assert close(bars[1], slope.detach().numpy())
    assert close(bars[0], x_bar.numpy())
    for w, g in zip(weights, expected, strict=True):
        assert close(gradients[id(w)], np.zeros(w.numel()) if g is None else g.numpy().ravel())


def test_only_the_species_of_the_block_has_gradients():
    _, _, gradients, _ = compiled(network, inputs(1))
    weight = gradients[id(WIDE)].reshape(WIDE.shape)
    assert (weight[1 - SPECIES] == 0).all()
    assert (weight[SPECIES] != 0).all()


def test_one_weight_in_two_different_maps_is_refused():
    stage = ShapeStage(N_SPECIES)
    x = Shape((5, 1))
    stage.linear(W, x, B)
    assert stage.linear(W, x, B).shape == (3, 1)
    with pytest.raises(ForgefieldError, match="two different linear maps"):
        stage.linear(W, x)


def test_the_features_are_scaled_inside_the_weights():
    """A scaled input has a bias of its own in the layout, to which the scaling adds."""
    stage = ShapeStage(N_SPECIES)
    stage.linear(W, stage.scaled(Shape((5, 1))))
    (entry,) = stage.layout.entries
    assert entry.folded
    assert stage.layout.size == N_SPECIES * (5 * 3 + 3)
