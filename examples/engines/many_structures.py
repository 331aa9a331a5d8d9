"""Relax many structures at once with torch-sim: ``python many_structures.py potential.ff``."""

from __future__ import annotations

import sys

import numpy as np
import torch_sim as ts
from ase import Atoms
from ase.build import bulk

from forgefield.deployment.torchsim import ForgefieldModel


def strained(n: int) -> list[Atoms]:
    """Return rattled and strained crystals of silicon."""
    rng = np.random.default_rng(0)
    frames = []
    for k in range(n):
        atoms = bulk("Si", "diamond", a=5.43, cubic=True)
        strain = 0.02 * rng.standard_normal((3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
        atoms.rattle(0.05, seed=k)
        frames.append(atoms)
    return frames


def relaxed(potential: str, frames: list[Atoms], steps: int = 500) -> list[float]:
    """Return the energies [eV/atom] of structures with relaxed positions and cells."""
    model = ForgefieldModel(potential, dtype="float64")
    converged = ts.generate_force_convergence_fn(force_tol=0.01)
    done = ts.optimize(
        frames, model, optimizer=ts.frechet_cell_fire, convergence_fn=converged, max_steps=steps
    )
    return [float(e) / len(atoms) for e, atoms in zip(done.energy, frames, strict=True)]


if __name__ == "__main__":
    for energy in relaxed(sys.argv[1], strained(8)):
        print(f"{energy:.6f} eV/atom")
