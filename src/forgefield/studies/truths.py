"""Potentials whose answers are the truth of a closed loop: asked for anything, at once, without another program."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from forgefield.graph import neighbour_pairs
from forgefield.properties.calculators import find_calculator

__all__ = ["TRUTHS", "LennardJones", "StillingerWeber", "Truth", "find_truth", "sums"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Truth(Calculator):  # type: ignore[misc]
    """An ASE calculator made of atomic energies and their derivatives with respect to vectors to neighbours."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress"]
    cutoff: float

    @abstractmethod
    def terms(self, i: IntArray, vectors: FloatArray, n_atoms: int) -> tuple[FloatArray, FloatArray]:
        """Return atomic energies (n_atoms,) [eV] and derivatives (n_pairs, 3) [eV/Å] of the sum of all.

        Parameters
        ----------
        i : (n_pairs,)
            Centres, sorted; every pair occurs in both directions.
        vectors : (n_pairs, 3) [Å]
            To the neighbours.
        n_atoms : int
        """

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute everything; see ASE."""
        Calculator.calculate(self, atoms, properties or self.implemented_properties, system_changes)
        n, volume = len(self.atoms), self.atoms.get_volume() if self.atoms.cell.rank == 3 else None
        i, j, _, vectors = neighbour_pairs(self.atoms, self.cutoff)
        energies, slopes = self.terms(i, vectors, n)
        forces = sums(i, slopes, n) - sums(j, slopes, n)
        total = float(energies.sum())
        self.results = {"energy": total, "free_energy": total, "energies": energies, "forces": forces}
        if volume:
            outer = sums(i, (vectors[:, :, None] * slopes[:, None, :]).reshape(-1, 9), n).reshape(-1, 3, 3)
            stresses = full_3x3_to_voigt_6_stress(0.5 * (outer + outer.transpose(0, 2, 1))) / volume
            self.results["stress"] = stresses.sum(axis=0)
            if "stresses" in self.implemented_properties:
                self.results["stresses"] = stresses


def sums(index: IntArray, values: FloatArray, n: int) -> FloatArray:
    """Return the sums of rows with the same index, (n, columns)."""
    columns = values.shape[1]
    where = (index[:, None] * columns + np.arange(columns)).ravel()
    return _binned(where, values.ravel(), n * columns).reshape(n, columns)


def _binned(index: IntArray, values: FloatArray, n: int) -> FloatArray:
    found: FloatArray = np.bincount(index, values, n).astype(np.float64, copy=False)
    return found


class LennardJones(Truth):
    """Pairs ``4 epsilon ((sigma/r)^12 - (sigma/r)^6) s(r)``; s falls smoothly from 1 at `start` to 0 at `cutoff`.

    Parameters
    ----------
    epsilon : float [eV]
    sigma, start, cutoff : float [Å]

    Notes
    -----
    ``s = (c - x)^2 (c + 2 x - 3 b) / (c - b)^3`` in ``x = r^2``, with the squares b and c of both ends.
    """

    implemented_properties: ClassVar[list[str]] = [*Truth.implemented_properties, "stresses"]

    def __init__(
        self, epsilon: float = 0.010323, sigma: float = 3.405, start: float = 6.0, cutoff: float = 8.0
    ) -> None:
        super().__init__()
        self.epsilon, self.sigma, self.start, self.cutoff = epsilon, sigma, start, cutoff

    def terms(self, i: IntArray, vectors: FloatArray, n_atoms: int) -> tuple[FloatArray, FloatArray]:
        """See `Truth.terms`."""
        x = np.einsum("pa,pa->p", vectors, vectors)
        b, c = self.start**2, self.cutoff**2
        sixth = (self.sigma**2 / x) ** 3
        pair = 4.0 * self.epsilon * sixth * (sixth - 1.0)
        slope = -12.0 * self.epsilon * sixth * (2.0 * sixth - 1.0) / x
        outside = x > b
        s = np.where(outside, (c - x) ** 2 * (c + 2.0 * x - 3.0 * b) / (c - b) ** 3, 1.0)
        ds = np.where(outside, 6.0 * (c - x) * (b - x) / (c - b) ** 3, 0.0)
        energies = _binned(i, 0.5 * pair * s, n_atoms)
        return energies, (slope * s + pair * ds)[:, None] * vectors  # half the pair, twice d(r^2)/dr


class StillingerWeber(Truth):
    """Silicon by F. H. Stillinger and T. A. Weber, Phys. Rev. B 31, 5262 (1985); energy scale 2.1683 eV.

    Notes
    -----
    ``A (B rho^-4 - 1) exp(1 / (rho - a))`` for pairs, ``lambda (cos + 1/3)^2 exp(gamma / (rho_1 - a) + gamma / (rho_2 -
    a))`` for angles, in units of the energy scale, with distances ``rho`` in units of sigma = 2.0951 Å.
    """

    energy, sigma, reach = 2.1683, 2.0951, 1.8
    a, b, strength, gamma = 7.049556277, 0.6022245584, 21.0, 1.2
    cutoff = 1.8 * 2.0951 - 1e-9

    def terms(self, i: IntArray, vectors: FloatArray, n_atoms: int) -> tuple[FloatArray, FloatArray]:
        """See `Truth.terms`."""
        r = np.sqrt(np.einsum("pa,pa->p", vectors, vectors))
        units = vectors / r[:, None]
        rho = r / self.sigma
        gap = 1.0 / (rho - self.reach)
        fade = np.exp(gap)
        core = self.b * rho**-4
        half = 0.5 * self.energy * self.a * fade
        energies = _binned(i, half * (core - 1.0), n_atoms)
        slope = half * (-4.0 * core / rho - (core - 1.0) * gap**2) / self.sigma
        slopes = slope[:, None] * units
        p, q = _twins(i)
        if len(p) == 0:
            return energies, slopes
        cosine = np.einsum("ta,ta->t", units[p], units[q])
        off = cosine + 1.0 / 3.0
        h = np.exp(self.gamma * gap)
        dh = -self.gamma * gap**2 * h / self.sigma
        scale = self.energy * self.strength
        energies += _binned(i[p], scale * off**2 * h[p] * h[q], n_atoms)
        turn = 2.0 * scale * off * h[p] * h[q]
        stretch = scale * off**2
        for one, other in ((p, q), (q, p)):
            sideways = (units[other] - cosine[:, None] * units[one]) / r[one][:, None]
            along = (stretch * dh[one] * h[other])[:, None] * units[one]
            slopes += sums(one, turn[:, None] * sideways + along, len(r))
        return energies, slopes


def _twins(i: IntArray) -> tuple[IntArray, IntArray]:
    """Return all pairs of entries with the same centre, every one once; `i` is sorted."""
    first, second = [], []
    for step in range(1, len(i)):
        found = np.flatnonzero(i[:-step] == i[step:])
        if len(found) == 0:
            break
        first.append(found)
        second.append(found + step)
    if not first:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty
    return np.concatenate(first), np.concatenate(second)


TRUTHS: dict[str, type[Truth]] = {"argon": LennardJones, "silicon-sw": StillingerWeber}
"""By name."""


def find_truth(what: str) -> Any:
    """Return one of `TRUTHS`, or what `find_calculator` finds."""
    return TRUTHS[what]() if what in TRUTHS else find_calculator(what)
