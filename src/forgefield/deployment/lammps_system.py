"""A structure as LAMMPS sees it: its axes, its atom types, its units.

LAMMPS wants a along x and b in the xy plane, so atoms are turned, and what comes back is turned again. It wants cells that
are not too skewed ("tilted box too far" ends a run at constant pressure), so it gets the least skewed cell of the same lattice. Its constants of
``units metal`` have eight digits. Masses and temperatures are scaled by what is missing, so that forces accelerate atoms
as they do here and kT is the same: trajectories then agree to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.data import chemical_symbols
from numpy.typing import NDArray

from forgefield.engine.restricted import restricted
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential

__all__ = ["BAR_PER_EV_A3", "PER_PS", "LammpsSystem", "lammps_temperature", "of_elements"]

FloatArray = NDArray[np.float64]

PER_PS = 1000.0 * units.fs
"""ASE's velocities times this are Å/ps."""

BAR_PER_EV_A3 = 1.6021765e6
EV_PER_MASS_SPEED = 1.0364269e-4
EV_PER_K = 8.617343e-5
"""LAMMPS's own constants of units metal: pressure, kinetic energy of 1 amu at 1 Å/ps (twice it), Boltzmann's."""


def lammps_temperature(temperature: float) -> float:
    """Return the temperature [K] at which LAMMPS's kT is ours."""
    return temperature * float(units.kB) / EV_PER_K


@dataclass(frozen=True)
class LammpsSystem:
    """A structure as LAMMPS sees it.

    Attributes
    ----------
    turn : (3, 3) array
        Rows of vectors here are those there times `turn`.
    steps : (3, 3) array of whole numbers
        ``steps @ cell = lower @ turn``: the vectors of the lower triangular cell there, counted in those here.
    types : (n_atoms,) int
        From 1 on; atoms of one type share element and mass.
    elements : list of str
    masses : list of float
        [amu], as they are here.
    """

    turn: FloatArray
    steps: FloatArray
    types: NDArray[np.int64]
    elements: list[str]
    masses: list[float]

    @classmethod
    def of(cls, atoms: Atoms) -> LammpsSystem:
        """Return the system of a structure with a cell."""
        q, r = np.linalg.qr(atoms.cell.array.T)
        signs = np.sign(np.diag(r))
        pairs = list(zip(atoms.numbers.tolist(), atoms.get_masses().tolist(), strict=True))
        kinds = sorted(set(pairs))
        index = {kind: n + 1 for n, kind in enumerate(kinds)}
        types = np.array([index[pair] for pair in pairs])
        turn = np.ascontiguousarray((q * signs).T)
        return cls(
            turn,
            _least_skewed(atoms.cell.array @ turn.T),
            types,
            [chemical_symbols[z] for z, _ in kinds],
            [mass for _, mass in kinds],
        )

    def lower(self, cell: FloatArray) -> FloatArray:
        """Return the cell there (3, 3) [Å], lower triangular, of one here."""
        lower: FloatArray = np.tril(self.steps @ cell @ self.turn.T)
        return lower

    def cell(self, lower: FloatArray) -> FloatArray:
        """Return the cell here (3, 3) [Å] of one there."""
        cell: FloatArray = np.linalg.inv(self.steps).round() @ lower @ self.turn
        return cell

    def data(self, atoms: Atoms) -> str:
        """Return the structure with its velocities as a data file."""
        lower = self.lower(atoms.cell.array)
        positions = atoms.positions @ self.turn.T
        velocities = atoms.get_velocities() @ self.turn.T * PER_PS
        unit = 1.0 / (PER_PS**2 * EV_PER_MASS_SPEED)
        lines = ["written by forgefield", "", f"{len(atoms)} atoms", f"{len(self.masses)} atom types", ""]
        lines += [f"0 {float(lower[n, n])!r} {axis}lo {axis}hi" for n, axis in enumerate("xyz")]
        tilts = " ".join(repr(float(lower[n])) for n in ((1, 0), (2, 0), (2, 1)))
        lines += [f"{tilts} xy xz yz", "", "Masses", ""]
        lines += [f"{n + 1} {mass * unit!r}" for n, mass in enumerate(self.masses)]
        lines += ["", "Atoms # atomic", ""]
        for n, (kind, r) in enumerate(zip(self.types, positions.tolist(), strict=True)):
            lines.append(f"{n + 1} {kind} {r[0]!r} {r[1]!r} {r[2]!r}")
        lines += ["", "Velocities", ""]
        lines += [f"{n + 1} {v[0]!r} {v[1]!r} {v[2]!r}" for n, v in enumerate(velocities.tolist())]
        return "\n".join(lines) + "\n"

    def pressure(self, found: Sequence[float]) -> FloatArray:
        """Return a pressure tensor (3, 3) [eV/Å^3] here from six components there [bar]: xx yy zz xy xz yz."""
        xx, yy, zz, xy, xz, yz = (p / BAR_PER_EV_A3 for p in found)
        there = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        turned: FloatArray = self.turn.T @ there @ self.turn
        return turned


def _least_skewed(lower: FloatArray) -> FloatArray:
    """Return by which vectors, counted in those of a lower triangular cell (3, 3), the same lattice leans least."""
    steps, cell = np.eye(3), lower.copy()
    for n, along in ((1, 0), (2, 1), (2, 0)):
        times = np.round(cell[n, along] / cell[along, along] * (1.0 - 1e-9))  # exactly half stays as it is
        cell[n] -= times * cell[along]
        steps[n] -= times * steps[along]
    return steps


def of_elements(potential: Potential | Committee, atoms: Atoms) -> Potential | Committee:
    """Return the potential for the elements of a structure: its kernels need not look for others."""
    if isinstance(potential, Committee):
        return Committee(_single_of_elements(member, atoms) for member in potential.members)
    return _single_of_elements(potential, atoms)


def _single_of_elements(potential: Potential, atoms: Atoms) -> Potential:
    present = tuple(np.unique(atoms.numbers).tolist())
    if present == potential.species or not potential.descriptor.restrictable:
        return potential
    return restricted(potential, present)
