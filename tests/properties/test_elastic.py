"""Elastic constants against second derivatives of the energy and identities of pair potentials."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.tersoff import Tersoff, TersoffParameters

from forgefield.errors import ConfigError, StructureError
from forgefield.properties import elastic_constants, equation_of_state
from forgefield.properties.elastic_symmetry import find_symmetry, independent_constants, moduli, project
from forgefield.properties.registry import find_property
from forgefield.units import EV_PER_A3_TO_GPA

# J. Tersoff, Phys. Rev. B 38, 9902 (1988), Si(C).
TERSOFF_SI = TersoffParameters(
    m=3, gamma=1.0, lambda3=1.3258, c=4.8381, d=2.0417, h=0.0, n=22.956, beta=0.33675, lambda2=1.3258,
    B=95.373, R=3.0, D=0.2, lambda1=3.2394, A=3264.7,
)  # fmt: skip


def energy_curvature(atoms, calculator, a, b, h=2e-3):
    """Second derivative of the energy per volume [GPa] with respect to Voigt strains a and b."""

    def energy(x, y):
        strain = np.zeros(6)
        strain[a] += x
        strain[b] += y
        e = strain
        full = np.array([[e[0], e[5] / 2, e[4] / 2], [e[5] / 2, e[1], e[3] / 2], [e[4] / 2, e[3] / 2, e[2]]])
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array @ (np.eye(3) + full), scale_atoms=True)
        copy.calc = calculator
        return copy.get_potential_energy()

    second = (energy(h, h) - energy(h, -h) - energy(-h, h) + energy(-h, -h)) / (4 * h * h)
    return second / atoms.get_volume() * EV_PER_A3_TO_GPA


@pytest.fixture(scope="module")
def copper():
    a = equation_of_state(bulk("Cu", "fcc", a=3.59), EMT()).length(4)
    return bulk("Cu", "fcc", a=a, cubic=True)


def test_matrix_equals_energy_curvatures(copper):
    found = elastic_constants(copper, EMT(), strain=0.002, relax=False)
    for a, b in [(0, 0), (0, 1), (1, 2), (3, 3), (5, 5), (0, 3)]:
        expected = energy_curvature(copper, EMT(), a, b)
        assert found.matrix[a, b] == pytest.approx(expected, abs=0.6), (a, b)
    assert found.asymmetry < 0.5
    assert np.abs(found.stress).max() < 0.1
    assert found.stable


def test_cubic_averages_and_moduli(copper):
    found = elastic_constants(copper, EMT(), relax=True)
    cubic = found.cubic
    assert cubic.deviation < 0.2
    assert found.bulk_modulus == pytest.approx((cubic.c11 + 2 * cubic.c12) / 3)
    assert found.shear_modulus == pytest.approx((cubic.c11 - cubic.c12 + 3 * cubic.c44) / 5)
    assert found.to_dict()["cubic"]["c44_GPa"] == cubic.c44


def test_pair_potential_obeys_cauchy():
    # Central pair forces at zero stress in a lattice where every atom is a centre of inversion: C12 = C44.
    calculator = LennardJones(sigma=2.5, epsilon=0.2, rc=6.0, smooth=False)
    strains = np.linspace(-0.004, 0.004, 9)
    a = equation_of_state(bulk("Ar", "fcc", a=3.9), calculator, strains=np.linspace(-0.03, 0.03, 9)).length(4)
    a = equation_of_state(bulk("Ar", "fcc", a=a), calculator, strains=strains).length(4)
    cubic = elastic_constants(bulk("Ar", "fcc", a=a), calculator, strain=0.001, relax=False).cubic
    assert cubic.c12 == pytest.approx(cubic.c44, rel=2e-3)


def test_rotated_crystal_gives_the_rotated_tensor(copper):
    # Along [110]: C11' = (C11 + C12 + 2 C44) / 2.
    cubic = elastic_constants(copper, EMT(), relax=False).cubic
    turned = copper.copy()
    turned.rotate(45, "z", rotate_cell=True)
    matrix = elastic_constants(turned, EMT(), relax=False).matrix
    assert matrix[0, 0] == pytest.approx((cubic.c11 + cubic.c12 + 2 * cubic.c44) / 2, rel=5e-3)
    assert matrix[5, 5] == pytest.approx((cubic.c11 - cubic.c12) / 2, rel=2e-2)


def test_relaxed_ions_are_softer_and_at_rest():
    # The diamond lattice has an internal degree of freedom that shear excites: C44 drops, C11 and C12 stay.
    calculator = Tersoff({("Si", "Si", "Si"): TERSOFF_SI})
    silicon = bulk("Si", "diamond", a=5.432)
    clamped = elastic_constants(silicon, calculator, relax=False).cubic
    relaxed = elastic_constants(silicon, calculator, relax=True, force_tolerance=1e-5).cubic
    assert relaxed.c44 < 0.8 * clamped.c44
    assert relaxed.c11 == pytest.approx(clamped.c11, rel=1e-3)
    assert relaxed.c12 == pytest.approx(clamped.c12, rel=1e-3)


@pytest.mark.parametrize("strain", [0.0, -0.01, 0.2])
def test_strain_must_be_small(strain):
    with pytest.raises(ConfigError, match="strain"):
        elastic_constants(bulk("Cu"), EMT(), strain=strain)


def test_a_molecule_has_no_elastic_constants():
    with pytest.raises(StructureError, match="periodic in three directions"):
        elastic_constants(Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2]]), EMT())


def textbook(system):
    """Matrix with the pattern of the crystal system (J. F. Nye, Physical Properties of Crystals) and point group axes."""
    c = np.zeros((6, 6))
    if system == "cubic":
        c[:3, :3] = 60.0
        c[range(3), range(3)] = 160.0
        c[range(3, 6), range(3, 6)] = 80.0
        return c, bulk("Cu", "fcc", a=3.6), {"c11", "c12", "c44"}
    if system == "hexagonal":
        c[0, 0] = c[1, 1] = 200.0
        c[0, 1], c[0, 2], c[1, 2], c[2, 2] = 80.0, 70.0, 70.0, 240.0
        c[3, 3] = c[4, 4] = 50.0
        c[5, 5] = 60.0
        return _mirrored(c), bulk("Mg", "hcp", a=3.2, c=5.2), {"c11", "c12", "c13", "c33", "c44"}
    c[0, 0] = c[1, 1] = 190.0
    c[0, 1], c[0, 2], c[1, 2], c[2, 2], c[3, 3], c[4, 4], c[5, 5] = 90.0, 75.0, 75.0, 170.0, 40.0, 40.0, 65.0
    atoms = Atoms("CuAu", cell=[3.0, 3.0, 3.8], scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], pbc=True)
    return _mirrored(c), atoms, {"c11", "c12", "c13", "c33", "c44", "c66"}


def _mirrored(c):
    return np.triu(c) + np.triu(c, 1).T


@pytest.mark.parametrize("system", ["cubic", "hexagonal", "tetragonal"])
def test_projection_knows_the_patterns_of_textbooks(system):
    matrix, atoms, names = textbook(system)
    symmetry = find_symmetry(atoms)
    assert symmetry.system == system
    np.testing.assert_allclose(project(matrix, symmetry.rotations), matrix, atol=1e-9)
    assert set(independent_constants(symmetry.rotations)) == names
    noise = np.random.default_rng(1).standard_normal((6, 6))
    noisy = project(matrix + noise + noise.T, symmetry.rotations)
    np.testing.assert_allclose(project(noisy, symmetry.rotations), noisy, atol=1e-9)
    np.testing.assert_allclose(noisy[matrix == 0], 0.0, atol=1e-9)


def test_triclinic_has_21_constants_and_a_rotated_crystal_keeps_its_own(copper):
    rng = np.random.default_rng(2)
    atoms = Atoms(
        "CuAuAg", cell=3 * np.eye(3) + rng.random((3, 3)), scaled_positions=rng.random((3, 3)), pbc=True
    )
    assert len(independent_constants(find_symmetry(atoms).rotations)) == 21
    straight = find_property("elastic")(copper, EMT(), relax=True)
    turned = copper.copy()
    turned.rotate(50, (1, 2, 3), rotate_cell=True)
    result = find_property("elastic")(turned, EMT(), relax=True)
    for name in ("c11", "c12", "c44"):
        assert result[name] == pytest.approx(straight[name], rel=2e-3)
    assert abs(result.tables["matrix"].values[0, 0] - straight["c11"]) > 5.0


def test_stillinger_weber_silicon_has_the_published_constants(stillinger_weber, silicon):
    # E. R. Cowley, Phys. Rev. Lett. 60, 2379 (1988); H. Balamane et al., Phys. Rev. B 46, 2250 (1992).
    result = find_property("elastic")(silicon, stillinger_weber)
    for name, published in {"c11": 151.4, "c12": 76.4, "c44": 56.4}.items():
        assert result[name] == pytest.approx(published, abs=0.1), name
        assert result.quantities[name].error < 0.1
    clamped = find_property("elastic")(silicon, stillinger_weber, ions="clamped")
    assert clamped["c44"] == pytest.approx(109.8, abs=0.1)
    assert result.conditions["crystal_system"] == "cubic"
    assert result.warnings == ()


def test_moduli_of_isotropic_and_cubic_matrices():
    k, g = 140.0, 60.0
    c = np.full((6, 6), 0.0)
    c[:3, :3] = k - 2 * g / 3
    c[range(3), range(3)] = k + 4 * g / 3
    c[range(3, 6), range(3, 6)] = g
    found = moduli(c)
    assert found.bulk_voigt == pytest.approx(k)
    assert found.shear_reuss == pytest.approx(g)
    assert found.young == pytest.approx(9 * k * g / (3 * k + g))
    assert found.poisson == pytest.approx((3 * k - 2 * g) / (2 * (3 * k + g)))
    assert found.anisotropy == pytest.approx(0.0, abs=1e-12)
    # cubic: A_U = 6/5 (sqrt(A) - 1/sqrt(A))^2 with Zener's A
    c[range(3, 6), range(3, 6)] = 2.5 * g
    assert moduli(c).anisotropy == pytest.approx(1.2 * (np.sqrt(2.5) - 1 / np.sqrt(2.5)) ** 2)


def test_unstable_crystal_is_reported():
    # A pair potential holds no simple cubic lattice against shear.
    from forgefield.properties.relaxation import relax_cell

    calculator = LennardJones(sigma=2.5, epsilon=0.2, rc=6.0, smooth=False)
    atoms = relax_cell(bulk("Ar", "sc", a=2.7), calculator, cell="volume")
    result = find_property("elastic")(atoms, calculator)
    assert result["lowest_eigenvalue"] < 0
    assert "not elastically stable" in result.warnings[0]
