"""Descriptors, models and force weights: the experiment of Rohskopf et al. (paper 4), figures 2 to 4, and what to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from forgefield import data as ff_data
from forgefield.config import Schema
from forgefield.descriptors import make_descriptor, parse_settings
from forgefield.errors import ConfigError, did_you_mean
from forgefield.studies.base import Cell, CellResult, Study
from forgefield.studies.complexity_page import complexity_page
from forgefield.studies.cost import microseconds_per_atom
from forgefield.studies.derivatives import mean_derivatives
from forgefield.studies.diamond import properties_by
from forgefield.studies.page import Page
from forgefield.studies.training import checked, data_source, errors_of, merged, single, train_cell
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
}
"""Models by name, with how they are trained."""


class ComplexitySettings(Schema):
    """Settings of the study."""

    data: str = Field("silicon", description="bundled set or file of structures")
    descriptors: tuple[str, ...] = Field(tuple(DESCRIPTORS), description="by name")
    models: tuple[str, ...] = Field(tuple(MODELS), description="by name")
    ratios: tuple[float, ...] = Field(
        (1e-4, 1e-2, 1.0, 1e2, 1e4),
        description="weight of forces over weight of energies, as in the paper's eq. 7",
    )
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
        "splits": 1,
        "shorter": 75,
    }

    def cells(self, settings: ComplexitySettings) -> list[Cell]:
        """See `Study.cells`."""
        source = data_source(settings.data)
        species = elements_of(ff_data.read(source["path"]))
        cells = []
        for descriptor in settings.descriptors:
            for model in settings.models:
                if _coefficients(descriptor, model, species) > settings.max_coefficients:
                    continue
                for ratio in settings.ratios:
                    for split in range(settings.splits):
                        config = _configure(source["path"], descriptor, model, ratio, split, settings.shorter)
                        parameters = {
                            "descriptor": descriptor,
                            "model": model,
                            "ratio": ratio,
                            "split": split,
                            "silicon": settings.data == "silicon",
                            "config": checked(config),
                            "data": source["hash"],
                        }
                        cells.append(
                            Cell(f"{descriptor}, {model}, wF/wE {ratio:g}, split {split}", parameters)
                        )
        return cells

    def run(self, parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """See `Study.run`."""
        run = train_cell(parameters["config"], folder)
        frames = [a for a in run.evaluation.frames if len(a) > 1 and a.pbc.all()]
        found: dict[str, Any] = {
            "errors": errors_of(run),
            "n_features": single(run).descriptor.n_features,
            "n_parameters": run.potential.n_parameters,
            "microseconds": microseconds_per_atom(run.potential, frames[0]),
            "potential": str(run.folder / "potential.ff"),
        }
        if parameters["silicon"] and parameters["split"] == 0:
            found["properties"] = properties_by(run.potential.calculator(dtype="float64", threads=1))
        if parameters["split"] == 0 and parameters["ratio"] == 1.0:
            reference = ff_data.read(parameters["config"]["data"]["train"])
            found["derivatives"] = mean_derivatives(run.potential, [a for a in reference if len(a) > 1][::20])
        return found

    def page(self, settings: ComplexitySettings, results: Sequence[CellResult]) -> Page:
        """See `Study.page`."""
        return complexity_page(
            results,
            limits={
                "forces": settings.max_force_error,
                "energy": settings.max_energy_error,
                "properties": settings.max_property_error,
            },
            silicon=settings.data == "silicon",
        )


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
    return config
