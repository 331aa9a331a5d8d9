"""Molecular dynamics by LAMMPS with any potential that has kernels: the settings, log and trajectory of `md`.

Atoms are turned to LAMMPS's axes (a along x, b in the xy plane) and what comes back is turned again, so nobody sees the
difference.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from forgefield.deployment.ase import ForgefieldCalculator
from forgefield.deployment.engines import last_words
from forgefield.deployment.lammps_any import PLUGIN, pair_commands, plugin, write_libraries
from forgefield.deployment.lammps_library import own_level
from forgefield.deployment.lammps_output import Frame, LammpsOutput
from forgefield.deployment.lammps_run import ended, started
from forgefield.deployment.lammps_system import PER_PS, LammpsSystem, lammps_temperature, of_elements
from forgefield.deployment.load import load
from forgefield.deployment.md import run_md
from forgefield.deployment.md_common import (
    MDSettings,
    MDSummary,
    broken_down,
    centre_at_rest,
    check_start,
    draw_velocities,
    highest_temperature,
    summarise,
)
from forgefield.deployment.md_record import Recorder, broken, suspicious
from forgefield.engine.inference import Precision
from forgefield.errors import ConfigError, did_you_mean
from forgefield.files import write_bytes, write_text
from forgefield.graph import species_index
from forgefield.keys import matrix_to_voigt
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential

__all__ = ["ENGINES", "run_lammps_md", "simulate"]

ENGINES = ("ase", "lammps")

BAR_PER_GPA = 1e4
PAUSE = 0.05
"""Seconds between looks at what LAMMPS has written."""

THERMO = ("step", "pe", "econserve", *(f"c_virial[{n}]" for n in range(1, 7)))


def run_lammps_md(
    atoms: Atoms,
    potential: Potential | Committee,
    settings: MDSettings | None = None,
    *,
    processes: int = 1,
    dtype: Precision = "float32",
    trajectory: str | Path | None = None,
    log: str | Path | None = None,
    on_row: Callable[[Mapping[str, Any]], None] | None = None,
    **parameters: Any,
) -> MDSummary:
    """Simulate in LAMMPS, on several processes if asked for; the structure ends as the last state.

    Parameters
    ----------
    atoms : ase.Atoms
        Periodic in three directions, without constraints.
    potential : Potential or Committee
        With kernels for all its parts; the members of a committee have the same cutoffs.
    settings : MDSettings, optional
        Alternatively by name, as in `md.run_md`.
    processes : int
        Of MPI; each has a part of the cell.
    dtype : {'float32', 'float64'}
        Of the kernels.
    trajectory, log : path, optional
        As in `md.run_md`, written while LAMMPS runs.
    on_row : callable, optional
        Called with every row of the log.

    Raises
    ------
    SimulationError
        The temperature ran away, atoms overlap or got lost; log and trajectory keep everything up to there.
    ConfigError
        A setting does not go with the structure or with LAMMPS.
    EngineMissingError
        LAMMPS, MPI's launcher or a C++ compiler is not installed.

    Notes
    -----
    The ensembles are LAMMPS's: ``nve``, ``langevin``, ``temp/csvr``, ``npt`` (Nosé-Hoover chains). First velocities are
    those of `md.run_md` with the same seed; thermostats draw other numbers.
    """
    if settings is not None and parameters:
        raise ConfigError(f"give either `settings` or parameters by name, not both: {sorted(parameters)}")
    settings = settings or MDSettings.parse(parameters, where="md")
    _check_structure(atoms, potential, settings, processes)
    with centre_at_rest(atoms, settings):
        draw_velocities(atoms, settings, np.random.default_rng(settings.seed))
    system = LammpsSystem.of(atoms)
    with tempfile.TemporaryDirectory(prefix="forgefield-lammps-") as scratch:
        folder = Path(scratch)
        libraries = write_libraries(of_elements(potential, atoms), folder, "potential", dtype, [own_level()])
        write_bytes(folder / PLUGIN, plugin())
        write_text(folder / "structure.data", system.data(atoms))
        write_text(folder / "in.md", _script(system, settings, [path.name for path in libraries]))
        recorder = Recorder(atoms, trajectory, log, on_row)
        with recorder:
            start = time.perf_counter()
            problem = _follow(folder, processes, system, settings, recorder)
            seconds = time.perf_counter() - start
            if problem:
                step = recorder.rows[-1]["step"] if recorder.rows else 0
                raise broken_down(step, settings, problem, recorder, "after")
    return summarise(settings, recorder, seconds)


def simulate(
    engine: str,
    potential: Path,
    atoms: Atoms,
    settings: MDSettings,
    *,
    dtype: str,
    threads: int | None = None,
    processes: int = 1,
    trajectory: Path | None = None,
    log: Path | None = None,
    on_row: Callable[[Mapping[str, Any]], None] | None = None,
) -> MDSummary:
    """Simulate with a potential file and one of `ENGINES`; see `md.run_md` and `run_lammps_md`."""
    if engine not in ENGINES:
        raise ConfigError(f"unknown engine {engine!r}: {did_you_mean(engine, ENGINES)}")
    if engine == "ase":
        if processes != 1:
            raise ConfigError(
                f"engine 'ase' is one process, got --processes {processes}; use --engine lammps"
            )
        calculator = ForgefieldCalculator(potential, dtype=dtype, threads=threads)  # type: ignore[arg-type]
        return run_md(atoms, calculator, settings, trajectory=trajectory, log=log, on_row=on_row)
    if threads not in (None, 1):
        raise ConfigError(
            f"engine 'lammps' shares the work by processes, got --threads {threads}; use --processes"
        )
    if dtype not in get_args(Precision):
        raise ConfigError(f"`dtype` must be 'float32' or 'float64', got {dtype!r}")
    return run_lammps_md(
        atoms,
        load(potential),
        settings,
        processes=processes,
        dtype=dtype,  # type: ignore[arg-type]
        trajectory=trajectory,
        log=log,
        on_row=on_row,
    )


def _check_structure(
    atoms: Atoms, potential: Potential | Committee, settings: MDSettings, processes: int
) -> None:
    check_start(atoms, settings)
    species_index(atoms.numbers, potential.species)
    if processes < 1:
        raise ConfigError(f"`processes` must be >= 1, got {processes}")
    if not atoms.pbc.all():
        raise ConfigError(
            f"LAMMPS is given structures periodic in three directions, got pbc={atoms.pbc.tolist()}; add vacuum "
            "(atoms.center(vacuum=10); atoms.pbc = True), or use the engine 'ase'"
        )
    if atoms.constraints:
        raise ConfigError("constraints are not passed on to LAMMPS; remove them or use the engine 'ase'")


def _script(system: LammpsSystem, settings: MDSettings, libraries: Sequence[str]) -> str:
    """Return the input script."""
    every, spread = settings.log_interval, " f_spread" if len(libraries) > 1 else ""
    commands = [
        "units metal",
        "atom_style atomic",
        "atom_modify map array",
        "box tilt large",
        "read_data structure.data",
        *pair_commands(libraries, system.elements),
        f"timestep {settings.timestep / 1000.0!r}",
        *_fixes(settings),
        *([f"fix spread all pair {every} forgefield spread 1"] if spread else []),
        "compute virial all pressure NULL virial",
        f"thermo_style custom {' '.join(THERMO)}",
        "thermo_modify format float %.17g norm no flush yes",
        f"thermo {every}",
        f"dump frames all custom {every} frames.bin id xu yu zu vx vy vz fx fy fz{spread}",
        "dump_modify frames sort id flush yes",
        "variable now equal temp",
        f"fix limit all halt {every} v_now > {highest_temperature(settings)!r} error soft message no",
        f"run {settings.steps}",
    ]
    return "\n".join(commands) + "\n"


def _fixes(settings: MDSettings) -> list[str]:
    if settings.ensemble == "nve":
        return ["fix move all nve"]
    t, seed = lammps_temperature(settings.temperature or 0.0), settings.seed + 1
    if settings.ensemble == "nvt":
        if settings.thermostat == "bussi":
            bath = f"temp/csvr {t!r} {t!r} {settings.thermostat_time / 1000.0!r} {seed}"
        else:
            bath = f"langevin {t!r} {t!r} {1.0 / settings.friction / 1000.0!r} {seed} zero yes"
        return ["fix move all nve", f"fix bath all {bath}"]
    pressure, times = settings.pressure * BAR_PER_GPA, (settings.thermostat_time, settings.barostat_time)
    kind = "iso" if settings.barostat == "isotropic" else "tri"
    first, second = (x / 1000.0 for x in times)
    return [f"fix move all npt temp {t!r} {t!r} {first!r} {kind} {pressure!r} {pressure!r} {second!r}"]


# ---- what LAMMPS writes --------------------------------------------------------------------------------------


def _follow(
    folder: Path, processes: int, system: LammpsSystem, settings: MDSettings, recorder: Recorder
) -> str:
    """Run LAMMPS, write log and trajectory meanwhile, and return what went wrong, if anything."""
    output = LammpsOutput(folder / "log.md", folder / "frames.bin", len(THERMO))
    with started("in.md", folder, processes, log="log.md") as process:
        while True:
            over = process.poll() is not None
            for frame in output.frames():
                problem = _record(frame, system, settings, recorder)
                if problem:
                    return problem
            if over:
                break
            time.sleep(PAUSE)
    done = ended(process, folder)
    return last_words(done) if done.returncode != 0 else ""


def _record(frame: Frame, system: LammpsSystem, settings: MDSettings, recorder: Recorder) -> str:
    """Write a frame; return what is wrong with it, if anything."""
    atoms = recorder.atoms
    energy, conserved, *pressure = frame.thermo
    stress = -system.pressure(pressure)
    vectors = frame.atoms[:, :9].reshape(-1, 3, 3) @ system.turn
    atoms.set_cell(system.cell(frame.cell))
    atoms.positions = vectors[:, 0]
    atoms.set_velocities(vectors[:, 1] / PER_PS)
    results = {"energy": energy, "forces": vectors[:, 2], "stress": matrix_to_voigt(stress)}
    atoms.calc = SinglePointCalculator(atoms, **results)
    if frame.atoms.shape[1] > 9:
        atoms.calc.results["forces_spread"] = frame.atoms[:, 9]
    problem = broken(atoms, highest_temperature(settings))
    if problem:
        return problem
    bath = settings.ensemble == "nvt" and settings.thermostat == "langevin"
    recorder.row(frame.step, frame.step * settings.timestep, None if bath else lambda: conserved)
    return suspicious(atoms, settings.closest_fraction, settings.spread_limit)
