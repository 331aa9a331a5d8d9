"""The plug-in in runs of LAMMPS: several processes, restarts, heat flux, other pair styles beside it, bad input."""

from __future__ import annotations

import os

import numpy as np
import pytest
from lammps_any_cases import crystal, dumped, make_potential, run_script, write_files
from lammps_cases import ask, deviations, random_potential

from forgefield.deployment.cpp import CompilerError, CompilerMissingError, compile_shared, compiler
from forgefield.deployment.engines import EngineError, EngineMissingError, LammpsRun, run_lammps
from forgefield.deployment.lammps_any import PLUGIN, pair_commands
from forgefield.deployment.lammps_snap import export_snap
from forgefield.deployment.lammps_system import PER_PS, LammpsSystem
from forgefield.descriptors import SNAP
from forgefield.testing.tolerances import OTHER_PROGRAM

ROUNDING = 1e-12

HEAD = ["units metal", "atom_style atomic", "atom_modify map array", "box tilt large"]
VALUES = [
    "compute e all pe/atom",
    "compute c all centroid/stress/atom NULL virial",
    "compute s all stress/atom NULL virial",
    "dump d all custom 1 all.txt id x y z fx fy fz c_e c_c[*] c_s[*]",
    "dump_modify d format float %.17g",
]


@pytest.fixture(scope="module")
def nep(tmp_path_factory):
    """A potential, a surface with velocities, and a folder with all files."""
    folder = tmp_path_factory.mktemp("nep")
    potential = make_potential("nep, zbl")
    commands = write_files(potential, folder)
    atoms = crystal(potential.elements, (3, 2, 2), surface=True)
    atoms.set_velocities(0.01 * np.random.default_rng(3).standard_normal((len(atoms), 3)))
    (folder / "structure.data").write_text(LammpsSystem.of(atoms).data(atoms))
    return potential, atoms, folder, commands


def start(commands) -> list[str]:
    return [*HEAD, "read_data structure.data", *commands]


def single_point(nep, processes: int) -> np.ndarray:
    _, _, folder, commands = nep
    lines = [*start(commands), *VALUES, "run 0"]
    if processes > 1:
        lines.insert(0, f"processors {processes} 1 1")
    done = run_script(lines, folder, processes)
    assert done.returncode == 0, done.stdout[-800:]
    assert f"on {processes} procs" in done.stdout
    return dumped(folder / "all.txt")


def test_two_processes_give_the_numbers_of_one_and_ours(nep):
    potential, atoms, _, _ = nep
    one, two = (single_point(nep, n) for n in (1, 2))
    for columns in (slice(3, 6), slice(6, 7), slice(7, 16), slice(16, 22)):
        assert np.abs(one[:, columns] - two[:, columns]).max() < ROUNDING * np.abs(one[:, columns]).max()
    ours = potential.predict(atoms)
    assert np.abs(ours.forces - two[:, 3:6]).max() < OTHER_PROGRAM * np.abs(ours.forces).max()
    assert np.abs(ours.energies - two[:, 6]).max() < OTHER_PROGRAM * np.abs(ours.energies).max()


NVE = ["timestep 0.002", "velocity all create 2500.0 7 loop geom", "fix m all nve"]
END = [
    "dump d all custom 40 end.txt id xu yu zu vx vy vz fx fy fz",
    "dump_modify d format float %.17g",
]


def test_restart_and_own_list_change_nothing(nep):
    """Straight through; from a restart file; with our own list made anew at every step; on two processes."""
    _, atoms, folder, commands = nep
    every_step = [c + " skin 0.0" if c.startswith("pair_style") else c for c in commands]
    ways = {
        "straight": [*start(commands), *NVE, *END, "run 20", "write_restart half.restart", "run 20"],
        "restart": [
            *HEAD[:-1],
            "read_restart half.restart",
            *commands,
            "timestep 0.002",
            NVE[-1],
            *END,
            "run 20",
        ],
        "every step": [*start(every_step), *NVE, *END, "run 40"],
    }
    ends = {}
    for name, lines in ways.items():
        done = run_script(lines, folder, 2 if name == "restart" else 1)
        assert done.returncode == 0, done.stdout[-800:]
        ends[name] = dumped(folder / "end.txt")
    assert np.abs(ends["straight"][:, :3] - atoms.positions).max() > 0.3
    for name in ("restart", "every step"):
        assert np.abs(ends[name] - ends["straight"]).max() < 1e-9 * np.abs(ends["straight"]).max(), name


def test_heat_flux(nep):
    """Centroid stresses give the heat flux of atomic virials I, plain ones another."""
    potential, atoms, folder, commands = nep
    lines = [
        *start(commands),
        "compute k all ke/atom",
        "compute e all pe/atom",
        "compute c all centroid/stress/atom NULL virial",
        "compute s all stress/atom NULL virial",
        "compute good all heat/flux k e c",
        "compute bad all heat/flux k e s",
        "thermo_style custom step c_good[1] c_good[2] c_good[3] c_good[4] c_good[5] c_good[6] c_bad[1]",
        "thermo_modify format float %.17g norm no",
        "run 0",
    ]
    done = run_script(lines, folder)
    values = np.array(done.stdout.split("c_bad[1]")[-1].split("Loop")[0].split()[1:], dtype=float)
    ours = potential.heat_flux(atoms, convective=False) * atoms.get_volume() * PER_PS
    assert np.allclose(ours, values[:3] - values[3:6], rtol=0, atol=1e-8 * np.abs(ours).max())
    assert abs(values[6] - values[0]) > 1e-2 * abs(values[0])


def test_snap_as_pair_style_snap(tmp_path):
    potential = random_potential(SNAP(two_j_max=8, cutoff=4.7, species=["Ta"]))
    commands = write_files(potential, tmp_path)
    files = " ".join(p.name for p in export_snap(potential, tmp_path, "native"))
    native = ["pair_style snap", f"pair_coeff * * {files} Ta"]
    frames, own = ask(potential, commands, tmp_path)
    _, theirs = ask(potential, native, tmp_path)
    assert deviations(potential, frames, own).max() < OTHER_PROGRAM
    for a, b in zip(own, theirs, strict=True):
        for name in ("energies", "forces", "virial"):
            x, y = getattr(a, name), getattr(b, name)
            assert np.abs(x - y).max() < OTHER_PROGRAM * np.abs(y).max(), name
        assert np.nanmax(np.abs(a.virials - b.virials)) < OTHER_PROGRAM * np.nanmax(np.abs(b.virials))


def test_beside_other_pair_styles(nep):
    """Atoms of a type NULL are not there for the potential."""
    potential, _, folder, _ = nep
    atoms = crystal(["Si", "O", "Ar"], (2, 1, 1))
    commands = [
        f"plugin load ./{PLUGIN}",
        "pair_style hybrid/overlay forgefield lj/cut 3.0",
        "pair_coeff * * forgefield potential.so Si O NULL",
        "pair_coeff * 3 lj/cut 0.0 1.0",
    ]
    run = LammpsRun(commands, ["Si", "O", "Ar"], [atoms])
    answer = run_lammps([run], folder)[0][0][0]
    known = atoms.numbers != 18
    ours = potential.predict(atoms[known])
    assert np.abs(answer.forces[known] - ours.forces).max() < OTHER_PROGRAM * np.abs(ours.forces).max()
    assert answer.energy == pytest.approx(ours.energy, rel=1e-12)
    assert np.all(answer.forces[~known] == 0)


def test_two_potentials_at_once(nep):
    """Two of them in one input add up; each has its own memory."""
    potential, _, folder, _ = nep
    other = make_potential("acsf")
    write_files(other, folder, "other")
    atoms = crystal(["O", "Si"], (2, 1, 1))
    commands = [
        f"plugin load ./{PLUGIN}",
        "pair_style hybrid/overlay forgefield forgefield skin 0.5",
        "pair_coeff * * forgefield 1 ./potential.so O Si",
        "pair_coeff * * forgefield 2 ./other.so O Si",
    ]
    answer = run_lammps([LammpsRun(commands, ["O", "Si"], [atoms], centroid=True)], folder)[0][0][0]
    one, two = (p.predict(atoms) for p in (potential, other))
    for name in ("forces", "energies", "virials"):
        expected = getattr(one, name) + getattr(two, name)
        assert np.abs(getattr(answer, name) - expected).max() < OTHER_PROGRAM * np.abs(expected).max(), name


# ---- bad input -----------------------------------------------------------------------------------------------

COEFFICIENTS = "pair_coeff * * ./potential.so"
WRONG = {
    "an element too many": (f"{COEFFICIENTS} O Si Si", "one element (or NULL) for each of the 2 atom types"),
    "an element too few": (f"{COEFFICIENTS} Si", "one element (or NULL) for each of the 2 atom types"),
    "unknown element": (
        f"{COEFFICIENTS} O Ge",
        "does not know Ge, the element of atom type 2; it knows: O Si",
    ),
    "no file": ("pair_coeff * * nowhere.so O Si", "cannot open the potential nowhere.so"),
    "no library": ("pair_coeff * * ./structure.data O Si", "cannot use the potential"),
    "another library": (f"pair_coeff * * ./{PLUGIN} O Si", "forgefield export POTENTIAL --to lammps"),
    "not all pairs": ("pair_coeff 1 1 ./potential.so O Si", "must start with * *"),
    "no potential": ("# nothing", "coeff"),
    "unknown argument": ("pair_style forgefield skun 1.0", "unknown argument skun; allowed: skin VALUE"),
    "negative skin": ("pair_style forgefield skin -1.0", "skin must be >= 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_commands(nep, case):
    _, atoms, folder, commands = nep
    line, message = WRONG[case]
    with pytest.raises(EngineError) as refused:
        run_lammps([LammpsRun([*commands[:2], line], ["O", "Si"], [atoms[:4]])], folder)
    assert message.lower() in str(refused.value).lower()


@pytest.mark.parametrize(
    ("line", "message"), [("units real", "needs `units metal`"), ("newton off", "needs `newton on`")]
)
def test_wrong_settings(nep, line, message):
    _, _, folder, commands = nep
    head = [line if line.split()[0] == h.split()[0] else h for h in HEAD]
    lines = [*(head if line in head else [line, *head]), "read_data structure.data", *commands, "run 0"]
    done = run_script(lines, folder)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr


def test_bonded_atoms_stay_neighbours(nep):
    _, _, folder, commands = nep
    lines = [
        "units metal",
        "atom_style bond",
        "region all block 0 9 0 9 0 9",
        "create_box 2 all bond/types 1 extra/bond/per/atom 1 extra/special/per/atom 4",
        "create_atoms 1 single 2 2 2",
        "create_atoms 2 single 2 2 4",
        "mass * 20.0",
        "bond_style zero",
        "bond_coeff *",
        "create_bonds single/bond 1 1 2",
        *commands,
    ]
    done = run_script([*lines, "run 0"], folder)
    assert done.returncode != 0
    assert "use `special_bonds lj/coul 1 1 1`" in done.stdout
    done = run_script([*lines, "special_bonds lj/coul 1 1 1", "run 0"], folder)
    assert done.returncode == 0, done.stdout[-500:]


def test_no_compiler(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CompilerMissingError, match=r"a C\+\+ compiler is needed.*apt install g\+\+"):
        compiler()
    monkeypatch.setenv("CXX", "nothing++ -O3")
    with pytest.raises(CompilerMissingError, match=r"CXX names 'nothing\+\+'"):
        compiler()
    assert issubclass(CompilerMissingError, EngineMissingError)


def test_compiler_refuses(tmp_path):
    source = tmp_path / "wrong.cpp"
    source.write_text("int f( { return 0; }\n")
    if not any(os.access(f"{p}/c++", os.X_OK) for p in os.environ["PATH"].split(":")):
        pytest.skip("no C++ compiler")
    with pytest.raises(CompilerError, match=r"cannot make the library: .*error"):
        compile_shared([], [source])


def test_commands_of_a_potential():
    assert pair_commands("a.so", ["O", "Si"], "dir/")[-1] == "pair_coeff * * dir/a.so O Si"
