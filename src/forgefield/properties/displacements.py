"""Displacements of atoms over a time lag: their averages over a trajectory, and the standard errors of these.

An average over all time origins is one over overlapping stretches. How much they share is known for atoms that diffuse, so
that the scatter along the trajectory gives the error of the average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

__all__ = ["Average", "average", "default_window", "length_for_lag", "slope_weights"]

FloatArray = NDArray[np.float64]

PART = 0.25
"""The longest lag, in units of the length, of trajectories up to `SHORT`."""
SHORT = 20.0
"""[ps]; the longest lag of longer trajectories grows with the cube root of their length."""
BEGIN = 0.4
"""Where the line begins, in units of where it ends."""
STRETCHES = 3.0
"""Least length of a trajectory, in units of the longest lag, that an error can be told from."""
POINTS = 16
"""Lags that stand for all of them in the autocorrelation of an average."""
SHIFTS = 80
"""Shifts at which that autocorrelation is evaluated."""
CHUNK = 4_000_000
"""Numbers transformed at a time."""


@dataclass(frozen=True)
class Average:
    """A mean over a trajectory.

    Attributes
    ----------
    value, error : float
    """

    value: float
    error: float


def default_window(length: float) -> tuple[float, float]:
    """Return between which lags [ps] the slope of a trajectory of that length [ps] is taken.

    Notes
    -----
    From 0.4 of the longest lag to the longest: a quarter of the length up to 20 ps, and 5 ps times the cube root of
    length / 20 ps beyond, so that with the length both the statistical error and what is left of the motion before diffusion
    vanish.
    """
    high = PART * length if length <= SHORT else PART * SHORT * (length / SHORT) ** (1.0 / 3.0)
    return BEGIN * high, high


def length_for_lag(part: float) -> float:
    """Return the length [ps] whose default longest lag is this part of it, for parts up to a quarter."""
    return SHORT * float((PART / part) ** 1.5)


def slope_weights(lags: FloatArray) -> FloatArray:
    """Return what a least-squares slope multiplies values at lags (n,) by."""
    off = lags - lags.mean()
    weights: FloatArray = off / (off @ off)
    return weights


def average(positions: FloatArray, lags: NDArray[np.int64], weights: FloatArray, last: int) -> Average:
    """Return ``sum_k w_k <|r(t + k) - r(t)|^2>``, the mean over atoms and time origins, with its standard error.

    Parameters
    ----------
    positions : (n_frames, n_atoms, 3)
    lags : (n_lags,)
        In frames, rising.
    weights : (n_lags,)
    last : int
        Time origins are the frames before ``n_frames - last``.

    Notes
    -----
    The sum, averaged over atoms and components, is a series in the time origin, and autocorrelated over the longest lag: for
    Brownian motion squared displacements over intervals with the common part c are correlated with ``c^2``. With that shape
    the variance of its mean follows from the variance within the series, and once more from the variance of the means of
    stretches not shorter than the lag. The first has less scatter, the second knows of motion that slows down and speeds up
    as a whole; the larger of both is taken. As atoms and components are averaged first, what correlates them is in both.
    """
    series = _series(positions, lags, weights, last)
    n, stretches = len(series), max(2, len(series) // last)
    size = n // stretches
    covariance = _covariance(lags, weights, min(last, n - 1))
    whole, part = _variance_of_mean(covariance, n), _variance_of_mean(covariance, size)
    within = float(series.var()) * whole / (1.0 - whole)
    between = float(series[: size * stretches].reshape(stretches, size).mean(axis=1).var())
    error = np.sqrt(max(within, between * whole / (part - whole)))
    return Average(float(series.mean()), float(error))


def _series(positions: FloatArray, lags: NDArray[np.int64], weights: FloatArray, last: int) -> FloatArray:
    """Return the sum over lags (n_origins,) at every time origin, averaged over atoms."""
    n, n_atoms, _ = positions.shape
    origins = n - last
    found = np.zeros(origins)
    if len(lags) == 1:
        moved = positions[lags[0] : lags[0] + origins] - positions[:origins]
        single: FloatArray = weights[0] * np.einsum("tia,tia->t", moved, moved) / n_atoms
        return single
    kernel = np.zeros(n)
    kernel[lags] = weights
    size = next_fast_len(n, real=True)  # no lag reaches beyond the last frame
    transform = np.fft.rfft(kernel, size).conj()[:, None]
    step = max(1, CHUNK // size)
    for axis in range(3):
        for start in range(0, n_atoms, step):
            x = positions[:, start : start + step, axis]
            x = x - x.mean(axis=0)  # keeps digits
            ahead = np.fft.irfft(np.fft.rfft(x, size, axis=0) * transform, size, axis=0)[:origins]
            found += (x[:origins] * (weights.sum() * x[:origins] - 2.0 * ahead)).sum(axis=1)
            squares = (x * x).sum(axis=1)
            found += np.fft.irfft(np.fft.rfft(squares, size) * transform[:, 0], size)[:origins]
    found /= n_atoms
    return found


def _covariance(lags: NDArray[np.int64], weights: FloatArray, end: int) -> FloatArray:
    """Return the autocovariance of the series at shifts 0 to `end`, for Brownian motion, 1 at 0."""
    parts = np.array_split(np.arange(len(lags)), min(POINTS, len(lags)))
    k = np.array([lags[p].mean() for p in parts])
    w = np.array([weights[p].sum() for p in parts])
    shifts = np.unique(np.linspace(0, end, SHIFTS).astype(int))
    common = np.clip(np.minimum(k[:, None, None] - shifts, k[None, :, None]), 0.0, None)
    some = np.einsum("k,kls,l->s", w, common**2, w)
    found: FloatArray = np.interp(np.arange(end + 1), shifts, some / some[0])
    return found


def _variance_of_mean(covariance: FloatArray, n: int) -> float:
    """Return the variance of the mean of n members of a series with an autocovariance that is 0 beyond its end."""
    shifts = np.arange(1, min(len(covariance), n))
    return float(n * covariance[0] + 2.0 * ((n - shifts) @ covariance[shifts])) / n**2
