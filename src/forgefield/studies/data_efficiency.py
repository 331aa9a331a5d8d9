"""Error against the number of structures, for random and for selected subsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from forgefield.api.init import suggest
from forgefield.config import Schema
from forgefield.evaluation.report.tables import TableView
from forgefield.studies.base import Cell, CellResult, Study, mean_and_error
from forgefield.studies.charts import Chart, Series
from forgefield.studies.numbers import Fraction
from forgefield.studies.page import Page, Section, table
from forgefield.studies.subsets import split_frames, write_subset
from forgefield.studies.summary import (
    Groups,
    error,
    error_table,
    grouped,
    number,
    paired,
    ratio_of,
    score,
    score_of,
    text,
)
from forgefield.studies.training import ERRORS, UNITS, checked, data_source, errors_of, merged, train_cell
from forgefield.studies.verdicts import asked

__all__ = ["DataEfficiency", "DataEfficiencySettings"]

ALL = "all"
"""How the whole training set is picked, the last point of every curve."""


class DataEfficiencySettings(Schema):
    """Settings of the study."""

    data: str = Field("silicon", description="bundled set or file of structures")
    fractions: tuple[Fraction, ...] = Field(
        (0.1, 0.2, 0.4, 0.7, 1.0), min_length=1, description="parts of the training structures"
    )
    picks: tuple[Literal["random", "selected"], ...] = Field(
        ("random", "selected"),
        min_length=1,
        description="how structures are picked: drawn, or farthest-point sampling",
    )
    seeds: int = Field(
        4, ge=1, description="runs of each case, with other structures and another initial network"
    )
    steps: int = Field(8_000, ge=10, description="optimiser steps of every run, within `epochs`")
    epochs: int = Field(300, ge=2, description="most epochs of a run; few structures need fewer steps")
    base: dict[str, Any] = Field(
        default_factory=dict, description="changes of what `forgefield init --quality fast` suggests"
    )


class DataEfficiency(Study[DataEfficiencySettings]):
    """How many structures a potential needs, and whether picking them helps."""

    name: ClassVar[str] = "data-efficiency"
    summary: ClassVar[str] = "error against the number of structures, drawn or selected"
    Settings = DataEfficiencySettings
    small: ClassVar[Mapping[str, Any]] = {"fractions": (0.1,), "seeds": 1, "steps": 100}

    def cells(self, settings: DataEfficiencySettings) -> list[Cell]:
        """See `Study.cells`; the first seed of every case comes first, and the whole set is trained on once a seed."""
        source = data_source(settings.data)
        total = len(split_frames(source["path"])["train"])
        base = suggest([Path(source["path"])], quality="fast").model_dump(mode="json")
        cells = []
        for seed in range(settings.seeds):
            for fraction in settings.fractions:
                n = min(max(2, round(fraction * total)), total)
                for how in (ALL,) if n == total else settings.picks:
                    parameters = {
                        "n": n,
                        "how": how,
                        "seed": seed,
                        "path": source["path"],
                        "data": source["hash"],
                        "config": checked(_configure(base, settings, n, seed)),
                    }
                    cells.append(Cell(f"{n} structures, {how}, seed {seed}", parameters))
        return cells

    def run(self, parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """See `Study.run`."""
        n, how, seed = int(parameters["n"]), str(parameters["how"]), int(parameters["seed"])
        drawn = "random" if how == ALL else how
        files = write_subset(parameters["path"], n, drawn, seed, folder / "data")
        config = {**parameters["config"], "data": {**parameters["config"]["data"], "train": [], **files}}
        return {"errors": errors_of(train_cell(config, folder))}

    def page(self, settings: DataEfficiencySettings, results: Sequence[CellResult]) -> Page:
        """See `Study.page`."""
        curves: dict[str, Groups] = {how: c for how in settings.picks if (c := _curve(results, how))}
        charts = tuple(_chart(curves, key) for key in ERRORS)
        tables = [_exponents(curves)] if any(len(c) > 1 for c in curves.values()) else []
        if len(curves) > 1:
            tables.append(_worth(curves["random"], curves["selected"]))
        return Page(
            title="Data efficiency: how many structures?",
            question="How do the errors fall with the number of training structures, and do fewer do when they are "
            "selected to differ from each other?",
            answer=_answer(curves),
            own=asked(_claims(curves)),
            sections=(
                Section(
                    "Learning curves",
                    (_method(settings),),
                    charts=charts,
                    tables=(*tables, error_table(grouped(results, "how", "n"), "RMSE", "pick, structures")),
                ),
            ),
        )


def _method(settings: DataEfficiencySettings) -> str:
    return (
        f"{settings.seeds} seed(s), each with its own structures and its own initial network. Validation and test structures "
        f"are always the same; {settings.steps:,} optimiser steps or {settings.epochs} epochs in every run, whichever is "
        "less. Selected: farthest-point sampling on SO(3) power spectra, from a random start. ± is one standard error over "
        "seeds; differences in per cent are those of runs with the same seed, with the 95 % interval of Student's t: what "
        "includes zero is undecided. Exponents are fitted to the curve of every seed."
    )


def _configure(
    base: Mapping[str, Any], settings: DataEfficiencySettings, n: int, seed: int
) -> dict[str, Any]:
    config = merged(base, {"seed": seed, "threads": 1, "extrapolation": False}, settings.base)
    batch = min(int(config["training"].get("batch_size") or 1), n)
    epochs = min(settings.epochs, max(2, round(settings.steps * batch / n)))
    return merged(config, {"training": {"epochs": epochs, "batch_size": batch}})


# ---- results -------------------------------------------------------------------------------------------------


def _curve(results: Sequence[CellResult], how: str) -> Groups:
    """Return the results of one way to pick by the number of structures, the whole set among them."""
    own = [r for r in results if r.cell.parameters["how"] in {how, ALL}]
    found = grouped(own, "n")
    return {n: found[n] for n in sorted(found, key=int)}


def _chart(curves: Mapping[str, Groups], key: str) -> Chart:
    series = []
    for how, own in curves.items():
        y, spread = zip(*(error(r, "test", key) for r in own.values()), strict=True)
        labels = [f"{how}, {n} structures, mean of {len(r)} seed(s)" for n, r in own.items()]
        series.append(Series(how, [float(n) for n in own], y, spread, labels))
    label = f"test RMSE of {key} [{UNITS[key]}]"
    return Chart(key.capitalize(), tuple(series), "training structures", label, x_log=True, y_log=True)


def _test_score(result: CellResult) -> float:
    return score_of(result, "test")


def _exponent(curve: Groups, key: str) -> tuple[float, float]:
    """Return mean and standard error over seeds of the slope of log error against log n; `key` may be ``score``."""
    by_seed: dict[int, list[tuple[float, float]]] = {}
    for n, results in curve.items():
        for r in results:
            value = _test_score(r) if key == "score" else number(r.values["errors"]["test"][key])
            by_seed.setdefault(int(r.cell.parameters["seed"]), []).append((float(n), value))
    slopes = []
    for points in by_seed.values():
        if len(points) == len(curve):
            x, y = np.log(np.array(points, dtype=np.float64)).T
            slopes.append(float(np.polyfit(x, y, 1)[0]))
    return mean_and_error(slopes) if slopes else (float("nan"), float("nan"))


def _exponents(curves: Mapping[str, Groups]) -> TableView:
    rows = [[how, *(text(_exponent(c, key)) for key in (*ERRORS, "score"))] for how, c in curves.items()]
    return table("Exponents a of error = c n^a", ["pick", *ERRORS, "score"], rows)


def _worth(random: Groups, selected: Groups) -> TableView:
    """Return how many random structures give the score of the selected ones, on the curve between the sizes run."""
    sizes = np.log([float(n) for n in random])
    scores = np.log([score(r, "test")[0] for r in random.values()])
    rows = []
    for n, results in selected.items():
        if results is random.get(n) or results[0].cell.parameters["how"] == ALL:
            continue
        own = score(results, "test")
        known = scores.min() <= np.log(own[0]) <= scores.max()
        # np.interp needs rising abscissae: scores fall with n, so both are turned round.
        like = np.exp(np.interp(np.log(own[0]), scores[::-1], sizes[::-1])) if known else float("nan")
        ratio = paired(results, random[n], _test_score) if n in random else "-"
        before = text(score(random[n], "test")) if n in random else "-"
        rows.append([n, text(own), before, str(ratio), f"{like:.0f}" if known else "-"])
    heads = ["structures", "score, selected", "score, random", "difference", "random ones of the same score"]
    return table("What selected structures are worth", heads, rows)


def _answer(curves: Mapping[str, Groups]) -> str:
    said = [
        f"the force error falls as n^a with a = {text(_exponent(curve, 'forces'))} for {how} structures"
        for how, curve in curves.items()
        if len(curve) > 1
    ]
    said.append("scores are geometric means of the RMSE of energy, forces and stress")
    joined = "; ".join(said)
    return f"{joined[0].upper()}{joined[1:]}."


def _claims(curves: Mapping[str, Groups]) -> tuple[tuple[str, str, str], ...]:
    if not {"random", "selected"} <= set(curves):
        return ()
    claims = []
    by_seed: dict[int, list[float]] = {}
    for n, new in curves["selected"].items():
        old = curves["random"].get(n, [])
        if not old or new[0].cell.parameters["how"] == ALL:
            continue
        ratio = paired(new, old, _test_score)
        found = f"score {text(score(new, 'test'))} selected, {text(score(old, 'test'))} random: {ratio}"
        claims.append((f"{n} selected structures teach more than {n} random ones", found, ratio.lower))
        before = {int(r.cell.parameters["seed"]): _test_score(r) for r in old}
        for r in new:
            if (seed := int(r.cell.parameters["seed"])) in before:
                by_seed.setdefault(seed, []).append(float(np.log(_test_score(r) / before[seed])))
    if len(claims) > 1:
        # Subsets of one seed are parts of each other: sizes are averaged within a seed, and seeds are what is independent.
        overall = ratio_of([float(np.mean(logs)) for logs in by_seed.values()])
        claims.append(
            ("selected structures teach more, all sizes together", f"score {overall}", overall.lower)
        )
    return tuple(claims)
