"""The page of the study of stress training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from forgefield.studies.base import CellResult, mean_and_error
from forgefield.studies.charts import Chart, Series
from forgefield.studies.page import Page, Section, table
from forgefield.studies.summary import Groups, compare, error_table, grouped, number, text

__all__ = ["VIRIALS", "stress_training_page"]

VIRIALS = ("I", "II", "III")
"""Kinds of atomic virials."""
FIGURE_3 = (
    "Figure 3 of the paper: difference to the reference against the stress error on validation structures, for the "
    "three atomic virials in the heat flux (Green-Kubo)."
)


def stress_training_page(results: Sequence[CellResult], *, method: str, kinds: Sequence[str]) -> Page:
    """Return the page.

    Parameters
    ----------
    results : sequence of CellResult
    method : str
        What was done.
    kinds : sequence of str
        Atomic virials in the heat flux.
    """
    truth = next((r for r in results if r.cell.parameters["fit"] == "reference"), None)
    fits = grouped([r for r in results if r.cell.parameters["fit"] != "reference"], "fit")
    return Page(
        title="Stress training: what stress labels buy",
        question="Does a potential trained on energies and forces alone (EF-fit) get stress, expansion and thermal "
        "conductivity right, or does it need stress labels (EFP-fit)? Which atomic virial gives the right heat flux?",
        answer=_answer(fits, truth),
        claims=_claims(fits, truth, kinds),
        sections=(
            Section("Stress", (method,), charts=_curves(fits, truth), tables=_tables(fits, truth)),
            Section("Thermal conductivity", (FIGURE_3,), charts=_conductivity_charts(fits, truth, kinds)),
        ),
    )


def _values(results: Sequence[CellResult], *keys: str) -> list[float]:
    found = []
    for result in results:
        value: Any = result.values
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        found.append(number(value))
    return found


def _mean(values: Sequence[float]) -> tuple[float, float]:
    known = [v for v in values if math.isfinite(v)]
    return mean_and_error(known) if known else (math.nan, math.nan)


def _curves(fits: Groups, truth: CellResult | None) -> tuple[Chart, ...]:
    series = []
    for name, results in [*fits.items(), *([("reference", [truth])] if truth else [])]:
        eos = results[0].values["eos"]
        if "failed" not in eos:
            series.append(Series(name, eos["volumes"], eos["energies"], points=False))
    if not series:
        return ()
    return (Chart("Equation of state", tuple(series), "volume [Å³/atom]", "energy [eV/atom]", "First seed."),)


def _tables(fits: Groups, truth: CellResult | None) -> tuple[Any, ...]:
    rows = []
    for name, results in [*fits.items(), *([("reference", [truth])] if truth else [])]:
        rows.append(
            [
                name,
                text(_mean(_values(results, "pressure_error"))),
                text(_mean(_values(results, "eos", "a0"))),
                text(_mean(_values(results, "eos", "bulk_modulus"))),
                text(_mean(_values(results, "length_at_rest", "value"))),
                *(text(_mean(_values(results, "conductivity", k, "value"))) for k in VIRIALS),
            ]
        )
    heads = ["fit", "stress error, strained [GPa]", "a0 [Å]", "B0 [GPa]", "a at temperature [Å]"]
    heads += [f"κ, virial {k} [W/(m K)]" for k in VIRIALS]
    return (
        table("Properties; ± is one standard error over seeds", heads, rows),
        error_table(fits, "RMSE", "fit", ("train", "valid")),
    )


def _conductivity_charts(fits: Groups, truth: CellResult | None, kinds: Sequence[str]) -> tuple[Chart, ...]:
    if truth is None:
        return ()
    reference = number(truth.values["conductivity"]["I"].get("value"))
    charts = []
    for kind in kinds:
        series = []
        for name, results in fits.items():
            y = [abs(v - reference) for v in _values(results, "conductivity", kind, "value")]
            spread = _values(results, "conductivity", kind, "error")
            x = _values(results, "errors", "valid", "stress")
            series.append(Series(name, x, y, spread, line=False))
        titles = ("validation stress RMSE [GPa]", "|κ - κ reference| [W/(m K)]")
        caption = f"κ of the reference: {reference:.3g} W/(m K)."
        charts.append(Chart(f"Virial {kind}", tuple(series), *titles, caption, x_log=True))
    return tuple(charts)


def _answer(fits: Groups, truth: CellResult | None) -> str:
    said = [
        f"{name}-fit: stress of strained crystals wrong by {text(_mean(_values(results, 'pressure_error')))} GPa, "
        f"mean a {text(_mean(_values(results, 'length_at_rest', 'value')))} Å"
        for name, results in fits.items()
    ]
    if truth is not None:
        at = truth.values["length_at_rest"]
        said.append(f"reference: {number(at.get('value')):.4g} Å")
    return "; ".join(said) + "."


def _claims(fits: Groups, truth: CellResult | None, kinds: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    if set(fits) < {"EF", "EFP"} or truth is None:
        return ()
    claims = []
    a, b = (_mean(_values(fits[k], "pressure_error")) for k in ("EFP", "EF"))
    claims.append(
        ("Stress labels lower the error of the stress", f"{text(a)} against {text(b)} GPa", compare(a, b))
    )
    reference = number(truth.values["conductivity"]["I"].get("value"))
    noise = number(truth.values["conductivity"]["I"].get("error"))

    def off(fit: str, kind: str) -> tuple[float, float]:
        return _mean([abs(v - reference) for v in _values(fits[fit], "conductivity", kind, "value")])

    a, b = off("EFP", "I"), off("EF", "I")
    found = f"|Δκ| {text(a)} against {text(b)} W/(m K); the reference itself is known to {noise:.2g}"
    claims.append(("Stress labels lower the error of the conductivity", found, compare(a, b)))
    for kind in kinds[1:]:
        a, b = off("EFP", "I"), off("EFP", kind)
        found = f"|Δκ| {text(a)} against {text(b)} W/(m K)"
        claims.append((f"Virial I is nearer to the reference than virial {kind}", found, compare(a, b)))
    return tuple(claims)
