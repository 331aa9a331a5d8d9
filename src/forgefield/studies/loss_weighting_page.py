"""What the study of loss weighting says: the paper's tables and figures with our numbers, and what decides between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from forgefield.evaluation.report.tables import TableView
from forgefield.studies.base import CellResult
from forgefield.studies.charts import Chart, Series
from forgefield.studies.loss_weighting_claims import best_of, family_of, own_claims, paper_claims, tested
from forgefield.studies.loss_weighting_longer import by_length, longer_section
from forgefield.studies.page import Page, Section, table
from forgefield.studies.summary import (
    Groups,
    error,
    error_table,
    grouped,
    paired,
    score,
    text,
)
from forgefield.studies.training import ERRORS, UNITS
from forgefield.studies.verdicts import asked

__all__ = ["loss_weighting_page"]

FAMILIES = {
    "fixed": "fixed, the paper's six",
    "softadapt": "SoftAdapt, the paper's loss",
    "relative": "fixed, relative loss",
    "relative softadapt": "SoftAdapt, relative loss",
    "rival": "other adaptive rules",
}
"""Those of which one is chosen by the validation errors."""
PRINTED = {
    "fixed 1": (19.28, 2940.90, 4890.23),
    "fixed 2": (2.30, 24.28, 520.72),
    "fixed 3": (2.29, 28.42, 34.10),
    "fixed 4": (6.12, 21.39, 37.20),
    "fixed 5": (7.42, 48.43, 23.43),
    "fixed 6": (5.41, 25.50, 22.44),
    "softadapt β 0.01": (4.03, 32.52, 29.70),
    "softadapt β 0.1": (4.15, 27.27, 27.08),
    "softadapt β 1": (2.74, 23.85, 23.54),
    "softadapt β 2": (2.57, 25.70, 24.62),
}
"""Test RMSE printed in the paper's tables 1 and 2, for MoTe2: energy [meV/atom], forces [meV/Å], stress [MPa]."""


def loss_weighting_page(epochs: int, seeds: int, results: Sequence[CellResult]) -> Page:
    """Return the page.

    Parameters
    ----------
    epochs : int
        Of every run but the longer ones.
    seeds : int
        Those below this one choose the best of a family, for every case has them.
    results : sequence of CellResult
    """
    cases = grouped(results, "case")
    short = {n: r for n, r in cases.items() if family_of(r) != "longer"}
    best = {family: name for family in FAMILIES if (name := best_of(short, family, seeds)) is not None}
    longer = [r for r in results if r.cell.parameters["family"] == "longer"]
    lengths = by_length(epochs, short, longer)
    sections = [
        Section("What was done", (_method(epochs, seeds, short),), tables=(_choice(short, best, seeds),)),
        Section(
            "Tables 1 and 2 of the paper",
            ("Right: what the paper prints for MoTe2, other data in the same order.",),
            tables=_printed(short),
        ),
        Section("All cases", tables=(error_table(short, "RMSE of every case"),)),
        Section("Trade-offs", ("Figure 2 of the paper.",), charts=_trade_offs(short)),
        Section(
            "Weights during training",
            ("Figure 3 of the paper: where SoftAdapt's weights go from different starts.",),
            charts=_evolution(results),
            tables=_weights(short),
        ),
    ]
    if lengths:
        sections.append(longer_section(lengths, best.get("relative")))
    return Page(
        title="Loss weighting: fixed or adaptive?",
        question="Do adaptive weights of energy, forces and stress (SoftAdapt) give more balanced and more accurate "
        "potentials than fixed ones, and still so when the fixed ones are tuned with the same effort?",
        answer="Test score (geometric mean of the three errors) of what validation chooses: "
        + "; ".join(f"{FAMILIES[f]}: {text(score(short[n], 'test'))} ({n})" for f, n in best.items())
        + ".",
        claims=tuple(paper_claims(short, lengths, seeds)),
        own=asked(own_claims(short, best, lengths, seeds)),
        sections=tuple(sections),
    )


def _method(epochs: int, seeds: int, cases: Groups) -> str:
    most = max(len(r) for r in cases.values())
    more = f", {most} of what is compared in detail" if most > seeds else ""
    kind = next(iter(cases.values()))[0].cell.parameters["config"].get("descriptor", {}).get("kind")
    other = (
        ""
        if kind in {None, "acsf"}
        else f" The paper's network stands on its symmetry functions, here on {kind}."
    )
    return (
        f"{epochs} epochs each, {seeds} seed(s){more}; the split is that of the data.{other} `fixed` and `softadapt` use the "
        "paper's loss (eq. 4, in eV, eV/Å and GPa); `relative` and the other rules divide every term by the mean square of "
        "its labels. The score is the geometric mean of the three errors. In every family the case with the lowest mean "
        f"score on the validation set over {seeds} seed(s) is chosen, and the test set compares what was chosen. Choosing from "
        "more cases is more effort: where a family has more than the one it is compared with, the verdict is on all ways to take as "
        "many of it. All rules have their default settings. ± is one "
        "standard error over seeds; differences in per cent are those of runs with the same seed (the same initial network), "
        "with the 95 % interval of Student's t: what includes zero is undecided."
    )


# ---- tables --------------------------------------------------------------------------------------------------


def _choice(cases: Groups, best: Mapping[str, str], seeds: int) -> TableView:
    rows = []
    for family, name in best.items():
        tries = sum(family_of(r) == family for r in cases.values())
        against = str(paired(cases[name], cases[best["relative"]], tested)) if "relative" in best else "-"
        first = [r for r in cases[name] if r.cell.parameters["config"]["seed"] < seeds]
        row = [FAMILIES[family], str(tries), name, text(score(first, "valid")), str(len(cases[name]))]
        rows.append([*row, text(score(cases[name], "test")), "" if family == "relative" else against])
    heads = ["family", "cases tried", "chosen on validation", "valid score", "runs", "test score"]
    return table("What was chosen", [*heads, "test score against fixed, relative"], rows, text_columns=3)


def _printed(cases: Groups) -> tuple[TableView, ...]:
    """Return the rows of the paper's tables with its own numbers beside ours."""
    views = []
    for number_of_table, family in ((1, "fixed"), (2, "softadapt")):
        rows = []
        for name, results in cases.items():
            if family_of(results) != family:
                continue
            row = [name, *(text(error(results, split, key)) for split in ("train", "test") for key in ERRORS)]
            printed = PRINTED.get(name.split(" (")[0])
            rows.append([*row, *(["", "", ""] if printed is None else _of_paper(printed))])
        heads = ["model", *(f"{split} {key} [{UNITS[key]}]" for split in ("train", "test") for key in ERRORS)]
        heads += ["paper, test: energy [meV/atom]", "paper: forces [meV/Å]", "paper: stress [GPa]"]
        if rows:
            views.append(table(f"Table {number_of_table}, RMSE", heads, rows))
    return tuple(views)


def _of_paper(printed: tuple[float, float, float]) -> list[str]:
    """Return what the paper prints, its stress [MPa] in GPa, to the digits it gives."""
    energy, forces, stress = printed
    return [f"{energy:g}", f"{forces:g}", f"{stress / 1000.0:.5f}"]


def _weights(cases: Groups) -> tuple[TableView, ...]:
    """Return where the weights of SoftAdapt are on average, and how far they swing."""
    rows = []
    for name, results in cases.items():
        if family_of(results) not in {"softadapt", "relative softadapt", "start"}:
            continue
        logs = [r.values["weights"] for r in results]
        row = [name]
        for key in ERRORS:
            series = [np.array(log[f"weight_{key}"], dtype=np.float64) for log in logs]
            late = np.array([s[len(s) // 2 :].mean() for s in series])
            swing = np.array([s[len(s) // 2 :].std() for s in series])
            row += [f"{late.mean():.3f}", f"{swing.mean():.3f}"]
        rows.append(row)
    heads = ["case", *(f"{key}{what}" for key in ERRORS for what in (": mean", ", swing"))]
    return (
        (table("Weights in the second half of the training: mean and standard deviation", heads, rows),)
        if rows
        else ()
    )


# ---- figures -------------------------------------------------------------------------------------------------


def _trade_offs(cases: Groups) -> tuple[Chart, ...]:
    charts = []
    for a, b in (("forces", "energy"), ("forces", "stress")):
        series = []
        for family, name in FAMILIES.items():
            own = {n: r for n, r in cases.items() if family_of(r) == family}
            if own:
                x = [error(r, "test", a)[0] for r in own.values()]
                y, spread = zip(*(error(r, "test", b) for r in own.values()), strict=True)
                labels = [f"{n}, mean of {len(r)} seed(s)" for n, r in own.items()]
                series.append(Series(name, x, y, spread, labels, line=False))
        charts.append(
            Chart(
                f"{b.capitalize()} against {a}",
                tuple(series),
                f"test RMSE of {a} [{UNITS[a]}]",
                f"test RMSE of {b} [{UNITS[b]}]",
                x_log=True,
                y_log=True,
                caption="Lower left is better in both.",
            )
        )
    return tuple(charts)


def _evolution(results: Sequence[CellResult]) -> tuple[Chart, ...]:
    charts = []
    for result in results:
        family, case = result.cell.parameters["family"], str(result.cell.parameters["case"])
        if family not in {"start", "softadapt"} or result.cell.parameters["config"]["seed"] != 0:
            continue
        log = result.values["weights"]
        series = tuple(
            Series(
                key,
                log["epoch"],
                log[f"weight_{key}"],
                labels=[f"{key}, {case}, seed 0"] * len(log["epoch"]),
                points=False,
            )
            for key in ERRORS
            if all(v is not None for v in log[f"weight_{key}"])
        )
        charts.append(Chart(f"Weights: {case}", series, "epoch", "loss weight", "First seed."))
    return tuple(charts)
