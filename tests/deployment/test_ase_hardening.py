"""The calculator under what ASE users do to calculators: threads, processes, shared images, edits in place."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError, get_calculator_class
from ase.calculators.fd import calculate_numerical_forces
from ase.constraints import FixAtoms, FixBondLength, FixSymmetry
from ase.filters import FrechetCellFilter
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import BFGS

from forgefield.deployment.ase import SPREADS, ForgefieldCalculator
from forgefield.descriptors import NEP
from forgefield.engine.predictor import Predictor
from forgefield.errors import StructureError
from forgefield.models import Network, NetworkSettings
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential


def make(seed=3):
    torch.manual_seed(seed)
    d = NEP(["Si", "O"], n_max_radial=3, n_max_angular=2, basis_size_radial=5, basis_size_angular=4, l_max=2)
    model = Network(d.n_features, 2, NetworkSettings(hidden=(8,)))
    return Potential(d, model, {14: -3.0, 8: -7.0}).to_dtype(torch.float64)


def crystal(seed=0, repeat=(1, 1, 1)):
    atoms = bulk("Si", cubic=True) * repeat
    atoms.numbers[::3] = 8
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.fixture(scope="module")
def potential():
    return make()


@pytest.fixture(params=["compiled", "torch"])
def calculator(request, potential):
    calc = potential.calculator(backend=request.param, threads=1)
    assert calc.backend == request.param
    return calc


def energy_and_forces(atoms):
    return atoms.get_potential_energy(), atoms.get_forces()


# ---- threads and processes -----------------------------------------------------------------------------------


def test_threads_may_share_a_calculator(calculator, potential):
    frames = [crystal(seed, (1 + seed % 3, 1, 1)) for seed in range(6)]
    expected = [potential.predict(atoms) for atoms in frames]
    for atoms in frames:
        atoms.calc = calculator
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            found = list(pool.map(energy_and_forces, frames))
            for (energy, forces), truth in zip(found, expected, strict=True):
                assert energy == pytest.approx(truth.energy, rel=1e-12)
                assert np.allclose(forces, truth.forces, rtol=0, atol=1e-11)
            calculator.reset()


def test_threads_with_a_calculator_each(potential):
    frames = [crystal(seed, (2, 1, 1)) for seed in range(6)]
    expected = [potential.predict(atoms).forces for atoms in frames]

    def run(atoms):
        atoms.calc = potential.calculator(threads=2)
        return atoms.get_forces()

    with ThreadPoolExecutor(4) as pool:
        for forces, truth in zip(pool.map(run, frames), expected, strict=True):
            assert np.allclose(forces, truth, rtol=0, atol=1e-11)


def test_a_copy_is_independent(calculator):
    atoms = crystal()
    atoms.calc = calculator
    atoms.get_forces()
    for other in (copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))):  # noqa: S301 - our own
        assert other._lock is not calculator._lock
        assert other.backend == calculator.backend
        moved = crystal(5)
        moved.calc = other
        energy = moved.get_potential_energy()
        assert atoms.calc.results["energy"] != energy
        assert atoms.calc is calculator


@pytest.mark.slow
def test_spawned_processes_with_a_committee():
    frames = [crystal(seed) for seed in range(2)]
    for atoms in frames:
        atoms.calc = Committee([make(1), make(2)]).calculator(threads=1)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(energy_and_forces, frames)
    for (energy, forces), atoms in zip(found, frames, strict=True):
        assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
        assert np.allclose(forces, atoms.get_forces(), rtol=0, atol=1e-11)


# ---- what is computed and kept -------------------------------------------------------------------------------


def test_edits_in_place_are_seen(calculator, potential):
    atoms = crystal(repeat=(2, 1, 1))
    atoms.calc = calculator

    def check():
        truth = potential.predict(atoms)
        assert atoms.get_potential_energy() == pytest.approx(truth.energy, rel=1e-12)
        assert np.allclose(atoms.get_forces(), truth.forces, rtol=0, atol=1e-11)

    check()
    atoms.numbers[1] = 8  # another element
    check()
    atoms.numbers[:] = 14  # one element is gone
    check()
    atoms.numbers[::2] = 8
    check()
    atoms.cell[2] *= 1.05  # atoms stay, cell grows
    check()
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.3 * np.eye(3, k=1)), scale_atoms=True)
    check()
    atoms.wrap()
    check()
    del atoms[3]
    check()
    atoms.append("O")
    atoms.positions[-1] = atoms.positions[0] + [1.2, 0.9, 0.0]
    check()
    atoms.pbc = (True, False, True)
    check()
    atoms.pbc = True
    check()
    other = atoms[[4, 2, 3, 0, 1]]  # another order and number of atoms with the same calculator
    other.calc = calculator
    atoms = other
    check()


def test_what_does_not_matter_is_not_computed_again(potential, monkeypatch):
    calls = []
    original = Predictor.predict
    monkeypatch.setattr(Predictor, "predict", lambda *a, **k: calls.append(1) or original(*a, **k))
    atoms = crystal()
    atoms.calc = potential.calculator()
    atoms.get_potential_energy()
    atoms.set_initial_charges(np.ones(len(atoms)))
    atoms.set_initial_magnetic_moments(np.ones(len(atoms)))
    atoms.set_tags(range(len(atoms)))
    atoms.set_momenta(np.ones((len(atoms), 3)))
    atoms.get_forces()
    assert len(calls) == 1
    assert atoms.calc.check_state(atoms) == []
    assert not atoms.calc.calculation_required(atoms, ["energy", "stress"])
    atoms.get_stresses()
    atoms.get_forces()
    atoms.get_stresses()
    assert len(calls) == 2


def test_subsets_of_properties(calculator):
    atoms = crystal()
    calculator.calculate(atoms, ["energy"])
    energy, stress = calculator.results["energy"], calculator.results["stress"]
    assert calculator.get_property("forces", atoms, allow_calculation=False) is not None
    assert calculator.get_property("extrapolation", atoms, allow_calculation=False) is None
    calculator.calculate(atoms, ["forces", "stresses"], [])
    assert calculator.results["energy"] == pytest.approx(energy, rel=1e-13)
    atoms.calc = calculator
    assert np.allclose(atoms.get_stresses().sum(axis=0), stress, rtol=0, atol=1e-13)
    assert np.allclose(atoms.get_stresses(voigt=False).sum(axis=0), atoms.get_stress(voigt=False), atol=1e-13)
    found = atoms.get_properties(["energy", "forces", "stress"])
    assert found["energy"] == pytest.approx(energy, rel=1e-13)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_dipole_moment()


def test_results_belong_to_the_caller(calculator):
    atoms = crystal()
    atoms.calc = calculator
    forces = atoms.get_forces()
    forces[:] = 0.0
    assert np.abs(atoms.get_forces()).max() > 0.0


def test_an_error_leaves_no_results_of_other_atoms(calculator):
    atoms = crystal()
    atoms.calc = calculator
    energy = atoms.get_potential_energy()
    good = atoms.positions.copy()
    atoms.positions[1] = atoms.positions[0]
    for _ in range(2):
        with pytest.raises(StructureError):
            atoms.get_forces()
    with pytest.raises(StructureError):
        calculator.calculate(atoms)
    assert calculator.results == {}
    atoms.positions[:] = good
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-13)


def test_several_properties_of_a_committee():
    atoms = crystal()
    atoms.calc = Committee([make(1), make(2)]).calculator()
    found = atoms.get_properties(["energy", "stress"])
    assert found["energy"] == atoms.calc.results["energy"]
    assert set(SPREADS) <= set(atoms.calc.results)
    assert atoms.calc.get_property("forces_spread", atoms).shape == (len(atoms),)


# ---- what ASE does with it -----------------------------------------------------------------------------------


def test_forces_are_the_slope_of_the_energy(calculator):
    atoms = crystal()
    atoms.calc = calculator
    numerical = calculate_numerical_forces(atoms, eps=1e-4, iatoms=[0, 5])
    assert np.allclose(atoms.get_forces()[[0, 5]], numerical, rtol=0, atol=1e-6)


def band(n=5):
    """A vacancy that an atom jumps into."""
    start = bulk("Si", cubic=True) * (2, 1, 1)
    del start[0]
    end = start.copy()
    end.positions[0] *= 0.2
    return [start.copy() for _ in range(n - 1)] + [end]


@pytest.mark.parametrize("shared", [True, False])
def test_nudged_elastic_band(potential, shared):
    images = band()
    one = potential.calculator()
    for image in images:
        image.calc = one if shared else potential.calculator()
    neb = NEB(images, allow_shared_calculator=shared, method="improvedtangent")
    neb.interpolate(mic=True)
    BFGS(neb, logfile=None).run(fmax=0.01, steps=3)
    for image, energy in zip(images[1:-1], neb.energies[1:-1], strict=True):
        assert energy == pytest.approx(potential.predict(image).energy, rel=1e-11)
    assert np.ptp(neb.energies[1:-1]) > 1e-3


def test_nudged_elastic_band_in_threads(potential):
    forces = []
    for parallel in (False, True):
        images = band()
        for image in images:
            image.calc = potential.calculator()
        neb = NEB(images, parallel=parallel, method="improvedtangent")
        neb.interpolate(mic=True)
        forces.append(neb.get_forces())
    assert np.allclose(*forces, rtol=0, atol=1e-11)


def test_dynamics_conserves_with_constraints(potential):
    atoms = crystal(repeat=(2, 1, 1))
    atoms.set_constraint([FixAtoms([0]), FixBondLength(3, 4)])
    atoms.calc = potential.calculator()
    atoms.set_velocities(0.02 * np.random.default_rng(1).normal(size=(len(atoms), 3)))
    length, place = atoms.get_distance(3, 4, mic=True), atoms.positions[0].copy()
    start = atoms.get_total_energy()
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
    kinetic = [atoms.get_kinetic_energy() for _ in dynamics.irun(60)]
    assert abs(atoms.get_total_energy() - start) < 1e-2 * np.ptp(kinetic)
    assert atoms.get_distance(3, 4, mic=True) == pytest.approx(length, abs=1e-8)
    assert np.array_equal(atoms.positions[0], place)
    Langevin(atoms, units.fs, temperature_K=300, friction=0.01, fixcm=False).run(5)
    assert np.isfinite(atoms.positions).all()


def test_relaxation_keeps_symmetry(potential):
    atoms = bulk("Si", cubic=True)
    atoms.set_cell(atoms.cell.array @ np.diag([1.03, 1.03, 0.98]), scale_atoms=True)
    atoms.set_constraint(FixSymmetry(atoms))
    atoms.calc = potential.calculator()
    before = atoms.get_potential_energy()
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.01, steps=8)
    lengths = atoms.cell.lengths()
    assert atoms.get_potential_energy() < before
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-8)
    assert lengths[0] != pytest.approx(lengths[2], rel=1e-3)


def test_one_atom_and_none_nearby(calculator):
    atoms = Atoms("Si", cell=[20, 20, 20], pbc=False)
    atoms.calc = calculator
    assert np.allclose(atoms.get_forces(), 0.0)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()
    assert np.isfinite(atoms.get_potential_energy())


# ---- how ASE finds it ----------------------------------------------------------------------------------------


def test_ase_knows_its_name():
    assert get_calculator_class("forgefield") is ForgefieldCalculator


def test_plug_in():
    plugins = pytest.importorskip("ase._4.plugins", reason="this ASE does not look for plug-ins").plugins
    if "forgefield" not in {e.name for e in entry_points(group="ase.plugins")}:
        pytest.skip("installed before the entry point existed: pip install -e . again")
    mine = [p for p in plugins.calculators if p.name == "forgefield"]
    assert len(mine) == 1
    assert mine[0].implementation is ForgefieldCalculator
    assert mine[0].package == "forgefield"
