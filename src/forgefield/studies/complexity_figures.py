"""Figures and tables of the complexity study."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from forgefield.evaluation.report.tables import TableView
from forgefield.studies.base import CellResult
from forgefield.studies.charts import STYLES, Chart, Series
from forgefield.studies.complexity_choice import cost, worst
from forgefield.studies.complexity_loop import TRANSPORT
from forgefield.studies.diamond import NUMBERS
from forgefield.studies.page import table
from forgefield.studies.summary import Groups, error, grouped, number, text
from forgefield.studies.training import UNITS

__all__ = [
    "PHONONS",
    "Errors",
    "correlation_charts",
    "correlation_table",
    "derivative_charts",
    "derivative_correlations",
    "derivative_table",
    "first_force_error",
    "force_correlation",
    "front",
    "front_table",
    "liquid_chart",
    "on_common_splits",
    "pareto",
    "property_table",
    "rank_correlation",
    "ratio_table",
    "saturated",
    "saturation",
    "saturation_table",
    "trade_off",
]

Errors = Mapping[str, Mapping[str, float]]
"""Errors [%] of properties, by case."""
FORCES = "test RMSE of forces [meV/Å]"
PHONONS = "phonons"
LABELS = {PHONONS: "phonon frequencies", **{k: v.split(" [")[0] for k, v in NUMBERS.items()}, **TRANSPORT}


def _by_ratio(results: Sequence[CellResult]) -> Groups:
    return grouped(sorted(results, key=lambda r: float(r.cell.parameters["ratio"])), "ratio")


def saturated(results: Sequence[CellResult], key: str) -> list[CellResult]:
    """Return the results at the ratio with the lowest mean error of all."""
    return min(_by_ratio(results).values(), key=lambda group: error(group, "test", key)[0])


def trade_off(families: Groups) -> tuple[Chart, ...]:
    """Return energy against force errors, one line for each descriptor and model (figure 2a); see `_panels`."""
    charts = []
    for title, own in _panels("Trade-off", families):
        series = []
        for name, results in own.items():
            by = _by_ratio(results)
            x = [error(r, "test", "forces")[0] for r in by.values()]
            y, spread = zip(*(error(r, "test", "energy") for r in by.values()), strict=True)
            labels = [f"{name}, wF/wE {ratio}" for ratio in by]
            series.append(Series(name, x, y, spread, labels))
        label = "test RMSE of energy [meV/atom]"
        charts.append(Chart(title, tuple(series), FORCES, label, x_log=True, y_log=True))
    return tuple(charts)


def saturation(families: Groups) -> tuple[Chart, ...]:
    """Return force errors against the ratio of weights; see `_panels`."""
    charts = []
    for title, own in _panels("Saturation", families):
        series = []
        for name, results in own.items():
            by = _by_ratio(results)
            y, spread = zip(*(error(r, "test", "forces") for r in by.values()), strict=True)
            series.append(Series(name, [float(ratio) for ratio in by], y, spread))
        charts.append(Chart(title, tuple(series), "wF/wE", FORCES, x_log=True, y_log=True))
    return tuple(charts)


def _panels(title: str, families: Groups) -> list[tuple[str, Groups]]:
    """Return the families of each chart: all in one as long as each has a style of its own, else by descriptor."""
    if len(families) <= len(STYLES):
        return [(title, families)]
    panels: dict[str, Groups] = {}
    for name, results in families.items():
        panels.setdefault(name.rpartition(", ")[0], {})[name] = results
    return [(f"{title}: {descriptor}", own) for descriptor, own in panels.items()]


def on_common_splits(families: Groups) -> Groups:
    """Return the results on the splits that all families have: test structures that are the same for all."""
    splits = {name: {r.cell.parameters["split"] for r in own} for name, own in families.items()}
    common = set.intersection(*splits.values()) if splits else set()
    return {name: [r for r in own if r.cell.parameters["split"] in common] for name, own in families.items()}


def saturation_table(families: Groups) -> TableView:
    """Return size, cost and lowest errors of each descriptor and model."""
    same = on_common_splits(families)
    heads = ["potential", "features", "parameters", "µs/atom", "splits", "lowest forces [meV/Å]"]
    heads += ["on common splits", "lowest energy [meV/atom]"]
    rows = [
        [
            name,
            str(results[0].values["n_features"]),
            str(results[0].values["n_parameters"]),
            f"{cost(results):.3g}",
            str(len({r.cell.parameters["split"] for r in results})),
            _lowest(results, "forces"),
            _lowest(same[name], "forces"),
            _lowest(results, "energy"),
        ]
        for name, results in families.items()
    ]
    return table("Saturation: lowest test RMSE over all ratios", heads, rows)


def _lowest(results: Sequence[CellResult], key: str) -> str:
    return text(error(saturated(results, key), "test", key)) if results else "-"


def ratio_table(families: Groups, key: str) -> TableView:
    """Return the errors of one property at every ratio of weights."""
    by = {name: _by_ratio(results) for name, results in families.items()}
    ratios = sorted({ratio for own in by.values() for ratio in own}, key=float)
    rows = [
        [name, *(text(error(own[ratio], "test", key)) if ratio in own else "-" for ratio in ratios)]
        for name, own in by.items()
    ]
    caption = f"Test RMSE of {key} [{UNITS[key]}] by wF/wE"
    return table(caption, ["potential", *(f"{float(ratio):g}" for ratio in ratios)], rows)


# ---- accuracy and cost ---------------------------------------------------------------------------------------


def front(cases: Groups, *errors: Errors) -> list[str]:
    """Return the cases that nothing else beats in cost, force error and worst property at once, the cheapest first.

    Parameters
    ----------
    cases : dict of str to list of CellResult
    *errors : mapping of case to errors of properties [%]
        Empty ones do not count.
    """
    known = [own for own in errors if own]
    measures = {
        name: (
            cost(results),
            error(results, "test", "forces")[0],
            max((worst(own.get(name, {})) for own in known), default=0.0),
        )
        for name, results in cases.items()
    }

    def beaten(name: str) -> bool:
        own = measures[name]
        return any(
            other != own and all(a <= b for a, b in zip(other, own, strict=True))
            for other in measures.values()
        )

    return sorted((name for name in measures if not beaten(name)), key=lambda name: measures[name])


def pareto(cases: Groups, *errors: Errors) -> tuple[Chart, ...]:
    """Return force errors and the worst errors of properties against cost, each with its front."""
    named = {name: [cost(results)] for name, results in cases.items()}
    known = [own for own in errors if own]
    for name, results in cases.items():
        named[name].append(error(results, "test", "forces")[0])
        named[name].append(max((worst(own.get(name, {})) for own in known), default=math.inf))
    shown = [("Cost and accuracy", 1, FORCES)]
    shown += [("Cost and properties", 2, "worst error of a property [%]")] if known else []
    charts = []
    for title, column, label in shown:
        points = sorted((v[0], v[column], n) for n, v in named.items() if math.isfinite(v[column]))
        line: list[tuple[float, float, str]] = []
        for point in points:
            if not line or point[1] < line[-1][1]:
                line.append(point)
        series = tuple(
            Series(what, [p[0] for p in own], [p[1] for p in own], labels=[p[2] for p in own], line=drawn)
            for what, own, drawn in (("all", points, False), ("front", line, True))
        )
        caption = "One thread, energy, forces and virial; the front holds what nothing else beats in both."
        charts.append(
            Chart(title, series, "cost [µs per atom and step]", label, caption, x_log=True, y_log=True)
        )
    return tuple(charts)


def front_table(cases: Groups, errors: Errors, transport: Errors) -> TableView:
    """Return cost, accuracy and property errors of what nothing beats in all three."""
    heads = ["potential", "µs/atom", "force RMSE [meV/Å]", "energy RMSE [meV/atom]"]
    known = [("worst property [%]", errors), ("worst of liquid and conduction [%]", transport)]
    heads += [head for head, own in known if own]
    rows = []
    for name in front(cases, errors, transport):
        most = [worst(own.get(name, {})) for _, own in known if own]
        rows.append(
            [
                name,
                f"{cost(cases[name]):.3g}",
                *(text(error(cases[name], "test", key)) for key in ("forces", "energy")),
                *(_short(m) for m in most),
            ]
        )
    return table("The front of cost, force error and worst property", heads, rows)


# ---- properties ----------------------------------------------------------------------------------------------


def first_force_error(results: Sequence[CellResult]) -> float:
    """Return the force error of the split whose properties were computed."""
    first = next(r for r in results if "properties" in r.values)
    return number(first.values["errors"]["test"]["forces"])


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Return Spearman's; NaN for fewer than three points, or where all are the same."""
    from scipy.stats import spearmanr

    if len(x) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return math.nan
    return float(spearmanr(x, y).statistic)


def _against_forces(cases: Groups, errors: Errors, key: str) -> tuple[list[str], list[float], list[float]]:
    names = [n for n in errors if math.isfinite(errors[n].get(key, math.nan))]
    return names, [first_force_error(cases[n]) for n in names], [errors[n][key] for n in names]


def force_correlation(cases: Groups, errors: Errors, key: str) -> tuple[float, int]:
    """Return Spearman's correlation of a property's errors with those of forces, and how many potentials failed.

    Those without an answer rank as worst: leaving them out would flatter what cannot be simulated.
    """
    found = [errors[n].get(key, math.nan) for n in errors]
    worst_last = [e if math.isfinite(e) else math.inf for e in found]
    r = rank_correlation([first_force_error(cases[n]) for n in errors], worst_last)
    return r, sum(math.isinf(e) for e in worst_last)


def correlation_charts(
    cases: Groups, errors: Errors, keys: Sequence[str], noise: Mapping[str, float] | None = None
) -> tuple[Chart, ...]:
    """Return the errors of properties against that of forces (figures 2b-d and 5).

    Parameters
    ----------
    cases : dict of str to list of CellResult
    errors : mapping
    keys : sequence of str
    noise : mapping of property to error [%], optional
        How uncertain the answer of the truth is.
    """
    charts = []
    for key in keys:
        names, x, y = _against_forces(cases, errors, key)
        if len(names) < 2:
            continue
        r, failed = force_correlation(cases, errors, key)
        caption = f"Rank correlation {r:.2f}." if math.isfinite(r) else ""
        caption += f" Not shown: {failed} without an answer, ranked as worst." if failed else ""
        if noise and noise.get(key, 0.0) > 0:
            caption += f" The truth itself is known to {noise[key]:.2g} %."
        models = [name.split(", ")[-2] for name in names]
        series = []
        for model in dict.fromkeys(models):
            own = [k for k, m in enumerate(models) if m == model]
            px, py = ([values[k] for k in own] for values in (x, y))
            series.append(Series(model, px, py, labels=[names[k] for k in own], line=False))
        title = LABELS[key] if key == "rdf" else LABELS[key][0].upper() + LABELS[key][1:]
        charts.append(Chart(title, tuple(series), FORCES, "error [%]", caption, x_log=True))
    return tuple(charts)


def correlation_table(cases: Groups, errors: Errors, keys: Sequence[str]) -> TableView:
    """Return the rank correlation of each property's error with that of forces, and the span of the errors."""
    rows = []
    for key in keys:
        y = _against_forces(cases, errors, key)[2]
        r, failed = force_correlation(cases, errors, key)
        shown = [_short(f(y)) if y else "-" for f in (min, lambda v: float(np.median(v)), max)]
        rows.append([LABELS[key], "-" if math.isnan(r) else f"{r:.2f}", *shown, str(failed)])
    heads = [
        "property",
        "rank correlation",
        "lowest error [%]",
        "median [%]",
        "highest [%]",
        "failed (ranked as worst)",
    ]
    return table("Errors of properties and the force error", heads, rows)


def property_table(cases: Groups, errors: Errors, keys: Sequence[str], caption: str) -> TableView:
    """Return all errors of all cases."""
    rows = [
        [
            name,
            f"{first_force_error(cases[name]):.3g}",
            *(_short(errors[name].get(key, math.nan)) for key in keys),
        ]
        for name in errors
    ]
    return table(caption, ["potential", "force RMSE [meV/Å]", *keys], rows)


def _short(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"


def liquid_chart(cases: Groups, truth: Mapping[str, Any], chosen: Sequence[str]) -> Chart:
    """Return g(r) of the liquid (insets of figure 2, figure 6)."""
    series = [Series("truth", truth["r"], truth["rdf"], points=False)]
    for name in chosen:
        found = next(r.values["properties"] for r in cases[name] if "properties" in r.values)
        if "rdf" in found:
            series.append(Series(name, found["r"], found["rdf"], points=False))
    return Chart("g(r) of the liquid", tuple(series), "distance [Å]", "g(r)")


# ---- derivatives ---------------------------------------------------------------------------------------------


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
        series = (Series(f"{a}, {b}", shapes[d, a][order], shapes[d, b][order], line=False),)
        title, caption = f"{d}: {order} derivatives", f"Correlation {r:.3f}"
        charts.append(Chart(title, series, f"{a} [eV]", f"{b} [eV]", caption, diagonal=True))
    return tuple(charts)


def _clouds(shapes: Shapes) -> Iterator[Chart]:
    for descriptor in dict.fromkeys(d for d, _ in shapes):
        own = {m: s for (d, m), s in shapes.items() if d == descriptor and "slopes" in s}
        for k in range(min((len(s["slopes"]) for s in own.values()), default=0)):
            series = tuple(Series(m, s["features"][k], s["slopes"][k], line=False) for m, s in own.items())
            title, x = f"{descriptor}: feature {k + 1}, every atom", f"feature {k + 1}"
            yield Chart(title, series, x, f"dE/d(feature {k + 1}) [eV]")


def derivative_table(found: Mapping[tuple[str, str, str, str], float]) -> TableView:
    """Return the correlations."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for (d, a, b, order), r in found.items():
        rows.setdefault((d, a, b), {})[order] = f"{r:.2f}"
    show: Callable[[Mapping[str, str], str], str] = lambda row, order: row.get(order, "-")  # noqa: E731
    lines = [[d, f"{a} and {b}", show(row, "first"), show(row, "second")] for (d, a, b), row in rows.items()]
    heads = ["descriptor", "models", "first derivatives", "second derivatives"]
    return table("Correlation of mean derivatives", heads, lines, text_columns=2)
