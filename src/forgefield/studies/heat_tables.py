"""Conductivities of fits against the reference, with each atomic virial: tables and charts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from forgefield.evaluation.report.tables import TableView
from forgefield.studies.charts import Chart, Series
from forgefield.studies.page import table
from forgefield.studies.rounding import plain
from forgefield.studies.stress_training_numbers import REFERENCE, UNIT, Heat, known_mean, values_of
from forgefield.studies.summary import text

__all__ = ["conductivity_charts", "conductivity_table", "needed"]


def conductivity_charts(heat: Heat, phase: str, kinds: Sequence[str]) -> tuple[Chart, ...]:
    """Return figure 3 of the paper, one chart for each virial."""
    charts = []
    for kind in kinds:
        series = []
        for name, results in heat.fits.items():
            y = [v - heat.value for v in heat.of(name, kind)]
            x = values_of(results, "errors", "valid", "stress")
            labels = [f"{name}-fit, seed {r.cell.parameters['seed']}, virial {kind}" for r in results]
            series.append(Series(name, x, y, heat.errors(name, kind), labels, line=False))
        titles = ("validation RMSE of stress [GPa]", f"κ - κ reference [{UNIT}]")
        caption = f"κ of the reference: {text((heat.value, heat.error))} {UNIT}."
        charts.append(
            Chart(f"Virial {kind}, {phase}", tuple(series), *titles, caption, x_log=True, level=0.0)
        )
    return tuple(charts)


def conductivity_table(heat: Heat, phase: str, kinds: Sequence[str]) -> TableView:
    """Return conductivities, their differences to the reference and to those with virial I."""
    rows = []
    for name in heat.fits:
        for kind in kinds:
            change = "-" if kind == "I" else text(heat.change(name, kind))
            difference = text(heat.difference(name, kind))
            rows.append([name, kind, text(known_mean(heat.of(name, kind))), difference, change])
    rows.append([REFERENCE, "I", text((heat.value, heat.error)), "-", "-"])
    for kind in kinds[1:]:
        if heat.truths_have(kind):
            own, changed = heat.of_truths(kind)
            off = text((own[0] - heat.value, changed[1]))
            rows.append([REFERENCE, kind, text(own), off, text(changed)])
    heads = ["fit", "virial", f"κ [{UNIT}]", f"κ - κ reference [{UNIT}]", f"κ - κ with virial I [{UNIT}]"]
    caption = f"Conductivity of the {phase}; ± is one standard error over seeds"
    return table(caption, heads, rows, text_columns=2)


def needed(heat: Heat) -> tuple[str, ...]:
    """Return how much longer the simulations must be to decide between EFP-fit and reference, in words."""
    if "EFP" not in heat.fits or len(heat.fits["EFP"]) < 2:
        return ()
    mean, spread = heat.difference("EFP", "I")
    if not (math.isfinite(mean) and math.isfinite(spread)):
        return ()
    relative = 100.0 * spread / abs(heat.value)
    times = max(1.0, (relative / 2.5) ** 2)
    said = (
        f"The mean of the EFP-fits and the reference together are known to {plain(relative, 2)} % of κ; to see differences of "
        f"5 % (two standard errors) all simulations must be {plain(times, 2)} times as long."
    )
    return (said,)
