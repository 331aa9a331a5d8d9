"""Thermal conductivity from homogeneous nonequilibrium molecular dynamics: a weak force drives a steady heat flux."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgefield.errors import SimulationError
from forgefield.properties.base import Curve, Progress, Property, PropertyResult, Quantity, silent
from forgefield.properties.conductivity_flux import TO_W_PER_M_K, Driving
from forgefield.properties.conductivity_simulation import (
    UNIT,
    FluxSettings,
    FluxSystem,
    flux_system,
    mean_energies,
)
from forgefield.properties.conductivity_starts import conditions_of, flux_run, stage, starts_of
from forgefield.properties.dynamics import Dynamics
from forgefield.properties.simulation import dynamics_settings, short_of
from forgefield.properties.statistics import Estimate, block_means, of_replicas, series_mean, straight_line

__all__ = ["CONDUCTIVITY_HNEMD", "HnemdSettings", "Response", "conductivity_hnemd", "response"]

FloatArray = NDArray[np.float64]
AXES = {"x": 0, "y": 1, "z": 2}
STRONGEST = 1.0
"""Driving force [1/Å]: an atom that is 1 eV above the mean would feel 1 eV/Å."""


class HnemdSettings(FluxSettings):
    """HNEMD."""

    fields: tuple[float, ...] = Field(
        (1e-4, 2e-4),
        min_length=1,
        description="driving forces [1/Å]; two or more show whether the answer is linear",
    )
    direction: Literal["x", "y", "z"] = Field("x", description="of the driving force")
    thermostat_time: float = Field(100.0, gt=0, description="relaxation time of the temperature [fs]")
    settle: float = Field(5.0, ge=0, description="with the driving force on, left out at the start [ps]")

    @model_validator(mode="after")
    def _driving(self) -> Self:
        wrong = [one for one in self.fields if one == 0.0 or not np.isfinite(one)]
        if wrong:
            raise ValueError(
                f"`fields` are driving forces, finite and not 0, got {wrong[0]}; conductivity-gk needs none"
            )
        strongest = max(map(abs, self.fields))
        if strongest > STRONGEST:
            raise ValueError(
                f"`fields` of {strongest:g}/Å are no weak driving forces; at most {STRONGEST:g}, usually 1e-5 to 1e-2"
            )
        return self


@dataclass(frozen=True)
class Response:
    """The steady answer to one driving force.

    Attributes
    ----------
    field : float [1/Å]
    time : (n,) [ps]
    instantaneous : (n,) [W/(m K)]
        ``J_a / (T F)`` of every sample.
    running, running_error : (n,) [W/(m K)]
        Its cumulative average.
    value, error : float [W/(m K)]
    across : Estimate [W/(m K)]
        The same of a perpendicular component of the flux: 0 by symmetry in cubic and isotropic materials.
    temperature, temperature_error : float [K]
    volume : float [Å^3]
    """

    field: float
    time: FloatArray
    instantaneous: FloatArray
    running: FloatArray
    running_error: FloatArray
    value: float
    error: float
    across: Estimate
    temperature: float
    temperature_error: float = 0.0
    volume: float = 0.0


def response(
    flux: FloatArray,
    volume: float,
    temperature: float,
    field: float,
    axis: int,
    interval: float,
    blocks: int = 10,
) -> Response:
    """Return the conductivity from the fluxes of a driven simulation.

    Parameters
    ----------
    flux : (n_samples, 3) [eV Å per ASE time]
        ``V J``.
    volume, temperature : float [Å^3], [K]
    field : float [1/Å]
    axis : int
    interval : float [ps]
    blocks : int

    Notes
    -----
    ``kappa = <J> / (T F)`` (paper 5, eq. 15; D. J. Evans, Phys. Lett. A 91, 457 (1982)). The error is the larger of
    those from blocks and from the autocorrelation time.
    """
    scaled = flux / (volume * temperature * field) * TO_W_PER_M_K
    along = scaled[:, axis]
    found = series_mean(along)
    _, blocked = of_replicas(block_means(along, min(blocks, len(along))))
    error = max(found.error, float(blocked))
    count = np.arange(1, len(along) + 1)
    running = np.cumsum(along) / count
    return Response(
        field,
        np.asarray(count * interval, dtype=np.float64),
        along,
        np.asarray(running, dtype=np.float64),
        np.asarray(error * np.sqrt(len(along) / count), dtype=np.float64),
        found.value,
        error,
        series_mean(scaled[:, (axis + 1) % 3]),
        temperature,
    )


def conductivity_hnemd(
    system: FluxSystem,
    settings: HnemdSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> tuple[list[Response], dict[str, Any]]:
    """Run one driven simulation for each driving force, all in one cell; return the answers and what was done."""
    count = len(settings.fields)
    whole = settings.equilibration + settings.settle + settings.length
    warming = settings.equilibration / whole
    first = stage(progress, 0.0, warming)
    starts = starts_of(system, settings, count, level=False, folder=folder, progress=first)
    origins = mean_energies(system.atoms, system.field)
    found = []
    for n, (strength, start) in enumerate(zip(settings.fields, starts.atoms, strict=True)):
        own = settings.model_copy(
            update={"seed": settings.seed + 1000 * n, "length": settings.length + settings.settle}
        )
        told = stage(progress, warming, 1.0, f"driving force {n + 1}", n, count)
        checkpoint = None if folder is None else folder / f"driven_{n + 1}.npz"
        dynamics, one = _driven(start, system, own, strength, origins, checkpoint, told)
        found.append(one)
    return found, conditions_of(dynamics, settings, starts)


def _driven(
    start: Atoms,
    system: FluxSystem,
    settings: HnemdSettings,
    strength: float,
    origins: FloatArray,
    checkpoint: Path | None,
    progress: Progress,
) -> tuple[Dynamics, Response]:
    """Return the answer to one driving force."""
    axis = AXES[settings.direction]
    vector = np.zeros(3)
    vector[axis] = strength
    equations = dynamics_settings(
        settings,
        ensemble="nvt",
        thermostat="bussi",
        thermostat_time=settings.thermostat_time,
        seed=settings.seed + 2,
    )
    try:
        dynamics, records = flux_run(
            start,
            system,
            settings,
            equations,
            label=f"{settings.direction} {strength:g}, convective {settings.convective}",
            origins=origins,
            drive=Driving(vector, origins, settings.convective),
            checkpoint=checkpoint,
            progress=progress,
        )
    except SimulationError as error:
        raise SimulationError(
            f"{error}. It was driven by {strength:g}/Å: take smaller `fields` or a shorter `thermostat_time`"
        ) from None
    skip = round(settings.settle * 1000.0 / settings.spacing)
    flux = records["flux"][skip:]
    flux = flux.sum(axis=1) if settings.convective else flux[:, 0]
    warmth = series_mean(records["temperature"][skip:])
    volume = dynamics.state.volume
    one = response(flux, volume, warmth.value, strength, axis, settings.spacing / 1000.0, settings.blocks)
    return dynamics, replace(one, temperature_error=warmth.error, volume=volume)


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: HnemdSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> PropertyResult:
    system = flux_system(atoms, calculator, settings)
    quantities, warnings = dict(system.quantities), list(system.warnings)
    found, conditions = conductivity_hnemd(system, settings, folder=folder, progress=progress)
    values, errors = np.array([r.value for r in found]), np.array([r.error for r in found])
    weights = 1.0 / errors**2
    mean, error = float(weights @ values / weights.sum()), float(1.0 / np.sqrt(weights.sum()))
    quantities["conductivity"] = Quantity(mean, UNIT, error, "weighted mean over driving forces")
    for one in found:
        name = f"F={one.field:g}"
        quantities[f"conductivity {name}"] = Quantity(one.value, UNIT, one.error)
        quantities[f"across {name}"] = Quantity(
            one.across.value, UNIT, one.across.error, "perpendicular to the driving force; 0 by symmetry"
        )
        quantities[f"temperature {name}"] = Quantity(one.temperature, "K", one.temperature_error)
    if len(found) > 1:
        strengths = np.abs([r.field for r in found])
        extra, more = _linearity(strengths, values, errors)
        quantities |= extra
        warnings += more
    warnings += short_of(mean, error, settings.error, lambda times: f"{settings.length * times:.3g} ps")
    return PropertyResult(
        name="conductivity-hnemd",
        quantities=quantities,
        conditions=settings.model_dump(mode="json") | conditions,
        curves={f"F={r.field:g}": _running(r) for r in found},
        warnings=tuple(warnings),
    )


def _running(response: Response) -> Curve:
    """Return the cumulative average after a twentieth of the simulation: before, it is anywhere."""
    late = slice(len(response.time) // 20, None)
    return Curve(
        response.time[late],
        response.running[late],
        "time [ps]",
        "conductivity, average so far [W/(m K)]",
        response.running_error[late],
    )


def _linearity(
    strengths: FloatArray, values: FloatArray, errors: FloatArray
) -> tuple[dict[str, Quantity], list[str]]:
    """Fit ``kappa = k0 + k2 F^2``: even in F, so that k2 = 0 is the linear regime."""
    if len(np.unique(strengths)) < 2:
        return {}, []
    scaled = (strengths / strengths.max()) ** 2
    (k0, k2), (k0_error, k2_error), _ = straight_line(scaled, values, errors)
    found = {
        "extrapolated": Quantity(k0, UNIT, k0_error, "to no driving force"),
        "nonlinearity": Quantity(
            k2, UNIT, k2_error, "change of the conductivity at the largest driving force"
        ),
    }
    if abs(k2) > 2.0 * k2_error:
        text = (
            f"the answer is not linear: the conductivity changes by {k2:.3g} ± {k2_error:.2g} W/(m K) up to the largest "
            "driving force; take smaller `fields`"
        )
        return found, [text]
    return found, []


CONDUCTIVITY_HNEMD = Property(
    "conductivity-hnemd", "thermal conductivity from a driven heat flux (HNEMD)", HnemdSettings, _compute
)
