"""Quadratures, estimators of works, and free energies at other temperatures, against exact answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ase import units

from forgefield.errors import SimulationError
from forgefield.properties.free_energy_estimators import (
    Measured,
    bennett,
    forward_backward,
    jarzynski,
    quadrature,
    switching,
)
from forgefield.properties.free_energy_reference import einstein_crystal_free_energy
from forgefield.properties.free_energy_temperature import crossing, gibbs_helmholtz, reversible_scaling

KT = units.kB * 300.0


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
    for n, within in ((20, 1e-4), (100, 1e-6)):
        rule = quadrature(n, 0.85)
        found = rule.integrate(rule.points ** (3 / 12 - 1), np.zeros(n)).value
        assert found == pytest.approx(4.0, rel=within)
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
    # A parabola through three points has the error of each of them there, not that of their mean.
    for t in (900.0, 1000.0, 1100.0):
        assert curves[0].heat(t).error == pytest.approx(1e-4, rel=1e-9)
    # At 1200 K it is their sum with the weights 1, -3 and 3.
    assert found.latent_heat.error == pytest.approx(2**0.5 * 19**0.5 * 1e-4, rel=1e-3)
    assert found.temperature.value == pytest.approx(1200.0, abs=1e-3)
    assert found.latent_heat.value == pytest.approx(0.4, abs=1e-9)
    assert found.temperature.error == pytest.approx(1.2 * math.sqrt(2) * 1e-3 / (0.4 / 1200.0), rel=0.01)
    with pytest.raises(SimulationError, match="the solid is stable"):
        crossing(curves[0], curves[1], 800.0, 1000.0)
