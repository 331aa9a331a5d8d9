"""One network for all elements: its formula, its gradient, its files, and who refuses it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from torch import nn

import forgefield as ff
from forgefield.deployment.gpumd import nep_text, parse_nep
from forgefield.deployment.lammps_mliap import export_mliap, read_mliap
from forgefield.descriptors import make_descriptor
from forgefield.engine.predictor import Predictor
from forgefield.engine.restricted import restricted
from forgefield.errors import ConfigError
from forgefield.models import NetworkSettings, make_model
from forgefield.models.potential import Potential
from forgefield.testing import check_potential
from forgefield.training.batches import LabelledSet
from forgefield.training.energy_start import fit_output_layer
from forgefield.training.laplace import fit_last_layer
from forgefield.training.loss import Loss, LossSettings
from forgefield.training.objective import TorchObjective, make_objective
from forgefield.training.settings import RunSettings

DESCRIPTORS = {
    "nep": {"cutoff_radial": 4.5, "cutoff_angular": 4.0, "n_max_radial": 3, "n_max_angular": 2, "l_max": 2},
    "snap": {"two_j_max": 3, "cutoff": 4.2},
}
WEIGHTS = {"energy": 0.3, "forces": 1.0, "stress": 0.1}


def made(
    kind="nep", dtype=torch.float64, *, shared=True, exact=False, hidden=(6, 5), elements=("Cu", "Au", "Ag")
):
    torch.manual_seed(0)
    d = make_descriptor({"kind": kind, **DESCRIPTORS[kind]}, elements)
    model = make_model({"kind": "network", "hidden": hidden, "shared": shared}, d.n_features, len(elements))
    references = dict(zip(d.species, (-1.0, -2.0, -3.0), strict=False))
    result = Potential(d, model, references, 1.7, exact_free_atom=exact).to_dtype(dtype)
    result.scaler.fit(2.0 * torch.randn(200, d.n_features) + 0.5, "whitened" if kind == "nep" else "standard")
    with torch.no_grad():
        result.model.biases[-1].copy_(torch.linspace(-0.4, 0.3, len(elements))[:, None])
    return result


def alloy(seed=0):
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", a=3.9, cubic=True) * (1 + seed % 2, 1, 1)
    atoms.numbers[:] = rng.choice([29, 47, 79], len(atoms))
    atoms.numbers[:3] = 29, 47, 79
    atoms.rattle(0.15, seed=seed)
    return atoms


def labelled(count=5):
    rng, frames = np.random.default_rng(1), []
    for k in range(count):
        atoms = alloy(k)
        n = len(atoms)
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=-9.0 * n + rng.normal(),
            forces=rng.normal(size=(n, 3)),
            stress=0.05 * rng.normal(size=6),
        )
        frames.append(atoms)
    return frames


def separate(potential):
    """Return the same potential with a copy of the network for each element."""
    d, n = potential.descriptor, len(potential.species)
    settings = potential.model.settings.model_copy(update={"shared": False})
    result = copy.deepcopy(potential)
    result.model = make_model(settings, d.n_features, n).to(potential.dtype)
    with torch.no_grad():
        for own, (w, b) in enumerate(potential.model.layers()):
            result.model.weights[own].copy_(w)
            result.model.biases[own].copy_(b)
    return result


@pytest.mark.parametrize("kind", DESCRIPTORS)
def test_energy_is_the_sum_over_atoms_of_one_plain_torch_network(kind):
    potential, atoms = made(kind), alloy(1)
    # Features by the kernels of `compute`, everything behind them by torch.nn alone.
    features = torch.from_numpy(np.array(potential.descriptor.compute(atoms), dtype=np.float64))
    layers = [(w[0], b) for w, b in zip(potential.model.weights, potential.model.biases, strict=True)]
    network = nn.Sequential()
    for w, b in layers[:-1]:
        linear = nn.Linear(*w.shape).double()
        linear.weight.data, linear.bias.data = w.detach().T.clone(), b[0].detach().clone()
        network.extend([linear, nn.Tanh()])
    last = nn.Linear(layers[-1][0].shape[0], 1, bias=False).double()
    last.weight.data = layers[-1][0].detach().T.clone()
    network.append(last)
    scaler = potential.scaler
    scaled = ((features - scaler.shift) * scaler.scale) @ scaler.mix
    own = {
        z: (b.item(), e.item())
        for z, b, e in zip(potential.species, layers[-1][1], potential.references, strict=True)
    }
    biases, references = np.array([own[z] for z in atoms.numbers]).T
    expected = 1.7 * (network(scaled).detach().numpy()[:, 0] + biases) + references
    for predicted in (potential.predict(atoms), Predictor(potential).predict(atoms)):
        np.testing.assert_allclose(predicted.energies, expected, rtol=1e-11, atol=1e-11)
    assert len({w.shape[0] for w in potential.model.weights}) == 1
    n_in, (a, b) = potential.descriptor.n_features, (6, 5)
    assert sum(p.numel() for p in potential.model.parameters()) == n_in * a + a + a * b + b + b + 3


@pytest.mark.parametrize("exact", [True, False])
def test_it_is_the_same_network_for_each_element(exact):
    shared = made(exact=exact)
    apart, atoms = separate(shared), alloy(3)
    for engine in (lambda p: p, Predictor):
        a, b = (engine(p).predict(atoms) for p in (shared, apart))
        assert a.energy == pytest.approx(b.energy, rel=1e-13)
        np.testing.assert_allclose(a.forces, b.forces, rtol=0, atol=1e-12)
        np.testing.assert_allclose(a.stress, b.stress, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", DESCRIPTORS)
def test_the_checklist_holds(kind):
    results = check_potential(made(kind, elements=("Cu", "Au")))
    assert len(results) > 10
    assert not [r for r in results if not r.passed]


@pytest.mark.parametrize(("kind", "stored"), [("nep", False), ("snap", False), ("snap", True)])
def test_gradients_are_sums_over_the_elements(kind, stored):
    potential, frames = made(kind, exact=True), labelled()
    data = LabelledSet(potential, frames)
    loss = Loss(LossSettings(), data.scales())
    objective = make_objective(potential, data, loss, stored=stored)
    assert objective.backend == "compiled"

    def gradients(p, o):
        for q in p.parameters():
            q.grad = None
        total = o.gradient([3, 0, 4], WEIGHTS).total
        return total, {k: q.grad.clone() for k, q in p.named_parameters() if q.grad is not None}

    total, found = gradients(potential, objective)
    plain_total, plain = gradients(potential, TorchObjective(potential, data, loss))
    apart = separate(potential)
    _, each = gradients(apart, make_objective(apart, LabelledSet(apart, frames), loss))
    assert total == pytest.approx(plain_total, rel=1e-11)
    assert found.keys() == plain.keys() >= {"model.weights.0", "model.weights.2", "model.biases.1"}
    for name, value in found.items():
        largest = float(plain[name].abs().max())
        assert float((value - plain[name]).abs().max()) < 1e-10 * max(largest, 1e-3), name
        whole = each[name] if each[name].shape == value.shape else each[name].sum(0, keepdim=True)
        assert float((value - whole).abs().max()) < 1e-10 * max(largest, 1e-3), name
    # and of the loss itself, by central differences
    weight = potential.model.weights[0]
    for place in ((0, 1, 2), (0, 4, 0)):
        sides = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight[place] += step
            sides.append(objective.gradient([3, 0, 4], WEIGHTS).total)
            with torch.no_grad():
                weight[place] -= step
        difference = (sides[0] - sides[1]) / 2e-5
        assert difference == pytest.approx(float(found["model.weights.0"][place]), rel=1e-5, abs=1e-8)


def test_file_and_fewer_elements(tmp_path):
    potential, atoms = made(), alloy()
    potential.save(tmp_path / "x.ff")
    again = ff.load(tmp_path / "x.ff")
    assert again.model.settings.shared
    assert again.predict(atoms).energy == potential.predict(atoms).energy
    two = alloy(2)
    two.numbers[two.numbers == 47] = 29
    assert restricted(potential, [29, 79]).predict(two).energy == pytest.approx(
        potential.predict(two).energy, rel=1e-13
    )


def test_exports_write_the_network_once_for_each_element(tmp_path):
    potential, atoms = made(hidden=(6,)), alloy(1)
    text = nep_text(potential)
    assert text.startswith("nep4 3 ")
    again = parse_nep(text)
    assert not again.model.settings.shared
    a, b = potential.predict(atoms), again.predict(atoms)
    assert b.energy == pytest.approx(a.energy, abs=1e-6)
    np.testing.assert_allclose(b.forces, a.forces, atol=1e-6)
    snap = made("snap")
    export_mliap(snap, tmp_path)
    from_lammps = read_mliap(tmp_path / "potential.mliap.model", tmp_path / "potential.mliap.descriptor")
    assert from_lammps.predict(atoms).energy == pytest.approx(snap.predict(atoms).energy, rel=1e-9)


def test_energies_far_from_zero_are_met_at_the_start():
    potential, rng = made(), np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(24, potential.descriptor.n_features)))
    blocks = [(k % 8, k % 3, features[3 * k : 3 * k + 3]) for k in range(8)]
    energies = {k: (float(rng.normal() - 30.0) * 3, 3) for k in range(8)}
    assert fit_output_layer(potential, blocks, energies)
    off = []
    for k, species, x in blocks:
        with torch.no_grad():
            off.append(
                1.7 * float(potential.model(potential.scaler(x), species).sum()) / 3 - energies[k][0] / 3
            )
    assert np.sqrt(np.mean(np.square(off))) < 3.0  # of 30


def test_the_spread_of_a_last_layer_is_refused():
    with pytest.raises(ConfigError, match="all elements share"):
        fit_last_layer(made("snap"), labelled())
    with pytest.raises(ConfigError, match=r"model\.shared: false"):
        RunSettings.parse(
            {"data": {"train": ["x"]}, "model": {"kind": "network", "shared": True}, "last_layer": True}
        )


def test_it_trains(tmp_path):
    write(tmp_path / "x.xyz", labelled(10), format="extxyz")
    config = {
        "data": {"train": [str(tmp_path / "x.xyz")], "split": {"valid": 0.2}},
        "descriptor": {"kind": "nep", **DESCRIPTORS["nep"]},
        "model": {"kind": "network", "hidden": [4], "shared": True},
        "training": {"kind": "kalman", "epochs": 3, "blocks": "neuron"},
    }
    run = ff.train(config, output=tmp_path / "run")
    assert run.potential.model.settings == NetworkSettings(hidden=(4,), shared=True)
    assert run.history[-1]["loss_train"] < run.history[0]["loss_train"]
