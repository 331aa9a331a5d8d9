"""Shear viscosity of a liquid: Green-Kubo integral of the stress autocorrelation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgefield.errors import DataError
from forgefield.properties.base import Curve, Progress, Property, PropertyResult, Quantity, silent
from forgefield.properties.correlation import FEWEST_LAGS, GreenKubo, doubts, green_kubo
from forgefield.properties.simulation import SimulationSettings, require_length, short_of, trajectory_of
from forgefield.properties.statistics import series_mean
from forgefield.properties.trajectory import Trajectory
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["VISCOSITY", "shear_components", "viscosity"]

FloatArray = NDArray[np.float64]

TO_MPA_S = EV_PER_A3_TO_GPA * 1e9 * 1e-12 * 1e3
"""eV/Å^3 ps in mPa s."""


def shear_components(pressure: FloatArray) -> FloatArray:
    """Return five independent components (n, 5) of the traceless symmetric part of (n, 3, 3), each of equal variance.

    The sum of the squares of all nine elements of that part is twice the sum of their squares; for isotropic
    materials each has the variance of ``P_xy``.
    """
    p = 0.5 * (pressure + np.swapaxes(pressure, 1, 2))
    diagonal = 0.5 * (p[:, 0, 0] - p[:, 1, 1])
    other = (2.0 * p[:, 2, 2] - p[:, 0, 0] - p[:, 1, 1]) / (2.0 * np.sqrt(3.0))
    return np.stack([p[:, 0, 1], p[:, 0, 2], p[:, 1, 2], diagonal, other], axis=1)


def viscosity(
    moving: Trajectory,
    temperature: float,
    *,
    correlation_time: float = 2.0,
    blocks: int = 10,
    read_at: float | None = None,
) -> GreenKubo:
    """Return the shear viscosity [mPa s] of an isotropic liquid as a function of the upper limit of time [ps].

    Parameters
    ----------
    moving : Trajectory
        With pressures.
    temperature : float [K]
    correlation_time : float [ps]
    blocks : int
    read_at : float, optional [ps]
        Lag at which the integral is read off; default: `correlation_time`.

    Notes
    -----
    ``eta = V / kT integral_0^inf <P_ab(0) P_ab(t)> dt``, averaged over the five independent shear components: P. J.
    Daivis and D. J. Evans, J. Chem. Phys. 100, 541 (1994).

    Raises
    ------
    DataError
        No pressures, or too short.
    """
    if moving.pressure is None:
        raise DataError(
            "the trajectory has no pressures (stress and momenta of every frame), which viscosity needs"
        )
    step = moving.interval / 1000.0
    factor = float(moving.volumes.mean()) / (units.kB * temperature) * TO_MPA_S
    flux = shear_components(moving.pressure) * np.sqrt(factor)
    n_lags = round(correlation_time / step) + 1
    return green_kubo(flux[None], step, n_lags=n_lags, blocks=blocks, read_at=read_at, equivalent=True)


class ViscositySettings(SimulationSettings):
    """Viscosity."""

    length: float = Field(100.0, gt=0, description="of production [ps]")
    correlation_time: float = Field(2.0, gt=0, description="longest lag [ps]")
    read_at: float | None = Field(
        None,
        gt=0,
        description="lag at which the integral is read off, the mean over the last quarter before it [ps]; null: "
        "`correlation_time`. Two potentials are compared at the same lag",
    )
    error: float | None = Field(
        None, gt=0, description="relative standard error wanted; said in a warning where it is not reached"
    )

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        need = 2.0 * self.blocks * (self.correlation_time + 2e-3 * self.spacing)
        require_length(
            self, need, f"{self.blocks} blocks of twice `correlation_time` = {self.correlation_time} ps"
        )
        read_at = self.read_at or self.correlation_time
        if read_at > self.correlation_time:
            raise ValueError(f"`read_at` ({self.read_at} ps) lies beyond `correlation_time`")
        if self.trajectory is None and read_at * 1000.0 < FEWEST_LAGS * self.spacing:
            raise ValueError(
                f"the integral is read off at {read_at} ps, less than {FEWEST_LAGS} times `interval` ({self.spacing} fs)"
            )
        return self


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: ViscositySettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> PropertyResult:
    moving, done = trajectory_of(
        atoms, calculator, settings, purpose="a viscosity", folder=folder, progress=progress
    )
    temperature = settings.temperature if moving.temperature is None else moving.mean_temperature()
    found = viscosity(
        moving,
        temperature,
        correlation_time=settings.correlation_time,
        blocks=settings.blocks,
        read_at=settings.read_at,
    )
    warnings = short_of(
        found.value, found.error, settings.error, lambda times: f"{moving.length * times:.3g} ps"
    )
    warnings += doubts(found, f"`length` (now {moving.length:.4g} ps)")
    time = "time [ps]"
    return PropertyResult(
        name="viscosity",
        quantities={
            "viscosity": Quantity(found.value, "mPa s", found.error),
            "read_at": Quantity(found.read_at, "ps", note="upper limit of the integral"),
            "temperature": Quantity(
                temperature,
                "K",
                None if moving.temperature is None else series_mean(moving.temperature).error,
            ),
        },
        conditions=settings.model_dump(mode="json") | done | {"n_frames": len(moving)},
        curves={
            "integral": Curve(found.time, found.integral, time, "viscosity [mPa s]", found.integral_error),
            "autocorrelation": Curve(
                found.time,
                found.correlation,
                time,
                "stress autocorrelation [mPa s/ps]",
                found.correlation_error,
            ),
        },
        warnings=tuple(warnings),
    )


VISCOSITY = Property("viscosity", "shear viscosity of a liquid (Green-Kubo)", ViscositySettings, _compute)
