"""Standard errors of what simulations give: averages of correlated samples, blocks, independent replicas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forgefield.errors import DataError

__all__ = [
    "Estimate",
    "autocorrelation",
    "block_means",
    "blocked_error",
    "equilibrated",
    "of_replicas",
    "series_mean",
    "straight_line",
]

FloatArray = NDArray[np.float64]

WINDOW = 5.0
"""The sum over the autocorrelation ends after so many autocorrelation times."""
FEWEST = 10.0
"""Below so many independent samples an error bar is itself a guess."""


@dataclass(frozen=True)
class Estimate:
    """An average with its standard error.

    Attributes
    ----------
    value, error : float
    n_samples : int
    n_independent : float
        Samples divided by twice the autocorrelation time (in samples).
    """

    value: float
    error: float
    n_samples: int
    n_independent: float

    @property
    def reliable(self) -> bool:
        """Whether there are enough independent samples for the error to mean something."""
        return self.n_independent >= FEWEST

    def length_for(self, error: float) -> float:
        """Return how many times as long a simulation would bring the standard error down to `error`."""
        return max(1.0, (self.error / error) ** 2) if error > 0 else math.inf


def autocorrelation(samples: ArrayLike) -> FloatArray:
    """Return the normalised autocorrelation of a series (n,) at lags 0 to n - 1.

    Notes
    -----
    ``c_k = sum_t x_t x_(t+k) / sum_t x_t^2`` with the mean taken out: the biased estimator, whose sum is stable.
    """
    x = np.asarray(samples, dtype=np.float64)
    x = x - x.mean()
    n = len(x)
    transform = np.fft.rfft(x, 2 * n)
    product = np.fft.irfft(transform * transform.conj(), 2 * n)[:n]
    if product[0] <= 0.0:
        return np.concatenate([[1.0], np.zeros(n - 1)])
    result: FloatArray = product / product[0]
    return result


def series_mean(samples: ArrayLike) -> Estimate:
    """Return mean and standard error of a stationary correlated series (n,).

    Notes
    -----
    The error is ``sqrt(2 tau / n) sigma`` with the integrated autocorrelation time ``tau = 1/2 + sum_k c_k``, the sum
    ending at the first lag w above ``5 tau``: N. Madras and A. D. Sokal, J. Stat. Phys. 50, 109 (1988), appendix C. As
    the mean that is taken out is that of the series itself, every c_k is too small by ``2 tau / n``; the sum is put
    right by ``1 + (2 w + 1) / n``: U. Wolff, Comput. Phys. Commun. 156, 143 (2004), equation (49). Without that a series
    of 10 autocorrelation times has errors of 3/4 of the true ones, one of 5 of 0.6.

    Raises
    ------
    DataError
        Fewer than two samples, or one is not finite.
    """
    x = _series(samples)
    n = len(x)
    times = np.cumsum(autocorrelation(x)) - 0.5
    inside = np.arange(n) >= WINDOW * times
    window = int(np.argmax(inside)) if inside.any() else n - 1
    tau = max(0.5, float(times[window]) * (1.0 + (2.0 * window + 1.0) / n))
    independent = max(1.0, n / (2.0 * tau))
    # What the sample variance misses: the variance of the mean itself.
    spread = float(x.var()) / (1.0 - 1.0 / independent) if independent > 1.0 else float(x.var())
    return Estimate(float(x.mean()), math.sqrt(spread / independent), n, independent)


def block_means(samples: ArrayLike, n_blocks: int) -> FloatArray:
    """Return means over `n_blocks` consecutive equal parts of (n, ...); what is left over at the start is left out."""
    x = np.asarray(samples, dtype=np.float64)
    size = len(x) // n_blocks
    if size < 1:
        raise DataError(f"{len(x)} samples cannot be divided into {n_blocks} blocks; simulate longer")
    kept = x[len(x) - size * n_blocks :]
    means: FloatArray = kept.reshape(n_blocks, size, *x.shape[1:]).mean(axis=1)
    return means


def blocked_error(samples: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the standard error of the mean against the length of blocks.

    Returns
    -------
    lengths, errors, uncertainties : (k,)
        The error rises to a plateau; the uncertainty of the error is that of so many blocks.

    Notes
    -----
    Source: H. Flyvbjerg and H. G. Petersen, J. Chem. Phys. 91, 461 (1989).
    """
    x = _series(samples)
    lengths, errors, uncertainties = [], [], []
    length = 1
    while len(x) >= 2:
        n = len(x)
        error = math.sqrt(float(x.var(ddof=1)) / n)
        lengths.append(float(length))
        errors.append(error)
        uncertainties.append(error / math.sqrt(2.0 * (n - 1)))
        x = 0.5 * (x[: n - n % 2 : 2] + x[1::2][: n // 2])
        length *= 2
    return np.array(lengths), np.array(errors), np.array(uncertainties)


def of_replicas(values: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return mean and standard error over the first axis of independent results (n, ...).

    Raises
    ------
    DataError
        Fewer than two.
    """
    x = np.asarray(values, dtype=np.float64)
    if len(x) < 2:
        raise DataError(f"a standard error needs at least two independent values, got {len(x)}")
    mean: FloatArray = x.mean(axis=0)
    error: FloatArray = x.std(axis=0, ddof=1) / math.sqrt(len(x))
    return mean, error


def equilibrated(samples: ArrayLike, *, trials: int = 20) -> int:
    """Return the first sample to keep: the start that leaves the most independent samples.

    Notes
    -----
    Source: J. D. Chodera, J. Chem. Theory Comput. 12, 1799 (2016).
    """
    x = _series(samples)
    starts = np.unique(np.linspace(0, int(0.7 * len(x)), trials).astype(int))
    counts = [series_mean(x[s:]).n_independent if len(x) - s >= 2 else 0.0 for s in starts]
    return int(starts[int(np.argmax(counts))])


def straight_line(
    x: Sequence[float] | FloatArray, y: FloatArray, error: FloatArray
) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Return (intercept, slope), their standard errors, and chi^2 per degree of freedom of a weighted fit.

    Parameters
    ----------
    x, y, error : (n,)
        `error` > 0: standard errors of independent values.
    """
    a, weights = np.asarray(x, dtype=np.float64), 1.0 / np.asarray(error, dtype=np.float64)
    design = np.stack([np.ones_like(a), a], axis=1) * weights[:, None]
    covariance = np.linalg.inv(design.T @ design)
    found = covariance @ (design.T @ (y * weights))
    left = y * weights - design @ found
    freedom = max(1, len(a) - 2)
    errors = np.sqrt(np.diag(covariance))
    return (
        (float(found[0]), float(found[1])),
        (float(errors[0]), float(errors[1])),
        float(left @ left) / freedom,
    )


def _series(samples: ArrayLike) -> FloatArray:
    x = np.asarray(samples, dtype=np.float64)
    if x.ndim != 1 or len(x) < 2:
        raise DataError(
            f"an average needs a series of at least two samples, got shape {x.shape}; simulate longer"
        )
    if not np.isfinite(x).all():
        raise DataError(f"sample {int(np.argmin(np.isfinite(x)))} of a series is not finite")
    return x
