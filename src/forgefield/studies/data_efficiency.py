"""Error against the number of structures, for random and for selected subsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from forgefield.api.init import suggest
from forgefield.config import Schema
from forgefield.studies.base import Cell, CellResult, Study
from forgefield.studies.charts import Chart, Series
from forgefield.studies.page import Page, Section
from forgefield.studies.subsets import split_frames, write_subset
from forgefield.studies.summary import compare, error, error_table, grouped, score, text
from forgefield.studies.training import ERRORS, UNITS, checked, data_source, errors_of, merged, train_cell

__all__ = ["DataEfficiency", "DataEfficiencySettings"]


class DataEfficiencySettings(Schema):
    """Settings of the study."""

    data: str = Field("silicon", description="bundled set or file of structures")
    fractions: tuple[float, ...] = Field(
        (0.1, 0.2, 0.4, 0.7, 1.0), description="parts of the training structures"
    )
    picks: tuple[Literal["random", "selected"], ...] = Field(
        ("random", "selected"), description="how structures are picked: drawn, or farthest-point sampling"
    )
    seeds: int = Field(
        3, ge=1, description="runs of each case, with other structures and another initial network"
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
        """See `Study.cells`."""
        source = data_source(settings.data)
        total = len(split_frames(source["path"])["train"])
        base = suggest([Path(source["path"])], quality="fast").model_dump(mode="json")
        cells = []
        for fraction in settings.fractions:
            n = max(2, round(fraction * total))
            for how in settings.picks:
                for seed in range(settings.seeds):
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
        files = write_subset(parameters["path"], n, how, seed, folder / "data")
        config = {**parameters["config"], "data": {**parameters["config"]["data"], "train": [], **files}}
        return {"errors": errors_of(train_cell(config, folder))}

    def page(self, settings: DataEfficiencySettings, results: Sequence[CellResult]) -> Page:
        """See `Study.page`."""
        cases = grouped(results, "how", "n")
        charts = tuple(_chart(results, settings.picks, key) for key in ERRORS)
        answer, claims = _finding(results, settings)
        return Page(
            title="Data efficiency: how many structures?",
            question="How do the errors fall with the number of training structures, and do fewer do when they are "
            "selected to differ from each other?",
            answer=answer,
            claims=claims,
            sections=(
                Section(
                    "Learning curves",
                    (_method(settings),),
                    charts=charts,
                    tables=(error_table(cases, "RMSE", "pick, structures"),),
                ),
            ),
        )


def _method(settings: DataEfficiencySettings) -> str:
    return (
        f"Validation and test structures are always the same; {settings.steps:,} optimiser steps or {settings.epochs} "
        "epochs in every run, whichever is less. Selected: "
        "farthest-point sampling on SO(3) power spectra, from a random start."
    )


def _configure(
    base: Mapping[str, Any], settings: DataEfficiencySettings, n: int, seed: int
) -> dict[str, Any]:
    config = merged(base, {"seed": seed, "threads": 1, "extrapolation": False}, settings.base)
    batch = min(int(config["training"].get("batch_size") or 1), n)
    epochs = min(settings.epochs, max(2, round(settings.steps * batch / n)))
    return merged(config, {"training": {"epochs": epochs, "batch_size": batch}})


def _chart(results: Sequence[CellResult], picks: Sequence[str], key: str) -> Chart:
    series = []
    for how in picks:
        own = grouped([r for r in results if r.cell.parameters["how"] == how], "n")
        if own:
            y, spread = zip(*(error(r, "test", key) for r in own.values()), strict=True)
            series.append(Series(how, [float(n) for n in own], y, spread))
    label = f"test RMSE of {key} [{UNITS[key]}]"
    return Chart(key.capitalize(), tuple(series), "training structures", label, x_log=True, y_log=True)


def _finding(
    results: Sequence[CellResult], settings: DataEfficiencySettings
) -> tuple[str, tuple[tuple[str, str, str], ...]]:
    said, claims = [], []
    random = grouped([r for r in results if r.cell.parameters["how"] == "random"], "n")
    if len(random) > 1:
        n = np.array([float(k) for k in random])
        y = np.array([error(r, "test", "forces")[0] for r in random.values()])
        slope = float(np.polyfit(np.log(n), np.log(y), 1)[0])
        said.append(f"The force error falls as n^{slope:.2f} with the number n of random structures")
    if set(settings.picks) >= {"random", "selected"}:
        selected = grouped([r for r in results if r.cell.parameters["how"] == "selected"], "n")
        for n_text in list(random)[:-1]:
            if n_text in selected:
                a, b = score(selected[n_text], "test"), score(random[n_text], "test")
                found = f"score {text(a)} selected, {text(b)} random"
                claims.append(
                    (
                        f"{n_text} selected structures teach more than {n_text} random ones",
                        found,
                        compare(a, b),
                    )
                )
    return ". ".join([*said, "Scores are geometric means of the RMSE of energy, forces and stress."]), tuple(
        claims
    )
