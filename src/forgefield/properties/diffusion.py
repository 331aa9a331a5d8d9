"""Motion of atoms: mean squared displacement, diffusion coefficients, velocity autocorrelation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgefield.errors import ConfigError, DataError
from forgefield.properties.base import Curve, Progress, Property, PropertyResult, Quantity, silent
from forgefield.properties.correlation import mean_squared_displacement
from forgefield.properties.simulation import SimulationSettings, require_length, short_of, trajectory_of
from forgefield.properties.statistics import of_replicas, series_mean
from forgefield.properties.trajectory import Trajectory

__all__ = ["MSD", "Diffusion", "diffusion", "yeh_hummer"]

FloatArray = NDArray[np.float64]

A2_PER_PS_TO_M2_PER_S = 1e-8
CUBE = 2.837297
"""Yeh and Hummer's constant of a cubic box."""
MPA_S = 1e-3 / 160.2176634e9 * 1e12
"""1 mPa s in eV/Å^3 ps."""


@dataclass(frozen=True)
class Diffusion:
    """How atoms of one element move.

    Attributes
    ----------
    element : str
    time : (n_lags,) [ps]
    msd, msd_error : (n_lags,) [Å^2]
    coefficient, error : float [Å^2/ps]
        Slope / 6 in `window`.
    window : (float, float) [ps]
    exponent, exponent_error : float
        Of the power of time in the window: 1 for diffusion, 0 in a solid.
    """

    element: str
    time: FloatArray
    msd: FloatArray
    msd_error: FloatArray
    coefficient: float
    error: float
    window: tuple[float, float]
    exponent: float
    exponent_error: float


def diffusion(
    moving: Trajectory, *, blocks: int = 10, window: tuple[float, float] | None = None
) -> dict[str, Diffusion]:
    """Return the self-diffusion of every element.

    Parameters
    ----------
    moving : Trajectory
    blocks : int
        Independent parts: the coefficient is the mean of theirs, and its error that of the mean.
    window : (float, float) [ps], optional
        Where the line is fitted; default: from 0.2 to 0.5 of the length of a part.

    Notes
    -----
    Displacements are relative to the centre of mass of all atoms. ``D = lim d<|r(t) - r(0)|^2>/dt / 6``.

    Raises
    ------
    DataError, ConfigError
        Too few frames for so many parts; a window that does not fit into a part.
    """
    size = len(moving) // blocks
    if size < 10:
        need = 10 * blocks * moving.interval / 1000.0
        raise DataError(
            f"{len(moving)} frames are too few for {blocks} parts of at least 10; simulate {need:.3g} ps or more, or "
            "take fewer `blocks`"
        )
    step = moving.interval / 1000.0
    low, high = (0.2 * size * step, 0.5 * size * step) if window is None else window
    first, last = round(low / step), round(high / step)
    if not (first >= 0 and first + 2 <= last < size):
        raise ConfigError(
            f"`fit` from {low:.4g} to {high:.4g} ps needs at least three samples inside one part of the trajectory "
            f"(0 to {(size - 1) * step:.4g} ps, one every {step:.4g} ps)"
        )
    centre = np.einsum("i,tia->ta", moving.masses / moving.masses.sum(), moving.positions)
    positions = (moving.positions - centre[:, None])[: size * blocks]
    time = np.asarray(np.arange(last + 1) * step, dtype=np.float64)
    result = {}
    for element in moving.elements:
        chosen = positions[:, moving.of(element)].reshape(blocks, size, -1, 3)
        each = np.stack(
            [mean_squared_displacement(part, last + 1).sum(axis=2).mean(axis=1) for part in chosen]
        )
        mean, error = of_replicas(each)
        slopes = np.polynomial.polynomial.polyfit(time[first:], each[:, first:].T, 1)[1]
        value, value_error = of_replicas(slopes / 6.0)
        inside = slice(max(first, 1), None)
        logs = np.log(np.maximum(each[:, inside], 1e-300))
        powers = np.polynomial.polynomial.polyfit(np.log(time[inside]), logs.T, 1)[1]
        exponent, exponent_error = of_replicas(powers)
        numbers = (float(value), float(value_error), (low, high), float(exponent), float(exponent_error))
        result[element] = Diffusion(element, time, mean, error, *numbers)
    return result


def yeh_hummer(temperature: float, viscosity: float, length: float) -> float:
    """Return what a cubic box of finite length takes from a diffusion coefficient [Å^2/ps]: add it.

    Parameters
    ----------
    temperature : float [K]
    viscosity : float [mPa s]
    length : float [Å]
        Edge of the box.

    Notes
    -----
    ``2.837297 kT / (6 pi eta L)``: I.-C. Yeh and G. Hummer, J. Phys. Chem. B 108, 15873 (2004), eq. 12.
    """
    return float(CUBE * units.kB * temperature / (6.0 * np.pi * viscosity * MPA_S * length))


class MsdSettings(SimulationSettings):
    """Diffusion."""

    fit: tuple[float, float] | None = Field(
        None,
        description="times between which the slope is taken [ps]; null: 0.2 to 0.5 of the length of a block",
    )
    viscosity: float | None = Field(
        None,
        gt=0,
        description="[mPa s]; corrects the diffusion coefficient of a liquid for the size of the cell",
    )
    error: float | None = Field(
        None, gt=0, description="relative standard error wanted; said in a warning where it is not reached"
    )

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        frames = 10 * self.blocks * self.spacing / 1000.0
        require_length(self, frames, f"{self.blocks} blocks of ten samples every {self.spacing} fs")
        if self.fit is not None:
            if not 0 <= self.fit[0] < self.fit[1]:
                raise ValueError(f"`fit` must be two rising times [ps], got {self.fit}")
            need = self.blocks * (self.fit[1] + self.spacing / 1000.0)
            require_length(self, need, f"{self.blocks} blocks that hold `fit` up to {self.fit[1]} ps")
        return self


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: MsdSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> PropertyResult:
    moving, done = trajectory_of(
        atoms, calculator, settings, purpose="a diffusion coefficient", folder=folder, progress=progress
    )
    found = diffusion(moving, blocks=settings.blocks, window=settings.fit)
    quantities: dict[str, Quantity] = {}
    warnings: list[str] = []
    temperature = settings.temperature if moving.temperature is None else moving.mean_temperature()
    length = float(moving.volumes.mean() ** (1.0 / 3.0))
    for element, one in found.items():
        unit = A2_PER_PS_TO_M2_PER_S
        quantities[f"{element} diffusion"] = Quantity(one.coefficient * unit, "m^2/s", one.error * unit)
        quantities[f"{element} exponent"] = Quantity(
            one.exponent, "", one.exponent_error, "of time in the window; 1: diffusion"
        )
        if settings.viscosity is not None:
            added = yeh_hummer(temperature, settings.viscosity, length)
            quantities[f"{element} diffusion_infinite"] = Quantity(
                (one.coefficient + added) * unit,
                "m^2/s",
                one.error * unit,
                "without the effect of the finite cell",
            )
        warnings += _doubts(one, settings.error, moving.length)
    if settings.viscosity is not None and not _cubic(moving):
        warnings.append("the correction for the size of the cell is that of a cube; this cell is none")
    time, squared = "time [ps]", "mean squared displacement [Å^2]"
    return PropertyResult(
        name="msd",
        quantities=quantities | {"temperature": _warmth(moving, temperature)},
        conditions=settings.model_dump(mode="json") | done | {"n_frames": len(moving)},
        curves={name: Curve(one.time, one.msd, time, squared, one.msd_error) for name, one in found.items()},
        warnings=tuple(warnings),
    )


def _doubts(one: Diffusion, wanted: float | None, length: float) -> list[str]:
    found = []
    if not 0.8 < one.exponent < 1.25:
        found.append(
            f"{one.element}: the mean squared displacement grows with the power {one.exponent:.2f} of time, not with 1: "
            "no diffusion on this time scale; simulate longer, or it is a solid"
        )
    short = short_of(one.coefficient, one.error, wanted, lambda times: f"{length * times:.3g} ps")
    return found + [f"{one.element}: {text}" for text in short]


def _warmth(moving: Trajectory, temperature: float) -> Quantity:
    error = None if moving.temperature is None else series_mean(moving.temperature).error
    return Quantity(temperature, "K", error)


def _cubic(moving: Trajectory) -> bool:
    metric = moving.cells[0] @ moving.cells[0].T
    return bool(np.allclose(metric, metric[0, 0] * np.eye(3), rtol=1e-3, atol=1e-3 * metric[0, 0]))


MSD = Property("msd", "mean squared displacement and diffusion coefficients", MsdSettings, _compute)
