"""Evolution against gradients: the experiment of Huang et al. (paper 3), figures 1 to 6, with second-order methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from forgefield.api.init import suggest
from forgefield.config import Schema, apply_overrides
from forgefield.errors import DataError
from forgefield.studies.base import Cell, CellResult, Study
from forgefield.studies.clock import Clock
from forgefield.studies.numbers import Count
from forgefield.studies.optimisers_checks import CrystalSettings, LiquidSettings, equation, liquid, parity
from forgefield.studies.optimisers_page import RMSE, optimisers_page
from forgefield.studies.page import Page
from forgefield.studies.sources import NO_SPLIT, SourceSettings, data_config, drawn, source_hash
from forgefield.studies.training import checked, errors_of, merged, thinned, train_cell

__all__ = ["METHODS", "Optimisers", "OptimisersSettings"]

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
SCANNED_EPOCHS = 50
"""Of the scan of batch sizes, before `shorter`."""


class OptimiserSetSettings(SourceSettings):
    """One set of data, and what is computed on it; null: as for all sets."""

    methods: tuple[str, ...] | None = Field(None, description="optimisers by name")
    seeds: int | None = Field(None, ge=1, description="runs of each case")
    lengths: tuple[Count, ...] | None = Field(None, description="epochs of the scan of training length")
    batches: tuple[Count, ...] | None = Field(None, description="structures in a step")
    shorter: int | None = Field(None, ge=1, description="divide all numbers of epochs by this")
    crystal: CrystalSettings | None = Field(None, description="its equation of state is computed (figure 5)")
    liquid: LiquidSettings | None = Field(None, description="its radial distribution is computed (figure 6)")


class OptimisersSettings(Schema):
    """Settings of the study."""

    data: tuple[OptimiserSetSettings, ...] = Field(
        (OptimiserSetSettings(crystal=CrystalSettings()),), min_length=1, description="sets of data"
    )
    methods: tuple[str, ...] = Field(tuple(METHODS), description="optimisers by name")
    seeds: int = Field(2, ge=1, description="runs of each case")
    lengths: tuple[Count, ...] = Field(
        (25, 50, 100, 200), description="epochs of the scan of training length"
    )
    batches: tuple[Count, ...] = Field(
        (1, 4, 16, 64), description="structures in a step, in the scan of batch size"
    )
    scan_seeds: int = Field(1, ge=1, description="runs of each case of the two scans; one decides nothing")
    shorter: int = Field(1, ge=1, description="divide all numbers of epochs by this")

    def of(self, data: OptimiserSetSettings, key: str) -> Any:
        """Return a setting of a set, or that of all where it has none."""
        own = getattr(data, key)
        return getattr(self, key) if own is None else own


class Optimisers(Study[OptimisersSettings]):
    """Error against time and epochs of every optimiser, and what training length and batch size do."""

    name: ClassVar[str] = "optimisers"
    summary: ClassVar[str] = "evolution (SNES) against Adam, our default and second-order methods"
    version: ClassVar[int] = 2
    Settings = OptimisersSettings
    small: ClassVar[Mapping[str, Any]] = {
        "methods": ("SNES", "Adam (paper 3)", "our default"),
        "seeds": 1,
        "lengths": (),
        "batches": (),
        "shorter": 60,
    }

    def cells(self, settings: OptimisersSettings) -> list[Cell]:
        """See `Study.cells`; the first seed of every case comes first."""
        every = [cell for data in settings.data for cell in _cells(settings, data)]
        return sorted(every, key=lambda cell: int(cell.parameters["config"]["seed"]))

    def run(self, parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """See `Study.run`."""
        seed = int(parameters["config"]["seed"])
        config = drawn(
            parameters["config"], parameters["structures"], parameters["draw"], seed, folder / "data"
        )
        clock = Clock(folder)
        run = train_cell(config, folder, clock)
        values: dict[str, Any] = {
            "errors": errors_of(run),
            "structures": {k: entry.n_structures for k, entry in run.evaluation.metrics.splits.items()},
            "log": thinned(clock.of(run.history), ["epoch", "seconds", "cpu_seconds", *RMSE.values()]),
        }
        if parameters["family"] != "method":
            return values
        if seed == 0:
            values["parity"] = parity(run)
        if parameters["crystal"] is not None:
            values["eos"] = equation(run, parameters["crystal"])
        if parameters["liquid"] is not None:
            values["liquid"] = liquid(run, parameters["liquid"], parameters["config"], seed)
        return values

    def page(self, settings: OptimisersSettings, results: Sequence[CellResult]) -> Page:
        """See `Study.page`."""
        return optimisers_page([data.name for data in settings.data], results)


def _cells(settings: OptimisersSettings, data: OptimiserSetSettings) -> list[Cell]:
    section = data_config(data)
    files = [Path(path) for path in (*section["train"], *section.get("test", ()))]
    base = suggest(files).model_dump(mode="json")
    own_split = data.test is not None or "split" in data.data or base["data"]["split"]["test"] > 0
    base["data"] = merged(base["data"], {} if own_split or data.file == "silicon" else NO_SPLIT, section)
    content, cells = source_hash(data), []
    for family, case, changes in _cases(settings, data):
        for seed in range(settings.of(data, "seeds") if family == "method" else settings.scan_seeds):
            config = _configure(base, changes, seed, settings.of(data, "shorter"))
            parameters = {
                "family": family,
                "case": case,
                "set": data.name,
                "structures": data.structures,
                "draw": data.draw,
                "crystal": None if data.crystal is None else data.crystal.model_dump(),
                "liquid": None if data.liquid is None else data.liquid.model_dump(),
                "config": checked(config),
                "data": content,
            }
            cells.append(Cell(f"{data.name}: {case}, seed {seed}", parameters))
    return cells


def _cases(settings: OptimisersSettings, data: OptimiserSetSettings) -> list[tuple[str, str, dict[str, Any]]]:
    methods = settings.of(data, "methods")
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise DataError(f"unknown methods {unknown}: choose from {', '.join(METHODS)}")
    adam = METHODS["Adam (paper 3)"]
    cases = [("method", name, METHODS[name]) for name in methods]
    cases += [
        ("length", f"Adam, {n} epochs", merged(adam, {"training": {"epochs": n, "batch_size": 4}}))
        for n in settings.of(data, "lengths")
    ]
    cases += [
        (
            "batch",
            f"Adam, batches of {n}",
            merged(adam, {"training": {"epochs": SCANNED_EPOCHS, "batch_size": n}}),
        )
        for n in settings.of(data, "batches")
    ]
    return cases


def _configure(
    base: Mapping[str, Any], changes: Mapping[str, Any], seed: int, shorter: int
) -> dict[str, Any]:
    config = merged(base, {"seed": seed, "threads": 1, "extrapolation": False}, changes)
    config["loss"] = {
        name: 0.0 if base["loss"].get(name) == 0.0 else value for name, value in config["loss"].items()
    }
    if config["loss"].get("normalisation") == "gnep":
        config["group_weights"] = {}
    epochs = int(config["training"]["epochs"])
    return apply_overrides(config, [f"training.epochs={max(2, epochs // shorter)}"])
