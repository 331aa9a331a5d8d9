"""One SNAP potential (2J = 8, tungsten) in LAMMPS: pair_style forgefield against pair_style snap.

    python benchmarks/lammps_any.py [--short] [--resume]

Molecular dynamics at 300 K with LAMMPS's usual settings, the same on both sides: potential (that of LAMMPS's file
``W_2940_2017_2.snap``, its nuclear repulsion included), structure, velocities, time step, neighbour lists. Before
anything is timed both sides have to agree on energy and forces. Then one MPI process against two, and the drift of the
energy over 100 ps at constant energy. The table is saved after each part; ``--resume`` measures those it lacks.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from common import Options, Report, Timing, alternate, options
from lammps_side import import_lammps
from numpy.typing import NDArray

from forgefield.deployment.lammps_any import PLUGIN, find_lammps, pair_commands, plugin
from forgefield.deployment.lammps_include import read_include
from forgefield.deployment.lammps_library import own_level, write_library
from forgefield.deployment.lammps_run import launch
from forgefield.engine.inference import Precision
from forgefield.models.potential import Potential

FILE = "W_2940_2017_2.snap"
GOALS = {"float64": 20.0, "float32": 40.0}
GOAL_OF_TWO = 1.8
AGREEMENT = {"float64": 1e-10, "float32": 1e-4}
DRIFT = {"float64": 1e-7, "float32": 1e-6}
"""Largest drift of the energy to be called conserved [eV/atom/ps]."""

TIMESTEP = 0.001
PRECISIONS: tuple[Precision, ...] = ("float64", "float32")


def setup(cells: int) -> list[str]:
    """Return the commands up to the pair style: ``2 cells^3`` tungsten atoms."""
    return [
        "units metal",
        "atom_style atomic",
        "atom_modify map array",
        "lattice bcc 3.1803",
        f"region box block 0 {cells} 0 {cells} 0 {cells}",
        "create_box 1 box",
        "create_atoms 1 box",
        "mass 1 183.84",
    ]


def dynamics() -> list[str]:
    """Return the commands after the pair style."""
    return [
        f"timestep {TIMESTEP}",
        "velocity all create 600.0 11 loop geom",
        "fix 1 all nve",
        "thermo_style custom step pe etotal temp",
        "thermo_modify format float %.15g",
        "thermo 100",
    ]


class Side:
    """A simulation that goes on by some steps at every call."""

    def __init__(self, commands: list[str], cells: int, steps: int) -> None:
        self.engine = import_lammps().lammps(cmdargs=["-screen", "none", "-log", "none"])
        for line in (*setup(cells), *commands, *dynamics(), "run 0 post no"):
            self.engine.command(line)
        self.steps = steps

    def state(self) -> tuple[float, NDArray[np.float64]]:
        """Return energy and forces, by atom."""
        n = self.engine.get_natoms()
        order = np.argsort(np.array(self.engine.numpy.extract_atom("id", nelem=n)))
        return float(self.engine.get_thermo("pe")), np.array(self.engine.numpy.extract_atom("f", nelem=n))[
            order
        ]

    def __call__(self) -> None:
        """Go on."""
        self.engine.command(f"run {self.steps} pre no post no")


def native() -> Path:
    """Return the folder of the potentials that come with LAMMPS."""
    return find_lammps().folder / "share" / "lammps" / "potentials"


def files(potential: Potential, folder: Path) -> dict[str, list[str]]:
    """Write what each side needs and return its commands."""
    (folder / PLUGIN).write_bytes(plugin())
    found = {"snap": [f"include {native() / FILE}"]}
    for dtype in PRECISIONS:
        write_library(potential, folder / f"{dtype}.so", dtype, [own_level()])
        found[dtype] = pair_commands(f"{dtype}.so", potential.elements, f"{folder}/")
    return found


def speed(report: Report, chosen: Options, commands: dict[str, list[str]], cells: int) -> None:
    """Add the rows of both sides in one process, after they have agreed."""
    # The compiled sides move some twenty times as many steps in the same time.
    sides = {name: Side(lines, cells, 1 if name == "snap" else 10) for name, lines in commands.items()}
    for side in sides.values():
        side.engine.command("run 20 post no")
    energy, forces = sides["snap"].state()
    n = len(forces)
    for dtype in PRECISIONS:
        own, f = sides[dtype].state()
        worst = float(np.abs(f - forces).max() / np.abs(forces).max())
        report.note(
            f"{dtype}: after 20 steps forces differ by {worst:.1e} of the largest, energies by "
            f"{abs(own - energy) / n:.1e} eV/atom"
        )
        # Twenty steps apart, rounding has grown a little.
        if worst > 100 * AGREEMENT[dtype]:
            raise SystemExit(f"{dtype}: both sides disagree; nothing to compare")
    times = alternate(dict(sides), chosen.seconds)
    for dtype in PRECISIONS:
        each = times[dtype]
        own_times = Timing(tuple(x / 10 for x in each.wall), tuple(x / 10 for x in each.cpu))
        report.speed(
            f"MD, {n} atoms, {dtype}",
            own_times,
            times["snap"],
            unit="us/atom/step",
            factor=1e6 / n,
            goal=GOALS[dtype],
        )


def processes(
    report: Report, chosen: Options, commands: dict[str, list[str]], folder: Path, cells: int, *, name: str
) -> None:
    """Add the row of one process against two, of one side."""
    turns, steps = 3 if chosen.short else 5, 100 if name == "float64" else 5
    lines = [*setup(cells), *commands[name], *dynamics(), "run 5 post no", f"run {steps}"]
    (folder / "in.ranks").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for _ in range(turns):
        for n, times in found.items():
            times.append(loop_time(launch("in.ranks", folder, n).stdout, n))
    per = 1e6 / (2 * cells**3 * steps)
    one, two = (Timing(*zip(*found[n], strict=True)) for n in (1, 2))
    report.speed(
        f"two processes against one, {2 * cells**3} atoms, {name}",
        two,
        one,
        unit="us/atom/step",
        factor=per,
        goal=GOAL_OF_TWO if name == "float64" else None,
    )


def loop_time(said: str, n: int) -> tuple[float, float]:
    """Return wall and processor time of the last run."""
    loops = re.findall(r"Loop time of (\S+) on", said)
    use = re.findall(r"([\d.]+)% CPU use", said)
    if not loops or not use:
        raise SystemExit(said[-2000:])
    return float(loops[-1]), float(loops[-1]) * float(use[-1]) / 100.0 * n


def drift(
    report: Report, chosen: Options, commands: dict[str, list[str]], folder: Path, *, dtype: Precision
) -> None:
    """Add the row of the energy over a long time, of one number type."""
    cells, picoseconds = 3, 10 if chosen.short else 100
    steps = round(picoseconds / TIMESTEP)
    lines = [
        *setup(cells),
        *commands[dtype],
        *dynamics(),
        "neigh_modify delay 0 every 1 check yes",
        f"run {steps}",
    ]
    (folder / "in.drift").write_text("\n".join(lines) + "\n", encoding="utf-8")
    said = launch("in.drift", folder).stdout
    rows = np.array(re.findall(r"^\s+(\d+)\s+(\S+)\s+(\S+)\s+(\S+)\s*$", said, re.MULTILINE), dtype=float)
    if len(rows) != steps // 100 + 1:
        raise SystemExit(said[-2000:])
    n, times, energies = 2 * cells**3, rows[10:, 0] * TIMESTEP, rows[10:, 2]
    slope = float(np.polyfit(times, energies, 1)[0]) / n
    spread = float(np.std(energies - np.polyval(np.polyfit(times, energies, 1), times))) / n
    report.limit(f"drift over {picoseconds} ps, {n} atoms, {dtype}", abs(slope), "eV/atom/ps", DRIFT[dtype])
    report.note(
        f"{dtype}: energy fluctuates by {spread:.1e} eV/atom around the drift of {slope:+.1e} eV/atom/ps, mean "
        f"temperature {rows[10:, 3].mean():.0f} K, {TIMESTEP * 1000:g} fs"
    )


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this script understands beside the common options."""
    parser.add_argument("--resume", action="store_true", help="measure only what the saved table lacks")


def main() -> None:
    """Measure, print and save."""
    chosen = options(__doc__, arguments)
    os.environ["LAMMPS_POTENTIALS"] = str(native())  # where LAMMPS looks for the files that FILE names
    potential = read_include(native() / FILE)
    report = Report(
        "lammps_any",
        "pair_style forgefield in LAMMPS",
        "pair_style snap, the same potential",
        chosen,
        ("lammps",),
    )
    cells = 6 if chosen.short else 10
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        commands = files(potential, folder)
        ranks = partial(processes, report, chosen, commands, folder, cells)
        energy = partial(drift, report, chosen, commands, folder)
        report.parts(
            {
                "speed": partial(speed, report, chosen, commands, cells),
                "processes, float64": partial(ranks, name="float64"),
                "processes, snap": partial(ranks, name="snap"),
                "drift, float64": partial(energy, dtype="float64"),
                "drift, float32": partial(energy, dtype="float32"),
            },
            resume=chosen.values.resume,
        )


if __name__ == "__main__":
    main()
