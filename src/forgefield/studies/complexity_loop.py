"""The closed loop of the complexity study: a truth that can be asked for liquid structure, diffusion and conduction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from pydantic import Field

from forgefield.config import Schema
from forgefield.errors import ForgefieldError
from forgefield.properties.diffusion import diffusion
from forgefield.properties.distribution import radial_distribution
from forgefield.properties.dynamics_state import DynamicsSettings
from forgefield.properties.registry import find_property
from forgefield.properties.simulation import SimulationSettings, trajectory_of
from forgefield.studies.diamond import properties_by, property_errors
from forgefield.studies.numbers import Positive
from forgefield.studies.simulated import kept, labelled, snapshots
from forgefield.studies.truths import find_truth

__all__ = ["TRANSPORT", "LoopSettings", "answers", "training_file", "transport_errors"]

TRANSPORT = {
    "rdf": "g(r) of the liquid",
    "diffusion": "diffusion in the liquid",
    "conductivity": "thermal conductivity",
}
"""What the closed loop adds."""
R_MAX, N_BINS = 8.0, 160


class LoopSettings(Schema):
    """Settings of the closed loop."""

    truth: str = Field(
        "silicon-sw", description="silicon-sw, or a calculator of diamond silicon: ase:NAME:{...}"
    )
    a: float = Field(5.431, gt=0, description="lattice constant of the crystal [Å]")
    scales: tuple[Positive, ...] = Field((0.97, 1.0, 1.03), description="of the edges of hot crystals")
    temperatures: tuple[Positive, ...] = Field((300.0, 900.0, 1500.0), description="of hot crystals [K]")
    liquids: tuple[Positive, ...] = Field((2000.0, 3000.0), description="temperatures of liquids [K]")
    structures: int = Field(4, ge=1, description="of every hot crystal; of every liquid four times as many")
    liquid_scale: float = Field(0.985, gt=0, description="of the edges of liquids: silicon melts and shrinks")
    ratios: tuple[Positive, ...] | None = Field(
        None, min_length=1, description="weight of forces over weight of energies; null: those of the study"
    )
    splits: int = Field(1, ge=1, description="random splits")
    references: int = Field(
        2, ge=1, description="runs of the truth; two or more say how much chance there is"
    )
    liquid: float = Field(2000.0, gt=0, description="temperature of g(r) and of diffusion [K]")
    timestep: float = Field(2.0, gt=0, description="of the liquid [fs]")
    length: float = Field(10.0, gt=0.5, description="of its simulation [ps]")
    conduction: tuple[Positive, ...] = Field(
        (100.0, 300.0, 1000.0), min_length=1, description="temperatures of the conductivity [K]"
    )
    mesh: int = Field(7, ge=2, description="q-points of the Boltzmann equation along an axis")


def training_file(settings: LoopSettings, folder: Path) -> Path:
    """Return the file with hot crystals at three volumes and liquids, labelled by the truth."""
    keys = {"truth", "a", "scales", "temperatures", "liquids", "structures", "liquid_scale"}
    return kept(folder, settings.model_dump(mode="json", include=keys), lambda: _structures(settings), "loop")


def _crystal(settings: LoopSettings, scale: float = 1.0) -> Atoms:
    return bulk("Si", "diamond", a=settings.a * scale, cubic=True).repeat(2)


def _equations(temperature: float, seed: int, timestep: float = 2.0) -> DynamicsSettings:
    return DynamicsSettings(temperature=temperature, timestep=timestep, friction=0.02, seed=seed)


def _structures(settings: LoopSettings) -> list[Atoms]:
    truth = find_truth(settings.truth)
    frames, seed = [], 0
    for temperature in settings.temperatures:
        for scale in settings.scales:
            seed += 1
            found = snapshots(
                _crystal(settings, scale),
                truth,
                _equations(temperature, seed),
                structures=settings.structures,
                gap=60,
            )
            frames += [labelled(atoms, truth, f"crystal {temperature:g} K") for atoms in found]
    for temperature in settings.liquids:
        seed += 1
        found = snapshots(
            _crystal(settings, settings.liquid_scale),
            truth,
            _equations(temperature, seed),
            structures=4 * settings.structures,
            gap=60,
            first=500,
            melt=(5000.0, 500),
        )
        frames += [labelled(atoms, truth, f"liquid {temperature:g} K") for atoms in found]
    return frames


def _melt(settings: LoopSettings, folder: Path) -> Atoms:
    """Return a liquid of the truth from which all others start."""

    def make() -> list[Atoms]:
        return snapshots(
            _crystal(settings, settings.liquid_scale),
            find_truth(settings.truth),
            _equations(settings.liquid, 100),
            structures=1,
            gap=1000,
            melt=(5000.0, 500),
        )

    keys = {"truth", "a", "liquid_scale", "liquid"}
    path = kept(folder, settings.model_dump(mode="json", include=keys), make, "melt")
    atoms: Atoms = ase.io.read(path)
    return atoms


def answers(settings: LoopSettings, calculator: Any, folder: Path, seed: int = 0) -> dict[str, Any]:
    """Return lattice, moduli and phonons of the crystal, its conductivity, and g(r) and diffusion of the liquid.

    What could not be computed is missing, with the reason under ``failed`` or ``failed_KEY``.

    Parameters
    ----------
    settings : LoopSettings
    calculator : ASE calculator
    folder : Path
        Shared by cells, for the liquid to start from.
    seed : int
        Of the simulation of the liquid.
    """
    found = properties_by(calculator)
    try:
        found |= _liquid(settings, calculator, folder, seed)
    except ForgefieldError as error:
        found["failed_liquid"] = str(error).splitlines()[0]
    if "a0" in found:
        try:
            found["conductivity"] = _conductivity(settings, calculator, found["a0"])
        except ForgefieldError as error:
            found["failed_conductivity"] = str(error).splitlines()[0]
    return found


def _liquid(settings: LoopSettings, calculator: Any, folder: Path, seed: int) -> dict[str, Any]:
    run = SimulationSettings(
        temperature=settings.liquid,
        timestep=settings.timestep,
        equilibration=min(1.0, 0.25 * settings.length),
        length=settings.length,
        interval=10.0 * settings.timestep,
        blocks=max(2, min(5, int(settings.length * 1000.0 / (200.0 * settings.timestep)))),
        friction=0.02,
        seed=seed,
    )
    moving, _ = trajectory_of(
        _melt(settings, folder), calculator, run, purpose="the liquid of the closed loop"
    )
    g = radial_distribution(moving, r_max=R_MAX, n_bins=N_BINS, blocks=run.blocks)["all"]
    motion = next(iter(diffusion(moving).values()))
    return {
        "r": g.r.tolist(),
        "rdf": g.g.tolist(),
        "diffusion": motion.coefficient,
        "diffusion_error": motion.error,
    }


def _conductivity(settings: LoopSettings, calculator: Any, a: float) -> list[float]:
    """Return the conductivity [W/(m K)] of the relaxed crystal at every temperature, relaxation times only."""
    result = find_property("conductivity-bte")(
        bulk("Si", "diamond", a=a),
        calculator,
        supercell=(2, 2, 2),
        meshes=(settings.mesh,),
        temperatures=settings.conduction,
        solution="rta",
    )
    names = ["conductivity", *(f"conductivity {t:g} K" for t in settings.conduction[1:])]
    return [float(result.quantities[name].value) for name in names]


def transport_errors(found: Mapping[str, Any], truths: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return errors [%] of every property of `answers` against the mean of what runs of the truth say.

    That of g(r) is the mean of ``|dg|`` over r in percent of an ideal gas; that of the conductivity the mean over
    temperatures. What is missing is NaN.
    """
    errors = property_errors(found, truths[0])
    errors |= dict.fromkeys(TRANSPORT, math.nan)
    if "rdf" in found:
        g = np.mean([t["rdf"] for t in truths], axis=0)
        errors["rdf"] = float(100.0 * np.mean(np.abs(np.asarray(found["rdf"]) - g)))
        speed = float(np.mean([t["diffusion"] for t in truths]))
        errors["diffusion"] = 100.0 * abs(found["diffusion"] / speed - 1.0)
    if "conductivity" in found:
        true = np.asarray(truths[0]["conductivity"])
        errors["conductivity"] = float(
            100.0 * np.mean(np.abs(np.asarray(found["conductivity"]) / true - 1.0))
        )
    return errors
