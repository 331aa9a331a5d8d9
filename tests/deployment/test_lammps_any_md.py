"""Exports for the plug-in, and molecular dynamics in LAMMPS from Python and the command line."""

from __future__ import annotations

import csv
import json
import struct

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from lammps_any_cases import crystal, make_potential, write_files
from lammps_cases import random_potential

import forgefield as ff
from forgefield.deployment import lammps_any, lammps_library, lammps_run
from forgefield.deployment.engines import EngineError, EngineMissingError
from forgefield.deployment.lammps_md import run_lammps_md, simulate
from forgefield.deployment.lammps_output import LammpsOutput, box_of_dump
from forgefield.deployment.lammps_run import launch
from forgefield.deployment.lammps_system import LammpsSystem
from forgefield.deployment.md import MDSettings, run_md
from forgefield.deployment.targets import HOLDS, TARGETS
from forgefield.descriptors import SNAP
from forgefield.errors import ConfigError, SimulationError, UnknownSpeciesError
from forgefield.models import Linear
from forgefield.models.potential import Potential


@pytest.fixture(scope="module")
def soft(tmp_path_factory):
    """A potential that holds a crystal together well enough for a hundred steps."""
    potential = random_potential(SNAP(two_j_max=2, cutoff=4.2, species=["C", "Si"]), repulsion=True)
    for parameter in potential.model.parameters():
        parameter.data *= 0.003
    write_files(potential, tmp_path_factory.mktemp("probe"))  # skips where nothing can be compiled
    return potential


def turned_crystal() -> Atoms:
    """A left-handed cell in general orientation, some atoms outside."""
    atoms = crystal(["C", "Si"], (2, 2, 1))
    atoms.rotate(33.0, (1, 2, 3), rotate_cell=True)
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    atoms.positions[:3] += atoms.cell.array[0]
    return atoms


def test_dynamics_are_those_of_the_other_engine(soft, tmp_path):
    settings = MDSettings(ensemble="nve", steps=40, temperature=400.0, log_interval=10, timestep=0.5)
    ways = {}
    for name in ("ase", "one", "two"):
        atoms, place = turned_crystal(), tmp_path / f"{name}.xyz"
        options = {"trajectory": place, "log": tmp_path / f"{name}.csv"}
        if name == "ase":
            summary = run_md(atoms, soft.calculator(dtype="float64"), settings, **options)
        else:
            n = 1 + (name == "two")
            summary = run_lammps_md(atoms, soft, settings, dtype="float64", processes=n, **options)
        ways[name] = (
            atoms,
            ase.io.read(place, ":"),
            summary,
            list(csv.DictReader((tmp_path / f"{name}.csv").open())),
        )
    _, expected, summary, rows = ways["ase"]
    for name in ("one", "two"):
        end, frames, own_summary, own_rows = ways[name]
        assert len(frames) == len(expected) == 5
        for a, b in zip(frames, expected, strict=True):
            assert np.abs(a.cell.array - b.cell.array).max() < 1e-12
            assert np.abs(a.positions - b.positions).max() < 1e-6
            assert np.abs(a.get_forces() - b.get_forces()).max() < 1e-5 * np.abs(b.get_forces()).max()
            assert np.abs(a.get_stress() - b.get_stress()).max() < 1e-5 * np.abs(b.get_stress()).max()
            assert a.get_potential_energy() == pytest.approx(b.get_potential_energy(), rel=1e-7)
            assert np.abs(a.get_momenta() - b.get_momenta()).max() < 1e-5 * np.abs(b.get_momenta()).max()
        assert np.allclose(end.positions, frames[-1].positions, atol=1e-7)
        assert own_summary.temperature == pytest.approx(summary.temperature, rel=1e-5)
        assert own_summary.pressure == pytest.approx(summary.pressure, rel=1e-5)
        assert own_rows[0].keys() == rows[0].keys()
        for key in ("step", "time_fs", "temperature_K", "pressure_GPa", "volume_A3", "total_eV"):
            assert float(own_rows[-1][key]) == pytest.approx(float(rows[-1][key]), rel=1e-5), key


@pytest.mark.parametrize(
    "settings",
    [
        {"ensemble": "nvt"},
        {"ensemble": "nvt", "thermostat": "bussi"},
        {"ensemble": "npt", "pressure": 2.0},
        {"ensemble": "npt", "barostat": "full"},
    ],
)
def test_ensembles(soft, settings):
    atoms = crystal(["C", "Si"], (2, 2, 2))
    before = atoms.cell.array.copy()
    times = {"thermostat_time": 20.0, "friction": 0.05, "barostat_time": 200.0}
    summary = run_lammps_md(atoms, soft, temperature=500.0, steps=200, timestep=0.5, **times, **settings)
    assert 200.0 < summary.temperature < 3000.0
    same = np.allclose(atoms.cell.array, before, rtol=0, atol=1e-9)
    assert same == (settings["ensemble"] == "nvt")
    shape = atoms.cell.array / before[0, 0]
    kept = np.allclose(shape / shape[0, 0], before / before[0, 0], atol=1e-9)
    assert kept == (settings.get("barostat") != "full")
    assert (summary.energy_drift is None) == (settings == {"ensemble": "nvt"})


def test_masses_of_isotopes_are_types_of_their_own():
    atoms = crystal(["C", "Si"], (1, 1, 1))
    masses = atoms.get_masses()
    masses[atoms.numbers == 6] = np.resize([12.0, 13.0], (atoms.numbers == 6).sum())
    atoms.set_masses(masses)
    system = LammpsSystem.of(atoms)
    assert system.elements == ["C", "C", "Si"]
    assert [system.masses[t - 1] for t in system.types] == masses.tolist()
    lower = atoms.cell.array @ system.turn.T
    assert np.abs(np.triu(lower, 1)).max() < 1e-12
    assert np.all(np.diag(lower) > 0)


def test_cells_of_dumps():
    cell = np.array([[9.0, 0.0, 0.0], [-2.0, 8.0, 0.0], [3.0, -1.0, 7.0]])
    bounds = [[-2.0, 9.0 + 3.0, -2.0], [-1.0, 8.0, 3.0], [0.0, 7.0, -1.0]]
    assert np.array_equal(box_of_dump(bounds, triclinic=True), cell)


def dumped_frame(step: int, parts: list[list[list[float]]], tilts: list[float]) -> bytes:
    """Return a frame as LAMMPS's binary dump of several processes."""
    head = struct.pack("<q10sii", -10, b"DUMPCUSTOM", 1, 2) + struct.pack(
        "<qqi6i", step, 2, bool(tilts), *[0] * 6
    )
    box = struct.pack("<6d", 0, 3, 0, 4, 0, 5) + struct.pack(f"<{len(tilts)}d", *tilts)
    head += (
        box + struct.pack("<iib", 10, 0, 0) + struct.pack("<i2s", 2, b"id") + struct.pack("<i", len(parts))
    )
    return head + b"".join(struct.pack("<i", 10 * len(p)) + np.array(p, dtype="<f8").tobytes() for p in parts)


def test_output_is_read_as_it_appears(tmp_path):
    """Byte after byte: frames come once, whole, and not before their row of the log."""
    log, dump = tmp_path / "log", tmp_path / "dump"
    atoms = [lambda s: [1, s, 2, 3, 4, 5, 6, 7, 8, 9], lambda _: [2, 9, 8, 7, 6, 5, 4, 3, 2, 1]]
    content = dumped_frame(0, [[one(0) for one in atoms]], [])
    content += dumped_frame(10, [[one(10)] for one in atoms], [0.5, 0.0, 0.0])
    output, found, sizes = LammpsOutput(log, dump, 3), [], []
    assert list(output.frames()) == []
    log.write_text("Step PotEng Conserved\n0 -1.5 2.5\nWARNING: 1 2\n")
    for n in range(0, len(content) + 1, 7):
        dump.write_bytes(content[:n])
        found += output.frames()
        sizes.append(len(found))
    dump.write_bytes(content)
    assert sizes[-1] == 1 and 0 in sizes  # noqa: PT018 - the second row is not there yet
    assert list(output.frames()) == []
    with log.open("a") as file:
        file.write("10 -1.25 2.5\n")
    found += output.frames()
    assert [f.step for f in found] == [0, 10]
    assert [f.thermo for f in found] == [[-1.5, 2.5], [-1.25, 2.5]]
    assert found[1].atoms.tolist() == [atoms[0](10)[1:], atoms[1](10)[1:]]
    assert np.array_equal(found[0].cell, np.diag([3.0, 4.0, 5.0]))
    assert np.array_equal(found[1].cell, [[2.5, 0.0, 0.0], [0.5, 4.0, 0.0], [0.0, 0.0, 5.0]])
    dump.write_bytes(content + b"something else altogether")
    with pytest.raises(EngineError, match="another kind"):
        list(output.frames())


def test_what_breaks_down_is_kept(soft, tmp_path):
    with pytest.raises(SimulationError, match=r"broke down after step .* Kept: \d+ frames") as stopped:
        run_lammps_md(
            crystal(["C", "Si"], (2, 1, 1)),
            soft,
            MDSettings(ensemble="nve", steps=400, temperature=6e4, timestep=20.0, log_interval=1),
            trajectory=tmp_path / "t.xyz",
        )
    assert "try a shorter `timestep` (now 20.0 fs)" in str(stopped.value)
    assert len(ase.io.read(tmp_path / "t.xyz", ":")) >= 1


def test_bad_input(soft, tmp_path, monkeypatch):
    good, settings = crystal(["C", "Si"], (1, 1, 1)), MDSettings(steps=1)
    slab = good.copy()
    slab.pbc = (True, True, False)
    with pytest.raises(ConfigError, match=r"periodic in three directions, got .*vacuum"):
        run_lammps_md(slab, soft, settings)
    fixed = good.copy()
    fixed.set_constraint(FixAtoms([0]))
    with pytest.raises(ConfigError, match="constraints are not passed on"):
        run_lammps_md(fixed, soft, settings)
    with pytest.raises(UnknownSpeciesError):
        run_lammps_md(crystal(["C", "Ge"], (1, 1, 1)), soft, settings)
    with pytest.raises(ConfigError, match="`processes` must be >= 1, got 0"):
        run_lammps_md(good, soft, settings, processes=0)
    options = {"atoms": good, "settings": settings, "potential": tmp_path / "none.ff"}
    with pytest.raises(ConfigError, match=r"unknown engine 'lamps'.*did you mean 'lammps'"):
        simulate("lamps", dtype="float32", **options)
    with pytest.raises(ConfigError, match="--processes 2; use --engine lammps"):
        simulate("ase", dtype="float32", processes=2, **options)
    with pytest.raises(ConfigError, match="--threads 2; use --processes"):
        simulate("lammps", dtype="float32", threads=2, **options)
    with pytest.raises(ConfigError, match="must be 'float32' or 'float64', got 'half'"):
        simulate("lammps", dtype="half", **options)
    monkeypatch.setattr(lammps_run.sys, "prefix", str(tmp_path))
    with pytest.raises(EngineMissingError, match=r"2 processes need MPI's launcher.*pip install mpich"):
        lammps_run.launch_command(2)
    with pytest.raises(EngineMissingError, match=r"MPI's header mpi\.h is not in"):
        lammps_any.find_lammps().headers()
    monkeypatch.setattr(lammps_any.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineMissingError, match=r"LAMMPS is not installed.*forgefield\[md\]"):
        lammps_any.find_lammps()


# ---- exports -------------------------------------------------------------------------------------------------


def test_export_runs_as_written(soft, tmp_path, monkeypatch):
    """Files, certificate of nine components, and the script on one and two processes."""
    own = (lammps_library.own_level(),)
    monkeypatch.setattr(lammps_library, "levels", lambda: own)
    soft.export("lammps", tmp_path / "out")
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {
        "potential.so",
        "potential.ff",
        "forgefieldplugin.so",
        "in.forgefield",
        "certificate.json",
    } <= names
    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert certificate["passed"]
    assert max(d["relative"] for d in certificate["largest_differences"].values()) < 1e-10
    assert all(v is not None for v in np.ravel(certificate["structures"][0]["engine"]["virials"]))
    energies = []
    for processes in (1, 2):
        done = launch("in.forgefield", tmp_path / "out", processes)
        assert done.returncode == 0, done.stdout[-500:]
        assert "Loop time" in done.stdout
        row = done.stdout.split("   Step ")[1].splitlines()[1].split()
        energies.append(float(row[2]))
    assert energies[0] == pytest.approx(energies[1], rel=1e-8)
    loaded = ff.load(tmp_path / "out" / "potential.ff")
    assert loaded.elements == soft.elements


def test_what_has_no_kernel_is_refused(tmp_path):
    class Odd(Linear):
        def energy(self, stage, x):
            return stage.unheard_of(x)

    descriptor = SNAP(two_j_max=2, cutoff=4.2, species=["Si"])
    potential = Potential(descriptor, Odd(descriptor.n_features, 1), {14: 0.0}, 1.0)
    for target in ("lammps", "lammps-float32"):
        with pytest.raises(ConfigError, match="LAMMPS runs the compiled kernels of a potential"):
            TARGETS[target](potential, tmp_path)
        with pytest.raises(ConfigError):
            HOLDS[target](potential)


def test_another_version_of_lammps(tmp_path):
    """The plug-in refuses a LAMMPS whose classes may look different."""
    potential = make_potential("ead")
    commands = write_files(potential, tmp_path)
    content = (tmp_path / lammps_any.PLUGIN).read_bytes()
    version = lammps_any.find_lammps().version.to_bytes(4, "little")
    assert version in content
    (tmp_path / lammps_any.PLUGIN).write_bytes(content.replace(version, (20240829).to_bytes(4, "little")))
    (tmp_path / "in.version").write_text("units metal\n" + commands[0] + "\n")
    done = launch("in.version", tmp_path)
    assert done.returncode != 0
    assert "the forgefield plug-in is for LAMMPS 20240829, this is" in done.stdout + done.stderr
