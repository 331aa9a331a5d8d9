"""Structures with labels and predictions whose errors are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from forgefield.evaluation import Prediction


def structure(symbols, energy=None, forces=None, stress=None, **info):
    n_atoms = len(Atoms(symbols))
    positions = np.arange(3.0 * n_atoms).reshape(n_atoms, 3)
    atoms = Atoms(symbols, positions=positions, cell=np.diag([9.0, 10.0, 11.0]), pbc=True)
    labels = {"energy": energy, "forces": forces, "stress": stress}
    labels = {key: np.array(value) for key, value in labels.items() if value is not None}
    if "energy" in labels:
        labels["energy"] = float(labels["energy"])
    if labels:
        atoms.calc = SinglePointCalculator(atoms, **labels)
    atoms.info.update(info)
    return atoms


@pytest.fixture
def make_structure():
    return structure


@pytest.fixture
def labelled():
    """Twelve random structures of two elements, three groups and three splits; every fourth has no stress."""
    rng = np.random.default_rng(7)
    frames, predictions = [], []
    for index in range(12):
        symbols = "In2P" if index % 2 else "InP3"
        n_atoms = len(Atoms(symbols))
        energy, forces, stress = rng.normal(-9, 1), rng.normal(size=(n_atoms, 3)), rng.normal(size=6) * 0.01
        frames.append(
            structure(
                symbols,
                energy,
                forces,
                None if index % 4 == 3 else stress,
                name=f"s{index}",
                config_type=("bulk", "slab", "melt")[index % 3],
                split=("train", "train", "valid", "test")[index // 3],
            )
        )
        predictions.append(
            Prediction(
                energy + rng.normal() * 0.01,
                forces + rng.normal(size=forces.shape) * 0.1,
                stress + rng.normal(size=6) * 0.001,
            )
        )
    return frames, predictions
