"""Input files of GPUMD against what its manual says of every keyword, and as calorine reads them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from nep_files import made_up
from typer.testing import CliRunner

from forgefield.cli.app import app
from forgefield.deployment.export import UnverifiedExportWarning
from forgefield.deployment.gpumd import parse_nep
from forgefield.deployment.gpumd_tasks import (
    TASKS,
    TaskSettings,
    kpoints,
    model_xyz,
    task_script,
    write_tasks,
)
from forgefield.errors import ConfigError, UnknownSpeciesError

NUMBER = r"-?\d+(\.\d+)?(e-?\d+)?"
COUNT = r"[1-9]\d*"

# GPUMD's manual, "Input parameters": what may follow each keyword.
SYNTAX = {
    "potential": r"nep\.txt",
    "replicate": rf"{COUNT} {COUNT} {COUNT}",
    "velocity": NUMBER,
    "time_step": NUMBER,
    "ensemble": rf"(nve|nvt_(ber|nhc|bdp) {NUMBER} {NUMBER} {NUMBER}"
    rf"|npt_mttk temp {NUMBER} {NUMBER} (iso|aniso|tri) {NUMBER} {NUMBER} tperiod {COUNT} pperiod {COUNT})",
    "dump_thermo": COUNT,
    "dump_restart": COUNT,
    "dump_xyz": rf"{COUNT} \w+\.xyz( (mass|velocity|force|potential|virial))*",
    "run": COUNT,
    "minimize": rf"(sd {NUMBER} {COUNT}|fire {NUMBER} {COUNT}( [01]){{0,2}})",
    "compute_hnemd": rf"{COUNT} {NUMBER} {NUMBER} {NUMBER}",
    "compute_shc": rf"([1-9]|10) ([1-9]\d\d|1000) [012] {COUNT} {NUMBER}",
    "compute_hac": rf"{COUNT} {COUNT} {COUNT}",
    "compute_msd": rf"{COUNT} {COUNT}",
    "compute_sdc": rf"{COUNT} {COUNT}",
    "compute_dos": rf"{COUNT} {COUNT} {NUMBER}",
    "compute_rdf": rf"{NUMBER} {COUNT} {COUNT}",
    "compute_viscosity": rf"{COUNT} {COUNT}",
    "compute_elastic": NUMBER,
    "compute_phonon": NUMBER,
}
IMMEDIATE = {
    "replicate",
    "potential",
    "velocity",
    "time_step",
    "minimize",
    "compute_elastic",
    "compute_phonon",
}


def silicon() -> Atoms:
    return bulk("Si", "diamond", a=5.43)


def commands(script: str) -> list[tuple[str, str]]:
    lines = [line.split() for line in script.splitlines() if line and not line.startswith("#")]
    return [(words[0], " ".join(words[1:])) for words in lines]


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("atoms", [silicon(), bulk("Si", cubic=True)], ids=["primitive", "cubic"])
def test_every_line_is_in_the_manual(name, atoms):
    found = commands(task_script(name, TaskSettings(atoms, cutoff=5.0)))
    for keyword, values in found:
        assert re.fullmatch(SYNTAX[keyword], values), (keyword, values)
    keywords = [keyword for keyword, _ in found]
    assert keywords.count("potential") == 1
    assert "replicate" not in keywords or keywords[0] == "replicate"  # "before defining potential"
    # A block of a run begins with its ensemble; nothing but what acts at once stands outside of one.
    inside = False
    for keyword in keywords:
        inside = keyword == "ensemble" or (inside and keyword != "run")
        assert inside or keyword in IMMEDIATE | {"run"}, keyword
    assert not inside
    assert not {"compute_dos", "compute_sdc"} <= set(keywords)  # not in the same run


def test_files_as_calorine_reads_them(tmp_path):
    io = pytest.importorskip("calorine.gpumd")
    atoms = silicon().repeat(2)
    atoms.set_velocities(np.random.default_rng(0).normal(size=(len(atoms), 3)))
    written = write_tasks(tmp_path, TaskSettings(atoms, 5.0, temperature=450.0, pressure=2.0))
    names = {path.name for path in written}
    assert names == {"model.xyz", "run.in", "kpoints.in"} | {f"run_{n}.in" for n in TASKS if n != "short"}
    read = io.read_xyz(str(tmp_path / "model.xyz"))
    assert read.pbc.all()
    assert (read.numbers == atoms.numbers).all()
    np.testing.assert_allclose(read.cell.array, atoms.cell.array, atol=1e-8)
    np.testing.assert_allclose(read.positions, atoms.positions, atol=1e-7)
    np.testing.assert_allclose(read.get_velocities(), atoms.get_velocities(), atol=1e-6)
    scripts = [path for path in written if path.suffix == ".in" and path.stem != "kpoints"]
    assert len(scripts) == len(TASKS)
    for path in scripts:
        lines = [(k, v) for k, v in io.read_runfile(str(path)) if not k.startswith("#")]
        assert ("potential", "nep.txt") in lines
    npt = dict(io.read_runfile(str(tmp_path / "run_npt.in")))
    assert npt["ensemble"] == (
        *["npt_mttk", "temp", "450", "450", "tri", "2", "2", "tperiod", "100", "pperiod", "1000"],
    )
    assert dict(io.read_runfile(str(tmp_path / "run_nvt.in")))["velocity"] == 450.0


def test_velocities_are_in_angstrom_per_femtosecond():
    atoms = silicon()
    atoms.set_velocities([[0.3, 0, 0], [-0.3, 0, 0]])
    line = model_xyz(atoms).splitlines()[2].split()
    assert float(line[4]) == pytest.approx(0.3 * units.fs, rel=1e-6)  # ASE: Å/(Å sqrt(u/eV))


def test_box_and_time_step_follow_the_structure():
    settings = TaskSettings(silicon(), cutoff=5.0)
    a, b, c = settings.replicas(20.0)
    cell = silicon().repeat((a, b, c)).cell
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell.array), axis=0)
    assert heights.min() >= 20.0
    assert heights.max() < 20.0 + 3.2  # less one more layer
    assert settings.time_step == 1.0
    hydride = Atoms("PdH", positions=[[0, 0, 0], [2, 2, 2]], cell=[4, 4, 4], pbc=True)
    assert ("time_step", "0.5") in commands(task_script("nve", TaskSettings(hydride, 5.0)))
    phonon = dict(commands(task_script("phonon", settings)))
    assert silicon().repeat([int(n) for n in phonon["replicate"].split()]).cell.volume > 20.0**3


def test_path_of_the_bands():
    lines = kpoints(silicon()).split("\n")
    assert "" in lines[1:-1]  # U and K are apart
    points = {w[3]: [float(x) for x in w[:3]] for w in map(str.split, lines) if w}
    # Setyawan and Curtarolo, Comput. Mater. Sci. 49 (2010) 299, table 3.
    assert points["G"] == [0, 0, 0]
    assert points["X"] == [0.5, 0, 0.5]
    assert points["L"] == [0.5, 0.5, 0.5]
    left = silicon()
    left.set_cell(left.cell.array[[1, 0, 2]])
    with pytest.raises(ConfigError, match="left-handed"):
        kpoints(left)


def test_export_for_a_structure_of_ones_own(tmp_path):
    potential = parse_nep(made_up())
    atoms = silicon().repeat(2)
    with pytest.warns(UnverifiedExportWarning):
        files = potential.export("gpumd", tmp_path, verify=False, structure=atoms)
    assert files[0].name == "nep.txt"
    assert (tmp_path / "model.xyz").read_text().startswith("16\n")
    with pytest.raises(UnknownSpeciesError, match="Ge"):
        potential.export("gpumd", tmp_path, verify=False, structure=bulk("Ge"))
    with pytest.raises(ConfigError, match="periodic in three directions"):
        potential.export("gpumd", tmp_path, verify=False, structure=Atoms("Si"))


def test_command_line(tmp_path):
    pytest.importorskip("_nepy")
    source = parse_nep(made_up()).save(tmp_path / "a.ff")
    silicon().write(tmp_path / "start.xyz")
    words = ["export", source, "--to", "gpumd", "-o", tmp_path, "--structure", tmp_path / "start.xyz"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert "run_hnemd.in" in done.stdout
    assert (tmp_path / "model.xyz").read_text().startswith("2\n")
