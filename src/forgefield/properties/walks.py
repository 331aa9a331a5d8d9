"""What properties made of many runs in a row share: settings of the bath, journal and walker, numbers with errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ase import Atoms
from pydantic import Field

from forgefield.config import Schema
from forgefield.properties.barostat import BAROSTAT, BarostatChoice
from forgefield.properties.base import Progress, Quantity, silent
from forgefield.properties.dynamics import DynamicsSettings
from forgefield.properties.dynamics_forces import ForceField
from forgefield.properties.free_energy_estimators import Measured
from forgefield.properties.free_energy_sampling import Walker
from forgefield.properties.journal import Journal, fingerprint
from forgefield.properties.md_engine import ENGINE, EngineChoice, choose_engine, engine_of

__all__ = [
    "BathSettings",
    "EngineSettings",
    "begin_walk",
    "missed_goal",
    "open_journal",
    "quantity",
    "walk_forces",
]


class BathSettings(Schema):
    """Equations of motion that all stages of a property share."""

    timestep: float = Field(1.0, gt=0, le=100, description="[fs]")
    friction: float = Field(0.01, gt=0, description="of the Langevin bath [1/fs]")
    compressibility: float = Field(0.01, gt=0, description="rough, sets the pace of the barostat [1/GPa]")
    barostat: BarostatChoice = Field("auto", description=BAROSTAT)
    seed: int = Field(0, ge=0, description="of velocities, bath and barostat")

    def equations(self, **changes: Any) -> DynamicsSettings:
        """Return the equations of motion; `changes` say ensemble, temperature, pressure, barostat."""
        common = {
            "timestep": self.timestep,
            "friction": self.friction,
            "compressibility": self.compressibility,
            "seed": self.seed,
        }
        return DynamicsSettings.parse(common | changes, where="dynamics")


class EngineSettings(BathSettings):
    """The same where every stage is a simulation of the potential alone."""

    engine: EngineChoice = Field("auto", description=ENGINE)
    processes: int = Field(1, ge=1, description="of LAMMPS, by MPI")


def open_journal(folder: Path | None, name: str, atoms: Atoms, settings: Schema) -> Journal:
    """Return the journal of a computation, in `folder` or in memory.

    The error asked for has no part in what is run; which engine runs it the journal knows itself.

    Raises
    ------
    CheckpointError
        The one on disk belongs to another structure or other settings.
    """
    path = None if folder is None else folder / name
    told = settings.model_dump(exclude={"error", "engine", "processes"})
    return Journal(path, fingerprint(atoms, told))


def walk_forces(
    calculator: Any, atoms: Atoms, settings: EngineSettings, journal: Journal, *, steps: float, runs: int
) -> ForceField:
    """Return the forces for the engine that takes so many steps in so many runs; the one that began goes on.

    Raises
    ------
    ConfigError, EngineMissingError
        See `choose_engine`.
    CheckpointError
        The journal was begun with another engine than the one asked for.
    """
    field = choose_engine(
        calculator,
        atoms,
        int(steps),
        settings.engine,
        settings.processes,
        runs=runs,
        begun=journal.engine,
    )
    journal.runs_with(engine_of(field))
    return field


def begin_walk(
    name: str,
    atoms: Atoms,
    settings: BathSettings,
    journal: Journal,
    *,
    steps: float,
    progress: Progress = silent,
    **equations: Any,
) -> Walker:
    """Return a walker that will take so many steps, with the equations of motion of the settings."""
    walker = Walker(name, atoms, settings.equations(**equations), journal, progress)
    walker.planned = float(steps)
    return walker


def quantity(found: Measured, unit: str, note: str = "", *, scale: float = 1.0) -> Quantity:
    """Return a measured number, times `scale`, as one of a result."""
    scaled = found * scale
    return Quantity(scaled.value, unit, scaled.error, note)


def missed_goal(error: float, wanted: float | None, takes: Callable[[float], str]) -> list[str]:
    """Return a warning where the standard error of a temperature [K] is larger than the one wanted.

    Parameters
    ----------
    error : float [K]
    wanted : float [K], optional
        None: any error will do.
    takes : callable
        Given how many times as much simulation it takes, the words for it.
    """
    if wanted is None or error <= wanted:
        return []
    cost = takes((error / wanted) ** 2)
    return [f"standard error {error:.2g} K, asked for {wanted:.2g} K; {cost}"]
