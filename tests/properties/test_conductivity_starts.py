"""Simulations of the heat flux: one cell, one energy, and what is said where they are no equilibrium or not isotropic."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from scipy.signal import lfilter

from forgefield.properties import conductivity_gk
from forgefield.properties.conductivity_gk import (
    CONDUCTIVITY_GK,
    Fluxes,
    GreenKuboSettings,
    simulate_fluxes,
)
from forgefield.properties.conductivity_simulation import FluxSystem
from forgefield.properties.conductivity_starts import starts_of
from forgefield.properties.free_energy_potentials import Repulsion


def decaying(seed, n=3000, time=10.0):
    """Three series with autocorrelation exp(-t / time)."""
    keep = np.exp(-1.0 / time)
    noise = np.random.default_rng(seed).standard_normal((n, 3)) * np.sqrt(1 - keep**2)
    noise[0] /= np.sqrt(1 - keep**2)
    return lfilter([1.0], [1.0, -keep], noise, axis=0)


def made(monkeypatch, scales, *, mean=0.0, temperature=300.0, seed=0):
    """Return the property of made fluxes, whose variances are `scales`."""
    flux = np.stack([decaying(seed + s) for s in range(8)]) * np.sqrt(scales) + mean
    parts = np.stack([flux, np.zeros_like(flux)], axis=2)
    fluxes = Fluxes(parts, 0.005, 1000.0, temperature, 0.0, 1.0)
    monkeypatch.setattr(conductivity_gk, "simulate_fluxes", lambda *_args, **_options: fluxes)
    options = {"length": 15.0, "correlation_time": 0.5, "temperature": 300.0}
    return CONDUCTIVITY_GK(*pairs_of_argon(), **options)


def test_directions_that_differ_are_no_repeats(monkeypatch):
    truth = made(monkeypatch, (1.0, 1.0, 1.0))
    assert not truth.warnings
    found = made(monkeypatch, (8.0, 1.0, 1.0))
    assert any("directions differ by more than chance (xx" in text for text in found.warnings)
    # The error of the mean is that of the mean of three errors, not the spread of 8, 1 and 1.
    errors = [found.quantities[f"conductivity_{d}"].error for d in ("xx", "yy", "zz")]
    assert found.quantities["conductivity"].error < 1.5 * np.sqrt(np.square(errors).sum()) / 3
    assert found["conductivity"] == pytest.approx(
        np.mean([found[f"conductivity_{d}"] for d in ("xx", "yy", "zz")])
    )


def test_flux_and_temperature_that_are_no_equilibrium_are_said(monkeypatch):
    found = made(monkeypatch, (1.0, 1.0, 1.0), mean=0.5, temperature=330.0)
    assert any("as in no equilibrium" in text for text in found.warnings)
    assert any("at 330 K, not at 300 K" in text for text in found.warnings)


def pairs_of_argon(size=0.97):
    atoms = bulk("Ar", "fcc", a=5.35 * size, cubic=True) * 2

    def law(squared):
        x = 3.4**6 / squared**3
        return 0.0416 * (x * x - x), 0.0416 * (-6 * x * x + 3 * x) / squared

    return atoms, Repulsion(atoms, law, 5.0)


def test_simulations_start_in_one_cell_at_one_energy():
    atoms, field = pairs_of_argon()
    settings = GreenKuboSettings(
        temperature=40.0,
        timestep=8.0,
        equilibration=1.6,
        pressure=0.1,
        compressibility=0.3,
        friction=0.02,
        interval=40.0,
    )
    starts = starts_of(FluxSystem(atoms, field, {}, []), settings, 4, level=True)
    cells = np.array([one.cell.array for one in starts.atoms])
    assert np.ptp(cells, axis=0).max() == 0.0
    assert starts.conditions["cell_A"] == pytest.approx(cells[0], abs=1e-6)
    assert starts.conditions["barostat"] == "isotropic"
    energies = [
        one.get_kinetic_energy() + field.evaluate(one.positions, one.cell.array).energy
        for one in starts.atoms
    ]
    spread = np.sqrt(3 * len(atoms)) * units.kB * 40.0
    assert np.ptp(energies) < 1e-9
    apart = starts_of(FluxSystem(atoms, field, {}, []), settings, 4, level=False)
    energies = [
        one.get_kinetic_energy() + field.evaluate(one.positions, one.cell.array).energy for one in apart.atoms
    ]
    assert np.ptp(energies) > 0.3 * spread


def test_temperature_is_the_one_asked_for_and_its_error_that_of_the_simulations(tmp_path):
    atoms, field = pairs_of_argon()
    options = {
        "timestep": 8.0,
        "interval": 40.0,
        "equilibration": 4.0,
        "length": 4.0,
        "correlation_time": 1.0,
    }
    system = FluxSystem(atoms, field, {}, [])
    settings = GreenKuboSettings(temperature=40.0, replicas=6, friction=0.01, **options)
    fluxes = simulate_fluxes(system, settings, folder=tmp_path)
    # One energy each by chance would leave 4 K between them, 1.6 K of their mean.
    assert fluxes.temperature_error < 0.5
    assert fluxes.temperature == pytest.approx(40.0, abs=2.0)
    again = simulate_fluxes(system, settings, folder=tmp_path)
    assert (again.parts == fluxes.parts).all()
