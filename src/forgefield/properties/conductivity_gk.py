"""Thermal conductivity from equilibrium: the Green-Kubo integral of the heat flux autocorrelation."""

from __future__ import annotations

from dataclasses import dataclass
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
    flux_run,
    flux_system,
    mean_energies,
)
from forgefield.properties.correlation import GreenKubo, green_kubo
from forgefield.properties.dynamics_forces import ForceField
from forgefield.properties.simulation import dynamics_settings, short_of
from forgefield.properties.statistics import series_mean

__all__ = [
    "CONDUCTIVITY_GK",
    "Fluxes",
    "GreenKuboSettings",
    "conductivity_green_kubo",
    "simulate_fluxes",
]

FloatArray = NDArray[np.float64]


class GreenKuboSettings(FluxSettings):
    """Green-Kubo."""

    interval: float = Field(5.0, gt=0, description="between samples of the flux [fs]")
    replicas: int = Field(3, ge=1, description="independent simulations")
    blocks: int = Field(1, ge=1, description="parts that every simulation is divided into")
    correlation_time: float = Field(10.0, gt=0, description="longest lag [ps]")
    read_at: float | None = Field(
        None,
        gt=0,
        description="upper limit of the integral [ps]; null: where it changes no more than its error",
    )

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        need = 2.0 * self.correlation_time * self.blocks
        if self.length < need:
            raise ValueError(
                f"`length` ({self.length} ps) must be at least twice `correlation_time` for every block: {need:.4g} ps"
            )
        if self.read_at is not None and self.read_at > self.correlation_time:
            raise ValueError(f"`read_at` ({self.read_at} ps) lies beyond `correlation_time`")
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
    """

    parts: FloatArray
    interval: float
    volume: float
    temperature: float
    drift: float
    temperature_error: float = 0.0

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

    Notes
    -----
    ``kappa = V / (kB T^2) integral_0^inf <J(0) J(t)> dt`` (paper 5, eq. 10).
    """
    scale = TO_W_PER_M_K / (fluxes.volume * units.kB * fluxes.temperature**2) * 1000.0 * units.fs
    flux = fluxes.total(convective=convective)[:, :, list(components)] * np.sqrt(scale)
    n_lags = round(correlation_time / fluxes.interval) + 1
    n_lags = min(n_lags, flux.shape[1] // blocks // 2)
    return green_kubo(flux, fluxes.interval, n_lags=n_lags, blocks=blocks, until=read_at)


def simulate_fluxes(
    atoms: Atoms,
    field: ForceField,
    settings: GreenKuboSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Fluxes:
    """Run the simulations in equilibrium: thermostat first, then at constant energy."""
    origins = mean_energies(atoms, field)
    runs = []
    for n in range(settings.replicas):
        own = settings.model_copy(update={"seed": settings.seed + 1000 * n})
        runs.append(
            flux_run(
                atoms,
                field,
                own,
                dynamics_settings(own, ensemble="nve"),
                place=(n, settings.replicas, "simulation"),
                label=f"heat flux, virials {settings.virials}",
                origins=origins,
                checkpoint=None if folder is None else folder / f"simulation_{n + 1}.npz",
                progress=progress,
            )
        )
    drifts = []
    for records in runs:
        total = records["potential"] + records["kinetic"]
        slope = np.polynomial.polynomial.polyfit(np.arange(len(total)) * settings.spacing / 1000.0, total, 1)[
            1
        ]
        drifts.append(abs(float(slope)) / len(atoms))
    return Fluxes(
        np.stack([r["flux"] for r in runs]),
        settings.spacing / 1000.0,
        float(np.mean([r["volume"].mean() for r in runs])),
        float(np.mean([r["temperature"].mean() for r in runs])),
        max(drifts),
        float(np.sqrt(np.mean([series_mean(r["temperature"]).error ** 2 for r in runs]) / len(runs))),
    )


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: GreenKuboSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> PropertyResult:
    system = flux_system(atoms, calculator, settings)
    quantities, warnings = dict(system.quantities), list(system.warnings)
    fluxes = simulate_fluxes(system.atoms, system.field, settings, folder=folder, progress=progress)
    options: dict[str, Any] = {
        "correlation_time": settings.correlation_time,
        "convective": settings.convective,
        "blocks": settings.blocks,
        "read_at": settings.read_at,
    }
    whole = conductivity_green_kubo(fluxes, **options)
    options["read_at"] = float(whole.time[whole.plateau])
    quantities["conductivity"] = Quantity(whole.value, UNIT, whole.error, "mean of three directions")
    curves = {"mean": _curve(whole)}
    if settings.replicas * settings.blocks > 1:
        for axis, name in enumerate("xyz"):
            one = conductivity_green_kubo(fluxes, components=(axis,), **options)
            quantities[f"conductivity_{name}{name}"] = Quantity(one.value, UNIT, one.error)
            curves[name * 2] = _curve(one)
        other = conductivity_green_kubo(fluxes, **(options | {"convective": not settings.convective}))
        name = "without_convection" if settings.convective else "with_convection"
        quantities[f"conductivity_{name}"] = Quantity(other.value, UNIT, other.error)
    quantities |= {
        "read_at": Quantity(options["read_at"], "ps", note="upper limit of the integral"),
        "temperature": Quantity(fluxes.temperature, "K", fluxes.temperature_error),
        "energy_drift": Quantity(fluxes.drift, "eV/atom/ps"),
        "mean_flux": _mean_flux(fluxes, convective=settings.convective),
    }
    warnings += _doubts(whole, settings)
    curves["autocorrelation"] = Curve(
        whole.time,
        whole.correlation,
        "time [ps]",
        "flux autocorrelation [W/(m K ps)]",
        whole.correlation_error,
    )
    return PropertyResult(
        name="conductivity-gk",
        quantities=quantities,
        conditions={"n_atoms": len(system.atoms), "volume_A3": fluxes.volume}
        | settings.model_dump(mode="json"),
        curves=curves,
        warnings=tuple(warnings),
    )


def _curve(one: GreenKubo) -> Curve:
    return Curve(one.time, one.integral, "time [ps]", "conductivity [W/(m K)]", one.integral_error)


def _mean_flux(fluxes: Fluxes, *, convective: bool) -> Quantity:
    """Return the largest mean component of the flux in its standard errors."""
    flux = fluxes.total(convective=convective)
    pulls = []
    for series in np.moveaxis(flux, 2, 1).reshape(-1, flux.shape[1]):
        found = series_mean(series)
        pulls.append(abs(found.value) / found.error if found.error > 0 else 0.0)
    return Quantity(max(pulls), "", note="largest mean component, in its standard errors; 0 in equilibrium")


def _doubts(whole: GreenKubo, settings: GreenKuboSettings) -> list[str]:
    found = short_of(
        whole.value,
        whole.error,
        settings.error,
        lambda times: f"{settings.replicas * times:.0f} replicas of {settings.length} ps",
    )
    if not whole.converged:
        found.append(
            f"the integral still grows at {whole.time[-1]:.4g} ps; take a longer `correlation_time` and `length`"
        )
    return found


CONDUCTIVITY_GK = Property(
    "conductivity-gk", "thermal conductivity from equilibrium (Green-Kubo)", GreenKuboSettings, _compute
)
