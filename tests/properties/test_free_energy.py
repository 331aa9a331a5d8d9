"""Free energies against closed forms, published values and each other."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk

from forgefield.errors import CheckpointError, ConfigError, SimulationError, StructureError
from forgefield.graph import neighbour_pairs
from forgefield.properties.dynamics_forces import Forces
from forgefield.properties.free_energy import FREE_ENERGY
from forgefield.properties.free_energy_estimators import (
    Measured,
    bennett,
    forward_backward,
    jarzynski,
    quadrature,
    switching,
)
from forgefield.properties.free_energy_paths import walk
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
from forgefield.properties.free_energy_sampling import Journal, Walker
from forgefield.properties.free_energy_settings import FreeEnergySettings
from forgefield.properties.free_energy_temperature import crossing, gibbs_helmholtz, reversible_scaling

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


def test_unstable_crystal_is_refused(copper: Atoms) -> None:
    with pytest.raises(StructureError, match="soft modes"):
        harmonic_crystal_free_energy(-Harmonic(copper).hessian, copper.get_masses(), 300.0, 10.0)


# ---- quadratures and estimators ----------------------------------------------------------------------------------


def test_integration_between_two_einstein_crystals_is_exact() -> None:
    n, k1, k2 = 32, 1.0, 5.0
    rule = quadrature(16)
    k = (1 - rule.points) * k1 + rule.points * k2
    means = 1.5 * (n - 1) * KT * (k2 - k1) / k  # <U_2 - U_1> with the lattice floating, exactly
    found = rule.integrate(means, np.zeros(16)).value
    masses, volume = np.full(n, 63.5), 12.0
    exact = einstein_crystal_free_energy(np.full(n, k2), masses, 300.0, volume)
    exact -= einstein_crystal_free_energy(np.full(n, k1), masses, 300.0, volume)
    assert found == pytest.approx(exact, rel=1e-6)


def test_ideal_gas_limit_of_the_map_is_exact() -> None:
    # Soft spheres far apart: <U> ~ lambda^(3/n - 1), the divergence the map of paper 5 is for.
    rule = quadrature(20, 0.85)
    assert rule.integrate(rule.points ** (3 / 12 - 1), np.zeros(20)).value == pytest.approx(4.0, rel=1e-4)
    assert quadrature(20, 0.75).integrate(quadrature(20, 0.75).points ** -0.75, np.zeros(20)).value == (
        pytest.approx(4.0, rel=1e-10)
    )
    assert quadrature(3).integrate(quadrature(3).points ** 5, np.zeros(3)).value == pytest.approx(1 / 6)


def test_switching_function_runs_from_zero_to_one() -> None:
    t = np.linspace(0, 1, 2001)
    value, slope = switching(t)
    assert value[0] == 0.0
    assert value[-1] == 1.0
    assert np.gradient(value, t)[1:-1] == pytest.approx(slope[1:-1], abs=1e-4)


def test_estimators_find_the_difference_of_gaussian_works() -> None:
    # Works with variance s^2 around dF + s^2 / 2kT obey Crooks' theorem both ways.
    rng, d, s = np.random.default_rng(1), 0.3, 1.2 * KT
    forward = d + s**2 / (2 * KT) + s * rng.standard_normal(400)
    backward = -d + s**2 / (2 * KT) + s * rng.standard_normal(400)
    for found in (
        forward_backward(forward, backward)[0],
        bennett(forward, backward, KT),
        jarzynski(forward, KT),
    ):
        assert abs(found.value - d) < 4 * found.error
        assert found.error < 0.2 * KT
    wasted = forward_backward(forward, backward)[1]
    assert wasted.value == pytest.approx(s**2 / (2 * KT), rel=0.15)


def test_reversible_scaling_of_a_harmonic_crystal_is_exact() -> None:
    n, t0 = 20, 300.0
    masses, k = np.full(n, 30.0), np.full(n, 2.0)
    s = np.linspace(1.0, 0.25, 400)
    # <U> of the harmonic crystal at scale s is 3/2 (N - 1) kT0 / s: the work is its integral.
    work = 1.5 * (n - 1) * units.kB * t0 * np.log(s)
    start = Measured(einstein_crystal_free_energy(k, masses, t0, 11.0), 0.001)
    temperatures, values, errors = reversible_scaling(s, work, work - work[-1], start, t0, n)
    assert temperatures[-1] == pytest.approx(1200.0)
    exact = [einstein_crystal_free_energy(k, masses, t, 11.0) for t in temperatures]
    assert values == pytest.approx(exact, rel=1e-9)
    assert errors[-1] == pytest.approx(0.004, rel=1e-6)


def test_gibbs_helmholtz_and_crossing_of_known_curves() -> None:
    # H = a + c T gives G = a - c T ln T + b T.
    def exact(t: float, a: float, c: float, b: float) -> float:
        return a - c * t * math.log(t) + b * t

    curves = []
    for a, c, b in ((-4.0, 2.5e-4, 1e-3), (-3.6, 2.5e-4, 1e-3 - 0.4 / 1200.0)):
        t = np.array([900.0, 1000.0, 1100.0])
        anchor = Measured(exact(1000.0, a, c, b), 1e-3)
        curve = gibbs_helmholtz(1000.0, anchor, t, a + c * t, np.full(3, 1e-4))
        assert curve(1150.0).value == pytest.approx(exact(1150.0, a, c, b), abs=1e-9)
        curves.append(curve)
    found = crossing(curves[0], curves[1], 800.0, 1500.0)
    assert found.temperature.value == pytest.approx(1200.0, abs=1e-3)
    assert found.latent_heat.value == pytest.approx(0.4, abs=1e-9)
    assert found.temperature.error == pytest.approx(1.2 * math.sqrt(2) * 1e-3 / (0.4 / 1200.0), rel=0.01)
    with pytest.raises(SimulationError, match="the solid is stable"):
        crossing(curves[0], curves[1], 800.0, 1000.0)


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

QUICK = {"timestep": 4.0, "friction": 0.02, "temperature": 300.0}


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
