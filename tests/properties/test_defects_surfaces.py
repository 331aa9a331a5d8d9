"""Surfaces, defects and short range against bond counting and published values of classical potentials."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.morse import MorsePotential

from forgefield.errors import ConfigError, PredictionError
from forgefield.graph import neighbour_pairs
from forgefield.properties import defects
from forgefield.properties.defects import interstitials
from forgefield.properties.registry import find_property
from forgefield.properties.short_range import Scan, dimer
from forgefield.properties.surfaces import J_PER_M2, conventional_cell, slabs

BOND = 2.16826  # eV, of Stillinger and Weber's silicon


def test_surface_energies_of_stillinger_weber_are_broken_bonds(stillinger_weber, silicon):
    result = find_property("surfaces")(silicon, stillinger_weber, thickness=8.0)
    a = 5.430949
    # Unrelaxed: only bonds break, angles stay. Broken bonds and area per surface cell: (111) 1 in 3^(1/2)/4 a^2,
    # (110) 2 in a^2 / 2^(1/2), (100) 2 in a^2 / 2.
    for plane, (bonds, area) in {"111": (1, 3**0.5 / 4), "110": (2, 0.5**0.5), "100": (2, 0.5)}.items():
        expected = 0.5 * bonds * BOND / (area * a * a) * J_PER_M2
        assert result[f"({plane}) unrelaxed"] == pytest.approx(expected, rel=1e-3), plane
    assert result["(111) relaxed"] <= result["(111) unrelaxed"] + 1e-9
    # The plane (111) can be cut through one bond per atom or through three.
    cuts = result.tables["(111) cuts"].values
    assert cuts.shape == (2, 2)
    assert cuts[:, 1].max() > 2.5 * cuts[:, 1].min()


def test_slabs_hold_whole_crystals_between_vacuum():
    crystal = conventional_cell(bulk("Cu", "fcc", a=3.6))
    assert len(crystal) == 4
    for miller in ((1, 0, 0), (1, 1, 1), (2, 1, 1)):
        for slab in slabs(crystal, miller, 3, 8.0):
            z = slab.atoms.positions[:, 2]
            height = slab.atoms.cell.array[2]
            assert slab.atoms.get_volume() == pytest.approx(slab.area * np.linalg.norm(height), rel=1e-9)
            assert np.linalg.norm(height) - np.ptp(z) == pytest.approx(8.0)
            d = slab.atoms.get_all_distances(mic=True)
            assert d[d > 1e-6].min() == pytest.approx(3.6 / 2**0.5)


@pytest.mark.parametrize("layers", [2, 3, 4])
@pytest.mark.parametrize("cubic", [True, False])
def test_cuts_of_diamond_break_one_bond_or_three_at_both_surfaces(layers, cubic):
    # Planes (111) repeat after three layers, so that slabs of two or four must not be wrapped.
    crystal = conventional_cell(bulk("Si", a=5.43, cubic=cubic))
    found = {}
    for slab in slabs(crystal, (1, 1, 1), layers, 10.0):
        bonds = np.bincount(neighbour_pairs(slab.atoms, 2.6)[0], minlength=len(slab.atoms))
        z = slab.atoms.positions[:, 2]
        for surface in (z < z.min() + 0.1, z > z.max() - 0.1):
            found.setdefault(round(slab.gap, 2), set()).add((surface.sum(), *np.unique(4 - bonds[surface])))
        assert (4 - bonds).sum() == 2 * 4 * (1 if slab.gap > 2.0 else 3)
    assert found == {0.78: {(4, 3)}, 2.35: {(4, 1)}}


def test_energies_that_no_surface_has_are_said():
    class Holed(EMT):
        """A potential that knows crystals only: atoms with few neighbours cost 12 eV."""

        cost = 12.0

        def calculate(self, *arguments, **keywords):
            super().calculate(*arguments, **keywords)
            missing = np.bincount(neighbour_pairs(self.atoms, 3.0)[0], minlength=len(self.atoms)) < 12
            self.results["energy"] = self.results["energy"] + self.cost * int(missing.sum())

    options = {"relaxed": False, "thickness": 6.0, "miller": ((1, 1, 1),), "relax": True}
    assert find_property("surfaces")(bulk("Cu"), EMT(), **options).warnings == ()
    result = find_property("surfaces")(bulk("Cu"), Holed(), **options)
    assert re.search(
        r"gap of 2\.07 Å costs 3.* J/m\^2, more than any crystal's .* extrapolates", result.warnings[0]
    )
    Holed.cost = -12.0
    result = find_property("surfaces")(bulk("Cu"), Holed(), **options)
    assert "would fall apart" in result.warnings[0]


def test_dumbbells_lie_on_every_kind_of_site():
    # A corner and its cube of another kind of site of the same element.
    kinds = Atoms(
        "Cu4", cell=3 * [4.5], scaled_positions=[[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]], pbc=True
    )
    names = [d.name for d in interstitials(kinds, (1, 1, 1)) if "dumbbell" in d.name]
    assert names == [f"Cu dumbbell <{v}> on Cu{k}" for k in (0, 1) for v in ("100", "110", "111")]
    salt = bulk("NaCl", "rocksalt", a=5.6)
    assert [d.name for d in interstitials(salt, (2, 2, 2)) if "dumbbell <100>" in d.name] == [
        "Cl dumbbell <100>",
        "Na dumbbell <100>",
    ]
    foreign = [d for d in interstitials(salt, (2, 2, 2), "K") if "dumbbell <100>" in d.name]
    assert [d.name for d in foreign] == ["K dumbbell <100> on Na0", "K dumbbell <100> on Cl1"]
    assert all(d.change == {"K": 1} for d in foreign)


def test_supercells_that_are_too_large_are_refused():
    for name in ("vacancy", "interstitial"):
        with pytest.raises(ConfigError, match=r"atoms \(allowed: 10000\); lower `length` \(200\.0 Å\)"):
            find_property(name)(bulk("Cu", a=3.59), EMT(), relax=True, length=200.0)


def test_emt_surfaces_relax_and_close_packed_is_lowest():
    result = find_property("surfaces")(bulk("Cu", "fcc", a=3.59), EMT(), relax=True, thickness=9.0)
    assert result["(111) relaxed"] < result["(100) relaxed"] < result["(110) relaxed"]
    assert result["(110) relaxed"] < result["(110) unrelaxed"]
    assert result.quantities["(100) relaxed"].error < 0.02


def test_vacancy_of_stillinger_weber(stillinger_weber, silicon):
    # Four broken bonds less half of the four an atom owns; relaxed 2.8 eV: H. Balamane et al., PRB 46, 2250 (1992).
    result = find_property("vacancy")(silicon, stillinger_weber)
    assert result["vacancy Si0 unrelaxed"] == pytest.approx(2 * BOND, abs=1e-3)
    assert 2.6 < result["lowest"] < 2.9
    assert result.conditions["supercell_atoms"] == 2 * 4**3


def test_vacancy_of_a_pair_potential_costs_its_cohesion():
    # Unrelaxed and at zero pressure: E_f = -E_coh, as every pair is counted once.
    calculator = MorsePotential(epsilon=0.4, r0=2.8, rho0=5.0, rcut1=4.3, rcut2=4.6)
    start = find_property("relax")(bulk("Cu", "fcc", a=3.96), calculator)
    atoms = bulk("Cu", "fcc", a=start["a"] * 2**0.5)
    result = find_property("vacancy")(atoms, calculator, relaxed=False, length=7.0)
    atoms.calc = calculator
    assert result["lowest"] == pytest.approx(-atoms.get_potential_energy(), rel=1e-5)


def test_voids_of_fcc_are_octahedral_and_tetrahedral():
    found = interstitials(bulk("Cu", "fcc", a=3.6), (3, 3, 3))
    voids = [d.name for d in found if "void" in d.name]
    assert len(voids) == 2
    assert f"({3.6 / 2:.2f} Å)" in voids[0]
    assert f"({3.6 * 3**0.5 / 4:.2f} Å)" in voids[1]
    assert len(found) == 5
    assert all(len(d.atoms) == 28 for d in found)


def test_interstitial_sites_of_silicon_and_their_order(stillinger_weber, silicon):
    result = find_property("interstitial")(silicon, stillinger_weber, relaxed=False, length=9.0)
    # tetrahedral and hexagonal: 3^(1/2)/4 a and 11^(1/2)/8 a from the nearest atom
    names = [k for k in result.quantities if "void" in k]
    assert f"({5.430949 * 3**0.5 / 4:.2f} Å)" in names[0]
    assert f"({5.430949 * 11**0.5 / 8:.2f} Å)" in names[1]


def test_compounds_need_chemical_potentials():
    atoms = Atoms("CuAu", cell=[2.8, 2.8, 3.6], scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], pbc=True)
    with pytest.raises(ConfigError, match="chemical_potentials"):
        find_property("vacancy")(atoms, EMT(), relax=True, relaxed=False, length=5.0)
    given = {"Cu": -0.1, "Au": -0.2}
    result = find_property("vacancy")(
        atoms, EMT(), relax=True, relaxed=False, length=5.0, chemical_potentials=given
    )
    assert len(result.tables["vacancy"].values) == 2


def test_dimer_is_the_pair_potential_itself():
    calculator = LennardJones(sigma=2.3, epsilon=0.5, rc=8.0, smooth=False)
    r = np.linspace(1.5, 6.0, 200)
    found = dimer("Ar", "Ar", calculator, r)
    exact = 4 * 0.5 * ((2.3 / r) ** 12 - (2.3 / r) ** 6)
    np.testing.assert_allclose(found.energies - found.energies[-1], exact - exact[-1], rtol=1e-9, atol=1e-12)
    assert found.hardest == 0
    assert found.x[found.minimum] == pytest.approx(2.3 * 2 ** (1 / 6), abs=0.03)


@pytest.mark.parametrize("hole", [0.0, 1.3])
def test_holes_are_found(hole):
    r = np.linspace(0.8, 6.0, 200)
    energies = 4 * ((2.0 / r) ** 8 - (2.0 / r) ** 4)
    energies[r < hole] = np.interp(hole, r, energies) - 1e3 * (hole - r[r < hole])  # falls without end
    scan = Scan(r, energies)
    assert scan.x[scan.hardest] == pytest.approx(max(hole, 0.8), abs=0.03)
    assert scan.x[scan.minimum] == pytest.approx(2.0 * 2**0.25, abs=0.03)
    if hole:
        assert scan.barrier == pytest.approx(4 * ((2 / 1.3) ** 8 - (2 / 1.3) ** 4) + 1, abs=5.0)


def test_a_deep_hole_with_a_wall_inside_is_no_well():
    r = np.linspace(0.5, 6.0, 200)
    energies = 4 * ((2.0 / r) ** 8 - (2.0 / r) ** 4)
    inner = r < 1.5
    energies[inner] = 10.0 - 200.0 * (1.0 - ((r[inner] - 1.0) / 0.5) ** 2)
    scan = Scan(r, energies, above=1.2)
    assert scan.x[scan.minimum] == pytest.approx(2.0 * 2**0.25, abs=0.03)
    assert scan.x[scan.hardest] == pytest.approx(1.5, abs=0.05)


def test_dimer_and_cold_curve_properties_of_silicon(stillinger_weber, silicon):
    result = find_property("dimer")(silicon, stillinger_weber, shortest=0.5)
    assert result["Si-Si depth"] == pytest.approx(BOND, abs=5e-3)
    assert result.warnings == ()
    curve = find_property("cold-curve")(silicon, stillinger_weber)
    assert curve["scale depth"] == pytest.approx(2 * BOND, abs=0.02)
    assert curve["scale repulsive_down_to"] == pytest.approx(0.6)


@pytest.mark.parametrize("good", [0, 1])
def test_relaxations_that_fall_into_a_hole_do_not_count(monkeypatch, good):
    calls = iter(range(100))

    def collapse(atoms, calculator, **_):
        copy = atoms.copy()
        copy.calc = calculator
        if next(calls) % 2 >= good:
            copy.positions[1] = copy.positions[0] + 0.4
        return copy

    monkeypatch.setattr(defects, "relax_cell", collapse)
    settings = {"length": 5.0, "tries": 2}
    atoms = bulk("Cu", "fcc", a=3.59)
    if not good:
        with pytest.raises(PredictionError, match="hole at short range"):
            find_property("vacancy")(atoms, EMT(), **settings)
        return
    result = find_property("vacancy")(atoms, EMT(), **settings)
    assert result.warnings == ("vacancy Cu0: 1 of 2 relaxations collapsed",)
    assert 0.5 < result["lowest"] < 2.0
