"""A committee in LAMMPS: the mean of its members, and how far they spread."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from lammps_any_cases import crystal, dumped, make_potential, run_script, write_files
from lammps_cases import random_potential

from forgefield.deployment.export import export
from forgefield.deployment.lammps_any import pair_commands
from forgefield.deployment.lammps_library import own_level, write_library
from forgefield.deployment.lammps_md import simulate
from forgefield.deployment.lammps_system import LammpsSystem
from forgefield.deployment.md import MDSettings
from forgefield.descriptors import SNAP
from forgefield.errors import ConfigError, SimulationError
from forgefield.models.committee import Committee
from forgefield.testing.tolerances import OTHER_PROGRAM

READ = [
    "fix spread all pair 2 forgefield spread 1",
    "compute e all pe/atom",
    "dump d all custom 2 all.txt id x y z fx fy fz c_e f_spread",
    "dump_modify d format float %.17g sort id",
]


def make_committee(case: str = "nep, zbl") -> Committee:
    """Return three potentials that differ in their parameters."""
    members = []
    for n in range(3):
        member = make_potential(case)
        with torch.no_grad():
            for values in member.model.parameters():
                values.add_(
                    torch.randn(values.shape, generator=torch.Generator().manual_seed(n)), alpha=0.05 * n
                )
        members.append(member)
    return Committee(members)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A committee, a crystal, and a folder with the files of both."""
    folder = tmp_path_factory.mktemp("committee")
    committee = make_committee()
    write_files(committee.members[0], folder, "m0")
    for n, member in enumerate(committee.members):
        write_library(member, folder / f"m{n}.so", kinds=[own_level()])
    atoms = crystal(committee.elements, (3, 2, 2))
    (folder / "structure.data").write_text(LammpsSystem.of(atoms).data(atoms))
    commands = pair_commands(["m0.so", "m1.so", "m2.so"], committee.elements)
    return committee, atoms, folder, commands


HEAD = [
    "units metal",
    "atom_style atomic",
    "atom_modify map array",
    "box tilt large",
    "read_data structure.data",
]


@pytest.mark.parametrize("processes", [1, 2])
def test_mean_and_spread_are_those_of_the_committee(written, processes):
    committee, atoms, folder, commands = written
    first = [] if processes == 1 else [f"processors {processes} 1 1"]
    done = run_script([*first, *HEAD, *commands, *READ, "run 0"], folder, processes)
    assert done.returncode == 0, done.stdout[-800:]
    values = dumped(folder / "all.txt")
    ours = committee.predict(atoms)
    for found, expected in (
        (values[:, 3:6], ours.forces),
        (values[:, 6], ours.energies),
        (values[:, 7], ours.forces_spread),
    ):
        assert np.abs(found - expected).max() < OTHER_PROGRAM * np.abs(expected).max()
    assert ours.forces_spread.min() > 1e-3  # eV/Å: the members do differ


def test_spread_is_computed_where_it_is_read(written):
    """Every second step has its own value, of the atoms as they are then."""
    _, _, folder, commands = written
    lines = [
        *HEAD,
        *commands,
        *READ,
        "velocity all create 900.0 3 loop geom",
        "timestep 0.001",
        "fix m all nve",
    ]
    done = run_script([*lines, "run 4"], folder)
    assert done.returncode == 0, done.stdout[-800:]
    spreads = [
        np.array([float(line.split()[-1]) for line in block.splitlines()[1:]])
        for block in (folder / "all.txt").read_text().split("ITEM: ATOMS")[1:]
        for block in [block.split("ITEM: TIMESTEP")[0]]
    ]
    assert len(spreads) == 3
    assert all(np.abs(a - b).max() > 0.0 for a, b in pairwise(spreads))


def test_a_single_potential_has_no_spread(written):
    _, _, folder, _ = written
    done = run_script([*HEAD, *pair_commands("m0.so", ["O", "Si"]), *READ, "run 0"], folder)
    assert done.returncode == 0, done.stdout[-800:]
    assert not dumped(folder / "all.txt")[:, 7].any()


def test_export_with_certificate(tmp_path):
    committee = make_committee()
    write_files(committee.members[0], tmp_path)  # skips where nothing can be compiled
    files = {path.name for path in export(committee, "lammps", tmp_path / "out")}
    assert {"potential.ff", "potential_1.so", "potential_3.so", "certificate.json"} <= files
    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert certificate["passed"]
    assert certificate["potential"]["members"] == 3
    done = run_script((tmp_path / "out" / "in.forgefield").read_text().splitlines(), tmp_path / "out")
    assert done.returncode == 0, done.stdout[-800:]
    assert "c_largest" in done.stdout


def write_soft(folder) -> tuple[Committee, Path]:
    """Return a committee of two that holds a crystal together, and its file; skip where nothing can be compiled."""
    members = []
    for n in range(2):
        member = random_potential(SNAP(two_j_max=2, cutoff=4.2, species=["C", "Si"]), repulsion=True)
        for parameter in member.model.parameters():
            parameter.data *= 0.003 + 0.001 * n
        members.append(member)
    committee = Committee(members)
    write_files(members[0], folder)
    return committee, committee.save(folder / "committee.ff")


@pytest.mark.parametrize("engine", ["ase", "lammps"])
def test_dynamics(tmp_path, engine):
    """Forces and spread at the end are the committee's; a structure of one element needs the members for that alone."""
    committee, path = write_soft(tmp_path)
    atoms, log = crystal(["Si"], (2, 2, 1)), tmp_path / "log.csv"
    settings = MDSettings(ensemble="nve", steps=20, temperature=400.0, log_interval=10, timestep=0.5)
    simulate(engine, path, atoms, settings, dtype="float64", log=log, trajectory=tmp_path / "md.xyz")
    expected = committee.predict(atoms)
    assert np.abs(atoms.get_forces() - expected.forces).max() < OTHER_PROGRAM * np.abs(expected.forces).max()
    rows = list(csv.DictReader(log.open()))
    assert float(rows[-1]["spread_eV_A"]) == pytest.approx(expected.forces_spread.max(), rel=1e-6)
    frame = ase.io.read(tmp_path / "md.xyz")
    assert np.allclose(frame.arrays["forces_spread"], expected.forces_spread, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("engine", ["ase", "lammps"])
def test_dynamics_stop_where_members_disagree(tmp_path, engine):
    _, path = write_soft(tmp_path)
    settings = MDSettings(ensemble="nve", steps=20, temperature=400.0, spread_limit=1e-3)
    atoms = crystal(["Si"], (2, 2, 1))
    with pytest.raises(
        SimulationError, match=r"disagree by .* eV/Å \(limit: 0.001 eV/Å\) on the forces on atoms Si"
    ):
        simulate(engine, path, atoms, settings, dtype="float64", log=tmp_path / "log.csv")
    single = make_potential("nep, zbl").save(tmp_path / "single.ff")
    with pytest.raises(ConfigError, match="`spread_limit` needs a committee"):
        simulate(engine, single, crystal(["Si"], (2, 2, 1)), settings, dtype="float64")


def test_programs_without_a_mean_are_refused_with_the_way_out(tmp_path):
    with pytest.raises(ConfigError, match=r"committee of 3; export one member.*can be exported to lammps"):
        export(make_committee(), "gpumd", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_members_must_share_their_rows(tmp_path, written):
    _, _, folder, _ = written
    other = make_potential("acsf")
    mixed = Committee([make_potential("nep, zbl"), other])
    with pytest.raises(ConfigError, match="share their rows of neighbours"):
        export(mixed, "lammps", tmp_path / "out")
    write_library(other, folder / "other.so", kinds=[own_level()])
    done = run_script([*HEAD, *pair_commands(["m0.so", "other.so"], ["O", "Si"]), "run 0"], folder)
    assert done.returncode != 0
    assert "m0.so and ./other.so cannot be a committee" in done.stdout + done.stderr
