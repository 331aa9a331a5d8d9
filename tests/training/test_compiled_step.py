"""The fused training step against autograd on plain tensors: loss, residuals and gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from forgefield.descriptors import NEP, SO3
from forgefield.errors import ForgefieldError
from forgefield.models import Linear, Network, NetworkSettings
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.compiled import CompiledObjective
from forgefield.training.loss import Loss, LossSettings
from forgefield.training.objective import TorchObjective, make_objective

WEIGHTS = {"energy": 0.3, "forces": 1.0, "stress": 0.1}


def labelled(elements: tuple[str, ...], count: int = 6) -> list[Atoms]:
    """Structures of different sizes with made-up labels: no stress, no forces and open boundaries among them."""
    rng, frames = np.random.default_rng(0), []
    for k in range(count):
        atoms = bulk("Si", cubic=True) * ((2, 1, 1) if k % 2 else (2, 2, 1))
        atoms.rattle(0.15, seed=k)
        atoms.symbols = rng.choice(elements, len(atoms))
        if k == count - 1:
            atoms.pbc = (True, True, False)
        results = {"energy": -5.0 * len(atoms) + rng.normal(), "forces": rng.normal(size=(len(atoms), 3))}
        if atoms.pbc.all() and k != 2:
            results["stress"] = 0.05 * rng.normal(size=6)
        if k == 1:
            del results["forces"]
        atoms.info["weight"] = 1.0 + k
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    return frames


def potential(kind: str, elements: tuple[str, ...], dtype: torch.dtype, *, exact: bool = False) -> Potential:
    torch.manual_seed(0)
    if kind == "so3":
        descriptor = SO3(elements)
        model = Linear(descriptor.n_features, len(elements))
        model.reset_parameters()
    else:
        two = {"cutoff_angular": 4.0, "l_max": 3, "five_body": False} if kind == "two lists" else {}
        descriptor = NEP(elements, **two)
        deep = NetworkSettings(hidden=(10, 7), activation="silu") if len(elements) > 1 else None
        model = Network(descriptor.n_features, len(elements), deep)
    references = dict.fromkeys(descriptor.species, -5.0)
    result = Potential(descriptor, model, references, 1.7, exact_free_atom=exact).to_dtype(dtype)
    result.scaler.fit(3.0 * torch.randn(200, descriptor.n_features) + 1.0, "whitened")
    return result


def gradients(p: Potential) -> dict[str, torch.Tensor]:
    return {name: q.grad.clone() for name, q in p.named_parameters() if q.grad is not None}


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize("kind", ["one list", "two lists", "so3"])
@pytest.mark.parametrize("elements", [("Si",), ("C", "Si")], ids=["Si", "SiC"])
def test_gradient_equals_autograd(elements: tuple[str, ...], kind: str, bits: int) -> None:
    dtype, allowed = (torch.float64, 1e-12) if bits == 64 else (torch.float32, 1e-4)
    p, frames = potential(kind, elements, dtype), labelled(elements)
    data = LabelledSet(p, frames)
    loss = Loss(LossSettings(), data.scales())
    index = [4, 0, 5, 2, 1]
    expected = TorchObjective(p, data, loss).gradient(index, WEIGHTS)
    reference = gradients(p)
    objective = make_objective(p, data, loss)
    assert objective.backend == "compiled"
    got = objective.gradient(index, WEIGHTS)
    assert got.total == pytest.approx(expected.total, rel=allowed)
    assert got.values == pytest.approx(expected.values, rel=allowed)
    for name, value in gradients(p).items():
        assert float((value - reference[name]).abs().max()) < allowed * float(reference[name].abs().max()), (
            name
        )
    unweighted = objective.terms(index)
    for field in ("energy", "forces", "stress"):
        scale = np.abs(getattr(expected, field)).max()
        for terms in (got, unweighted):
            assert np.allclose(getattr(terms, field), getattr(expected, field), rtol=0, atol=allowed * scale)


@pytest.mark.parametrize("normalisation", ["relative", "softadapt", "pyxtal_ff", "gnep", "efp"])
@pytest.mark.parametrize("error", ["mse", "mae", "huber"])
def test_every_form_of_the_loss(normalisation: str, error: str) -> None:
    p, frames = potential("one list", ("Si",), torch.float64), labelled(("Si",))
    data = LabelledSet(p, frames)
    loss = Loss(LossSettings(normalisation=normalisation, error=error, huber_delta=0.5), data.scales())
    expected = TorchObjective(p, data, loss).gradient(range(6), WEIGHTS)
    reference = gradients(p)
    got = CompiledObjective(p, data, loss).gradient(range(6), WEIGHTS)
    assert got.total == pytest.approx(expected.total, rel=1e-12)
    for name, value in gradients(p).items():
        assert torch.allclose(
            value, reference[name], rtol=1e-11, atol=1e-12 * float(reference[name].abs().max())
        )


def test_free_atoms_and_threads() -> None:
    elements = ("C", "Si")
    p, frames = potential("one list", elements, torch.float64, exact=True), labelled(elements)
    data = LabelledSet(p, frames)
    loss = Loss(LossSettings(), data.scales())
    TorchObjective(p, data, loss).gradient(range(6), WEIGHTS)
    reference = gradients(p)
    results = []
    for threads in (1, 2, 2):
        CompiledObjective(p, data, loss, threads=threads).gradient(range(6), WEIGHTS)
        results.append(gradients(p))
    largest = max(float(v.abs().max()) for v in reference.values())
    for name, expected in reference.items():
        assert float((results[0][name] - expected).abs().max()) < 1e-12 * largest, name
        assert float((results[1][name] - expected).abs().max()) < 1e-12 * largest, name
        assert torch.equal(results[1][name], results[2][name])


def test_without_a_kernel(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    p, frames = potential("one list", ("Si",), torch.float64), labelled(("Si",))
    data = LabelledSet(p, frames)
    loss = Loss(LossSettings(), data.scales())
    monkeypatch.setattr(type(p.descriptor), "features", lambda self, stage, a: stage.unheard_of(a))
    with caplog.at_level("WARNING"):
        assert make_objective(p, data, loss, "auto").backend == "torch"
        make_objective(p, data, loss, "auto")
    assert len([r for r in caplog.records if "unheard_of" in r.message]) == 1
    with pytest.raises(ForgefieldError, match="compiled"):
        make_objective(p, data, loss, "compiled")
    assert make_objective(p, data, loss, "torch").backend == "torch"
