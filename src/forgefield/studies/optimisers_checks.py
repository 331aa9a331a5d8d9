"""What potentials of the study of optimisers are tested on: parity, equation of state, radial distribution of a liquid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from numpy.typing import NDArray
from pydantic import Field

from forgefield.api.run import Run
from forgefield.config import Schema
from forgefield.data import get_energy, get_forces, get_stress
from forgefield.errors import DataError, ForgefieldError
from forgefield.properties.distribution import radial_distribution
from forgefield.properties.eos import equation_of_state
from forgefield.properties.simulation import SimulationSettings, trajectory_of
from forgefield.properties.trajectory import Trajectory
from forgefield.studies.sources import frames_like
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["CrystalSettings", "LiquidSettings", "equation", "liquid", "parity"]

R_MAX, BINS = 6.0, 60
"""Range [Å] and number of shells of the radial distribution."""
MOST_POINTS = 250
"""Points of each parity plot."""
FEWEST_SNAPSHOTS = 4
"""Of a liquid, for two halves that tell its noise."""


class CrystalSettings(Schema):
    """A crystal whose equation of state is computed."""

    formula: str = Field("Si", description="as ase.build.bulk takes it")
    structure: str = Field("diamond", description="as ase.build.bulk takes it: diamond, rocksalt, bcc, ...")
    a: float = Field(5.47, gt=0, description="lattice constant to start from [Å]")


class LiquidSettings(Schema):
    """A simulation beside snapshots of the data."""

    snapshots: str = Field(description="words in the descriptions of these structures")
    temperature: float = Field(gt=0, description="[K]")
    length: float = Field(
        4.0, gt=0, description="of the simulation [ps], after a quarter of it to equilibrate"
    )


def equation(run: Run, crystal: Mapping[str, Any]) -> dict[str, Any]:
    """Return volumes [Å^3] and energies [eV] per atom, lattice constant of the cube [Å], bulk modulus [GPa]."""
    atoms = bulk(crystal["formula"], crystal["structure"], a=crystal["a"])
    cube = 2 if crystal["structure"] == "bcc" else 8 if crystal["structure"] in {"diamond", "rocksalt"} else 4
    try:
        eos = equation_of_state(atoms, run.potential.calculator(dtype="float64", threads=1))
    except ForgefieldError as failure:
        return {"failed": str(failure).splitlines()[0]}
    return {
        "volumes": eos.volumes.tolist(),
        "energies": (eos.energies - eos.energies.min()).tolist(),
        "a0": eos.length(cube),
        "bulk_modulus": eos.bulk_modulus,
    }


def liquid(run: Run, settings: Mapping[str, Any], config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the radial distribution of a simulation and of the snapshots it starts from.

    Returns
    -------
    dict
        ``r`` [Å], ``g``, ``reference``, the root mean square of their difference, and ``noise``, half of that between the
        two halves of the snapshots; ``failed`` where the simulation does not hold.
    """
    frames = frames_like(config, settings["snapshots"])
    if len(frames) < FEWEST_SNAPSHOTS:
        raise DataError(
            f"{len(frames)} structures have {settings['snapshots']!r} in their description; at least {FEWEST_SNAPSHOTS}"
        )
    r, reference = _distribution(_snapshots(frames))
    halves = [_distribution(_snapshots(part))[1] for part in (frames[::2], frames[1::2])]
    known = {
        "r": r.tolist(),
        "reference": reference.tolist(),
        "noise": _difference(*halves) / 2.0,
        "snapshots": len(frames),
    }
    length = float(settings["length"])
    dynamics = SimulationSettings.parse(
        {
            "temperature": settings["temperature"],
            "timestep": 2.0,
            "equilibration": length / 4.0,
            "length": length,
            "interval": 20.0,
            "blocks": 4,
            "seed": seed,
        }
    )
    calculator = run.potential.calculator(threads=1)
    try:
        start = Atoms(frames[0].numbers, frames[0].positions, cell=frames[0].cell, pbc=True)
        moving, _ = trajectory_of(start, calculator, dynamics, purpose="a radial distribution function")
        _, g = _distribution(moving)
    except ForgefieldError as failure:
        return {**known, "failed": str(failure).splitlines()[0]}
    return {**known, "g": g.tolist(), "difference": _difference(g, reference)}


def _snapshots(frames: Sequence[Atoms]) -> Trajectory:
    """Return structures that need not follow each other as frames."""
    first = frames[0]
    same = [f for f in frames if np.array_equal(f.numbers, first.numbers)]
    return Trajectory(
        positions=np.array([f.positions for f in same]),
        cells=np.array([f.cell.array for f in same]),
        numbers=first.numbers.astype(np.int64),
        masses=first.get_masses(),
        pbc=first.pbc.copy(),
        interval=1.0,
    )


def _distribution(moving: Trajectory) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found = radial_distribution(moving, r_max=R_MAX, n_bins=BINS, blocks=2)["all"]
    return found.r, found.g


def _difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))


def parity(run: Run) -> dict[str, dict[str, list[float]]]:
    """Return labels and predictions of the test structures, thinned: energy [eV/atom], forces [eV/Å], stress [GPa]."""
    pairs: dict[str, list[tuple[Any, Any]]] = {"energy": [], "forces": [], "stress": []}
    for atoms, said in zip(run.evaluation.frames, run.evaluation.predictions, strict=True):
        if atoms.info.get("split") != "test":
            continue
        energy, forces, stress = get_energy(atoms), get_forces(atoms), get_stress(atoms)
        if energy is not None:
            pairs["energy"].append((energy / len(atoms), said.energy / len(atoms)))
        if forces is not None:
            pairs["forces"] += list(zip(forces.ravel(), said.forces.ravel(), strict=True))
        if stress is not None and said.stress is not None:
            pairs["stress"] += list(
                zip(stress * EV_PER_A3_TO_GPA, said.stress * EV_PER_A3_TO_GPA, strict=True)
            )
    found = {}
    for key, values in pairs.items():
        step = max(1, -(-len(values) // MOST_POINTS))
        chosen = np.array(values[::step], dtype=np.float64).reshape(-1, 2)
        if len(chosen):
            found[key] = {
                "label": np.round(chosen[:, 0], 5).tolist(),
                "predicted": np.round(chosen[:, 1], 5).tolist(),
            }
    return found
