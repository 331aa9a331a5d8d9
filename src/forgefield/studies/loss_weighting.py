"""Fixed loss weights against adaptive ones: the experiment of Ocampo et al. (paper 1), tables 1 and 2, figures 2 and 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from forgefield.config import Schema
from forgefield.studies.base import Cell, CellResult, Study
from forgefield.studies.charts import Chart, Series
from forgefield.studies.page import Page, Section
from forgefield.studies.summary import Groups, compare, error, error_table, grouped, score, text
from forgefield.studies.training import (
    ERRORS,
    UNITS,
    checked,
    data_source,
    errors_of,
    merged,
    thinned,
    train_cell,
)

__all__ = ["LossWeighting", "LossWeightingSettings"]

TABLE_1 = (
    (1.0, 0.0, 0.0),
    (0.9, 0.1, 0.0),
    (0.9, 0.05, 0.05),
    (0.05, 0.9, 0.05),
    (0.05, 0.05, 0.9),
    (1 / 3,) * 3,
)
"""Weights of energy, forces and stress of the paper's six fixed models."""
STARTS = ((0.9, 0.05, 0.05), (0.05, 0.9, 0.05), (0.05, 0.05, 0.9))
"""Initial weights of the paper's figure 3."""
RELATIVE = ((1.0, 1.0, 1.0), (0.3, 1.0, 0.1), (1.0, 0.3, 0.1), (0.1, 1.0, 1.0))
"""Fixed weights tried with every term divided by the mean square of its labels: as many as values of beta."""
RIVALS = ("balanced", "uncertainty", "gradnorm", "relobralo", "config")
"""Other adaptive rules, with their default settings."""


class LossWeightingSettings(Schema):
    """Settings of the study."""

    data: str = Field("silicon", description="bundled set or file of structures with a split")
    seeds: int = Field(3, ge=1, description="runs of each case, from different initial networks")
    epochs: int = Field(150, ge=2, description="of every run")
    betas: tuple[float, ...] = Field((0.01, 0.1, 1.0, 2.0), description="values of beta of SoftAdapt")
    fixed: int = Field(6, ge=1, le=6, description="how many of the six rows of the paper's table 1")
    rivals: tuple[str, ...] = Field(RIVALS, description="other adaptive rules")
    starts: bool = Field(default=True, description="also SoftAdapt from three initial weights (figure 3)")
    base: dict[str, Any] = Field(
        default_factory=lambda: {
            "descriptor": {"kind": "acsf"},
            "model": {"kind": "network", "hidden": [30, 30]},
            "training": {"kind": "adam", "batch_size": 8, "schedule": {"start": 1e-3, "stop": 1e-5}},
        },
        description="the rest of the configuration, as in train.yaml",
    )


class LossWeighting(Study[LossWeightingSettings]):
    """Whether adaptive weighting wins once fixed weights are tuned with the same effort."""

    name: ClassVar[str] = "loss-weighting"
    summary: ClassVar[str] = "fixed weights of energy, forces and stress against SoftAdapt and its rivals"
    Settings = LossWeightingSettings
    small: ClassVar[Mapping[str, Any]] = {
        "seeds": 1,
        "epochs": 3,
        "betas": (1.0,),
        "fixed": 2,
        "rivals": ("uncertainty",),
        "starts": False,
    }

    def cells(self, settings: LossWeightingSettings) -> list[Cell]:
        """See `Study.cells`."""
        source = data_source(settings.data)
        cells = []
        for family, case, choice in _cases(settings):
            seeds = 1 if family == "start" else settings.seeds
            for seed in range(seeds):
                config = checked(
                    merged(
                        {
                            "data": {"train": [source["path"]]},
                            "seed": seed,
                            "threads": 1,
                            "extrapolation": False,
                        },
                        settings.base,
                        {"training": {"epochs": settings.epochs}},
                        choice,
                    )
                )
                parameters = {"family": family, "case": case, "config": config, "data": source["hash"]}
                cells.append(Cell(f"{case}, seed {seed}", parameters))
        return cells

    def run(self, parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """See `Study.run`."""
        run = train_cell(parameters["config"], folder)
        columns = ["epoch", *(f"weight_{key}" for key in ERRORS)]
        return {"errors": errors_of(run), "weights": thinned(run.history, columns)}

    def page(self, settings: LossWeightingSettings, results: Sequence[CellResult]) -> Page:
        """See `Study.page`."""
        cases = grouped(results, "case")
        best = {family: _best(cases, family) for family in ("fixed", "relative", "softadapt", "rival")}
        finding, claims = _findings(cases, best)
        return Page(
            title="Loss weighting: fixed or adaptive?",
            question="Do adaptive weights of energy, forces and stress (SoftAdapt) give more balanced and more accurate "
            "potentials than fixed ones, and still so when the fixed ones are tuned with the same effort?",
            answer=finding,
            claims=claims,
            sections=(
                Section(
                    "Errors",
                    (_method(settings),),
                    tables=(error_table(cases, "RMSE of every case"),),
                ),
                Section("Trade-offs", charts=_trade_offs(cases)),
                Section(
                    "Weights during training",
                    ("Figure 3 of the paper: where SoftAdapt's weights go from different starts.",),
                    charts=_evolution(results),
                ),
            ),
        )


def _method(settings: LossWeightingSettings) -> str:
    return (
        f"{settings.epochs} epochs each, {settings.seeds} seed(s); the split is that of the data. Rows of `fixed` and "
        "`softadapt` use the paper's loss (eq. 4: eV, eV/Å, eV/Å³); rows of `relative` and the rivals divide every "
        "term by the mean square of its labels. The score is the geometric mean of the three errors; what is best in "
        "a family is chosen by the score on the validation set and compared on the test set. ± is one standard error "
        "over seeds."
    )


# ---- cases ---------------------------------------------------------------------------------------------------


def _cases(settings: LossWeightingSettings) -> list[tuple[str, str, dict[str, Any]]]:
    """Return family, name and the settings that make the case."""
    paper = {"normalisation": "softadapt"}
    equal = {"energy": 1 / 3, "forces": 1 / 3, "stress": 1 / 3}
    cases: list[tuple[str, str, dict[str, Any]]] = []
    for n, weights in enumerate(TABLE_1[: settings.fixed]):
        name = f"fixed {n + 1} ({':'.join(f'{w:.2g}' for w in weights)})"
        cases.append(("fixed", name, {"loss": {**paper, **_named(weights)}, "weights": {"kind": "fixed"}}))
    for weights in RELATIVE[: len(settings.betas)]:
        name = f"relative {':'.join(f'{w:g}' for w in weights)}"
        cases.append(("relative", name, {"loss": _named(weights), "weights": {"kind": "fixed"}}))
    for beta in settings.betas:
        rule = {"kind": "softadapt", "beta": beta, "n": 1, "prior": False}
        cases.append(("softadapt", f"softadapt β {beta:g}", {"loss": {**paper, **equal}, "weights": rule}))
    cases += [("rival", kind, {"loss": equal, "weights": {"kind": kind}}) for kind in settings.rivals]
    for start in STARTS if settings.starts else ():
        rule = {"kind": "softadapt", "beta": 1.0, "n": 1, "prior": False, "initial": _named(start)}
        name = f"softadapt from {':'.join(f'{w:g}' for w in start)}"
        cases.append(("start", name, {"loss": {**paper, **equal}, "weights": rule}))
    return cases


def _named(weights: Sequence[float]) -> dict[str, float]:
    return dict(zip(ERRORS, weights, strict=True))


# ---- results -------------------------------------------------------------------------------------------------


def _best(cases: Groups, family: str) -> str | None:
    own = {n: r for n, r in cases.items() if r[0].cell.parameters["family"] == family}
    return min(own, key=lambda n: score(own[n], "valid")[0]) if own else None


def _findings(cases: Groups, best: Mapping[str, str | None]) -> tuple[str, tuple[tuple[str, str, str], ...]]:
    said = {family: f"{name}: {text(score(cases[name], 'test'))}" for family, name in best.items() if name}
    adaptive, fixed = best["softadapt"], best["fixed"]
    claims: list[tuple[str, str, str]] = []
    if adaptive and fixed:
        claims.append(_claim("SoftAdapt beats the fixed weights of table 1", cases, adaptive, fixed))
    if adaptive and best["relative"]:
        statement = "SoftAdapt beats fixed weights tuned with the same effort (relative normalisation)"
        claims.append(_claim(statement, cases, adaptive, best["relative"]))
    found = "; ".join(said.values())
    return f"Test score (geometric mean of the three errors) of the best of each family: {found}.", tuple(
        claims
    )


def _claim(statement: str, cases: Groups, new: str, old: str) -> tuple[str, str, str]:
    a, b = score(cases[new], "test"), score(cases[old], "test")
    return statement, f"{new} {text(a)}, {old} {text(b)}", compare(a, b)


def _trade_offs(cases: Groups) -> tuple[Chart, ...]:
    charts = []
    for a, b in (("forces", "energy"), ("forces", "stress")):
        series = []
        for family in ("fixed", "relative", "softadapt", "rival"):
            own = {n: r for n, r in cases.items() if r[0].cell.parameters["family"] == family}
            if own:
                x = [error(r, "test", a)[0] for r in own.values()]
                y, spread = zip(*(error(r, "test", b) for r in own.values()), strict=True)
                series.append(Series(family, x, y, spread, tuple(own), line=False))
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
            Series(key, log["epoch"], log[f"weight_{key}"], points=False)
            for key in ERRORS
            if all(v is not None for v in log[f"weight_{key}"])
        )
        charts.append(Chart(case, series, "epoch", "loss weight"))
    return tuple(charts)
