"""The page of the study of stress training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from forgefield.evaluation.report.tables import TableView
from forgefield.studies.base import CellResult
from forgefield.studies.charts import Chart, Series
from forgefield.studies.heat_tables import conductivity_charts, conductivity_table, needed
from forgefield.studies.page import Page, Section, table
from forgefield.studies.rounding import aligned, plain
from forgefield.studies.stress_training_claims import missing_claims, own_claims, paper_claims
from forgefield.studies.stress_training_numbers import (
    CRYSTAL,
    LIQUID,
    NO_TEST,
    REFERENCE,
    WAYS,
    Heat,
    known_mean,
    melting_errors,
    values_of,
)
from forgefield.studies.summary import Groups, error_table, grouped, number, text
from forgefield.studies.verdicts import Claim, asked

__all__ = ["VIRIALS", "stress_training_page"]

VIRIALS = ("I", "II", "III")
"""Kinds of atomic virials."""
PHASES = {LIQUID: "liquid", CRYSTAL: "crystal"}
FIGURE_1 = (
    "Figure 1 of the paper: a crystal heated until it melts and cooled again at constant pressure. Differences to the "
    "reference are taken temperature by temperature, against the mean of its runs; its own row says how much its runs "
    "differ from each other, which is the chance in melting and freezing."
)
FIGURE_3 = (
    "Figure 3 of the paper: difference to the reference against the stress error on validation structures, for the "
    "three atomic virials in the heat flux (Green-Kubo). All three are measured in the same simulations, so that their "
    "differences are known better than each of them."
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
    truths = [r for r in results if r.cell.parameters["fit"] == REFERENCE]
    fits = grouped([r for r in results if r.cell.parameters["fit"] != REFERENCE], "fit")
    sections = [
        Section(
            "Stress", (method, NO_TEST), charts=_curves(fits, truths), tables=_stress_tables(fits, truths)
        ),
        Section(
            "Melting and freezing",
            (FIGURE_1, _conditions(results)),
            charts=(*_hysteresis(fits, truths), *_structure(fits, truths)),
            tables=(_melting_table(fits, truths), _runs_table(fits, truths)) if truths else (),
        ),
        *(
            _heat_section(Heat(fits, truths, key), name, results, kinds)
            for key, name in PHASES.items()
            if truths
        ),
    ]
    claims: tuple[Claim, ...] = ()
    own: tuple[Claim, ...] = ()
    if set(fits) >= {"EF", "EFP"} and truths:
        off = {k: _off(k, fits[k], truths) for k in ("EFP", "EF")}
        heats = {phase: Heat(fits, truths, key) for key, phase in PHASES.items()}
        claims = (*paper_claims(fits, off, heats, kinds), *missing_claims())
        own = asked(own_claims(fits, off, heats, kinds))
    return Page(
        title="Stress training: what stress labels buy",
        question="Does a potential trained on energies and forces alone (EF-fit) get stress, expansion, melting and "
        "thermal conductivity right, or does it need stress labels (EFP-fit)? Which atomic virial gives the right heat "
        "flux?",
        answer=_answer(fits, truths),
        claims=claims,
        own=own,
        sections=tuple(sections),
    )


def _everyone(fits: Groups, truths: Sequence[CellResult]) -> Groups:
    return {**fits, **({REFERENCE: list(truths)} if truths else {})}


# ---- stress --------------------------------------------------------------------------------------------------


def _curves(fits: Groups, truths: Sequence[CellResult]) -> tuple[Chart, ...]:
    series = []
    for name, results in _everyone(fits, truths).items():
        eos = results[0].values["eos"]
        if "failed" not in eos:
            labels = [_run(name, results[0])] * len(eos["volumes"])
            rise = [1000.0 * (e - min(eos["energies"])) for e in eos["energies"]]
            series.append(
                Series(name, eos["volumes"], rise, labels=labels, points=False, reference=name == REFERENCE)
            )
    if not series:
        return ()
    titles = ("volume [Å³/atom]", "energy above the lowest [meV/atom]")
    return (Chart("Equation of state", tuple(series), *titles, "First seed."),)


def _run(name: str, result: CellResult) -> str:
    """Return which run is shown."""
    return f"{name}, seed {result.cell.parameters['seed']}"


def _stress_tables(fits: Groups, truths: Sequence[CellResult]) -> tuple[TableView, ...]:
    every = _everyone(fits, truths)
    paths = (("pressure_error",), ("eos", "a0"), ("eos", "bulk_modulus"), ("length_at_rest", "value"))
    columns = [aligned([_mean(name, r, *path) for name, r in every.items()]) for path in paths]
    rows = []
    for n, (name, results) in enumerate(every.items()):
        error, a0, modulus, warm = (column[n] for column in columns)
        minima = f"{sum('failed' not in r.values['eos'] for r in results)} of {len(results)}"
        rows.append(
            [name, error, minima, a0, modulus, warm, _span(values_of(results, "length_at_rest", "value"))]
        )
    heads = [
        "fit",
        "stress error, strained [GPa]",
        "with a minimum of energy",
        "a0 [Å]",
        "B0 [GPa]",
        "a at temperature [Å]",
        "lowest to highest [Å]",
    ]
    return (
        table(
            "Properties; ± is one standard error over seeds, of the reference over parts of its run",
            heads,
            rows,
        ),
        error_table(fits, "RMSE", "fit", ("train", "valid")),
    )


def _mean(name: str, results: Sequence[CellResult], *path: str) -> tuple[float, float]:
    """Return mean and standard error of what is known; runs of the reference that are one simulation know its own error only."""
    values = values_of(results, *path)
    if name != REFERENCE or len(set(values)) > 1:
        return known_mean(values)
    return values[0], values_of(results, path[0], "error")[0]


def _span(values: Sequence[float]) -> str:
    known = [v for v in values if math.isfinite(v)]
    return f"{plain(min(known), 4)} to {plain(max(known), 4)}" if known else "-"


# ---- melting -------------------------------------------------------------------------------------------------


def _conditions(results: Sequence[CellResult]) -> str:
    p = results[0].cell.parameters
    return (
        f"{p['melting_low']:g} to {p['melting_high']:g} K and back at {p['melting_pressure']:g} GPa, "
        f"{p['melting_steps'] / 100:g} ps at each temperature."
    )


def _melting(results: Sequence[CellResult]) -> list[dict[str, Any]]:
    return [dict(r.values["melting"]) for r in results]


def _off(name: str, results: Sequence[CellResult], truths: Sequence[CellResult]) -> list[dict[str, float]]:
    """Return `melting_errors` of each run; runs of the reference are compared with the other ones."""
    true = _melting(truths)
    if name != REFERENCE:
        return [melting_errors(one, true) for one in _melting(results)]
    return [melting_errors(one, true[:k] + true[k + 1 :]) for k, one in enumerate(true)]


def _melting_table(fits: Groups, truths: Sequence[CellResult]) -> TableView:
    rows = []
    for name, results in _everyone(fits, truths).items():
        found, off = _melting(results), _off(name, results, truths)
        reached = [sum(key in one for one in found) for key in ("melts", "freezes")]
        rows.append(
            [
                name,
                *(text(known_mean([number(one.get(key)) for one in found])) for key in ("melts", "freezes")),
                f"{reached[0]} and {reached[1]} of {len(found)}",
                text(known_mean([one["length"] for one in off])),
                text(known_mean([one["g"] for one in off])),
                str(sum("failed" in one for one in found)),
            ]
        )
    heads = [
        "fit",
        "melts at [K]",
        "freezes at [K]",
        "melted and froze",
        "RMS Δa [%]",
        "mean |Δg|",
        "broke down",
    ]
    return table("Heating and cooling; ± is one standard error over seeds", heads, rows)


def _runs_table(fits: Groups, truths: Sequence[CellResult]) -> TableView:
    rows = []
    for name, results in _everyone(fits, truths).items():
        runs = zip(results, _melting(results), _off(name, results, truths), strict=True)
        for result, found, off in runs:
            spans = [_span(found["lengths"][way]) if "lengths" in found else "-" for way in WAYS]
            numbers = [number(found.get("melts")), number(found.get("freezes")), off["length"], off["g"]]
            shown = ["-" if math.isnan(v) else plain(v) for v in numbers]
            rows.append([name, str(result.cell.parameters["seed"]), *shown, *spans])
    heads = ["fit", "seed", "melts at [K]", "freezes at [K]", "RMS Δa [%]", "mean |Δg|"]
    return table("Every run", [*heads, "a, heating [Å]", "a, cooling [Å]"], rows)


def _hysteresis(fits: Groups, truths: Sequence[CellResult]) -> tuple[Chart, ...]:
    series = []
    for name, results in _everyone(fits, truths).items():
        found = _melting(results)[0]
        if "lengths" in found:
            x = [*found["temperatures"]["heating"], *found["temperatures"]["cooling"]]
            y = [*found["lengths"]["heating"], *found["lengths"]["cooling"]]
            labels = [f"{_run(name, results[0])}, {w}" for w in WAYS for _ in found["temperatures"][w]]
            series.append(Series(name, x, y, labels=labels, reference=name == REFERENCE))
    if not series:
        return ()
    caption = "First seed; heating first, then cooling."
    return (Chart("Hysteresis", tuple(series), "temperature [K]", "lattice constant [Å]", caption),)


def _structure(fits: Groups, truths: Sequence[CellResult]) -> tuple[Chart, ...]:
    if not truths or "g" not in truths[0].values["melting"]:
        return ()
    names = list(truths[0].values["melting"]["g"])
    charts = []
    for name in (names[0], names[len(names) // 2 - 1], names[-1]):
        series = []
        for fit, results in _everyone(fits, truths).items():
            found = _melting(results)[0]
            if name in found.get("g", {}):
                labels = [_run(fit, results[0])] * len(found["r"])
                same = fit == REFERENCE
                series.append(
                    Series(fit, found["r"], found["g"][name], labels=labels, points=False, reference=same)
                )
        charts.append(Chart(f"g(r), {name}", tuple(series), "distance [Å]", "g(r)", "First seed."))
    return tuple(charts)


# ---- conduction ----------------------------------------------------------------------------------------------


def _heat_section(heat: Heat, phase: str, results: Sequence[CellResult], kinds: Sequence[str]) -> Section:
    p = results[0].cell.parameters
    temperature = p["flux_temperature" if phase == "liquid" else "crystal_temperature"]
    done = (
        f"{p['replicas']} simulations of {p['length']:g} ps at {temperature:g} K and the volume of training."
    )
    return Section(
        f"Thermal conductivity of the {phase}",
        (FIGURE_3, done, *needed(heat)),
        charts=conductivity_charts(heat, phase, kinds),
        tables=(conductivity_table(heat, phase, kinds),),
    )


# ---- words ---------------------------------------------------------------------------------------------------


def _answer(fits: Groups, truths: Sequence[CellResult]) -> str:
    said = []
    for name, results in fits.items():
        off = _off(name, results, truths)
        said.append(
            f"{name}-fit: stress of strained crystals wrong by {text(known_mean(values_of(results, 'pressure_error')))} GPa, "
            f"mean a {text(known_mean(values_of(results, 'length_at_rest', 'value')))} Å, heating and cooling off by "
            f"{text(known_mean([o['length'] for o in off]))} % of a"
        )
    if truths:
        at = known_mean(values_of(truths, "length_at_rest", "value"))
        said.append(f"reference: {at[0]:.4g} Å")
    return "; ".join(said) + "."
