"""Derivatives of the atomic energy in the complexity study: whether models find the same surface (figure 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.evaluation.report.tables import TableView
from forgefield.studies.base import CellResult
from forgefield.studies.charts import Chart, Series
from forgefield.studies.page import table
from forgefield.studies.verdicts import Interval, quantiles, resampled

__all__ = ["derivative_charts", "derivative_correlations", "derivative_intervals", "derivative_table"]

Shapes = dict[tuple[str, str], Mapping[str, Any]]


def _shapes(results: Sequence[CellResult]) -> Shapes:
    return {
        (r.cell.parameters["descriptor"], r.cell.parameters["model"]): r.values["derivatives"]
        for r in results
        if r.values.get("derivatives")
    }


def _pairs(shapes: Shapes) -> list[tuple[str, str, str, str]]:
    found = []
    for descriptor in dict.fromkeys(d for d, _ in shapes):
        models = [m for d, m in shapes if d == descriptor]
        for k, a in enumerate(models):
            for b in models[k + 1 :]:
                orders = ("first",) if "linear" in (a, b) else ("first", "second")
                found += [(descriptor, a, b, order) for order in orders]
    return found


def derivative_correlations(results: Sequence[CellResult]) -> dict[tuple[str, str, str, str], float]:
    """Return the correlation of mean derivatives by descriptor, two models and order (figures 3c and d)."""
    shapes = _shapes(results)
    return {
        (d, a, b, order): float(np.corrcoef(shapes[d, a][order], shapes[d, b][order])[0, 1])
        for d, a, b, order in _pairs(shapes)
    }


def derivative_charts(results: Sequence[CellResult]) -> tuple[Chart, ...]:
    """Return derivatives atom by atom (figures 3a and b), and the means of one model against those of another."""
    shapes = _shapes(results)
    charts = list(_clouds(shapes))
    for (d, a, b, order), r in derivative_correlations(results).items():
        one, other = (_milli(shapes[d, m][order]) for m in (a, b))
        labels = _features(len(one), order)
        series = (Series(f"{a}, {b}", one, other, labels=labels, line=False, thing="mean derivatives"),)
        title, caption = f"{d}: {order} derivatives, {b} against {a}", f"Correlation {r:.3f}; first split."
        charts.append(Chart(title, series, f"{a} [meV]", f"{b} [meV]", caption, diagonal=True))
    return tuple(charts)


def _clouds(shapes: Shapes) -> Iterator[Chart]:
    for descriptor in dict.fromkeys(d for d, _ in shapes):
        own = {m: s for (d, m), s in shapes.items() if d == descriptor and "slopes" in s}
        for k in range(min((len(s["slopes"]) for s in own.values()), default=0)):
            series = tuple(
                Series(
                    m,
                    s["features"][k],
                    _milli(s["slopes"][k]),
                    labels=[f"{m}, first split, atom {n + 1}" for n in range(len(s["slopes"][k]))],
                    line=False,
                )
                for m, s in own.items()
            )
            title, x = f"{descriptor}: feature {k + 1}, every atom", f"feature {k + 1}"
            yield Chart(title, series, x, f"dE/d(feature {k + 1}) [meV]")


def _milli(values: Sequence[float]) -> list[float]:
    """Return energies in meV."""
    return [1000.0 * v for v in values]


def _features(n: int, order: str) -> list[str]:
    """Return the feature of each derivative, two of them for second ones."""
    if order == "first":
        return [f"feature {k + 1}" for k in range(n)]
    side = math.isqrt(n)
    return [f"features {k // side + 1} and {k % side + 1}" for k in range(n)]


def derivative_intervals(
    results: Sequence[CellResult], descriptor: str, one: str, other: str
) -> tuple[Interval, Interval]:
    """Return the correlation of mean first derivatives of two models, and how far it is above that of second ones.

    Their intervals come from drawing features anew; a second derivative is drawn with both of its features.
    """
    shapes = _shapes(results)
    a, b = (shapes[descriptor, model] for model in (one, other))
    n = len(a["first"])
    first = [np.array(m["first"], dtype=np.float64) for m in (a, b)]
    second = [np.array(m["second"], dtype=np.float64).reshape(n, n) for m in (a, b)]
    weights = resampled(n)
    of_first = _correlations(*(weights @ m for m in _moments(*first)), weights.sum(axis=1))
    sums = ((weights @ m * weights).sum(axis=1) for m in _moments(*second))
    of_second = _correlations(*sums, weights.sum(axis=1) ** 2)
    values = [float(np.corrcoef(x.ravel(), y.ravel())[0, 1]) for x, y in (first, second)]
    return quantiles(values[0], of_first), quantiles(values[0] - values[1], of_first - of_second)


def _moments(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    x, y = x - x.mean(), y - y.mean()
    return x, y, x * x, y * y, x * y


def _correlations(*sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return correlations from weighted sums of x, y, x squared, y squared, x times y and the weights."""
    x, y, xx, yy, xy = (s / sums[5] for s in sums[:5])
    with np.errstate(invalid="ignore", divide="ignore"):
        found: NDArray[np.float64] = (xy - x * y) / np.sqrt((xx - x * x) * (yy - y * y))
        return found


def derivative_table(found: Mapping[tuple[str, str, str, str], float]) -> TableView:
    """Return the correlations."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for (d, a, b, order), r in found.items():
        rows.setdefault((d, a, b), {})[order] = f"{r:.2f}"
    show: Callable[[Mapping[str, str], str], str] = lambda row, order: row.get(order, "-")  # noqa: E731
    lines = [[d, f"{a} and {b}", show(row, "first"), show(row, "second")] for (d, a, b), row in rows.items()]
    heads = ["descriptor", "models", "first derivatives", "second derivatives"]
    return table("Correlation of mean derivatives", heads, lines, text_columns=2)
