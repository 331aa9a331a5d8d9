"""Free energies in closed form: the ideal gas, the Einstein crystal, the harmonic crystal."""

from __future__ import annotations

import math

import numpy as np
from ase import Atoms, units
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from scipy.special import gammaln

from forgefield.errors import ConfigError, StructureError

__all__ = [
    "einstein_crystal_free_energy",
    "harmonic_crystal_free_energy",
    "ideal_gas_free_energy",
    "lattice_translations",
    "log_thermal_wavelengths",
    "n_lattice_points",
    "volume_per_lattice_point",
]

FloatArray = NDArray[np.float64]

PLANCK = float(units._hplanck * units.J * units.s)  # noqa: SLF001 - the name ASE gives the constant
"""Planck's constant in eV times ASE's unit of time, Å sqrt(amu/eV)."""


def log_thermal_wavelengths(masses: ArrayLike, temperature: float) -> float:
    """Return the sum over atoms of ``3 ln(Lambda_i / Å)`` with ``Lambda = h / sqrt(2 pi m k T)``.

    Parameters
    ----------
    masses : (n_atoms,) [amu]
    temperature : float [K]

    Raises
    ------
    ConfigError
        A mass or the temperature is not positive.
    """
    m = np.asarray(masses, dtype=np.float64)
    if not temperature > 0 or not (m > 0).all():
        raise ConfigError(
            f"temperature and masses must be > 0, got {temperature} K and a smallest mass of {m.min()} amu"
        )
    wavelengths = PLANCK / np.sqrt(2.0 * np.pi * m * units.kB * temperature)
    return float(3.0 * np.log(wavelengths).sum())


def ideal_gas_free_energy(numbers: ArrayLike, masses: ArrayLike, volume: float, temperature: float) -> float:
    """Return the Helmholtz free energy [eV] of the ideal gas.

    ``F = k T [sum_i 3 ln Lambda_i + sum_species ln N_s! - N ln V]``; the factorials are exact, not Stirling's.

    Parameters
    ----------
    numbers : (n_atoms,)
        Atomic numbers; atoms of one are indistinguishable.
    masses : (n_atoms,) [amu]
    volume : float [Å^3]
    temperature : float [K]
    """
    if not volume > 0:
        raise ConfigError(f"the volume of an ideal gas must be > 0 Å^3, got {volume}")
    z = np.asarray(numbers)
    _, counts = np.unique(z, return_counts=True)
    permutations = float(gammaln(counts + 1.0).sum())
    log_z = log_thermal_wavelengths(masses, temperature) + permutations - len(z) * math.log(volume)
    return float(units.kB * temperature * log_z)


def einstein_crystal_free_energy(
    springs: ArrayLike, masses: ArrayLike, temperature: float, lattice_volume: float | None
) -> float:
    """Return the classical Helmholtz free energy [eV] of an Einstein crystal.

    Every atom hangs on a spring ``k_i |u_i|^2 / 2``. With `lattice_volume` the lattice of the springs floats: the
    energy is ``sum_i k_i |u_i - ubar|^2 / 2`` with ``ubar = sum_i k_i u_i / sum_i k_i``, which does not change when
    the crystal moves as a whole, and the free energy of that motion is part of the result::

        F = sum_i 3 k T ln(hbar omega_i / k T)  -  k T ln[ v (sum_i k_i / 2 pi k T)^(3/2) ]

    with ``omega_i = sqrt(k_i / m_i)``. For equal springs the second term is the correction of Polson et al. for the
    fixed centre of mass, with v = V/N for one atom per lattice point.

    Parameters
    ----------
    springs : (n_atoms,) [eV/Å^2]
    masses : (n_atoms,) [amu]
    temperature : float [K]
    lattice_volume : float [Å^3], optional
        Volume v per point of the lattice (`volume_per_lattice_point`); None: the lattice is fixed in space.

    Notes
    -----
    Source: D. Frenkel and A. J. C. Ladd, J. Chem. Phys. 81, 3188 (1984); J. M. Polson, E. Trizac, S. Pronk and
    D. Frenkel, J. Chem. Phys. 112, 5339 (2000).
    """
    k = np.asarray(springs, dtype=np.float64)
    if not (k > 0).all():
        raise ConfigError(f"spring constants must be > 0 eV/Å^2, got a smallest of {k.min()}")
    thermal = units.kB * temperature
    modes = 1.5 * float(np.log(k / (2.0 * np.pi * thermal)).sum())
    log_z = log_thermal_wavelengths(masses, temperature) + modes
    if lattice_volume is not None:
        log_z -= math.log(lattice_volume) + 1.5 * math.log(float(k.sum()) / (2.0 * np.pi * thermal))
    return float(thermal * log_z)


def harmonic_crystal_free_energy(
    hessian: ArrayLike, masses: ArrayLike, temperature: float, lattice_volume: float
) -> float:
    """Return the classical Helmholtz free energy [eV] of a harmonic crystal, without its static energy.

    Parameters
    ----------
    hessian : (3 n_atoms, 3 n_atoms) [eV/Å^2]
        Second derivatives of the energy, the supercell's (wave vector zero); three eigenvalues are zero.
    masses : (n_atoms,) [amu]
    temperature : float [K]
    lattice_volume : float [Å^3]
        Volume per point of the lattice.

    Raises
    ------
    StructureError
        The crystal is unstable: more or fewer than three eigenvalues are not positive.

    Notes
    -----
    ``F = k T [ sum 3 ln Lambda_i + 1/2 sum' ln(h_j / 2 pi k T) - ln(v N^(3/2)) ]`` over the 3N - 3 positive
    eigenvalues; N^(3/2) is the Jacobian from the normalised translations to the centre of mass.
    """
    h = np.asarray(hessian, dtype=np.float64)
    n_atoms = len(np.asarray(masses))
    if h.shape != (3 * n_atoms, 3 * n_atoms):
        raise ConfigError(
            f"`hessian` must be {(3 * n_atoms, 3 * n_atoms)} for {n_atoms} atoms, got {h.shape}"
        )
    eigenvalues = np.linalg.eigvalsh(0.5 * (h + h.T))
    stiff = eigenvalues[eigenvalues > 1e-6 * eigenvalues[-1]]
    if len(stiff) != 3 * n_atoms - 3:
        raise StructureError(
            f"a stable crystal has 3 soft modes (its translations), this one {3 * n_atoms - len(stiff)}; the "
            f"lowest eigenvalue of the Hessian is {eigenvalues[0]:.3g} eV/Å^2; relax the structure"
        )
    thermal = units.kB * temperature
    log_z = log_thermal_wavelengths(masses, temperature)
    log_z += 0.5 * float(np.log(stiff / (2.0 * np.pi * thermal)).sum())
    log_z -= math.log(lattice_volume) + 1.5 * math.log(n_atoms)
    return float(thermal * log_z)


def lattice_translations(atoms: Atoms, tolerance: float = 0.1) -> list[NDArray[np.int64]]:
    """Return the translations that map the crystal onto itself, within one period of the cell.

    Parameters
    ----------
    atoms : ase.Atoms
        On its ideal sites.
    tolerance : float [Å]
        Distance below which two sites are one.

    Returns
    -------
    list of (n_atoms,)
        Which atom each atom is moved to.
    """
    scaled = np.mod(atoms.cell.scaled_positions(atoms.positions), 1.0) % 1.0
    species, counts = np.unique(atoms.numbers, return_counts=True)
    rarest = np.flatnonzero(atoms.numbers == species[counts.argmin()])
    members = [np.flatnonzero(atoms.numbers == z) for z in species]
    trees = [cKDTree(scaled[chosen], boxsize=1.0) for chosen in members]
    reach = tolerance / float(atoms.cell.lengths().min())
    found = []
    for j in rarest:
        moved = np.mod(scaled + (scaled[j] - scaled[rarest[0]]), 1.0) % 1.0
        permutation = np.full(len(atoms), -1, dtype=np.int64)
        for chosen, tree in zip(members, trees, strict=True):
            distance, index = tree.query(moved[chosen], distance_upper_bound=reach)
            if not np.isfinite(distance).all():
                break
            permutation[chosen] = chosen[index]
        if (permutation >= 0).all():
            found.append(permutation)
    return found


def n_lattice_points(atoms: Atoms, tolerance: float = 0.1) -> int:
    """Return how many translations map the crystal onto itself within one period of the cell."""
    return len(lattice_translations(atoms, tolerance))


def volume_per_lattice_point(atoms: Atoms) -> float:
    """Return the volume [Å^3] in which a crystal can move as a whole before it repeats itself.

    That is the volume of its primitive cell: any further translation is the same as an exchange of like atoms,
    which the factorials of the partition function count already.
    """
    return float(atoms.get_volume()) / n_lattice_points(atoms)
