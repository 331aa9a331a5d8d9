"""Solvers of compressed least-squares problems.

Columns are scaled to unit norm, so that the cost of a weight does not depend on the unit of its feature. Biases cost
nothing: their columns are projected out first and their values follow from the weights.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack, solve_triangular

from forgefield.training.linear.bayesian import Posterior, ard, bayesian_ridge
from forgefield.training.linear.compress import Compressed
from forgefield.training.linear.settings import LeastSquaresSettings

__all__ = ["Solution", "solve"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

RIDGES = 10.0 ** np.arange(-16.0, 0.1, 0.5)
"""Strengths among which cross-validation chooses, relative to the largest singular value squared."""

ALPHAS = 10.0 ** -np.arange(0.0, 5.1, 0.25)
"""Strengths among which cross-validation chooses, relative to the least that makes all weights zero."""

SWEEPS = 20_000

STEPS = 200
"""Power iterations for the largest singular value, at most."""

EPS = float(np.finfo(np.float64).eps)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Solution:
    """Parameters and how well they are known.

    Attributes
    ----------
    values : (n_parameters,)
    covariance : (n_parameters, n_parameters), or None
        Of the parameters; lasso and elastic net give none.
    noise : float
        Variance of a weighted row about the model.
    rank : int
        Parameters, or combinations of them, that the rows determine.
    condition : float
        Of the scaled rows.
    strength : float
        Of the cost, as in the settings (chosen by cross-validation or given; NaN where there is none).
    n_zero : int
        Weights that are exactly zero.
    """

    values: FloatArray
    covariance: FloatArray | None
    noise: float
    rank: int
    condition: float
    strength: float
    n_zero: int


def solve(parts: Sequence[Compressed], free: BoolArray, settings: LeastSquaresSettings) -> Solution:
    """Return the solution for all rows.

    Parameters
    ----------
    parts : sequence of Compressed
        One, or one for each part that cross-validation leaves out in turn.
    free : (n_parameters,) bool
        Parameters that cost nothing.
    settings : LeastSquaresSettings
    """
    whole = Compressed.join(parts)
    if settings.solver == "svd":
        return _svd(whole, settings.rcond)
    problem = _Problem.of(whole, free)
    if settings.solver in ("bayesian_ridge", "ard"):
        return _bayesian(problem, settings)
    if settings.solver == "ridge":
        strength = settings.ridge
        if strength is None:
            strength = _validated(parts, free, RIDGES, _ridge_path)
        return _ridge(problem, strength)
    ratio = 1.0 if settings.solver == "lasso" else settings.l1_ratio

    def path(p: _Problem, strengths: FloatArray) -> FloatArray:
        return _elastic_path(p, strengths, ratio)

    strength = settings.alpha
    if strength is None:
        strength = _validated(parts, free, ALPHAS, path)
    # A path from strong to weak: every step starts where the one before has ended.
    steps = np.append(ALPHAS[strength < ALPHAS], strength)
    return problem.solution(path(problem, steps)[-1], strength=strength)


@dataclass(frozen=True)
class _Problem:
    """Scaled rows without the part that free parameters explain.

    Attributes
    ----------
    rows, labels : (m, n_weights), (m,)
    n_rows : int
        Rows before compression, less one for each free parameter.
    """

    whole: Compressed
    free: BoolArray
    norms: FloatArray
    rows: FloatArray
    labels: FloatArray
    pseudo_inverse: FloatArray
    n_free: int

    @staticmethod
    def of(whole: Compressed, free: BoolArray) -> _Problem:
        norms = np.sqrt((whole.rows**2).sum(axis=0))
        norms[norms == 0] = 1.0
        scaled = whole.rows / norms
        u, s, vt = np.linalg.svd(scaled[:, free], full_matrices=False)
        keep = s > max(s.max(initial=0.0), 1.0) * len(scaled) * EPS
        u, s, vt = u[:, keep], s[keep], vt[keep]
        rows, labels = scaled[:, ~free], whole.labels
        return _Problem(
            whole, free, norms, rows - u @ (u.T @ rows), labels - u @ (u.T @ labels), (vt.T / s) @ u.T, len(s)
        )

    @property
    def n_rows(self) -> int:
        return max(self.whole.n_rows - self.n_free, 1)

    def values(self, weights: FloatArray) -> FloatArray:
        """Return all parameters, unscaled, from the scaled weights."""
        result = np.empty(len(self.free))
        result[~self.free] = weights / self.norms[~self.free]
        rest = self.whole.labels - self.whole.rows[:, ~self.free] @ result[~self.free]
        result[self.free] = (self.pseudo_inverse @ rest) / self.norms[self.free]
        return result

    def solution(
        self,
        weights: FloatArray,
        *,
        strength: float,
        covariance: FloatArray | None = None,
        noise: float | None = None,
    ) -> Solution:
        s = np.linalg.svd(self.rows, compute_uv=False)
        s = s[s > s.max(initial=0.0) * max(self.rows.shape) * EPS]
        if noise is None:
            used = int((weights != 0).sum())
            noise = float(((self.labels - self.rows @ weights) ** 2).sum()) / max(self.n_rows - used, 1)
        return Solution(
            self.values(weights),
            None if covariance is None else self.covariance(covariance, noise),
            noise,
            len(s) + self.n_free,
            float(s[0] / s[-1]) if len(s) else 1.0,
            strength,
            int((weights == 0).sum()),
        )

    def covariance(self, of_weights: FloatArray, noise: float) -> FloatArray:
        """Return that of all parameters, unscaled."""
        free, inverse = self.free, self.pseudo_inverse
        scaled = self.whole.rows[:, ~free] / self.norms[~free]
        follow = -inverse @ scaled
        result = np.empty((len(free), len(free)))
        result[np.ix_(~free, ~free)] = of_weights
        result[np.ix_(free, ~free)] = follow @ of_weights
        result[np.ix_(~free, free)] = (follow @ of_weights).T
        result[np.ix_(free, free)] = follow @ of_weights @ follow.T + noise * inverse @ inverse.T
        return result / np.outer(self.norms, self.norms)


# ---- costs of squares ------------------------------------------------------------------------------------------


def _svd(whole: Compressed, rcond: float) -> Solution:
    """Minimise the squares alone; unscaled, so that `rcond` means what it means elsewhere."""
    cut = max(rcond, EPS)
    solution = _triangular(whole, cut)
    if solution is not None:
        return solution
    u, s, vt = np.linalg.svd(whole.rows, full_matrices=False)
    keep = s > s.max(initial=0.0) * cut
    u, s, vt = u[:, keep], s[keep], vt[keep]
    values = vt.T @ ((u.T @ whole.labels) / s)
    residual = float(((whole.labels - whole.rows @ values) ** 2).sum())
    noise = residual / max(whole.n_rows - len(s), 1)
    covariance = noise * (vt.T / (s * s)) @ vt
    condition = float(s[0] / s[-1]) if len(s) else 1.0
    return Solution(values, covariance, noise, len(s), condition, float("nan"), 0)


def _triangular(whole: Compressed, cut: float) -> Solution | None:
    """Return what `_svd` returns if it certainly drops no singular value, at a fifth of its cost; else None.

    Then the solution is that of the triangle. Frobenius norms of the triangle and of its inverse bound the singular
    values. Columns of zeros at the end, biases that play no part, get zero.
    """
    used = int(np.flatnonzero(whole.rows.any(axis=0)).max(initial=-1)) + 1
    triangle, rest = whole.rows[:used, :used], whole.rows[:, :used]
    if used == 0 or len(triangle) < used or np.tril(rest, -1).any() or not np.diag(triangle).all():
        return None
    inverse, info = lapack.dtrtri(triangle)
    with np.errstate(over="ignore", invalid="ignore"):
        safe = np.linalg.norm(triangle) * np.linalg.norm(inverse) * cut < 1.0
    if info or not safe:
        return None
    values = np.zeros(whole.rows.shape[1])
    values[:used] = solve_triangular(triangle, whole.labels[:used])
    noise = float((whole.labels[used:] ** 2).sum()) / max(whole.n_rows - used, 1)
    covariance = np.zeros((len(values), len(values)))
    upper = np.triu(lapack.dlauum(inverse)[0])
    covariance[:used, :used] = noise * (upper + np.triu(upper, 1).T)
    condition = _norm(triangle) * _norm(inverse)
    return Solution(values, covariance, noise, used, condition, float("nan"), 0)


def _norm(matrix: FloatArray) -> float:
    """Return the largest singular value, to a millionth."""
    vector: FloatArray = np.random.default_rng(0).standard_normal((matrix.shape[1],))
    largest: float = 0.0
    for _ in range(STEPS):
        image: FloatArray = matrix.T @ (matrix @ (vector / float(np.linalg.norm(vector))))
        found = float(np.sqrt(float(np.linalg.norm(image))))
        if abs(found - largest) <= 1e-7 * found:
            return found
        largest = found
        vector = image
    return largest


def _filtered(problem: _Problem) -> tuple[FloatArray, FloatArray, FloatArray]:
    u, s, vt = np.linalg.svd(problem.rows, full_matrices=False)
    keep = s > s.max(initial=0.0) * max(problem.rows.shape) * EPS
    return s[keep], u[:, keep].T @ problem.labels, vt[keep]


def _ridge_path(problem: _Problem, strengths: FloatArray) -> FloatArray:
    s, z, vt = _filtered(problem)
    top = s.max(initial=0.0) ** 2
    return np.array([vt.T @ (s * z / (s * s + strength * top)) for strength in strengths])


def _ridge(problem: _Problem, strength: float) -> Solution:
    s, z, vt = _filtered(problem)
    squares, cost = s * s, strength * s.max(initial=0.0) ** 2
    weights = vt.T @ (s * z / (squares + cost))
    effective = float((squares / (squares + cost)).sum())
    noise = float(((problem.labels - problem.rows @ weights) ** 2).sum()) / max(
        problem.n_rows - effective, 1.0
    )
    covariance = noise * (vt.T / (squares + cost)) @ vt
    return problem.solution(weights, strength=strength, covariance=covariance, noise=noise)


# ---- costs of magnitudes ---------------------------------------------------------------------------------------


def _elastic_path(problem: _Problem, strengths: FloatArray, l1_ratio: float) -> FloatArray:
    """Return the weights for descending strengths, (n_strengths, n_weights)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import enet_path

    m = len(problem.labels)
    gram, target = problem.rows.T @ problem.rows, problem.rows.T @ problem.labels
    largest = float(np.abs(target).max(initial=0.0)) / (m * l1_ratio)
    if largest == 0.0:
        return np.zeros((len(strengths), problem.rows.shape[1]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        _, weights, _ = enet_path(
            np.asfortranarray(problem.rows),
            problem.labels,
            l1_ratio=l1_ratio,
            alphas=largest * strengths,
            precompute=gram,
            Xy=target,
            max_iter=SWEEPS,
            tol=1e-6,
        )
    if any(issubclass(w.category, ConvergenceWarning) for w in caught):
        _log.warning(
            "coordinate descent stopped after %d sweeps at the weakest strengths, close to the minimum",
            SWEEPS,
        )
    return np.asarray(weights).T


# ---- Bayesian --------------------------------------------------------------------------------------------------


def _bayesian(problem: _Problem, settings: LeastSquaresSettings) -> Solution:
    """Solve with features and labels of unit mean square, for which the hyperpriors are meant."""
    size = np.sqrt(problem.n_rows)
    unit = max(float(np.sqrt(problem.labels @ problem.labels)) / size, 1e-300)
    rows, labels = problem.rows * size, problem.labels / unit
    posterior: Posterior
    if settings.solver == "ard":
        posterior = ard(rows, labels, problem.n_rows, settings.ard_threshold)
    else:
        posterior = bayesian_ridge(rows, labels, problem.n_rows)
    factor = unit * size
    return problem.solution(
        posterior.mean * factor,
        strength=float("nan"),
        covariance=posterior.covariance * factor**2,
        noise=posterior.noise * unit**2,
    )


# ---- cross-validation ------------------------------------------------------------------------------------------


def _validated(
    parts: Sequence[Compressed],
    free: BoolArray,
    strengths: FloatArray,
    path: Callable[[_Problem, FloatArray], FloatArray],
) -> float:
    """Return the strength with the least sum of squares on parts that were left out."""
    errors = np.zeros(len(strengths))
    for k, left_out in enumerate(parts):
        problem = _Problem.of(Compressed.join([p for i, p in enumerate(parts) if i != k]), free)
        for i, weights in enumerate(path(problem, strengths)):
            errors[i] += float(((left_out.labels - left_out.rows @ problem.values(weights)) ** 2).sum())
    return float(strengths[int(np.argmin(errors))])
