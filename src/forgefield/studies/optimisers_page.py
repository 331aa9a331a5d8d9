"""What the study of optimisers says: error against time and epochs, scans, parity, equations of state, a liquid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from forgefield import datasets
from forgefield.evaluation.report.tables import TableView
from forgefield.studies.base import CellResult, mean_and_error
from forgefield.studies.charts import Chart, Series
from forgefield.studies.optimisers_claims import missing_claims, own_claims, paper_claims, seconds
from forgefield.studies.page import Page, Section, table
from forgefield.studies.rounding import aligned, plain
from forgefield.studies.summary import Groups, error_table, grouped, number, score, text
from forgefield.studies.training import UNITS
from forgefield.studies.verdicts import Claim, asked

__all__ = ["RMSE", "optimisers_page"]

MISSING = (math.nan, math.nan)
RMSE = {key: f"{key}_rmse_valid" for key in UNITS}
"""Columns of the log."""
AXES = {"cpu_seconds": "processor time [s]", "seconds": "wall time [s]", "epoch": "epoch"}
PARITY = {
    "energy": "energy above the lowest label [meV/atom]",
    "forces": "force [meV/Å]",
    "stress": "stress [GPa]",
}
TIMES = (
    "Every point is one look at the validation structures. Times are of one thread; processor time is what a machine that "
    "does other work as well does not stretch, and what the claims compare."
)


def optimisers_page(names: Sequence[str], results: Sequence[CellResult]) -> Page:
    """Return the page.

    Parameters
    ----------
    names : sequence of str
        Sets of data.
    results : sequence of CellResult
    """
    sections: list[Section] = []
    answers: list[str] = []
    claims: list[Claim] = []
    ours: list[Claim] = []
    for name in names:
        own = [r for r in results if r.cell.parameters["set"] == name]
        methods = grouped([r for r in own if r.cell.parameters["family"] == "method"], "case")
        if not methods:
            continue
        best = min(methods, key=lambda n: score(methods[n], "valid")[0])
        answers.append(
            f"{name}: best on validation is {best}, test score {text(score(methods[best], 'test'))}"
        )
        claims += paper_claims(name, methods, own)
        ours += own_claims(name, methods)
        sections += _sections(name, methods, own)
    return Page(
        title="Optimisers: evolution or gradients?",
        question="How fast do evolution (SNES), Adam with exact gradients and second-order methods train the same "
        "neuroevolution potential, and how good does it get?",
        answer=". ".join(answers)
        + ". The score is the geometric mean of the RMSE of energy, forces and stress, as far as there are labels.",
        claims=(*claims, *missing_claims()),
        own=asked(ours),
        sections=tuple(sections),
    )


def _sections(name: str, methods: Groups, own: Sequence[CellResult]) -> list[Section]:
    counts = next(iter(methods.values()))[0].values["structures"]
    sizes = ", ".join(f"{n} {split}" for split, n in counts.items())
    tables = (error_table(methods, "RMSE at the end of each run"), _times(methods))
    sections = [
        Section(
            f"{name}: time and epochs",
            (f"Structures: {sizes}. {TIMES}",),
            charts=_convergence(name, methods),
            tables=tables,
        )
    ]
    plots = _parity(name, methods)
    if plots:
        sections.append(
            Section(f"{name}: parity", ("Test structures, first seed, a part of all values.",), charts=plots)
        )
    scans = [
        scan
        for scan in (_scan(own, "length", "epochs"), _scan(own, "batch", "structures in a step"))
        if scan is not None
    ]
    if scans:
        charts, views = zip(*scans, strict=True)
        sections.append(Section(f"{name}: training length and batch size", charts=charts, tables=views))
    physics = (_eos(name, methods), _liquid(name, methods))
    return sections + [part for part in physics if part is not None]


# ---- time and epochs -----------------------------------------------------------------------------------------


def _convergence(data: str, methods: Groups) -> tuple[Chart, ...]:
    charts = []
    for axis, title in AXES.items():
        for key in ("forces", "energy"):
            series = []
            for name, results in methods.items():
                log = results[0].values["log"]
                x = [max(number(v), 1e-3) for v in log[axis]]
                y, said = [number(v) for v in log[RMSE[key]]], [_first(name, results)] * len(x)
                series.append(Series(name, x, y, labels=said, points=False))
            label = f"validation RMSE of {key} [{UNITS[key]}]"
            heading = f"{data}: {key} against {title.split(' [')[0]}"
            charts.append(Chart(heading, tuple(series), title, label, x_log=True, y_log=True))
    return tuple(charts)


def _times(methods: Groups) -> TableView:
    rows = []
    for name, results in methods.items():
        epochs = number(results[0].values["log"]["epoch"][-1])
        times = [f"{seconds(results, column):.1f}" for column in ("cpu_seconds", "seconds")]
        rows.append([name, f"{epochs:.0f}", *times, f"{len(results)}"])
    return table("Training time", ["method", "epochs", "processor time [s]", "wall time [s]", "runs"], rows)


def _parity(data: str, methods: Groups) -> tuple[Chart, ...]:
    first = {name: results[0].values.get("parity") or {} for name, results in methods.items()}
    charts = []
    for key, title in PARITY.items():
        series = tuple(
            Series(
                name, *_scaled(key, found[key]), labels=_numbered(name, methods[name], found[key]), line=False
            )
            for name, found in first.items()
            if key in found
        )
        if series:
            heading = f"{data}: parity of {key}"
            charts.append(Chart(heading, series, f"DFT {title}", f"predicted {title}", diagonal=True))
    return tuple(charts)


def _first(name: str, results: Sequence[CellResult]) -> str:
    """Return which run is shown where one is."""
    return f"{name}, seed {results[0].cell.parameters['config']['seed']}"


def _numbered(name: str, results: Sequence[CellResult], found: Mapping[str, Sequence[float]]) -> list[str]:
    return [f"{_first(name, results)}, test value {n + 1}" for n in range(len(found["label"]))]


def _scaled(key: str, found: Mapping[str, Sequence[float]]) -> tuple[list[float], list[float]]:
    """Return labels and predictions [meV/atom, meV/Å, GPa]; energies above the lowest label."""
    lowest = min(found["label"]) if key == "energy" else 0.0
    unit = 1.0 if key == "stress" else 1000.0
    label, predicted = ([unit * (v - lowest) for v in found[which]] for which in ("label", "predicted"))
    return label, predicted


def _scan(results: Sequence[CellResult], family: str, title: str) -> tuple[Chart, TableView] | None:
    setting = "epochs" if family == "length" else "batch_size"
    own: dict[int, list[CellResult]] = {}
    for r in results:
        if r.cell.parameters["family"] == family:
            own.setdefault(int(r.cell.parameters["config"]["training"][setting]), []).append(r)
    if len(own) < 2:
        return None
    x = [float(n) for n in own]
    times = [f"{seconds(runs):.1f}" for runs in own.values()]
    runs_each = f"mean of {max(map(len, own.values()))} run(s)"
    scores = {split: [score(runs, split) for runs in own.values()] for split in ("train", "test")}
    series = tuple(
        Series(
            f"{split} score",
            x,
            [v[0] for v in values],
            [v[1] for v in values],
            labels=[f"{split} score, {t} s, {runs_each}" for t in times],
        )
        for split, values in scores.items()
    )
    first = next(iter(own.values()))[0].cell.parameters
    epochs = first["config"]["training"]["epochs"]
    caption = f"{epochs} epochs each" if family == "batch" else "batches of 4"
    chart = Chart(
        f"{first['set']}, Adam: {title}",
        series,
        title,
        "score, geometric mean of the RMSE",
        caption,
        x_log=True,
        y_log=True,
    )
    rows = [
        [f"{n:.0f}", str(len(runs)), text(a), text(b), t]
        for (n, runs), a, b, t in zip(own.items(), scores["train"], scores["test"], times, strict=True)
    ]
    heads = [title, "runs", "train score", "test score", "processor time [s]"]
    return chart, table(f"Adam (paper 3), {caption}", heads, rows, text_columns=0)


# ---- physics -------------------------------------------------------------------------------------------------


def _eos(name: str, methods: Groups) -> Section | None:
    crystal = next(iter(methods.values()))[0].cell.parameters["crystal"]
    if crystal is None:
        return None
    series: list[Series] = []
    rows: list[tuple[str, tuple[float, float], tuple[float, float], str]] = []
    if crystal["formula"] == "Si" and crystal["structure"] == "diamond":
        known = datasets.reference("silicon")["diamond"]
        volumes = [float(v) for v in known["eos"]["volumes"]]
        n_atoms = max(1, round(volumes[len(volumes) // 2] / float(known["eos"]["volume"])))
        energies = np.array(known["eos"]["energies"], dtype=np.float64) / n_atoms
        rise = (1000.0 * (energies - energies.min())).tolist()
        series.append(Series("DFT", [v / n_atoms for v in volumes], rise, reference=True))
        rows.append(
            ("DFT (PBE)", (float(known["a0"]), math.nan), (float(known["eos"]["bulk_modulus"]), math.nan), "")
        )
    for method, results in methods.items():
        found = [r.values["eos"] for r in results]
        good = [eos for eos in found if "failed" not in eos]
        if not good:
            rows.append((method, MISSING, MISSING, found[0]["failed"]))
            continue
        shown = next(r for r in results if "failed" not in r.values["eos"])
        labels = [_first(method, [shown])] * len(good[0]["volumes"])
        rise = [1000.0 * v for v in good[0]["energies"]]
        series.append(Series(method, good[0]["volumes"], rise, labels=labels, points=False))
        numbers = [mean_and_error([eos[key] for eos in good]) for key in ("a0", "bulk_modulus")]
        note = "" if len(good) == len(found) else f"{len(found) - len(good)} of {len(found)} have no minimum"
        rows.append((method, numbers[0], numbers[1], note))
    what = f"{crystal['formula']}, {crystal['structure']}"
    titles = ("volume [Å³/atom]", "energy above the lowest [meV/atom]")
    chart = Chart(f"{name}: {what}", tuple(series), *titles, "One run of each method, see its label.")
    columns = [aligned([row[1] for row in rows]), aligned([row[2] for row in rows])]
    cells = [[row[0], *(c[n] for c in columns), row[3]] for n, row in enumerate(rows)]
    view = table(
        f"Equation of state of {what}", ["by", "a [Å]", "bulk modulus [GPa]", "note"], cells, text_columns=1
    )
    return Section(f"{name}: equation of state", charts=(chart,), tables=(view,))


def _liquid(name: str, methods: Groups) -> Section | None:
    settings = next(iter(methods.values()))[0].cell.parameters["liquid"]
    if settings is None:
        return None
    known = next(iter(methods.values()))[0].values["liquid"]
    series = [Series("DFT snapshots", known["r"], known["reference"], points=False, reference=True)]
    peak = int(np.argmax(known["reference"]))
    rows = [
        [
            "DFT snapshots",
            f"{known['noise']:.2g}",
            plain(known["r"][peak]),
            plain(known["reference"][peak]),
            "",
        ]
    ]
    for method, results in methods.items():
        found = [r.values["liquid"] for r in results]
        good = [one for one in found if "failed" not in one]
        note = "" if len(good) == len(found) else f"{len(found) - len(good)} of {len(found)} failed"
        if not good:
            rows.append([method, "", "", "", f"{note}: {found[0]['failed']}"])
            continue
        shown = next(r for r in results if "failed" not in r.values["liquid"])
        labels = [_first(method, [shown])] * len(good[0]["r"])
        series.append(Series(method, good[0]["r"], good[0]["g"], labels=labels, points=False))
        heights = [float(np.max(one["g"])) for one in good]
        places = [float(one["r"][int(np.argmax(one["g"]))]) for one in good]
        off = mean_and_error([float(one["difference"]) for one in good])
        rows.append([method, text(off), text(mean_and_error(places)), text(mean_and_error(heights)), note])
    said = (
        f"{known['snapshots']} snapshots of the data ({settings['snapshots']}) beside simulations of {settings['length']:g} ps "
        f"in the same cell at {settings['temperature']:g} K. The difference of the snapshots is half of that between their "
        "two halves: their own noise."
    )
    titles = ("distance [Å]", "g(r)")
    chart = Chart(
        f"{name}: radial distribution", tuple(series), *titles, "One run of each method, see its label."
    )
    heads = ["by", "rms difference of g", "highest at [Å]", "height", "note"]
    return Section(
        f"{name}: liquid", (said,), charts=(chart,), tables=(table("Radial distribution", heads, rows),)
    )
