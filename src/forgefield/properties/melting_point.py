"""The property `melting-point`: where solid and liquid have one Gibbs energy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Self

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgefield.properties.base import Curve, Progress, Property, PropertyResult, Quantity, silent
from forgefield.properties.dynamics_forces import ForceField, force_field
from forgefield.properties.free_energy import (
    finite_size_of,
    phase_free_energy,
    planned_steps,
    volume_of,
)
from forgefield.properties.free_energy_checks import (
    check_liquid,
    check_solid,
    excursion,
    flow,
    nearest_distance,
)
from forgefield.properties.free_energy_phases import PhaseFreeEnergy
from forgefield.properties.free_energy_potentials import EinsteinSprings
from forgefield.properties.free_energy_sampling import Walker
from forgefield.properties.free_energy_settings import FreeEnergySettings, PathSettings
from forgefield.properties.free_energy_temperature import Crossing, GibbsCurve, crossing, gibbs_helmholtz
from forgefield.properties.structures import require_crystal
from forgefield.properties.walks import missed_goal, open_journal, quantity
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["MELTING_POINT", "MeltingPointSettings"]

FloatArray = NDArray[np.float64]

JOURNAL = "melting-point.journal.json"


class MeltingPointSettings(PathSettings):
    """Settings of a melting temperature from free energies."""

    temperature: float = Field(
        1000.0, gt=0, description="where both absolute free energies are computed; near the melting point [K]"
    )
    pressure: float = Field(0.0, description="[GPa]")
    relative_range: float = Field(
        0.1, gt=0, lt=0.9, description="enthalpies from T (1 - this) to T (1 + this)"
    )
    n_temperatures: int = Field(3, ge=2, le=50, description="of the enthalpies of each phase")
    enthalpy_steps: int = Field(
        4000,
        ge=50,
        description="steps of each enthalpy, after a quarter of them or `equilibration`, whichever is more",
    )
    error: float | None = Field(
        None,
        gt=0,
        description="standard error wanted of the melting temperature [K]; said in a warning where it is not reached",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.relative_range * self.temperature < 1.0:
            raise ValueError("`relative_range` times `temperature` must be at least 1 K")
        return self

    def of_phase(self, phase: str) -> FreeEnergySettings:
        """Return the settings of one phase's free energy."""
        own = {
            "relative_range",
            "n_temperatures",
            "enthalpy_steps",
            "error",
        }
        values = {k: v for k, v in self.model_dump().items() if k not in own}
        return FreeEnergySettings.parse(values | {"phase": phase})

    @property
    def settling(self) -> int:
        """Steps before those of each enthalpy: the volume has to follow the temperature."""
        return max(self.equilibration, self.enthalpy_steps // 4)

    def temperatures(self) -> FloatArray:
        """Return the temperatures of the enthalpies [K]."""
        low, high = 1.0 - self.relative_range, 1.0 + self.relative_range
        return self.temperature * np.linspace(low, high, self.n_temperatures)


def _gibbs(
    phase: PhaseFreeEnergy,
    walker: Walker,
    field: ForceField,
    sites: Atoms | None,
    settings: MeltingPointSettings,
) -> tuple[GibbsCurve, FloatArray]:
    """Integrate the Gibbs energy over the temperature, with enthalpies at constant pressure."""
    n = phase.n_atoms
    rows = []
    distance = (phase.volume / n) ** (1.0 / 3.0)
    time = settings.enthalpy_steps * settings.timestep / 1000.0
    for t in settings.temperatures():
        if sites is None:
            watch = {"order": flow(distance)}
        else:
            watch = {"order": excursion(EinsteinSprings(sites.positions, 1.0), nearest_distance(sites))}
        found = walker.average(
            f"enthalpy at {t:.2f} K",
            field,
            watch,
            steps=settings.enthalpy_steps,
            equilibration=settings.settling,
            temperature=float(t),
            ensemble="npt",
        )
        if sites is None:
            check_liquid(found["order"].value, float(t), time)
        else:
            check_solid(found["order"].value, float(t), "at constant pressure")
        h = found["potential"] + found["volume"] * (settings.pressure / EV_PER_A3_TO_GPA)
        rows.append((t, h.value / n + 1.5 * units.kB * t, h.error / n))
    table = np.array(rows)
    anchor = phase.gibbs(settings.pressure) * (1.0 / n)
    return gibbs_helmholtz(phase.temperature, anchor, table[:, 0], table[:, 1], table[:, 2]), table


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: MeltingPointSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> PropertyResult:
    require_crystal(atoms, "a melting point")
    field = force_field(calculator, atoms)
    journal = open_journal(folder, JOURNAL, atoms, settings)
    curves, tables, phases = {}, {}, {}
    for k, name in enumerate(("solid", "liquid")):

        def half(done: float, text: str = "", k: int = k) -> None:
            progress(0.5 * (k + done), text)

        of_phase = settings.of_phase(name)
        phases[name], walker = phase_free_energy(atoms, field, of_phase, journal=journal, progress=half)
        walker.planned += float(
            settings.n_temperatures * (settings.enthalpy_steps + settings.settling) + planned_steps(of_phase)
        )
        sites = _sites(atoms, phases[name]) if name == "solid" else None
        curves[name], tables[name] = _gibbs(phases[name], walker, field, sites, settings)
    return _result(phases, curves, tables, settings)


def _sites(atoms: Atoms, phase: PhaseFreeEnergy) -> Atoms:
    """Return the crystal on its sites in the cell that its free energy was computed for."""
    sites = atoms.copy()
    sites.set_cell(phase.cell, scale_atoms=True)
    return sites


def _result(
    phases: dict[str, PhaseFreeEnergy],
    curves: dict[str, GibbsCurve],
    tables: dict[str, FloatArray],
    settings: MeltingPointSettings,
) -> PropertyResult:
    solid, liquid = phases["solid"], phases["liquid"]
    n, grid = solid.n_atoms, settings.temperatures()
    found = crossing(curves["solid"], curves["liquid"], float(grid[0]), float(grid[-1]))
    difference = curves["liquid"].anchor - curves["solid"].anchor
    quantities = {
        "melting_temperature": quantity(found.temperature, "K", "equal Gibbs energies"),
        "latent_heat": quantity(found.latent_heat, "eV/atom"),
        "entropy_of_melting": quantity(found.entropy, "k_B/atom"),
        "gibbs_difference": quantity(
            difference, "eV/atom", f"liquid minus solid at {settings.temperature:g} K"
        ),
        "volume_of_melting": Quantity(
            (liquid.volume - solid.volume) / n,
            "Å^3/atom",
            math.hypot(liquid.volume_error or 0.0, solid.volume_error or 0.0) / n,
        ),
    }
    for name, phase in phases.items():
        quantities[f"helmholtz_{name}"] = quantity(phase.free_energy, "eV/atom", scale=1.0 / n)
        quantities[f"volume_{name}"] = volume_of(phase)
        if phase.finite_size is not None:
            quantities[f"finite_size_{name}"] = finite_size_of(phase, f"helmholtz_{name}")
    fine = np.linspace(grid[0], grid[-1], 41)
    lines = {}
    reference = np.array([curves["solid"](float(t)).value for t in fine])
    for name, curve in curves.items():
        values = [curve(float(t)) for t in fine]
        lines[f"G {name}"] = Curve(
            fine,
            1e3 * (np.array([v.value for v in values]) - reference),
            "temperature [K]",
            "Gibbs energy minus that of the solid [meV/atom]",
            1e3 * np.array([v.error for v in values]),
        )
        table = tables[name]
        lines[f"H {name}"] = Curve(
            table[:, 0], table[:, 1], "temperature [K]", "enthalpy [eV/atom]", table[:, 2], points=True
        )
    return PropertyResult(
        name="melting-point",
        quantities=quantities,
        conditions=settings.model_dump()
        | {f"{name}_{k}": v for name, phase in phases.items() for k, v in phase.conditions.items()}
        | {f"{name}_cell_A": np.round(phase.cell, 6).tolist() for name, phase in phases.items()}
        | {"n_atoms": n},
        curves=lines,
        warnings=solid.warnings + liquid.warnings + _too_short(found, settings),
    )


def _too_short(found: Crossing, settings: MeltingPointSettings) -> tuple[str, ...]:
    """Return a warning where the error is larger than the one asked for."""

    def takes(times: float) -> str:
        phases = [settings.of_phase(name) for name in ("solid", "liquid")]
        enthalpies = 2 * settings.n_temperatures * (settings.enthalpy_steps + settings.settling)
        time = (sum(map(planned_steps, phases)) + enthalpies) * settings.timestep / 1000.0
        names = ["target_steps", "enthalpy_steps"]
        if settings.lambdas == "gauss":
            names += ["steps", *(["reference_steps"] if settings.reference_steps else [])]
        longer = ", ".join(f"{k}={math.ceil(getattr(settings, k) * times)}" for k in names)
        if settings.lambdas == "adaptive" and settings.target_error is not None:
            longer += f", target_error={settings.target_error / math.sqrt(times):.2g}"
        return f"that takes about {times:.2g} times as long, {times * time:.3g} ps in all: {longer}"

    return tuple(missed_goal(found.temperature.error, settings.error, takes))


MELTING_POINT = Property(
    "melting-point",
    "melting temperature from absolute free energies: where solid and liquid have one Gibbs energy",
    MeltingPointSettings,
    _compute,
)
