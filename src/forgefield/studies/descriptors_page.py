"""What the study of descriptors says: accuracy and cost, errors by group, elastic constants beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.evaluation.report.tables import TableView
from forgefield.studies.base import CellResult, mean_and_error
from forgefield.studies.charts import Chart, Series
from forgefield.studies.descriptors_claims import missing_claims, own_claims, paper_claims
from forgefield.studies.page import Page, Section, table
from forgefield.studies.rounding import plain
from forgefield.studies.summary import (
    Groups,
    error,
    error_table,
    grouped,
    number,
    score,
    text,
)
from forgefield.studies.verdicts import Claim, asked

__all__ = ["descriptors_page"]

Row = tuple[float | None, ...]

TABLE_1: dict[str, dict[str, tuple[float, float]]] = {
    "SiO2": {
        "ACSF": (1.3, 81.2),
        "wACSF": (2.1, 141.8),
        "EAD": (4.8, 259.0),
        "SO3": (1.4, 115.1),
        "SO4": (3.3, 204.2),
    },
    "NbMoTaW": {"SO3": (7.57, 170.0)},
}
"""Printed in the paper: MAE of energy [meV/atom] and forces [meV/Å]; table 1 (of the data as a whole), section 5.2 (test)."""
TABLE_2: dict[str, dict[str, Row]] = {
    "Mo": {
        "DFT": (472, 158, 106, 262, 127, 0.30),
        "SNAP of the paper's ref. 39": (435, 169, 96, 258, 110, 0.31),
        "PyXtal_FF, SO3": (453, 161, 107, 259, 121, 0.30),
    },
    "Nb": {
        "DFT": (233, 145, 11, 174, 24, 0.45),
        "SNAP of the paper's ref. 39": (266, 142, 20, 183, 32, 0.42),
        "PyXtal_FF, SO3": (255, 130, -3, 171, None, 0.47),
    },
    "Ta": {
        "DFT": (265, 158, 69, 194, 63, 0.35),
        "SNAP of the paper's ref. 39": (257, 161, 67, 193, 59, 0.36),
        "PyXtal_FF, SO3": (280, 165, 72, 203, 66, 0.35),
    },
    "W": {
        "DFT": (510, 201, 143, 304, 147, 0.29),
        "SNAP of the paper's ref. 39": (560, 218, 154, 332, 160, 0.29),
        "PyXtal_FF, SO3": (527, 196, 143, 306, 151, 0.29),
    },
    "Si": {"DFT": (149.8, 55.1, 73.5, 86.7, None, None)},
}
"""Printed in the paper's table 2 (C11, C12, C44, B, G [GPa], Poisson's ratio), and the DFT answers of the bundled silicon."""
ELASTIC = ("c11", "c12", "c44", "bulk", "shear", "poisson")


def descriptors_page(besides: Mapping[str, str | None], results: Sequence[CellResult]) -> Page:
    """Return the page.

    Parameters
    ----------
    besides : mapping
        Each set of data, and the system of the paper whose printed errors stand beside it.
    results : sequence of CellResult
    """
    sections: list[Section] = []
    answers: list[str] = []
    claims: list[Claim] = []
    ours: list[Claim] = []
    dft = {element: rows["DFT"] for element, rows in TABLE_2.items()}
    for name, beside in besides.items():
        cases = grouped([r for r in results if r.cell.parameters["set"] == name], "descriptor")
        if not cases:
            continue
        best = min(cases, key=lambda n: score(cases[n], "valid")[0])
        answers.append(f"{name}: best on validation is {best}, test score {text(score(cases[best], 'test'))}")
        claims += paper_claims(name, beside, cases, dft)
        ours += own_claims(name, beside, cases)
        tables = [_accuracy(cases, beside), error_table(cases, "RMSE", "descriptor")]
        tables += [
            view for view in (_groups(cases, best), _elastic(cases), _deviation(cases)) if view is not None
        ]
        charts = (_chart(name, cases),) if len(cases) > 1 else ()
        sections.append(Section(name, (_method(cases),), charts=charts, tables=tuple(tables)))
    return Page(
        title="Descriptors: which one?",
        question="How accurate is the same network on each descriptor, and what does a simulation with it cost?",
        answer=". ".join(answers)
        + ". Scores are geometric means of the RMSE of energy, forces and stress, as far as there are labels.",
        claims=(*claims, *missing_claims()),
        own=asked(ours),
        sections=tuple(sections),
    )


def _method(cases: Groups) -> str:
    first = next(iter(cases.values()))[0]
    config, counts = first.cell.parameters["config"], first.values["structures"]
    training, descriptor = config["training"], config["descriptor"]
    cutoff = descriptor.get("cutoff", descriptor.get("cutoff_radial"))
    seeds = max(len(results) for results in cases.values())
    drawn = ""
    if first.cell.parameters["structures"] is not None:
        share = ", as many of every group as there are" if first.cell.parameters["draw"] == "groups" else ""
        drawn = f", drawn anew for every seed{share}"
    return (
        f"{counts['train']} training structures{drawn}, {counts.get('valid', 0)} for validation, {counts.get('test', 0)} for "
        f"testing. Network of {config['model'].get('hidden')} neurons for each element, cutoff {cutoff:g} Å, "
        f"{training['kind']} with {training['epochs']} epochs, {seeds} seed(s); ± is one standard error, and intervals are of 95 % "
        "by Welch's t. Training: processor time of one thread. Cost: energy, forces and virial of 200 atoms or more, one "
        "thread, processor time."
    )


def _chart(data: str, cases: Groups) -> Chart:
    series = []
    for name, results in cases.items():
        y, spread = error(results, "test", "forces")
        labels = [f"{name}, mean of {len(results)} seed(s)"]
        series.append(Series(name, [_cost(results)], [y], [spread], labels, line=False))
    titles = ("cost [µs per atom and step]", "test RMSE of forces [meV/Å]")
    title = f"{data}: accuracy and cost"
    return Chart(title, tuple(series), *titles, "Lower left is better.", x_log=True, y_log=True)


def _cost(results: Sequence[CellResult]) -> float:
    return min(float(r.values["microseconds"]) for r in results)


def _mae(results: Sequence[CellResult], key: str) -> tuple[float, float]:
    return mean_and_error([number(r.values["mae"]["test"][key]) for r in results])


def _accuracy(cases: Groups, beside: str | None) -> TableView:
    heads = ["descriptor", "features", "µs/atom", "training [s]"]
    heads += ["energy [meV/atom]", "forces [meV/Å]", "stress [GPa]"]
    printed = TABLE_1.get(beside or "", {})
    if printed:
        heads += [f"paper, {beside}: energy [meV/atom]", "paper: forces [meV/Å]"]
    rows = []
    for name, results in cases.items():
        trained = mean_and_error([number(r.values["training"]["cpu"]) for r in results])[0]
        row = [name, str(results[0].values["n_features"]), plain(_cost(results)), plain(trained)]
        row += [text(_mae(results, key)) for key in ("energy", "forces", "stress")]
        if printed:
            row += [f"{value:g}" for value in printed[name]] if name in printed else ["", ""]
        rows.append(row)
    return table("Test MAE and cost (table 1 of the paper)", heads, rows)


def _groups(cases: Groups, best: str) -> TableView | None:
    """Return the errors of each group of the test set by the best descriptor and by SO3, as in the paper's table 3."""
    shown = list(dict.fromkeys(name for name in (best, "SO3") if name in cases))
    groups = cases[best][0].values["groups"]
    if len(groups) < 2:
        return None
    rows = []
    for group, entry in groups.items():
        row = [group, str(entry["structures"])]
        for name in shown:
            for key in ("energy", "forces"):
                values = [number(r.values["groups"][group][key]) for r in cases[name]]
                row.append(text(mean_and_error(values)))
        rows.append(row)
    heads = ["group", "structures"]
    heads += [f"{name}: {unit}" for name in shown for unit in ("energy [meV/atom]", "forces [meV/Å]")]
    return table("Test RMSE by group (as table 3 of the paper)", heads, rows)


def _elastic(cases: Groups) -> TableView | None:
    rows = []
    for element in next(iter(cases.values()))[0].values["elastic"]:
        for source, values in TABLE_2.get(element, {}).items():
            rows.append([element, source, "", *("" if v is None else f"{v:g}" for v in values)])
        for name, results in cases.items():
            rows.append([element, name, *_elastic_row([r.values["elastic"][element] for r in results])])
    heads = ["crystal", "by", "a [Å]", "C11 [GPa]", "C12 [GPa]", "C44 [GPa]", "B [GPa]", "G [GPa]", "ν"]
    caption = "Elastic constants and Voigt-Reuss-Hill moduli (table 2 of the paper)"
    return table(caption, heads, rows, text_columns=2) if rows else None


def _deviation(cases: Groups) -> TableView | None:
    """Return how far C11, C12 and C44 of all crystals are from DFT on average, beside what the paper prints."""
    elements = [e for e in next(iter(cases.values()))[0].values["elastic"] if "DFT" in TABLE_2.get(e, {})]
    if not elements:
        return None
    truth = np.array([TABLE_2[e]["DFT"][:3] for e in elements], dtype=np.float64)
    rows = []
    for source in (s for s in TABLE_2[elements[0]] if s != "DFT"):
        printed = np.array([TABLE_2[e][source][:3] for e in elements], dtype=np.float64)
        rows.append([source, *_deviations(np.abs(printed - truth)[None])])
    for name, results in cases.items():
        found = [[r.values["elastic"][e] for e in elements] for r in results]
        if not any("failed" in one for run in found for one in run):
            values = np.array([[[one[key] for key in ELASTIC[:3]] for one in run] for run in found])
            rows.append([name, *_deviations(np.abs(values - truth))])
    heads = ["by", "C11 [GPa]", "C12 [GPa]", "C44 [GPa]", "all [GPa]"]
    return table("Mean distance of the elastic constants from those of DFT", heads, rows)


def _deviations(distances: NDArray[np.float64]) -> list[str]:
    """Return the mean over crystals of (seeds, crystals, constants), for each constant and all."""
    columns = [*distances.mean(axis=1).T, distances.mean(axis=(1, 2))]
    return [text(mean_and_error(column.tolist())) for column in columns]


def _elastic_row(found: Sequence[Mapping[str, Any]]) -> list[str]:
    failures = [str(f["failed"]) for f in found if "failed" in f]
    if failures:
        return [f"{len(failures)} of {len(found)} runs: {failures[0]}", *[""] * len(ELASTIC)]
    row = [text(mean_and_error([float(f["a"]) for f in found]))]
    for key in ELASTIC:
        values = [number(f[key]) for f in found]
        row.append(text(mean_and_error(values)) if all(map(math.isfinite, values)) else "unstable")
    return row
