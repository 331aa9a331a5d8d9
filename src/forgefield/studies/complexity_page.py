"""The page of the complexity study: trade-offs, correlation of errors, the Pareto front and a recommendation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from forgefield.studies.base import CellResult
from forgefield.studies.charts import Chart, Series
from forgefield.studies.diamond import NUMBERS, properties_of_dft, property_errors
from forgefield.studies.page import Page, Section, table
from forgefield.studies.summary import Groups, compare, error, grouped, number, text

__all__ = ["complexity_page", "recommend"]


METHOD = (
    "Every point is one ratio of the weights of forces and energies; mean over random splits, test structures that "
    "training and selection did not see."
)


def complexity_page(results: Sequence[CellResult], *, limits: Mapping[str, float], silicon: bool) -> Page:
    """Return the page.

    Parameters
    ----------
    results : sequence of CellResult
    limits : mapping
        Largest errors accepted: ``forces`` [meV/Å], ``energy`` [meV/atom], ``properties`` [%].
    silicon : bool
        Properties were computed and have a DFT reference.
    """
    families = grouped(results, "descriptor", "model")
    cases = grouped(results, "descriptor", "model", "ratio")
    errors = _property_errors(cases) if silicon else {}
    chosen = recommend(cases, errors, limits)
    sections = [
        Section(
            "Energy against forces",
            (METHOD,),
            charts=(_trade_off(families), _saturation(families)),
            tables=(_table(families),),
        ),
        Section("Accuracy and cost", charts=(_pareto(cases, errors),)),
    ]
    if errors:
        sections.append(
            Section(
                "Do properties notice?",
                (
                    "Diamond silicon against the DFT reference, first split only; Spearman's rank correlation.",
                ),
                charts=_correlations(cases, errors),
                tables=(_property_table(cases, errors),),
            )
        )
    shapes = _derivative_charts(results)
    if shapes:
        text_ = "Averages over atoms of the derivatives of the atomic energy with respect to the features (figure 3)."
        sections.append(Section("Do the models find the same surface?", (text_,), charts=shapes))
    return Page(
        title="Model complexity: what does it buy?",
        question="How far do descriptors and models lower the force error once the weight of forces is scanned, does "
        "a lower force error buy better properties, and which potential is the cheapest that is good enough?",
        answer=_answer(chosen, cases, limits),
        claims=_claims(families, cases, errors),
        sections=tuple(sections),
    )


def recommend(
    cases: Groups, errors: Mapping[str, Mapping[str, float]], limits: Mapping[str, float]
) -> str | None:
    """Return the name of the cheapest case within all limits, or None."""
    good = [
        name
        for name, results in cases.items()
        if error(results, "test", "forces")[0] <= limits["forces"]
        and error(results, "test", "energy")[0] <= limits["energy"]
        and (not errors or _worst(errors.get(name, {})) <= limits["properties"])
    ]
    return min(good, key=lambda name: _cost(cases[name]), default=None)


def _worst(errors: Mapping[str, float]) -> float:
    values = list(errors.values())
    return max(values) if values and all(math.isfinite(v) for v in values) else math.inf


def _cost(results: Sequence[CellResult]) -> float:
    return min(float(r.values["microseconds"]) for r in results)


def _property_errors(cases: Groups) -> dict[str, dict[str, float]]:
    reference = properties_of_dft()
    found = {}
    for name, results in cases.items():
        for result in results:
            if "properties" in result.values:
                found[name] = property_errors(result.values["properties"], reference)
    return found


def _answer(chosen: str | None, cases: Groups, limits: Mapping[str, float]) -> str:
    asked = (
        f"force RMSE up to {limits['forces']:g} meV/Å, energy up to {limits['energy']:g} meV/atom and property errors "
        f"up to {limits['properties']:g} %"
    )
    if chosen is None:
        return f"No potential of this study meets {asked}."
    results = cases[chosen]
    place = results[0].values["potential"]
    return (
        f"Recommended, the cheapest that meets {asked}: {chosen} with {_cost(results):.3g} µs per atom and step, "
        f"forces {text(error(results, 'test', 'forces'))} meV/Å, energy {text(error(results, 'test', 'energy'))} "
        f"meV/atom. Trained on the first split: {place}"
    )


# ---- figures -------------------------------------------------------------------------------------------------


def _by_ratio(results: Sequence[CellResult]) -> Groups:
    return grouped(results, "ratio")


def _trade_off(families: Groups) -> Chart:
    series = []
    for name, results in families.items():
        by = _by_ratio(results)
        x = [error(r, "test", "forces")[0] for r in by.values()]
        y, spread = zip(*(error(r, "test", "energy") for r in by.values()), strict=True)
        labels = [f"{name}, wF/wE {ratio}" for ratio in by]
        series.append(Series(name, x, y, spread, labels))
    x_title, y_title = "test RMSE of forces [meV/Å]", "test RMSE of energy [meV/atom]"
    return Chart("Trade-off", tuple(series), x_title, y_title, x_log=True, y_log=True)


def _saturation(families: Groups) -> Chart:
    series = []
    for name, results in families.items():
        by = _by_ratio(results)
        y, spread = zip(*(error(r, "test", "forces") for r in by.values()), strict=True)
        series.append(Series(name, [float(ratio) for ratio in by], y, spread))
    return Chart("Saturation", tuple(series), "wF/wE", "test RMSE of forces [meV/Å]", x_log=True, y_log=True)


def _pareto(cases: Groups, errors: Mapping[str, Mapping[str, float]]) -> Chart:
    points = sorted((_cost(r), error(r, "test", "forces")[0], name) for name, r in cases.items())
    front: list[tuple[float, float, str]] = []
    for point in points:
        if not front or point[1] < front[-1][1]:
            front.append(point)

    def label(name: str) -> str:
        worst = _worst(errors.get(name, {}))
        return name if not math.isfinite(worst) else f"{name}, worst property {worst:.1f} %"

    series = (
        Series(
            "all",
            [p[0] for p in points],
            [p[1] for p in points],
            labels=[label(p[2]) for p in points],
            line=False,
        ),
        Series("front", [p[0] for p in front], [p[1] for p in front], labels=[label(p[2]) for p in front]),
    )
    caption = "One thread, energy, forces and virial; the front holds what nothing else beats in both."
    titles = ("cost [µs per atom and step]", "test RMSE of forces [meV/Å]")
    return Chart("Pareto front", series, *titles, caption, x_log=True, y_log=True)


def _correlations(cases: Groups, errors: Mapping[str, Mapping[str, float]]) -> tuple[Chart, ...]:
    charts = []
    for key, title in {
        "phonons": "phonon frequencies",
        **{k: v.split(" [")[0] for k, v in NUMBERS.items()},
    }.items():
        names = [n for n in errors if math.isfinite(errors[n][key])]
        if len(names) < 2:
            continue
        x, y = [_first_force_error(cases[n]) for n in names], [errors[n][key] for n in names]
        r = _rank_correlation(x, y)
        caption = f"Rank correlation {r:.2f}" if math.isfinite(r) else ""
        series = (Series("potentials", x, y, labels=names, line=False),)
        charts.append(
            Chart(title.capitalize(), series, "test RMSE of forces [meV/Å]", "error [%]", caption, x_log=True)
        )
    return tuple(charts)


def _first_force_error(results: Sequence[CellResult]) -> float:
    first = next(r for r in results if "properties" in r.values)
    return number(first.values["errors"]["test"]["forces"])


def _rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(x, y).statistic) if len(x) > 2 else math.nan


def _derivative_charts(results: Sequence[CellResult]) -> tuple[Chart, ...]:
    charts = []
    shapes = {
        (r.cell.parameters["descriptor"], r.cell.parameters["model"]): r.values["derivatives"]
        for r in results
        if r.values.get("derivatives")
    }
    for descriptor in dict.fromkeys(d for d, _ in shapes):
        models = [m for d, m in shapes if d == descriptor]
        pairs = [(a, b) for k, a in enumerate(models) for b in models[k + 1 :]]
        for a, b in pairs:
            for order in ("first", "second"):
                x, y = shapes[descriptor, a][order], shapes[descriptor, b][order]
                if order == "second" and "linear" in (a, b):
                    continue
                r = float(np.corrcoef(x, y)[0, 1])
                title = f"{descriptor}: {order} derivatives"
                series = (Series(f"{a}, {b}", x, y, line=False),)
                charts.append(
                    Chart(title, series, f"{a} [eV]", f"{b} [eV]", f"Correlation {r:.3f}", diagonal=True)
                )
    return tuple(charts)


# ---- tables and claims ---------------------------------------------------------------------------------------


def _table(families: Groups) -> Any:
    heads = [
        "potential",
        "features",
        "parameters",
        "µs/atom",
        "lowest force RMSE [meV/Å]",
        "lowest energy RMSE [meV/atom]",
    ]
    rows = []
    for name, results in families.items():
        by = _by_ratio(results)
        lowest = {
            key: min((error(r, "test", key) for r in by.values()), key=lambda e: e[0])
            for key in ("forces", "energy")
        }
        first = results[0].values
        rows.append(
            [
                name,
                str(first["n_features"]),
                str(first["n_parameters"]),
                f"{_cost(results):.3g}",
                text(lowest["forces"]),
                text(lowest["energy"]),
            ]
        )
    return table("Saturation errors over all ratios", heads, rows)


def _property_table(cases: Groups, errors: Mapping[str, Mapping[str, float]]) -> Any:
    keys = [*NUMBERS, "phonons"]
    rows = [
        [name, f"{_first_force_error(cases[name]):.3g}", *(f"{errors[name][key]:.2g}" for key in keys)]
        for name in errors
    ]
    return table("Errors [%]", ["potential", "force RMSE [meV/Å]", *keys], rows)


def _claims(
    families: Groups, cases: Groups, errors: Mapping[str, Mapping[str, float]]
) -> tuple[tuple[str, str, str], ...]:
    claims = []

    def saturation(name: str) -> tuple[float, float]:
        by = _by_ratio(families[name])
        return min((error(r, "test", "forces") for r in by.values()), key=lambda e: e[0])

    for name in families:
        descriptor, _, model = name.rpartition(", ")
        linear = f"{descriptor}, linear"
        if model != "linear" and linear in families:
            a, b = saturation(name), saturation(linear)
            found = f"{text(a)} against {text(b)} meV/Å"
            claims.append(
                (f"{name} saturates at a lower force error than the linear model", found, compare(a, b))
            )
    names = [n for n in errors if math.isfinite(errors[n]["phonons"])]
    if len(names) > 3:
        x, y = [_first_force_error(cases[n]) for n in names], [errors[n]["phonons"] for n in names]
        r = _rank_correlation(x, y)
        found = f"rank correlation {r:.2f} over {len(names)} potentials"
        verdict = "agrees" if r > 0.5 else "disagrees" if r < 0.2 else "undecided"
        claims.append(("Phonon errors follow the force error", found, verdict))
    return tuple(claims)
