"""Ensembles against their exact distributions, conservation laws, restarts to the bit, clear failures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from scipy import stats

from forgefield.descriptors import make_descriptor
from forgefield.errors import CheckpointError, ConfigError, SimulationError, StructureError
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.properties.dynamics import Dynamics, DynamicsSettings
from forgefield.properties.dynamics_file import read_state, write_state
from forgefield.properties.dynamics_forces import Forces, force_field

KT = units.kB * 300.0


class Free:
    """No forces at all."""

    def evaluate(self, positions, cell, *, virial=False, atomic=False):  # noqa: ARG002
        return Forces(0.0, np.zeros_like(positions), np.zeros((3, 3)))

    def reset(self):
        pass


class Springs(Free):
    """Every atom on a spring of its own to the origin."""

    def __init__(self, stiffness):
        self.stiffness = stiffness

    def evaluate(self, positions, cell, *, virial=False, atomic=False):  # noqa: ARG002
        return Forces(
            0.5 * self.stiffness * float((positions**2).sum()), -self.stiffness * positions, np.zeros((3, 3))
        )


class Bulk(Free):
    """An energy of the volume alone: ``E = B (V - V0)^2 / (2 V0)``."""

    def __init__(self, modulus, volume):
        self.modulus, self.volume = modulus, volume

    def evaluate(self, positions, cell, *, virial=False, atomic=False):  # noqa: ARG002
        change = abs(np.linalg.det(cell)) - self.volume
        pressure = -self.modulus * change / self.volume
        virial = pressure * abs(np.linalg.det(cell)) * np.eye(3)
        return Forces(0.5 * self.modulus * change**2 / self.volume, np.zeros_like(positions), virial)


def gas(n, length=20.0, symbol="Ar"):
    rng = np.random.default_rng(1)
    return Atoms([symbol] * n, positions=rng.uniform(0, length, (n, 3)), cell=[length] * 3, pbc=True)


def run(atoms, field, steps, every, **settings):
    dynamics = Dynamics(atoms, field, DynamicsSettings(**settings))
    return dynamics, dynamics.run(steps, every=every)


@pytest.mark.parametrize(
    "settings",
    [
        {"thermostat": "langevin", "friction": 0.05},
        {"thermostat": "langevin", "friction": 0.05, "fix_centre": False},
        {"thermostat": "bussi", "thermostat_time": 10.0},
    ],
    ids=["langevin", "langevin-free", "bussi"],
)
def test_kinetic_energy_is_gamma_distributed(settings):
    atoms = gas(5)
    atoms.set_masses([4.0, 20.0, 40.0, 84.0, 131.0])
    _, records = run(atoms, Free(), 12000, 60, timestep=1.0, temperature=300.0, seed=3, **settings)
    freedom = 12 if settings.get("fix_centre", True) else 15
    kinetic = records["kinetic"][10:]
    assert stats.kstest(kinetic / KT, stats.gamma(freedom / 2).cdf).pvalue > 0.01
    wrong = stats.kstest(kinetic / (1.15 * KT), stats.gamma(freedom / 2).cdf).pvalue
    assert wrong < 0.01  # the test can tell 15 % in temperature


def test_langevin_samples_each_spring():
    stiffness = 2.0
    atoms = gas(30)
    atoms.positions[:] = 0.0
    settings = {"timestep": 4.0, "friction": 0.02, "fix_centre": False, "temperature": 300.0}
    dynamics = Dynamics(atoms, Springs(stiffness), DynamicsSettings(seed=2, **settings))
    records = dynamics.run(8000, every=200, observe={"x": lambda s, f: s.positions.copy()})
    x = records["x"][5:].ravel()
    # BAOAB is exact for positions in a harmonic well, whatever the time step.
    assert stats.kstest(x, stats.norm(scale=np.sqrt(KT / stiffness)).cdf).pvalue > 0.01
    assert np.var(x) == pytest.approx(KT / stiffness, rel=4 * np.sqrt(2 / len(x)))


def test_volume_of_an_ideal_gas_is_gamma_distributed():
    n, pressure = 6, 0.05
    settings = {"thermostat_time": 5.0, "thermostat": "bussi"}
    _, records = run(
        gas(n, 9.0), Free(), 16000, 160, ensemble="npt", timestep=1.0, temperature=300.0, pressure=pressure,
        barostat_time=60.0, compressibility=1 / pressure, seed=5, **settings,
    )  # fmt: skip
    scaled = records["volume"][10:] * pressure / 160.2176634 / KT
    # V^(n-1) exp(-P V / kT) with the centre of mass at rest.
    assert stats.kstest(scaled, stats.gamma(n).cdf).pvalue > 0.01
    assert stats.kstest(scaled, stats.gamma(n + 1).cdf).pvalue < 0.01


def test_volume_fluctuates_with_the_bulk_modulus():
    n, modulus, start = 4, 0.02, 400.0
    field = Bulk(modulus, start)
    _, records = run(
        gas(n, start ** (1 / 3)), field, 10000, 60, ensemble="npt", timestep=1.0, temperature=300.0, pressure=0.1,
        barostat_time=20.0, compressibility=0.3, friction=0.2, seed=6,
    )  # fmt: skip
    grid = np.linspace(1.0, 1200.0, 20000)
    weight = (
        np.log(grid) * (n - 1) - (0.5 * modulus * (grid - start) ** 2 / start + 0.1 / 160.2176634 * grid) / KT
    )
    density = np.exp(weight - weight.max())
    cumulative = np.cumsum(density) / density.sum()
    found = records["volume"][10:]
    assert stats.kstest(found, lambda v: np.interp(v, grid, cumulative)).pvalue > 0.01


def test_verlet_keeps_energy_and_momentum():
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    drifts = []
    for timestep in (4.0, 2.0):
        dynamics, records = run(
            atoms, force_field(EMT(), atoms), round(160 / timestep), 1, ensemble="nve", timestep=timestep,
            temperature=600.0, seed=4,
        )  # fmt: skip
        total = records["potential"] + records["kinetic"]
        drifts.append(np.std(total))
        assert np.abs(dynamics.state.masses @ dynamics.state.velocities).max() < 1e-9
    assert drifts[0] < 2e-3 * np.ptp(records["kinetic"]) * 10
    assert drifts[0] / drifts[1] == pytest.approx(4.0, rel=0.35)  # second order


def test_pressure_is_that_of_ase():
    atoms = bulk("Ar", "fcc", a=5.2, cubic=True) * 2
    atoms.rattle(0.1, seed=1)
    dynamics, records = run(
        atoms, force_field(LennardJones(epsilon=0.0104, sigma=3.4, rc=5.0), atoms), 3, 1, ensemble="nve"
    )
    moved = dynamics.atoms()
    moved.calc = LennardJones(epsilon=0.0104, sigma=3.4, rc=5.0)
    expected = -moved.get_stress(voigt=False, include_ideal_gas=True)
    # ASE's has the 3 N - 3 velocities that there are with the centre of mass at rest.
    expected += units.kB * dynamics.temperature / atoms.get_volume() * np.eye(3)
    assert records["pressure"][-1] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("ensemble", ["nve", "nvt"])
@pytest.mark.parametrize("fix_centre", [True, False])
def test_pressure_of_an_ideal_gas(ensemble, fix_centre):
    n, atoms = 4, gas(4)
    settings = {"ensemble": ensemble, "fix_centre": fix_centre, "temperature": 300.0, "friction": 0.05}
    _, records = run(atoms, Free(), 8000, 8, timestep=4.0, seed=2, **settings)
    found = np.trace(records["pressure"], axis1=1, axis2=2) / 3.0 * atoms.get_volume()
    # N kT / V at the temperature of every moment, of which only 3 N - 3 velocities have some if the centre rests.
    assert found == pytest.approx(n * units.kB * records["temperature"], rel=1e-9)
    if ensemble == "nvt":
        assert found.mean() == pytest.approx(n * KT, rel=0.06)  # without kT/V: 0.75


def test_mean_pressure_at_constant_pressure_is_the_one_outside():
    n, pressure = 6, 0.05
    _, records = run(
        gas(n, 9.0), Free(), 24000, 10, ensemble="npt", timestep=1.0, temperature=300.0, pressure=pressure,
        barostat_time=80.0, compressibility=1 / pressure, seed=3, thermostat="bussi", thermostat_time=5.0,
    )  # fmt: skip
    found = np.trace(records["pressure"], axis1=1, axis2=2)[100:] / 3.0 * 160.2176634
    # V^(n-1) exp(-P V / kT): <V> = n kT / P, as of infinitely many atoms; with kT/V the pressure would be 1.2 times that.
    assert found.mean() == pytest.approx(pressure, rel=0.09)
    assert records["volume"][100:].mean() == pytest.approx(n * KT * 160.2176634 / pressure, rel=0.09)


@pytest.mark.parametrize("ensemble", ["nvt", "npt"])
def test_resumed_equals_uninterrupted(tmp_path, ensemble):
    atoms = bulk("Cu", cubic=True)
    settings = DynamicsSettings(ensemble=ensemble, temperature=500.0, timestep=2.0, seed=9)
    options = {"every": 2, "checkpoint_every": 8, "observe": {"x": lambda s, f: s.positions.copy()}}

    whole = Dynamics(atoms, force_field(EMT(), atoms), settings)
    expected = whole.run(24, checkpoint=tmp_path / "whole.npz", **options)

    class StopError(Exception):
        pass

    def stop(done, text=""):
        if done > 0.6:
            raise StopError

    part = Dynamics(atoms, force_field(EMT(), atoms), settings)
    with pytest.raises(StopError):
        part.run(24, checkpoint=tmp_path / "part.npz", progress=stop, **options)
    again = Dynamics(atoms, force_field(EMT(), atoms), settings)
    found = again.run(24, checkpoint=tmp_path / "part.npz", **options)
    assert sorted(found) == sorted(expected)
    for name in expected:
        assert np.array_equal(found[name], expected[name]), name
    assert np.array_equal(again.state.velocities, whole.state.velocities)
    # A finished run is read, not repeated.
    done = Dynamics(atoms, force_field(EMT(), atoms), settings).run(
        24, checkpoint=tmp_path / "part.npz", **options
    )
    assert np.array_equal(done["x"], expected["x"])


def test_checkpoints_of_other_runs_are_refused(tmp_path):
    atoms = bulk("Cu", cubic=True)
    path = tmp_path / "x.npz"
    Dynamics(atoms, force_field(EMT(), atoms), DynamicsSettings()).run(2, checkpoint=path)
    with pytest.raises(CheckpointError, match="temperature"):
        Dynamics(atoms, force_field(EMT(), atoms), DynamicsSettings(temperature=400)).run(2, checkpoint=path)
    with pytest.raises(CheckpointError, match="label"):
        Dynamics(atoms, force_field(EMT(), atoms), DynamicsSettings()).run(2, checkpoint=path, label="driven")
    with pytest.raises(CheckpointError, match="another potential"):
        Dynamics(atoms, Free(), DynamicsSettings()).run(2, checkpoint=path)
    gold = bulk("Au", cubic=True)
    with pytest.raises(CheckpointError, match="other atoms"):
        Dynamics(gold, force_field(EMT(), gold), DynamicsSettings()).run(2, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match="damaged"):
        Dynamics(atoms, force_field(EMT(), atoms), DynamicsSettings()).run(2, checkpoint=path)


def test_checkpoints_from_before_barostats_are_read(tmp_path):
    path, one = tmp_path / "x.npz", np.zeros((1, 3))
    arrays = {"positions": one, "numbers": np.array([18]), "masses": np.array([40.0])}
    settings = DynamicsSettings().model_dump()
    write_state(path, arrays, {}, {"step": 3}, {k: v for k, v in settings.items() if k != "barostat"})
    assert read_state(path, settings, np.array([18]), np.array([40.0]))[2]["step"] == 3
    with pytest.raises(CheckpointError, match="barostat"):
        read_state(path, settings | {"barostat": "triclinic"}, np.array([18]), np.array([40.0]))


def test_explosion_names_atoms_and_keeps_data(tmp_path):
    def kick(state, forces):
        push = np.zeros((6, 3))
        push[4] = 1e4 * (state.step > 7)
        return push

    dynamics = Dynamics(gas(6), Free(), DynamicsSettings(temperature=50), drive=kick)
    with pytest.raises(SimulationError, match=r"Fastest atoms: Ar 4, ") as caught:
        dynamics.run(20, every=2, checkpoint_every=3, checkpoint=tmp_path / "run.npz")
    assert "run.npz.broken" in str(caught.value)
    assert (tmp_path / "run.npz.broken").exists()
    assert list(dynamics.records["step"]) == [2.0, 4.0, 6.0]


def test_touching_atoms_stop_a_compiled_potential():
    potential = small_potential()
    atoms = bulk("Si", cubic=True)
    atoms.positions[1] = atoms.positions[0] + 1e-3
    with pytest.raises(SimulationError, match="broke down"):
        Dynamics(atoms, force_field(potential, atoms), DynamicsSettings()).run(5)


def small_potential():
    torch.manual_seed(0)
    settings = {"kind": "nep", "n_max_radial": 2, "n_max_angular": 2, "l_max": 2, "cutoff_angular": 4.0}
    descriptor = make_descriptor(settings | {"cutoff_radial": 5.0}, ["O", "Si"])
    model = make_model({"kind": "network", "hidden": [4]}, descriptor.n_features, 2)
    return Potential(descriptor, model, {8: -1.0, 14: -2.0}).to_dtype(torch.float64)


@pytest.mark.parametrize("kind", ["I", "II", "III"])
def test_forces_of_a_potential(kind):
    potential = small_potential()
    atoms = bulk("Si", cubic=True)
    atoms.numbers[::3] = 8
    atoms.rattle(0.2, seed=1)
    atoms.set_cell(atoms.cell.array + np.diag([0.3, 0.2], 1), scale_atoms=True)
    expected = potential.predict(atoms, virials=kind)
    for source in (potential, potential.calculator()):
        field = force_field(source, atoms, virials=kind)
        found = field.evaluate(atoms.positions, atoms.cell.array, virial=True, atomic=True)
        assert found.energy == pytest.approx(expected.energy, rel=1e-12)
        assert np.allclose(found.forces, expected.forces, atol=1e-12)
        assert np.allclose(found.energies, expected.energies, atol=1e-12)
        assert np.allclose(found.virials, expected.virials, atol=1e-12)
        assert np.allclose(found.virial, found.virials.sum(axis=0), atol=1e-11)
    assert np.abs(expected.virials).max() > 0.01


def test_resumed_compiled_run_is_the_same_to_the_bit(tmp_path):
    potential = small_potential()
    atoms = bulk("Si", cubic=True) * (2, 1, 1)
    settings = DynamicsSettings(temperature=4000.0, timestep=2.0, temperature_limit=1e6)
    paths = [tmp_path / name for name in ("whole.npz", "part.npz")]
    whole = Dynamics(atoms, force_field(potential, atoms, skin=0.3), settings)
    whole.run(60, checkpoint=paths[0], checkpoint_every=20)
    part = Dynamics(atoms, force_field(potential, atoms, skin=0.3), settings)
    part.run(40, checkpoint=paths[1], checkpoint_every=20)
    again = Dynamics(atoms, force_field(potential, atoms, skin=0.3), settings)
    again.run(60, checkpoint=paths[1], checkpoint_every=20)
    assert again.state.step == 60
    assert np.array_equal(again.state.positions, whole.state.positions)


def test_drive_is_a_force_that_adds_no_energy():
    atoms = Atoms("Ar", positions=[[0, 0, 0]], cell=[10] * 3, pbc=True)
    atoms.set_velocities([[0.01, 0, 0]])
    settings = DynamicsSettings(ensemble="nve", timestep=2.0)
    dynamics = Dynamics(atoms, Free(), settings, drive=lambda s, f: np.array([[0.1, 0.0, 0.0]]))
    dynamics.run(50)
    time = 100 * units.fs
    acceleration = 0.1 / atoms.get_masses()[0]
    assert dynamics.state.positions[0, 0] == pytest.approx(0.01 * time + 0.5 * acceleration * time**2)
    assert dynamics.state.velocities[0, 0] == pytest.approx(0.01 + acceleration * time)


def test_bad_input():
    atoms = bulk("Cu", cubic=True)
    with pytest.raises(ConfigError, match="pbc in three directions"):
        Dynamics(Atoms("Cu"), Free(), DynamicsSettings(ensemble="npt"))
    with pytest.raises(StructureError, match="no atoms"):
        Dynamics(Atoms(), Free(), DynamicsSettings())
    with pytest.raises(ConfigError, match="temperature"):
        DynamicsSettings.parse({"temperature": 0})
    with pytest.raises(ConfigError, match="no atomic virials"):
        force_field(EMT(), atoms).evaluate(atoms.positions, atoms.cell.array, atomic=True)
    with pytest.raises(ConfigError, match="`virials`"):
        force_field(EMT(), atoms, virials="II")
    with pytest.raises(ConfigError, match="got int"):
        force_field(3, atoms)
    with pytest.raises(ConfigError, match="`steps`"):
        Dynamics(atoms, Free(), DynamicsSettings()).run(0)
