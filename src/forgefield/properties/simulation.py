"""What properties from simulations share: settings, equilibration, production, reading trajectories instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgefield.config import Schema
from forgefield.files import write_json
from forgefield.properties.barostat import (
    BAROSTAT,
    BarostatChoice,
    check_shape,
    choose_barostat,
    mean_cell,
)
from forgefield.properties.base import Progress, silent
from forgefield.properties.dynamics import Drive, Dynamics, Observable, Records
from forgefield.properties.dynamics_file import begun_with
from forgefield.properties.dynamics_forces import ForceField
from forgefield.properties.dynamics_lammps import make_dynamics
from forgefield.properties.dynamics_state import DynamicsSettings
from forgefield.properties.md_engine import ENGINE, EngineChoice, choose_engine
from forgefield.properties.structures import require_crystal
from forgefield.properties.trajectory import Trajectory, read_trajectory
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = [
    "RunSettings",
    "SimulationSettings",
    "dynamics_settings",
    "equilibrate",
    "produce",
    "require_length",
    "short_of",
    "trajectory_of",
]

FloatArray = NDArray[np.float64]


class RunSettings(Schema):
    """A simulation: equilibration with a thermostat, then production."""

    supercell: tuple[int, int, int] = Field((1, 1, 1), description="repetitions of the structure")
    temperature: float = Field(300.0, gt=0, description="[K]")
    pressure: float | None = Field(
        None,
        description="[GPa]; the volume is averaged in npt before production; null keeps that of the structure",
    )
    barostat: BarostatChoice = Field("auto", description=BAROSTAT)
    compressibility: float = Field(
        0.01, gt=0, description="rough, sets the pace of the barostat [1/GPa]; soft matter: 0.1 and more"
    )
    timestep: float = Field(1.0, gt=0, le=100, description="[fs]")
    equilibration: float = Field(5.0, ge=0, description="before production [ps]")
    length: float = Field(20.0, gt=0, description="of production [ps]")
    interval: float = Field(10.0, gt=0, description="between samples [fs]")
    friction: float = Field(0.005, gt=0, description="of the thermostat while equilibrating [1/fs]")
    blocks: int = Field(10, ge=2, description="parts of the production that standard errors come from")
    seed: int = Field(0, ge=0, description="of first velocities and thermostat")

    @model_validator(mode="after")
    def _sampled(self) -> Self:
        if min(self.supercell) < 1:
            raise ValueError(f"`supercell` needs three numbers >= 1, got {self.supercell}")
        if not self.simulates:
            return self
        if self.interval < self.timestep:
            raise ValueError(
                f"`interval` ({self.interval} fs) must not be below `timestep` ({self.timestep} fs)"
            )
        if self.length * 1000.0 < 2 * self.blocks * self.interval:
            need = 2 * self.blocks * self.interval / 1000.0
            raise ValueError(
                f"`length` ({self.length} ps) is too short for {self.blocks} blocks of samples every {self.interval} fs; "
                f"at least {need:.3g} ps"
            )
        return self

    @property
    def simulates(self) -> bool:
        """Whether there is something to simulate."""
        return True

    @property
    def every(self) -> int:
        """Steps between samples."""
        return max(1, round(self.interval / self.timestep))

    @property
    def steps(self) -> int:
        """Of production; a whole number of samples."""
        return max(1, round(self.length * 1000.0 / self.timestep / self.every)) * self.every

    @property
    def planned(self) -> int:
        """Steps of equilibration and production."""
        return self.steps + round(self.equilibration * 1000.0 / self.timestep)

    @property
    def spacing(self) -> float:
        """Time between samples [fs], a multiple of the time step."""
        return self.every * self.timestep


class SimulationSettings(RunSettings):
    """A simulation, or a trajectory on disk instead of one."""

    ensemble: Literal["nve", "nvt"] = Field("nvt", description="of production; nve leaves the dynamics alone")
    thermostat: Literal["langevin", "bussi"] = Field(
        "bussi", description="of production in nvt; bussi hardly disturbs the dynamics"
    )
    engine: EngineChoice = Field("auto", description=ENGINE)
    processes: int = Field(1, ge=1, description="of LAMMPS, by MPI")
    trajectory: str | None = Field(
        None, description="file to analyse instead of simulating; `interval` is then that of its frames [fs]"
    )
    skip: float = Field(0.0, ge=0, description="left out at the start of that file [ps]")
    types: tuple[str, ...] | None = Field(
        None,
        description="elements of the atom types of that file, if it is a LAMMPS dump that does not say them",
    )

    @property
    def simulates(self) -> bool:
        """Whether there is something to simulate: not where there is a file."""
        return self.trajectory is None


def require_length(settings: SimulationSettings, need: float, why: str) -> None:
    """Raise ValueError where a simulation to come would be too short [ps]; files are judged when they are read."""
    if settings.trajectory is None and settings.length < need * (1.0 - 1e-9):
        raise ValueError(f"`length` ({settings.length} ps) is too short for {why}: at least {need:.4g} ps")


def short_of(value: float, error: float, wanted: float | None, takes: Callable[[float], str]) -> list[str]:
    """Return a warning where the relative standard error is larger than the one wanted.

    Parameters
    ----------
    value, error : float
    wanted : float, optional
        None: any error will do.
    takes : callable
        Given how many times as much simulation it takes, the words for it.
    """
    relative = error / abs(value) if value else np.inf
    if wanted is None or relative <= wanted:
        return []
    cost = takes(float(relative / wanted) ** 2)
    return [f"relative error {relative:.2g}, asked for {wanted:.2g}; that takes about {cost}"]


def dynamics_settings(settings: RunSettings, **changes: Any) -> DynamicsSettings:
    """Return the equations of motion for a simulation."""
    common = {
        "timestep": settings.timestep,
        "temperature": settings.temperature,
        "friction": settings.friction,
        "compressibility": settings.compressibility,
        "seed": settings.seed,
    }
    return DynamicsSettings.parse(common | changes, where="dynamics")


def equilibrate(
    atoms: Atoms,
    field: ForceField,
    settings: RunSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> tuple[Atoms, dict[str, Any]]:
    """Return a structure with velocities at temperature (and pressure), and what was done.

    With a pressure, there is a run at that pressure first, half as long; then the cell gets the mean volume of its second
    half, or, if its shape moves as well, the mean of all its components.
    """
    done: dict[str, Any] = {"equilibration_ps": settings.equilibration, "pressure_GPa": settings.pressure}
    steps = round(settings.equilibration * 1000.0 / settings.timestep)
    if steps < 1:
        return atoms.copy(), done
    keep = None if folder is None else folder / "equilibration"
    if settings.pressure is not None:
        atoms, found = _at_pressure(atoms, field, settings, steps, keep, progress)
        done |= found
    warm = make_dynamics(atoms, field, dynamics_settings(settings, ensemble="nvt", seed=settings.seed + 1))
    warm.run(steps, every=max(1, steps // 10), keep=keep, progress=progress)
    return warm.atoms(), done


def _at_pressure(
    atoms: Atoms, field: ForceField, settings: RunSettings, steps: int, keep: Path | None, progress: Progress
) -> tuple[Atoms, dict[str, Any]]:
    """Return the structure in the mean cell of the second half of a run at constant pressure."""
    barostat = choose_barostat(settings.barostat, atoms)
    equations = dynamics_settings(settings, ensemble="npt", pressure=settings.pressure, barostat=barostat)
    npt = make_dynamics(atoms, field, equations)
    records = npt.run(
        max(steps // 2, 2),
        every=min(npt.stride, max(1, steps // 40)),
        observe={"cell": lambda state, _: state.cell},
        keep=keep,
        progress=progress,
    )
    late = slice(len(records["volume"]) // 2, None)
    volume = float(records["volume"][late].mean())
    before, warm = atoms.cell.array, npt.atoms()
    if barostat == "isotropic":
        cell = warm.cell.array * (volume / abs(warm.get_volume())) ** (1.0 / 3.0)
    else:
        cell = mean_cell(records["cell"][late], volume)
        check_shape(before, cell, barostat, settings.temperature)
    velocities = warm.get_velocities()
    warm.set_cell(cell, scale_atoms=True)
    warm.set_velocities(velocities)
    found = records["pressure"][late].mean(axis=0) * EV_PER_A3_TO_GPA
    return warm, {
        "volume_A3": volume,
        "barostat": barostat,
        "cell_A": np.round(cell, 6).tolist(),
        "pressure_found_GPa": np.round(found[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], 4).tolist(),
    }


def produce(
    start: Callable[[], Atoms],
    field: ForceField,
    settings: RunSettings,
    equations: DynamicsSettings,
    *,
    like: Atoms,
    observe: dict[str, Observable],
    drive: Drive | None = None,
    atomic: bool = False,
    checkpoint: Path | None = None,
    label: str = "",
    progress: Progress = silent,
) -> tuple[Dynamics, Records]:
    """Run the production; with a checkpoint that exists, go on from there without calling `start`."""
    atoms = like if checkpoint is not None and checkpoint.exists() else start()
    dynamics = make_dynamics(atoms, field, equations, drive=drive)
    records = dynamics.run(
        settings.steps,
        every=settings.every,
        observe=observe,
        atomic=atomic,
        checkpoint=checkpoint,
        checkpoint_every=max(settings.every, settings.steps // 10),
        label=label,
        progress=progress,
    )
    return dynamics, records


def trajectory_of(
    atoms: Atoms,
    calculator: Any,
    settings: SimulationSettings,
    *,
    purpose: str,
    keep: tuple[str, ...] = ("positions",),
    folder: Path | None = None,
    progress: Progress = silent,
) -> tuple[Trajectory, dict[str, Any]]:
    """Return a trajectory, simulated or read, and what was done.

    Parameters
    ----------
    atoms : ase.Atoms
    calculator : anything that `force_field` takes
        Not used with ``settings.trajectory``.
    settings : SimulationSettings
    purpose : str
        For messages.
    keep : tuple of str
        ``positions``, ``velocities``.
    folder : Path, optional
        For the checkpoint.
    progress : callable

    Raises
    ------
    StructureError
        The cell is not periodic in three directions.
    """
    require_crystal(atoms, purpose)
    if settings.trajectory is not None:
        return _read(settings.trajectory, settings, atoms, purpose)
    large = atoms * settings.supercell
    checkpoint = None if folder is None else folder / "simulation.npz"
    field = choose_engine(
        calculator,
        large,
        settings.planned,
        settings.engine,
        settings.processes,
        begun=None if checkpoint is None else begun_with(checkpoint),
    )
    done: dict[str, Any] = {}
    record = None if folder is None else folder / "equilibration.json"  # for whoever goes on after a break

    def start() -> Atoms:
        warm, what = equilibrate(large, field, settings, folder=folder, progress=progress)
        done.update(what)
        if record is not None:
            write_json(record, done)
        return warm

    observe: dict[str, Observable] = {"cell": lambda s, _: s.cell, "positions": lambda s, _: s.positions}
    if "velocities" in keep:
        observe["velocities"] = lambda s, _: s.velocities
    equations = dynamics_settings(
        settings, ensemble=settings.ensemble, thermostat=settings.thermostat, seed=settings.seed + 2
    )
    dynamics, records = produce(
        start,
        field,
        settings,
        equations,
        like=large,
        observe=observe,
        checkpoint=checkpoint,
        progress=progress,
    )
    moving = _trajectory(dynamics, records, settings.spacing)
    return moving, (done or _recorded(record)) | {
        "engine": dynamics.engine,
        "n_atoms": len(large),
        "cell_A": np.round(moving.cells[0], 6).tolist(),
        "length_ps": settings.length,
        "interval_fs": settings.spacing,
    }


def _read(
    path: str, settings: SimulationSettings, atoms: Atoms, purpose: str
) -> tuple[Trajectory, dict[str, Any]]:
    given = settings.interval if "interval" in settings.model_fields_set else None
    read = read_trajectory(path, interval=given, skip=settings.skip, types=settings.types, like=atoms)
    require_crystal(read.frame(0), purpose)
    return read, {
        "trajectory": path,
        "n_atoms": len(read.numbers),
        "cell_A": np.round(read.cells[0], 6).tolist(),
        "length_ps": read.length,
        "interval_fs": read.interval,
    }


def _recorded(record: Path | None) -> dict[str, Any]:
    """Return what an earlier process did before production, as far as it is known."""
    if record is None or not record.exists():
        return {}
    found: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    return found


def _trajectory(dynamics: Dynamics, records: Records, interval: float) -> Trajectory:
    return Trajectory(
        records["positions"],
        records["cell"],
        dynamics.state.numbers,
        dynamics.state.masses,
        dynamics.pbc.copy(),
        interval,
        records.get("velocities"),
        records.get("pressure"),
        records["temperature"],
    )
