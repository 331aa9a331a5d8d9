"""The property `melting`: a crystal heated until it melts, and cooled until it freezes, at constant pressure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgefield.properties.barostat import choose_barostat
from forgefield.properties.base import Curve, Progress, Property, PropertyResult, Quantity, silent
from forgefield.properties.dynamics_forces import ForceField
from forgefield.properties.free_energy_checks import SMALLEST_FLOW, flow
from forgefield.properties.free_energy_estimators import Measured
from forgefield.properties.free_energy_sampling import Walker
from forgefield.properties.melting_order import pair_distribution
from forgefield.properties.structures import require_crystal
from forgefield.properties.walks import (
    EngineSettings,
    begin_walk,
    missed_goal,
    open_journal,
    quantity,
    walk_forces,
)
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["MELTING", "MeltingSettings", "Sweep", "sweep_temperature", "transition"]

FloatArray = NDArray[np.float64]

JOURNAL = "melting.journal.json"
LONGEST = 6.0
"""Powers of ten by which no run can be made longer."""


class MeltingSettings(EngineSettings):
    """Settings of heating and cooling."""

    low: float = Field(300.0, gt=0, description="where heating begins and cooling ends [K]")
    high: float = Field(2000.0, gt=0, description="where heating ends [K]")
    interval: float = Field(100.0, gt=0, description="between temperatures [K]")
    steps: int = Field(2000, ge=50, description="steps that count at each temperature")
    equilibration: int = Field(1000, ge=0, description="steps before them")
    cool: bool = Field(default=True, description="cool down again")
    pressure: float = Field(0.0, description="[GPa]")
    rdf_cutoff: float = Field(8.0, gt=0, description="range of g(r) [Å]")
    rdf_bins: int = Field(160, ge=10, description="points of g(r)")
    every: int = Field(20, ge=1, description="steps between samples")
    error: float | None = Field(
        None,
        gt=0,
        description="standard error wanted of the melting temperature [K]; said in a warning where it is not reached",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.high <= self.low:
            raise ValueError(f"`high` must be above `low` ({self.low} K)")
        if self.steps < 4 * self.every:
            raise ValueError(f"`steps` must be >= 4 x `every` ({4 * self.every})")
        if self.error is not None and not self.cool:
            raise ValueError(
                "`error` is that of the melting temperature, which needs cooling too: set cool=true"
            )
        return self

    def temperatures(self) -> FloatArray:
        """Return the temperatures of heating [K]."""
        n = max(1, round((self.high - self.low) / self.interval))
        return np.linspace(self.low, self.high, n + 1)


@dataclass(frozen=True)
class Sweep:
    """One way, heating or cooling.

    Attributes
    ----------
    temperatures : (n,) [K]
        In the order they were visited.
    enthalpies, volumes : (n,) of Measured [eV/atom], [Å^3/atom]
    flows : (n,)
        Root mean square displacement of the atoms in units of (V/N)^(1/3).
    distributions : (n, n_bins)
        g(r).
    """

    temperatures: FloatArray
    enthalpies: list[Measured]
    volumes: list[Measured]
    flows: FloatArray
    distributions: FloatArray

    @property
    def liquid(self) -> NDArray[np.bool_]:
        """Where the atoms flow."""
        return self.flows > SMALLEST_FLOW


def sweep_temperature(
    walker: Walker, field: ForceField, temperatures: FloatArray, settings: MeltingSettings, name: str
) -> Sweep:
    """Simulate one temperature after the other at constant pressure."""
    n = len(walker.atoms)
    _, distribution = pair_distribution(walker.atoms, settings.rdf_cutoff, settings.rdf_bins)
    enthalpies, volumes, flows, profiles = [], [], [], []
    changes: dict[str, Any] = {"ensemble": "npt"}
    for t in temperatures:
        distance = (walker.atoms.get_volume() / n) ** (1.0 / 3.0)
        stage = f"{name} {t:.2f} K"
        found = walker.average(
            stage,
            field,
            {"flow": flow(distance)},
            steps=settings.steps,
            equilibration=settings.equilibration,
            every=settings.every,
            profiles={"g": distribution},
            temperature=float(t),
            **changes,
        )
        if found["flow"].value > SMALLEST_FLOW:  # a liquid has no shape to relax
            changes["barostat"] = "isotropic"
        enthalpies.append(_enthalpy(found, float(t), n, settings.pressure))
        volumes.append(found["volume"] * (1.0 / n))
        flows.append(found["flow"].value)
        profiles.append(walker.profile(stage, "g"))
    return Sweep(np.asarray(temperatures), enthalpies, volumes, np.array(flows), np.array(profiles))


def _enthalpy(found: dict[str, Measured], temperature: float, n: int, pressure: float) -> Measured:
    """Return the enthalpy per atom, with the exact mean of the kinetic energy."""
    total = found["potential"] + found["volume"] * (pressure / EV_PER_A3_TO_GPA)
    return total * (1.0 / n) + 1.5 * float(units.kB) * temperature


def transition(sweep: Sweep) -> float | None:
    """Return between which temperatures the phase changed, as their mean [K]; None where it did not."""
    liquid = sweep.liquid
    changes = np.flatnonzero(liquid != liquid[0])
    if len(changes) == 0:
        return None
    k = int(changes[0])
    return float(0.5 * (sweep.temperatures[k - 1] + sweep.temperatures[k]))


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: MeltingSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> PropertyResult:
    require_crystal(atoms, "melting")
    barostat = choose_barostat(settings.barostat, atoms)
    up = settings.temperatures()
    stages = len(up) * (1 + settings.cool)
    planned = stages * (settings.steps + settings.equilibration)
    journal = open_journal(folder, JOURNAL, atoms, settings)
    field = walk_forces(calculator, atoms, settings, journal, steps=planned, runs=2 * stages)
    walker = begin_walk(
        "melting",
        atoms,
        settings,
        journal,
        steps=planned,
        progress=progress,
        ensemble="npt",
        temperature=settings.low,
        pressure=settings.pressure,
        barostat=barostat,
    )
    sweeps = {"heating": sweep_temperature(walker, field, up, settings, "heating")}
    if settings.cool:
        sweeps["cooling"] = sweep_temperature(walker, field, up[::-1], settings, "cooling")
    quantities, warnings = _judge(sweeps, settings, len(atoms))
    return PropertyResult(
        name="melting",
        quantities=quantities,
        conditions=settings.model_dump()
        | {"engine": journal.engine, "n_atoms": len(atoms), "ensemble": "npt", "barostat": barostat},
        curves=_curves(sweeps, settings),
        warnings=warnings,
    )


def _judge(
    sweeps: dict[str, Sweep], settings: MeltingSettings, n_atoms: int
) -> tuple[dict[str, Quantity], tuple[str, ...]]:
    quantities: dict[str, Quantity] = {}
    warnings = []
    grid = settings.interval / math.sqrt(12.0)
    melted = transition(sweeps["heating"])
    frozen = transition(sweeps["cooling"]) if "cooling" in sweeps else None
    if melted is None:
        warnings.append(
            f"the crystal did not melt up to {settings.high:.0f} K; raise `high` or `steps`"
            if not sweeps["heating"].liquid[0]
            else f"the structure flows already at {settings.low:.0f} K; lower `low`"
        )
    else:
        quantities["superheating_limit"] = Quantity(melted, "K", grid, "where it melted on heating")
    if frozen is not None:
        quantities["undercooling_limit"] = Quantity(frozen, "K", grid, "where it stopped to flow on cooling")
        difference = sweeps["cooling"].enthalpies[-1] - sweeps["heating"].enthalpies[0]
        quantities["enthalpy_left"] = quantity(
            difference, "eV/atom", f"after minus before, at {settings.low:g} K"
        )
        if difference.value > max(5.0 * difference.error, 0.02):
            warnings.append(
                f"after cooling {1e3 * difference.value:.0f} meV/atom are left: a glass or a crystal with defects, not the "
                "crystal of before; cool more slowly (more `steps`)"
            )
    if melted is not None and frozen is not None:
        error = abs(melted - frozen) / math.sqrt(12.0) + grid
        quantities["melting_temperature"] = Quantity(
            melted + frozen - math.sqrt(melted * frozen),
            "K",
            error,
            "estimated from both limits, T+ + T- - sqrt(T+ T-); the error spans the hysteresis",
        )
        width = abs(melted - frozen)
        warnings += missed_goal(error, settings.error, lambda _: narrower(width, settings, n_atoms))
    return quantities, tuple(warnings)


def narrower(width: float, settings: MeltingSettings, n_atoms: int) -> str:
    """Return what it takes to bring the error of a hysteresis [K] down to the one asked for, in words.

    Notes
    -----
    A nucleus comes after ``t = tau / N exp(G* / kT)``, tau = 1 ps being what one atom waits without a barrier. In classical
    theory ``G* / kT`` goes as ``1 / (T (T - Tm)^2)``: where the hysteresis is to be narrower by a factor, the logarithm of
    ``N t / tau`` grows by its square.
    """
    goal = float(settings.error or math.inf)
    grid = settings.interval / math.sqrt(12.0)
    words = []
    if grid > 0.5 * goal:
        words.append(
            f"`interval` alone leaves {grid:.2g} K: lower it to {math.sqrt(3.0) * goal:.2g} K or less"
        )
    left = math.sqrt(12.0) * (goal - min(grid, 0.5 * goal))
    if width > left:
        waited = (settings.steps + settings.equilibration) * settings.timestep / 1000.0 * n_atoms
        power = math.log10(max(waited, 10.0)) * ((width / left) ** 2 - 1.0)
        much = (
            f"about 1e{power:.0f} times as many `steps`"
            if power < LONGEST
            else "more `steps` than there can be"
        )
        words.append(
            f"the hysteresis of {width:.0f} K, of which {left:.2g} K may be left, narrows only with the logarithm of the time "
            f"and takes {much}; the property `coexistence` has none"
        )
    return "; ".join(words)


def _curves(sweeps: dict[str, Sweep], settings: MeltingSettings) -> dict[str, Curve]:
    curves = {}
    for name, sweep in sweeps.items():
        for what, values, label in (
            ("enthalpy", sweep.enthalpies, "enthalpy [eV/atom]"),
            ("volume", sweep.volumes, "volume [Å^3/atom]"),
        ):
            y = np.array([v.value for v in values])
            error = np.array([v.error for v in values])
            curves[f"{what}, {name}"] = Curve(sweep.temperatures, y, "temperature [K]", label, error)
    width = settings.rdf_cutoff / settings.rdf_bins
    r = np.asarray((np.arange(settings.rdf_bins) + 0.5) * width, dtype=np.float64)
    for name, sweep in sweeps.items():
        chosen = np.unique(np.linspace(0, len(sweep.temperatures) - 1, 4).round().astype(int))
        for k in chosen:
            label = f"g(r), {name}"
            curves[f"{name} {sweep.temperatures[k]:.0f} K"] = Curve(r, sweep.distributions[k], "r [Å]", label)
    return curves


MELTING = Property(
    "melting",
    "hysteresis of melting and freezing: a crystal heated and cooled at constant pressure, with g(r)",
    MeltingSettings,
    _compute,
)
