"""Stillinger and Weber's silicon in NumPy, with atomic energies and virials of kind I, which LAMMPS does not give.

F. H. Stillinger and T. A. Weber, Phys. Rev. B 31, 5262 (1985), with the parameters of LAMMPS's Si.sw. The energy of an
atom is half of its pair terms and all three-body terms that it is the centre of.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.graph import neighbour_pairs
from forgefield.properties.dynamics_forces import Forces

FloatArray = NDArray[np.float64]

EPSILON, SIGMA, REACH = 2.1683, 2.0951, 1.80
LAMBDA, GAMMA = 21.0, 1.20
A, B, P = 7.049556277, 0.6022245584, 4
CUTOFF = REACH * SIGMA
FILE = "Si.sw"


class StillingerWeber:
    """A `ForceField` for silicon.

    Parameters
    ----------
    atoms : ase.Atoms
        Periodicity; not changed.
    skin : float [Å]
    """

    def __init__(self, atoms: Atoms, skin: float = 0.8) -> None:
        self.skin = skin
        self._atoms = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        self.reset()

    def reset(self) -> None:
        """Forget the neighbours."""
        self._listed: tuple[FloatArray, FloatArray] | None = None

    def _near(self, positions: FloatArray, cell: FloatArray) -> None:
        """Make the padded list anew where an atom moved by half the skin or the cell changed."""
        if self._listed is not None:
            then, box = self._listed
            if (
                np.array_equal(box, cell)
                and ((positions - then) ** 2).sum(axis=1).max() < 0.25 * self.skin**2
            ):
                return
        atoms = self._atoms
        atoms.positions[:] = positions
        atoms.cell.array[:] = cell
        i, j, shifts, _ = neighbour_pairs(atoms, CUTOFF + self.skin)
        counts = np.bincount(i, minlength=len(atoms))
        width = int(counts.max(initial=1))
        slot = np.arange(len(i)) - (np.cumsum(counts) - counts)[i]
        self._j = np.tile(np.arange(len(atoms))[:, None], (1, width))
        self._shift = np.zeros((len(atoms), width, 3))
        self._real = np.zeros((len(atoms), width), dtype=bool)
        self._j[i, slot], self._shift[i, slot], self._real[i, slot] = j, shifts, True
        self._listed = positions.copy(), cell.copy()

    def evaluate(
        self, positions: FloatArray, cell: FloatArray, *, virial: bool = False, atomic: bool = False
    ) -> Forces:
        """Return energy, forces, virial; see `ForceField`."""
        self._near(positions, cell)
        n = len(positions)
        d = positions[self._j] - positions[:, None] + self._shift @ cell
        r = np.sqrt(np.einsum("nka,nka->nk", d, d))
        inside = self._real & (r < CUTOFF - 1e-9)
        # Most neighbours of the skin are outside: keep only as many columns as are needed.
        order = np.argsort(~inside, axis=1, kind="stable")[:, : max(1, int(inside.sum(axis=1).max()))]
        j, inside = np.take_along_axis(self._j, order, 1), np.take_along_axis(inside, order, 1)
        d, r = np.take_along_axis(d, order[:, :, None], 1), np.take_along_axis(r, order, 1)
        r = np.where(inside, r, 0.9 * CUTOFF)
        energies, g = _energies(d / r[:, :, None], r, inside)
        forces = g.sum(axis=1)
        flat = j.ravel()
        for c in range(3):
            forces[:, c] -= np.bincount(flat, g[:, :, c].ravel(), n)
        total = -np.einsum("nka,nkb->ab", d * inside[:, :, None], g) if virial else None
        if not atomic:
            return Forces(float(energies.sum()), forces, total)
        outer = -(d[:, :, :, None] * g[:, :, None, :]).reshape(-1, 9)
        virials = np.stack([np.bincount(flat, outer[:, c], n) for c in range(9)], axis=1).reshape(n, 3, 3)
        return Forces(float(energies.sum()), forces, total, energies, virials)


def _energies(u: FloatArray, r: FloatArray, inside: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Return atomic energies (n,) and their gradients with respect to ``r_ij``, (n, width, 3)."""
    gap = r - CUTOFF
    screen = np.exp(SIGMA / gap)
    power = B * (SIGMA / r) ** P
    pair = np.where(inside, 0.5 * A * EPSILON * (power - 1.0) * screen, 0.0)
    slope = 0.5 * A * EPSILON * screen * (-P * power / r - (power - 1.0) * SIGMA / gap**2)
    h = np.where(inside, np.exp(GAMMA * SIGMA / gap), 0.0)
    h_slope = -h * GAMMA * SIGMA / gap**2
    q = np.einsum("nka,nla->nkl", u, u) + 1.0 / 3.0
    q[:, np.arange(r.shape[1]), np.arange(r.shape[1])] = 0.0
    strength = LAMBDA * EPSILON
    around = np.einsum("nl,nkl->nk", h, q * q)
    three = 0.5 * strength * (h * around).sum(axis=1)
    turn = 2.0 * strength * h[:, :, None] * np.einsum("nl,nkl,nla->nka", h, q, u)
    turn -= u * np.einsum("nka,nka->nk", u, turn)[:, :, None]
    along = np.where(inside, slope, 0.0) + strength * h_slope * around
    return pair.sum(axis=1) + three, along[:, :, None] * u + turn / r[:, :, None]
