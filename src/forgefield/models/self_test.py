"""Three structures that travel with a potential, with what it predicted for them when it was written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import covalent_radii
from torch import Tensor

from forgefield.errors import PotentialFileError
from forgefield.models.potential import Potential, Prediction

__all__ = ["TOLERANCES", "self_test_structures", "self_test_tensors", "verify_self_test"]

TOLERANCES: dict[torch.dtype, float] = {torch.float64: 1e-9, torch.float32: 2e-4}
"""Largest deviation of a repeated prediction, relative to the largest component of the stored one."""

SELF_TEST_PREFIX = "self_test."
N_STRUCTURES = 3
FLOORS = {"energies": 1e-3, "forces": 1e-3, "stress": 1e-5}
"""Size of a component [eV, eV/Å, eV/Å^3] below which deviations count as absolute."""


def self_test_structures(potential: Potential) -> list[Atoms]:
    """Return structures with every element of the potential at sane distances, the same every time.

    Two are triclinic crystals, the last is a slab that is periodic in two directions.
    """
    species = np.array(potential.species)
    spacing = min(2.1 * float(np.mean(covalent_radii[species])), 0.7 * potential.cutoff)
    layers = max(2, -(-len(species) // 4))
    grid = np.stack(np.meshgrid(range(2), range(2), range(layers), indexing="ij"), axis=-1).reshape(-1, 3)
    structures = []
    for n in range(N_STRUCTURES):
        rng = np.random.default_rng(n)
        cell = np.diag([2.0, 2.0, layers]) @ (np.eye(3) + 0.12 * rng.uniform(-1, 1, (3, 3))) * spacing
        offsets = grid + rng.uniform(-0.12, 0.12, grid.shape)
        positions = (offsets / [2, 2, layers]) @ cell
        numbers = np.resize(rng.permutation(species), len(grid))
        atoms = Atoms(numbers, positions, cell=cell, pbc=True)
        if n == N_STRUCTURES - 1:
            atoms.pbc = (True, True, False)
        structures.append(atoms)
    return structures


def self_test_tensors(potential: Potential) -> dict[str, Tensor]:
    """Return the structures and predictions as float64 and integer tensors to be stored.

    Raises
    ------
    PotentialFileError
        A prediction is not finite.
    """
    tensors = {}
    for n, atoms in enumerate(self_test_structures(potential)):
        arrays = {
            "positions": atoms.positions,
            "cell": atoms.cell.array,
            "pbc": atoms.pbc.astype(np.int64),
            "numbers": atoms.numbers.astype(np.int64),
            **_predicted(potential.predict(atoms)),
        }
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise PotentialFileError(
                    f"this potential predicts {name} that are not finite (NaN or infinity) for a plain crystal of "
                    f"{', '.join(potential.elements)}; nothing was written: its training diverged"
                )
            tensors[f"{SELF_TEST_PREFIX}{n}.{name}"] = torch.from_numpy(np.ascontiguousarray(array))
    return tensors


def _predicted(result: Prediction) -> dict[str, np.ndarray]:
    found = {"energies": result.energies, "forces": result.forces}
    return found if result.stress is None else {**found, "stress": result.stress}


def verify_self_test(potential: Potential, tensors: dict[str, Tensor], name: str) -> None:
    """Predict the stored structures again and compare.

    Raises
    ------
    PotentialFileError
        A structure is missing, or a prediction deviates by more than `TOLERANCES`.
    """
    tolerance = TOLERANCES[potential.dtype]
    for n in range(N_STRUCTURES):
        prefix = f"{SELF_TEST_PREFIX}{n}."
        stored = {k.removeprefix(prefix): v.numpy() for k, v in tensors.items() if k.startswith(prefix)}
        _require({"positions", "cell", "pbc", "numbers"}, stored, n, name)
        atoms = Atoms(
            stored["numbers"], stored["positions"], cell=stored["cell"], pbc=stored["pbc"].astype(bool)
        )
        predicted = _predicted(potential.predict(atoms))
        _require(predicted.keys(), stored, n, name)
        for quantity, value in predicted.items():
            expected = stored[quantity]
            scale = max(float(np.abs(expected).max()), FLOORS[quantity])
            deviation = float(np.abs(value - expected).max()) / scale
            if not deviation <= tolerance:
                raise PotentialFileError(
                    f"{name} fails its self-test: {quantity} of structure {n + 1} deviate by {deviation:.1e} "
                    f"(allowed: {tolerance:.0e}) from what this potential gave when it was written; the "
                    "installation or the file is not what it was. Load it with verify=False to look into it"
                )


def _require(needed: Collection[str], stored: Mapping[str, Any], n: int, name: str) -> None:
    missing = [k for k in sorted(needed) if k not in stored]
    if missing:
        raise PotentialFileError(
            f"{name} lacks {', '.join(missing)} of its self-test structure {n + 1}; it is damaged"
        )
