"""Numbers of a page from the results of cells: means over seeds, scores, and whether a difference means something."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from forgefield.evaluation.report.tables import TableView
from forgefield.studies.base import CellResult, mean_and_error
from forgefield.studies.page import table
from forgefield.studies.training import ERRORS, UNITS

__all__ = ["Groups", "compare", "error", "error_table", "grouped", "number", "score", "text"]

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
    scores = []
    for r in results:
        values = [number(r.values["errors"][split][key]) for key in ERRORS]
        known = [v for v in values if math.isfinite(v) and v > 0]
        scores.append(float(np.exp(np.mean(np.log(known)))) if known else math.nan)
    return mean_and_error(scores)


def number(value: float | None) -> float:
    """Return a number that JSON wrote; None stands for what is not finite."""
    return math.nan if value is None else float(value)


def text(value: tuple[float, float]) -> str:
    """Return ``mean ± standard error`` to few digits; a dash where there is no mean."""
    mean, spread = value
    if not math.isfinite(mean):
        return "-"
    return f"{mean:.3g}" if not math.isfinite(spread) else f"{mean:.3g} ± {spread:.1g}"


def compare(new: tuple[float, float], old: tuple[float, float]) -> str:
    """Return whether `new` is lower: ``agrees``, ``disagrees``, or ``undecided`` within two standard errors."""
    spread = math.hypot(new[1], old[1])
    if not math.isfinite(spread) or abs(new[0] - old[0]) <= 2.0 * spread:
        return "undecided"
    return "agrees" if new[0] < old[0] else "disagrees"


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
