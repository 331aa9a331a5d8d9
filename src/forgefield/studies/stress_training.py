"""Training with and without stress: the experiment of Shimamura et al. (paper 5) on a crystal whose potential is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from pydantic import Field

from forgefield.config import Schema
from forgefield.errors import ForgefieldError, SimulationError
from forgefield.files import make_folder
from forgefield.properties.calculators import find_calculator
from forgefield.properties.dynamics import Dynamics
from forgefield.properties.dynamics_forces import force_field
from forgefield.properties.dynamics_state import DynamicsSettings
from forgefield.properties.eos import equation_of_state
from forgefield.properties.registry import find_property
from forgefield.studies.base import Cell, CellResult, Study, mean_and_error
from forgefield.studies.page import Page
from forgefield.studies.stress_training_page import VIRIALS, stress_training_page
from forgefield.studies.training import checked, errors_of, merged, train_cell

__all__ = ["StressTraining", "StressTrainingSettings"]

REFERENCE = "ase:lj:{sigma: 3.405, epsilon: 0.010323, rc: 8.0, ro: 6.0, smooth: true}"
"""Argon by the smoothed potential of Lennard-Jones."""


class StressTrainingSettings(Schema):
    """Settings of the study."""

    reference: str = Field(
        REFERENCE, description="calculator that is the truth, a sum over pairs: ase:NAME:{...}"
    )
    element: str = Field("Ar", description="chemical symbol")
    a: float = Field(5.4, gt=0, description="lattice constant of all training structures, fcc [Å]")
    size: int = Field(3, ge=2, description="cubes along each side of the cell of training and simulation")
    temperatures: tuple[float, ...] = Field((20.0, 50.0, 80.0), description="of the training structures [K]")
    structures: int = Field(25, ge=2, description="of each temperature")
    seeds: int = Field(5, ge=1, description="initial networks")
    epochs: int = Field(150, ge=2, description="of every training")
    temperature: float = Field(50.0, gt=0, description="of thermal conductivity and expansion [K]")
    length: float = Field(100.0, gt=0, description="of each simulation of the heat flux [ps]")
    replicas: int = Field(4, ge=1, description="such simulations")
    expansion: float = Field(40.0, gt=0, description="length of the simulation at zero pressure [ps]")
    virials: tuple[str, ...] = Field(VIRIALS, description="kinds of the atomic virial in the heat flux")


class StressTraining(Study[StressTrainingSettings]):
    """What stress labels buy in pressure, expansion and thermal conductivity."""

    name: ClassVar[str] = "stress-training"
    summary: ClassVar[str] = (
        "EF-fit against EFP-fit: stress, equation of state, expansion, thermal conductivity"
    )
    Settings = StressTrainingSettings
    small: ClassVar[Mapping[str, Any]] = {
        "size": 2,
        "structures": 6,
        "temperatures": (50.0,),
        "seeds": 1,
        "epochs": 8,
        "length": 4.0,
        "replicas": 2,
        "expansion": 1.0,
        "virials": ("I",),
    }

    def cells(self, settings: StressTrainingSettings) -> list[Cell]:
        """See `Study.cells`."""
        common = settings.model_dump(mode="json", exclude={"seeds"})
        cells = [Cell("reference", {"fit": "reference", "seed": 0, **common})]
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
        truth = find_calculator(settings.reference)
        found: dict[str, Any] = {}
        calculator, pairwise = truth, True
        kinds: tuple[str, ...] = ("I",)
        if parameters["fit"] != "reference":
            path = _write_data(settings, truth, folder / "data")
            config = merged(parameters["config"], {"data": {"train": [str(path)]}})
            run = train_cell(config, folder)
            found["errors"] = errors_of(run)
            calculator, pairwise = run.potential.calculator(dtype="float64", threads=1), False
            kinds = settings.virials
        found["pressure_error"] = _pressure_error(settings, calculator, truth)
        found["eos"] = _eos(settings, calculator)
        found["length_at_rest"] = _expansion(settings, calculator)
        found["conductivity"] = {
            kind: _conductivity(settings, calculator, kind, pairwise=pairwise) for kind in kinds
        }
        return found

    def page(self, settings: StressTrainingSettings, results: Sequence[CellResult]) -> Page:
        """See `Study.page`."""
        return stress_training_page(results, method=_method(settings), kinds=settings.virials)


def _method(settings: StressTrainingSettings) -> str:
    n = 4 * settings.size**3
    return (
        f"The truth is {settings.reference}. Training structures: {len(settings.temperatures)} simulations of {n} atoms at "
        f"one volume (a = {settings.a:g} Å), {settings.structures} structures each; {settings.seeds} initial network(s), "
        f"{settings.epochs} epochs. Conductivity at {settings.temperature:g} K: {settings.replicas} simulations of "
        f"{settings.length:g} ps. Expansion: {settings.expansion:g} ps at zero pressure."
    )


# ---- cells ---------------------------------------------------------------------------------------------------


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


def _crystal(settings: StressTrainingSettings, length: float | None = None) -> Atoms:
    return bulk(settings.element, "fcc", a=length or settings.a, cubic=True).repeat(settings.size)


def _write_data(settings: StressTrainingSettings, truth: Any, folder: Path) -> Path:
    """Simulate at fixed volume, as first-principles dynamics would, and label; the same in every cell."""
    path = make_folder(folder) / "data.extxyz"
    if path.exists():
        return path
    frames = []
    for n, temperature in enumerate(settings.temperatures):
        atoms = _crystal(settings)
        dynamics = Dynamics(
            atoms,
            force_field(truth, atoms),
            DynamicsSettings(temperature=temperature, timestep=5.0, friction=0.02, seed=n),
        )
        for _ in range(settings.structures):
            dynamics.run(40)
            snapshot = dynamics.atoms()
            snapshot.set_momenta(None)
            snapshot.calc = truth
            labels = {
                "energy": snapshot.get_potential_energy(),
                "forces": snapshot.get_forces(),
                "stress": snapshot.get_stress(),
            }
            snapshot.calc = SinglePointCalculator(snapshot, **labels)
            snapshot.info["config_type"] = f"{temperature:g} K"
            frames.append(snapshot)
    ase.io.write(path, frames, format="extxyz")
    return path


def _pressure_error(settings: StressTrainingSettings, calculator: Any, truth: Any) -> float:
    """Return the RMS error of the stress [GPa] of crystals strained by up to 3 %."""
    errors = []
    for strain in (-0.03, -0.015, 0.0, 0.015, 0.03):
        atoms = _crystal(settings, settings.a * (1.0 + strain))
        stresses = [
            np.asarray(c.get_property("stress", atoms.copy()), dtype=np.float64) for c in (calculator, truth)
        ]
        errors.append(stresses[0] - stresses[1])
    return float(np.sqrt(np.mean(np.square(errors))) * 160.2176634)


def _eos(settings: StressTrainingSettings, calculator: Any) -> dict[str, Any]:
    atoms = bulk(settings.element, "fcc", a=settings.a, cubic=True).repeat(2)
    try:
        eos = equation_of_state(atoms, calculator, strains=np.linspace(-0.04, 0.03, 9).tolist())
    except ForgefieldError as error:
        return {"failed": str(error).splitlines()[0]}
    return {
        "a0": eos.length(4),
        "bulk_modulus": eos.bulk_modulus,
        "volumes": eos.volumes.tolist(),
        "energies": eos.energies.tolist(),
    }


def _expansion(settings: StressTrainingSettings, calculator: Any) -> dict[str, Any]:
    """Return the mean lattice constant [Å] at zero pressure and temperature, with its standard error."""
    atoms = _crystal(settings)
    dynamics = Dynamics(
        atoms,
        force_field(calculator, atoms),
        DynamicsSettings(
            ensemble="npt",
            temperature=settings.temperature,
            timestep=4.0,
            friction=0.02,
            compressibility=0.5,
            barostat_time=500.0,
        ),
    )
    try:
        records = dynamics.run(round(settings.expansion * 250.0), every=5)
    except SimulationError as error:
        return {"failed": str(error).splitlines()[0]}
    lengths = (records["volume"] / settings.size**3) ** (1.0 / 3.0)
    lengths = lengths[len(lengths) // 4 :]
    blocks = [float(part.mean()) for part in np.array_split(lengths, 5)]
    return {"value": float(lengths.mean()), "error": mean_and_error(blocks)[1]}


def _conductivity(
    settings: StressTrainingSettings, calculator: Any, kind: str, *, pairwise: bool
) -> dict[str, Any]:
    try:
        result = find_property("conductivity-gk")(
            _crystal(settings),
            calculator,
            temperature=settings.temperature,
            timestep=4.0,
            interval=20.0,
            equilibration=min(10.0, settings.length / 4.0),
            length=settings.length,
            correlation_time=min(10.0, settings.length / 4.0),
            read_at=min(10.0, settings.length / 4.0),
            replicas=settings.replicas,
            virials=kind,
            pairwise=pairwise,
            certify=False,
        )
    except SimulationError as error:
        return {"failed": str(error).splitlines()[0]}
    found = result.quantities["conductivity"]
    return {"value": found.value, "error": found.error}
