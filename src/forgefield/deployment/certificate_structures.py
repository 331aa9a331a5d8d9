"""Structures on which an exported potential is compared with the program it was exported to."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from numpy.typing import NDArray

from forgefield.models.committee import Committee
from forgefield.models.potential import Potential

__all__ = ["MOST_PURE", "certificate_structures"]

FloatArray = NDArray[np.float64]

MOST_PURE = 4
"""Elements that also get a crystal of their own."""

SLANTED = np.array([[1.0, 0.0, 0.0], [0.32, 0.95, 0.0], [-0.27, 0.24, 1.06]])
STRAINED = np.diag([1.07, 0.95, 1.03])


def certificate_structures(potential: Potential | Committee) -> dict[str, Atoms]:
    """Return named structures with every element of a potential, the same every time.

    All are periodic, with lower triangular cells and positions inside, so that every program sees the same numbers;
    surface, cluster and free atoms (beside one pair) have as much vacuum as the interaction reaches.

    Parameters
    ----------
    potential : Potential or Committee

    Returns
    -------
    dict of str to Atoms
        ``rattled``, ``strained``, ``triclinic``, ``compressed``, ``surface``, ``cluster``, ``free atoms``; with several
        elements they are mixed, and ``pure X`` has one of them alone.
    """
    species = np.array(potential.species)
    rng = np.random.default_rng(2024)
    # Metals are denser than twice the covalent radius on a simple cubic lattice; neighbours must be within reach.
    spacing = min(2.1 * float(np.mean(covalent_radii[species])), 0.7 * potential.cutoff)
    empty = 1.05 * potential.cutoff + spacing
    structures = {
        "rattled": _lattice(species, spacing, np.eye(3), 0.10, rng),
        "strained": _lattice(species, spacing, STRAINED, 0.03, rng),
        "triclinic": _lattice(species, spacing, SLANTED, 0.08, rng),
        "compressed": _lattice(species, 0.8 * spacing, SLANTED, 0.05, rng),
        "surface": _lattice(species, spacing, np.eye(3), 0.08, rng, vacuum=(0.0, 0.0, empty)),
        "cluster": _lattice(species, spacing, np.eye(3), 0.12, rng, vacuum=(empty,) * 3),
        "free atoms": _free_atoms(species, spacing, empty),
    }
    if len(species) > 1:
        for z in species[:MOST_PURE]:
            own = min(2.1 * float(covalent_radii[z]), 0.7 * potential.cutoff)
            structures[f"pure {chemical_symbols[z]}"] = _lattice(np.array([z]), own, SLANTED, 0.08, rng)
    return structures


def _lattice(
    species: NDArray[np.int64],
    spacing: float,
    shape: FloatArray,
    rattle: float,
    rng: np.random.Generator,
    *,
    vacuum: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Atoms:
    """Return a simple cubic lattice, deformed by `shape`, its atoms displaced by up to `rattle` spacings."""
    layers = max(2, -(-len(species) // 4))
    sizes = np.array([2, 2, layers])
    grid = np.stack(np.meshgrid(*map(range, sizes), indexing="ij"), axis=-1).reshape(-1, 3)
    cell = np.diag(sizes * spacing) @ shape
    positions = ((grid + 0.5 + rng.uniform(-rattle, rattle, grid.shape)) / sizes) @ cell
    numbers = np.resize(rng.permutation(species), len(grid))
    return Atoms(numbers, positions, cell=cell + np.diag(vacuum), pbc=True)


def _free_atoms(species: NDArray[np.int64], spacing: float, empty: float) -> Atoms:
    """Return one free atom of each element in a row, and a pair: some programs do not survive structures without."""
    x = np.concatenate([np.arange(len(species) + 1) + 0.5, [len(species) + 0.5]]) * empty
    x[-1] += spacing
    positions = np.stack([x, *np.full((2, len(x)), 0.5 * empty)], axis=1)
    lengths = [(len(species) + 1) * empty + spacing, empty, empty]
    return Atoms([*species, species[0], species[-1]], positions, cell=lengths, pbc=True)
