"""Whether an uncertainty is worth its name: true errors against what was said of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.errors import DataError

__all__ = ["Calibration", "calibrate", "rank_correlation"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """True errors against predicted uncertainties.

    Attributes
    ----------
    uncertainty, error : (n,)
        Of every value, both positive.
    bin_uncertainty, bin_error : (n_bins,)
        Root mean squares in bins of equally many values, ordered by uncertainty.
    scale : float
        RMS error over RMS uncertainty: what the uncertainty is to be multiplied with.
    correlation : float
        Spearman's rank correlation; 1 where the uncertainty orders the errors perfectly.
    miscalibration : float, >= 1
        Factor by which, on geometric average over the bins, the scaled uncertainty is off.
    """

    uncertainty: Array
    error: Array
    bin_uncertainty: Array
    bin_error: Array
    scale: float
    correlation: float
    miscalibration: float

    def to_dict(self) -> dict[str, Any]:
        """Return the summary fit for JSON."""
        return {
            "n_values": len(self.error),
            "scale": self.scale,
            "correlation": self.correlation,
            "miscalibration": self.miscalibration,
            "bin_uncertainty": self.bin_uncertainty.tolist(),
            "bin_error": self.bin_error.tolist(),
        }


def calibrate(error: Array, uncertainty: Array, n_bins: int = 10) -> Calibration:
    """Compare true errors with predicted uncertainties.

    Parameters
    ----------
    error : (n,)
        Absolute errors; of forces the length of the difference vector of each atom.
    uncertainty : (n,)
        In the same unit where it is a standard deviation; any positive number where only its order is judged.
    n_bins : int, >= 1

    Raises
    ------
    DataError
        Fewer values than bins, negative or infinite values, or uncertainties that are all zero.
    """
    error, uncertainty = np.asarray(error, dtype=np.float64), np.asarray(uncertainty, dtype=np.float64)
    if error.shape != uncertainty.shape or error.ndim != 1:
        raise DataError(f"errors and uncertainties differ in shape: {error.shape} and {uncertainty.shape}")
    if n_bins < 1 or len(error) < n_bins:
        raise DataError(
            f"{len(error)} values do not fill {n_bins} bins; a calibration needs more labelled atoms"
        )
    both = np.stack([error, uncertainty])
    if not np.isfinite(both).all() or both.min() < 0.0 or not uncertainty.any():
        raise DataError(
            "errors and uncertainties must be finite and not negative, and not all uncertainties zero"
        )
    order = np.argsort(uncertainty, kind="stable")
    parts = np.array_split(order, n_bins)
    bins = np.array([[_rms(uncertainty[p]), _rms(error[p])] for p in parts])
    scale = _rms(error) / _rms(uncertainty)
    used = (bins > 0.0).all(axis=1)
    off = np.abs(np.log(bins[used, 1] / (scale * bins[used, 0]))) if used.any() and scale > 0 else np.zeros(1)
    return Calibration(
        uncertainty,
        error,
        bins[:, 0],
        bins[:, 1],
        scale,
        rank_correlation(error, uncertainty),
        float(np.exp(off.mean())),
    )


def rank_correlation(a: Array, b: Array) -> float:
    """Return Spearman's rank correlation, ties sharing their mean rank; 0 where one does not vary."""
    ranks = [_ranks(np.asarray(x, dtype=np.float64)) for x in (a, b)]
    x, y = (r - r.mean() for r in ranks)
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / norm if norm > 0.0 else 0.0


def _ranks(values: Array) -> Array:
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean = last - 0.5 * (counts - 1)
    return np.asarray(mean[where.ravel()], dtype=np.float64)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
