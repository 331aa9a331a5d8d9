"""Molecular dynamics with ASE: three ensembles, a log, a trajectory, and a stop when the physics breaks down."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet

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
from forgefield.deployment.md_record import Recorder, broken, degrees_of_freedom, suspicious
from forgefield.errors import ConfigError, PredictionError, StructureError
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["MDSettings", "MDSummary", "run_md"]


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
        Atoms overlap, the temperature runs away, a committee disagrees or anything is not finite. The message names the atoms; log and
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
    check_start(atoms, settings)
    if calculator is not None:
        atoms.calc = calculator
    if atoms.calc is None:
        raise ConfigError("the structure has no calculator; pass one, e.g. potential.calculator()")
    rng = np.random.default_rng(settings.seed)
    with centre_at_rest(atoms, settings):
        draw_velocities(atoms, settings, rng)
        recorder = Recorder(atoms, trajectory, log, on_row)
        with recorder:
            start = time.perf_counter()
            _integrate(atoms, settings, rng, recorder)
            seconds = time.perf_counter() - start
    return summarise(settings, recorder, seconds)


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
    limit = highest_temperature(settings)
    dynamics = _integrator(atoms, settings, rng)
    conserved = _conserved(atoms, settings, dynamics)
    step = -1
    try:
        for step, _ in enumerate(dynamics.irun(settings.steps)):
            problem = broken(atoms, limit)
            due = step % settings.log_interval == 0 or step == settings.steps
            if due and not problem:
                recorder.row(step, step * settings.timestep, conserved)
                problem = suspicious(atoms, settings.closest_fraction, settings.spread_limit)
            if problem:
                raise broken_down(step, settings, problem, recorder)
    except (StructureError, PredictionError) as error:
        raise broken_down(step + 1, settings, str(error), recorder) from error
