"""Molecular dynamics with ASE: three ensembles, a log, a trajectory, and a stop when the physics breaks down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from pydantic import Field, model_validator

from forgefield.config import Schema
from forgefield.deployment.md_record import Recorder, broken, degrees_of_freedom
from forgefield.errors import ConfigError, PredictionError, SimulationError, StructureError
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["MDSettings", "MDSummary", "run_md"]


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


def run_md(
    atoms: Atoms,
    calculator: Any = None,
    settings: MDSettings | None = None,
    *,
    trajectory: str | Path | None = None,
    log: str | Path | None = None,
    on_row: Callable[[Mapping[str, Any]], None] | None = None,
    **parameters: Any,
) -> MDSummary:
    """Simulate; the structure is changed in place and ends as the last state.

    Parameters
    ----------
    atoms : ase.Atoms
        Start. Without constraints of its own its centre of mass is kept at rest.
    calculator : ASE calculator, optional
        Default: the one attached to `atoms`.
    settings : MDSettings, optional
        Alternatively give them by name: ``run_md(atoms, calc, ensemble="nve", steps=100)``.
    trajectory : path, optional
        ``*.traj`` or extended XYZ (anything else); with energies, forces, stress and momenta.
    log : path, optional
        CSV, one row every `log_interval` steps; columns in `md_record.COLUMNS`.
    on_row : callable, optional
        Is told every row, when it is written.

    Returns
    -------
    MDSummary

    Raises
    ------
    SimulationError
        Atoms overlap, the temperature runs away or anything is not finite. The message names the atoms; log and
        trajectory keep everything up to there.
    ConfigError
        A setting is unknown or does not go with the structure.

    Notes
    -----
    nve: velocity Verlet. nvt: Langevin (Vanden-Eijnden and Ciccotti, Chem. Phys. Lett. 429 (2006) 310) or stochastic
    velocity rescaling (Bussi et al., J. Chem. Phys. 126 (2007) 014101). npt: Martyna, Tobias and Klein, J. Chem.
    Phys. 101 (1994) 4177, with Nosé-Hoover chains. The integrators are ASE's.
    """
    if settings is not None and parameters:
        raise ConfigError(f"give either `settings` or parameters by name, not both: {sorted(parameters)}")
    settings = settings or MDSettings.parse(parameters, where="md")
    _check(atoms, settings)
    if calculator is not None:
        atoms.calc = calculator
    if atoms.calc is None:
        raise ConfigError("the structure has no calculator; pass one, e.g. potential.calculator()")
    rng = np.random.default_rng(settings.seed)
    with _centre_at_rest(atoms, settings):
        _velocities(atoms, settings, rng)
        recorder = Recorder(atoms, trajectory, log, on_row)
        with recorder:
            start = time.perf_counter()
            _integrate(atoms, settings, rng, recorder)
            seconds = time.perf_counter() - start
    return _summary(settings, recorder, seconds)


def _check(atoms: Atoms, settings: MDSettings) -> None:
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
def _centre_at_rest(atoms: Atoms, settings: MDSettings) -> Iterator[None]:
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


def _velocities(atoms: Atoms, settings: MDSettings, rng: np.random.Generator) -> None:
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


def _integrator(atoms: Atoms, settings: MDSettings, rng: np.random.Generator) -> Any:
    step = settings.timestep * units.fs
    if settings.ensemble == "nve":
        return VelocityVerlet(atoms, step)
    temperature = float(settings.temperature or 0.0)
    if settings.ensemble == "nvt":
        if settings.thermostat == "bussi":
            return Bussi(atoms, step, temperature, settings.thermostat_time * units.fs, rng=rng)
        friction = settings.friction / units.fs
        return Langevin(atoms, step, temperature_K=temperature, friction=friction, rng=rng, fixcm=False)
    try:
        from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT
    except ImportError:
        raise ConfigError("ensemble 'npt' needs a newer ASE: pip install -U 'ase>=3.26'") from None
    kind = IsotropicMTKNPT if settings.barostat == "isotropic" else MTKNPT
    return kind(
        atoms,
        step,
        # It counts 3N degrees of freedom; with the centre at rest there are 3 fewer.
        temperature_K=temperature * degrees_of_freedom(atoms) / (3 * len(atoms)),
        pressure_au=settings.pressure / EV_PER_A3_TO_GPA,
        tdamp=settings.thermostat_time * units.fs,
        pdamp=settings.barostat_time * units.fs,
    )


def _conserved(atoms: Atoms, settings: MDSettings, dynamics: Any) -> Callable[[], float] | None:
    """Return what the dynamics conserve, as a function of the moment; Langevin dynamics conserve nothing."""
    if settings.ensemble == "nve":
        return lambda: float(atoms.get_total_energy())
    if settings.ensemble == "npt":
        if "free_energy" not in atoms.calc.implemented_properties:  # ASE's integrator asks for it
            return None
        return lambda: float(dynamics.get_conserved_energy())
    if settings.thermostat == "bussi":
        return lambda: float(atoms.get_total_energy() - dynamics.transferred_energy)
    return None


def _integrate(atoms: Atoms, settings: MDSettings, rng: np.random.Generator, recorder: Recorder) -> None:
    limit = settings.temperature_limit or max(10.0 * (settings.temperature or 0.0), 1e4)
    dynamics = _integrator(atoms, settings, rng)
    conserved = _conserved(atoms, settings, dynamics)
    step = -1
    try:
        for step, _ in enumerate(dynamics.irun(settings.steps)):
            problem = broken(atoms, limit)
            due = step % settings.log_interval == 0 or step == settings.steps
            if due and not problem:
                recorder.row(step, step * settings.timestep, conserved)
                problem = broken(atoms, limit, settings.closest_fraction)
            if problem:
                raise _stopped(step, settings, problem, recorder)
    except (StructureError, PredictionError) as error:
        raise _stopped(step + 1, settings, str(error), recorder) from error


def _stopped(step: int, settings: MDSettings, problem: str, recorder: Recorder) -> SimulationError:
    recorder.last_frame()
    kept = [f"{recorder.n_frames} frames in {recorder.trajectory}"] if recorder.trajectory else []
    kept += [f"{len(recorder.rows)} rows in {recorder.log}"] if recorder.log else []
    return SimulationError(
        f"the simulation broke down at step {step} ({step * settings.timestep / 1000:.3f} ps): {problem}. "
        f"Kept: {', '.join(kept) or 'nothing was asked for'}. Check the starting structure, try a shorter `timestep` "
        f"(now {settings.timestep} fs), or train the potential with structures like the last frame"
    )


def _summary(settings: MDSettings, recorder: Recorder, seconds: float) -> MDSummary:
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
