"""Time correlation functions by fast Fourier transform, with every frame as a time origin, and Green-Kubo integrals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forgefield.errors import DataError

__all__ = [
    "GreenKubo",
    "correlation",
    "doubts",
    "green_kubo",
    "mean_squared_displacement",
    "spectrum",
]

FloatArray = NDArray[np.float64]

CHANGED = 2.5
"""Errors by which an integral may differ between the lag it is read at and another one."""
SHORT = 0.25
"""Relative error above which a Green-Kubo integral is not known well enough to say how well."""
FEWEST_LAGS = 4
"""Intervals up to the lag an integral is read at."""


def correlation(series: ArrayLike, n_lags: int | None = None) -> FloatArray:
    """Return ``<x(0) x(t)>`` of each column, averaged over all time origins.

    Parameters
    ----------
    series : (n_frames, ...)
        The mean is not taken out.
    n_lags : int, optional
        Default: all, (n_frames, ...).
    """
    x = np.asarray(series, dtype=np.float64)
    n = len(x)
    n_lags = n if n_lags is None else min(n_lags, n)
    transform = np.fft.rfft(x, 2 * n, axis=0)
    product = np.fft.irfft(transform * transform.conj(), 2 * n, axis=0)[:n_lags]
    origins = (n - np.arange(n_lags)).reshape(-1, *[1] * (x.ndim - 1))
    result: FloatArray = product / origins
    return result


def mean_squared_displacement(positions: ArrayLike, n_lags: int | None = None) -> FloatArray:
    """Return ``<|r(t) - r(0)|^2>`` per component, (n_lags, ...) of positions (n_frames, ...), over all time origins.

    Notes
    -----
    ``<r(t)^2> + <r(0)^2> - 2 <r(0) r(t)>``, the first two sums running over the origins that lag t has: V. Calandrini
    et al., Collection SFN 12, 201 (2011).
    """
    x = np.asarray(positions, dtype=np.float64)
    x = x - x.mean(axis=0)  # keeps digits
    n = len(x)
    n_lags = n if n_lags is None else min(n_lags, n)
    total = np.concatenate([np.zeros((1, *x.shape[1:])), np.cumsum(x * x, axis=0)])
    lags = np.arange(n_lags)
    origins = (n - lags).reshape(-1, *[1] * (x.ndim - 1))
    early, late = total[n - lags], total[n] - total[lags]
    result: FloatArray = (early + late) / origins - 2.0 * correlation(x, n_lags)
    result[0] = 0.0
    return result


def spectrum(function: ArrayLike, interval: float, *, pad: int = 4) -> tuple[FloatArray, FloatArray]:
    """Return the cosine transform of an even correlation function (n_lags,), damped by a Hann window.

    Parameters
    ----------
    function : (n_lags,)
    interval : float
        Between lags.
    pad : int
        Zeros after the function, in units of its length: a finer grid of frequencies, not a finer resolution.

    Returns
    -------
    frequencies : (n,)
        In units of 1 / `interval`, cycles.
    density : (n,)
        ``2 integral_0^T c(t) w(t) cos(2 pi f t) dt``.
    """
    c = np.asarray(function, dtype=np.float64)
    n = len(c)
    window = 0.5 * (1.0 + np.cos(np.pi * np.arange(n) / n))
    padded = np.zeros(n * pad)
    padded[:n] = c * window
    transform = 2.0 * np.fft.rfft(padded).real - padded[0]  # trapezoid: half of the first term
    frequencies = np.asarray(np.fft.rfftfreq(n * pad, interval), dtype=np.float64)
    return frequencies, np.asarray(transform * interval, dtype=np.float64)


@dataclass(frozen=True)
class GreenKubo:
    """The time integral of a correlation function, read off at a lag that was fixed beforehand.

    Attributes
    ----------
    time : (n_lags,)
        In the unit of the interval given.
    correlation : (n_lags,)
    correlation_error : (n_lags,) or None
        None: one series, which has no spread.
    integral, integral_error : (n_lags,)
        Running integral from 0.
    read_at : float
        The value is the mean of the running integral over the last quarter before this lag.
    value, error : float
    relative : float
        Relative standard error that the length of the series allows, from theory.
    change, change_error : float
        By how much the value differs from the one read at half that lag (at the last lag, where that is later).
    """

    time: FloatArray
    correlation: FloatArray
    correlation_error: FloatArray | None
    integral: FloatArray
    integral_error: FloatArray
    read_at: float
    value: float
    error: float
    relative: float
    change: float
    change_error: float

    @property
    def converged(self) -> bool:
        """Whether the integral no longer changes, by more than `CHANGED` errors of the change."""
        return abs(self.change) <= CHANGED * self.change_error

    @property
    def sampled(self) -> bool:
        """Whether the series are long enough for the lag, so that the error means something."""
        return self.relative <= SHORT


def green_kubo(
    replicas: ArrayLike,
    interval: float,
    *,
    n_lags: int,
    blocks: int = 1,
    read_at: float | None = None,
    equivalent: bool = False,
) -> GreenKubo:
    """Return the integral of the autocorrelation of fluxes, averaged over their components.

    Parameters
    ----------
    replicas : (n_replicas, n_frames, n_components)
        Fluxes of independent simulations, whose mean is 0.
    interval : float
        Between frames.
    n_lags : int
        Correlations up to this many intervals.
    blocks : int
        Every simulation is divided into so many parts; their spread gives the error.
    read_at : float, optional
        Where to read the integral off; default: at the last lag.
    equivalent : bool
        All components have the same integral by symmetry, so that they are repeats as parts are.

    Notes
    -----
    The lag must not be chosen from the same data: where the integral seems to stand still is where its noise says so, and its
    error there knows nothing of that choice. The error is the larger of two: the spread of the parts, within each component
    unless they are equivalent; and the relative error of an integral to a fixed lag with weights w(t), ``r^2 = 4 / n
    integral w(t)^2 / (L - t) dt`` of n series of length L (M. S. Bartlett's variance of a smoothed periodogram at frequency 0),
    times that factor by which the estimate, about chi squared with ``2 / r^2`` degrees of freedom, is relatively too small
    where it is small.

    Raises
    ------
    DataError
        The parts are shorter than twice the correlation asked for, or there are too few lags.
    """
    parts = _parts(replicas, interval, n_lags, blocks)
    _, size, n_components = parts.shape
    last = n_lags - 1 if read_at is None else min(n_lags - 1, round(read_at / interval))
    if last < FEWEST_LAGS:
        raise DataError(
            f"an integral over {last} intervals of {interval:.4g} is none; sample {FEWEST_LAGS} times as often as the lag it "
            "is read at, or read it later"
        )
    each = np.stack([correlation(part, n_lags) for part in parts])  # (n_parts, n_lags, n_components)
    each = np.moveaxis(each, 1, 2)
    if equivalent:
        each = each.reshape(-1, 1, n_lags)
    areas = np.zeros_like(each)
    areas[..., 1:] = np.cumsum(0.5 * interval * (each[..., 1:] + each[..., :-1]), axis=-1)
    late, other = (
        _window(n_lags, last),
        _window(n_lags, last // 2 if last > (n_lags - 1) // 2 else n_lags - 1),
    )
    windows = np.array([late, late - other]).T
    found = areas @ windows  # (n_parts, n_components, 2)
    value, change = found.mean(axis=(0, 1))
    count = len(parts) * n_components
    # How a weight over upper limits weighs each lag: all limits at and after it count.
    each_lag = np.cumsum(windows[::-1], axis=0)[::-1]
    relative, relative_change = np.sqrt(_variance(each_lag, size, count).sum(axis=0))
    running = np.sqrt(np.cumsum(_variance(np.ones((n_lags, 1)), size, count)[:, 0]))
    spread = _spread(found)
    skew = _skewness(float(relative))
    error, change_error = abs(value) * skew * relative, abs(value) * relative_change
    if spread is not None:
        error, change_error = max(error, spread[0]), max(change_error, spread[1])
    spread = _spread(areas)
    return GreenKubo(
        time=np.asarray(np.arange(n_lags) * interval, dtype=np.float64),
        correlation=each.mean(axis=(0, 1)),
        correlation_error=_spread(each),
        integral=areas.mean(axis=(0, 1)),
        integral_error=np.asarray(abs(value) * running if spread is None else spread),
        read_at=last * interval,
        value=float(value),
        error=float(error),
        relative=float(relative),
        change=float(change),
        change_error=float(change_error),
    )


def doubts(found: GreenKubo, more: str) -> list[str]:
    """Return warnings about an integral; `more` is what there should be more of."""
    said = []
    if not found.sampled:
        said.append(
            f"the simulations are short for a lag of {found.read_at:.4g} ps: they leave the integral a relative error of "
            f"{found.relative:.2g} and its error uncertain; take more {more}, or read the integral earlier"
        )
    if not found.converged:
        said.append(
            f"the integral still changes with the lag it is read at, by {found.change:.3g} ± {found.change_error:.2g} about "
            f"{found.read_at:.4g} ps; take a longer `correlation_time`"
        )
    return said


def _parts(replicas: ArrayLike, interval: float, n_lags: int, blocks: int) -> FloatArray:
    """Return parts (n_parts, size, n_components) of simulations, each long enough for so many lags."""
    x = np.asarray(replicas, dtype=np.float64)
    _, n_frames, n_components = x.shape
    size = n_frames // blocks
    if size < 2 * n_lags:
        need = 2 * n_lags * blocks / n_frames
        raise DataError(
            f"correlations over {n_lags * interval:.4g} need parts of twice that length, got {size * interval:.4g}; "
            f"make the simulation {need:.2g} times as long, or the correlation time shorter, or have fewer blocks"
        )
    parts: FloatArray = x[:, : size * blocks].reshape(-1, size, n_components)
    return parts


def _window(n_lags: int, last: int) -> FloatArray:
    """Return weights (n_lags,) of the running integral: its mean over the last quarter before lag `last`."""
    weights = np.zeros(n_lags)
    weights[round(0.75 * last) : last + 1] = 1.0
    weights /= weights.sum()
    return weights


def _variance(weights: FloatArray, size: int, count: int) -> FloatArray:
    """Return what each lag adds to the relative variance of an integral, of weights (n_lags, k)."""
    lags = np.arange(len(weights))[:, None]
    half = np.where(
        lags == 0, 0.5, 1.0
    )  # the first term of the trapezoid rule is half, its variance twice as large
    found: FloatArray = 4.0 * half * weights**2 / (count * (size - lags))
    return found


def _spread(values: FloatArray) -> FloatArray | None:
    """Return the standard error of the mean over parts and components of (n_parts, n_components, ...), from the spread of parts.

    What components have apart from each other counts as no error of their mean.
    """
    n_parts, n_components = values.shape[:2]
    if n_parts < 2:
        return None
    found: FloatArray = np.sqrt(values.var(axis=0, ddof=1).mean(axis=0) / (n_parts * n_components))
    return found


def _skewness(relative: float) -> float:
    """Return the factor of the relative error of a mean of `nu` squares which makes the rms of (x - truth) / error 1."""
    freedom = max(2.0 / relative**2, 6.0)
    return math.sqrt(freedom * (freedom + 4.0) / ((freedom - 2.0) * (freedom - 4.0)))
