"""Verdicts of all studies by one rule: a 95 % interval decides, and what it leaves open is undecided."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, permutations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from scipy.stats import t as student

from forgefield.studies.base import mean_and_error

__all__ = [
    "NOT_RUN",
    "Claim",
    "Interval",
    "Known",
    "Ranks",
    "asked",
    "known_of",
    "not_run",
    "permutation",
    "quantiles",
    "resampled",
]

Claim = tuple[str, str, str]
"""Statement, what was found, verdict."""
NOT_RUN = "not run"
LEVEL = 0.95
RESAMPLES = 2000
FEWEST = 4
"""Groups that a bootstrap needs to say anything."""
EXACT = 8
"""Values up to which all orders are tried."""
ANSWERS = {"agrees": "yes", "disagrees": "no"}


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval; NaN limits decide nothing."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return ``0.62 (95 %: 0.31 to 0.80)``."""
        return self.said(".2f") if math.isfinite(self.value) else "-"

    def said(self, form: str, unit: str = "") -> str:
        """Return the number in a format, its unit and its interval, in words."""
        value = f"{self.value:{form}}{' ' if unit else ''}{unit}"
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return f"{value} (no interval)"
        return f"{value} (95 %: {self.low:{form}} to {self.high:{form}})"

    def above(self, limit: float = 0.0) -> str:
        """Return whether the number is above a limit."""
        return "agrees" if self.low > limit else "disagrees" if self.high < limit else "undecided"

    def below(self, limit: float = 0.0) -> str:
        """Return whether the number is below a limit."""
        return "agrees" if self.high < limit else "disagrees" if self.low > limit else "undecided"

    def inside(self, low: float, high: float) -> str:
        """Return whether the number is between two limits."""
        if self.low >= low and self.high <= high:
            return "agrees"
        return "disagrees" if self.low > high or self.high < low else "undecided"


@dataclass(frozen=True)
class Known:
    """A mean, its standard error and the degrees of freedom of the error."""

    mean: float
    error: float
    freedom: float

    def __sub__(self, other: Known) -> Known:
        """Return the difference of independent means, with Welch's degrees of freedom."""
        error = math.hypot(self.error, other.error)
        parts = [(k.error, k.freedom) for k in (self, other) if k.error > 0 and k.freedom > 0]
        weight = sum(e**4 / f for e, f in parts)
        freedom = error**4 / weight if weight > 0 else min(self.freedom, other.freedom)
        return Known(self.mean - other.mean, error, freedom)

    @property
    def interval(self) -> Interval:
        """The interval of Student's t."""
        if not math.isfinite(self.error) or self.freedom <= 0:
            return Interval(self.mean, math.nan, math.nan)
        half = float(student.ppf(0.5 + LEVEL / 2.0, self.freedom)) * self.error
        return Interval(self.mean, self.mean - half, self.mean + half)


def known_of(values: Iterable[float]) -> Known:
    """Return what independent runs say, of those that are finite."""
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return Known(math.nan, math.nan, 0)
    return Known(*mean_and_error(finite), len(finite) - 1)


def resampled(n: int) -> NDArray[np.float64]:
    """Return how often each of n things comes in every draw of a bootstrap, (`RESAMPLES`, n); always the same draws."""
    drawn = np.random.default_rng(0).integers(0, max(1, n), (RESAMPLES, n))
    counts = np.zeros((RESAMPLES, n))
    np.add.at(counts, (np.arange(RESAMPLES)[:, None], drawn), 1.0)
    return counts


def quantiles(value: float, samples: NDArray[np.float64]) -> Interval:
    """Return a number with the interval that its draws give; without one where half of them have no number."""
    known = samples[np.isfinite(samples)]
    if not math.isfinite(value) or len(known) < RESAMPLES // 2:
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(known, [0.5 - LEVEL / 2.0, 0.5 + LEVEL / 2.0])
    return Interval(value, float(low), float(high))


class Ranks:
    """Spearman's rank correlations with intervals from drawing whole groups of points anew.

    Points of one group (a descriptor and a model at several weights) are no independent witnesses, so that groups are drawn,
    not points. All correlations of the same groups use the same draws: their differences have intervals, too.

    Parameters
    ----------
    groups : sequence
        Name of the group of every point.
    """

    def __init__(self, groups: Sequence[Hashable]) -> None:
        names = list(dict.fromkeys(groups))
        index = np.array([names.index(g) for g in groups], dtype=np.int64)
        self.n_groups = len(names)
        self.weights: NDArray[np.float64] = resampled(len(names))[:, index]

    def samples(self, x: Sequence[float], y: Sequence[float]) -> NDArray[np.float64]:
        """Return the correlation in every draw; NaN where it has none. Infinite values rank last."""
        rx, ry = (self._ranks(np.asarray(v, dtype=np.float64)) for v in (x, y))
        total = self.weights.sum(axis=1, keepdims=True)
        rx, ry = (r - (self.weights * r).sum(axis=1, keepdims=True) / total for r in (rx, ry))
        with np.errstate(invalid="ignore", divide="ignore"):
            norm = np.sqrt((self.weights * rx**2).sum(axis=1) * (self.weights * ry**2).sum(axis=1))
            found: NDArray[np.float64] = (self.weights * rx * ry).sum(axis=1) / norm
        return found

    def _ranks(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean ranks of all points among those drawn, for every draw."""
        below = (v[None, :] < v[:, None]) + 0.5 * (v[None, :] == v[:, None])
        ranks: NDArray[np.float64] = self.weights @ below.T
        return ranks

    def of(self, x: Sequence[float], y: Sequence[float]) -> Interval:
        """Return the correlation and its interval."""
        return self._interval(_spearman(x, y), self.samples(x, y))

    def difference(self, x: Sequence[float], y: Sequence[float], z: Sequence[float]) -> Interval:
        """Return by how much the correlation of x and y is above that of x and z."""
        value = _spearman(x, y) - _spearman(x, z)
        return self._interval(value, self.samples(x, y) - self.samples(x, z))

    def _interval(self, value: float, samples: NDArray[np.float64]) -> Interval:
        if self.n_groups < FEWEST:
            return Interval(value, math.nan, math.nan)
        return quantiles(value, samples)


def _spearman(x: Sequence[float], y: Sequence[float]) -> float:
    if len(x) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return math.nan
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def permutation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Return Spearman's correlation of a few values and how probable so large a one is by chance, upwards or downwards.

    All orders are tried up to `EXACT` values, else so many random ones as `RESAMPLES`.
    """
    value = _spearman(x, y)
    if not math.isfinite(value):
        return value, math.nan
    rx, ry = rankdata(x), rankdata(y)
    rng = np.random.default_rng(0)
    exact = len(x) <= EXACT
    orders = permutations(ry) if exact else (rng.permutation(ry) for _ in range(RESAMPLES))
    tried = np.array(list(islice(orders, 10**5)), dtype=np.float64)
    centred = tried - ry.mean()
    found = (
        centred @ (rx - rx.mean()) / math.sqrt(((rx - rx.mean()) ** 2).sum() * ((ry - ry.mean()) ** 2).sum())
    )
    hits = int((np.abs(found) >= abs(value) - 1e-9).sum())
    return value, hits / len(tried) if exact else (hits + 1) / (len(tried) + 1)


def not_run(statement: str, why: str) -> Claim:
    """Return the row of what a paper states and nothing here can say."""
    return statement, why, NOT_RUN


def asked(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    """Return statements of our own, with yes and no for what papers agree and disagree with."""
    return tuple((statement, found, ANSWERS.get(verdict, verdict)) for statement, found, verdict in claims)
