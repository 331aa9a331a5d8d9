"""Bayesian linear regression on compressed rows: the data choose how much weights cost.

Fixed-point iterations for the evidence, in which the number of rows and all sums of squares are those of the whole
problem. The result is that of `BayesianRidge` and `ARDRegression` of scikit-learn on all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, solve_triangular

__all__ = ["Posterior", "ard", "bayesian_ridge"]

FloatArray = NDArray[np.float64]

HYPERPRIOR = 1e-6
"""Shape and rate of the gamma distributions of all precisions: next to no information."""

ITERATIONS = 300


@dataclass(frozen=True)
class Posterior:
    """Normal distribution of the weights.

    Attributes
    ----------
    mean : (n,)
    covariance : (n, n)
    noise : float
        Variance of a row.
    precision : (n,)
        Of the prior; infinite where a weight has been dropped.
    n_iterations : int
    """

    mean: FloatArray
    covariance: FloatArray
    noise: float
    precision: FloatArray


def bayesian_ridge(rows: FloatArray, labels: FloatArray, n_rows: int, tolerance: float = 1e-6) -> Posterior:
    """Return the posterior where all weights have the same prior variance.

    Parameters
    ----------
    rows, labels : (m, n), (m,)
        Compressed.
    n_rows : int
        Rows before compression.
    tolerance : float
        Relative change of the weights at which to stop.

    Notes
    -----
    Source: MacKay, Neural Comput. 4 (1992) 415; Tipping, J. Mach. Learn. Res. 1 (2001) 211, appendix A.
    """
    u, s, vt = np.linalg.svd(rows, full_matrices=False)
    squares, projected, total = s * s, u.T @ labels, float(labels @ labels)
    noise_precision, precision = n_rows / max(total, 1e-300), 1.0
    x = np.zeros_like(s)
    for _ in range(ITERATIONS):
        before = x
        x = s * projected / (squares + precision / noise_precision)
        residual = max(total - float(x @ (2.0 * s * projected - squares * x)), 0.0)
        effective = float((noise_precision * squares / (precision + noise_precision * squares)).sum())
        precision = (effective + 2.0 * HYPERPRIOR) / (float(x @ x) + 2.0 * HYPERPRIOR)
        noise_precision = (n_rows - effective + 2.0 * HYPERPRIOR) / (residual + 2.0 * HYPERPRIOR)
        if np.abs(x - before).max(initial=0.0) <= tolerance * np.abs(x).max(initial=0.0):
            break
    x = s * projected / (squares + precision / noise_precision)
    # Directions without any row keep the variance of the prior.
    variances = 1.0 / (precision + noise_precision * squares)
    covariance = (vt.T * (variances - 1.0 / precision)) @ vt + np.eye(rows.shape[1]) / precision
    full = np.full(rows.shape[1], precision)
    return Posterior(vt.T @ x, covariance, 1.0 / noise_precision, full)


def ard(
    rows: FloatArray, labels: FloatArray, n_rows: int, threshold: float = 1e4, tolerance: float = 1e-4
) -> Posterior:
    """Return the posterior where every weight has its own prior variance; useless weights are dropped.

    Parameters
    ----------
    rows, labels : (m, n), (m,)
        Compressed.
    n_rows : int
        Rows before compression.
    threshold : float
        Precision of the prior at which a weight is dropped.
    tolerance : float
        Relative change of the weights at which to stop.

    Notes
    -----
    Automatic relevance determination. The posterior comes from the QR factorisation of rows and prior together, whose
    condition number is the square root of that of the matrix to be inverted.
    Source: Tipping, J. Mach. Learn. Res. 1 (2001) 211, appendix A.
    """
    n = rows.shape[1]
    total = float(labels @ labels)
    noise_precision, precision = n_rows / max(total, 1e-300), np.ones(n)
    kept, x = np.ones(n, dtype=bool), np.zeros(n)
    for _ in range(ITERATIONS):
        before = x
        x, root = _posterior(rows, labels, noise_precision, precision, kept)
        variances = (root * root).sum(axis=1)
        effective = 1.0 - precision[kept] * variances
        precision[kept] = (effective + 2.0 * HYPERPRIOR) / (x[kept] ** 2 + 2.0 * HYPERPRIOR)
        residual = float(((labels - rows @ x) ** 2).sum())
        noise_precision = (n_rows - effective.sum() + 2.0 * HYPERPRIOR) / (residual + 2.0 * HYPERPRIOR)
        kept = precision < threshold
        x = np.where(kept, x, 0.0)
        if not kept.any() or np.abs(x - before).sum() <= tolerance * np.abs(x).sum():
            break
    x, root = _posterior(rows, labels, noise_precision, precision, kept)
    covariance = np.zeros((n, n))
    covariance[np.ix_(kept, kept)] = root @ root.T
    return Posterior(x, covariance, 1.0 / noise_precision, np.where(kept, precision, np.inf))


def _posterior(
    rows: FloatArray,
    labels: FloatArray,
    noise_precision: float,
    precision: FloatArray,
    kept: NDArray[np.bool_],
) -> tuple[FloatArray, FloatArray]:
    """Return the mean and a root of the covariance of the weights that are kept."""
    scale, n = np.sqrt(noise_precision), int(kept.sum())
    stacked = np.concatenate([scale * rows[:, kept], np.diag(np.sqrt(precision[kept]))])
    q, r = qr(stacked, mode="economic", overwrite_a=True, check_finite=False)
    x = np.zeros(len(kept))
    x[kept] = solve_triangular(r, q[: len(rows)].T @ (scale * labels))
    return x, np.asarray(solve_triangular(r, np.eye(n)))
