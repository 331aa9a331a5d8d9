"""Stress labels and atomic virials in the conduction of heat: figure 3 of Shimamura et al. (paper 5) on a many-body melt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from forgefield.errors import ConfigError
from forgefield.properties.dynamics_forces import ForceField, force_field
from forgefield.studies.base import Cell, CellResult, Study
from forgefield.studies.heat_flux_cells import (
    KINDS,
    MEASURED,
    Melt,
    TruthForces,
    conductivities,
    melt_of,
    structures,
)
from forgefield.studies.heat_flux_page import heat_flux_page
from forgefield.studies.page import Page
from forgefield.studies.training import checked, errors_of, merged, train_cell
from forgefield.studies.truths import TRUTHS

__all__ = ["HeatFlux", "HeatFluxSettings"]

OF_TRAINING = ("structures", "gap", "epochs")
"""Settings that mean nothing to the reference."""
REFERENCE_SEED = 100


class HeatFluxSettings(Melt):
    """Settings of the study."""

    seeds: int = Field(5, ge=1, description="initial networks")
    epochs: int = Field(100, ge=2, description="of every training")
    stress: float = Field(0.3, gt=0, description="weight of stress in the EFP-fit")
    cutoff: float = Field(3.77, gt=0, description="reach of the potentials [Å]")
    references: int = Field(4, ge=1, description="runs of the truth, each with `replicas` simulations")


class HeatFlux(Study[HeatFluxSettings]):
    """Which heat flux, from which training, gives the conductivity of a melt of many-body forces."""

    name: ClassVar[str] = "heat-flux"
    summary: ClassVar[str] = (
        "EF-fit against EFP-fit, atomic virials I, II, III: conductivity of molten silicon"
    )
    version: ClassVar[int] = 1
    Settings = HeatFluxSettings
    small: ClassVar[Mapping[str, Any]] = {
        "size": 1,
        "melt_steps": 200,
        "structures": 6,
        "gap": 20,
        "seeds": 2,
        "epochs": 10,
        "length": 1.0,
        "replicas": 2,
        "read_at": 0.2,
        "references": 2,
    }

    def cells(self, settings: HeatFluxSettings) -> list[Cell]:
        """See `Study.cells`."""
        if settings.reference not in TRUTHS:
            raise ConfigError(
                f"`reference` must be one of {', '.join(TRUTHS)}, whose atomic virials are known, got {settings.reference!r}"
            )
        common = settings.model_dump(mode="json", exclude={"seeds", "references", "stress", "cutoff"})
        of_truth = {key: value for key, value in common.items() if key not in OF_TRAINING}
        cells = [
            Cell(f"reference, run {n}", {"fit": "reference", "seed": n, **of_truth})
            for n in range(settings.references)
        ]
        for fit, stress in (("EF", 0.0), ("EFP", settings.stress)):
            for seed in range(settings.seeds):
                config = checked(_configure(settings, stress, seed))
                cells.append(
                    Cell(f"{fit}-fit, seed {seed}", {"fit": fit, "seed": seed, "config": config, **common})
                )
        return cells

    def run(self, parameters: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """See `Study.run`."""
        melt = Melt.parse({k: parameters[k] for k in Melt.model_fields if k in parameters})
        truth, shared, seed = TRUTHS[melt.reference](), folder.parent / "melt", int(parameters["seed"])
        start = melt_of(melt, truth, shared)
        found: dict[str, Any] = {}
        fields: dict[Any, ForceField]
        if parameters["fit"] == "reference":
            mover = TruthForces(truth, start)
            fields = {k: TruthForces(truth, start, virials=k, like=mover) for k in MEASURED}
            seed += REFERENCE_SEED
        else:
            path = structures(melt, truth, shared)
            run = train_cell(merged(parameters["config"], {"data": {"train": [str(path)]}}), folder)
            found["errors"] = errors_of(run)
            calculator = run.potential.calculator(threads=1)
            fields = {k: force_field(calculator, start, virials=k, dtype="float32") for k in MEASURED}
        return found | {"conductivity": conductivities(melt, start, fields, seed)}

    def page(self, settings: HeatFluxSettings, results: Sequence[CellResult]) -> Page:
        """See `Study.page`."""
        return heat_flux_page(results, method=_method(settings), kinds=KINDS)


def _method(settings: HeatFluxSettings) -> str:
    n = len(settings.crystal())
    return (
        f"The truth is {settings.reference}. Training structures: {settings.structures} of its melt, {n} atoms at one volume "
        f"({settings.volume:g} Å³ per atom), half at {settings.temperature:g} K and half at twice that; {settings.seeds} initial network(s), "
        f"{settings.epochs} epochs, weight of stress {settings.stress:g} or none. Heat flux of each fit and in each of "
        f"{settings.references} runs of the truth: {settings.replicas} simulations of {settings.length:g} ps in the same cell, "
        f"integrals up to {settings.read_at:g} ps."
    )


def _configure(settings: HeatFluxSettings, stress: float, seed: int) -> dict[str, Any]:
    return {
        "data": {"train": ["data.extxyz"], "split": {"valid": 0.2, "test": 0.0, "seed": 0}},
        "descriptor": {
            "kind": "nep",
            "cutoff_radial": settings.cutoff,
            "cutoff_angular": settings.cutoff,
            "n_max_radial": 6,
            "n_max_angular": 6,
            "l_max": 3,
        },
        "model": {"kind": "network", "hidden": [20]},
        "training": {
            "kind": "kalman",
            "epochs": settings.epochs,
            "batch_size": 4,
            "blocks": "all",
            "variance": 0.1,
        },
        "loss": {"energy": 1.0, "forces": 1.0, "stress": stress},
        "seed": seed,
        "threads": 1,
    }
