"""Evolution against gradients: the experiment of Huang et al. (paper 3), figures 1 to 6, with second-order methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase.build import bulk
from pydantic import Field

from forgefield import datasets
from forgefield.api.init import suggest
from forgefield.api.run import Run
from forgefield.config import Schema, apply_overrides
from forgefield.errors import DataError, PredictionError
from forgefield.properties.eos import equation_of_state
from forgefield.studies.base import Cell, CellResult, Study
from forgefield.studies.charts import Chart, Series
from forgefield.studies.page import Page, Section, table
from forgefield.studies.summary import Groups, compare, error_table, grouped, number, score, text
from forgefield.studies.training import UNITS, checked, data_source, errors_of, merged, thinned, train_cell

__all__ = ["Optimisers", "OptimisersSettings"]

FIXED = {"kind": "fixed", "early": {}}
GNEP_LOSS = {"energy": 1.0, "forces": 2.0, "stress": 0.1, "normalisation": "gnep"}
METHODS: dict[str, dict[str, Any]] = {
    "SNES": {
        "training": {"kind": "snes", "epochs": 300},
        "weights": FIXED,
        "loss": {**GNEP_LOSS, "forces": 1.0},
    },
    "Adam (paper 3)": {
        "training": {
            "kind": "adam",
            "epochs": 100,
            "batch_size": 1,
            "clip": None,
            "average": 0,
            "schedule": {"start": 1e-3, "stop": 1e-7, "warmup_epochs": 1},
        },
        "weights": FIXED,
        "loss": GNEP_LOSS,
        "scaling": "minmax",
    },
    "our default": {},
    "AdamW": {
        "training": {"kind": "adamw", "epochs": 250, "batch_size": 6, "weight_decay": 0.02},
        "weights": {"kind": "balanced"},
        "loss": {"energy": 0.3},
    },
    "Levenberg-Marquardt": {"training": {"kind": "levenberg_marquardt", "epochs": 12}, "weights": FIXED},
    "L-BFGS": {"training": {"kind": "lbfgs", "epochs": 40}, "weights": FIXED},
}
"""What each method changes in the configuration that `forgefield init` suggests; epochs are those of the full form."""
RMSE = {key: f"{key}_rmse_valid" for key in UNITS}
"""Columns of the log."""


class OptimisersSettings(Schema):
    """Settings of the study."""

    data: tuple[str, ...] = Field(("silicon",), description="bundled sets or files of structures")
    methods: tuple[str, ...] = Field(tuple(METHODS), description="optimisers by name")
    seeds: int = Field(2, ge=1, description="runs of each case")
    lengths: tuple[int, ...] = Field((25, 50, 100, 200), description="epochs of the scan of training length")
    batches: tuple[int, ...] = Field(
        (1, 4, 16, 64), description="structures in a step, in the scan of batch size"
    )
    shorter: int = Field(1, ge=1, description="divide all numbers of epochs by this")


class Optimisers(Study[OptimisersSettings]):
    """Error against time and epochs of every optimiser, and what training length and batch size do."""

    name: ClassVar[str] = "optimisers"
    summary: ClassVar[str] = "evolution (SNES) against Adam, our default and second-order methods"
    Settings = OptimisersSettings
    small: ClassVar[Mapping[str, Any]] = {
        "methods": ("SNES", "Adam (paper 3)", "our default"),
        "seeds": 1,
        "lengths": (),
        "batches": (),
        "shorter": 25,
    }

    def cells(self, settings: OptimisersSettings) -> list[Cell]:
        """See `Study.cells`."""
        cells = []
        for data in settings.data:
            source = data_source(data)
            base = suggest([Path(source["path"])]).model_dump(mode="json")
            for family, case, changes in _cases(settings):
                for seed in range(settings.seeds if family == "method" else 1):
                    config = _configure(base, changes, seed, settings.shorter)
                    parameters = {
                        "family": family,
                        "case": case,
                        "set": data,
                        "config": checked(config),
                        "data": source["hash"],
                    }
                    cells.append(Cell(f"{data}: {case}, seed {seed}", parameters))
        return cells

    def run(self, parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """See `Study.run`."""
        run = train_cell(parameters["config"], folder)
        columns = ["epoch", "seconds", *RMSE.values()]
        return {"errors": errors_of(run), "log": thinned(run.history, columns), "eos": _eos(run)}

    def page(self, settings: OptimisersSettings, results: Sequence[CellResult]) -> Page:
        """See `Study.page`."""
        sections, answers, claims = [], [], []
        for data in settings.data:
            own = [r for r in results if r.cell.parameters["set"] == data]
            methods = grouped([r for r in own if r.cell.parameters["family"] == "method"], "case")
            if not methods:
                continue
            best = min(methods, key=lambda n: score(methods[n], "valid")[0])
            answers.append(
                f"{data}: best on validation is {best}, test score {text(score(methods[best], 'test'))}"
            )
            claims += _claims(data, methods)
            sections.append(
                Section(
                    f"{data}: time and epochs",
                    (
                        "Every point is one look at the validation structures; times are wall time of one thread.",
                    ),
                    charts=_convergence(methods),
                    tables=(error_table(methods, "RMSE at the end of each run"), _times(methods)),
                )
            )
            scans = [_scan(own, "length", "epochs"), _scan(own, "batch", "structures in a step")]
            charts = tuple(chart for chart in scans if chart is not None)
            if charts:
                sections.append(Section(f"{data}: training length and batch size", charts=charts))
            curves = _eos_chart(methods)
            if curves is not None:
                sections.append(Section(f"{data}: equation of state", charts=(curves,)))
        return Page(
            title="Optimisers: evolution or gradients?",
            question="How fast do evolution (SNES), Adam with exact gradients and second-order methods train the same "
            "neuroevolution potential, and how good does it get?",
            answer=". ".join(answers)
            + ". The score is the geometric mean of the RMSE of energy, forces and stress.",
            claims=tuple(claims),
            sections=tuple(sections),
        )


# ---- cases ---------------------------------------------------------------------------------------------------


def _cases(settings: OptimisersSettings) -> list[tuple[str, str, dict[str, Any]]]:
    unknown = [name for name in settings.methods if name not in METHODS]
    if unknown:
        raise DataError(f"unknown methods {unknown}: choose from {', '.join(METHODS)}")
    adam = METHODS["Adam (paper 3)"]
    cases = [("method", name, METHODS[name]) for name in settings.methods]
    cases += [
        ("length", f"Adam, {n} epochs", merged(adam, {"training": {"epochs": n, "batch_size": 4}}))
        for n in settings.lengths
    ]
    cases += [
        ("batch", f"Adam, batches of {n}", merged(adam, {"training": {"epochs": 50, "batch_size": n}}))
        for n in settings.batches
    ]
    return cases


def _configure(
    base: Mapping[str, Any], changes: Mapping[str, Any], seed: int, shorter: int
) -> dict[str, Any]:
    config = merged(base, {"seed": seed, "threads": 1, "extrapolation": False}, changes)
    if config["loss"].get("normalisation") == "gnep":
        config["group_weights"] = {}
    epochs = int(config["training"]["epochs"])
    return apply_overrides(config, [f"training.epochs={max(2, epochs // shorter)}"])


def _eos(run: Run) -> dict[str, Any] | None:
    """Return the curve of diamond silicon, where that is what was trained on."""
    if list(run.potential.elements) != ["Si"]:
        return None
    crystal = bulk("Si", "diamond", a=5.47)
    try:
        eos = equation_of_state(crystal, run.potential.calculator(dtype="float64", threads=1))
    except (DataError, PredictionError):
        return None
    return {
        "volumes": eos.volumes.tolist(),
        "energies": (eos.energies - eos.energies.min()).tolist(),
        "a0": eos.length(8),
        "bulk_modulus": eos.bulk_modulus,
    }


# ---- results -------------------------------------------------------------------------------------------------


def _claims(data: str, methods: Groups) -> list[tuple[str, str, str]]:
    claims = []
    adam, snes, own = "Adam (paper 3)", "SNES", "our default"
    if adam in methods and snes in methods:
        a, b = score(methods[adam], "test"), score(methods[snes], "test")
        said = f"test score {text(a)} after {_seconds(methods[adam]):.0f} s; SNES {text(b)} after {_seconds(methods[snes]):.0f} s"
        claims.append((f"{data}: Adam reaches lower errors than SNES", said, compare(a, b)))
    if adam in methods and own in methods:
        goal = float(np.mean([_final(r) for r in methods[adam]]))
        times = [_time_to(r, goal) for r in methods[own]]
        known = [t for t in times if t is not None]
        full = _seconds(methods[adam])
        said = (
            f"{np.mean(known):.1f} s of {full:.1f} s"
            if len(known) == len(times)
            else "not reached in every run"
        )
        agrees = len(known) == len(times) and float(np.mean(known)) <= full / 3.0
        statement = f"{data}: our default reaches Adam's final validation error in a third of its time"
        claims.append((statement, said, "agrees" if agrees else "disagrees"))
    return claims


def _seconds(results: Sequence[CellResult]) -> float:
    return float(np.mean([number(r.values["log"]["seconds"][-1]) for r in results]))


def _row_scores(result: CellResult) -> list[float]:
    log = result.values["log"]
    columns = [[number(v) for v in log[column]] for column in RMSE.values()]
    return [float(np.exp(np.mean(np.log(row)))) for row in zip(*columns, strict=True)]


def _final(result: CellResult) -> float:
    return _row_scores(result)[-1]


def _time_to(result: CellResult, goal: float) -> float | None:
    for seconds, value in zip(result.values["log"]["seconds"], _row_scores(result), strict=True):
        if value <= goal:
            return number(seconds)
    return None


def _convergence(methods: Groups) -> tuple[Chart, ...]:
    charts = []
    for axis, title in (("seconds", "wall time [s]"), ("epoch", "epoch")):
        for key in ("forces", "energy"):
            series = []
            for name, results in methods.items():
                log = results[0].values["log"]
                x = [max(number(v), 1e-3) for v in log[axis]]
                series.append(Series(name, x, [number(v) for v in log[RMSE[key]]], points=False))
            label = f"validation RMSE of {key} [{UNITS[key]}]"
            charts.append(
                Chart(
                    f"{key.capitalize()} against {axis}", tuple(series), title, label, x_log=True, y_log=True
                )
            )
    return tuple(charts)


def _times(methods: Groups) -> Any:
    rows = [[name, f"{_seconds(r):.1f}", f"{len(r)}"] for name, r in methods.items()]
    return table("Training time", ["method", "wall time [s]", "runs"], rows)


def _scan(results: Sequence[CellResult], family: str, title: str) -> Chart | None:
    own = [r for r in results if r.cell.parameters["family"] == family]
    if len(own) < 2:
        return None
    setting = "epochs" if family == "length" else "batch_size"
    x = [float(r.cell.parameters["config"]["training"][setting]) for r in own]
    series = tuple(
        Series(f"{split} score", x, [score([r], split)[0] for r in own]) for split in ("train", "test")
    )
    seconds = [f"{_seconds([r]):.1f} s" for r in own]
    series = tuple(Series(s.name, s.x, s.y, labels=[f"{s.name}, {t}" for t in seconds]) for s in series)
    caption = "50 epochs each" if family == "batch" else "batches of 4"
    return Chart(
        f"Adam: {title}", series, title, "geometric mean of the RMSE", caption, x_log=True, y_log=True
    )


def _eos_chart(methods: Groups) -> Chart | None:
    series = []
    for name, results in methods.items():
        eos = results[0].values["eos"]
        if eos is not None:
            series.append(Series(name, eos["volumes"], eos["energies"], points=False))
    if not series:
        return None
    reference = datasets.reference("silicon")["diamond"]["eos"]
    caption = f"Bulk modulus of the DFT reference: {reference['bulk_modulus']:.1f} GPa."
    return Chart(
        "Diamond silicon", tuple(series), "volume [Å³/atom]", "energy above the lowest [eV/atom]", caption
    )
