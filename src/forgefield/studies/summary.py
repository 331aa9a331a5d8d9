"""Numbers of a page from the results of cells: means over seeds, scores, and whether a difference means something."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from forgefield.evaluation.report.tables import TableView
from forgefield.studies.base import CellResult, mean_and_error
from forgefield.studies.page import table
from forgefield.studies.rounding import rounded
from forgefield.studies.training import ERRORS, UNITS

__all__ = [
    "Groups",
    "Ratio",
    "error",
    "error_table",
    "grouped",
    "number",
    "paired",
    "ratio_of",
    "score",
    "score_of",
    "text",
    "unpaired",
]

Groups = dict[str, list[CellResult]]
"""Results of each case, one for each seed."""


def grouped(results: Sequence[CellResult], *keys: str) -> Groups:
    """Return the results by the values of parameters, joined by commas, in the order of the cells."""
    found: Groups = {}
    for result in results:
        name = ", ".join(str(result.cell.parameters[key]) for key in keys)
        found.setdefault(name, []).append(result)
    return found


def error(results: Sequence[CellResult], split: str, key: str) -> tuple[float, float]:
    """Return mean and standard error over seeds of the RMSE, in `UNITS`."""
    return mean_and_error([number(r.values["errors"][split][key]) for r in results])


def score(results: Sequence[CellResult], split: str) -> tuple[float, float]:
    """Return mean and standard error over seeds of the geometric mean of the labelled errors."""
    return mean_and_error([score_of(r, split) for r in results])


def score_of(result: CellResult, split: str) -> float:
    """Return the geometric mean of the labelled errors of one run."""
    values = [number(result.values["errors"][split][key]) for key in ERRORS]
    known = [v for v in values if math.isfinite(v) and v > 0]
    return float(np.exp(np.mean(np.log(known)))) if known else math.nan


@dataclass(frozen=True)
class Ratio:
    """How much larger one case is than another, seed by seed [%]: the mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return ``+5 % (-1 to +11)``."""
        if not math.isfinite(self.mean):
            return "-"
        known = f" ({_percent(self.low)} to {_percent(self.high)})" if math.isfinite(self.low) else ""
        return f"{_percent(self.mean)} %{known}"

    @property
    def lower(self) -> str:
        """Whether the first case is lower: ``agrees``, ``disagrees`` or ``undecided``."""
        return "agrees" if self.high < 0 else "disagrees" if self.low > 0 else "undecided"

    def within(self, percent: float) -> str:
        """Return whether the first case is at most so much higher."""
        return "agrees" if self.high <= percent else "disagrees" if self.low > percent else "undecided"


def _percent(value: float) -> str:
    return f"{value:+.1f}" if abs(value) < 9.95 else f"{value:+.0f}"


def paired(
    new: Sequence[CellResult], old: Sequence[CellResult], value: Callable[[CellResult], float]
) -> Ratio:
    """Return the ratio of two cases from runs with the same seed, by Student's t of its logarithm.

    Parameters
    ----------
    new, old : sequence of CellResult
        Their configurations name the seed.
    value : callable
        What is compared, > 0.
    """
    seeds = {r.cell.parameters["config"]["seed"]: value(r) for r in old}
    logs = [
        math.log(value(r) / seeds[seed])
        for r in new
        if (seed := r.cell.parameters["config"]["seed"]) in seeds
    ]
    return ratio_of(logs)


def ratio_of(logs: Sequence[float]) -> Ratio:
    """Return the ratio from the logarithms of independent ratios, by Student's t."""
    mean, spread = mean_and_error(logs) if logs else (math.nan, math.nan)
    return _ratio(mean, spread, len(logs) - 1)


def unpaired(
    new: Sequence[CellResult], old: Sequence[CellResult], value: Callable[[CellResult], float]
) -> Ratio:
    """Return the ratio of two cases from independent runs, by Welch's t of its logarithm; parameters as in `paired`."""
    logs = [np.log([value(r) for r in results]) for results in (new, old)]
    (a, of_a), (b, of_b) = (mean_and_error(x.tolist()) for x in logs)
    spread = math.hypot(of_a, of_b)
    if not math.isfinite(spread) or spread == 0.0:
        return _ratio(a - b, spread, 1)
    freedom = spread**4 / (of_a**4 / (len(new) - 1) + of_b**4 / (len(old) - 1))
    return _ratio(a - b, spread, freedom)


def _ratio(mean: float, spread: float, freedom: float) -> Ratio:
    """Return the 95 % interval of a ratio from its logarithm's mean and standard error."""
    half = float(student.ppf(0.975, freedom)) * spread if freedom > 0 else math.nan
    return Ratio(*(100.0 * math.expm1(x) for x in (mean, mean - half, mean + half)))


def number(value: float | None) -> float:
    """Return a number that JSON wrote; None stands for what is not finite."""
    return math.nan if value is None else float(value)


def text(value: tuple[float, float]) -> str:
    """Return ``mean ± standard error`` to the second digit of the error; a dash where there is no mean."""
    return rounded(*value)


def error_table(
    cases: Mapping[str, list[CellResult]],
    caption: str,
    head: str = "case",
    splits: Sequence[str] = ("train", "test"),
) -> TableView:
    """Return the errors of every case on two sets, with the scores of validation and of the last of them."""
    heads = [head, *(f"{split} {key} [{UNITS[key]}]" for split in splits for key in ERRORS)]
    last = splits[-1]
    scored = dict.fromkeys(("valid", last))
    rows = [
        [
            name,
            *(text(error(results, split, key)) for split in splits for key in ERRORS),
            *(text(score(results, split)) for split in scored),
        ]
        for name, results in cases.items()
    ]
    return table(caption, [*heads, *(f"{split} score" for split in scored)], rows)
