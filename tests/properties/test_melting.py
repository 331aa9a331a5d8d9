"""Melting: order parameters on known arrangements, and short simulations of a Lennard-Jones crystal."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk

from forgefield.errors import ConfigError, SimulationError, StructureError
from forgefield.properties.base import PropertyResult
from forgefield.properties.coexistence import COEXISTENCE, CoexistenceSettings, _bisect
from forgefield.properties.dynamics import DynamicsSettings, State
from forgefield.properties.dynamics_forces import Forces
from forgefield.properties.free_energy_estimators import Measured
from forgefield.properties.free_energy_potentials import EinsteinSprings, Repulsion
from forgefield.properties.free_energy_sampling import Walker
from forgefield.properties.journal import Journal
from forgefield.properties.melting import MELTING, MeltingSettings, Sweep, _judge, narrower, transition
from forgefield.properties.melting_order import BraggOrder, Tethered, pair_distribution
from forgefield.properties.melting_point import MELTING_POINT
from forgefield.properties.two_phases import settled_mean


def argon_law(squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    s = 3.4**2 / squared
    return 0.0416 * (s**6 - s**3), 0.0416 * (-6 * s**6 + 3 * s**3) / squared


def argon(repeat: tuple[int, int, int] = (2, 2, 2)) -> tuple[Atoms, Repulsion]:
    atoms = bulk("Ar", "fcc", a=5.35, cubic=True).repeat(repeat)
    return atoms, Repulsion(atoms, argon_law, 6.5)


def state_of(atoms: Atoms) -> tuple[State, Forces]:
    zero = np.zeros((len(atoms), 3))
    return State(atoms.positions, zero, atoms.cell.array, atoms.get_masses(), atoms.numbers), Forces(
        0.0, zero
    )


# ---- order -------------------------------------------------------------------------------------------------------


def test_pair_distribution_of_a_gas_is_one_and_of_a_crystal_counts_neighbours() -> None:
    rng = np.random.default_rng(0)
    gas = Atoms("Ar600", positions=rng.uniform(0, 30, (600, 3)), cell=[30, 30, 30], pbc=True)
    _, observe = pair_distribution(gas, 10.0, 10)
    assert np.asarray(observe(*state_of(gas)))[4:] == pytest.approx(np.ones(6), abs=0.05)
    crystal, _ = argon()
    r, observe = pair_distribution(crystal, 4.5, 45)
    g = np.asarray(observe(*state_of(crystal)))
    density = len(crystal) / crystal.get_volume()
    shells = 4 * np.pi * (r**2 + 0.05**2 / 3) * 0.1
    assert float((g * shells).sum() * density) == pytest.approx(12.0, rel=1e-9)


@pytest.mark.parametrize(
    "cell",
    [bulk("Ar", "fcc", a=5.35, cubic=True), bulk("Si", a=5.43, cubic=True), bulk("Na", a=4.23, cubic=True)],
)
def test_bragg_order_tells_crystal_from_liquid_slab_by_slab(cell: Atoms) -> None:
    crystal = cell.repeat((4, 4, 8))
    order = BraggOrder(crystal, n_slabs=8)
    half = crystal.copy()
    upper = half.get_scaled_positions()[:, 2] >= 0.5
    rng = np.random.default_rng(1)
    lengths = half.cell.lengths()
    half.positions[upper] = rng.uniform(0, 1, (upper.sum(), 3)) * lengths * [1, 1, 0.5] + [
        0,
        0,
        0.5 * lengths[2],
    ]
    half.positions += [0.7, -0.4, 0.01]  # moving as a whole changes nothing
    profile = order.profile(half.positions, half.cell.array)
    assert profile[:4].min() > 0.7
    assert profile[4:].max() < 0.4
    assert order.fraction(1.0)(half.positions, half.cell.array) == pytest.approx(0.5, abs=0.07)
    assert order.fraction(1.0)(crystal.positions, crystal.cell.array) == pytest.approx(1.0)


def test_a_liquid_has_no_bragg_peak() -> None:
    rng = np.random.default_rng(2)
    gas = Atoms("Ar200", positions=rng.uniform(0, 20, (200, 3)), cell=[20, 20, 20], pbc=True)
    with pytest.raises(StructureError, match="no Bragg peak"):
        BraggOrder(gas)


def test_tethered_forces_and_virial_are_derivatives() -> None:
    atoms, field = argon()
    springs = np.where(np.arange(len(atoms)) % 2, 1.5, 0.0)
    held = Tethered(field, atoms, springs)
    positions = atoms.positions + 0.1 * np.random.default_rng(3).standard_normal((len(atoms), 3))
    cell, h = atoms.cell.array, 1e-6
    result = held.evaluate(positions, cell, virial=True)
    moved = [positions.copy(), positions.copy()]
    moved[0][1, 2] += h
    moved[1][1, 2] -= h
    energies = [held.evaluate(p, cell).energy for p in moved]
    assert -(energies[0] - energies[1]) / (2 * h) == pytest.approx(result.forces[1, 2], rel=1e-6)
    ends = [held.evaluate(positions * (1 + s), cell * (1 + s)).energy for s in (h, -h)]
    assert result.virial is not None
    assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(-np.trace(result.virial), rel=1e-5)


# ---- heating and cooling -----------------------------------------------------------------------------------------


def test_transition_is_between_the_temperatures_where_the_flow_begins() -> None:
    some = [Measured(0.0, 0.0)] * 4
    t = np.array([100.0, 200.0, 300.0, 400.0])
    assert transition(Sweep(t, some, some, np.array([0.1, 0.2, 1.0, 2.0]), np.zeros((4, 2)))) == 250.0
    assert transition(Sweep(t[::-1], some, some, np.array([2.0, 1.0, 0.6, 0.1]), np.zeros((4, 2)))) == 150.0
    assert transition(Sweep(t, some, some, np.full(4, 0.1), np.zeros((4, 2)))) is None


def test_argon_melts_on_heating() -> None:
    atoms, field = argon()
    result = MELTING(
        atoms,
        field,
        low=60.0,
        high=260.0,
        interval=100.0,
        pressure=0.1,
        steps=240,
        equilibration=120,
        cool=False,
        timestep=10.0,
        friction=0.001,
        compressibility=0.5,
        rdf_cutoff=7.0,
        rdf_bins=35,
    )
    assert result["superheating_limit"] in (110.0, 210.0)  # the model melts near 110 K at this pressure
    assert "melting_temperature" not in result.quantities  # that needs both ways
    volume = result.curves["volume, heating"].y
    assert volume[-1] > 1.1 * volume[0]
    cold, hot = result.curves["heating 60 K"].y, result.curves["heating 260 K"].y
    assert cold.max() > 1.5 * hot.max()


def test_a_crystal_that_does_not_melt_is_a_warning() -> None:
    atoms, field = argon()
    result = MELTING(
        atoms, field, low=10.0, high=20.0, interval=10.0, steps=80, equilibration=0, cool=False, timestep=8.0
    )
    assert "did not melt" in result.warnings[0]


def hysteresis(melts: float, freezes: float, interval: float) -> dict[str, Sweep]:
    t = np.arange(800.0, 1401.0, interval)
    some = [Measured(0.0, 0.0)] * len(t)
    return {
        "heating": Sweep(t, some, some, np.where(t > melts, 2.0, 0.1), np.zeros((len(t), 2))),
        "cooling": Sweep(t[::-1], some, some, np.where(t[::-1] > freezes, 2.0, 0.1), np.zeros((len(t), 2))),
    }


def test_an_error_of_melting_that_is_not_reached_says_what_it_takes() -> None:
    sweeps = hysteresis(1255.0, 955.0, 10.0)
    common = {"low": 800.0, "high": 1400.0, "interval": 10.0, "steps": 900, "equilibration": 100}
    found, warnings = _judge(sweeps, MeltingSettings(**common, error=95.0), 100)
    assert found["melting_temperature"].error == pytest.approx(300.0 / 12**0.5 + 10.0 / 12**0.5)
    assert not warnings
    _, (text,) = _judge(sweeps, MeltingSettings(**common, error=70.0), 100)
    assert "standard error 89 K, asked for 70 K" in text
    assert "interval" not in text
    # 100 atoms for 1 ps; the hysteresis may be 12^(1/2) 70 - 10 = 232 K: 100^((300 / 232)^2 - 1) = 20 times as long.
    assert "300 K, of which 2.3e+02 K may be left" in text
    assert "about 1e1 times as many `steps`" in text
    assert "more `steps` than there can be" in narrower(300.0, MeltingSettings(**common, error=8.0), 100)
    assert "`interval` alone leaves 2.9 K: lower it to 6.9 K or less" in narrower(
        5.0, MeltingSettings(**common, error=4.0), 100
    )


# ---- coexistence and melting point -------------------------------------------------------------------------------


def test_coexistence_names_the_phase_that_is_wrong() -> None:
    atoms, field = argon((2, 2, 4))
    with pytest.raises(SimulationError, match="the crystal melted at the guess of 400 K"):
        COEXISTENCE(
            atoms,
            field,
            temperature=400.0,
            pressure=0.1,
            equilibration=240,
            timestep=10.0,
            compressibility=0.3,
            friction=0.01,
        )


def test_half_of_the_cell_melts_while_the_other_is_held(tmp_path) -> None:
    atoms, field = argon((3, 3, 4))
    result = COEXISTENCE(
        atoms,
        field,
        folder=tmp_path,
        temperature=95.0,
        melt_temperature=600.0,
        melt_steps=200,
        equilibration=240,
        steps=400,
        timestep=8.0,
        compressibility=0.3,
        error=1e-3,
    )
    assert any("asked for 0.001 K; that takes about" in text for text in result.warnings)
    assert 0.15 < result["crystalline_part"] < 0.85
    assert 70.0 < result["melting_temperature"] < 110.0
    assert abs(result["pressure"]) < 0.2
    # Atoms on springs, which have no thermal expansion, say nothing of the cell; with these gone the melt takes its volume.
    stages = json.loads((tmp_path / "coexistence.journal.json").read_text())["stages"]
    volumes = {name: found["volume"][0] for name, found in stages.items()}
    held = [volumes[f"slab/{name}"] for name in ("melt one half", "cool that half")]
    assert held == pytest.approx([volumes["slab/crystal"]] * 2, rel=1e-9)
    assert 1.03 < volumes["slab/constant energy 1"] / volumes["slab/crystal"] < 1.15
    assert result.quantities["pressure"].unit == "GPa"


def test_a_cell_that_moved_on_is_kept_where_a_walk_is_resumed(tmp_path) -> None:
    atoms, field = argon((2, 2, 2))
    settings = DynamicsSettings(
        ensemble="npt", temperature=40.0, timestep=8.0, friction=0.01, compressibility=0.5
    )

    def walk(folder, stages: int) -> Walker:
        walker = Walker("w", atoms, settings, Journal(folder / "journal.json", "same"))
        common = {"steps": 40, "equilibration": 0}
        walker.average("volume", field, {}, **common)
        walker.settle("volume")
        for k in range(stages):
            walker.average(f"at a pressure {k}", field, {}, pressure=2.0 * k, **common)
        return walker

    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = walk(tmp_path / "whole", 3).current()
    for stages in (0, 2, 3):
        resumed = walk(tmp_path / "parts", stages).current()
    assert resumed.get_volume() < 0.99 * argon((2, 2, 2))[0].get_volume()
    assert np.array_equal(resumed.cell.array, whole.cell.array)
    assert np.array_equal(resumed.positions, whole.positions)


def test_the_error_of_a_settled_mean_covers_slow_motion() -> None:
    # Series of 20 parts of an interface that forgets itself within five of them: half of one shows little of that.
    rng = np.random.default_rng(3)
    memory, found = np.exp(-1.0 / 5.0), []
    for _ in range(200):
        x = [rng.standard_normal()]
        for _ in range(19):
            x.append(memory * x[-1] + (1.0 - memory**2) ** 0.5 * rng.standard_normal())
        found.append(settled_mean(1000.0 + 10.0 * np.array(x)))
    scatter = np.std([one.value for one in found])
    stated = np.sqrt(np.mean([one.error**2 for one in found]))
    assert 0.75 < stated / scatter < 1.3
    assert scatter > 2.0 * 10.0 / 10**0.5  # ten independent parts would scatter by less than half of that


class FakeSlab:
    """Grows below 1234 K."""

    def __init__(self, **settings: float) -> None:
        self.settings = CoexistenceSettings(method="bisection", **settings)

    def grows(self, temperature: float) -> tuple[bool, float]:
        return temperature < 1234.0, 0.5


def test_bisection_closes_in_on_where_growth_turns() -> None:
    found, tried = _bisect(FakeSlab(temperature=1200.0, interval=160.0, tolerance=5.0))
    assert found.value == pytest.approx(1234.0, abs=2.5)
    assert found.error == pytest.approx(5.0 / np.sqrt(12.0))
    assert len(tried) == 8
    with pytest.raises(SimulationError, match=r"grows at 1100 K already.*raise `temperature`"):
        _bisect(FakeSlab(temperature=1000.0, interval=100.0))
    with pytest.raises(SimulationError, match=r"shrinks at 1300 K already.*lower `temperature`"):
        _bisect(FakeSlab(temperature=1500.0, interval=200.0))


def test_bad_settings_of_melting() -> None:
    atoms, field = argon()
    with pytest.raises(ConfigError, match="high"):
        MELTING(atoms, field, low=300.0, high=200.0)
    with pytest.raises(ConfigError, match="needs cooling too"):
        MELTING(atoms, field, cool=False, error=5.0)
    with pytest.raises(ConfigError, match="repeat"):
        COEXISTENCE(atoms, field, repeat=(1, 0, 1))
    with pytest.raises(ConfigError, match="relative_range"):
        MELTING_POINT(atoms, field, temperature=5.0, relative_range=0.1)


def _have_errors(result: PropertyResult) -> None:
    # Whatever fluctuates has an error: 0.3 and 0.4 Å^3 of 8 atoms, the heat's over the temperature's.
    found = result.quantities
    assert [found[f"volume_{name}"].error for name in ("solid", "liquid", "of_melting")] == pytest.approx(
        [0.3 / 8, 0.4 / 8, 0.5 / 8]
    )
    assert found["entropy_of_melting"].value == pytest.approx(0.3 / 1100.0 / units.kB, rel=1e-3)
    relative = np.hypot(found["latent_heat"].error / 0.3, found["melting_temperature"].error / 1100.0)
    assert found["entropy_of_melting"].error / found["entropy_of_melting"].value == pytest.approx(
        relative, rel=1e-2
    )
    assert found["finite_size_solid"].error is None
    assert found["finite_size_liquid"].error == pytest.approx(0.01 / 8)
    assert result.conditions["liquid_cell_A"][0][0] == pytest.approx(5.43)


def test_melting_point_of_two_known_crystals_is_where_their_free_energies_cross(monkeypatch) -> None:
    # Two Einstein crystals stand for the phases, so that everything but the sampling is exact.
    from forgefield.properties import melting_point as module
    from forgefield.properties.free_energy_phases import PhaseFreeEnergy

    def fake(atoms, field, settings, **_):
        heat, entropy = (0.0, 0.0) if settings.phase == "solid" else (0.3, 0.3 / 1100.0)
        n, t = len(atoms), settings.temperature
        value = n * (heat - t * entropy)
        walker = Stand(atoms, heat)
        solid, cell = settings.phase == "solid", atoms.cell.array
        volume = atoms.get_volume() + (0.0 if solid else 4.0)
        found = Measured(value, n * 1e-3), 0.0, {}, {}, volume, t, n, cell
        size = Measured(0.2, 0.0) if solid else Measured(-0.2, 0.01)
        phase = PhaseFreeEnergy(*found, finite_size=size, volume_error=0.3 if solid else 0.4)
        return phase, walker

    class Stand:
        planned = 0.0

        def __init__(self, atoms: Atoms, heat: float) -> None:
            self.atoms, self.heat = atoms, heat

        def average(self, *_, temperature: float, **__) -> dict[str, Measured]:
            n = len(self.atoms)
            order = 0.2 if self.heat == 0.0 else 2.0
            return {
                "potential": Measured(n * (self.heat - 1.5 * units.kB * temperature), 1e-4 * n),
                "volume": Measured(self.atoms.get_volume(), 0.1),
                "order": Measured(order, 0.0),
            }

    monkeypatch.setattr(module, "phase_free_energy", fake)
    atoms = bulk("Si", a=5.43, cubic=True)
    springs = EinsteinSprings(atoms.positions, 1.0)
    result = MELTING_POINT(
        atoms, springs, temperature=1000.0, relative_range=0.2, steps=500, timestep=2.0, error=0.5
    )
    assert result["melting_temperature"] == pytest.approx(1100.0, rel=1e-3)
    assert result["latent_heat"] == pytest.approx(0.3, abs=1e-9)
    assert 2.0 < result.quantities["melting_temperature"].error < 12.0
    _have_errors(result)
    times = (result.quantities["melting_temperature"].error / 0.5) ** 2
    (text,) = result.warnings
    assert "asked for 0.5 K" in text
    # Both: 12 points there and back, 12 more of the reference, volume, energy, 3 enthalpies; the melt, and at two volumes.
    both = (
        2 * (24 * 1000 + (4000 + 500) + (4000 + 2000) + 3 * (4000 + 1000))
        + 24 * 1000
        + 2000
        + 2 * (2000 + 500)
    )
    assert f"{times * both * 2e-3:.3g} ps in all" in text
    assert f"target_steps={np.ceil(4000 * times):.0f}, enthalpy_steps=" in text
    assert f" steps={np.ceil(500 * times):.0f}" in text
    fine = MELTING_POINT(atoms, springs, temperature=1000.0, relative_range=0.2, error=50.0)
    assert not fine.warnings
    adaptive = {"lambdas": "adaptive", "target_error": 0.4, "error": 0.5}
    (text,) = MELTING_POINT(atoms, springs, temperature=1000.0, relative_range=0.2, **adaptive).warnings
    assert f"target_error={0.4 / times**0.5:.2g}" in text
