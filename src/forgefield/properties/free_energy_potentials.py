"""Force fields on the way from a reference to a potential: springs, soft repulsion, mixtures, scaled energies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray
from vesin import NeighborList

from forgefield.errors import ConfigError, StructureError
from forgefield.graph import checked_geometry
from forgefield.properties.dynamics_forces import ForceField, Forces

__all__ = ["EinsteinSprings", "Mixture", "PairLaw", "Repulsion", "Scaled", "soft_core", "uhlenbeck_ford"]

FloatArray = NDArray[np.float64]


class EinsteinSprings:
    """Atoms on springs whose lattice floats: the energy does not change when the crystal moves as a whole.

    ``U = sum_i k_i |u_i - ubar|^2 / 2`` with ``u_i`` the displacement from the site and ``ubar`` the mean of all
    displacements weighted with k, so that the springs pull nothing as a whole.

    Parameters
    ----------
    sites : (n_atoms, 3) [Å]
        In the same images as the positions will be.
    springs : float or (n_atoms,) [eV/Å^2]

    Raises
    ------
    ConfigError
        A spring constant is not positive.
    """

    def __init__(self, sites: ArrayLike, springs: ArrayLike) -> None:
        self.sites = np.array(sites, dtype=np.float64)
        self.springs = np.broadcast_to(np.asarray(springs, dtype=np.float64), (len(self.sites),)).copy()
        if not (self.springs > 0).all():
            raise ConfigError(f"spring constants must be > 0 eV/Å^2, got a smallest of {self.springs.min()}")

    def displacements(self, positions: FloatArray) -> FloatArray:
        """Return displacements (n_atoms, 3) [Å] from the sites of the floating lattice."""
        u = positions - self.sites
        floating: FloatArray = u - (self.springs @ u) / self.springs.sum()
        return floating

    def evaluate(
        self,
        positions: FloatArray,
        cell: FloatArray,  # noqa: ARG002 - springs see no cell
        *,
        virial: bool = False,
        atomic: bool = False,
    ) -> Forces:
        """Compute; see `ForceField`. The virial is that of sites which strain with the cell."""
        u = self.displacements(positions)
        forces = -self.springs[:, None] * u
        energies = 0.5 * self.springs * (u * u).sum(axis=1)
        total = forces.T @ u if virial else None
        return Forces(float(energies.sum()), forces, total, energies if atomic else None)

    def reset(self) -> None:
        """Forget nothing: there are no neighbours."""


PairLaw = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""From squared distances [Å^2] to pair energies [eV] and their derivatives with respect to the squared distance."""


@dataclass(frozen=True)
class _Law:
    """A pair energy and its derivative with respect to the squared distance, both functions of it [eV, eV/Å^2]."""

    kind: str
    strength: float
    length: float
    exponent: int = 12

    def __call__(self, squared: FloatArray) -> tuple[FloatArray, FloatArray]:
        s = squared / self.length**2
        if self.kind == "soft-core":
            energy = self.strength * s ** (-0.5 * self.exponent)
            return energy, -0.5 * self.exponent * energy / squared
        gauss = np.exp(-s)
        return -self.strength * np.log1p(-gauss), -self.strength * gauss / -np.expm1(-s) / self.length**2


class Repulsion:
    """A sum over pairs of a repulsion, cut off and shifted to zero at the cutoff, the same for all elements.

    Parameters
    ----------
    atoms : ase.Atoms
        Periodicity and number of atoms.
    law : PairLaw
    cutoff : float [Å]
        May exceed half the cell: images are counted.
    skin : float [Å]
        Reach of the pair list beyond the cutoff.
    """

    def __init__(self, atoms: Atoms, law: PairLaw, cutoff: float, *, skin: float = 1.0) -> None:
        self.law, self.cutoff, self.skin = law, float(cutoff), float(skin)
        self._atoms = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        self._shift = float(law(np.array([self.cutoff**2]))[0][0])
        self.reset()

    def reset(self) -> None:
        """Forget the pair list."""
        self._made_for: tuple[FloatArray, FloatArray] | None = None
        self._list: tuple[NDArray[np.int64], NDArray[np.int64], FloatArray] | None = None

    def evaluate(
        self, positions: FloatArray, cell: FloatArray, *, virial: bool = False, atomic: bool = False
    ) -> Forces:
        """Compute; see `ForceField`."""
        i, j, shifts = self._pairs(positions, cell)
        columns = np.ascontiguousarray(positions.T)
        vectors = columns.take(j, axis=1)
        vectors -= columns.take(i, axis=1)
        vectors += shifts
        squared = np.einsum("kp,kp->p", vectors, vectors)
        if squared.size and not squared.min() > 0.0:
            same = int(np.argmin(squared))
            raise StructureError(
                f"atoms {i[same]} and {j[same]} are at the same place; check the input structure"
            )
        near = np.flatnonzero(squared < self.cutoff**2)
        i, j, vectors, squared = i[near], j[near], vectors.take(near, axis=1), squared[near]
        energy, slope = self.law(squared)
        pull = 2.0 * slope * vectors  # dE/dr_ij
        n = len(positions)
        forces = np.empty((n, 3))
        for k in range(3):
            forces[:, k] = np.bincount(i, pull[k], n) - np.bincount(j, pull[k], n)
        energy = energy - self._shift
        total = -(vectors @ pull.T) if virial else None
        if not atomic:
            return Forces(float(energy.sum()), forces, total)

        def halved(values: FloatArray) -> FloatArray:
            return np.asarray(0.5 * (np.bincount(i, values, n) + np.bincount(j, values, n)), dtype=np.float64)

        outer = -(vectors[:, None, :] * pull[None, :, :]).reshape(9, -1)
        virials = np.stack([halved(row) for row in outer], axis=1).reshape(n, 3, 3)
        return Forces(float(energy.sum()), forces, total, halved(energy), virials)

    def _pairs(
        self, positions: FloatArray, cell: FloatArray
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
        if self._made_for is not None and self._list is not None:
            before, cell_before = self._made_for
            moved = float(((positions - before) ** 2).sum(axis=1).max())
            if np.array_equal(cell, cell_before) and moved < (0.5 * self.skin) ** 2:
                return self._list
        self._atoms.positions[:] = positions
        self._atoms.cell.array[:] = cell
        places, box, pbc = checked_geometry(self._atoms)
        every_pair_once = NeighborList(
            cutoff=self.cutoff + self.skin, full_list=False, sorted=True, n_threads=1
        )
        first, second, images = every_pair_once.compute(
            points=places, box=box, periodic=list(map(bool, pbc)), quantities="ijS"
        )
        i, j = first.astype(np.int64), second.astype(np.int64)
        shifts = np.ascontiguousarray((images.astype(np.float64) @ cell).T)
        self._list = (i, j, shifts)
        self._made_for = (positions.copy(), np.array(cell))
        return self._list


def soft_core(
    atoms: Atoms, strength: float, length: float, exponent: int = 12, cutoff: float | None = None
) -> Repulsion:
    """Return the soft core of paper 5, equation (7): ``sum_{i<j} mu (sigma / r_ij)^n``.

    Parameters
    ----------
    atoms : ase.Atoms
    strength : float [eV]
        mu.
    length : float [Å]
        sigma.
    exponent : int
        n.
    cutoff : float [Å], optional
        Default: where the energy of a pair has fallen to 1e-4 eV.
    """
    if not strength > 0 or not length > 0 or exponent < 4:
        raise ConfigError(
            f"a soft core needs mu > 0, sigma > 0, n >= 4, got {strength}, {length}, {exponent}"
        )
    if cutoff is None:
        cutoff = length * max(strength / 1e-4, 1.2) ** (1.0 / exponent)
    return Repulsion(atoms, _Law("soft-core", strength, length, exponent), cutoff)


def uhlenbeck_ford(atoms: Atoms, p: float, length: float, thermal: float) -> Repulsion:
    """Return the Uhlenbeck-Ford model: ``-p k T sum_{i<j} ln(1 - exp(-(r_ij / sigma)^2))``.

    Parameters
    ----------
    atoms : ase.Atoms
    p : float
        Strength, typically 1 to 100.
    length : float [Å]
        sigma.
    thermal : float [eV]
        k T.

    Notes
    -----
    Source: R. Paula Leite, R. Freitas, R. Azevedo and M. de Koning, J. Chem. Phys. 145, 194101 (2016). Cut off where
    a pair has 1e-6 k T left.
    """
    if not p > 0 or not length > 0 or not thermal > 0:
        raise ConfigError(f"the Uhlenbeck-Ford model needs p, sigma, kT > 0, got {p}, {length}, {thermal}")
    cutoff = length * math.sqrt(math.log(p / 1e-6))
    return Repulsion(atoms, _Law("uhlenbeck-ford", p * thermal, length), cutoff, skin=0.5 * length)


class Mixture:
    """``U(lambda) = lambda U_1 + (1 - lambda) U_0``; equation (5) of paper 5.

    Parameters
    ----------
    start, end : ForceField or None
        U_0 and U_1; None is no interaction at all (the ideal gas).
    coupling : float
        lambda; may be set between evaluations.

    Attributes
    ----------
    difference : float [eV]
        ``dU/dlambda = U_1 - U_0`` at the last evaluation.
    """

    def __init__(self, start: ForceField | None, end: ForceField | None, coupling: float = 0.0) -> None:
        if start is None and end is None:
            raise ConfigError("a mixture needs at least one force field")
        self.start, self.end, self.coupling, self.difference = start, end, coupling, 0.0

    def evaluate(
        self,
        positions: FloatArray,
        cell: FloatArray,
        *,
        virial: bool = False,
        atomic: bool = False,  # noqa: ARG002 - no path needs atomic energies
    ) -> Forces:
        """Compute; see `ForceField`."""
        parts = ((1.0 - self.coupling, self.start), (self.coupling, self.end))
        energy, forces = 0.0, np.zeros_like(positions)
        total = np.zeros((3, 3)) if virial else None
        self.difference = 0.0
        for (weight, field), sign in zip(parts, (-1.0, 1.0), strict=True):
            if field is None:
                continue
            result = field.evaluate(positions, cell, virial=virial)
            energy += weight * result.energy
            forces += weight * result.forces
            self.difference += sign * result.energy
            if total is not None and result.virial is not None:
                total += weight * result.virial
        return Forces(energy, forces, total)

    def reset(self) -> None:
        """Forget neighbour lists."""
        for field in (self.start, self.end):
            if field is not None:
                field.reset()


class Scaled:
    """``s U``: at temperature T what U is at T / s (reversible scaling).

    Parameters
    ----------
    field : ForceField
    scale : float
        s; may be set between evaluations.

    Attributes
    ----------
    energy : float [eV]
        U, not scaled, at the last evaluation.
    """

    def __init__(self, field: ForceField, scale: float = 1.0) -> None:
        self.field, self.scale, self.energy = field, scale, 0.0

    def evaluate(
        self,
        positions: FloatArray,
        cell: FloatArray,
        *,
        virial: bool = False,
        atomic: bool = False,  # noqa: ARG002 - no path needs atomic energies
    ) -> Forces:
        """Compute; see `ForceField`."""
        result = self.field.evaluate(positions, cell, virial=virial)
        self.energy = result.energy
        total = None if result.virial is None else self.scale * result.virial
        return Forces(self.scale * result.energy, self.scale * result.forces, total)

    def reset(self) -> None:
        """Forget neighbour lists."""
        self.field.reset()
