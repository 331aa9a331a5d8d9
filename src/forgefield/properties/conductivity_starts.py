"""How simulations of the heat flux start and run: in one cell, at one energy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from forgefield.files import write_json
from forgefield.properties.base import Progress, silent
from forgefield.properties.conductivity_flux import HeatFlux
from forgefield.properties.conductivity_simulation import FluxSettings, FluxSystem
from forgefield.properties.dynamics import Drive, Dynamics, DynamicsSettings, Records
from forgefield.properties.dynamics_forces import ForceField
from forgefield.properties.dynamics_lammps import make_dynamics
from forgefield.properties.simulation import dynamics_settings, equilibrate, produce

__all__ = ["Starts", "conditions_of", "flux_run", "not_as_named", "stage", "starts_of"]

FloatArray = NDArray[np.float64]

OFF = 0.03
"""Relative difference of temperatures that changes a conductivity, which goes with their square, by more than it should."""
DULONG_PETIT = 2.0
"""Heat capacity in units of the kinetic one. The mean energy is right with any number here, and least uncertain with this."""


def stage(
    progress: Progress, begin: float, end: float, name: str = "", n: int = 0, count: int = 1
) -> Progress:
    """Return the progress of part `n` of `count` equal ones between two fractions of the whole."""

    def told(done: float, text: str = "") -> None:
        progress(begin + (end - begin) * (n + done) / count, f"{name}: {text}" if name else text)

    return told


@dataclass(frozen=True)
class Starts:
    """Where simulations of the heat flux start.

    Attributes
    ----------
    atoms : list of ase.Atoms
        With velocities, all in one cell.
    conditions : dict
        What was done.
    """

    atoms: list[Atoms]
    conditions: dict[str, Any]


def starts_of(
    system: FluxSystem,
    settings: FluxSettings,
    count: int,
    *,
    level: bool,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Starts:
    """Equilibrate so many simulations, in one cell.

    With a pressure every simulation finds a cell first, and all get their mean. Then each has its own run with the thermostat;
    ``E(T) = <E> - 2 (<K> - K(T))`` is the energy of the temperature asked for, the kinetic energy being known.

    Parameters
    ----------
    system, settings
    count : int
    level : bool
        Bring all to one total energy, the mean of all runs (their second halves), by a factor of the velocities: at constant
        energy each would keep the one that chance gave it, and with it a temperature of its own.
    folder : Path, optional
        For checkpoints.
    progress : callable
    """
    steps = round(settings.equilibration * 1000.0 / settings.timestep)
    done: dict[str, Any] = {"equilibration_ps": settings.equilibration, "pressure_GPa": settings.pressure}
    if steps < 1:
        return Starts([system.atoms.copy() for _ in range(count)], done)
    own = [settings.model_copy(update={"seed": settings.seed + 1000 * n}) for n in range(count)]
    paths = [None if folder is None else folder / f"equilibration_{n + 1}.npz" for n in range(count)]
    begun = [system.atoms] * count
    if settings.pressure is not None:
        begun, found = _in_one_cell(system, own, paths, folder, progress)
        done |= found
    warm, means = [], []
    for n, (one, start, path) in enumerate(zip(own, begun, paths, strict=True)):
        equations = dynamics_settings(one, ensemble="nvt", seed=one.seed + 1)
        dynamics = make_dynamics(start, system.field, equations)
        keep = None if folder is None else folder / "equilibration"
        records = dynamics.run(
            steps,
            every=max(1, steps // 200),
            checkpoint=path,
            checkpoint_every=steps,
            keep=keep,
            progress=stage(progress, 0.0, 1.0, f"equilibration {n + 1}", n, count),
        )
        late = slice(len(records["kinetic"]) // 2, None)
        kinetic = float(records["kinetic"][late].mean())
        exact = 0.5 * dynamics.freedom * units.kB * settings.temperature
        warm.append(dynamics.atoms())
        means.append(float(records["potential"][late].mean()) + kinetic - DULONG_PETIT * (kinetic - exact))
    if level:
        warm = [_at_energy(one, system.field, float(np.mean(means))) for one in warm]
    return Starts(warm, done)


def _in_one_cell(
    system: FluxSystem,
    own: list[FluxSettings],
    paths: list[Path | None],
    folder: Path | None,
    progress: Progress,
) -> tuple[list[Atoms], dict[str, Any]]:
    """Return structures at the pressure in the mean of their cells, and what was found."""
    record = None if folder is None else folder / "cell.json"
    known: dict[str, Any] | None = None
    if record is not None and record.exists():
        known = json.loads(record.read_text(encoding="utf-8"))
    warm, found = [], []
    for n, (one, path) in enumerate(zip(own, paths, strict=True)):
        if known is not None and path is not None and path.exists():
            warm.append(system.atoms.copy())  # its state is in the checkpoint
            continue
        told = stage(progress, 0.0, 1.0, f"cell {n + 1}", n, len(own))
        atoms, what = equilibrate(system.atoms, system.field, one, folder=folder, progress=told)
        warm.append(atoms)
        found.append(what)
    if known is None:
        cell = np.mean([what["cell_A"] for what in found], axis=0)
        pressure = np.mean([what["pressure_found_GPa"] for what in found], axis=0)
        known = {
            "barostat": found[0]["barostat"],
            "cell_A": np.round(cell, 6).tolist(),
            "pressure_found_GPa": np.round(pressure, 4).tolist(),
        }
        if record is not None:
            write_json(record, known)
    for atoms in warm:
        velocities = atoms.get_velocities()
        atoms.set_cell(known["cell_A"], scale_atoms=True)
        atoms.set_velocities(velocities)
    return warm, known


def _at_energy(atoms: Atoms, field: ForceField, target: float) -> Atoms:
    """Return a structure whose velocities are scaled so that its total energy [eV] is the one given.

    The kinetic energy is at most halved or doubled: in a few atoms chance can be larger than it.
    """
    kinetic = atoms.get_kinetic_energy()
    if kinetic <= 0.0:
        return atoms
    potential = field.evaluate(atoms.positions, atoms.cell.array).energy
    field.reset()
    factor = min(max((target - potential) / kinetic, 0.5), 2.0)
    atoms.set_velocities(atoms.get_velocities() * np.sqrt(factor))
    return atoms


def flux_run(
    start: Atoms,
    system: FluxSystem,
    settings: FluxSettings,
    equations: DynamicsSettings,
    *,
    label: str,
    origins: FloatArray,
    drive: Drive | None = None,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> tuple[Dynamics, Records]:
    """Run one simulation of the heat flux.

    Parameters
    ----------
    start : ase.Atoms
        Of `starts_of`.
    system, settings
    equations : DynamicsSettings
    label : str
        What makes this run what it is, for the checkpoint.
    origins : (n_atoms,) [eV]
        See `energy_origins`.
    drive : callable, optional
        Extra force.
    checkpoint : Path, optional
    progress : callable
    """
    return produce(
        start.copy,
        system.field,
        settings,
        equations,
        like=start,
        observe={"flux": HeatFlux(origins)},
        drive=drive,
        atomic=drive is None,
        checkpoint=checkpoint,
        label=f"{label}, virials {settings.virials}, one energy and cell",
        progress=progress,
    )


def conditions_of(dynamics: Dynamics, settings: FluxSettings, starts: Starts) -> dict[str, Any]:
    """Return what all simulations had in common, for the record."""
    return starts.conditions | {
        "ensemble": dynamics.settings.ensemble,
        "engine": dynamics.engine,
        "n_atoms": len(dynamics.state.numbers),
        "cell_A": np.round(dynamics.state.cell, 6).tolist(),
        "volume_A3": dynamics.state.volume,
        "length_ps": settings.length,
        "interval_fs": settings.spacing,
    }


def not_as_named(settings: FluxSettings, temperature: float, error: float) -> list[str]:
    """Return a warning where simulations were not at the temperature asked for."""
    apart = temperature - settings.temperature
    if abs(apart) <= max(OFF * settings.temperature, 3.0 * error):
        return []
    return [
        f"the simulations were at {temperature:.4g} K, not at {settings.temperature:.4g} K; take a longer `equilibration`"
    ]
