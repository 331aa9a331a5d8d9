"""torch-sim: its own check of models, the numbers of ASE's integrators, batches of relaxations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from forgefield.descriptors import NEP, SNAP
from forgefield.errors import ConfigError, UnknownSpeciesError
from forgefield.models import Network, NetworkSettings
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential

ts = pytest.importorskip("torch_sim", reason="needs pip install torch-sim-atomistic")

from torch_sim.models.interface import validate_model_outputs  # noqa: E402

from forgefield.deployment.torchsim import ForgefieldModel  # noqa: E402

CPU = torch.device("cpu")
BACKENDS = ["compiled", "torch"]


def make(seed=3, descriptor=None):
    torch.manual_seed(seed)
    small = {
        "n_max_radial": 3,
        "n_max_angular": 2,
        "basis_size_radial": 5,
        "basis_size_angular": 4,
        "l_max": 2,
    }
    d = descriptor or NEP(["Si", "Fe"], **small)
    model = Network(d.n_features, 2, NetworkSettings(hidden=(8,)))
    return Potential(d, model, {14: -3.0, 26: -7.0}).to_dtype(torch.float64)


def frames(n=3):
    result = []
    for k in range(n):
        atoms = bulk("Si", "diamond", a=5.43) * (1 + k % 2, 1, 2)
        atoms.numbers[::3] = 26
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * k * np.eye(3, k=1)), scale_atoms=True)
        atoms.rattle(0.1, seed=k)
        result.append(atoms)
    return result


@pytest.fixture(scope="module")
def potential():
    return make()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_conforms(potential, backend, dtype):
    model = ForgefieldModel(potential, dtype=dtype, backend=backend)
    assert model.backend == backend
    assert potential.dtype == torch.float64  # untouched
    validate_model_outputs(model, CPU, dtype)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_says_what_the_potential_says(potential, backend):
    atoms = frames()
    model = ForgefieldModel(potential, backend=backend)
    state = ts.initialize_state(atoms, CPU, torch.float64)
    found = model(state)
    start = 0
    for k, one in enumerate(atoms):
        truth = potential.predict(one)
        rows = slice(start, start + len(one))
        start += len(one)
        assert float(found["energy"][k]) == pytest.approx(truth.energy, rel=1e-12)
        assert np.allclose(found["energies"][rows].numpy(), truth.energies, rtol=0, atol=1e-11)
        assert np.allclose(found["forces"][rows].numpy(), truth.forces, rtol=0, atol=1e-11)
        one.calc = potential.calculator()
        assert np.allclose(found["stress"][k].numpy(), one.get_stress(voigt=False), rtol=0, atol=1e-12)
    as_dict = {k: getattr(state, k) for k in ("positions", "cell", "atomic_numbers", "system_idx", "pbc")}
    assert torch.equal(model(as_dict)["energy"], found["energy"])


def test_other_descriptor_and_committee():
    snap = ForgefieldModel(make(1, SNAP(["Si", "Fe"], two_j_max=2)))
    validate_model_outputs(snap, CPU, torch.float64)
    committee = Committee([make(1), make(2)])
    state = ts.initialize_state(frames(2), CPU, torch.float64)
    found = ForgefieldModel(committee)(state)
    assert float(found["energy"][1]) == pytest.approx(committee.predict(frames(2)[1]).energy, rel=1e-12)


def test_what_is_wanted(potential, tmp_path):
    state = ts.initialize_state(frames(1), CPU, torch.float64)
    model = ForgefieldModel(potential.save(tmp_path / "a.ff"), compute_stress=False, compute_forces=False)
    assert set(model(state)) == {"energy", "energies"}
    model.compute_stress = True
    assert "stress" in model(state)
    cluster = ts.initialize_state([Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]])], CPU, torch.float64)
    with pytest.raises(ConfigError, match="compute_stress=False"):
        model(cluster)
    model.compute_stress = False
    assert torch.isfinite(model(cluster)["energy"]).all()
    with pytest.raises(ConfigError, match="float32"):
        model(ts.initialize_state(frames(1), CPU, torch.float32))
    with pytest.raises(UnknownSpeciesError, match="Ge"):
        model(ts.initialize_state([bulk("Ge")], CPU, torch.float64))
    with pytest.raises(ConfigError, match="dtype"):
        ForgefieldModel(potential, dtype="float16")


def test_batched_dynamics_conserves_energy_and_follows_ase(potential):
    atoms = frames(2)
    rng = np.random.default_rng(0)
    state = ts.initialize_state(atoms, CPU, torch.float64)
    model = ForgefieldModel(potential, threads=1)
    init, update = ts.nve(
        model=model, dt=torch.tensor(0.0005) * ts.units.MetalUnits.time, kT=torch.tensor(0.0)
    )
    state = init(state, seed=0)
    momenta = torch.from_numpy(rng.normal(size=tuple(state.momenta.shape)))
    state.momenta = momenta * 0.3
    for k, one in enumerate(atoms):
        one.set_momenta(state.momenta[state.system_idx == k].numpy())
        one.calc = potential.calculator(threads=1)

    def total():
        kinetic = 0.5 * (state.momenta**2).sum(dim=1) / state.masses
        return state.energy + torch.zeros(2, dtype=torch.float64).index_add(0, state.system_idx, kinetic)

    before, start = total().clone(), state.energy.clone()
    for _ in range(30):
        state = update(state)
    assert (total() - before).abs().max() < 0.02 * (state.energy - start).abs().max()
    for k, one in enumerate(atoms):
        VelocityVerlet(one, 0.5 * units.fs).run(30)
        moved = state.positions[state.system_idx == k].numpy() - one.positions
        cells = moved @ np.linalg.inv(one.cell.array)  # torch-sim wraps
        assert np.abs(cells - np.round(cells)).max() < 2e-6
        assert np.round(cells).any()
    assert model.n_neighbour_builds <= 4


def test_batched_relaxation(potential):
    atoms = frames(3)
    model = ForgefieldModel(potential, threads=1)
    with pytest.warns(UserWarning, match="max steps"):
        done = ts.optimize(
            atoms, model, optimizer=ts.frechet_cell_fire, max_steps=15, steps_between_swaps=5, pbar=False
        )
    before = [potential.predict(one).energy for one in atoms]
    assert (done.energy.numpy() < np.array(before) - 1e-3).all()
    again = model(ts.initialize_state(done.to_atoms(), CPU, torch.float64))
    assert np.allclose(again["energy"].numpy(), done.energy.numpy(), rtol=0, atol=1e-9)
