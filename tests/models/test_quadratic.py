"""The quadratic model is its formula, on tensors and in kernels, and survives its file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from forgefield.descriptors import make_descriptor
from forgefield.engine.predictor import Predictor
from forgefield.models import Quadratic, make_model
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.loss import Loss, LossSettings
from forgefield.training.objective import TorchObjective, make_objective


def potential_of(descriptor="so3", dtype=torch.float64, *, exact=False, **settings):
    d = make_descriptor({"kind": descriptor, **settings}, ["Cu", "Au"])
    model = make_model({"kind": "quadratic"}, d.n_features, 2)
    result = Potential(d, model, {29: -1.0, 79: -2.0}, 0.7, exact_free_atom=exact).to_dtype(dtype)
    generator = torch.Generator().manual_seed(3)
    result.model.reset_parameters(generator)
    with torch.no_grad():
        result.model.matrix.normal_(0.0, 0.1, generator=generator)
        result.model.bias.copy_(torch.tensor([0.3, -0.4]))
    n = d.n_features
    result.scaler.shift.normal_(0.0, 0.1, generator=generator)
    result.scaler.scale.fill_(0.3)
    result.scaler.mix.add_(0.1 * torch.randn(n, n, generator=generator, dtype=dtype))
    return result


def alloy(seed=0):
    atoms = bulk("Cu", "fcc", a=3.8, cubic=True)
    atoms.numbers[:2] = 79
    atoms.rattle(0.1, seed=seed)
    return atoms


def test_energy_is_the_formula_and_only_the_symmetric_part_acts():
    model = potential_of(n_max=2, l_max=1).model
    assert isinstance(model, Quadratic)
    q = torch.randn(5, model.n_features, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    w, m, b = (x.detach()[1].numpy() for x in (model.weight, model.matrix, model.bias))
    x = q.numpy()
    expected = b + x @ w + 0.5 * np.einsum("ia,ab,ib->i", x, m, x)
    assert np.allclose(model(q, 1).detach().numpy(), expected, rtol=1e-13, atol=1e-14)
    with torch.no_grad():
        model.matrix.copy_(0.5 * (model.matrix + model.matrix.transpose(1, 2)))
    assert np.allclose(model(q, 1).detach().numpy(), expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("exact", [False, True])
def test_kernels_agree_with_tensors(*, exact):
    potential = potential_of(n_max=2, l_max=2, exact=exact)
    atoms = alloy()
    kernel, plain = Predictor(potential).predict(atoms), potential.predict(atoms)
    assert kernel.energy == pytest.approx(plain.energy, rel=1e-12)
    assert np.allclose(kernel.forces, plain.forces, rtol=0, atol=1e-11)
    assert np.allclose(kernel.stress, plain.stress, rtol=0, atol=1e-12)
    only = bulk("Au", "fcc", a=4.1)
    assert Predictor(potential).predict(only).energy == pytest.approx(
        potential.predict(only).energy, rel=1e-12
    )


def test_kernels_train_it():
    """Gradients of a loss with forces and stress, that is second derivatives, agree with automatic ones."""
    weights = {"energy": 0.3, "forces": 1.0, "stress": 0.1}
    rng, frames = np.random.default_rng(0), []
    for seed in range(2):
        atoms = alloy(seed)
        labels = {"energy": -8.0, "forces": rng.normal(size=(4, 3)), "stress": 0.05 * rng.normal(size=6)}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    gradients = []
    for make in (TorchObjective, make_objective):
        potential = potential_of(n_max=2, l_max=1)
        data = LabelledSet(potential, frames)
        objective = make(potential, data, Loss(LossSettings(), data.scales()))
        objective.gradient([0, 1], weights)
        gradients.append({k: p.grad.clone() for k, p in potential.model.named_parameters()})
    assert objective.backend == "compiled"
    expected, got = gradients
    assert set(got) == {"weight", "matrix", "bias"}
    for name, g in expected.items():
        assert float((got[name] - g).abs().max()) < 1e-11 * float(g.abs().max())


def test_file_keeps_it(tmp_path):
    potential = potential_of(n_max=1, l_max=1, dtype=torch.float32)
    loaded = Potential.load(potential.save(tmp_path / "quadratic.ff"))
    assert loaded.model.settings.kind == "quadratic"
    assert loaded.predict(alloy()).energy == potential.predict(alloy()).energy
    assert set(loaded.model.state_dict()) == {"weight", "matrix", "bias"}
