"""Time correlation functions by fast Fourier transform, with every frame as a time origin, and Green-Kubo integrals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forgefield.errors import DataError
from forgefield.properties.statistics import of_replicas

__all__ = [
    "GreenKubo",
    "correlation",
    "green_kubo",
    "mean_squared_displacement",
    "spectrum",
]

FloatArray = NDArray[np.float64]


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
    """The time integral of a correlation function.

    Attributes
    ----------
    time : (n_lags,)
        In the unit of the interval given.
    correlation, correlation_error : (n_lags,)
    integral, integral_error : (n_lags,)
        Running integral from 0.
    plateau : int
        Index at which the integral is read off: beyond it, it changes by no more than its error.
    converged : bool
        Whether such a lag was found before the end.
    value, error : float
        Integral there.
    """

    time: FloatArray
    correlation: FloatArray
    correlation_error: FloatArray
    integral: FloatArray
    integral_error: FloatArray
    plateau: int
    converged: bool

    @property
    def value(self) -> float:
        """The integral at the plateau."""
        return float(self.integral[self.plateau])

    @property
    def error(self) -> float:
        """Its standard error."""
        return float(self.integral_error[self.plateau])


def green_kubo(
    replicas: ArrayLike, interval: float, *, n_lags: int, blocks: int = 1, until: float | None = None
) -> GreenKubo:
    """Return the integral of the autocorrelation of fluxes.

    Parameters
    ----------
    replicas : (n_replicas, n_frames, n_components)
        Fluxes of independent simulations; components are equivalent and averaged.
    interval : float
        Between frames.
    n_lags : int
        Correlations up to this many intervals.
    blocks : int
        Every simulation is divided into so many parts; replicas, parts and components together give the error.
    until : float, optional
        Where to read the integral off; default: the first lag t with ``|I(2t) - I(t)|`` below the error of ``I(2t)``,
        and then at 2t.

    Raises
    ------
    DataError
        The parts are shorter than twice the correlation asked for, or there is one part only.
    """
    x = np.asarray(replicas, dtype=np.float64)
    _, n_frames, n_components = x.shape
    size = n_frames // blocks
    if size < 2 * n_lags:
        need = 2 * n_lags * blocks / n_frames
        raise DataError(
            f"correlations over {n_lags * interval:.4g} need parts of twice that length, got {size * interval:.4g}; "
            f"make the simulation {need:.2g} times as long, or the correlation time shorter, or have fewer blocks"
        )
    parts = x[:, : size * blocks].reshape(-1, size, n_components)
    each = np.stack([correlation(part, n_lags) for part in parts])  # (n_parts, n_lags, n_components)
    each = np.moveaxis(each, 1, 2).reshape(-1, n_lags)
    areas = np.zeros_like(each)
    areas[:, 1:] = np.cumsum(0.5 * interval * (each[:, 1:] + each[:, :-1]), axis=1)
    mean, mean_error = of_replicas(each)
    integral, error = of_replicas(areas)
    if until is not None:
        plateau, converged = min(n_lags - 1, round(until / interval)), True
    else:
        plateau, converged = _plateau(integral, error)
    times = np.asarray(np.arange(n_lags) * interval, dtype=np.float64)
    return GreenKubo(times, mean, mean_error, integral, error, plateau, converged)


def _plateau(integral: FloatArray, error: FloatArray) -> tuple[int, bool]:
    n = len(integral)
    half = np.arange(1, (n - 1) // 2 + 1)
    still = np.abs(integral[2 * half] - integral[half]) <= error[2 * half]
    # Not where the correlation is merely crossing zero once: it must hold from here to twice as far.
    for t in half[still]:
        stretch = half[(half >= t) & (half <= 2 * t)]
        if np.all(np.abs(integral[2 * stretch] - integral[stretch]) <= 1.5 * error[2 * stretch]):
            return int(2 * t), True
    return n - 1, False
