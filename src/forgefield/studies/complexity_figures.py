"""Figures and tables of the complexity study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from forgefield.evaluation.report.tables import TableView
from forgefield.studies.base import CellResult
from forgefield.studies.charts import Chart, Series
from forgefield.studies.complexity_choice import cost, worst
from forgefield.studies.complexity_loop import TRANSPORT
from forgefield.studies.diamond import NUMBERS
from forgefield.studies.page import table
from forgefield.studies.rounding import aligned, plain
from forgefield.studies.styles import N_STYLES
from forgefield.studies.summary import Groups, error, grouped, number, text
from forgefield.studies.training import UNITS
from forgefield.studies.verdicts import Interval, Ranks

__all__ = [
    "PHONONS",
    "Errors",
    "correlation_charts",
    "correlation_table",
    "family_of",
    "first_force_error",
    "force_correlation",
    "front",
    "front_table",
    "liquid_chart",
    "on_common_splits",
    "pareto",
    "property_table",
    "ranked",
    "ratio_table",
    "saturated",
    "saturation",
    "saturation_table",
    "shown",
    "trade_off",
]

Errors = Mapping[str, Mapping[str, float]]
"""Errors [%] of properties, by case."""
FORCES = "test RMSE of forces [meV/Å]"
WEIGHTS = "weight of forces over weight of energies, wF/wE"
PHONONS = "phonons"
MISSING = (math.nan, math.nan)
LABELS = {PHONONS: "phonon frequencies", **{k: v.split(" [")[0] for k, v in NUMBERS.items()}, **TRANSPORT}


def shown(case: str) -> str:
    """Return the name of a case for people: what its last number is."""
    potential, _, ratio = case.rpartition(", ")
    return f"{potential}, wF/wE {float(ratio):g}"


def _by_ratio(results: Sequence[CellResult]) -> Groups:
    return grouped(sorted(results, key=lambda r: float(r.cell.parameters["ratio"])), "ratio")


def saturated(results: Sequence[CellResult], key: str) -> list[CellResult]:
    """Return the results at the ratio with the lowest mean error on validation structures; test structures do not choose."""
    return min(_by_ratio(results).values(), key=lambda group: error(group, "valid", key)[0])


def trade_off(families: Groups) -> tuple[Chart, ...]:
    """Return energy against force errors, one line for each descriptor and model (figure 2a); see `_panels`."""
    charts = []
    for title, own in _panels("Trade-off", families):
        series = []
        for name, results in own.items():
            by = _by_ratio(results)
            x = [error(r, "test", "forces")[0] for r in by.values()]
            y, spread = zip(*(error(r, "test", "energy") for r in by.values()), strict=True)
            series.append(Series(name, x, y, spread, _labels(name, by), thing=_thing(name, own, families)))
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
            x = [float(ratio) for ratio in by]
            series.append(Series(name, x, y, spread, _labels(name, by), thing=_thing(name, own, families)))
        charts.append(Chart(title, tuple(series), WEIGHTS, FORCES, x_log=True, y_log=True))
    return tuple(charts)


def _labels(name: str, by: Groups) -> list[str]:
    """Return what is pointed at: potential, ratio and how many splits it is a mean of."""
    return [f"{name}, wF/wE {float(ratio):g}, mean of {len(r)} split(s)" for ratio, r in by.items()]


def _thing(name: str, own: Groups, families: Groups) -> str:
    """Return what a line is about: its model where every descriptor has a chart of its own."""
    return name if len(own) == len(families) else name.rpartition(", ")[2]


def _panels(title: str, families: Groups) -> list[tuple[str, Groups]]:
    """Return the families of each chart: all in one as long as each has a style of its own, else by descriptor."""
    if len(families) <= N_STYLES:
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
    heads = ["potential", "features", "parameters", "µs/atom", "splits", "forces [meV/Å]"]
    heads += ["forces, common splits [meV/Å]", "energy [meV/atom]"]
    rows = [
        [
            name,
            str(results[0].values["n_features"]),
            str(results[0].values["n_parameters"]),
            plain(cost(results)),
            str(len({r.cell.parameters["split"] for r in results})),
            _lowest(results, "forces"),
            _lowest(same[name], "forces"),
            _lowest(results, "energy"),
        ]
        for name, results in families.items()
    ]
    return table("Saturation: test RMSE at the ratio with the lowest validation RMSE", heads, rows)


def _lowest(results: Sequence[CellResult], key: str) -> str:
    return text(error(saturated(results, key), "test", key)) if results else "-"


def ratio_table(families: Groups, key: str) -> TableView:
    """Return the errors of one property at every ratio of weights."""
    by = {name: _by_ratio(results) for name, results in families.items()}
    ratios = sorted({ratio for own in by.values() for ratio in own}, key=float)
    columns = [
        aligned([error(own[ratio], "test", key) if ratio in own else MISSING for own in by.values()])
        for ratio in ratios
    ]
    rows = [[name, *(column[n] for column in columns)] for n, name in enumerate(by)]
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
    panels = [("Cost and accuracy", 1, FORCES)]
    panels += [("Cost and properties", 2, "worst error of a property [%]")] if known else []
    charts = []
    for title, column, label in panels:
        points = sorted((v[0], v[column], n) for n, v in named.items() if math.isfinite(v[column]))
        line: list[tuple[float, float, str]] = []
        for point in points:
            if not line or point[1] < line[-1][1]:
                line.append(point)
        series = tuple(
            Series(
                what, [p[0] for p in own], [p[1] for p in own], labels=[shown(p[2]) for p in own], line=drawn
            )
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
                shown(name),
                plain(cost(cases[name])),
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


def _against_forces(cases: Groups, errors: Errors, key: str) -> tuple[list[str], list[float], list[float]]:
    names = [n for n in errors if math.isfinite(errors[n].get(key, math.nan))]
    return names, [first_force_error(cases[n]) for n in names], [errors[n][key] for n in names]


def force_correlation(cases: Groups, errors: Errors, key: str) -> tuple[Interval, int]:
    """Return Spearman's correlation of a property's errors with those of forces, and how many potentials failed.

    Those without an answer rank as worst: leaving them out would flatter what cannot be simulated. The interval is that of
    drawing families (descriptor and model) anew, for the weights of one family are no independent witnesses.
    """
    last = ranked(errors, key)
    forces = [first_force_error(cases[n]) for n in errors]
    return Ranks([family_of(n) for n in errors]).of(forces, last), sum(map(math.isinf, last))


def family_of(case: str) -> str:
    """Return descriptor and model of a case, whose name ends with the ratio."""
    return case.rpartition(", ")[0]


def ranked(errors: Errors, key: str) -> list[float]:
    """Return a property's errors, infinite where there is no answer."""
    return [e if math.isfinite(e := own.get(key, math.nan)) else math.inf for own in errors.values()]


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
        caption = f"Rank correlation {r}." if math.isfinite(r.value) else ""
        caption += f" Not shown: {failed} without an answer, ranked as worst." if failed else ""
        if noise and noise.get(key, 0.0) > 0:
            caption += f" The truth itself is known to {noise[key]:.2g} %."
        models = [name.split(", ")[-2] for name in names]
        series = []
        for model in dict.fromkeys(models):
            own = [k for k, m in enumerate(models) if m == model]
            px, py = ([values[k] for k in own] for values in (x, y))
            labels = [f"{shown(names[k])}, first split" for k in own]
            series.append(Series(model, px, py, labels=labels, line=False))
        title = LABELS[key] if key == "rdf" else LABELS[key][0].upper() + LABELS[key][1:]
        charts.append(Chart(title, tuple(series), FORCES, "error [%]", caption, x_log=True))
    return tuple(charts)


def correlation_table(cases: Groups, errors: Errors, keys: Sequence[str]) -> TableView:
    """Return the rank correlation of each property's error with that of forces, and the span of the errors."""
    rows = []
    for key in keys:
        y = _against_forces(cases, errors, key)[2]
        r, failed = force_correlation(cases, errors, key)
        spans = [_short(f(y)) if y else "-" for f in (min, lambda v: float(np.median(v)), max)]
        rows.append([LABELS[key], str(r), *spans, str(failed)])
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
            shown(name),
            plain(first_force_error(cases[name])),
            *(_short(errors[name].get(key, math.nan)) for key in keys),
        ]
        for name in errors
    ]
    heads = [f"{LABELS[key]} [%]" for key in keys]
    return table(caption, ["potential", "force RMSE [meV/Å]", *heads], rows)


def _short(value: float) -> str:
    return plain(value, 2 if value < 100 else 3)


def liquid_chart(cases: Groups, truth: Mapping[str, Any], chosen: Sequence[str]) -> Chart:
    """Return g(r) of the liquid (insets of figure 2, figure 6)."""
    said = ["truth, first run"] * len(truth["r"])
    series = [Series("truth", truth["r"], truth["rdf"], labels=said, points=False, reference=True)]
    for name in chosen:
        found = next(r.values["properties"] for r in cases[name] if "properties" in r.values)
        if "rdf" in found:
            labels = [f"{shown(name)}, first split"] * len(found["r"])
            series.append(Series(shown(name), found["r"], found["rdf"], labels=labels, points=False))
    return Chart("g(r) of the liquid: best and worst", tuple(series), "distance [Å]", "g(r)")
