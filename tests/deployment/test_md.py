"""Molecular dynamics: ensembles, records, and stopping with the evidence kept."""

from __future__ import annotations

import csv

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixAtoms

from forgefield.deployment.md import MDSettings, run_md
from forgefield.deployment.md_record import COLUMNS
from forgefield.errors import ConfigError, ForgefieldError, SimulationError


class Solid(Calculator):
    """A well at the nearest neighbours of an fcc crystal, cut off before the second; minimum images."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")
    depth, nearest, cutoff = 1.0, 2.86, 3.7

    def pair(self, r):
        """Morse times a smooth cutoff: energy and slope."""
        x = np.exp(-1.6 * (r - self.nearest))
        e, de = self.depth * (x * x - 2 * x), -3.2 * self.depth * (x * x - x)
        inside = r < self.cutoff
        s = np.where(inside, 1 - (r / self.cutoff) ** 2, 0.0)
        return e * s * s, de * s * s - e * 4 * s * r / self.cutoff**2

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        cell, volume = self.atoms.cell.array, self.atoms.get_volume()
        d = self.atoms.positions[None] - self.atoms.positions[:, None]
        d -= np.round(d @ np.linalg.inv(cell)) @ cell * self.atoms.pbc.any()
        r = np.sqrt((d * d).sum(axis=-1)) + 1e3 * np.eye(len(d))
        energy, slope = self.pair(r)
        pull = (slope / r)[..., None] * d
        stress = 0.5 * np.einsum("ija,ijb->ab", d, pull) / volume
        self.results = {
            "energy": 0.5 * float(energy.sum()),
            "free_energy": 0.5 * float(energy.sum()),
            "forces": pull.sum(axis=1),
            "stress": stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
        }


def solid(n=2):
    atoms = bulk("Al", cubic=True) * (n, n, n)
    atoms.calc = Solid()
    return atoms


def read_log(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_nve_conserves_energy_and_writes_what_it_says(tmp_path):
    atoms = solid()
    summary = run_md(
        atoms,
        ensemble="nve",
        temperature=40.0,
        timestep=4.0,
        steps=100,
        log_interval=10,
        trajectory=tmp_path / "x.xyz",
        log=tmp_path / "x.csv",
    )
    assert summary.n_atoms == 32
    assert summary.time == pytest.approx(0.4)
    assert abs(summary.energy_drift) < 2e-5
    assert summary.atom_steps_per_second > 0
    rows = read_log(tmp_path / "x.csv")
    assert tuple(rows[0]) == COLUMNS
    assert [int(r["step"]) for r in rows] == list(range(0, 101, 10))
    assert float(rows[0]["temperature_K"]) == pytest.approx(40.0)
    total = [float(r["total_eV"]) for r in rows]
    assert np.ptp(total) < 0.02 * np.ptp([float(r["kinetic_eV"]) for r in rows])
    frames = ase.io.read(tmp_path / "x.xyz", ":")
    assert len(frames) == 11
    last, row = frames[-1], rows[-1]
    assert last.info["step"] == 100
    assert last.get_potential_energy() == pytest.approx(float(row["potential_eV"]))
    assert np.allclose(last.positions, atoms.positions, atol=1e-7)
    assert last.get_kinetic_energy() == pytest.approx(float(row["kinetic_eV"]), rel=1e-5)
    pressure = -last.get_stress()[:3].mean() + 2 * last.get_kinetic_energy() / 3 / last.get_volume()
    assert float(row["pressure_GPa"]) == pytest.approx(pressure / units.GPa, rel=1e-5)
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-10
    assert atoms.constraints == []


@pytest.mark.parametrize("thermostat", ["langevin", "bussi"])
def test_nvt_gives_the_temperature_and_equipartition(thermostat):
    atoms = solid()
    summary = run_md(
        atoms,
        ensemble="nvt",
        temperature=400.0,
        thermostat=thermostat,
        friction=0.05,
        thermostat_time=20.0,
        timestep=4.0,
        steps=1000,
        log_interval=5,
        seed=1,
    )
    assert summary.temperature == pytest.approx(400.0, rel=0.05)
    # Spread of a canonical temperature with 3N - 3 degrees of freedom.
    assert summary.temperature_std == pytest.approx(400.0 * np.sqrt(2 / (3 * 32 - 3)), rel=0.3)
    assert (summary.energy_drift is None) == (thermostat == "langevin")
    if thermostat == "bussi":
        assert abs(summary.energy_drift) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("barostat", ["isotropic", "full"])
def test_npt_gives_pressure_and_temperature(barostat):
    atoms = solid()
    before = atoms.get_volume()
    summary = run_md(
        atoms,
        ensemble="npt",
        temperature=300.0,
        pressure=4.0,
        barostat=barostat,
        thermostat_time=60.0,
        barostat_time=200.0,
        timestep=4.0,
        steps=1500,
        log_interval=5,
        seed=2,
    )
    assert summary.temperature == pytest.approx(300.0, rel=0.06)
    assert summary.pressure == pytest.approx(4.0, abs=0.15)
    assert 0.75 * before < summary.volume < 0.97 * before
    assert abs(summary.energy_drift) < 5e-4
    assert (np.ptp(atoms.cell.lengths()) < 1e-9) == (barostat == "isotropic")
    # The same pressure comes out at that volume without a barostat: both ensembles agree.
    atoms.set_cell(atoms.cell.array * (summary.volume / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    fixed = run_md(atoms, temperature=300.0, timestep=4.0, steps=800, friction=0.03, log_interval=5)
    assert fixed.pressure == pytest.approx(4.0, abs=0.4)


def test_same_seed_same_result():
    ends = []
    for seed in (0, 0, 1):
        atoms = solid()
        run_md(atoms, temperature=300.0, steps=20, seed=seed)
        ends.append(atoms.positions)
    assert np.array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])


def test_own_velocities_are_kept_unless_asked():
    atoms = solid()
    atoms.set_velocities(np.random.default_rng(0).normal(0, 0.01, (32, 3)))
    atoms.set_momenta(atoms.get_momenta() - atoms.get_momenta().mean(axis=0))
    kinetic = atoms.get_kinetic_energy()
    copy = solid()
    copy.set_momenta(atoms.get_momenta())
    run_md(atoms, ensemble="nve", temperature=None, steps=1, timestep=1e-3)
    assert atoms.get_kinetic_energy() == pytest.approx(kinetic, rel=1e-5)
    run_md(copy, ensemble="nve", temperature=900.0, steps=1, timestep=1e-3, draw_velocities=True)
    expected = 0.5 * (3 * 32 - 3) * units.kB * 900.0
    assert copy.get_kinetic_energy() == pytest.approx(expected, rel=1e-5)


def test_fixed_atoms_stay_and_do_not_count():
    atoms = solid()
    constraint = FixAtoms(list(range(16)))
    atoms.set_constraint(constraint)
    start = atoms.positions.copy()
    run_md(atoms, ensemble="nve", temperature=300.0, steps=1, timestep=1e-3)
    assert np.array_equal(atoms.positions[:16], start[:16])
    assert atoms.get_kinetic_energy() == pytest.approx(0.5 * 48 * units.kB * 300.0, rel=1e-5)
    assert atoms.constraints == [constraint]


class Exploding(Solid):
    """Turns wrong once the atoms have been moving for a while."""

    def __init__(self, wrong, after=30):
        super().__init__()
        self.wrong, self.after, self.calls = wrong, after, 0

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.calls += 1
        if self.calls > self.after:
            self.wrong(self)


def gives_nan(calculator):
    calculator.results["forces"][3] = np.nan


def kicks(calculator):
    calculator.results["forces"][5] *= 1e7


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (gives_nan, r"the forces on atoms Al 3 are not finite"),
        (kicks, r"the temperature is \d+ K \(limit: 10000 K\), fastest atoms Al 5"),
    ],
)
@pytest.mark.parametrize("suffix", ["traj", "xyz"])
def test_explosions_stop_and_keep_the_data(tmp_path, wrong, message, suffix):
    atoms = solid()
    atoms.calc = Exploding(wrong)
    trajectory, log = tmp_path / f"x.{suffix}", tmp_path / "x.csv"
    with pytest.raises(SimulationError, match=rf"broke down at step \d+ .*{message}") as error:
        run_md(atoms, temperature=300.0, steps=500, log_interval=5, trajectory=trajectory, log=log)
    frames, rows = ase.io.read(trajectory, ":"), read_log(log)
    assert f"{len(rows)} rows in {log}" in str(error.value)
    assert f"{len(frames)} frames in {trajectory}" in str(error.value)
    assert len(rows) >= 5
    assert len(frames) >= len(rows)
    assert atoms.constraints == []


class Free(Solid):
    """No interaction."""

    depth = 0.0


def test_overlapping_atoms_stop():
    atoms = Atoms("SiSi", [[0, 0, 0], [0, 0, 2.2]], cell=[9, 9, 9], pbc=True)
    atoms.calc = Free()
    atoms.set_velocities([[0, 0, 0.02], [0, 0, -0.02]])
    with pytest.raises(
        SimulationError, match=r"atoms Si [01], Si [01] are 0\.\d+ Å apart \(allowed: >= 0.89 Å\)"
    ):
        run_md(atoms, ensemble="nve", steps=2000, timestep=1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ensemble": "nvp"}, "'nvp'"),
        ({"temprature": 3.0}, "did you mean 'temperature'"),
        ({"timestep": 0.0}, "timestep"),
        ({"ensemble": "nvt", "temperature": None}, "`temperature`"),
        ({"ensemble": "nve", "temperature": None}, "no velocities"),
        ({"thermostat": "bussi", "draw_velocities": False}, "`draw_velocities`"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        run_md(solid(), **settings)


def test_npt_needs_a_periodic_unconstrained_cell():
    atoms = solid()
    atoms.pbc = (True, True, False)
    with pytest.raises(ConfigError, match="pbc in three directions"):
        run_md(atoms, ensemble="npt")
    atoms = solid()
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(ConfigError, match="constraints"):
        run_md(atoms, ensemble="npt")


def test_other_misuse(tmp_path):
    with pytest.raises(ConfigError, match="no calculator"):
        run_md(bulk("Al"), steps=1)
    with pytest.raises(ConfigError, match="not both"):
        run_md(solid(), None, MDSettings(steps=1), steps=2)
    with pytest.raises(ForgefieldError, match="cannot write"):
        run_md(solid(), steps=1, log=tmp_path / "absent" / "x.csv")


@pytest.mark.parametrize("name", ["a.xyz", "a.traj"])
def test_a_full_disk_is_named_and_leaves_whole_frames(tmp_path, name):
    """A limit on the size of files stands for a full disk."""
    resource = pytest.importorskip("resource", reason="no limits of this kind here")
    atoms = bulk("Al", cubic=True).repeat(2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
        with pytest.raises(ForgefieldError, match=rf"cannot write .*{name}: File too large, after \d+ rows"):
            run_md(atoms, Solid(), steps=100, log_interval=1, trajectory=tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    if name == "a.xyz":
        frames = ase.io.read(tmp_path / name, ":")
        assert 1 <= len(frames) < 20
        assert all(len(frame) == len(atoms) for frame in frames)
