"""What a potential costs in a simulation."""

from __future__ import annotations

import time

import numpy as np
from ase import Atoms

from forgefield.engine.predictor import fastest
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential

__all__ = ["microseconds_per_atom"]

REPEATS = 5
"""Evaluations; the fastest counts, so that other work on the machine does not."""


def microseconds_per_atom(potential: Potential | Committee, atoms: Atoms, n_atoms: int = 200) -> float:
    """Return the processor time of energy, forces and virial per atom [µs], one thread, neighbour list kept.

    Parameters
    ----------
    potential : Potential or Committee
    atoms : ase.Atoms
        Repeated until it has at least `n_atoms` atoms.
    """
    times = max(1, int(np.ceil((n_atoms / len(atoms)) ** (1.0 / 3.0))))
    cell = atoms.repeat((times, times, times))
    predictor = fastest(potential, threads=1, skin=1.0) or potential
    predictor.predict(cell)
    best = float("inf")
    rng = np.random.default_rng(0)
    for _ in range(REPEATS):
        cell.positions += rng.normal(scale=1e-3, size=cell.positions.shape)
        start = time.process_time()
        predictor.predict(cell)
        best = min(best, time.process_time() - start)
    return 1e6 * best / len(cell)
