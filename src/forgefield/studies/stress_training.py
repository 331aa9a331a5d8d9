"""Training with and without stress: the experiment of Shimamura et al. (paper 5) on a crystal whose potential is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from forgefield.studies.base import Cell, CellResult, Study
from forgefield.studies.page import Page
from forgefield.studies.stress_training_cells import (
    Conditions,
    conduction,
    expansion,
    fixed_volume,
    melting,
    pressure_error,
    state_curve,
)
from forgefield.studies.stress_training_numbers import CRYSTAL, LIQUID
from forgefield.studies.stress_training_page import VIRIALS, stress_training_page
from forgefield.studies.training import checked, errors_of, merged, train_cell
from forgefield.studies.truths import find_truth

__all__ = ["StressTraining", "StressTrainingSettings"]


OF_TRAINING = ("temperatures", "liquids", "structures", "epochs", "virials")
"""Settings that mean nothing to the reference."""


class StressTrainingSettings(Conditions):
    """Settings of the study."""

    seeds: int = Field(5, ge=1, description="initial networks")
    epochs: int = Field(150, ge=2, description="of every training")
    virials: tuple[str, ...] = Field(VIRIALS, description="kinds of the atomic virial in the heat flux")
    references: int = Field(2, ge=1, description="independent runs of the truth")


class StressTraining(Study[StressTrainingSettings]):
    """What stress labels buy in pressure, expansion and thermal conductivity."""

    name: ClassVar[str] = "stress-training"
    summary: ClassVar[str] = (
        "EF-fit against EFP-fit: stress, equation of state, expansion, melting, thermal conductivity"
    )
    version: ClassVar[int] = 2
    Settings = StressTrainingSettings
    small: ClassVar[Mapping[str, Any]] = {
        "size": 2,
        "structures": 6,
        "temperatures": (50.0,),
        "liquids": (250.0,),
        "seeds": 1,
        "epochs": 30,
        "length": 2.0,
        "replicas": 2,
        "read_at": 0.5,
        "expansion": 1.0,
        "virials": ("I", "II"),
        "references": 1,
        "melt_steps": 400,
        "melting_steps": 80,
        "melting_interval": 180.0,
    }

    def cells(self, settings: StressTrainingSettings) -> list[Cell]:
        """See `Study.cells`."""
        common = settings.model_dump(mode="json", exclude={"seeds", "references"})
        of_truth = {key: value for key, value in common.items() if key not in OF_TRAINING}
        cells = [
            Cell(f"reference, run {n}", {"fit": "reference", "seed": n, **of_truth})
            for n in range(settings.references)
        ]
        for fit, stress in (("EF", 0.0), ("EFP", 0.3)):
            for seed in range(settings.seeds):
                config = checked(_configure(settings, stress, seed))
                cells.append(
                    Cell(f"{fit}-fit, seed {seed}", {"fit": fit, "seed": seed, "config": config, **common})
                )
        return cells

    def run(self, parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """See `Study.run`."""
        settings = StressTrainingSettings.parse(
            {k: parameters[k] for k in StressTrainingSettings.model_fields if k in parameters}
        )
        truth, shared, seed = find_truth(settings.reference), folder.parent / "argon", int(parameters["seed"])
        found: dict[str, Any] = {}
        kinds, replicas, start, pairwise = settings.virials, settings.replicas, seed, False
        calculator = truth
        if parameters["fit"] == "reference":
            kinds, replicas, start, pairwise = ("I",), 2 * settings.replicas, 100 + seed, True
        else:
            path = fixed_volume(settings, truth, shared)
            run = train_cell(merged(parameters["config"], {"data": {"train": [str(path)]}}), folder)
            found["errors"] = errors_of(run)
            calculator = run.potential.calculator(dtype="float64", threads=1)
        heat = {
            key: conduction(
                settings,
                calculator,
                truth,
                shared,
                kinds,
                crystal=key == CRYSTAL,
                pairwise=pairwise,
                replicas=replicas,
                seed=start,
            )
            for key in (LIQUID, CRYSTAL)
        }
        return found | {
            "pressure_error": pressure_error(settings, calculator, truth),
            "eos": state_curve(settings, calculator),
            "length_at_rest": expansion(settings, calculator),
            "melting": melting(settings, calculator, seed),
            **heat,
        }

    def page(self, settings: StressTrainingSettings, results: Sequence[CellResult]) -> Page:
        """See `Study.page`."""
        return stress_training_page(results, method=_method(settings), kinds=settings.virials)


def _method(settings: StressTrainingSettings) -> str:
    n = 4 * settings.size**3
    crystals = ", ".join(f"{t:g}" for t in settings.temperatures)
    liquids = ", ".join(f"{t:g}" for t in settings.liquids)
    return (
        f"The truth is {settings.reference}. Training structures: crystals at {crystals} K and liquids at {liquids} K, "
        f"{settings.structures} of each, {n} atoms at one volume (a = {settings.a:g} Å); {settings.seeds} initial "
        f"network(s), {settings.epochs} epochs. Expansion: {settings.expansion:g} ps at {settings.temperature:g} K and "
        f"zero pressure."
    )


def _configure(settings: StressTrainingSettings, stress: float, seed: int) -> dict[str, Any]:
    cutoff = 8.0
    return {
        "data": {"train": ["data.extxyz"], "split": {"valid": 0.2, "test": 0.0, "seed": 0}},
        "descriptor": {
            "kind": "nep",
            "cutoff_radial": cutoff,
            "cutoff_angular": 5.0,
            "n_max_radial": 6,
            "n_max_angular": 4,
            "l_max": 3,
        },
        "model": {"kind": "network", "hidden": [20]},
        "training": {"kind": "adamw", "epochs": settings.epochs, "batch_size": 2},
        "loss": {"energy": 0.3, "forces": 1.0, "stress": stress},
        "seed": seed,
        "threads": 1,
    }
