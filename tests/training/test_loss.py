"""The loss of each paper, against its equation written out by hand; its gradients against differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from forgefield.descriptors import NEP, SO3
from forgefield.keys import VOIGT
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.training import accumulate
from forgefield.training.accumulate import Errors
from forgefield.training.batches import LabelledSet
from forgefield.training.initialise import initialise
from forgefield.training.loss import PRESETS, Loss, LossSettings, Residuals

WEIGHTS = {"energy": 1.3, "forces": 0.7, "stress": 2.1}
REFERENCES = {29: 0.2, 79: -0.4}


def small_potential(frames: list[Atoms], descriptor: str = "nep") -> tuple[Potential, LabelledSet]:
    kinds = {
        "nep": lambda: NEP(["Cu", "Au"], cutoff_radial=4.0, cutoff_angular=3.5, n_max_radial=2, n_max_angular=1,
                           basis_size_radial=3, basis_size_angular=3, l_max=2),
        "so3": lambda: SO3(["Cu", "Au"], cutoff=3.5, n_max=2, l_max=2),
    }  # fmt: skip
    features = kinds[descriptor]()
    model = make_model({"kind": "network", "hidden": [5]}, features.n_features, 2)
    potential = Potential(features, model, REFERENCES).to_dtype(torch.float64)
    data = LabelledSet(potential, frames)
    initialise(potential, data, "standard", torch.Generator().manual_seed(3))
    return potential, data


def by_hand(
    name: str, potential: Potential, frames: list[Atoms], scales: dict[str, float]
) -> dict[str, float]:
    """The terms of each normalisation, straight from the equations, one structure at a time."""
    energy, forces, per_structure, stress, virial = [], [], [], [], []
    for atoms in frames:
        p, n = potential.predict(atoms), len(atoms)
        energy.append((p.energy - atoms.get_potential_energy()) / n)
        df = p.forces - atoms.get_forces()
        forces.append(df.ravel())
        per_structure.append((df**2).sum() / (3 * n))
        ds = p.stress - atoms.get_stress()
        stress.append(ds)
        virial.append(ds * atoms.get_volume() / n)
    e, f = np.mean(np.square(energy)), np.mean(np.concatenate(forces) ** 2)
    s, v = np.mean(np.square(stress)), np.mean(np.square(virial))
    return {
        "relative": {
            "energy": e / scales["energy"] ** 2,
            "forces": f / scales["forces"] ** 2,
            "stress": s / scales["stress"] ** 2,
        },
        "softadapt": {"energy": e, "forces": f, "stress": s * 160.2176634**2},
        "pyxtal_ff": {"energy": e / 2, "forces": np.mean(per_structure) / 2, "stress": s / 2},
        "gnep": {"energy": e, "forces": f, "stress": v},
        "efp": {"energy": e / 2, "forces": np.mean(per_structure) / 2, "stress": v / 2},
    }[name]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_terms_are_those_of_the_paper(name: str, frames: list[Atoms]) -> None:
    frames = [*frames[:3], frames[4].repeat((2, 1, 1))]
    frames[3].calc = frames[0].calc.__class__(
        frames[3], energy=-1.0, forces=np.full((8, 3), 0.1), stress=np.arange(6) * 0.01
    )
    potential, data = small_potential(frames)
    scales = data.scales()
    loss = Loss(LossSettings(normalisation=name, **WEIGHTS), scales)
    batch = data.batch(range(4), torch.float64)
    terms = loss.terms(potential.evaluate(batch.graph), batch)
    expected = by_hand(name, potential, frames, scales)
    for key, value in expected.items():
        assert float(terms.values[key].detach()) == pytest.approx(value, rel=1e-11)


@pytest.mark.parametrize("error", ["mse", "mae", "huber"])
@pytest.mark.parametrize("descriptor", ["nep", "so3"])
def test_parameter_gradients_equal_differences(error: str, descriptor: str, frames: list[Atoms]) -> None:
    potential, data = small_potential(frames[:3], descriptor)
    settings = LossSettings(error=error, huber_delta=0.5, **WEIGHTS)
    loss = Loss(settings, data.scales())
    batch = data.batch(range(3), torch.float64)

    def value(*, training: bool) -> torch.Tensor:
        terms = loss.terms(potential.evaluate(batch.graph, training=training), batch).values
        return torch.stack([WEIGHTS[k] * v for k, v in terms.items()]).sum()

    value(training=True).backward()
    rng = np.random.default_rng(1)
    for parameter in potential.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in rng.choice(len(flat), size=min(3, len(flat)), replace=False):
            old, step = float(flat[i]), 1e-5
            flat[i] = old + step
            up = float(value(training=False).detach())
            flat[i] = old - step
            down = float(value(training=False).detach())
            flat[i] = old
            numeric = (up - down) / (2 * step)
            assert float(gradient[i]) == pytest.approx(numeric, rel=2e-6, abs=2e-8)


def test_missing_labels_are_masked(frames: list[Atoms]) -> None:
    full, _ = small_potential(frames[:2])
    bare = frames[1].copy()
    bare.calc = type(frames[0].calc)(bare, energy=frames[1].get_potential_energy())
    data = LabelledSet(full, [frames[0], bare])
    batch = data.batch([0, 1], torch.float64)
    loss = Loss(LossSettings(), data.scales())
    terms = loss.terms(full.evaluate(batch.graph), batch)
    assert terms.residuals.energy.shape == (2,)
    assert terms.residuals.forces.shape == (len(frames[0]), 3)
    assert terms.residuals.stress.shape == (1, 6)
    nothing = data.batch([1], torch.float64)
    assert set(loss.terms(full.evaluate(nothing.graph), nothing).values) == {"energy"}


def test_structure_weights_weight_the_mean(frames: list[Atoms]) -> None:
    frames = [a.copy() for a in frames[:2]]
    for atoms, energy, weight in zip(frames, (1.0, 2.0), (3.0, 1.0), strict=True):
        atoms.calc = _Energy(atoms, energy)
        atoms.info["weight"], atoms.info["energy_weight"] = 0.5 * weight, 2.0
    potential, data = small_potential(frames)
    loss = Loss(LossSettings(normalisation="gnep"), {})
    batch = data.batch([0, 1], torch.float64)
    value = float(loss.terms(potential.evaluate(batch.graph), batch).values["energy"].detach())
    squares = [
        ((potential.predict(a).energy - e) / len(a)) ** 2 for a, e in zip(frames, (1.0, 2.0), strict=True)
    ]
    assert value == pytest.approx((3 * squares[0] + squares[1]) / 4, rel=1e-12)


def test_group_weights_multiply_those_of_the_structures(frames: list[Atoms]) -> None:
    potential, _ = small_potential(frames)
    frames[1].info.update(config_type="rare", weight=2.0)
    data = LabelledSet(potential, frames[:2], {"rare": 3.0})
    assert data.batch([0, 1], torch.float64).weights["forces"].tolist() == [1.0, 6.0]


def test_errors_are_reported_in_meV_and_GPa(frames: list[Atoms]) -> None:
    potential, data = small_potential(frames)
    batch = data.batch(range(len(frames)), torch.float64)
    errors = Errors()
    errors.add(Loss(LossSettings(), data.scales()).terms(potential.evaluate(batch.graph), batch).residuals)
    stress = [potential.predict(a).stress - a.get_stress() for a in frames]
    energy = [(potential.predict(a).energy - a.get_potential_energy()) / len(a) for a in frames]
    assert errors.mae()["stress_mae"] == pytest.approx(160.2176634 * np.mean(np.abs(stress)), rel=1e-9)
    assert errors.rmse()["energy_rmse"] == pytest.approx(1e3 * np.sqrt(np.mean(np.square(energy))), rel=1e-9)


def test_strain_gradient_order_matches_voigt(frames: list[Atoms]) -> None:
    potential, data = small_potential(frames)
    batch = data.batch([1], torch.float64)
    out = potential.evaluate(batch.graph)
    assert VOIGT[3:] == ((1, 2), (0, 2), (0, 1))
    stress = potential.predict(frames[1]).stress
    assert np.allclose(
        out.strain_gradient[0].numpy() / frames[1].get_volume(), stress, rtol=1e-12, atol=1e-14
    )


class _Energy:
    """A calculator that knows an energy only."""

    def __init__(self, atoms: Atoms, energy: float) -> None:
        self.results = {"energy": energy}
        self.atoms = atoms


def test_errors_added_in_blocks_are_those_of_all_residuals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accumulate, "HELD", 40)
    rng, errors = np.random.default_rng(3), Errors()
    shapes = [((n,), (4 * n, 3), (0, 6)) for n in (2, 1, 3, 1)]
    batches = [Residuals(*(torch.from_numpy(rng.normal(size=s)) for s in own)) for own in shapes]
    for batch in batches:
        errors.add(batch)
    for name in ("energy", "forces"):
        x = np.concatenate([np.asarray(getattr(batch, name)).ravel() for batch in batches])
        assert errors.rmse()[f"{name}_rmse"] == pytest.approx(1e3 * np.sqrt(np.mean(x**2)), rel=1e-12)
        assert errors.mae()[f"{name}_mae"] == pytest.approx(1e3 * np.abs(x).mean(), rel=1e-12)
    assert errors.rmse()["stress_rmse"] is None
