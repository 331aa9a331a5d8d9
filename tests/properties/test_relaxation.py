"""Relaxation of cell and ions, and the refusal of structures that are not at rest."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from forgefield.errors import ConfigError, PredictionError, StructureError
from forgefield.properties import equation_of_state
from forgefield.properties.registry import find_property
from forgefield.properties.relaxation import (
    STRESS_LIMIT,
    relax_cell,
    require_relaxed,
    state_of_rest,
    strain_to_rest,
)
from forgefield.units import EV_PER_A3_TO_GPA


def test_distorted_crystal_returns_to_its_minimum():
    atoms = bulk("Cu", "fcc", a=3.5, cubic=True)
    expected = equation_of_state(atoms, EMT()).length(4)
    rng = np.random.default_rng(3)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * rng.standard_normal((3, 3))), scale_atoms=True)
    atoms.positions += 0.05 * rng.standard_normal((4, 3))
    before = atoms.copy()
    found = relax_cell(atoms, EMT(), force_tolerance=1e-3)
    assert (found.get_volume()) ** (1 / 3) == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(found.cell.angles(), 90.0, atol=0.1)
    np.testing.assert_array_equal(atoms.positions, before.positions)


def test_pressure_is_reached():
    found = relax_cell(bulk("Cu", "fcc", a=3.6), EMT(), pressure=10.0, force_tolerance=1e-4)
    assert -found.get_stress()[:3] * EV_PER_A3_TO_GPA == pytest.approx(10.0, abs=0.02)


def test_shape_keeps_the_volume_and_volume_keeps_the_shape():
    atoms = bulk("Cu", "hcp", a=2.6, c=4.0)
    shape = relax_cell(atoms, EMT(), cell="shape", force_tolerance=1e-3)
    assert shape.get_volume() == pytest.approx(atoms.get_volume(), rel=1e-6)
    assert shape.cell.lengths()[2] / shape.cell.lengths()[0] > 1.6
    volume = relax_cell(atoms, EMT(), cell="volume", force_tolerance=1e-3)
    assert volume.cell.lengths()[2] / volume.cell.lengths()[0] == pytest.approx(4.0 / 2.6, rel=1e-6)


def test_unrelaxed_structure_is_refused_with_the_fix():
    with pytest.raises(StructureError, match=r"Unrelaxed structure: stress up to .* GPa.*relax=true"):
        require_relaxed(bulk("Cu", "fcc", a=3.5), EMT())
    rattled = bulk("Cu", "fcc", a=3.59, cubic=True)
    rattled.positions[0, 0] += 0.1
    with pytest.raises(StructureError, match=r"forces up to .* eV/Å"):
        require_relaxed(rattled, EMT())
    with pytest.raises(StructureError, match="Unrelaxed"):
        find_property("elastic")(bulk("Cu", "fcc", a=3.5), EMT())


def argon(scale):
    return bulk("Ar", "fcc", a=5.26 * scale), LennardJones(
        epsilon=0.0104, sigma=3.4, rc=8.0, ro=6.5, smooth=True
    )


def test_soft_crystals_are_judged_by_strain():
    # Compressed by 3 % argon is under less than 0.5 GPa, and its constants are twice those at rest.
    atoms, calculator = argon(0.97)
    rest = relax_cell(atoms, calculator, force_tolerance=1e-5)
    for strain in (-0.02, -0.01, 0.01):
        off = rest.copy()
        off.set_cell(rest.cell.array * (1.0 + strain), scale_atoms=True)
        assert state_of_rest(off, calculator)[0] < STRESS_LIMIT
        # Stiffness changes with strain, the more the further.
        assert strain_to_rest(off, calculator) == pytest.approx(abs(strain), rel=0.25)
        with pytest.raises(StructureError, match=r"takes a strain of .* % to relax \(allowed: 0\.2 %\)"):
            require_relaxed(off, calculator)
    off.set_cell(rest.cell.array * 1.001, scale_atoms=True)
    require_relaxed(off, calculator)
    result = find_property("elastic")(off, calculator)
    assert result.conditions["strain_to_rest"] == pytest.approx(0.001, rel=0.05)
    shear = rest.cell.array @ (np.eye(3) + 0.004 * np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]))
    off.set_cell(shear, scale_atoms=True)
    assert strain_to_rest(off, calculator) == pytest.approx(0.004, rel=0.05)


def test_stiff_crystals_are_judged_by_stress():
    atoms = relax_cell(bulk("Cu"), EMT(), force_tolerance=1e-5)
    atoms.set_cell(atoms.cell.array * 0.9995, scale_atoms=True)
    require_relaxed(atoms, EMT())
    atoms.set_cell(atoms.cell.array * 0.9985, scale_atoms=True)
    stress, _ = state_of_rest(atoms, EMT())
    assert stress > STRESS_LIMIT
    with pytest.raises(StructureError, match=r"allowed: 0\.5"):
        require_relaxed(atoms, EMT())


@pytest.mark.parametrize("cell", [None, [5.0, 5.0, 0.0]])
def test_a_molecule_relaxes_without_a_cell(cell, tmp_path):
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.6]], cell=cell)
    result = find_property("relax")(atoms, EMT(), cell="fixed", folder=tmp_path)
    assert set(result.quantities) == {"energy", "largest_force"}
    assert 2.0 < np.linalg.norm(np.diff(result.tables["positions"].values, axis=0)) < 2.5
    assert (tmp_path / "relaxed.xyz").exists()


def test_property_writes_the_structure(tmp_path):
    result = find_property("relax")(bulk("Cu", "fcc", a=3.7), EMT(), folder=tmp_path)
    assert result["largest_stress"] < 0.01
    assert (tmp_path / "relax.json").exists()
    from ase.io import read

    again = read(tmp_path / "relaxed.xyz")
    assert again.get_volume() == pytest.approx(result["volume"], rel=1e-6)


def test_bad_input():
    with pytest.raises(PredictionError, match="within 2 steps"):
        relax_cell(bulk("Cu", "fcc", a=3.3), EMT(), steps=2)
    with pytest.raises(StructureError, match="periodic in three directions"):
        relax_cell(Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.2]]), EMT())
    with pytest.raises(ConfigError, match="pressure"):
        find_property("relax")(bulk("Cu"), EMT(), cell="fixed", pressure=3.0)
    with pytest.raises(ConfigError, match="did you mean 'elastic'"):
        find_property("elastics")
