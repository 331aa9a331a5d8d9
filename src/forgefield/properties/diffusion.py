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
from forgefield.properties.displacements import (
    BEGIN,
    PART,
    STRETCHES,
    Average,
    average,
    default_window,
    length_for_lag,
    slope_weights,
)
from forgefield.properties.simulation import SimulationSettings, require_length, short_of, trajectory_of
from forgefield.properties.statistics import series_mean
from forgefield.properties.trajectory import Trajectory

__all__ = ["MSD", "Diffusion", "MsdSettings", "diffusion", "doubts_about", "yeh_hummer"]

FloatArray = NDArray[np.float64]

A2_PER_PS_TO_M2_PER_S = 1e-8
CUBE = 2.837297
"""Yeh and Hummer's constant of a cubic box."""
MPA_S = 1e-3 / 160.2176634e9 * 1e12
"""1 mPa s in eV/Å^3 ps."""

FEWEST = 20
"""Frames."""
ERRORS = 16
"""Lags at which the error of the mean squared displacement is computed; between them its relative error is interpolated."""
SIGNIFICANT = 2.5
"""Standard errors beyond which slopes differ."""
CHANGING = 0.2
"""Part of the slope by which that before the window may differ from it."""
LATER = 2.5
"""How much later the next window to try begins: where the one before ends."""
SEEN = 3.0
"""Standard errors beyond which atoms do diffuse."""


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
    change, change_error : float [Å^2/ps]
        Slope / 6 of the first half of the window less that of the second: 0 for diffusion.
    before, before_error : float [Å^2/ps]
        Slope / 6 between 0.4 of the start of the window and its start, less that in the window: the smaller, the longer
        diffusion has been reached.
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
    change: float
    change_error: float
    before: float
    before_error: float

    @property
    def settled(self) -> bool:
        """Whether the slope changes no more, as far as can be told: within the window, and from before it."""
        still = abs(self.change) <= SIGNIFICANT * self.change_error
        limit = max(SIGNIFICANT * self.before_error, CHANGING * abs(self.coefficient))
        return still and abs(self.before) <= limit


def diffusion(moving: Trajectory, *, window: tuple[float, float] | None = None) -> dict[str, Diffusion]:
    """Return the self-diffusion of every element.

    Parameters
    ----------
    moving : Trajectory
    window : (float, float) [ps], optional
        Where the line is fitted; default: see `displacements.default_window`.

    Notes
    -----
    Displacements are relative to the centre of mass of all atoms, and in the mean cell where the cell moves.
    ``D = lim d<|r(t) - r(0)|^2>/dt / 6``; for errors see `displacements.average`.

    Raises
    ------
    DataError, ConfigError
        Too few frames; a window that does not fit into the trajectory.
    """
    step = moving.interval / 1000.0
    if len(moving) < FEWEST:
        raise DataError(
            f"{len(moving)} frames are too few for a diffusion coefficient (at least {FEWEST}); simulate "
            f"{FEWEST * step:.3g} ps or more"
        )
    low, high = default_window(moving.length) if window is None else window
    first, last = round(low / step), round(high / step)
    if not (first >= 0 and first + 2 <= last and last * STRETCHES <= len(moving) - 1):
        raise ConfigError(
            f"`fit` from {low:.4g} to {high:.4g} ps needs three samples or more (one every {step:.4g} ps) and a trajectory "
            f"of {STRETCHES * high:.4g} ps or more, got {moving.length:.4g} ps; simulate longer, or set `fit`"
        )
    positions = moving.in_mean_cell()
    positions = positions - np.einsum("i,tia->ta", moving.masses / moving.masses.sum(), positions)[:, None]
    return {
        element: _motion(element, positions[:, moving.of(element)], step, (first, last))
        for element in moving.elements
    }


def _motion(element: str, positions: FloatArray, step: float, window: tuple[int, int]) -> Diffusion:
    """Return the motion of atoms (n_frames, n_atoms, 3), with a window in frames."""
    first, last = window
    lags = np.arange(first, last + 1)
    middle = (first + last) // 2
    slope = _slope(first, last, step)

    def found(weights: dict[int, float]) -> Average:
        k = np.array(sorted(weights))
        return average(positions, k, np.array([weights[n] for n in k]), last)

    line = found(slope)
    change = found(_difference(_slope(first, middle, step), _slope(middle, last, step)))
    start = min(round(BEGIN * first), first - 1)
    before = found(_difference(_slope(start, first, step), slope)) if start >= 0 else Average(0.0, 0.0)
    msd = mean_squared_displacement(positions, last + 1).sum(axis=2).mean(axis=1)
    inside = lags[max(first, 1) - first :]
    powers = slope_weights(np.log(inside))
    size = np.maximum(msd[inside], 1e-300)
    spread = found(dict(zip(inside.tolist(), powers / size, strict=True)))
    return Diffusion(
        element, np.asarray(np.arange(last + 1) * step, dtype=np.float64), msd, _errors(positions, msd, last),
        line.value, line.error, (first * step, last * step),
        float(powers @ np.log(size)), spread.error, change.value, change.error, before.value, before.error,
    )  # fmt: skip


def _slope(first: int, last: int, step: float) -> dict[int, float]:
    """Return what displacements at lags are multiplied by, for slope / 6."""
    lags = np.arange(first, last + 1)
    return dict(zip(lags.tolist(), slope_weights(step * lags.astype(np.float64)) / 6.0, strict=True))


def _difference(one: dict[int, float], other: dict[int, float]) -> dict[int, float]:
    return {k: one.get(k, 0.0) - other.get(k, 0.0) for k in one.keys() | other.keys()}


def _errors(positions: FloatArray, msd: FloatArray, last: int) -> FloatArray:
    """Return standard errors of displacements at all lags, from those at some."""
    lags = np.unique(np.geomspace(1, last, ERRORS).astype(int))
    some = [average(positions, np.array([k]), np.ones(1), int(k)).error for k in lags]
    relative = np.array(some) / np.maximum(msd[lags], 1e-300)
    errors: FloatArray = msd * np.interp(np.arange(last + 1), lags, relative)
    return errors


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
        description="times between which the slope is taken [ps]; null: 0.4 of the longest to the longest, a quarter of the "
        "length up to 20 ps and 5 ps times the cube root of length / 20 ps beyond",
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
        require_length(self, FEWEST * self.spacing / 1000.0, f"{FEWEST} samples every {self.spacing} fs")
        if self.fit is not None:
            if not 0 <= self.fit[0] < self.fit[1]:
                raise ValueError(f"`fit` must be two rising times [ps], got {self.fit}")
            require_length(self, STRETCHES * self.fit[1], f"`fit` up to {self.fit[1]} ps")
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
    found = diffusion(moving, window=settings.fit)
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
        warnings += doubts_about(one, settings, moving.length)
    if settings.viscosity is not None and not _cubic(moving):
        warnings.append("the correction for the size of the cell is that of a cube; this cell is none")
    time, squared = "time [ps]", "mean squared displacement [Å^2]"
    return PropertyResult(
        name="msd",
        quantities=quantities | {"temperature": _warmth(moving, temperature)},
        conditions=settings.model_dump(mode="json")
        | done
        | {"n_frames": len(moving), "fit_ps": list(next(iter(found.values())).window)},
        curves={name: Curve(one.time, one.msd, time, squared, one.msd_error) for name, one in found.items()},
        warnings=tuple(warnings),
    )


def doubts_about(one: Diffusion, settings: MsdSettings, length: float) -> list[str]:
    """Return warnings: no diffusion, a slope that still changes, an error larger than the one wanted.

    Parameters
    ----------
    one : Diffusion
    settings : MsdSettings
    length : float [ps]
        Of the trajectory.
    """
    found = []
    seen = abs(one.coefficient) > SEEN * one.error
    if not seen and one.exponent < 0.8:
        found.append(f"{one.element}: {_resting(one)}")
    elif not one.settled:
        found.append(f"{one.element}: {_unsettled(one, length)}")
    takes = _length_of_fixed if settings.fit is not None else _length_of_default
    short = short_of(
        one.coefficient, one.error, settings.error, lambda times: f"{takes(times, length):.3g} ps"
    )
    return found + [f"{one.element}: {text}" for text in short]


def _unsettled(one: Diffusion, length: float) -> str:
    """Return by how much the slope still changes, and which window to take instead."""
    inside = abs(one.change) > SIGNIFICANT * one.change_error
    change, error = (one.change, one.change_error) if inside else (one.before, one.before_error)
    low, high = one.window
    slope = max(abs(one.coefficient), 1e-300)
    where = "between the two halves of" if inside else "from the time before"
    return (
        f"the slope of the mean squared displacement {'falls' if change > 0 else 'rises'} by "
        f"{abs(change) / slope:.0%} ± {error / slope:.0%} {where} the window ({low:.3g} to "
        f"{high:.3g} ps; power {one.exponent:.2f} of time, 1: diffusion): diffusion may not be reached; take "
        f"fit=[{LATER * low:.3g}, {LATER * high:.3g}] or later, for which {LATER * high / PART:.3g} ps is a good length (this: "
        f"{length:.3g})"
    )


def _resting(one: Diffusion) -> str:
    """Return that atoms stay where they are, and how long it takes to see otherwise."""
    low, high = one.window
    inside = one.time >= low
    offset = float((one.msd[inside] - 6.0 * one.coefficient * one.time[inside]).mean())
    fastest = max(one.coefficient, 0.0) + SEEN * one.error
    if not fastest > 0.0:
        return "nothing moves"
    return (
        f"no diffusion seen in {high:.3g} ps (power {one.exponent:.2f} of time, 1: diffusion): a solid, or slower than "
        f"{fastest * A2_PER_PS_TO_M2_PER_S:.2g} m^2/s; at that pace atoms would move as far as they vibrate within "
        f"{max(offset, 0.0) / (6.0 * fastest):.3g} ps; simulate many times that"
    )


def _length_of_fixed(times: float, length: float) -> float:
    """Return how long it takes [ps] for an error that is smaller by the root of `times`, between the same lags."""
    return length * times


def _length_of_default(times: float, length: float) -> float:
    """Return the same between default lags: the error goes with the root of the longest lag over the length."""
    return length_for_lag(default_window(length)[1] / length / times)


def _warmth(moving: Trajectory, temperature: float) -> Quantity:
    error = None if moving.temperature is None else series_mean(moving.temperature).error
    return Quantity(temperature, "K", error)


def _cubic(moving: Trajectory) -> bool:
    metric = moving.cells[0] @ moving.cells[0].T
    return bool(np.allclose(metric, metric[0, 0] * np.eye(3), rtol=1e-3, atol=1e-3 * metric[0, 0]))


MSD = Property("msd", "mean squared displacement and diffusion coefficients", MsdSettings, _compute)
