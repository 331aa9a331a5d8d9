"""Fixed loss weights against adaptive ones: the experiment of Ocampo et al. (paper 1), tables 1 and 2, figures 2 and 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from forgefield.config import Schema
from forgefield.errors import ConfigError, did_you_mean
from forgefield.studies.base import Cell, CellResult, Study
from forgefield.studies.loss_weighting_page import loss_weighting_page
from forgefield.studies.numbers import Positive
from forgefield.studies.page import Page
from forgefield.studies.training import (
    ERRORS,
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
    seeds: int = Field(4, ge=1, description="runs of each case, from different initial networks")
    epochs: int = Field(150, ge=2, description="of every run")
    betas: tuple[Positive, ...] = Field(
        (0.01, 0.1, 1.0, 2.0), max_length=len(RELATIVE), description="values of beta of SoftAdapt"
    )
    fixed: int = Field(6, ge=1, le=6, description="how many of the six rows of the paper's table 1")
    rivals: tuple[str, ...] = Field(RIVALS, description="other adaptive rules")
    starts: bool = Field(default=True, description="also SoftAdapt from three initial weights (figure 3)")
    more: tuple[str, ...] = Field((), description="cases, by name, with further seeds; none of them chooses")
    more_seeds: int = Field(0, ge=0, description="how many further seeds")
    longer: tuple[str, ...] = Field((), description="cases, by name, that are also trained for longer")
    longer_epochs: tuple[Annotated[int, Field(ge=2)], ...] = Field((400,), description="epochs of these")
    longer_seeds: int = Field(2, ge=1, description="runs of these")
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
    version: ClassVar[int] = 2
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
        """See `Study.cells`; the first seed of every case comes first, longer runs last."""
        source = data_source(settings.data)
        cases = _cases(settings)
        runs = [
            (family, case, case, choice, settings.epochs, seed)
            for seed in range(settings.seeds)
            for family, case, choice in cases
        ]
        known = {case: (family, choice) for family, case, choice in cases}
        for case in (*settings.more, *settings.longer):
            if case not in known:
                raise ConfigError(f"unknown case {case!r}: {did_you_mean(case, known)}")
        for seed in range(settings.seeds, settings.seeds + settings.more_seeds):
            runs += [(known[c][0], c, c, known[c][1], settings.epochs, seed) for c in settings.more]
        for seed in range(settings.longer_seeds):
            for epochs in settings.longer_epochs:
                runs += [
                    ("longer", c, f"{c}, {epochs} epochs", known[c][1], epochs, seed) for c in settings.longer
                ]
        cells = []
        for family, case, name, choice, epochs, seed in runs:
            config = merged(
                {"data": {"train": [source["path"]]}, "seed": seed, "threads": 1, "extrapolation": False},
                settings.base,
                {"training": {"epochs": epochs}},
                choice,
            )
            parameters = {"family": family, "case": name, "config": checked(config), "data": source["hash"]}
            if family == "longer":
                parameters["of"] = case
            cells.append(Cell(f"{name}, seed {seed}", parameters))
        return cells

    def run(self, parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """See `Study.run`."""
        run = train_cell(parameters["config"], folder)
        columns = ["epoch", *(f"weight_{key}" for key in ERRORS)]
        return {"errors": errors_of(run), "weights": thinned(run.history, columns)}

    def page(self, settings: LossWeightingSettings, results: Sequence[CellResult]) -> Page:
        """See `Study.page`."""
        return loss_weighting_page(settings.epochs, settings.seeds, results)


def _cases(settings: LossWeightingSettings) -> list[tuple[str, str, dict[str, Any]]]:
    """Return family, name and the settings that make the case."""
    paper = {"normalisation": "softadapt"}
    equal = {"energy": 1 / 3, "forces": 1 / 3, "stress": 1 / 3}
    cases: list[tuple[str, str, dict[str, Any]]] = []
    for n, weights in enumerate(TABLE_1[: settings.fixed]):
        name = f"fixed {n + 1} ({':'.join(f'{w:.2g}' for w in weights)})"
        cases.append(("fixed", name, {"loss": {**paper, **_named(weights)}, "weights": {"kind": "fixed"}}))
    for beta in settings.betas:
        name = f"softadapt β {beta:g}"
        cases.append(("softadapt", name, {"loss": {**paper, **equal}, "weights": _softadapt(beta)}))
    for weights in RELATIVE[: len(settings.betas)]:
        name = f"relative {':'.join(f'{w:g}' for w in weights)}"
        cases.append(("relative", name, {"loss": _named(weights), "weights": {"kind": "fixed"}}))
    for beta in settings.betas:
        name = f"relative softadapt β {beta:g}"
        cases.append(("relative softadapt", name, {"loss": equal, "weights": _softadapt(beta)}))
    cases += [("rival", kind, {"loss": equal, "weights": {"kind": kind}}) for kind in settings.rivals]
    for start in STARTS if settings.starts else ():
        rule = {**_softadapt(1.0), "initial": _named(start)}
        name = f"softadapt from {':'.join(f'{w:g}' for w in start)}"
        cases.append(("start", name, {"loss": {**paper, **equal}, "weights": rule}))
    return cases


def _softadapt(beta: float) -> dict[str, Any]:
    """Return algorithm 1 of the paper, with the weights changed after every epoch."""
    return {"kind": "softadapt", "beta": beta, "n": 1, "prior": False}


def _named(weights: Sequence[float]) -> dict[str, float]:
    return dict(zip(ERRORS, weights, strict=True))
