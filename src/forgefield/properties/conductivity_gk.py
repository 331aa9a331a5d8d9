"""Thermal conductivity from equilibrium: the Green-Kubo integral of the heat flux autocorrelation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgefield.properties.base import Curve, Progress, Property, PropertyResult, Quantity, silent
from forgefield.properties.conductivity_flux import TO_W_PER_M_K
from forgefield.properties.conductivity_simulation import (
    UNIT,
    FluxSettings,
    FluxSystem,
    flux_system,
    mean_energies,
)
from forgefield.properties.conductivity_starts import conditions_of, flux_run, not_as_named, stage, starts_of
from forgefield.properties.correlation import FEWEST_LAGS, GreenKubo, doubts, green_kubo
from forgefield.properties.dynamics import Records
from forgefield.properties.simulation import dynamics_settings, short_of
from forgefield.properties.statistics import of_replicas, series_mean

__all__ = [
    "CONDUCTIVITY_GK",
    "Fluxes",
    "GreenKuboSettings",
    "conductivity_green_kubo",
    "simulate_fluxes",
]

FloatArray = NDArray[np.float64]

FLOWING = 4.0
"""Standard errors by which a mean flux may differ from 0."""
UNEQUAL = 11.8
"""Of chi squared with two degrees of freedom, beyond it once in 370 times by chance."""


class GreenKuboSettings(FluxSettings):
    """Green-Kubo."""

    interval: float = Field(5.0, gt=0, description="between samples of the flux [fs]")
    length: float = Field(40.0, gt=0, description="of every simulation [ps]")
    replicas: int = Field(8, ge=1, description="independent simulations")
    blocks: int = Field(1, ge=1, description="parts that every simulation is divided into")
    correlation_time: float = Field(10.0, gt=0, description="longest lag [ps]")
    read_at: float | None = Field(
        None,
        gt=0,
        description="lag at which the integral is read off, the mean over the last quarter before it [ps]; null: "
        "`correlation_time`. Two potentials are compared at the same lag",
    )

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        need = 2.0 * self.correlation_time * self.blocks
        if self.length < need:
            raise ValueError(
                f"`length` ({self.length} ps) must be at least twice `correlation_time` for every block: {need:.4g} ps"
            )
        read_at = self.read_at or self.correlation_time
        if read_at > self.correlation_time:
            raise ValueError(f"`read_at` ({self.read_at} ps) lies beyond `correlation_time`")
        if read_at * 1000.0 < FEWEST_LAGS * self.spacing:
            raise ValueError(
                f"the integral is read off at {read_at} ps, less than {FEWEST_LAGS} times `interval` ({self.spacing} fs)"
            )
        return self


@dataclass(frozen=True)
class Fluxes:
    """Heat fluxes of independent simulations in equilibrium.

    Attributes
    ----------
    parts : (n_replicas, n_samples, 2, 3) [eV Å per ASE time]
        ``V J``: potential and convective part.
    interval : float [ps]
    volume : float [Å^3]
    temperature : float [K]
    drift : float [eV/atom/ps]
        Largest change of the total energy: that of the integrator.
    temperature_error : float [K]
        From the spread of the simulations.
    conditions : dict
        What was simulated.
    """

    parts: FloatArray
    interval: float
    volume: float
    temperature: float
    drift: float
    temperature_error: float = 0.0
    conditions: dict[str, Any] = field(default_factory=dict)

    def total(self, *, convective: bool = True) -> FloatArray:
        """Return ``V J`` (n_replicas, n_samples, 3)."""
        flux: FloatArray = self.parts.sum(axis=2) if convective else self.parts[:, :, 0]
        return flux


def conductivity_green_kubo(
    fluxes: Fluxes,
    *,
    correlation_time: float,
    convective: bool = True,
    blocks: int = 1,
    read_at: float | None = None,
    components: tuple[int, ...] = (0, 1, 2),
) -> GreenKubo:
    """Return the conductivity [W/(m K)] as a function of the upper limit of time [ps], averaged over components.

    Components may have different conductivities: its error is that of their mean, from the spread of simulations.

    Notes
    -----
    ``kappa = V / (kB T^2) integral_0^inf <J(0) J(t)> dt`` (paper 5, eq. 10).
    """
    scale = TO_W_PER_M_K / (fluxes.volume * units.kB * fluxes.temperature**2) * 1000.0 * units.fs
    flux = fluxes.total(convective=convective)[:, :, list(components)] * np.sqrt(scale)
    n_lags = round(correlation_time / fluxes.interval) + 1
    n_lags = min(n_lags, flux.shape[1] // blocks // 2)
    return green_kubo(flux, fluxes.interval, n_lags=n_lags, blocks=blocks, read_at=read_at)


def simulate_fluxes(
    system: FluxSystem,
    settings: GreenKuboSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Fluxes:
    """Run the simulations in equilibrium: thermostat first, then at constant energy, the same for all."""
    warming = settings.equilibration / (settings.equilibration + settings.length)
    count, first = settings.replicas, stage(progress, 0.0, warming)
    starts = starts_of(system, settings, count, level=True, folder=folder, progress=first)
    origins = mean_energies(system.atoms, system.field)
    runs = []
    for n, start in enumerate(starts.atoms):
        own = settings.model_copy(update={"seed": settings.seed + 1000 * n})
        dynamics, records = flux_run(
            start,
            system,
            own,
            dynamics_settings(own, ensemble="nve"),
            label="heat flux",
            origins=origins,
            checkpoint=None if folder is None else folder / f"simulation_{n + 1}.npz",
            progress=stage(progress, warming, 1.0, f"simulation {n + 1}", n, count),
        )
        runs.append(records)
    warmth = np.array([records["temperature"].mean() for records in runs])
    error = of_replicas(warmth)[1] if len(runs) > 1 else series_mean(runs[0]["temperature"]).error
    return Fluxes(
        np.stack([records["flux"] for records in runs]),
        settings.spacing / 1000.0,
        dynamics.state.volume,
        float(warmth.mean()),
        max(_drift(records, settings) for records in runs) / len(system.atoms),
        float(error),
        conditions_of(dynamics, settings, starts),
    )


def _drift(records: Records, settings: GreenKuboSettings) -> float:
    """Return the rate at which the total energy changes [eV/ps]."""
    total = records["potential"] + records["kinetic"]
    times = np.arange(len(total)) * settings.spacing / 1000.0
    return abs(float(np.polynomial.polynomial.polyfit(times, total, 1)[1]))


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: GreenKuboSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> PropertyResult:
    system = flux_system(atoms, calculator, settings)
    fluxes = simulate_fluxes(system, settings, folder=folder, progress=progress)
    options: dict[str, Any] = {
        "correlation_time": settings.correlation_time,
        "convective": settings.convective,
        "blocks": settings.blocks,
        "read_at": settings.read_at,
    }
    whole = conductivity_green_kubo(fluxes, **options)
    quantities = dict(system.quantities)
    quantities["conductivity"] = Quantity(whole.value, UNIT, whole.error, "mean of three directions")
    curves = {"mean": _curve(whole)}
    directions = {}
    for axis, name in enumerate("xyz"):
        one = directions[name * 2] = conductivity_green_kubo(fluxes, components=(axis,), **options)
        quantities[f"conductivity_{name}{name}"] = Quantity(one.value, UNIT, one.error)
        curves[name * 2] = _curve(one)
    other = conductivity_green_kubo(fluxes, **(options | {"convective": not settings.convective}))
    name = "without_convection" if settings.convective else "with_convection"
    quantities[f"conductivity_{name}"] = Quantity(other.value, UNIT, other.error)
    pull = _mean_flux(fluxes, convective=settings.convective)
    quantities |= {
        "read_at": Quantity(whole.read_at, "ps", note="upper limit of the integral"),
        "temperature": Quantity(fluxes.temperature, "K", fluxes.temperature_error),
        "energy_drift": Quantity(fluxes.drift, "eV/atom/ps"),
        "mean_flux": Quantity(
            pull, "", note="largest mean component, in its standard errors; 0 in equilibrium"
        ),
    }
    curves["autocorrelation"] = Curve(
        whole.time,
        whole.correlation,
        "time [ps]",
        "flux autocorrelation [W/(m K ps)]",
        whole.correlation_error,
    )
    warnings = system.warnings + _doubts(whole, settings) + _unequal(directions)
    warnings += not_as_named(settings, fluxes.temperature, fluxes.temperature_error)
    if pull > FLOWING:
        warnings.append(
            f"a mean component of the heat flux is {pull:.2g} standard errors from 0, as in no equilibrium; take a longer "
            "`equilibration`, and look for atoms that drift"
        )
    return PropertyResult(
        name="conductivity-gk",
        quantities=quantities,
        conditions=settings.model_dump(mode="json") | fluxes.conditions,
        curves=curves,
        warnings=tuple(warnings),
    )


def _curve(one: GreenKubo) -> Curve:
    return Curve(one.time, one.integral, "time [ps]", "conductivity [W/(m K)]", one.integral_error)


def _mean_flux(fluxes: Fluxes, *, convective: bool) -> float:
    """Return the largest mean component of the flux in its standard errors."""
    flux = fluxes.total(convective=convective)
    pulls = []
    for series in np.moveaxis(flux, 2, 1).reshape(-1, flux.shape[1]):
        found = series_mean(series)
        pulls.append(abs(found.value) / found.error if found.error > 0 else 0.0)
    return max(pulls)


def _unequal(directions: Mapping[str, GreenKubo]) -> list[str]:
    """Return a warning where directions differ by more than chance."""
    values = np.array([one.value for one in directions.values()])
    mean = float(values.mean())
    # Were they equal, each would have the same error; what their spread alone says is itself by chance.
    error = np.sqrt(np.mean([max(abs(mean) * one.relative, one.error) ** 2 for one in directions.values()]))
    squared = float(((values - mean) ** 2).sum() / error**2)
    if squared <= UNEQUAL:
        return []
    found = ", ".join(f"{name} {Quantity(one.value, '', one.error)}" for name, one in directions.items())
    text = (
        f"the directions differ by more than chance ({found} {UNIT}): take them and not their mean, or, where symmetry makes "
        "them equal, more `replicas`"
    )
    return [text]


def _doubts(whole: GreenKubo, settings: GreenKuboSettings) -> list[str]:
    found = short_of(
        whole.value,
        whole.error,
        settings.error,
        lambda times: f"{settings.replicas * times:.0f} replicas of {settings.length} ps",
    )
    return found + doubts(whole, f"`replicas` (now {settings.replicas}) or `length` ({settings.length} ps)")


CONDUCTIVITY_GK = Property(
    "conductivity-gk", "thermal conductivity from equilibrium (Green-Kubo)", GreenKuboSettings, _compute
)
