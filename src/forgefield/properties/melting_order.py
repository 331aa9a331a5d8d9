"""Order of crystals and liquids: pair distribution, Bragg order along an axis, atoms held in place."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.errors import StructureError
from forgefield.graph import neighbour_pairs
from forgefield.properties.dynamics import Observable, State
from forgefield.properties.dynamics_forces import ForceField, Forces

__all__ = ["BraggOrder", "Tethered", "pair_distribution"]

FloatArray = NDArray[np.float64]


def pair_distribution(atoms: Atoms, cutoff: float, n_bins: int) -> tuple[FloatArray, Observable]:
    """Return distances [Å] and an observable: g(r) of all pairs there.

    Parameters
    ----------
    atoms : ase.Atoms
        Periodicity and elements.
    cutoff : float [Å]
    n_bins : int
    """
    edges = np.linspace(0.0, cutoff, n_bins + 1)
    shells = 4.0 / 3.0 * math.pi * (edges[1:] ** 3 - edges[:-1] ** 3)
    work = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)

    def distribution(state: State, _forces: Forces) -> FloatArray:
        work.positions[:] = state.positions
        work.cell.array[:] = state.cell
        _, _, _, vectors = neighbour_pairs(work, cutoff)
        counts, _ = np.histogram(np.sqrt((vectors * vectors).sum(axis=1)), edges)
        n = len(work)
        found: FloatArray = counts * (state.volume / (n * n)) / shells
        return found

    return 0.5 * (edges[1:] + edges[:-1]), distribution


class BraggOrder:
    """How crystalline slabs across an axis of the cell are, by a Bragg peak of the planes along that axis.

    In every slab ``psi = | sum_i exp(i G r_i) | / n`` is averaged over the shortest reciprocal lattice vectors G at
    right angles to the axis for which the ideal crystal gives one. It is near exp(-G^2 <u^2>/2) in the crystal, and
    about 1 / sqrt(n) in the liquid, whatever the crystal structure.

    Parameters
    ----------
    atoms : ase.Atoms
        The crystal on its ideal sites.
    axis : int
        Of the cell; across it lie the slabs.
    n_slabs : int, optional
        Default: slabs of about 25 atoms or more.

    Raises
    ------
    StructureError
        No such peak: the structure is no crystal, or the cell is not a supercell.
    """

    def __init__(self, atoms: Atoms, axis: int = 2, n_slabs: int | None = None) -> None:
        self.axis = axis
        self.n_slabs = n_slabs or max(4, len(atoms) // 25)
        self.indices = self._peaks(atoms)

    def _peaks(self, atoms: Atoms) -> NDArray[np.int64]:
        scaled = atoms.cell.scaled_positions(atoms.positions)
        reciprocal = atoms.cell.reciprocal().array
        spacing = (atoms.get_volume() / len(atoms)) ** (1.0 / 3.0)
        longest = 2.5 / spacing
        ranges = [
            np.arange(1) if k == self.axis else np.arange(-m, m + 1)
            for k, m in enumerate(np.ceil(longest * atoms.cell.lengths()).astype(int))
        ]
        grid = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
        lengths = np.linalg.norm(grid @ reciprocal, axis=1)
        grid, lengths = (
            grid[(lengths > 0) & (lengths < longest)],
            lengths[(lengths > 0) & (lengths < longest)],
        )
        strength = np.abs(np.exp(2j * np.pi * scaled @ grid.T).mean(axis=0))
        good = strength > 0.9
        if not good.any():
            raise StructureError(
                f"no Bragg peak at right angles to axis {self.axis}: give a perfect crystal on its ideal sites, "
                "repeated along all axes"
            )
        shortest = float(lengths[good].min())
        found: NDArray[np.int64] = grid[good & (lengths < 1.05 * shortest)]
        return found

    def profile(self, positions: FloatArray, cell: FloatArray) -> FloatArray:
        """Return psi (n_slabs,) of slabs of equal thickness along the axis."""
        scaled = positions @ np.linalg.inv(cell)
        slab = np.floor((scaled[:, self.axis] % 1.0) * self.n_slabs).astype(int) % self.n_slabs
        waves = np.exp(2j * np.pi * scaled @ self.indices.T)
        counts = np.maximum(np.bincount(slab, minlength=self.n_slabs), 1)
        sums = np.zeros((self.n_slabs, waves.shape[1]), dtype=np.complex128)
        np.add.at(sums, slab, waves)
        psi: FloatArray = np.abs(sums).mean(axis=1) / counts
        return psi

    def fraction(self, crystal: float) -> Callable[[FloatArray, FloatArray], float]:
        """Return a function of positions and cell: the crystalline part, given psi of the crystal as a whole."""
        return lambda positions, cell: float(
            np.clip(self.profile(positions, cell) / crystal * 1.25 - 0.25, 0.0, 1.0).mean()
        )


class Tethered:
    """A force field with some atoms on springs to sites, which follow the cell.

    Parameters
    ----------
    field : ForceField
    sites : ase.Atoms
    springs : (n_atoms,) [eV/Å^2]
        Zero for free atoms.
    """

    def __init__(self, field: ForceField, sites: Atoms, springs: FloatArray) -> None:
        self.field, self.springs = field, springs
        self._scaled = sites.positions @ np.linalg.inv(sites.cell.array)

    def evaluate(
        self,
        positions: FloatArray,
        cell: FloatArray,
        *,
        virial: bool = False,
        atomic: bool = False,  # noqa: ARG002 - not needed on the way to a melt
    ) -> Forces:
        """Compute; see `ForceField`. The virial is that of sites which strain with the cell."""
        result = self.field.evaluate(positions, cell, virial=virial)
        u = positions - self._scaled @ cell
        pull = self.springs[:, None] * u
        total = None if result.virial is None else result.virial - u.T @ pull
        return Forces(result.energy + 0.5 * float((pull * u).sum()), result.forces - pull, total)

    def reset(self) -> None:
        """Forget neighbour lists."""
        self.field.reset()
