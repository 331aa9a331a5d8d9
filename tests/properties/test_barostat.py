"""Cells that change their shape: the ensemble they sample, what is chosen for a crystal, stress that relaxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from scipy import stats

from forgefield.errors import SimulationError
from forgefield.properties.barostat import check_shape, choose_barostat, mean_cell
from forgefield.properties.dynamics import Dynamics, DynamicsSettings
from forgefield.properties.dynamics_forces import Forces
from forgefield.properties.free_energy import FREE_ENERGY
from forgefield.properties.free_energy_potentials import Repulsion
from forgefield.properties.free_energy_sampling import Walker
from forgefield.properties.journal import Journal
from forgefield.properties.melting import MELTING
from forgefield.properties.simulation import RunSettings, equilibrate

KT = units.kB * 300.0


class Elastic:
    """Free atoms in an elastic box: ``E = V0 (l (tr e)^2 / 2 + m e:e)`` of Green's strain e of the cell."""

    def __init__(self, cell, first, second):
        self.rest, self.first, self.second = np.array(cell), first, second

    def strain(self, cell):
        turn = np.linalg.solve(self.rest, cell).T  # columns: r -> turn r
        return turn, 0.5 * (turn.T @ turn - np.eye(3))

    def evaluate(self, positions, cell, *, virial=False, atomic=False):  # noqa: ARG002
        volume = abs(np.linalg.det(self.rest))
        turn, e = self.strain(cell)
        energy = volume * (0.5 * self.first * np.trace(e) ** 2 + self.second * (e * e).sum())
        stress = self.first * np.trace(e) * np.eye(3) + 2.0 * self.second * e
        return Forces(float(energy), np.zeros_like(positions), -volume * turn @ stress @ turn.T)

    def reset(self):
        pass


def test_virial_of_the_elastic_box_is_a_derivative():
    cell, rng = np.diag([7.0, 8.0, 9.0]) + 0.5, np.random.default_rng(0)
    field, atom = Elastic(np.diag([7.0, 8.0, 9.0]), 0.04, 0.05), np.zeros((1, 3))
    strain, step = rng.standard_normal((3, 3)), 1e-6
    ends = [field.evaluate(atom, cell @ (np.eye(3) + s * strain).T).energy for s in (step, -step)]
    virial = field.evaluate(atom, cell).virial
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(-(strain * virial).sum(), rel=1e-6)


@pytest.mark.parametrize("barostat", ["anisotropic", "triclinic"])
def test_shape_of_an_elastic_box_fluctuates_with_its_stiffness(barostat):
    cell, first, second = np.diag([7.0, 8.0, 9.0]), 0.04, 0.05
    field = Elastic(cell, first, second)
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [3, 3, 3]], cell=cell, pbc=True)
    settings = DynamicsSettings(
        ensemble="npt", temperature=300.0, barostat=barostat, barostat_time=60.0, compressibility=0.4, friction=0.2,
        seed=3,
    )  # fmt: skip
    found = Dynamics(atoms, field, settings).run(
        6000, every=50, observe={"strain": lambda s, _: field.strain(s.cell)[1]}
    )["strain"][5:]
    volume = np.linalg.det(cell)
    size = np.trace(found, axis1=1, axis2=2) / np.sqrt(3.0)
    sheared = (found[:, 0, 0] - found[:, 1, 1]) / np.sqrt(2.0)
    for values, stiffness in ((size, 3.0 * first + 2.0 * second), (sheared, 2.0 * second)):
        width = np.sqrt(KT / (volume * stiffness))
        assert stats.kstest(values - values.mean(), stats.norm(scale=width).cdf).pvalue > 0.005
        assert values.std() == pytest.approx(width, rel=0.25)
    angles = np.concatenate([found[:, 0, 1], found[:, 0, 2], found[:, 1, 2]])
    if barostat == "anisotropic":
        assert np.abs(angles).max() < 1e-12
    else:
        width = np.sqrt(KT / (4.0 * second * volume))
        assert stats.kstest(angles, stats.norm(scale=width).cdf).pvalue > 0.005
        assert angles.std() == pytest.approx(width, rel=0.15)


@pytest.mark.parametrize("barostat", ["anisotropic", "triclinic"])
def test_volume_of_an_ideal_gas_is_gamma_distributed_whatever_moves(barostat):
    n, pressure = 6, 0.05
    rng = np.random.default_rng(1)
    gas = Atoms(
        ["Ar"] * n, positions=rng.uniform(0, 9, (n, 3)), cell=[[9, 0, 0], [1, 9, 0], [0, 2, 9]], pbc=True
    )
    settings = DynamicsSettings(
        ensemble="npt", temperature=300.0, pressure=pressure, barostat=barostat, barostat_time=60.0,
        compressibility=1 / pressure, thermostat="bussi", thermostat_time=5.0, seed=5,
    )  # fmt: skip
    free = Elastic(gas.cell.array, 0.0, 0.0)
    records = Dynamics(gas, free, settings).run(6000, every=120, observe={"cell": lambda s, _: s.cell})
    scaled = records["volume"][6:] * pressure / 160.2176634 / KT
    assert stats.kstest(scaled, stats.gamma(n).cdf).pvalue > 0.01
    assert stats.kstest(scaled, stats.gamma(n + 4).cdf).pvalue < 0.01
    last = Atoms(cell=records["cell"][-1]).cell.angles()
    if barostat == "anisotropic":
        assert last == pytest.approx(gas.cell.angles(), abs=1e-9)


@pytest.mark.parametrize(
    ("crystal", "expected"),
    [
        (bulk("Cu"), "isotropic"),
        (bulk("Si", "diamond", a=5.43, cubic=True), "isotropic"),
        (bulk("Ti", "hcp", a=2.95, c=4.68), "anisotropic"),
        (bulk("Sn", "bct", a=5.8, c=3.2), "triclinic"),  # the primitive cell: c/a turns its vectors
        (Atoms("Sn2", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[4, 4, 3], pbc=True), "anisotropic"),
        (Atoms("Si2", scaled_positions=[[0] * 3, [0.3, 0.3, 0.1]], cell=[4, 5, 6, 90, 105, 90], pbc=True), "triclinic"),
    ],
    ids=["fcc", "diamond", "hcp", "bct-primitive", "bct", "monoclinic"],
)  # fmt: skip
def test_barostat_of_a_crystal(crystal: Atoms, expected: str) -> None:
    assert choose_barostat("auto", crystal * (2, 2, 2)) == expected
    assert choose_barostat("triclinic", crystal) == "triclinic"


def test_a_liquid_keeps_the_shape_of_its_cell() -> None:
    rng = np.random.default_rng(0)
    liquid = Atoms("Ar30", positions=rng.uniform(0, 9, (30, 3)), cell=[8, 9, 11, 80, 95, 100], pbc=True)
    assert choose_barostat("auto", liquid) == "isotropic"
    rest = np.diag([8.0, 9.0, 10.0])
    check_shape(rest, np.diag([8.0, 9.0, 10.0]) * 1.4, "triclinic", 300.0)  # size alone
    check_shape(rest, np.diag([8.0, 9.0, 20.0]), "isotropic", 300.0)
    with pytest.raises(SimulationError, match=r"lost its shape at 300 K.*barostat=isotropic"):
        check_shape(rest, np.diag([8.0, 9.0, 20.0]), "triclinic", 300.0)


def argon_law(squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    s = 3.4**2 / squared
    return 0.0416 * (s**6 - s**3), 0.0416 * (-6 * s**6 + 3 * s**3) / squared


def squeezed() -> tuple[Atoms, Repulsion]:
    """Hexagonal argon whose c axis is 6 % too long."""
    atoms = bulk("Ar", "hcp", a=3.68, c=3.68 * 1.633 * 1.06) * (2, 2, 2)
    return atoms, Repulsion(atoms, argon_law, 6.5)


def test_stress_relaxes_by_component_where_the_cell_may_follow() -> None:
    atoms, field = squeezed()
    common = {"temperature": 10.0, "pressure": 0.0, "timestep": 10.0, "equilibration": 14.0, "friction": 0.01,
              "compressibility": 0.5}  # fmt: skip
    ratios = {}
    for barostat in ("auto", "isotropic"):
        settings = RunSettings(barostat=barostat, seed=1, **common)
        warm, done = equilibrate(atoms, field, settings)
        a, _, c = warm.cell.lengths()
        ratios[barostat] = c / a
        xx, yy, zz, *_ = done["pressure_found_GPa"]
        difference = abs(zz - 0.5 * (xx + yy))
        if barostat == "auto":
            assert done["barostat"] == "anisotropic"
            assert difference < 0.04
            assert ratios["auto"] == pytest.approx(1.633, abs=0.02)
        else:
            assert difference > 0.1
            assert ratios["isotropic"] == pytest.approx(1.633 * 1.06, rel=1e-9)


def test_free_energy_of_a_hexagonal_crystal_finds_its_shape_and_resumes(tmp_path: Path) -> None:
    atoms, field = squeezed()
    settings = {
        "temperature": 20.0, "pressure": 0.0, "timestep": 8.0, "target_steps": 300, "equilibration": 150,
        "points": 1, "steps": 20, "finite_size": False, "compressibility": 0.5,
    }  # fmt: skip
    whole = FREE_ENERGY(atoms, field, folder=tmp_path, **settings)
    assert whole.conditions["barostat"] == "anisotropic"
    journal = tmp_path / "free-energy.journal.json"
    content = journal.read_text(encoding="utf-8")
    cell = np.array(Journal(journal, _digest(content)).profiles["solid/volume/cell"])
    a, c = np.linalg.norm(cell[0]), np.linalg.norm(cell[2])
    assert c / a == pytest.approx(1.633, abs=0.025)
    again = FREE_ENERGY(atoms, field, folder=tmp_path, **settings)
    assert again.quantities == whole.quantities


def _digest(content: str) -> str:
    return str(json.loads(content)["digest"])


def test_shape_moves_until_atoms_flow(tmp_path: Path) -> None:
    atoms, field = squeezed()
    result = MELTING(
        atoms, field, folder=tmp_path, low=20.0, high=1220.0, interval=400.0, pressure=0.5, steps=240, equilibration=60, timestep=8.0,
        compressibility=0.5, cool=False, rdf_cutoff=4.0, rdf_bins=20,
    )  # fmt: skip
    assert result.conditions["barostat"] == "anisotropic"
    profiles = json.loads((tmp_path / "melting.journal.json").read_text(encoding="utf-8"))["profiles"]
    moved = [f"melting/heating {t:.2f} K/cell" in profiles for t in (20.0, 420.0, 820.0, 1220.0)]
    assert moved[0]
    assert not moved[-1]


def test_a_walker_takes_the_mean_cell_also_after_a_break(tmp_path: Path) -> None:
    atoms, field = squeezed()
    settings = DynamicsSettings(ensemble="npt", temperature=20.0, timestep=8.0, barostat="triclinic")
    stages = []
    for _ in range(2):
        walker = Walker("solid", atoms, settings, Journal(tmp_path / "j.json", "x"))
        walker.average("volume", field, {}, steps=60, equilibration=20)
        walker.settle("volume")
        stages.append(walker.current().cell.array)
        assert stages[-1] == pytest.approx(walker.profile("volume", "cell"), abs=1e-12)
    assert np.array_equal(*stages)
    assert np.linalg.det(stages[0]) == pytest.approx(walker.journal.stages["solid/volume"]["volume"][0])


def test_mean_cell_has_the_mean_volume() -> None:
    cells = np.array([np.diag([2.0, 3.0, 4.0]), np.diag([3.0, 3.0, 4.0])])
    assert np.linalg.det(mean_cell(cells, 30.0)) == pytest.approx(30.0)
