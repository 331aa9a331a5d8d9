"""Every descriptor on the same data with the same network: the protocol of Yanxon et al. (paper 2), tables 1 to 3."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from ase.build import bulk
from pydantic import Field

from forgefield.api.run import Run
from forgefield.config import Schema
from forgefield.errors import ConfigError, ForgefieldError, did_you_mean
from forgefield.properties.elastic import elastic_constants
from forgefield.properties.elastic_symmetry import moduli
from forgefield.properties.eos import equation_of_state
from forgefield.studies.base import Cell, CellResult, Study
from forgefield.studies.clock import Clock, training_seconds
from forgefield.studies.cost import microseconds_per_atom
from forgefield.studies.descriptors_page import descriptors_page
from forgefield.studies.page import Page
from forgefield.studies.sources import SourceSettings, data_config, drawn, source_hash
from forgefield.studies.training import ERRORS, checked, errors_of, merged, single, train_cell

__all__ = ["DESCRIPTORS", "Descriptors", "DescriptorsSettings"]

DESCRIPTORS: dict[str, dict[str, Any]] = {
    "ACSF": {"kind": "acsf"},
    "wACSF": {"kind": "wacsf"},
    "EAD": {"kind": "ead", "species_weighting": "atomic_number"},
    "SO3": {"kind": "so3", "n_max": 4, "l_max": 3, "species_weighting": "atomic_number"},
    "SO4": {"kind": "snap", "two_j_max": 6},
    "NEP": {"kind": "nep"},
    "Chebyshev": {"kind": "chebyshev"},
    "ACE": {"kind": "ace"},
    "POD": {"kind": "pod"},
}
"""Descriptors by the names of the paper's table 1, and those of the other papers; defaults of this package else.

As there, neighbours of EAD, SO3 and wACSF count by their atomic number, so that the number of features does not grow with
the elements; SO4 needs the setting `weights` for that.
"""


class CrystalSettings(Schema):
    """A crystal whose elastic constants are computed."""

    element: str = Field(description="chemical symbol")
    structure: Literal["bcc", "fcc", "diamond"] = Field("bcc", description="lattice")
    a: float = Field(gt=0, description="lattice constant to start from [Å]")


class DataSetSettings(SourceSettings):
    """One set of data, and what is computed on it."""

    crystals: tuple[CrystalSettings, ...] = Field((), description="elastic constants to compute")
    descriptors: tuple[str, ...] | None = Field(None, description="by name; null: those of the study")
    adapt: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="changes of descriptors, by their names"
    )
    variants: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="further descriptors: a name for the report, and what follows `descriptor`",
    )
    seeds: int | None = Field(None, ge=1, description="runs of each case; null: that of the study")
    cutoff: float | None = Field(None, gt=0, description="[Å]; null: that of the study")
    base: dict[str, Any] = Field(default_factory=dict, description="changes of the study's `base`")
    beside: Literal["SiO2", "NbMoTaW"] | None = Field(
        None, description="system of the paper whose errors stand beside those found"
    )


class DescriptorsSettings(Schema):
    """Settings of the study."""

    data: tuple[DataSetSettings, ...] = Field(
        (DataSetSettings(crystals=(CrystalSettings(element="Si", structure="diamond", a=5.47),)),),
        min_length=1,
        description="sets of data",
    )
    descriptors: tuple[str, ...] = Field(tuple(DESCRIPTORS), min_length=1, description="by name")
    seeds: int = Field(2, ge=1, description="runs of each case")
    cutoff: float = Field(4.9, gt=0, description="of every descriptor [Å]; the paper's")
    base: dict[str, Any] = Field(
        default_factory=lambda: {
            "model": {"kind": "network", "hidden": [30, 30]},
            "training": {"kind": "adamw", "epochs": 150, "batch_size": 4},
        },
        description="the rest of the configuration, as in train.yaml",
    )


class Descriptors(Study[DescriptorsSettings]):
    """Accuracy and cost of every descriptor with one and the same network."""

    name: ClassVar[str] = "descriptors"
    summary: ClassVar[str] = "accuracy, cost and elastic constants of every descriptor with the same network"
    version: ClassVar[int] = 2
    Settings = DescriptorsSettings
    small: ClassVar[Mapping[str, Any]] = {
        "descriptors": ("SO3", "NEP"),
        "seeds": 1,
        "base": {
            "model": {"kind": "network", "hidden": [10]},
            "training": {"kind": "adamw", "epochs": 3, "batch_size": 4},
        },
    }

    def cells(self, settings: DescriptorsSettings) -> list[Cell]:
        """See `Study.cells`; the first seed of every case comes first."""
        every = [(data, own) for data in settings.data for own in _cells(settings, data)]
        return [cell for _, cell in sorted(every, key=lambda pair: int(pair[1].parameters["seed"]))]

    def run(self, parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """See `Study.run`."""
        config = drawn(
            parameters["config"],
            parameters["structures"],
            parameters["draw"],
            parameters["seed"],
            folder / "data",
        )
        clock = Clock(folder)
        run = train_cell(config, folder, clock)
        table = run.evaluation.metrics
        frames = [a for a in run.evaluation.frames if len(a) > 1 and a.pbc.all()]
        return {
            "errors": errors_of(run),
            "mae": {
                name: {key: getattr(entry, key).mae for key in ERRORS} for name, entry in table.splits.items()
            },
            "groups": {
                name: {
                    "structures": entry.n_structures,
                    "energy": entry.energy.rmse,
                    "forces": entry.forces.rmse,
                }
                for name, entry in table.split_groups.get("test", {}).items()
            },
            "structures": {name: entry.n_structures for name, entry in table.splits.items()},
            "n_features": single(run).descriptor.n_features,
            "microseconds": microseconds_per_atom(run.potential, frames[0]),
            "training": training_seconds(run, clock),
            "elastic": _elastic(run, parameters["crystals"]),
        }

    def page(self, settings: DescriptorsSettings, results: Sequence[CellResult]) -> Page:
        """See `Study.page`."""
        besides = {data.name: data.beside for data in settings.data}
        return descriptors_page(besides, results)


def _cells(settings: DescriptorsSettings, data: DataSetSettings) -> list[Cell]:
    cells = []
    cutoff = settings.cutoff if data.cutoff is None else data.cutoff
    files, content = data_config(data), source_hash(data)
    known = {**data.variants, **DESCRIPTORS}
    named = settings.descriptors if data.descriptors is None else data.descriptors
    for name in dict.fromkeys([*named, *data.variants]):
        if name not in known:
            raise ConfigError(f"unknown descriptor {name!r}: {did_you_mean(name, known)}")
        for seed in range(settings.seeds if data.seeds is None else data.seeds):
            config = merged(
                {
                    "data": files,
                    "descriptor": {
                        **known[name],
                        **_cutoffs(known[name], cutoff),
                        **data.adapt.get(name, {}),
                    },
                    "seed": seed,
                    "threads": 1,
                    "extrapolation": False,
                },
                settings.base,
                data.base,
            )
            parameters = {
                "set": data.name,
                "descriptor": name,
                "seed": seed,
                "structures": data.structures,
                "draw": data.draw,
                "crystals": [c.model_dump() for c in data.crystals],
                "config": checked(config),
                "data": content,
            }
            cells.append(Cell(f"{data.name}: {name}, seed {seed}", parameters))
    return cells


def _cutoffs(descriptor: Mapping[str, Any], cutoff: float) -> dict[str, float]:
    if descriptor.get("kind") in {"nep", "chebyshev"}:
        return {"cutoff_radial": cutoff, "cutoff_angular": cutoff}
    return {"cutoff": cutoff}


def _elastic(run: Run, crystals: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what is found of every crystal, by its element."""
    if not crystals:
        return {}
    calculator = run.potential.calculator(dtype="float64", threads=1)
    return {crystal["element"]: _constants(calculator, crystal) for crystal in crystals}


def _constants(calculator: Any, crystal: Mapping[str, Any]) -> dict[str, Any]:
    """Return lattice constant [Å], elastic constants and moduli [GPa] at the minimum; ``failed`` where there is none."""
    atoms = bulk(crystal["element"], crystal["structure"], a=crystal["a"])
    cube = {"bcc": 2, "fcc": 4, "diamond": 8}[crystal["structure"]]
    try:
        eos = equation_of_state(atoms, calculator)
        a = eos.length(cube)
        found = elastic_constants(bulk(crystal["element"], crystal["structure"], a=a), calculator)
        average = moduli(found.matrix)
    except ForgefieldError as failure:
        return {"failed": str(failure).splitlines()[0]}
    cubic = found.cubic
    shear = average.shear if found.stable else math.nan
    return {
        "a": a,
        "c11": cubic.c11,
        "c12": cubic.c12,
        "c44": cubic.c44,
        "bulk": average.bulk,
        "shear": shear,
        "poisson": average.poisson,
    }
