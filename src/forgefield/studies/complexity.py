"""Descriptors, models and force weights: the experiment of Rohskopf et al. (paper 4), figures 2 to 6, and what to take."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from forgefield import data as ff_data
from forgefield.config import Schema
from forgefield.descriptors import make_descriptor, parse_settings
from forgefield.errors import ConfigError, PotentialFileError, did_you_mean
from forgefield.studies.base import Cell, CellResult, Study
from forgefield.studies.complexity_choice import (
    NO_EXPORT,
    Attempt,
    attempts_of,
    export_chosen,
    recommendation,
    ways,
)
from forgefield.studies.complexity_loop import LoopSettings, answers, training_file
from forgefield.studies.complexity_page import complexity_page, sort_results, written
from forgefield.studies.complexity_scan import scan_errors
from forgefield.studies.cost import microseconds_per_atom
from forgefield.studies.derivatives import mean_derivatives
from forgefield.studies.diamond import properties_by
from forgefield.studies.numbers import Positive
from forgefield.studies.page import Page, Section
from forgefield.studies.training import checked, data_source, errors_of, merged, single, train_cell
from forgefield.studies.truths import find_truth
from forgefield.training.batches import elements_of

__all__ = ["DESCRIPTORS", "MODELS", "Complexity", "ComplexitySettings"]

DESCRIPTORS: dict[str, dict[str, Any]] = {
    "SNAP 2J=6": {"kind": "snap", "two_j_max": 6, "cutoff": 5.0},
    "SNAP 2J=8": {"kind": "snap", "two_j_max": 8, "cutoff": 5.0},
    "ACE": {"kind": "ace", "cutoff": 5.0},
    "POD": {"kind": "pod", "cutoff": 5.0},
    "SO3": {"kind": "so3", "cutoff": 5.0, "n_max": 4, "l_max": 4},
}
"""Descriptors by name."""
_SQUARES = {"kind": "least_squares"}
MODELS: dict[str, dict[str, Any]] = {
    "linear": {"model": {"kind": "linear"}, "training": _SQUARES, "dtype": "float64"},
    "quadratic": {"model": {"kind": "quadratic"}, "training": _SQUARES, "dtype": "float64"},
    "NN 32x32": {
        "model": {"kind": "network", "hidden": [32, 32]},
        "training": {"kind": "adamw", "epochs": 150, "batch_size": 4},
    },
    "NN 250x250": {
        "model": {"kind": "network", "hidden": [250, 250]},
        "training": {"kind": "adamw", "epochs": 150, "batch_size": 4},
    },
}
"""Models by name, with how they are trained; the networks are the first two of the paper."""


class ComplexitySettings(Schema):
    """Settings of the study."""

    data: str = Field("silicon", description="bundled set or file of structures")
    descriptors: tuple[str, ...] = Field(tuple(DESCRIPTORS), min_length=1, description="by name")
    models: tuple[str, ...] = Field(tuple(MODELS), min_length=1, description="by name")
    ratios: tuple[Positive, ...] = Field(
        (1e-4, 1e-2, 1.0, 1e2, 1e4),
        min_length=1,
        description="weight of forces over weight of energies, as in the paper's eq. 7",
    )
    scan: tuple[Positive, ...] = Field(
        tuple(10.0**k for k in range(-4, 5)),
        description="ratios at which linear and quadratic models are fitted for their errors alone, from rows that are "
        "made once for every split; `ratios` then gives their potentials of the first split, with cost and properties; "
        "empty: potentials of all splits",
    )
    network_ratios: tuple[Positive, ...] | None = Field(
        None, min_length=1, description="the same for models that are trained in epochs; null: `ratios`"
    )
    scan_splits: int | None = Field(None, ge=1, description="random splits of `scan`; null: `splits`")
    splits: int = Field(5, ge=1, description="random splits into 80 % training, 10 % validation, 10 % test")
    shorter: int = Field(1, ge=1, description="divide the epochs of networks by this")
    max_coefficients: int = Field(
        3000, ge=1, description="quadratic models with more coefficients per element are left out"
    )
    max_force_error: float = Field(
        100.0, gt=0, description="recommendation: largest force RMSE accepted [meV/Å]"
    )
    max_energy_error: float = Field(
        10.0, gt=0, description="recommendation: largest energy RMSE accepted [meV/atom]"
    )
    max_property_error: float = Field(
        10.0, gt=0, description="recommendation: largest error of lattice, moduli and phonons accepted [%]"
    )
    max_transport_error: float | None = Field(
        None,
        gt=0,
        description="recommendation: largest error of g(r), diffusion and conductivity accepted in the closed loop "
        "from the same descriptor, model and ratio [%]; null: any",
    )
    export_to: str = Field(
        "lammps",
        description="program the recommended potential is written for (lammps, gpumd, metatomic or a target of "
        "`forgefield export`); where that cannot be proven, the first other that can; none: not written",
    )
    loop: LoopSettings | None = Field(
        LoopSettings(),
        description="closed loop with a truth that can be asked for everything, silicon; null: without, as with other "
        "data unless it is given",
    )


class Complexity(Study[ComplexitySettings]):
    """How much accuracy complexity buys, what it costs, and whether properties notice."""

    name: ClassVar[str] = "complexity"
    summary: ClassVar[str] = (
        "descriptor x model x weight of forces: errors, properties, cost, and which to take"
    )
    version: ClassVar[int] = 1
    Settings = ComplexitySettings
    small: ClassVar[Mapping[str, Any]] = {
        "descriptors": ("SO3",),
        "models": ("linear", "NN 32x32"),
        "ratios": (1.0,),
        "scan": (0.01, 100.0),
        "splits": 1,
        "shorter": 75,
        "max_force_error": 1e4,
        "max_energy_error": 1e4,
        "max_property_error": 1e4,
        "loop": {
            "scales": (1.0,),
            "temperatures": (900.0,),
            "liquids": (2000.0,),
            "structures": 3,
            "references": 1,
            "length": 0.8,
            "conduction": (300.0,),
            "mesh": 3,
        },
    }

    def cells(self, settings: ComplexitySettings) -> list[Cell]:
        """See `Study.cells`."""
        if settings.export_to != NO_EXPORT:
            ways(settings.export_to)
        source = data_source(settings.data)
        cells = self._scans(settings, source)
        ratios = sorted({*settings.ratios, *(settings.network_ratios or ())})
        for descriptor, model, ratio, split in self._cases(settings, source, ratios, settings.splits):
            if not _trained(settings, model, ratio, split):
                continue
            parameters = {
                "descriptor": descriptor,
                "model": model,
                "ratio": ratio,
                "split": split,
                "silicon": settings.data == "silicon",
                "config": _configure(source["path"], descriptor, model, ratio, split, settings.shorter),
                "data": source["hash"],
            }
            cells.append(Cell(f"{descriptor}, {model}, wF/wE {ratio:g}, split {split}", parameters))
        loop = settings.loop
        if loop is None or (settings.data != "silicon" and "loop" not in settings.model_fields_set):
            return cells
        return [*cells, *self._loop(settings, loop, source)]

    def _scans(self, settings: ComplexitySettings, source: Mapping[str, Any]) -> list[Cell]:
        """Return one cell for all ratios of a split, of each model that is solved for."""
        ratios = sorted({*settings.scan, *settings.ratios})
        cells = []
        splits = settings.scan_splits or settings.splits
        for descriptor, model, _, split in self._cases(settings, source, (1.0,), splits):
            if settings.scan and _solved(model):
                parameters = {
                    "descriptor": descriptor,
                    "model": model,
                    "split": split,
                    "scan": ratios,
                    "config": _configure(source["path"], descriptor, model, 1.0, split, settings.shorter),
                    "data": source["hash"],
                }
                cells.append(Cell(f"scan: {descriptor}, {model}, split {split}", parameters))
        return cells

    @staticmethod
    def _cases(
        settings: ComplexitySettings, source: Mapping[str, Any], ratios: Sequence[float], splits: int
    ) -> Iterator[tuple[str, str, float, int]]:
        species = elements_of(ff_data.read(source["path"]))
        for descriptor in settings.descriptors:
            for model in settings.models:
                if _coefficients(descriptor, model, species) <= settings.max_coefficients:
                    yield from ((descriptor, model, r, s) for r in ratios for s in range(splits))

    def _loop(
        self, settings: ComplexitySettings, loop: LoopSettings, source: Mapping[str, Any]
    ) -> list[Cell]:
        own = loop.model_dump(mode="json", exclude={"ratios", "splits", "references"})
        cells = [
            Cell(f"closed loop: truth, run {n}", {"loop": own, "truth": n}) for n in range(loop.references)
        ]
        ratios = settings.ratios if loop.ratios is None else loop.ratios
        for descriptor, model, ratio, split in self._cases(settings, source, ratios, loop.splits):
            parameters = {
                "loop": own,
                "descriptor": descriptor,
                "model": model,
                "ratio": ratio,
                "split": split,
                "config": _configure("loop.extxyz", descriptor, model, ratio, split, settings.shorter),
            }
            name = f"closed loop: {descriptor}, {model}, wF/wE {ratio:g}, split {split}"
            cells.append(Cell(name, parameters))
        return cells

    def run(self, parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """See `Study.run`."""
        if "loop" in parameters:
            return _run_loop(parameters, folder)
        if "scan" in parameters:
            return {"scan": scan_errors(parameters["config"], parameters["scan"])}
        run = train_cell(parameters["config"], folder)
        frames = [a for a in run.evaluation.frames if len(a) > 1 and a.pbc.all()]
        found: dict[str, Any] = {
            "errors": errors_of(run),
            "n_features": single(run).descriptor.n_features,
            "n_parameters": run.potential.n_parameters,
            "microseconds": microseconds_per_atom(run.potential, frames[0]),
        }
        if parameters["silicon"] and parameters["split"] == 0:
            found["properties"] = properties_by(run.potential.calculator(dtype="float64", threads=1))
        if parameters["split"] == 0 and parameters["ratio"] == 1.0:
            reference = ff_data.read(parameters["config"]["data"]["train"])
            found["derivatives"] = mean_derivatives(run.potential, [a for a in reference if len(a) > 1][::20])
        return found

    def page(self, settings: ComplexitySettings, results: Sequence[CellResult]) -> Page:
        """See `Study.page`."""
        found = sort_results(results, silicon=settings.data == "silicon")
        return complexity_page(found, results, limits=_limits(settings))

    def conclude(
        self, settings: ComplexitySettings, results: Sequence[CellResult], page: Page, folder: Path
    ) -> Page:
        """Write the recommended potential for the program that was asked for; see `Study.conclude`."""
        found = sort_results(results, silicon=settings.data == "silicon")
        limits = _limits(settings)
        chosen = found.chosen(limits)
        attempts: list[Attempt] = []
        if settings.export_to == NO_EXPORT:
            return replace(page, conclusion=recommendation(chosen, attempts, found.cases, limits))
        if chosen is not None:
            first = min(found.cases[chosen], key=lambda r: int(r.cell.parameters["split"]))
            key, target = self.key(first.cell), folder / "recommended"
            source = folder / "runs" / key / "run"
            try:
                attempts = export_chosen(source, settings.export_to, target, chosen, found.cases)
            except PotentialFileError as error:
                kept = folder / "cells" / f"{key}.json"
                raise PotentialFileError(
                    f"{error}; delete {kept} and start again to train it anew"
                ) from error
        elif (folder / "recommended").exists():
            shutil.rmtree(folder / "recommended")
        return replace(
            page,
            sections=(*page.sections, written(chosen, attempts)),
            conclusion=recommendation(chosen, attempts, found.cases, limits),
        )

    def recall(
        self,
        settings: ComplexitySettings,
        results: Sequence[CellResult],
        page: Page,
        conclusion: Mapping[str, Any],
    ) -> Page:
        """Say again what was recommended, with its export if it was of the same case; see `Study.recall`."""
        found = sort_results(results, silicon=settings.data == "silicon")
        limits = _limits(settings)
        chosen = found.chosen(limits)
        attempts = attempts_of(conclusion, chosen)
        told = [] if settings.export_to == NO_EXPORT else [written(chosen, attempts)]
        if told and chosen is not None and not attempts:
            told = [
                Section("Recommendation", (f"{chosen}: not exported, for that the study itself is run.",))
            ]
        return replace(
            page,
            sections=(*page.sections, *told),
            conclusion=recommendation(chosen, attempts, found.cases, limits),
        )


def _limits(settings: ComplexitySettings) -> dict[str, float | None]:
    return {
        "forces": settings.max_force_error,
        "energy": settings.max_energy_error,
        "properties": settings.max_property_error,
        "transport": settings.max_transport_error,
    }


def _run_loop(parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    loop = LoopSettings.parse(parameters["loop"])
    shared = folder.parent / "closed-loop"
    if "truth" in parameters:
        seed = 10 + int(parameters["truth"])
        return {"properties": answers(loop, find_truth(loop.truth), shared, seed)}
    data = {"data": {"train": [str(training_file(loop, shared))]}}
    run = train_cell(merged(parameters["config"], data), folder)
    found: dict[str, Any] = {"errors": errors_of(run)}
    if parameters["split"] == 0:
        calculator = run.potential.calculator(dtype="float64", threads=1)
        found["properties"] = answers(loop, calculator, shared)
    return found


def _solved(model: str) -> bool:
    return model in MODELS and MODELS[model]["training"] == _SQUARES


def _trained(settings: ComplexitySettings, model: str, ratio: float, split: int) -> bool:
    """Return whether a model has a potential at this ratio on this split."""
    if _solved(model):
        return ratio in settings.ratios and not (split and settings.scan)
    return ratio in (settings.network_ratios or settings.ratios)


def _coefficients(descriptor: str, model: str, species: Sequence[str]) -> int:
    """Return the coefficients of a quadratic model per element; 0 for others."""
    if model != "quadratic" or descriptor not in DESCRIPTORS:
        return 0
    n: int = make_descriptor(parse_settings(DESCRIPTORS[descriptor]), species).n_features
    return n * (n + 3) // 2


def _configure(
    path: str, descriptor: str, model: str, ratio: float, split: int, shorter: int
) -> dict[str, Any]:
    for name, known in ((descriptor, DESCRIPTORS), (model, MODELS)):
        if name not in known:
            raise ConfigError(f"unknown name {name!r}: {did_you_mean(name, known)}")
    size = float(np.sqrt(ratio))
    config = merged(
        {
            "data": {
                "train": [path],
                "split": {"official": False, "valid": 0.1, "test": 0.1, "seed": split},
            },
            "descriptor": DESCRIPTORS[descriptor],
            "loss": {"energy": 1.0 / size, "forces": size, "stress": 0.0, "normalisation": "softadapt"},
            "weights": {"kind": "fixed"},
            "seed": split,
            "threads": 1,
        },
        MODELS[model],
    )
    if "epochs" in config["training"]:
        config["training"]["epochs"] = max(2, int(config["training"]["epochs"]) // shorter)
    return checked(config)
