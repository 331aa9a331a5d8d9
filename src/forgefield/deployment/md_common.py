"""What simulations share, whoever integrates: settings, start and summary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from pydantic import Field, model_validator

from forgefield.config import Schema
from forgefield.deployment.md_record import Recorder, degrees_of_freedom
from forgefield.errors import ConfigError, SimulationError, StructureError

__all__ = [
    "MDSettings",
    "MDSummary",
    "broken_down",
    "centre_at_rest",
    "check_start",
    "draw_velocities",
    "highest_temperature",
    "summarise",
]


class MDSettings(Schema):
    """Settings of one simulation."""

    ensemble: Literal["nve", "nvt", "npt"] = Field(
        "nvt", description="what is kept: energy; volume; pressure"
    )
    steps: int = Field(1000, ge=1, description="time steps")
    timestep: float = Field(1.0, gt=0, le=100, description="[fs]")
    temperature: float | None = Field(
        300.0, gt=0, description="of thermostat and first velocities [K]; null in nve keeps the velocities"
    )
    pressure: float = Field(0.0, description="npt: external pressure [GPa]")
    thermostat: Literal["langevin", "bussi"] = Field(
        "langevin",
        description="nvt: a bath for every atom, or one velocity rescaling that keeps the dynamics",
    )
    friction: float = Field(0.01, gt=0, description="langevin: friction [1/fs]")
    thermostat_time: float = Field(
        100.0, gt=0, description="bussi, npt: relaxation time of the temperature [fs]"
    )
    barostat: Literal["isotropic", "full"] = Field(
        "isotropic", description="npt: cell keeps its shape, or not"
    )
    barostat_time: float = Field(1000.0, gt=0, description="npt: relaxation time of the pressure [fs]")
    log_interval: int = Field(10, ge=1, description="steps between rows of the log and frames")
    seed: int = Field(0, ge=0, description="of the first velocities and the thermostat")
    draw_velocities: bool | None = Field(
        None, description="draw the first velocities; null: only where the structure has none"
    )
    temperature_limit: float | None = Field(
        None, gt=0, description="stop above this [K]; null: the larger of 10 x temperature and 10000 K"
    )
    closest_fraction: float = Field(
        0.4,
        ge=0,
        lt=1,
        description="stop when two atoms are nearer than this part of their covalent distance",
    )

    spread_limit: float | None = Field(
        None,
        gt=0,
        description="committees: stop when the members disagree on the force on an atom by more [eV/Å]",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ensemble != "nve" and self.temperature is None:
            raise ValueError(f"`temperature` [K] is needed for ensemble {self.ensemble!r}")
        return self


@dataclass(frozen=True)
class MDSummary:
    """What a simulation gave; means leave out the first fifth.

    Attributes
    ----------
    n_atoms, n_steps : int
    time : float [ps]
    temperature, temperature_std : float [K]
        Mean and spread of the instantaneous temperature.
    pressure : float [GPa] or None
        Mean, kinetic part included; None without a three-periodic cell.
    volume : float [Å^3] or None
    energy_drift : float [eV/atom/ps] or None
        Slope of the conserved quantity; None for Langevin dynamics, which has none.
    atom_steps_per_second : float
    seconds : float
    trajectory, log : Path or None
    """

    n_atoms: int
    n_steps: int
    time: float
    temperature: float
    temperature_std: float
    pressure: float | None
    volume: float | None
    energy_drift: float | None
    atom_steps_per_second: float
    seconds: float
    trajectory: Path | None
    log: Path | None


def check_start(atoms: Atoms, settings: MDSettings) -> None:
    """Check that a structure can be simulated.

    Raises
    ------
    StructureError
        It has no atoms.
    ConfigError
        The ensemble does not go with it.
    """
    if len(atoms) == 0:
        raise StructureError("the structure has no atoms; nothing to simulate")
    if settings.ensemble == "npt":
        if not atoms.pbc.all():
            raise ConfigError(
                f"ensemble 'npt' needs pbc in three directions, got {atoms.pbc.tolist()}; use 'nvt'"
            )
        if atoms.constraints:
            raise ConfigError("ensemble 'npt' does not go with constraints; remove them or use 'nvt'")
        if len(atoms) == 1:
            raise ConfigError("ensemble 'npt' needs at least two atoms; repeat the cell")


class _RestingCentre(FixCom):  # type: ignore[misc]
    """ASE's constraint, with the sum over many atoms that Python would do done by NumPy."""

    def adjust_forces(self, atoms: Atoms, forces: np.ndarray) -> None:
        """Take away the force on the centre, weighted by mass: doi 10.1021/jp9722824, eqs. 3 and 7."""
        masses = atoms.get_masses()
        forces -= np.outer(masses, masses @ forces / (masses @ masses))


@contextmanager
def centre_at_rest(atoms: Atoms, settings: MDSettings) -> Iterator[None]:
    """Fix the centre of mass where nothing else is fixed: its motion is not heat.

    ASE's barostats take no constraint; for npt the momenta alone are enough, as they conserve a zero total.
    """
    own = atoms.constraints
    free = not own and len(atoms) > 1
    if free and settings.ensemble != "npt":
        atoms.set_constraint(_RestingCentre())
    try:
        if free and atoms.has("momenta"):
            _remove_drift(atoms)
        yield
    finally:
        atoms.set_constraint(own)


def _remove_drift(atoms: Atoms) -> None:
    masses, momenta = atoms.get_masses(), atoms.get_momenta()
    atoms.set_momenta(momenta - masses[:, None] * (momenta.sum(axis=0) / masses.sum()))


def draw_velocities(atoms: Atoms, settings: MDSettings, rng: np.random.Generator) -> None:
    """Draw Maxwell-Boltzmann velocities of exactly the temperature, unless the structure has its own."""
    has = bool(np.any(atoms.get_momenta()))
    draw = not has if settings.draw_velocities is None else settings.draw_velocities
    if not draw:
        if not has and settings.ensemble == "nvt" and settings.thermostat == "bussi":
            raise ConfigError(
                "thermostat 'bussi' scales velocities and the structure has none; leave `draw_velocities` unset"
            )
        return
    if settings.temperature is None:
        raise ConfigError("the structure has no velocities; set `temperature` [K] to draw them")
    width = np.sqrt(atoms.get_masses() * units.kB * settings.temperature)
    atoms.set_momenta(rng.standard_normal((len(atoms), 3)) * width[:, None])
    if settings.ensemble == "npt":
        _remove_drift(atoms)
    kinetic = 0.5 * degrees_of_freedom(atoms) * units.kB * settings.temperature
    if atoms.get_kinetic_energy() > 0:
        atoms.set_momenta(atoms.get_momenta() * np.sqrt(kinetic / atoms.get_kinetic_energy()))


def highest_temperature(settings: MDSettings) -> float:
    """Return the temperature [K] above which a simulation stops."""
    return settings.temperature_limit or max(10.0 * (settings.temperature or 0.0), 1e4)


def broken_down(
    step: int, settings: MDSettings, problem: str, recorder: Recorder, where: str = "at"
) -> SimulationError:
    """Keep the last frame and return the error that ends a simulation.

    Parameters
    ----------
    step : int
        Where it broke.
    settings : MDSettings
    problem : str
        What is wrong.
    recorder : Recorder
    where : {'at', 'after'}
        After, where the state is looked at only now and then.
    """
    recorder.last_frame()
    kept = [f"{recorder.n_frames} frames in {recorder.trajectory}"] if recorder.trajectory else []
    kept += [f"{len(recorder.rows)} rows in {recorder.log}"] if recorder.log else []
    return SimulationError(
        f"the simulation broke down {where} step {step} ({step * settings.timestep / 1000:.3f} ps): {problem}. "
        f"Kept: {', '.join(kept) or 'nothing was asked for'}. Check the starting structure, try a shorter `timestep` "
        f"(now {settings.timestep} fs), or train the potential with structures like the last frame"
    )


def summarise(settings: MDSettings, recorder: Recorder, seconds: float) -> MDSummary:
    """Return what a simulation gave, from the rows of its log and the wall time [s]."""
    rows = recorder.rows[len(recorder.rows) // 5 :]
    n_atoms = len(recorder.atoms)

    def column(name: str) -> np.ndarray:
        return np.array([np.nan if row[name] == "" else row[name] for row in rows], dtype=np.float64)

    def mean(name: str) -> float | None:
        values = column(name)
        return None if np.isnan(values).any() else float(values.mean())

    drift = None
    if len(rows) > 1 and not np.isnan(column("conserved_eV")).any():
        slope = np.polynomial.Polynomial.fit(column("time_fs") / 1000.0, column("conserved_eV"), 1).convert()
        drift = float(slope.coef[1]) / n_atoms if len(slope.coef) > 1 else 0.0
    temperatures = column("temperature_K")
    return MDSummary(
        n_atoms=n_atoms,
        n_steps=settings.steps,
        time=settings.steps * settings.timestep / 1000.0,
        temperature=float(temperatures.mean()),
        temperature_std=float(temperatures.std()),
        pressure=mean("pressure_GPa"),
        volume=mean("volume_A3"),
        energy_drift=drift,
        atom_steps_per_second=n_atoms * settings.steps / max(seconds, 1e-9),
        seconds=seconds,
        trajectory=recorder.trajectory,
        log=recorder.log,
    )
