"""Labelled structures shared by the tests of the data folder."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from labelled_copper import label, strained_series


@pytest.fixture(scope="session")
def copper():
    """Forty strained copper cells."""
    return strained_series()


@pytest.fixture(scope="session")
def alloy():
    """Thermal snapshots of a Cu-Al cell in two groups."""
    rng = np.random.default_rng(5)
    frames = []
    for k in range(24):
        atoms = bulk("Cu", "fcc", a=3.7, cubic=True) * (2, 1, 1)
        atoms.numbers[rng.permutation(8)[: 2 + k % 3]] = 13
        atoms.rattle(0.08, rng=rng)
        frames.append(label(atoms, "hot" if k % 2 else "cold"))
    return frames
