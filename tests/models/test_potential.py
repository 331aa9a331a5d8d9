"""The potential and its parts: models against NumPy, pieces, units of the heat flux, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from forgefield.descriptors import NEP, SO3
from forgefield.errors import ConfigError, StructureError, UnknownSpeciesError
from forgefield.graph import batch
from forgefield.keys import matrix_to_voigt
from forgefield.models import Linear, Network, NetworkSettings, make_model
from forgefield.models import potential as module
from forgefield.models.potential import Potential
from forgefield.models.scaler import FeatureScaler
from forgefield.testing.numerics import deviation


def make(species=("Si", "O"), seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    d = NEP(species, n_max_radial=3, n_max_angular=3, l_max=3, cutoff_angular=4.0)
    return Potential(d, Network(d.n_features, d.n_species), {14: -3.0, 8: -7.0}).to_dtype(dtype)


def crystal(n=2, seed=0):
    atoms = bulk("Si", cubic=True) * (n, 1, 1)
    atoms.numbers[::3] = 8
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.mark.parametrize("activation", ["tanh", "silu", "softplus"])
@pytest.mark.parametrize("hidden", [(5,), (6, 4)])
def test_network_is_matrix_products(activation, hidden):
    model = Network(3, 2, NetworkSettings(hidden=hidden, activation=activation)).double()
    q = np.random.default_rng(0).standard_normal((7, 3))
    functions = {
        "tanh": np.tanh,
        "silu": lambda x: x / (1 + np.exp(-x)),
        "softplus": lambda x: np.log1p(np.exp(x)) - np.log(2),
    }
    for species in (0, 1):
        x = q
        for n, (weight, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
            x = x @ weight.detach().numpy()[species] + bias.detach().numpy()[species]
            if n < len(hidden):
                x = functions[activation](x)
        got = model(torch.from_numpy(q), species).detach().numpy()
        assert got.shape == (7,)
        assert np.allclose(got, x[:, 0], rtol=1e-13)


def test_models_of_one_atom_keep_their_axis():
    for kind in ("linear", "network"):
        model = make_model({"kind": kind}, 3, 1)
        assert model(torch.zeros(1, 3), 0).shape == (1,)
        assert model(torch.zeros(0, 3), 0).shape == (0,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"kind": "networks"}, "did you mean 'network'"), ({"kind": "network", "hidden": []}, "hidden")],
)
def test_model_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_model(settings, 3, 1)


def test_initial_parameters_follow_the_generator():
    model = Network(4, 1)
    draws = []
    for _ in range(2):
        model.reset_parameters(torch.Generator().manual_seed(3))
        draws.append(model.weights[0].detach().clone())
    assert torch.equal(*draws)


def test_scaler_kinds():
    x = torch.tensor([[1.0, 5.0, 2.0], [3.0, 5.0, 4.0], [5.0, 5.0, 12.0]], dtype=torch.float64)
    scaler = FeatureScaler(3).double()
    scaler.fit(x, "standard")
    y = scaler(x)
    assert torch.allclose(y.mean(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-14)
    assert torch.allclose(y[:, [0, 2]].std(dim=0, correction=0), torch.ones(2, dtype=torch.float64))
    assert y[:, 1].abs().max() == 0  # a constant feature is not blown up
    scaler.fit(x, "minmax")
    assert torch.equal(scaler(x)[:, [0, 2]].amax(dim=0), torch.ones(2, dtype=torch.float64))
    scaler.fit(x, "none")
    assert torch.equal(scaler(x), x)


def test_energy_scale_and_references():
    p, atoms = make(), crystal()
    one = p.predict(atoms)
    p.energy_scale.fill_(2.5)
    p.references.zero_()
    other = p.predict(atoms)
    lone = np.where(atoms.numbers == 8, -7.0, -3.0)
    assert np.allclose(other.energies, 2.5 * (one.energies - lone), rtol=1e-12)
    assert np.allclose(other.forces, 2.5 * one.forces, rtol=1e-12)
    assert np.allclose(other.stress, 2.5 * one.stress, rtol=1e-12)


def test_large_structures_are_evaluated_in_pieces(monkeypatch):
    p, atoms = make(), crystal(3)
    whole = p.predict(atoms)
    monkeypatch.setattr(module, "ROWS_PER_CHUNK", 300)
    for kind in ("I", "II", "III"):
        pieces = p.predict(atoms, virials=kind)
        assert deviation(pieces.energies, whole.energies) < 1e-13
        assert deviation(pieces.forces, whole.forces) < 1e-13
        assert deviation(pieces.virials.sum(axis=0), whole.virials.sum(axis=0)) < 1e-12


def test_predict_many_of_nothing_and_of_many():
    p = make()
    assert p.predict_many([]) == []
    frames = [crystal(n, seed=n) for n in (1, 2, 3)]
    for batch_size in (1, 2, 16):
        for got, atoms in zip(p.predict_many(frames, batch_size=batch_size), frames, strict=True):
            assert deviation(got.forces, p.predict(atoms).forces) < 1e-12


def test_evaluate_gives_parameter_gradients_of_forces():
    p, atoms = make(), crystal(1)
    graph = p.tensors(p.graph(atoms))
    weight = p.model.weights[0]
    loss = (p.evaluate(graph, training=True).forces ** 2).sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    index, h = (1, 2, 3), 1e-5
    values = []
    for step in (-h, h):
        with torch.no_grad():
            weight[index] += step
        values.append(float((p.evaluate(graph).forces ** 2).sum()))
        with torch.no_grad():
            weight[index] -= step
    assert float(gradient[index]) == pytest.approx((values[1] - values[0]) / (2 * h), rel=1e-6)


def test_evaluate_gives_coefficient_gradients_of_strain():
    p = make()
    graph = p.tensors(batch([p.graph(crystal(1)), p.graph(crystal(2))]))
    c = p.descriptor.c_angular
    loss = (p.evaluate(graph, training=True).strain_gradient ** 2).sum()
    (gradient,) = torch.autograd.grad(loss, c)
    index, h = (0, 3, 2), 1e-5
    values = []
    for step in (-h, h):
        with torch.no_grad():
            c[index] += step
        values.append(float((p.evaluate(graph).strain_gradient ** 2).sum()))
        with torch.no_grad():
            c[index] -= step
    assert float(gradient[index]) == pytest.approx((values[1] - values[0]) / (2 * h), rel=1e-6)


def test_stress_needs_a_volume():
    atoms = crystal()
    atoms.pbc = (True, True, False)
    p = make()
    result = p.predict(atoms)
    assert result.stress is None
    assert np.isfinite(result.virials).all()
    with pytest.raises(ConfigError, match=r"`stress` needs a cell periodic in three directions"):
        p.predict(atoms, ["stress"])
    with pytest.raises(ConfigError, match="heat flux"):
        p.heat_flux(atoms)


@pytest.mark.parametrize("kind", ["i", "IV", ""])
def test_kind_of_virials_is_checked(kind):
    with pytest.raises(ConfigError, match="'I', 'II' or 'III'"):
        make().predict(crystal(), virials=kind)


def test_unusable_structures():
    p = make()
    with pytest.raises(UnknownSpeciesError, match="knows O, Si, but the structure contains Fe"):
        p.predict(Atoms("Fe"))
    with pytest.raises(StructureError, match="no atoms"):
        p.predict(Atoms())


def test_kinds_of_virials_differ_atom_by_atom():
    p, atoms = make(), crystal()
    one, two, three = (p.predict(atoms, virials=k).virials for k in ("I", "II", "III"))
    assert deviation(two, one) > 1e-3
    assert np.allclose(three, 0.5 * (one + two))
    volume = abs(atoms.get_volume())
    assert deviation(matrix_to_voigt(-one.sum(axis=0)) / volume, p.predict(atoms).stress) < 1e-12


def test_only_kind_one_is_the_heat_flux():
    """Of a cluster in vacuum: the derivative of sum r_i (E_i + t_i) with respect to time."""
    p = make()
    rng = np.random.default_rng(5)
    atoms = Atoms("SiO4", [[0, 0, 0], [1.6, 0, 0], [-0.4, 1.6, 0], [0, -0.7, 1.5], [-0.3, -0.6, -1.6]])
    atoms.set_cell([20, 20, 20])
    atoms.pbc = True
    atoms.set_velocities(rng.standard_normal((5, 3)))
    v, h = atoms.get_velocities(), 1e-4
    kinetic = 0.5 * atoms.get_masses() * (v**2).sum(axis=1)
    moments = []
    for step in (-h, h):
        other = atoms.copy()
        other.positions += step * v
        moments.append(p.predict(other).energies @ other.positions)
    power = (p.predict(atoms).forces * v).sum(axis=1)
    expected = (moments[1] - moments[0]) / (2 * h) + kinetic @ v + power @ atoms.positions
    errors = {k: deviation(p.heat_flux(atoms, virials=k) * 8000.0, expected) for k in ("I", "II", "III")}
    assert errors["I"] < 1e-6
    assert errors["II"] > 1e-3
    assert errors["III"] > 1e-3
    full = p.heat_flux(atoms) - p.heat_flux(atoms, convective=False)
    convective = ((kinetic + p.predict(atoms).energies)[:, None] * v).sum(axis=0) / 8000.0
    assert np.allclose(full, convective, rtol=1e-12)


def test_number_types():
    p = make(dtype=torch.float32)
    assert p.dtype == torch.float32
    assert p.references.dtype == p.energy_scale.dtype == torch.float64
    assert p.to_dtype(torch.float64).dtype == torch.float64
    assert p.n_parameters == sum(x.numel() for x in p.parameters())


def test_linear_model_is_linear_in_the_features():
    d = SO3(["Si"], n_max=2, l_max=2)
    model = Linear(d.n_features, 1)
    model.reset_parameters(torch.Generator().manual_seed(0))
    p = Potential(d, model).to_dtype(torch.float64)
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=0)
    w, b = model.weight.detach().numpy()[0], model.bias.detach().numpy()[0]
    assert np.allclose(p.predict(atoms).energies, d.compute(atoms) @ w + b, rtol=1e-12)
