"""The page of the study of the heat flux."""

from __future__ import annotations

import math
from collections.abc import Sequence

from forgefield.evaluation.report.tables import TableView
from forgefield.studies.base import CellResult
from forgefield.studies.heat_claims import heat_claims, own_heat_claims
from forgefield.studies.heat_tables import conductivity_charts, conductivity_table, needed
from forgefield.studies.page import Page, Section, table
from forgefield.studies.rounding import plain
from forgefield.studies.stress_training_numbers import (
    LIQUID,
    NO_TEST,
    REFERENCE,
    UNIT,
    Heat,
    known_mean,
    values_of,
)
from forgefield.studies.summary import Groups, error_table, grouped, text
from forgefield.studies.verdicts import asked, not_run

__all__ = ["heat_flux_page"]

PHASE = "melt"
MISSING = not_run(
    "superionic Ag2Se: conductivities by HNEMD (figure 3)", "molten silicon by Green-Kubo instead"
)
FIGURE_3 = (
    "Figure 3 of the paper: difference to the reference against the stress error on validation structures, for the three "
    "atomic virials in the heat flux (Green-Kubo). All three come from the same simulations."
)
NEARER = (
    "Which virial is nearer to the reference is decided by where the reference lies from the middle between the two: that "
    "takes fewer simulations than each difference on its own."
)


def heat_flux_page(results: Sequence[CellResult], *, method: str, kinds: Sequence[str]) -> Page:
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
    heat = Heat(fits, truths, LIQUID)
    complete = set(fits) >= {"EF", "EFP"} and bool(truths)
    sections = (
        Section("Errors", (method, NO_TEST), tables=(error_table(fits, "RMSE", "fit", ("train", "valid")),)),
        Section(
            "Thermal conductivity of the melt",
            (FIGURE_3, NEARER, *_broken(heat), *_converged(heat), *needed(heat)),
            charts=conductivity_charts(heat, PHASE, kinds) if truths else (),
            tables=(conductivity_table(heat, PHASE, kinds), _every(heat, fits, kinds)) if truths else (),
        ),
    )
    return Page(
        title="Heat flux: atomic virials and stress labels on a melt of many-body forces",
        question="Of three atomic virials, which gives the conductivity of a melt whose forces have many-body terms? Does a "
        "potential trained without stress get it right?",
        answer=_answer(heat, kinds),
        claims=(*heat_claims(heat, PHASE, kinds), MISSING) if complete else (),
        own=asked(own_heat_claims(heat, PHASE, kinds)) if complete else (),
        sections=sections,
    )


def _broken(heat: Heat) -> tuple[str, ...]:
    """Return how many fits did not survive their simulations."""
    counts = {name: [math.isnan(value) for value in heat.of(name, "I")] for name in heat.fits}
    if not any(any(one) for one in counts.values()):
        return ()
    said = ", ".join(f"{sum(one)} of {len(one)} {name}-fits" for name, one in counts.items())
    return (f"Simulations of {said} broke down; these fits are left out.",)


def _converged(heat: Heat) -> tuple[str, ...]:
    """Return what the integral does beyond its limit, of everything simulated."""
    changes = [
        late / value - 1.0
        for results in (*heat.fits.values(), list(heat.truths))
        for value, late in zip(
            values_of(results, LIQUID, "I", "value"), values_of(results, LIQUID, "I", "late"), strict=True
        )
    ]
    mean, spread = known_mean(changes)
    if not math.isfinite(spread):
        return ()
    return (
        f"Integrals to twice the limit change the conductivity (virial I) by {text((100.0 * mean, 100.0 * spread))} %.",
    )


def _every(heat: Heat, fits: Groups, kinds: Sequence[str]) -> TableView:
    rows = []
    for name, results in fits.items():
        stress = values_of(results, "errors", "valid", "stress")
        columns = [zip(heat.of(name, kind), heat.errors(name, kind), strict=True) for kind in kinds]
        for result, error, *values in zip(results, stress, *columns, strict=True):
            cells = [text(value) for value in values]
            rows.append([name, str(result.cell.parameters["seed"]), plain(error), *cells])
    heads = [
        "fit",
        "seed",
        "validation RMSE of stress [GPa]",
        *(f"κ, virial {kind} [{UNIT}]" for kind in kinds),
    ]
    return table("Every fit; ± is one standard error over simulations", heads, rows, text_columns=2)


def _answer(heat: Heat, kinds: Sequence[str]) -> str:
    said = [f"reference {text((heat.value, heat.error))} {UNIT}"]
    for name in heat.fits:
        values = ", ".join(f"{kind} {text(known_mean(heat.of(name, kind)))}" for kind in kinds)
        said.append(f"{name}-fit with virial {values}")
    return "; ".join(said) + "."
