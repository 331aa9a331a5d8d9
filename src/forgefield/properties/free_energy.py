"""The property `free-energy`: the absolute free energy of a solid or a liquid by thermodynamic integration."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from forgefield.errors import SimulationError
from forgefield.properties.base import Curve, Progress, Property, PropertyResult, Quantity, silent
from forgefield.properties.dynamics_forces import ForceField, force_field
from forgefield.properties.free_energy_estimators import Measured
from forgefield.properties.free_energy_phases import (
    PhaseFreeEnergy,
    liquid_free_energy,
    solid_free_energy,
)
from forgefield.properties.free_energy_sampling import Walker
from forgefield.properties.free_energy_settings import FreeEnergySettings
from forgefield.properties.free_energy_temperature import reversible_scaling
from forgefield.properties.journal import Journal
from forgefield.properties.structures import require_crystal
from forgefield.properties.walks import open_journal, quantity
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = [
    "FREE_ENERGY",
    "JOURNAL",
    "finite_size_of",
    "phase_free_energy",
    "planned_steps",
    "steps_of",
    "volume_of",
]

FloatArray = NDArray[np.float64]

JOURNAL = "free-energy.journal.json"
"""Name of the file a run that was interrupted goes on from."""


def planned_steps(settings: FreeEnergySettings) -> int:
    """Return about how many steps a computation takes."""
    ways = 2 * settings.repeats
    stage = settings.steps + settings.equilibration
    path = ways * stage * (1 if settings.method == "switching" else settings.points)
    target = settings.target_steps + settings.equilibration
    if settings.pressure is not None:
        target += settings.target_steps + max(settings.equilibration, settings.target_steps // 2)
    if settings.phase == "liquid":
        target += settings.melt_steps
        if settings.finite_size:  # at two volumes
            target += settings.target_steps + 2 * max(settings.equilibration, settings.target_steps // 8)
        reference = (settings.reference_steps or settings.steps) + settings.equilibration
        path += ways * settings.reference_points * reference
    return path + target + (2 * settings.scaling_steps if settings.final_temperature else 0)


def steps_of(phase: PhaseFreeEnergy, settings: FreeEnergySettings) -> int:
    """Return about how many steps a computation took, where runs were added on the way: with them."""
    if settings.lambdas == "gauss":
        return planned_steps(settings)
    begun = settings.model_copy(update={"points": 0, "reference_points": 0})
    runs = sum(leg.facts["runs"] for leg in phase.legs.values())
    return planned_steps(begun) + round(runs) * (settings.steps + settings.equilibration)


def phase_free_energy(
    atoms: Atoms,
    field: ForceField,
    settings: FreeEnergySettings,
    *,
    journal: Journal | None = None,
    name: str | None = None,
    progress: Progress = silent,
) -> tuple[PhaseFreeEnergy, Walker]:
    """Return the free energy of one phase, and the walker that is left at the end.

    Parameters
    ----------
    atoms : ase.Atoms
        Solid: on its ideal sites. Liquid: anything of the right composition; it is melted first.
    field : ForceField
    settings : FreeEnergySettings
    journal : Journal, optional
        Keeps what is done; default: in memory.
    name : str, optional
        Of the walker; default: the phase.
    progress : callable

    Raises
    ------
    SimulationError
        The phase is not the one asked for, or the error is larger than `target_error`.
    """
    require_crystal(atoms, "a free energy")
    journal = journal or Journal(None, "")
    walker = Walker(name or settings.phase, atoms, settings.dynamics(), journal, progress)
    walker.planned = float(planned_steps(settings))
    compute = solid_free_energy if settings.phase == "solid" else liquid_free_energy
    result = compute(atoms, field, walker, settings)
    _check_error(result, settings)
    return result, walker


def _check_error(result: PhaseFreeEnergy, settings: FreeEnergySettings) -> None:
    if settings.target_error is None:
        return
    error = 1e3 * result.free_energy.error / result.n_atoms
    if error > settings.target_error:
        factor = (error / settings.target_error) ** 2
        steps, cure = steps_of(result, settings), f"set `steps` to {math.ceil(factor * settings.steps)}"
        if settings.lambdas == "adaptive":
            runs = max(leg.facts["runs"] for leg in result.legs.values())
            cure = f"set `max_runs` to {math.ceil(1.2 * factor * runs)} (it took {runs:.0f}) or take longer `steps`"
        raise SimulationError(
            f"the run is too short for `target_error` = {settings.target_error} meV/atom: the standard error is "
            f"{error:.3g} meV/atom. About {factor:.1f} times as many steps would do, altogether about "
            f"{factor * steps * settings.timestep / 1e6:.3g} ns: {cure}, or take more `repeats`. So far: F = "
            f"{result.free_energy.value / result.n_atoms:.6f} eV/atom"
        )


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: FreeEnergySettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> PropertyResult:
    field = force_field(calculator, atoms)
    journal = open_journal(folder, JOURNAL, atoms, settings)
    phase, walker = phase_free_energy(atoms, field, settings, journal=journal, progress=progress)
    curves = _curves(phase)
    quantities = _quantities(phase, settings)
    if settings.final_temperature is not None:
        curves |= _scaled_curve(phase, field, walker, settings, quantities)
    return PropertyResult(
        name="free-energy",
        quantities=quantities,
        conditions=settings.model_dump()
        | phase.conditions
        | {
            "cell_A": np.round(phase.cell, 6).tolist(),
            "n_atoms": phase.n_atoms,
            "ensemble": "nvt",
            "n_steps": steps_of(phase, settings),
        },
        curves=curves,
        warnings=phase.warnings,
    )


def _quantities(phase: PhaseFreeEnergy, settings: FreeEnergySettings) -> dict[str, Quantity]:
    n = phase.n_atoms
    atom: dict[str, Any] = {"unit": "eV/atom", "scale": 1.0 / n}
    found = {
        "helmholtz": quantity(phase.free_energy, note="absolute, classical, kinetic part included", **atom),
        "potential_energy": quantity(phase.target["potential"], **atom),
        "entropy": quantity(phase.entropy, "k_B/atom", scale=1.0 / n / units.kB),
        "volume": volume_of(phase),
        "reference": Quantity(phase.reference / n, "eV/atom", None, "closed form"),
    }
    if phase.finite_size is not None:
        found["finite_size"] = finite_size_of(phase, "helmholtz")
    if "pressure" in phase.target:
        found["pressure"] = quantity(phase.target["pressure"], "GPa", "measured", scale=EV_PER_A3_TO_GPA)
    if settings.pressure is not None or "pressure" in phase.target:
        found["gibbs"] = quantity(phase.gibbs(settings.pressure), note="F + P V", **atom)
    for name, leg in phase.legs.items():
        found[f"difference_{name}"] = quantity(leg.difference, **atom)
        found[f"hysteresis_{name}"] = quantity(
            leg.hysteresis, note="way up minus way down; wasted work of switching", **atom
        )
    return found


def volume_of(phase: PhaseFreeEnergy) -> Quantity:
    """Return the volume per atom: measured at the pressure asked for, or that of the structure."""
    error, n = phase.volume_error, phase.n_atoms
    note = "" if error else "that of the structure"
    return Quantity(phase.volume / n, "Å^3/atom", error / n if error else None, note)


def finite_size_of(phase: PhaseFreeEnergy, part_of: str) -> Quantity:
    """Return the correction for the finite size of the cell per atom; that of a crystal has no statistical error."""
    size, n = phase.finite_size or Measured(0.0, 0.0), phase.n_atoms
    note = f"infinite system minus this cell; in `{part_of}`"
    return Quantity(size.value / n, "eV/atom", size.error / n if size.error else None, note)


def _curves(phase: PhaseFreeEnergy) -> dict[str, Curve]:
    curves = {}
    for name, leg in phase.legs.items():
        label = f"<dU/dlambda>, {name.replace('_', ' ')} [eV/atom]"
        for way, values in (("up", leg.up), ("down", leg.down)):
            known = np.isfinite(values)
            curves[f"{name} {way}"] = Curve(
                leg.couplings[known],
                values[known] / phase.n_atoms,
                "lambda",
                label,
                points=bool(known.sum() < 60),
            )
    return curves


def _scaled_curve(
    phase: PhaseFreeEnergy,
    field: ForceField,
    walker: Walker,
    settings: FreeEnergySettings,
    quantities: dict[str, Quantity],
) -> dict[str, Curve]:
    final = float(settings.final_temperature or settings.temperature)
    scales, forward, backward = walker.scale_energy(
        field,
        settings.temperature / final,
        steps=settings.scaling_steps,
        equilibration=settings.equilibration,
    )
    temperatures, values, errors = reversible_scaling(
        scales, forward, backward, phase.free_energy, phase.temperature, phase.n_atoms
    )
    n = phase.n_atoms
    quantities["helmholtz_final"] = Quantity(
        float(values[-1]) / n, "eV/atom", float(errors[-1]) / n, f"at {final:g} K and the same volume"
    )
    return {
        "F(T), reversible scaling": Curve(
            temperatures, values / n, "temperature [K]", "Helmholtz energy [eV/atom]", errors / n
        )
    }


FREE_ENERGY = Property(
    "free-energy",
    "absolute free energy of a solid or liquid: thermodynamic integration, switching, reversible scaling",
    FreeEnergySettings,
    _compute,
)
