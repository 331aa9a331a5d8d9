"""The ASE calculator: same numbers as the potential, whatever ASE does with the structure."""

from __future__ import annotations

import copy
import multiprocessing
import pickle

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_stress
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE

from forgefield.deployment.ase import ForgefieldCalculator
from forgefield.descriptors import NEP
from forgefield.engine.predictor import Predictor
from forgefield.errors import ConfigError, StructureError, UnknownSpeciesError
from forgefield.models import Network, NetworkSettings
from forgefield.models.potential import Potential


def make(dtype=torch.float64):
    torch.manual_seed(3)
    d = NEP(["Si", "O"], n_max_radial=3, n_max_angular=2, basis_size_radial=5, basis_size_angular=4, l_max=2)
    model = Network(d.n_features, 2, NetworkSettings(hidden=(8,)))
    return Potential(d, model, {14: -3.0, 8: -7.0}).to_dtype(dtype)


def crystal(seed=0, n=1):
    atoms = bulk("Si", cubic=True) * (n, 1, 1)
    atoms.numbers[::3] = 8
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.fixture(scope="module")
def potential():
    return make()


def test_results_are_the_potentials(potential):
    atoms = crystal()
    atoms.calc = potential.calculator()
    expected = potential.predict(atoms)
    assert isinstance(atoms.calc, ForgefieldCalculator)
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, rel=1e-13)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    assert np.allclose(atoms.get_forces(), expected.forces, rtol=0, atol=1e-12)
    assert np.allclose(atoms.get_stress(), expected.stress, rtol=0, atol=1e-13)
    assert np.allclose(atoms.get_potential_energies().sum(), atoms.get_potential_energy(), rtol=1e-13)
    assert atoms.get_stresses().shape == (8, 6)
    assert np.allclose(atoms.get_stresses().sum(axis=0), atoms.get_stress(), rtol=0, atol=1e-13)
    assert np.allclose(
        atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5, voigt=True), rtol=1e-5, atol=1e-8
    )


def test_stress_without_a_volume(potential):
    atoms = crystal()
    atoms.pbc = (True, True, False)
    atoms.calc = potential.calculator()
    assert np.isfinite(atoms.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError, match="periodic in three directions"):
        atoms.get_stress()
    cluster = Atoms("SiO", [[0, 0, 0], [0, 0, 1.6]], calculator=potential.calculator())
    assert cluster.get_forces()[0, 2] == pytest.approx(-cluster.get_forces()[1, 2])


@pytest.mark.parametrize("skin", [0.0, 0.7])
def test_a_moving_structure_gets_the_same_as_a_new_one(potential, skin):
    rng = np.random.default_rng(0)
    atoms = crystal()
    atoms.calc = potential.calculator(skin=skin)
    for step in range(25):
        atoms.positions += 0.03 * rng.standard_normal(atoms.positions.shape)
        if step % 3 == 0:
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.01 * rng.standard_normal((3, 3))))
        if step == 10:
            atoms.wrap()
        if step == 15:
            atoms.symbols[0] = "Si"
        if step == 20:
            atoms.pbc = (True, False, True)
        expected = potential.predict(atoms)
        assert np.allclose(atoms.get_forces(), expected.forces, rtol=0, atol=1e-11)
        assert atoms.get_potential_energy() == pytest.approx(expected.energy, rel=1e-12)
    builds = atoms.calc.n_neighbour_builds
    assert builds == 25 if skin == 0 else builds < 20


@pytest.mark.parametrize("backend", ["compiled", "torch"])
def test_nothing_is_computed_twice(backend, potential, monkeypatch):
    calls = []
    owner, name = (Predictor, "predict") if backend == "compiled" else (Potential, "predict_graph")
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *a, **k: calls.append(1) or original(*a, **k))
    atoms = crystal()
    atoms.calc = potential.calculator(backend=backend)
    assert atoms.calc.backend == backend
    for _ in range(2):
        atoms.get_potential_energy()
        atoms.get_forces()
        atoms.get_stress()
    assert len(calls) == 1
    atoms.positions[0, 0] += 1e-6
    atoms.get_forces()
    assert len(calls) == 2


def test_backends_agree(potential):
    atoms = crystal()
    results = []
    for backend in ("compiled", "torch"):
        calculator = potential.calculator(backend=backend)
        assert calculator.backend == backend
        calculator.calculate(atoms, ["energy", "stresses"])
        results.append(calculator.results)
    for key, expected in results[1].items():
        assert np.allclose(results[0][key], expected, rtol=1e-12, atol=1e-12), key
    with pytest.raises(ConfigError, match="backend"):
        potential.calculator(backend="abacus")


def test_number_type_and_threads(potential):
    single = potential.calculator(dtype="float32", threads=1)
    assert single.potential.dtype == torch.float32
    assert potential.dtype == torch.float64
    atoms = crystal()
    before = torch.get_num_threads()
    single.threads = before + 1
    exact = potential.predict(atoms).forces
    assert np.abs(single.get_forces(atoms) - exact).max() < 1e-4 * np.abs(exact).max()
    assert torch.get_num_threads() == before
    assert make(torch.float32).calculator().potential.dtype == torch.float32
    assert potential.calculator(dtype="float64").potential is potential


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"dtype": "half"}, "'half'"), ({"threads": 0}, "`threads`"), ({"skin": -0.1}, "`skin`")],
)
def test_settings_are_checked(potential, settings, message):
    with pytest.raises(ConfigError, match=message):
        potential.calculator(**settings)


def test_unusable_structures(potential):
    with pytest.raises(UnknownSpeciesError, match="Fe"):
        Atoms("Fe", calculator=potential.calculator()).get_potential_energy()
    atoms = crystal()
    atoms.calc = potential.calculator()
    atoms.get_forces()
    atoms.positions[1] = atoms.positions[0]
    with pytest.raises(StructureError, match=r"atoms 0 and 1"):
        atoms.get_forces()


def test_from_a_file(potential, tmp_path):
    path = potential.save(tmp_path / "x.ff")
    atoms = crystal()
    for given in (path, str(path)):
        atoms.calc = ForgefieldCalculator(given)
        assert np.array_equal(atoms.get_forces(), potential.predict(atoms).forces) or np.allclose(
            atoms.get_forces(), potential.predict(atoms).forces, rtol=0, atol=1e-13
        )


def energy_of(atoms):
    return atoms.get_potential_energy()


def test_copies_and_pickles_carry_the_potential(potential):
    atoms = crystal()
    atoms.calc = potential.calculator(threads=1, skin=0.5)
    energy = atoms.get_potential_energy()
    for other in (copy.deepcopy(atoms), pickle.loads(pickle.dumps(atoms))):  # noqa: S301 - our own
        assert other.calc is not atoms.calc
        assert other.calc.threads == 1
        assert other.calc._neighbours.skin == 0.5
        assert other.calc.results["energy"] == energy
        other.calc.reset()
        assert other.get_potential_energy() == pytest.approx(energy, rel=1e-13)
        other.positions[0] += 0.1
        assert other.get_potential_energy() != energy
    assert atoms.get_potential_energy() == energy


@pytest.mark.slow
def test_other_processes(potential):
    frames = [crystal(seed=s) for s in range(2)]
    for atoms in frames:
        atoms.calc = potential.calculator(threads=1)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        energies = pool.map(energy_of, frames)
    assert np.allclose(energies, [a.get_potential_energy() for a in frames], rtol=1e-12)


def test_energy_is_conserved(potential):
    atoms = crystal(n=2)
    rng = np.random.default_rng(0)
    atoms.set_velocities(0.03 * rng.standard_normal((16, 3)))
    Stationary(atoms)
    atoms.calc = potential.calculator()
    start = atoms.get_total_energy()
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
    kinetic = [atoms.get_kinetic_energy() for _ in dynamics.irun(100)]
    assert np.ptp(kinetic) > 0.05
    assert abs(atoms.get_total_energy() - start) < 2e-3 * np.ptp(kinetic)
    assert atoms.calc.n_neighbour_builds < 30


def test_relaxation_of_positions_and_cell(potential):
    atoms = crystal()
    atoms.calc = potential.calculator()
    before = atoms.get_potential_energy()
    BFGS(atoms, logfile=None).run(fmax=0.05, steps=8)
    middle = atoms.get_potential_energy()
    FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.05, steps=8)
    assert before > middle > atoms.get_potential_energy()
    assert np.allclose(atoms.get_forces(), potential.predict(atoms).forces, rtol=0, atol=1e-11)


def test_fixed_atoms_stay(potential):
    atoms = crystal()
    atoms.set_constraint(FixAtoms([0, 3]))
    atoms.calc = potential.calculator()
    start = atoms.positions.copy()
    BFGS(atoms, logfile=None).run(steps=3)
    assert np.array_equal(atoms.positions[[0, 3]], start[[0, 3]])
    assert np.abs(atoms.positions - start).max() > 1e-3
    assert (atoms.get_forces()[[0, 3]] == 0).all()
    assert np.abs(atoms.get_forces(apply_constraint=False)[0]).max() > 1e-3


def test_results_can_be_written(potential, tmp_path):
    atoms = crystal()
    atoms.calc = potential.calculator()
    atoms.get_stress()
    for name in ("x.traj", "x.xyz", "x.json"):
        ase.io.write(tmp_path / name, atoms)
        other = ase.io.read(tmp_path / name)
        assert other.get_potential_energy() == pytest.approx(atoms.get_potential_energy())
        assert np.allclose(other.get_forces(), atoms.get_forces(), atol=1e-7)
