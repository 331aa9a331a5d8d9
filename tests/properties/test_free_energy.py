"""Free energies against closed forms, published values and each other."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from scipy.stats import chi2

from forgefield.errors import CheckpointError, ConfigError, SimulationError, StructureError
from forgefield.graph import neighbour_pairs
from forgefield.properties.dynamics_forces import Forces
from forgefield.properties.free_energy import FREE_ENERGY
from forgefield.properties.free_energy_estimators import quadrature
from forgefield.properties.free_energy_paths import path_warnings, walk
from forgefield.properties.free_energy_potentials import (
    EinsteinSprings,
    Mixture,
    Repulsion,
    soft_core,
    uhlenbeck_ford,
)
from forgefield.properties.free_energy_reference import (
    einstein_crystal_free_energy,
    harmonic_crystal_free_energy,
    ideal_gas_free_energy,
    log_thermal_wavelengths,
    n_lattice_points,
    volume_per_lattice_point,
)
from forgefield.properties.free_energy_sampling import Walker
from forgefield.properties.free_energy_settings import FreeEnergySettings
from forgefield.properties.free_energy_size import finite_size_correction
from forgefield.properties.journal import Journal

KT = units.kB * 300.0


class Harmonic:
    """A harmonic crystal with a known Hessian."""

    def __init__(self, atoms: Atoms, stretch: float = 3.0, bend: float = 0.5) -> None:
        self.sites, n = atoms.positions.copy(), len(atoms)
        hessian = np.zeros((n, 3, n, 3))
        i, j, _, r = neighbour_pairs(atoms, 2.7)
        for a, b, v in zip(i, j, r, strict=True):
            e = v / np.linalg.norm(v)
            block = stretch * np.outer(e, e) + bend * np.eye(3)
            hessian[a, :, a] += block
            hessian[a, :, b] -= block
        self.hessian = hessian.reshape(3 * n, 3 * n)

    def reset(self) -> None:
        pass

    def evaluate(self, positions, _cell, *, virial=False, **_others) -> Forces:
        u = (positions - self.sites).ravel()
        f = -self.hessian @ u
        return Forces(-0.5 * float(u @ f), f.reshape(-1, 3), np.zeros((3, 3)) if virial else None)


@pytest.fixture
def copper() -> Atoms:
    return bulk("Cu", a=3.6, cubic=True).repeat((2, 2, 1))


# ---- closed forms ------------------------------------------------------------------------------------------------


def test_ideal_gas_of_one_atom_and_of_two_kinds() -> None:
    one = ideal_gas_free_energy([18], [39.948], 1000.0, 300.0)
    # h / sqrt(2 pi m k T) of argon at 300 K is 0.1598 Å (SI constants by hand).
    h, k, amu = 6.62607015e-34, 1.380649e-23, 1.66053906660e-27
    wavelength = h / math.sqrt(2 * math.pi * 39.948 * amu * k * 300.0) * 1e10
    assert one == pytest.approx(-KT * math.log(1000.0 / wavelength**3), rel=1e-6)
    mixed = ideal_gas_free_energy([18, 18, 10], [39.948, 39.948, 20.18], 1000.0, 300.0)
    neon = ideal_gas_free_energy([10], [20.18], 1000.0, 300.0)
    assert mixed == pytest.approx(2 * one + neon + KT * math.log(2.0), rel=1e-12)


def test_floating_einstein_crystal_is_the_harmonic_crystal_of_its_hessian(copper: Atoms) -> None:
    springs = np.random.default_rng(0).uniform(1.0, 3.0, len(copper))
    projector = np.diag(springs) - np.outer(springs, springs) / springs.sum()
    hessian = np.kron(projector, np.eye(3))
    v = volume_per_lattice_point(copper)
    exact = harmonic_crystal_free_energy(hessian, copper.get_masses(), 300.0, v)
    assert einstein_crystal_free_energy(springs, copper.get_masses(), 300.0, v) == pytest.approx(
        exact, rel=1e-10
    )


def test_centre_of_mass_term_is_that_of_polson_for_equal_springs(copper: Atoms) -> None:
    n, masses, k = len(copper), copper.get_masses(), 2.0
    fixed = einstein_crystal_free_energy(np.full(n, k), masses, 300.0, None)
    floating = einstein_crystal_free_energy(np.full(n, k), masses, 300.0, volume_per_lattice_point(copper))
    correction = KT * math.log(n / copper.get_volume() * (2 * math.pi * KT / (n * k)) ** 1.5)
    assert floating - fixed == pytest.approx(correction, rel=1e-10)


@pytest.mark.parametrize(
    ("atoms", "points"),
    [
        (bulk("Si", a=5.43, cubic=True).repeat(2), 32),
        (bulk("NaCl", "rocksalt", a=5.6, cubic=True), 4),
        (bulk("Ti", a=2.95, c=4.68).repeat((3, 2, 2)), 12),
    ],
)
def test_number_of_lattice_points(atoms: Atoms, points: int) -> None:
    assert n_lattice_points(atoms) == points


def test_correction_for_finite_size_is_what_larger_cells_converge_to() -> None:
    atoms = bulk("Cu", a=3.6, cubic=True).repeat((2, 2, 2))
    v = volume_per_lattice_point(atoms)
    first = harmonic_crystal_free_energy(Harmonic(atoms).hessian, atoms.get_masses(), 300.0, v) / len(atoms)
    corrected = first + finite_size_correction(atoms, Harmonic(atoms), 300.0, v)
    values, sizes = [], []
    for n in (3, 4):
        large = bulk("Cu", a=3.6, cubic=True).repeat(n)
        exact = harmonic_crystal_free_energy(Harmonic(large).hessian, large.get_masses(), 300.0, v)
        sizes.append(1.0 / len(large))
        values.append(exact / len(large) + KT * math.log(len(large)) / len(large))
    slope = (values[0] - values[1]) / (sizes[0] - sizes[1])
    infinite = values[1] - slope * sizes[1]  # Polson et al.: linear in 1 / N
    assert abs(first - infinite) > 0.2 * KT
    assert corrected == pytest.approx(infinite, abs=0.01 * KT)


def test_unstable_crystal_is_refused(copper: Atoms) -> None:
    with pytest.raises(StructureError, match="soft modes"):
        harmonic_crystal_free_energy(-Harmonic(copper).hessian, copper.get_masses(), 300.0, 10.0)


# ---- force fields ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["uhlenbeck-ford", "soft-core", "springs", "mixture"])
def test_forces_and_virial_are_derivatives(copper: Atoms, kind: str) -> None:
    rng = np.random.default_rng(2)
    positions = copper.positions + 0.2 * rng.standard_normal((len(copper), 3))
    cell = copper.cell.array + 0.3 * rng.standard_normal((3, 3))
    repulsion, springs = uhlenbeck_ford(copper, 50.0, 1.3, 0.05), EinsteinSprings(copper.positions, 2.0)
    field = {
        "uhlenbeck-ford": repulsion,
        "soft-core": soft_core(copper, 0.0215, 3.5),
        "springs": springs,
        "mixture": Mixture(springs, repulsion, 0.3),
    }[kind]
    result = field.evaluate(positions, cell, virial=True)
    assert result.forces.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-10)
    step = 1e-5
    for axis in range(3):
        ends = []
        for sign in (1.0, -1.0):
            moved = positions.copy()
            moved[3, axis] += sign * step
            ends.append(field.evaluate(moved, cell).energy)
        assert -(ends[0] - ends[1]) / (2 * step) == pytest.approx(result.forces[3, axis], rel=1e-6, abs=1e-7)
    if kind in ("uhlenbeck-ford", "soft-core"):
        strain = np.eye(3)
        strain[0, 1] = step
        up = field.evaluate(positions @ strain.T, cell @ strain.T).energy
        strain[0, 1] = -step
        down = field.evaluate(positions @ strain.T, cell @ strain.T).energy
        assert (up - down) / (2 * step) == pytest.approx(-result.virial[0, 1], rel=1e-5)


def test_springs_do_not_feel_the_crystal_moving_as_a_whole(copper: Atoms) -> None:
    springs = EinsteinSprings(copper.positions, np.linspace(1, 3, len(copper)))
    moved = copper.positions + 0.1 * np.random.default_rng(3).standard_normal((len(copper), 3))
    before = springs.evaluate(moved, copper.cell.array).energy
    assert springs.evaluate(moved + np.array([1.0, -2.0, 0.5]), copper.cell.array).energy == pytest.approx(
        before, rel=1e-12
    )


# ---- simulations -------------------------------------------------------------------------------------------------

QUICK = {"timestep": 4.0, "friction": 0.02, "temperature": 300.0, "finite_size": False}


def test_harmonic_crystal_by_integration(copper: Atoms, tmp_path: Path) -> None:
    field = Harmonic(copper)
    exact = harmonic_crystal_free_energy(
        field.hessian, copper.get_masses(), 300.0, volume_per_lattice_point(copper)
    ) / len(copper)
    settings = {"points": 4, "steps": 250, "equilibration": 60, "target_steps": 500, **QUICK}
    result = FREE_ENERGY(copper, field, folder=tmp_path, **settings)
    found = result.quantities["helmholtz"]
    assert 0 < found.error < 5e-4
    assert abs(found.value - exact) < 4 * found.error
    # The journal knows every stage: the same again without a step.
    field.hessian[:] = np.nan
    again = FREE_ENERGY(copper, field, folder=tmp_path, **settings)
    assert again.quantities == result.quantities
    with pytest.raises(CheckpointError, match="other settings"):
        FREE_ENERGY(copper, field, folder=tmp_path, **(settings | {"points": 5}))


@pytest.mark.slow
def test_stated_errors_are_the_scatter_over_seeds_of_short_runs(copper: Atoms) -> None:
    # Runs of few correlation times, as those of melts are: a strong bath lets atoms creep to where springs pull them.
    field, springs = Harmonic(copper), EinsteinSprings(copper.positions, 4.0)
    values, errors, warned = [], [], 0
    for seed in range(24):
        settings = FreeEnergySettings(
            points=3, steps=200, equilibration=150, timestep=4.0, friction=0.15, temperature=300.0, seed=seed
        )
        walker = Walker("solid", copper, settings.dynamics(), Journal(None, ""))
        mixture = Mixture(springs, field)
        leg = walk(walker, "einstein", mixture, quadrature(3), settings, 300.0, first_up=True)
        values.append(leg.difference.value)
        errors.append(leg.difference.error)
        warned += any("are short" in text for text in path_warnings({"einstein": leg}, len(copper)))
    ratio = float(np.var(values, ddof=1) / np.mean(np.square(errors)))
    low, high = chi2.ppf([0.005, 0.995], 23) / 23
    assert low < ratio < high
    assert warned == 24


def test_harmonic_crystal_by_switching_and_scaling(copper: Atoms) -> None:
    field = Harmonic(copper)
    result = FREE_ENERGY(
        copper,
        field,
        method="switching",
        steps=800,
        equilibration=100,
        repeats=3,
        target_steps=400,
        springs=4.0,
        final_temperature=450.0,
        scaling_steps=800,
        **QUICK,
    )
    for name, t in (("helmholtz", 300.0), ("helmholtz_final", 450.0)):
        lattice = volume_per_lattice_point(copper)
        exact = harmonic_crystal_free_energy(field.hessian, copper.get_masses(), t, lattice) / len(copper)
        found = result.quantities[name]
        assert abs(found.value - exact) < 5 * found.error + 2e-4


class Interrupted(Harmonic):
    """Breaks after so many evaluations."""

    left = 10**9

    def evaluate(self, positions, cell, *, virial=False, atomic=False) -> Forces:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().evaluate(positions, cell, virial=virial, atomic=atomic)


def test_interrupted_and_resumed_is_the_same_to_the_bit(copper: Atoms, tmp_path: Path) -> None:
    settings = {"points": 2, "steps": 50, "equilibration": 20, "target_steps": 60, **QUICK}
    field = Interrupted(copper)
    whole = FREE_ENERGY(copper, field, **settings)
    field.left = 250
    with pytest.raises(KeyboardInterrupt):
        FREE_ENERGY(copper, field, folder=tmp_path, **settings)
    field.left = 10**9
    resumed = FREE_ENERGY(copper, field, folder=tmp_path, **settings)
    assert resumed.quantities == whole.quantities


def test_excess_free_energy_of_a_published_model() -> None:
    # R. Paula Leite et al., J. Chem. Phys. 145, 194101 (2016), p = 1 and x = b rho = 0.5: beta F / N = 0.52685.
    length, n = 2.0, 48
    density = 0.5 / (0.5 * (math.pi * length**2) ** 1.5)
    edge = (n / density) ** (1 / 3)
    positions = np.random.default_rng(5).uniform(0, edge, (n, 3))
    atoms = Atoms(f"Ar{n}", positions=positions, cell=3 * [edge], pbc=True)
    settings = FreeEnergySettings(
        phase="liquid",
        points=3,
        steps=200,
        equilibration=50,
        timestep=25.0,
        friction=0.002,
        temperature=300.0,
    )
    walker = Walker("uf", atoms, settings.dynamics(), Journal(None, ""))
    field = uhlenbeck_ford(atoms, 1.0, length, KT)
    leg = walk(walker, "uf", Mixture(None, field), quadrature(3), settings, 300.0, first_up=True)
    found = leg.difference * (1.0 / (KT * n))
    assert found.error < 0.02
    assert abs(found.value - 0.52685 * (1 - 1 / n)) < 4 * found.error  # n - 1 others for every atom


# ---- bad input ---------------------------------------------------------------------------------------------------


def argon_law(squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    s = 3.4**2 / squared
    return 0.0416 * (s**6 - s**3), 0.0416 * (-6 * s**6 + 3 * s**3) / squared


def argon(a: float = 5.4) -> tuple[Atoms, Repulsion]:
    atoms = bulk("Ar", "fcc", a=a, cubic=True).repeat(2)
    return atoms, Repulsion(atoms, argon_law, 7.0)


@pytest.mark.slow
def test_a_liquid_has_one_free_energy_whatever_the_reference() -> None:
    atoms, field = argon(5.9)
    found = []
    for reference, points in (("uhlenbeck-ford", 6), ("soft-core", 8)):
        result = FREE_ENERGY(
            atoms,
            field,
            phase="liquid",
            reference=reference,
            reference_points=points,
            temperature=200.0,
            melt_temperature=600.0,
            melt_steps=300,
            target_steps=500,
            points=4,
            steps=120,
            equilibration=40,
            timestep=8.0,
            friction=0.001,
        )
        found.append(result.quantities["helmholtz"])
        assert result["entropy"] > 0
    (one, other) = found
    assert abs(one.value - other.value) < 4 * math.hypot(one.error, other.error)
    assert one.error < 0.02 < abs(one.value)


def test_a_solid_that_melts_is_named() -> None:
    atoms, field = argon(6.2)
    with pytest.raises(SimulationError, match="wrong phase: the solid melted"):
        FREE_ENERGY(
            atoms,
            field,
            temperature=500.0,
            timestep=8.0,
            target_steps=400,
            equilibration=200,
            steps=20,
            points=1,
        )


def test_a_liquid_that_does_not_flow_is_named() -> None:
    atoms, field = argon()
    with pytest.raises(SimulationError, match="wrong phase: the liquid does not flow"):
        FREE_ENERGY(
            atoms, field, phase="liquid", temperature=40.0, melt_steps=0, target_steps=200, timestep=8.0
        )


def test_too_short_a_run_says_how_long_it_must_be(copper: Atoms) -> None:
    with pytest.raises(SimulationError, match=r"too short for `target_error`.*set `steps` to \d+"):
        FREE_ENERGY(
            copper,
            Harmonic(copper),
            points=1,
            steps=40,
            equilibration=0,
            target_steps=100,
            target_error=1e-4,
            **QUICK,
        )


def test_bad_settings_are_refused(copper: Atoms) -> None:
    with pytest.raises(ConfigError, match="phase"):
        FREE_ENERGY(copper, Harmonic(copper), phase="gas")
    with pytest.raises(ConfigError, match="final_temperature"):
        FREE_ENERGY(copper, Harmonic(copper), temperature=300.0, final_temperature=300.0)
    with pytest.raises(ConfigError, match="spring"):
        EinsteinSprings(copper.positions, 0.0)
    with pytest.raises(ConfigError, match="power"):
        quadrature(4, 1.0)
    with pytest.raises(ConfigError, match="> 0"):
        log_thermal_wavelengths([1.0], 0.0)
