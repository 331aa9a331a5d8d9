"""Sets of data of a study: what is drawn from them, what identifies them, and the time a training takes."""

import ctypes
import importlib.util
import math
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from forgefield.errors import DataError
from forgefield.properties.calculators import lammps_calculator
from forgefield.studies import run_study
from forgefield.studies.clock import Clock
from forgefield.studies.sources import SourceSettings, data_config, drawn, frames_like, source_hash


@pytest.fixture
def crystals(tmp_path):
    """Two files: 30 strained crystals to divide, half of them called warm, and four to test on."""
    rng = np.random.default_rng(3)
    files = {}
    for name, n in (("all", 30), ("test", 4)):
        frames = []
        for k in range(n):
            atoms = bulk("Ar", "fcc", a=5.2 + 0.01 * k, cubic=True)
            atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
            atoms.info["description"] = "warm crystal" if k % 2 else "cold crystal"
            forces = rng.normal(size=(len(atoms), 3))
            atoms.calc = SinglePointCalculator(atoms, energy=-0.1 * k, forces=forces - forces.mean(axis=0))
            frames.append(atoms)
        files[name] = str(tmp_path / f"{name}.extxyz")
        ase.io.write(files[name], frames, format="extxyz")
    return files


def test_some_training_structures_are_drawn_by_seed_and_all_others_stay(crystals, tmp_path):
    source = SourceSettings(file=crystals["all"], test=crystals["test"], data={"split": {"valid": 0.1}})
    config = {"data": data_config(source), "seed": 0}
    made = {seed: drawn(config, 5, "random", seed, tmp_path / str(seed))["data"] for seed in (0, 0, 1)}
    read = {seed: [a.cell[0, 0] for a in ase.io.read(data["train"][0], ":")] for seed, data in made.items()}
    assert len(read[0]) == len(read[1]) == 5
    assert read[0] != read[1]
    assert len(ase.io.read(made[0]["valid"][0], ":")) == 3
    assert len(ase.io.read(made[0]["test"][0], ":")) == 4
    assert drawn(config, None, "random", 0, tmp_path) == config


def test_snapshots_are_found_by_their_description(crystals):
    config = {"data": data_config(SourceSettings(file=crystals["all"], data={"split": {"valid": 0.1}}))}
    assert len(frames_like(config, "warm")) == 15
    assert frames_like(config, "molten") == []


def test_the_hash_is_that_of_the_content_of_every_file(crystals, tmp_path):
    one = SourceSettings(file=crystals["all"], test=crystals["test"])
    copy = tmp_path / "copy.extxyz"
    copy.write_text(Path(crystals["test"]).read_text())
    assert source_hash(one) == source_hash(SourceSettings(file=crystals["all"], test=str(copy)))
    copy.write_text(copy.read_text() + " ")
    assert source_hash(one) != source_hash(SourceSettings(file=crystals["all"], test=str(copy)))
    with pytest.raises(DataError, match="neither a bundled set"):
        data_config(SourceSettings(file=str(tmp_path / "none.xyz")))


def test_processor_time_does_not_run_while_nothing_is_done_and_goes_on_after_an_interruption(tmp_path):
    clock = Clock(tmp_path)
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    clock.on_epoch({"epoch": 1})
    time.sleep(0.2)
    clock.on_epoch({"epoch": 2})
    first, second = (row["cpu_seconds"] for row in clock.of([{"epoch": 1}, {"epoch": 2}]))
    assert first >= 0.05
    assert second - first < 0.1
    again = Clock(tmp_path)
    again.on_start(None, None, None)
    again.on_epoch({"epoch": 3})
    assert again.of([{"epoch": 3}])[0]["cpu_seconds"] >= second


def test_numbers_that_are_not_finite_are_kept_as_none(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import toy_study

    monkeypatch.setattr(toy_study.Toy, "run", lambda *_: {"square": 1.0, "other": {"a": [math.nan, 2.0]}})
    run = run_study("toy_study:Toy", {"numbers": [1]}, tmp_path)
    assert run.results[0].values["other"] == {"a": [None, 2.0]}


@pytest.fixture
def silica():
    """The script that makes silica."""
    path = Path(__file__).parents[2] / "benchmarks" / "sio2_data.py"
    spec = importlib.util.spec_from_file_location("sio2_data", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_crystals_of_silica_are_networks_of_tetrahedra(silica):
    for name, atoms in silica.phases().items():
        distance = atoms.get_all_distances(mic=True)[np.ix_(atoms.numbers == 14, atoms.numbers == 8)]
        assert np.all((distance < 1.65).sum(axis=1) == 4), name
        assert np.all((distance < 1.65).sum(axis=0) == 2), name
        assert distance.min() > 1.55, name


def test_labels_of_silica_are_those_of_the_potential_without_the_thermostat(silica, monkeypatch):
    library = Path(sys.prefix, "lib", "libmpi.so.12")
    if library.exists():
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    lammps = pytest.importorskip("lammps")
    potential = Path(lammps.__file__).parent / "share" / "lammps" / "potentials" / silica.POTENTIAL
    if not potential.exists():
        pytest.skip("this LAMMPS brings no potentials")
    monkeypatch.setattr(silica, "EQUILIBRATION", 5)
    monkeypatch.setattr(silica, "EVERY", 5)
    atoms = silica.phases()["quartz"]
    found = silica.trajectory("hot", "quartz", atoms, 900.0, 2, potential)[-1]
    commands = ["pair_style vashishta", f"pair_coeff * * {potential} Si O"]
    known = found.copy()
    known.calc = lammps_calculator(commands, ["Si", "O"])
    assert found.get_potential_energy() == pytest.approx(known.get_potential_energy(), abs=1e-6)
    assert np.abs(found.get_forces() - known.get_forces()).max() < 1e-5
    assert np.abs(found.get_stress() - known.get_stress()).max() < 1e-7
    assert np.abs(found.get_forces()).max() > 0.1
