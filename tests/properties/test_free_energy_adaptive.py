"""Adaptive integration over lambda: known integrals with and without noise, and a crystal that is known exactly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from ase.build import bulk

from forgefield.errors import ConfigError, SimulationError
from forgefield.graph import neighbour_pairs
from forgefield.properties.dynamics_forces import Forces
from forgefield.properties.free_energy import FREE_ENERGY
from forgefield.properties.free_energy_adaptive import AdaptiveIntegral
from forgefield.properties.free_energy_estimators import Measured
from forgefield.properties.free_energy_reference import harmonic_crystal_free_energy, volume_per_lattice_point


def integrate(function, noise, wanted, *, panels=1, power=0.0, most=2000, seed=0):
    """Visit what is asked for; return the integral and how often each lambda was visited."""
    rng = np.random.default_rng(seed)
    whole = AdaptiveIntegral(panels, power)
    plan = [node for node in whole.nodes for _ in range(2)]
    runs = 0
    while plan:
        for node in plan:
            value = function(whole.coupling(node)) + noise * rng.standard_normal()
            whole.add(node, Measured(value, noise))
        runs += len(plan)
        plan = whole.improve(wanted, most - runs)
    return whole, runs


def peak(x):
    return 1.0 / (1e-3 + (x - 0.3) ** 2)


PEAK = (np.arctan(0.7 / np.sqrt(1e-3)) + np.arctan(0.3 / np.sqrt(1e-3))) / np.sqrt(1e-3)


def test_cubics_are_exact_and_take_no_more_points():
    whole, runs = integrate(lambda x: 4 * x**3 - 3 * x**2 + 2 * x - 1, 0.0, 1e-9)
    assert whole.integral().value == pytest.approx(0.0, abs=1e-12)
    assert whole.integral().discretisation < 1e-12
    assert runs == 10


def test_points_gather_where_the_integrand_changes():
    whole, _ = integrate(peak, 0.0, 1e-3 * PEAK)
    found = whole.integral()
    assert abs(found.value - PEAK) < found.discretisation < 1e-3 * PEAK
    places = np.array([float(node) for node in whole.nodes])
    near = np.abs(places - 0.3) < 0.1
    assert near.sum() > 2 * 0.2 * len(places)  # twice their share
    # Equidistant points in the same number do worse.
    even = np.linspace(0, 1, len(places))
    assert abs(np.trapezoid(peak(even), even) - PEAK) > 5 * abs(found.value - PEAK)


@pytest.mark.parametrize("width", [0.02, 0.05, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("wanted", [0.02, 0.005])
def test_an_integrand_that_is_steep_at_one_end_fools_nobody(width, wanted):
    # Five points and |S2 - S1| / 15 take these for smooth and are off by several times their error.
    whole, _ = integrate(lambda x: np.exp(-x / width), 0.0, wanted)
    found = whole.integral()
    assert found.discretisation <= wanted
    assert abs(found.value - width * (1 - np.exp(-1 / width))) < found.discretisation


def test_error_bars_of_noisy_means_are_right():
    pulls, asked = [], 0.02
    for seed in range(50):
        whole, _ = integrate(lambda x: np.exp(2 * x), 0.1, asked, seed=seed)
        found = whole.integral()
        assert found.measured.error <= asked
        pulls.append((found.value - (np.exp(2) - 1) / 2) / found.measured.error)
    assert abs(np.mean(pulls)) < 0.4
    assert 0.7 < np.std(pulls) < 1.25


def test_steps_go_where_the_error_is_largest():
    rng = np.random.default_rng(1)
    whole = AdaptiveIntegral(1)
    plan = whole.nodes * 2
    for _ in range(40):
        for node in plan:
            noise = 1.0 if node > 0.9 else 0.05
            whole.add(node, Measured(noise * rng.standard_normal(), noise))
        plan = whole.improve(0.02, 100)
    visits = {float(node): len(found) for node, found in whole.visits.items()}
    assert visits[1.0] > 10 * visits[0.5]


def test_the_singularity_of_the_ideal_gas_is_mapped_away():
    # Soft core of 1/r^12: dU/dlambda ~ lambda^(-3/4), whose integral is 4.
    whole, _ = integrate(lambda x: x**-0.75, 0.0, 4e-3, power=0.85)
    assert Fraction(0) not in whole.visits
    found = whole.integral()
    assert found.value == pytest.approx(4.0, abs=2 * found.discretisation)
    assert found.discretisation <= 4e-3


def test_it_stops_where_it_is_told_to():
    whole, runs = integrate(peak, 0.5, 1e-9, most=60)
    assert runs <= 60
    assert all(node in whole.visits for node in whole.nodes)
    assert whole.integral().measured.error > 1e-9


class Harmonic:
    """A harmonic crystal with a known Hessian."""

    def __init__(self, atoms):
        self.sites, n = atoms.positions.copy(), len(atoms)
        hessian = np.zeros((n, 3, n, 3))
        i, j, _, r = neighbour_pairs(atoms, 2.7)
        for a, b, v in zip(i, j, r, strict=True):
            e = v / np.linalg.norm(v)
            block = 3.0 * np.outer(e, e) + 0.5 * np.eye(3)
            hessian[a, :, a] += block
            hessian[a, :, b] -= block
        self.hessian = hessian.reshape(3 * n, 3 * n)

    def reset(self):
        pass

    def evaluate(self, positions, _cell, *, virial=False, **_others):
        u = (positions - self.sites).ravel()
        f = -self.hessian @ u
        return Forces(-0.5 * float(u @ f), f.reshape(-1, 3), np.zeros((3, 3)) if virial else None)


SETTINGS = {
    "temperature": 300.0, "timestep": 4.0, "friction": 0.02, "finite_size": False, "target_steps": 300,
    "equilibration": 40, "steps": 160, "lambdas": "adaptive", "points": 5, "springs": 25.0,
}  # fmt: skip


def test_free_energy_to_the_error_asked_for(tmp_path):
    copper = bulk("Cu", a=3.6, cubic=True).repeat((2, 2, 1))
    field = Harmonic(copper)
    lattice = volume_per_lattice_point(copper)
    exact = harmonic_crystal_free_energy(field.hessian, copper.get_masses(), 300.0, lattice) / len(copper)
    result = FREE_ENERGY(copper, field, folder=tmp_path, target_error=0.3, **SETTINGS)
    found = result.quantities["helmholtz"]
    assert found.error <= 0.3e-3
    assert abs(found.value - exact) < 1.2e-3
    assert result.conditions["einstein_runs"] > 2 * 5
    # The journal knows every stage, also those chosen on the way.
    field.hessian[:] = np.nan
    again = FREE_ENERGY(copper, field, folder=tmp_path, target_error=0.3, **SETTINGS)
    assert again.quantities == result.quantities


def test_an_error_out_of_reach_says_how_many_runs():
    copper = bulk("Cu", a=3.6, cubic=True).repeat((2, 1, 1))
    with pytest.raises(SimulationError, match=r"set `max_runs` to \d+"):
        FREE_ENERGY(copper, Harmonic(copper), target_error=1e-3, max_runs=12, **SETTINGS)


def test_adaptive_needs_an_error():
    copper = bulk("Cu", a=3.6, cubic=True)
    with pytest.raises(ConfigError, match="target_error"):
        FREE_ENERGY(copper, Harmonic(copper), lambdas="adaptive")
