"""What a crystal's free energy lacks because the cell is finite, from its vibrations at wave vectors in between."""

from __future__ import annotations

import itertools

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from forgefield.errors import StructureError
from forgefield.properties.dynamics_forces import ForceField
from forgefield.properties.free_energy_reference import (
    harmonic_crystal_free_energy,
    lattice_translations,
    log_thermal_wavelengths,
)

__all__ = ["finite_size_correction", "supercell_hessian"]

FloatArray = NDArray[np.float64]

FINE_MESH, COARSE_MESH, LARGE = 4, 2, 100
"""Wave vectors along each axis of the supercell's Brillouin zone, coarse for more atoms than `LARGE`."""


def supercell_hessian(atoms: Atoms, field: ForceField, step: float = 0.01) -> FloatArray:
    """Return second derivatives (n_atoms, 3, n_atoms, 3) [eV/Å^2] by central differences.

    One atom of every kind that translations do not map onto another is moved; the rest follows. The sums over rows
    are made zero: nothing changes when the crystal moves.

    Parameters
    ----------
    atoms : ase.Atoms
        On its ideal sites.
    field : ForceField
    step : float [Å]
    """
    n, cell = len(atoms), atoms.cell.array
    permutations = lattice_translations(atoms)
    hessian = np.zeros((n, 3, n, 3))
    done = np.zeros(n, dtype=bool)
    field.reset()
    for i in range(n):
        if done[i]:
            continue
        rows = np.zeros((3, n, 3))
        for axis in range(3):
            for sign in (1.0, -1.0):
                positions = atoms.positions.copy()
                positions[i, axis] += sign * step
                rows[axis] -= sign * field.evaluate(positions, cell).forces / (2.0 * step)
        for permutation in permutations:
            hessian[permutation[i]][:, permutation, :] = rows
            done[permutation[i]] = True
    hessian = 0.5 * (hessian + hessian.transpose(2, 3, 0, 1))
    field.reset()
    diagonal = np.arange(n)
    hessian[diagonal, :, diagonal, :] -= hessian.sum(axis=2)
    return hessian


def finite_size_correction(
    atoms: Atoms, field: ForceField, temperature: float, lattice_volume: float
) -> float:
    """Return ``F(infinite) - F(this cell)`` per atom [eV] of the harmonic crystal.

    Parameters
    ----------
    atoms : ase.Atoms
        On its ideal sites.
    field : ForceField
        Its forces should reach no farther than half the cell.
    temperature : float [K]
    lattice_volume : float [Å^3]
        Volume per lattice point.

    Raises
    ------
    StructureError
        The crystal is unstable on these sites, so that there is no harmonic free energy.

    Notes
    -----
    Vibrations of the infinite crystal are those of the cell with phases between its images, ``H(Q)_ij = H_ij exp(i Q
    R_ij)`` with R_ij the nearest image (the mean over those equally near). Averaging ``k T sum_j ln(h_j / 2 pi k T) / 2``
    over a mesh of Q that leaves out zero converges fast. The logarithm of the number of atoms, and the motion as a
    whole, are thereby gone. The anharmonic part of the correction is neglected.
    """
    n, masses = len(atoms), atoms.get_masses()
    thermal = float(units.kB * temperature)
    hessian = supercell_hessian(atoms, field)
    finite = harmonic_crystal_free_energy(hessian.reshape(3 * n, 3 * n), masses, temperature, lattice_volume)
    mesh = FINE_MESH if n <= LARGE else COARSE_MESH
    grid = (np.arange(mesh) + 0.5) / mesh - 0.5
    logs = []
    images = _nearest_images(atoms)
    for q in itertools.product(grid, repeat=3):
        if q < (0.0, 0.0, 0.0):  # -Q has the same frequencies
            continue
        matrix = (hessian * _phases(images, np.array(q), n)[:, None, :, None]).reshape(3 * n, 3 * n)
        eigenvalues = np.linalg.eigvalsh(matrix)
        if eigenvalues[0] <= 0.0:
            raise StructureError(
                f"the crystal is unstable on its sites (a mode of {eigenvalues[0]:.3g} eV/Å^2): no harmonic free energy"
            )
        logs.append(0.5 * float(np.log(eigenvalues / (2.0 * np.pi * thermal)).sum()))
    infinite = thermal * (log_thermal_wavelengths(masses, temperature) + float(np.mean(logs)))
    return (infinite - finite) / n


def _nearest_images(atoms: Atoms) -> list[tuple[NDArray[np.int64], FloatArray]]:
    """Return, for every atom, the shifts (n_atoms, 27, 3) tried and the weights of those that are nearest."""
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    scaled = atoms.cell.scaled_positions(atoms.positions)
    found = []
    for i in range(len(atoms)):
        difference = scaled - scaled[i]
        base = -np.round(difference).astype(np.int64)
        all_shifts = base[:, None, :] + shifts[None, :, :]
        vectors = (difference[:, None, :] + all_shifts) @ atoms.cell.array
        lengths = np.sqrt((vectors**2).sum(axis=2))
        near = lengths < lengths.min(axis=1, keepdims=True) + 1e-3
        found.append((all_shifts, near / near.sum(axis=1, keepdims=True)))
    return found


def _phases(
    images: list[tuple[NDArray[np.int64], FloatArray]], q: FloatArray, n: int
) -> NDArray[np.complex128]:
    phases = np.empty((n, n), dtype=np.complex128)
    for i, (shifts, weights) in enumerate(images):
        phases[i] = (weights * np.exp(2j * np.pi * (shifts @ q))).sum(axis=1)
    return phases
