"""Equation of state against curves and potentials whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from forgefield.errors import ConfigError, DataError, StructureError
from forgefield.properties import equation_of_state, fit_equation_of_state
from forgefield.properties.eos_forms import FORMS
from forgefield.properties.registry import find_property
from forgefield.units import EV_PER_A3_TO_GPA


def birch_murnaghan(v, e0, v0, b0, b1):
    eta = (v0 / v) ** (2 / 3)
    return e0 + 9 * v0 * b0 / 16 * ((eta - 1) ** 3 * b1 + (eta - 1) ** 2 * (6 - 4 * eta))


@pytest.mark.parametrize(
    ("v0", "b0", "b1", "e0"),
    [(20.4, 88.6, 4.2, -5.4), (5.7, 433.0, 3.6, -155.0), (75.0, 2.1, 7.5, 0.3)],
)
def test_exact_curve_is_recovered(v0, b0, b1, e0):
    volumes = v0 * np.linspace(0.9, 1.12, 9)
    energies = birch_murnaghan(volumes, e0, v0, b0 / EV_PER_A3_TO_GPA, b1)
    found = fit_equation_of_state(volumes, energies)
    assert found.volume == pytest.approx(v0, rel=1e-9)
    assert found.energy == pytest.approx(e0, rel=1e-12)
    assert found.bulk_modulus == pytest.approx(b0, rel=1e-7)
    assert found.bulk_modulus_derivative == pytest.approx(b1, rel=1e-6)
    assert found.fit_error < 1e-10
    np.testing.assert_allclose(found(volumes), energies, rtol=1e-11)


def test_lennard_jones_fcc_has_the_analytic_lattice_constant():
    # E/atom = 2 eps (A12 x^12 - A6 x^6) with the lattice sums of the truncated crystal, minimal at
    # x^6 = A6 / (2 A12); the bulk modulus follows from the second derivative.
    cutoff = 2.1  # between shells: the number of neighbours does not change with strain
    n = np.arange(-4, 5)
    points = np.array(
        [(x, y, z) for x in n for y in n for z in n if (x + y + z) % 2 == 0 and (x, y, z) != (0, 0, 0)]
    )
    d = np.linalg.norm(points, axis=1) / np.sqrt(2)  # in units of the nearest distance
    near = d < 1.9  # three shells; the fourth is at 2
    a12, a6 = (d[near] ** -12).sum(), (d[near] ** -6).sum()
    nearest = (2 * a12 / a6) ** (1 / 6)
    volume = nearest**3 / np.sqrt(2)
    # d2E/dr2 at the minimum is 36 a6^2 / a12 / r^2 (times eps); B = r^2 E'' / (9 V)
    bulk_modulus = 36 * a6**2 / a12 / (9 * volume) * EV_PER_A3_TO_GPA
    calculator = LennardJones(sigma=1.0, epsilon=1.0, rc=cutoff, smooth=False)
    atoms = bulk("Ar", "fcc", a=1.002 * nearest * np.sqrt(2))
    assert 1.75 * nearest < cutoff < 1.98 * nearest
    found = equation_of_state(atoms, calculator, strains=np.linspace(-0.008, 0.008, 9))
    # ASE shifts every pair energy by a constant, which changes E0 only.
    assert found.volume == pytest.approx(volume, rel=1e-5)
    assert found.bulk_modulus == pytest.approx(bulk_modulus, rel=1e-3)
    assert found.length(4) == pytest.approx(nearest * np.sqrt(2), rel=1e-5)


def test_bulk_modulus_equals_the_pressure_derivative():
    atoms = bulk("Cu", "fcc", a=3.6)
    found = equation_of_state(atoms, EMT(), strains=np.linspace(-0.01, 0.01, 9))
    pressures, volumes = [], []
    for scale in (0.9995, 1.0005):
        copy = bulk("Cu", "fcc", a=found.length(4) * scale)
        copy.calc = EMT()
        pressures.append(-copy.get_stress()[:3].mean() * EV_PER_A3_TO_GPA)
        volumes.append(copy.get_volume())
    modulus = -found.volume * (pressures[1] - pressures[0]) / (volumes[1] - volumes[0])
    assert found.bulk_modulus == pytest.approx(modulus, rel=5e-3)
    assert abs(sum(pressures)) / 2 < 0.05


def test_no_minimum_inside_is_an_error_that_names_the_range():
    with pytest.raises(DataError, match=r"no minimum between .* widen `strains`"):
        equation_of_state(bulk("Cu", "fcc", a=4.2), EMT(), strains=np.linspace(0.0, 0.05, 6))


@pytest.mark.parametrize(
    ("atoms", "strains", "error"),
    [
        (Atoms("Cu"), (-0.01, 0.0, 0.01, 0.02, 0.03), StructureError),
        (Atoms(cell=[3, 3, 3], pbc=True), (-0.01, 0.0, 0.01, 0.02, 0.03), StructureError),
        (bulk("Cu"), (-0.01, 0.0, 0.01), ConfigError),
        (bulk("Cu"), (-0.6, 0.0, 0.01, 0.02, 0.03), ConfigError),
    ],
)
def test_bad_input(atoms, strains, error):
    with pytest.raises(error):
        equation_of_state(atoms, EMT(), strains=strains)


def test_missing_calculator_says_how_to_give_one():
    with pytest.raises(ConfigError, match=r"atoms\.calc"):
        equation_of_state(bulk("Cu"))


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_recovers_its_own_curve(form):
    truth = np.array([-5.4, 20.4, 88.6 / EV_PER_A3_TO_GPA, 4.7])
    volumes = 20.4 * np.linspace(0.9, 1.12, 9)
    found = fit_equation_of_state(volumes, FORMS[form](volumes, *truth), form)
    assert found.volume == pytest.approx(20.4, rel=1e-8)
    assert found.bulk_modulus == pytest.approx(88.6, rel=1e-6)
    assert found.bulk_modulus_derivative == pytest.approx(4.7, rel=1e-5)
    assert found.fit_error < 1e-9


@pytest.mark.parametrize("form", sorted(FORMS))
def test_forms_have_the_derivatives_their_parameters_claim(form):
    # At V0: dE/dV = 0, V d2E/dV2 = B0 and dB/dP = B0', here from differences of the energy itself.
    v0, b0, b1, h = 15.0, 0.6, 5.1, 0.02
    e = FORMS[form](v0 + h * np.arange(-3, 4), -2.0, v0, b0, b1)
    first = (e[4] - e[2]) / (2 * h) - (e[5] - 2 * e[4] + 2 * e[2] - e[1]) / (12 * h)
    second = (-e[5] + 16 * e[4] - 30 * e[3] + 16 * e[2] - e[1]) / (12 * h * h)
    third = (-e[6] + 8 * e[5] - 13 * e[4] + 13 * e[2] - 8 * e[1] + e[0]) / (8 * h**3)
    assert abs(first) < 1e-8
    assert v0 * second == pytest.approx(b0, rel=1e-6)
    # B = V E'', P = -E': dB/dP = -(E'' + V E''') / E''
    assert -(second + v0 * third) / second == pytest.approx(b1, rel=1e-4)


def test_standard_errors_are_the_scatter_of_repeated_noisy_fits():
    rng = np.random.default_rng(5)
    volumes = 20.4 * np.linspace(0.92, 1.08, 15)
    clean = FORMS["vinet"](volumes, -5.4, 20.4, 0.55, 4.5)
    fits = [
        fit_equation_of_state(volumes, clean + 1e-4 * rng.standard_normal(15), "vinet") for _ in range(150)
    ]
    for name in ("volume", "bulk_modulus", "bulk_modulus_derivative", "energy"):
        scatter = np.std([getattr(f, name) for f in fits])
        claimed = np.sqrt(np.mean([f.errors[name] ** 2 for f in fits]))
        assert claimed == pytest.approx(scatter, rel=0.25), name


def test_property_reports_forms_pressure_and_conditions(stillinger_weber, silicon, tmp_path):
    result = find_property("eos")(silicon, stillinger_weber, folder=tmp_path, form="vinet", relax=True)
    # C11 + 2 C12 = 304.3 GPa: E. R. Cowley, Phys. Rev. Lett. 60, 2379 (1988).
    assert result["bulk_modulus"] == pytest.approx(101.4, abs=0.5)
    assert result["energy"] == pytest.approx(-4.3366, abs=1e-4)  # two bonds of depth 2.1683 eV
    assert result.tables["forms"].values.shape == (4, 5)
    assert result.conditions["ions"] == "clamped"
    assert (tmp_path / "eos.png").stat().st_size > 5000
    pressure = result.curves["pressure"]
    assert np.interp(result["volume"], pressure.x, pressure.y) == pytest.approx(0.0, abs=0.02)


def test_unknown_form_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'vinet'"):
        fit_equation_of_state(np.arange(10.0, 16.0), np.arange(6.0), "vinett")


def test_the_cell_is_on_record():
    atoms = bulk("Cu", a=3.65)
    result = find_property("eos")(atoms, EMT(), relax=True)
    cell = np.array(result.conditions["cell_A"])
    assert abs(np.linalg.det(cell)) == pytest.approx(result["volume"], rel=1e-3)
    assert not np.allclose(cell, atoms.cell.array, rtol=1e-3)
