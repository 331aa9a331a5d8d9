"""The simulations of properties in LAMMPS: the settings, records and checkpoints of `dynamics`, LAMMPS takes the steps.

LAMMPS runs as a program of its own, on one or several processes, with the plug-in of `deployment.lammps_any`; its frames
are read as they appear. A run is a row of stretches, each a new start of LAMMPS from positions and velocities to the last
bit, with random numbers that depend on the seed and on the step it starts from. So whoever goes on from the
checkpoint between two stretches gets what an uninterrupted run gets.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.deployment.ase import ForgefieldCalculator
from forgefield.deployment.engines import EngineError, last_words
from forgefield.deployment.lammps_any import PLUGIN, check_holds, pair_commands, plugin, write_libraries
from forgefield.deployment.lammps_library import own_level
from forgefield.deployment.lammps_output import Frame, LammpsOutput
from forgefield.deployment.lammps_run import ended, launch_command, started
from forgefield.deployment.lammps_system import (
    BAR_PER_EV_A3,
    PER_PS,
    LammpsSystem,
    lammps_temperature,
    of_elements,
)
from forgefield.engine.inference import Precision
from forgefield.errors import ConfigError
from forgefield.files import write_bytes, write_text
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential
from forgefield.properties.dynamics import Drive, Dynamics, Run
from forgefield.properties.dynamics_forces import ForceField, Forces, PotentialForces
from forgefield.properties.dynamics_state import DynamicsSettings
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["LammpsDynamics", "LammpsForces", "make_dynamics", "potential_of"]

FloatArray = NDArray[np.float64]

THERMO = ("step", "pe", *(f"c_virial[{n}]" for n in range(1, 7)))

PAUSE = 0.01
"""Seconds between looks at what LAMMPS has written."""

MOST_BYTES = 200_000_000
"""Of the frames of a stretch on disk."""

BYTES_PER_ATOM = 80


class LammpsForces:
    """A potential whose simulations run in LAMMPS; what else is asked of it the compiled kernels evaluate here.

    Parameters
    ----------
    potential : Potential or Committee
    atoms : ase.Atoms
        Elements and periodicity; not changed.
    dtype : {'float32', 'float64'}, optional
        Default: the potential's own.
    processes : int
        Of MPI.

    Raises
    ------
    ConfigError
        A part of the potential has no kernel; the structure is not periodic in three directions.
    EngineMissingError
        LAMMPS, a C++ compiler or, for more than one process, MPI's launcher is not installed.
    """

    def __init__(
        self,
        potential: Potential | Committee,
        atoms: Atoms,
        *,
        dtype: Precision | None = None,
        processes: int = 1,
    ) -> None:
        if processes < 1:
            raise ConfigError(f"`processes` must be >= 1, got {processes}")
        if not atoms.pbc.all():
            raise ConfigError(
                f"LAMMPS is given structures periodic in three directions, got pbc={atoms.pbc.tolist()}; set engine=own"
            )
        check_holds(potential)
        launch_command(processes)
        self.plugin = plugin()
        self.potential, self.dtype, self.processes = of_elements(potential, atoms), dtype, processes
        self._atoms = atoms
        self._here: PotentialForces | None = None

    def evaluate(
        self, positions: FloatArray, cell: FloatArray, *, virial: bool = False, atomic: bool = False
    ) -> Forces:
        """Compute; see `ForceField`."""
        if self._here is None:
            self._here = PotentialForces(self.potential, self._atoms, dtype=self.dtype)
        return self._here.evaluate(positions, cell, virial=virial, atomic=atomic)

    def reset(self) -> None:
        """Forget neighbour lists; LAMMPS starts anew at every stretch."""
        if self._here is not None:
            self._here.reset()

    def write(self, folder: Path) -> list[str]:
        """Write what LAMMPS needs of the potential and return the names of the libraries."""
        write_bytes(folder / PLUGIN, self.plugin)
        first = self.potential.members[0] if isinstance(self.potential, Committee) else self.potential
        own: Precision = "float32" if str(first.dtype) == "torch.float32" else "float64"
        return [
            path.name
            for path in write_libraries(self.potential, folder, "potential", self.dtype or own, [own_level()])
        ]


def potential_of(source: Any) -> Potential | Committee:
    """Return the potential of a calculator, or the potential itself.

    Raises
    ------
    ConfigError
        It is none of this package.
    """
    found = source.potential if isinstance(source, ForgefieldCalculator) else source
    if isinstance(found, Potential | Committee):
        return found
    raise ConfigError(
        f"LAMMPS runs potentials of Forgefield here, and {type(source).__name__} is none; set engine=own, which simulates "
        "with any calculator of ASE"
    )


def make_dynamics(
    atoms: Atoms, field: ForceField, settings: DynamicsSettings, *, drive: Drive | None = None
) -> Dynamics:
    """Return a simulation by the engine that the forces are for.

    Raises
    ------
    ConfigError
        An extra force with LAMMPS.
    """
    if not isinstance(field, LammpsForces):
        return Dynamics(atoms, field, settings, drive=drive)
    if drive is not None:
        raise ConfigError("LAMMPS knows no extra force at every step; set engine=own")
    return LammpsDynamics(atoms, field, settings)


class LammpsDynamics(Dynamics):
    """A simulation in LAMMPS, with the methods and attributes of `Dynamics`.

    Parameters
    ----------
    atoms : ase.Atoms
    field : LammpsForces
    settings : DynamicsSettings

    Notes
    -----
    What stands for the equations of motion of `Dynamics` (all with velocity Verlet, ``fix nve``):

    ==================  =============================================================================================
    nve                 the same, step by step to rounding
    bussi               ``fix temp/csvr``: the same (Bussi, Donadio, Parrinello 2007), other random numbers
    langevin            ``fix langevin`` and ``fix momentum``: friction and noise as forces in place of BAOAB, the same
                        ensemble to second order in the time step
    npt, isotropic      ``fix nph iso`` with the thermostat: a piston (Martyna, Tobias, Klein 1994; Parrinello and Rahman)
                        in place of stochastic cell rescaling; `compressibility` has no effect
    npt, anisotropic    ``fix nph aniso``; in a cell that is not rectangular as triclinic
    npt, triclinic      ``fix nph tri``, without flips of the cell
    ==================  =============================================================================================

    Each stretch begins with the piston at rest.
    """

    engine = "lammps"
    stride = 20

    def __init__(self, atoms: Atoms, field: LammpsForces, settings: DynamicsSettings) -> None:
        super().__init__(atoms, field, settings)
        self._field = field
        self._system = LammpsSystem.of(self.atoms())

    def _go_on(self, run: Run) -> None:
        if run.atomic:
            raise ConfigError("LAMMPS is not asked for atomic energies and virials here; set engine=own")
        with tempfile.TemporaryDirectory(prefix="forgefield-lammps-") as scratch:
            folder = Path(scratch)
            libraries = self._field.write(folder)
            while self.state.step < run.first + run.steps:
                steps = self._ahead(run)
                problem = self._stretch(folder, libraries, steps, run)
                if problem:
                    raise self._broken(problem, run)
                if run.checkpoint is not None:
                    self._save(run.checkpoint, run.first)

    def _ahead(self, run: Run) -> int:
        """Return the steps of the next stretch: whole samples, or what is left after the last of them."""
        left = run.first + run.steps - self.state.step
        samples = max(1, MOST_BYTES // (BYTES_PER_ATOM * len(self.state.numbers)))
        if run.checkpoint is not None:
            samples = min(samples, max(1, round(run.checkpoint_every / run.every)))
        return min(left // run.every, samples) * run.every or left

    def _stretch(self, folder: Path, libraries: list[str], steps: int, run: Run) -> str:
        """Let LAMMPS take so many steps; return what went wrong, if anything."""
        every, start = min(run.every, steps), self.state.step
        write_text(folder / "structure.data", self._system.data(self.atoms()))
        write_text(folder / "in.run", "\n".join(self._script(libraries, steps, every)) + "\n")
        for name in ("log.run", "frames.bin"):
            (folder / name).unlink(missing_ok=True)
        output = LammpsOutput(folder / "log.run", folder / "frames.bin", len(THERMO))
        with started("in.run", folder, self._field.processes, log="log.run") as process:
            over = False
            while not over:
                over = process.poll() is not None
                try:
                    for frame in output.frames():
                        problem = self._take(frame, start)
                        if problem:
                            return problem
                        if frame.step and every == run.every:
                            self._sample(run)
                except EngineError as error:
                    return str(error)
                if not over:
                    time.sleep(PAUSE)
        done = ended(process, folder)
        if done.returncode != 0 or self.state.step != start + steps:
            return f"LAMMPS says: {last_words(done)}"
        return ""

    def _take(self, frame: Frame, start: int) -> str:
        """Make a frame the state of this moment; return what is wrong with it, if anything."""
        s, turn = self.state, self._system.turn
        energy, *pressure = frame.thermo
        vectors = frame.atoms[:, :9].reshape(-1, 3, 3) @ turn
        if frame.step:  # the first is what LAMMPS was given
            s.positions, s.velocities = vectors[:, 0].copy(), vectors[:, 1] / PER_PS
            s.step = start + frame.step
            if self.settings.ensemble == "npt":
                s.cell = self._system.cell(frame.cell)
        virial = self._system.pressure(pressure) * s.volume
        self._forces = Forces(energy, vectors[:, 2].copy(), virial)
        self._pushed = self._forces.forces
        return self._problem()

    # ---- what LAMMPS is told ---------------------------------------------------------------------------------------

    def _script(self, libraries: list[str], steps: int, every: int) -> list[str]:
        """Return the input of a stretch."""
        return [
            "units metal",
            "atom_style atomic",
            "atom_modify map array",
            "box tilt large",
            "read_data structure.data",
            *pair_commands(libraries, self._system.elements),
            f"timestep {self.settings.timestep / 1000.0!r}",
            "compute warmth all temp",
            f"compute_modify warmth dynamic/dof no extra/dof {3 if self.fixed else 0}",
            *self._fixes(),
            "compute virial all pressure NULL virial",
            f"thermo_style custom {' '.join(THERMO)}",
            "thermo_modify format float %.17g norm no flush yes",
            f"thermo {every}",
            f"dump frames all custom {every} frames.bin id xu yu zu vx vy vz fx fy fz",
            "dump_modify frames sort id flush yes",
            f"run {steps}",
        ]

    def _fixes(self) -> list[str]:
        settings = self.settings
        if settings.ensemble == "nve":
            return ["fix move all nve"]
        move = "nve"
        if settings.ensemble == "npt":
            pressure = settings.pressure / EV_PER_A3_TO_GPA * BAR_PER_EV_A3
            move = f"nph {self._barostat()} {pressure!r} {pressure!r} {settings.barostat_time / 1000.0!r} flip no"
        temperature = lammps_temperature(settings.temperature)
        seed = (
            int(np.random.SeedSequence((settings.seed, self.state.step)).generate_state(1)[0]) % 899_999_999
            + 1
        )
        both = f"{temperature!r} {temperature!r}"
        if settings.thermostat == "bussi":
            bath = [
                f"fix bath all temp/csvr {both} {settings.thermostat_time / 1000.0!r} {seed}",
                "fix_modify bath temp warmth",
            ]
        else:
            bath = [f"fix bath all langevin {both} {1.0 / settings.friction / 1000.0!r} {seed}"]
            bath += ["fix rest all momentum 1 linear 1 1 1"] if self.fixed else []
        return [f"fix move all {move}", *bath]

    def _barostat(self) -> str:
        if self.settings.barostat == "isotropic":
            return "iso"
        lower = self._system.lower(self.state.cell)
        tilted = np.abs(lower - np.diag(np.diag(lower))).max() > 1e-9
        return "tri" if tilted or self.settings.barostat == "triclinic" else "aniso"
