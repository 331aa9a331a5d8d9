"""Phonons against crystals of springs, whose frequencies have a closed form, and published potentials."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones

from forgefield.errors import ConfigError, StructureError
from forgefield.graph import neighbour_pairs
from forgefield.properties.phonons import phonons, supercell_for
from forgefield.properties.registry import find_property
from forgefield.properties.relaxation import relax_cell
from forgefield.properties.structures import right_handed

pytest.importorskip("phonopy")

LENGTH, STIFFNESS = 4.0, 1.7  # Å, eV/Å^2
MASS = 40.0
THZ = 1e-12 * units.s  # ASE's unit of time per ps
H_EV_PER_THZ = 2.0 * np.pi * units._hbar / units._e * 1e12


class Springs(Calculator):
    """Springs between nearest neighbours of an fcc crystal."""

    implemented_properties: ClassVar = ["energy", "forces", "stress"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        rest = LENGTH / np.sqrt(2)
        i, _, _, r = neighbour_pairs(self.atoms, 1.2 * rest)
        d = np.linalg.norm(r, axis=1)
        pull = STIFFNESS * (d - rest)
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, i, (pull / d)[:, None] * r)
        self.results = {
            "energy": 0.25 * STIFFNESS * float(((d - rest) ** 2).sum()),
            "forces": forces,
            "stress": np.zeros(6),
        }


def closed_form(q):
    """Frequencies [THz] at a Cartesian wave vector [1/Å]: eigenvalues of the sum of k n n (1 - cos q R) / m."""
    neighbours = [
        0.5 * LENGTH * np.array(v)
        for v in np.array(np.meshgrid([-1, 0, 1], [-1, 0, 1], [-1, 0, 1])).reshape(3, -1).T
        if abs(v).sum() == 2
    ]
    assert len(neighbours) == 12
    d = sum(np.outer(r, r) / (r @ r) * (1 - np.cos(2 * np.pi * q @ r)) for r in neighbours)
    omega = np.sqrt(np.maximum(np.linalg.eigvalsh(STIFFNESS / MASS * d), 0.0))
    return omega / (2 * np.pi) * THZ


@pytest.fixture(scope="module")
def springs():
    atoms = bulk("Ar", "fcc", a=LENGTH)
    atoms.set_masses([MASS])
    return phonons(atoms, Springs(), length=9.0, displacement=0.002)


def test_frequencies_have_the_closed_form_everywhere(springs):
    rng = np.random.default_rng(4)
    q = rng.uniform(-0.5, 0.5, (20, 3))
    reciprocal = np.linalg.inv(springs.primitive.cell.array).T
    expected = np.array([closed_form(k) for k in q @ reciprocal])
    np.testing.assert_allclose(springs.frequencies(q), expected, atol=2e-5 * expected.max())


def test_special_points_of_the_standard_path(springs):
    special, path = springs.special_points()
    # (8 k / m)^(1/2) longitudinal and (4 k / m)^(1/2) transverse at X: the classical result of the model.
    unit = np.sqrt(STIFFNESS / MASS) / (2 * np.pi) * THZ
    at_x = springs.frequencies(special["X"])[0]
    np.testing.assert_allclose(at_x, unit * np.sqrt([4, 4, 8]), rtol=1e-4)
    assert ("GAMMA", "X") in path
    bands = springs.bands(points=5)
    first = bands.labels.index(("GAMMA", "X"))
    np.testing.assert_allclose(bands.frequencies[first][-1], at_x, rtol=1e-8)
    length = bands.distances[first][-1] - bands.distances[first][0]
    assert length == pytest.approx(1.0 / LENGTH, rel=1e-9)  # X is at 2 pi / a


def test_thermal_properties_and_states_are_sums_over_modes(springs):
    _, weights, frequencies = springs.mesh(40.0)
    grid, states = springs.density_of_states()
    assert float(((states[1:] + states[:-1]) / 2 * np.diff(grid)).sum()) == pytest.approx(3.0, rel=1e-2)
    t = np.array([0.0, 150.0])
    free, entropy, heat = springs.thermal(t)
    e = H_EV_PER_THZ * np.maximum(frequencies, 1e-9)
    kept = frequencies > 1e-3
    x = e / (units.kB * 150.0)
    zero = (weights[:, None] * kept * 0.5 * e).sum()
    assert free[0] == pytest.approx(zero, rel=1e-4)
    expected = (weights[:, None] * kept * units.kB * 150.0 * np.log(2 * np.sinh(x / 2))).sum()
    assert free[1] == pytest.approx(expected, rel=1e-3)
    c = x**2 * np.exp(x) / np.expm1(x) ** 2
    assert heat[1] == pytest.approx((weights[:, None] * kept * c).sum(), rel=1e-3)
    assert entropy[0] == 0.0


def test_supercell_reaches_the_length_in_skewed_cells():
    atoms = bulk("Ar", "fcc", a=4.0)
    n = supercell_for(atoms, 9.0)
    cell = atoms.repeat(n).cell.array
    heights = [
        abs(np.linalg.det(cell)) / np.linalg.norm(np.cross(cell[i - 2], cell[i - 1])) for i in range(3)
    ]
    assert min(heights) >= 9.0
    assert n == (4, 4, 4)  # planes of an fcc primitive cell are a / 3^(1/2) apart
    assert supercell_for(bulk("Ar", "sc", a=5.0), 10.0) == (2, 2, 2)


def test_unstable_crystal_is_flagged_with_its_wave_vector(tmp_path):
    calculator = LennardJones(sigma=2.5, epsilon=0.2, rc=4.4, smooth=True)
    atoms = relax_cell(bulk("Ar", "bcc", a=3.2), calculator, cell="volume")
    result = find_property("phonons")(
        atoms, calculator, folder=tmp_path, length=5.0, points=5, mesh=15.0, error_estimate=False
    )
    assert result["lowest_frequency"] < -0.5
    assert result.conditions["imaginary"]
    assert "imaginary mode of" in result.warnings[0]
    assert "q = (" in result.warnings[0]
    assert (tmp_path / "phonons.png").exists()


def test_stillinger_weber_silicon(stillinger_weber, silicon):
    result = find_property("phonons")(silicon, stillinger_weber, length=7.0, points=5, mesh=20.0)
    assert result["highest_frequency"] == pytest.approx(17.83, abs=0.03)  # 595 cm^-1 at the zone centre
    assert result.quantities["highest_frequency"].error < 0.01
    assert abs(result["lowest_frequency"]) < 0.01
    assert result.warnings == ()


def test_bad_input():
    with pytest.raises(ConfigError, match=r"atoms.*lower `length`"):
        phonons(bulk("Ar", "fcc", a=4.0), Springs(), length=80.0)
    with pytest.raises(StructureError, match="relax=true"):
        find_property("phonons")(bulk("Ar", "fcc", a=3.0), LennardJones(sigma=2.5, rc=6.0))
    with pytest.raises(StructureError, match="periodic in three directions"):
        find_property("phonons")(Atoms("Ar"), LennardJones())


def test_left_handed_cells_vibrate_as_right_handed_ones():
    right = bulk("Ar", "fcc", a=LENGTH)
    left = right.copy()
    left.set_cell(right.cell.array[[1, 0, 2]])
    assert np.linalg.det(left.cell.array) < 0
    turned = right_handed(left)
    assert np.linalg.det(turned.cell.array) > 0
    assert turned.positions == pytest.approx(left.positions)
    found = [
        find_property("phonons")(a, Springs(), length=5.5, error_estimate=False, mesh=15.0, points=5)
        for a in (left, right)
    ]
    for name, q in found[1].quantities.items():
        assert found[0][name] == pytest.approx(q.value, abs=1e-6), name
