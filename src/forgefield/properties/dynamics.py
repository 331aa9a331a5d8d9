"""Molecular dynamics for properties: little overhead, ensembles that are tested by their distributions, exact restarts.

`deployment/md.py` runs simulations for users through ASE's integrators; this is the loop under the properties that need
many steps: no ASE object is touched between two steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import ArrayLike, NDArray

from forgefield.errors import CheckpointError, ConfigError, PredictionError, SimulationError, StructureError
from forgefield.properties.base import Progress, silent
from forgefield.properties.dynamics_file import read_state, write_state, write_structure
from forgefield.properties.dynamics_forces import ForceField, Forces
from forgefield.properties.dynamics_state import DynamicsSettings, State, check_start, symbol_of
from forgefield.properties.dynamics_steps import (
    bussi_factor,
    deformation,
    draw_velocities,
    langevin_kick,
    rescaled_length,
    without_drift,
)
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["Drive", "Dynamics", "DynamicsSettings", "Observable", "Records", "Run", "State"]

FloatArray = NDArray[np.float64]


Observable = Callable[[State, Forces], ArrayLike]
"""What is recorded at a moment; the arrays it is given change later, so it copies what it keeps."""

Drive = Callable[[State, Forces], FloatArray]
"""An extra force (n_atoms, 3) [eV/Å] at a moment; it does not enter the energy."""

Records = dict[str, FloatArray]
"""One row per sample: ``step``, ``temperature`` [K], ``potential`` [eV], ``kinetic`` [eV], ``volume`` [Å^3],
``pressure`` (n, 3, 3) [eV/Å^3] with its kinetic part (where there is a virial), and what was observed. At constant volume
the pressure of a cell whose centre of mass rests has the kT/V that this takes away, so that it is N kT/V for an ideal gas;
at constant pressure not: volumes then are those of ``V^(N-1) exp(-(U + P V) / kT)``, and the mean is the pressure outside."""


@dataclass(frozen=True)
class Run:
    """What `Dynamics.run` was asked for; `first` is the step it began with."""

    first: int
    steps: int
    every: int
    observe: Mapping[str, Observable]
    atomic: bool
    checkpoint: Path | None
    checkpoint_every: int
    keep: Path | None
    progress: Progress


class Dynamics:
    """A simulation.

    Parameters
    ----------
    atoms : ase.Atoms
        Start; not changed. Its velocities are used if it has some, else they are drawn.
    force_field : ForceField
    settings : DynamicsSettings
    drive : callable, optional
        Extra force at every step; the force field is then asked for atomic energies and virials at every step.

    Attributes
    ----------
    state : State
    records : Records of the run in progress or done, also after an error.
    freedom : int
        Degrees of freedom that carry heat.

    Raises
    ------
    StructureError, ConfigError
        No atoms, or an ensemble that does not go with the structure.
    """

    engine = "own"
    stride = 1
    """Steps between samples of the cell that cost little beside the steps themselves."""

    def __init__(
        self,
        atoms: Atoms,
        force_field: ForceField,
        settings: DynamicsSettings,
        *,
        drive: Drive | None = None,
    ) -> None:
        check_start(atoms, settings)
        self.settings, self.force_field, self.drive = settings, force_field, drive
        self.pbc = atoms.pbc.copy()
        self.rng = np.random.default_rng(settings.seed)
        masses = atoms.get_masses().astype(np.float64)
        self.fixed = settings.fix_centre and len(atoms) > 1
        self.freedom = 3 * len(atoms) - (3 if self.fixed else 0)
        velocities = np.array(atoms.get_velocities(), dtype=np.float64)
        if not velocities.any() and settings.temperature > 0:
            velocities = draw_velocities(masses, settings.temperature, self.rng, fix_centre=self.fixed)
        elif self.fixed:
            velocities = without_drift(velocities, masses)
        self.state = State(
            np.array(atoms.positions, dtype=np.float64),
            velocities,
            np.array(atoms.cell.array, dtype=np.float64),
            masses,
            atoms.numbers.astype(np.int64),
        )
        self._rows: dict[str, list[FloatArray]] = {}
        self._identity: dict[str, Any] = {}
        self._forces: Forces | None = None
        self._pushed: FloatArray | None = None
        self._limit = settings.temperature_limit or max(10.0 * settings.temperature, 1e4)

    @property
    def records(self) -> Records:
        """What has been recorded so far."""
        return {name: np.asarray(rows, dtype=np.float64) for name, rows in self._rows.items()}

    @property
    def temperature(self) -> float:
        """Of this moment [K]."""
        return float(2.0 * self.state.kinetic / (max(self.freedom, 1) * units.kB))

    def atoms(self) -> Atoms:
        """Return the state as a structure with velocities."""
        s = self.state
        atoms = Atoms(numbers=s.numbers, positions=s.positions, cell=s.cell, pbc=self.pbc)
        atoms.set_masses(s.masses)
        atoms.set_velocities(s.velocities)
        return atoms

    def run(
        self,
        steps: int,
        *,
        every: int = 10,
        observe: Mapping[str, Observable] | None = None,
        atomic: bool = False,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 10_000,
        keep: Path | None = None,
        label: str = "",
        progress: Progress = silent,
    ) -> Records:
        """Run so many steps and return what was recorded at every `every`-th of them.

        Parameters
        ----------
        steps : int
        every : int
            Steps between samples.
        observe : mapping of callables, optional
            Recorded beside what is always recorded.
        atomic : bool
            The observables need atomic energies and virials.
        checkpoint : path, optional
            Written every `checkpoint_every` steps and at the end. If it exists, the run goes on from there and ends
            as it would have without a break, to the last bit (same machine, same number of threads).
        keep : Path, optional
            Where state, records and the structure go if the simulation breaks down, as ``KEEP.broken`` and
            ``KEEP.broken.xyz``; default: the checkpoint.
        label : str
            Whatever else makes this run what it is (a driving force); a checkpoint of another label is refused.
        progress : callable

        Raises
        ------
        SimulationError
            Atoms overlap, the temperature runs away or numbers are not finite: names the atoms. `records` keeps what
            was there, and the files of `keep` too.
        CheckpointError
            The checkpoint is damaged or belongs to another simulation or potential.
        """
        if steps < 1 or every < 1 or checkpoint_every < 1:
            raise ConfigError(
                f"`steps`, `every` and `checkpoint_every` must be >= 1, got {steps}, {every}, {checkpoint_every}"
            )
        self._rows = {}
        first = self.state.step
        self._identity = self.settings.model_dump() | {"every": every, "label": label, "engine": self.engine}
        self.force_field.reset()
        path = None if checkpoint is None else Path(checkpoint)
        if path is not None and path.exists():
            first = self._restore(path)
        kept = path if keep is None else keep
        self._go_on(Run(first, steps, every, observe or {}, atomic, path, checkpoint_every, kept, progress))
        return self.records

    def _go_on(self, run: Run) -> None:
        """Take the steps that are left."""
        while self.state.step < run.first + run.steps:
            done = self.state.step - run.first + 1
            sample = done % run.every == 0
            try:
                self._step(sample=sample, atomic=run.atomic or self.drive is not None)
                problem = self._problem()
            except (StructureError, PredictionError) as error:
                problem = str(error)
            if problem:
                raise self._broken(problem, run)
            if sample:
                self._sample(run)
            if run.checkpoint is not None and (done % run.checkpoint_every == 0 or done == run.steps):
                self._save(run.checkpoint, run.first)
                self.force_field.reset()

    def _sample(self, run: Run) -> None:
        """Record this moment and say how far it is."""
        self._record(run.observe)
        done = self.state.step - run.first
        run.progress(done / run.steps, f"step {done} of {run.steps}, {self.temperature:.0f} K")

    # ---- one step ----------------------------------------------------------------------------------------------

    def _step(self, *, sample: bool, atomic: bool) -> None:
        s, settings = self.state, self.settings
        step = settings.timestep * units.fs
        if self._forces is None or self._pushed is None:
            self._evaluate(virial=True, atomic=self.drive is not None)
        s.velocities += 0.5 * step * self._acceleration()
        s.positions += 0.5 * step * s.velocities
        if settings.ensemble != "nve" and settings.thermostat == "langevin":
            self._bath(step)
        s.positions += 0.5 * step * s.velocities
        if settings.ensemble == "npt":
            self._rescale(step)
        s.step += 1
        needs_atomic = self.drive is not None or (atomic and sample)
        self._evaluate(virial=sample or settings.ensemble == "npt", atomic=needs_atomic)
        s.velocities += 0.5 * step * self._acceleration()
        if settings.ensemble != "nve" and settings.thermostat == "bussi":
            decay = math.exp(-settings.timestep / settings.thermostat_time)
            thermal = units.kB * settings.temperature
            s.velocities *= bussi_factor(s.kinetic, self.freedom, thermal, decay, self.rng)

    def _acceleration(self) -> FloatArray:
        if self._pushed is None:
            raise SimulationError("no forces yet")
        acceleration: FloatArray = self._pushed / self.state.masses[:, None]
        return acceleration

    def _evaluate(self, *, virial: bool, atomic: bool) -> None:
        s = self.state
        with_virial = virial and bool(self.pbc.all())
        self._forces = self.force_field.evaluate(s.positions, s.cell, virial=with_virial, atomic=atomic)
        self._pushed = self._forces.forces
        if self.drive is not None:
            self._pushed = self._pushed + self.drive(s, self._forces)

    def _bath(self, step: float) -> None:
        s, settings = self.state, self.settings
        decay = math.exp(-settings.friction / units.fs * step)
        s.velocities = langevin_kick(s.velocities, s.masses, decay, units.kB * settings.temperature, self.rng)
        if self.fixed:
            s.velocities = without_drift(s.velocities, s.masses)

    def _rescale(self, step: float) -> None:
        s, settings = self.state, self.settings
        virial = None if self._forces is None else self._forces.virial
        if virial is None:
            raise ConfigError("ensemble 'npt' needs a force field with a virial (stress)")
        volume, thermal = s.volume, units.kB * settings.temperature
        rate = settings.compressibility * EV_PER_A3_TO_GPA * step / (settings.barostat_time * units.fs)
        external = settings.pressure / EV_PER_A3_TO_GPA
        if settings.barostat == "isotropic":
            internal = (2.0 * s.kinetic + float(np.trace(virial))) / (3.0 * volume)
            factor = rescaled_length(volume, internal - external, thermal, rate, self.rng)
            self._check_pace(factor)
            s.positions *= factor
            s.cell = s.cell * factor
            s.velocities = s.velocities / factor
            return
        excess = (s.kinetic_tensor + virial) / volume - external * np.eye(3)
        turn = deformation(s.cell, excess, thermal, rate, self.rng, angles=settings.barostat == "triclinic")
        self._check_pace(float(np.linalg.det(turn)) ** (1.0 / 3.0))
        s.positions = s.positions @ turn
        s.cell = s.cell @ turn
        s.velocities = (
            s.velocities @ np.linalg.inv(turn).T
        )  # momenta go with the inverse: the map is canonical

    def _check_pace(self, factor: float) -> None:
        if not 0.8 < factor < 1.25:
            raise StructureError(
                f"the barostat wanted to scale the cell by {factor:.3g} in one step; use a longer `barostat_time` (now "
                f"{self.settings.barostat_time} fs) or a smaller `compressibility` (now "
                f"{self.settings.compressibility} /GPa)"
            )

    # ---- records, files, trouble -----------------------------------------------------------------------------------

    def _record(self, observe: Mapping[str, Observable]) -> None:
        s, forces = self.state, self._forces
        if forces is None:
            return
        row: dict[str, ArrayLike] = {
            "step": s.step,
            "temperature": self.temperature,
            "potential": forces.energy,
            "kinetic": s.kinetic,
            "volume": s.volume,
        }
        if forces.virial is not None:
            row["pressure"] = self._pressure(forces.virial)
        row |= {name: of(s, forces) for name, of in observe.items()}
        for name, value in row.items():
            self._rows.setdefault(name, []).append(np.array(value, dtype=np.float64))

    def _pressure(self, virial: FloatArray) -> FloatArray:
        """Return ``-dF/dV`` of this moment: with kT/V for a centre at rest, which `npt` has in its volumes instead."""
        tensor = self.state.kinetic_tensor + virial
        if self.fixed and self.settings.ensemble != "npt":
            tensor = tensor + units.kB * self.temperature * np.eye(3)
        return tensor / self.state.volume

    def _save(self, path: Path, first: int) -> None:
        s, forces = self.state, self._forces
        if forces is None or self._pushed is None:
            return
        arrays = {
            "positions": s.positions,
            "velocities": s.velocities,
            "cell": s.cell,
            "forces": forces.forces,
            "pushed": self._pushed,
            "numbers": s.numbers,
            "masses": s.masses,
        }
        if forces.virial is not None:
            arrays["virial"] = forces.virial
        values = {
            "step": s.step,
            "first": first,
            "energy": forces.energy,
            "rng": self.rng.bit_generator.state,
        }
        write_state(path, arrays, self.records, values, self._identity)

    def _restore(self, path: Path) -> int:
        """Continue from a file; return the step its run began with."""
        s = self.state
        arrays, records, values = read_state(path, self._identity, s.numbers, s.masses)
        s.positions, s.velocities, s.cell = (arrays[k] for k in ("positions", "velocities", "cell"))
        s.step = int(values["step"])
        self._forces = Forces(float(values["energy"]), arrays["forces"], arrays.get("virial"))
        self._pushed = arrays["pushed"]
        self.rng.bit_generator.state = values["rng"]
        self._rows = {name: list(rows) for name, rows in records.items()}
        again = self.force_field.evaluate(s.positions, s.cell).energy
        self.force_field.reset()
        if not abs(again - self._forces.energy) <= 1e-3 + 1e-5 * abs(again):
            raise CheckpointError(
                f"{path} belongs to another potential: its last energy is {self._forces.energy:.6f} eV, here it is "
                f"{again:.6f} eV; delete it or choose another folder"
            )
        return int(values["first"])

    def _problem(self) -> str:
        now = self.temperature
        if self._forces is None or not (np.isfinite(now) and np.isfinite(self._forces.energy)):
            return "energies or velocities are not finite"
        if now > self._limit:
            return f"the temperature is {now:.0f} K (limit {self._limit:.0f} K)"
        return ""

    def _broken(self, problem: str, run: Run) -> SimulationError:
        s = self.state
        speed = np.nan_to_num((s.velocities**2).sum(axis=1), nan=np.inf)
        worst = np.argsort(speed)[::-1][:3]
        named = ", ".join(f"{symbol_of(s.numbers[i])} {i}" for i in worst)
        kept = ""
        if run.keep is not None and self._forces is not None:
            broken = run.keep.with_name(run.keep.name + ".broken")
            self._save(broken, run.first)
            kept = f" State and records up to there are in {broken.name}"
            if write_structure(broken.with_name(broken.name + ".xyz"), self.atoms()):
                kept += f", the structure in {broken.name}.xyz"
            if run.checkpoint is not None and run.checkpoint.exists():
                kept += f", the last good ones in {run.checkpoint.name}"
            kept += "."
        return SimulationError(
            f"the simulation broke down at step {s.step} ({s.step * self.settings.timestep / 1000:.3f} ps): {problem}. "
            f"Fastest atoms: {named}.{kept} Check the starting structure, try a shorter `timestep` (now "
            f"{self.settings.timestep} fs), or train the potential with structures like the last one"
        )
