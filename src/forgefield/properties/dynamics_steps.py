"""The pieces that integrators are made of: first velocities, bath, velocity rescaling, cell rescaling."""

from __future__ import annotations

import math

import numpy as np
from ase import units
from numpy.typing import NDArray

__all__ = [
    "bussi_factor",
    "deformation",
    "draw_velocities",
    "langevin_kick",
    "rescaled_length",
    "without_drift",
]

FloatArray = NDArray[np.float64]


def without_drift(velocities: FloatArray, masses: FloatArray) -> FloatArray:
    """Return velocities (n_atoms, 3) relative to that of the centre of mass."""
    moved: FloatArray = velocities - (masses @ velocities) / masses.sum()
    return moved


def draw_velocities(
    masses: FloatArray, temperature: float, rng: np.random.Generator, *, fix_centre: bool = True
) -> FloatArray:
    """Return velocities (n_atoms, 3) [Å per ASE time] from the Maxwell-Boltzmann distribution.

    Parameters
    ----------
    masses : (n_atoms,) [amu]
    temperature : float [K]
    rng : numpy.random.Generator
    fix_centre : bool
        Take out the motion of the centre of mass: the distribution of the 3 n - 3 other degrees of freedom.
    """
    velocities = rng.standard_normal((len(masses), 3)) * np.sqrt(units.kB * temperature / masses)[:, None]
    return without_drift(velocities, masses) if fix_centre and len(masses) > 1 else velocities


def langevin_kick(
    velocities: FloatArray, masses: FloatArray, decay: float, thermal: float, rng: np.random.Generator
) -> FloatArray:
    """Return the exact solution of the Ornstein-Uhlenbeck part of Langevin dynamics.

    Parameters
    ----------
    velocities : (n_atoms, 3)
    masses : (n_atoms,)
    decay : float
        ``exp(-friction * timestep)``.
    thermal : float [eV]
        kT.
    rng : numpy.random.Generator

    Notes
    -----
    Source: B. Leimkuhler and C. Matthews, J. Chem. Phys. 138, 174102 (2013), the step O of BAOAB.
    """
    width = np.sqrt((1.0 - decay * decay) * thermal / masses)[:, None]
    kicked: FloatArray = decay * velocities + width * rng.standard_normal(velocities.shape)
    return kicked


def bussi_factor(
    kinetic: float, freedom: int, thermal: float, decay: float, rng: np.random.Generator
) -> float:
    """Return the factor that velocities are multiplied with in stochastic velocity rescaling.

    Parameters
    ----------
    kinetic : float [eV]
    freedom : int
        Degrees of freedom.
    thermal : float [eV]
        kT.
    decay : float
        ``exp(-timestep / time constant)``.
    rng : numpy.random.Generator

    Notes
    -----
    Source: G. Bussi, D. Donadio, M. Parrinello, J. Chem. Phys. 126, 014101 (2007), eqs. A7 and A8.
    """
    if kinetic <= 0.0:
        return 1.0
    ratio = 0.5 * thermal * (1.0 - decay) / kinetic
    first = float(rng.standard_normal())
    others = 2.0 * float(rng.standard_gamma(0.5 * (freedom - 1))) if freedom > 1 else 0.0
    squared = decay + ratio * (first * first + others) + 2.0 * first * math.sqrt(decay * ratio)
    sign = math.copysign(1.0, first + math.sqrt(decay / ratio)) if ratio > 0.0 else 1.0
    return sign * math.sqrt(max(squared, 0.0))


def rescaled_length(
    volume: float,
    excess_pressure: float,
    thermal: float,
    rate: float,
    rng: np.random.Generator,
) -> float:
    """Return the factor of all lengths in one step of stochastic cell rescaling.

    Parameters
    ----------
    volume : float [Å^3]
    excess_pressure : float [eV/Å^3]
        Internal pressure, with the instantaneous kinetic energy, minus the external one.
    thermal : float [eV]
        kT.
    rate : float [Å^3/eV]
        Compressibility times time step, divided by the time constant.
    rng : numpy.random.Generator

    Notes
    -----
    Source: M. Bernetti and G. Bussi, J. Chem. Phys. 153, 114107 (2020). In ``l = sqrt(V)`` the noise does not depend
    on the volume: ``dl = l b / (2 t) (P - P0 + kT / (2 V)) dt + sqrt(kT b / (2 t)) dW`` samples
    ``exp(-(H + P0 V) / kT) dV`` when momenta are divided by what positions are multiplied with.
    """
    root = math.sqrt(volume)
    drift = 0.5 * root * rate * (excess_pressure + 0.5 * thermal / volume)
    moved = root + drift + math.sqrt(0.5 * thermal * rate) * float(rng.standard_normal())
    return (moved / root) ** (2.0 / 3.0) if moved > 0.0 else 0.0


def deformation(
    cell: FloatArray,
    excess_pressure: FloatArray,
    thermal: float,
    rate: float,
    rng: np.random.Generator,
    *,
    angles: bool,
) -> FloatArray:
    """Return the factor (3, 3) of all vectors (rows, from the right) in one step of anisotropic cell rescaling.

    Parameters
    ----------
    cell : (3, 3) [Å]
    excess_pressure : (3, 3) [eV/Å^3]
        Internal pressure, with the instantaneous kinetic energy, minus the external one.
    thermal : float [eV]
        kT.
    rate : float [Å^3/eV]
        Compressibility times time step, divided by the time constant.
    rng : numpy.random.Generator
    angles : bool
        Six components of strain; else the lengths of the three cell vectors, with the angles between them kept.

    Notes
    -----
    After V. Del Tatto, P. Raiteri, M. Bernetti and G. Bussi, Appl. Sci. 12, 1139 (2022). Cells move by
    ``h -> exp(e) h``, ``e = b/(3t) (P - P0) dt + sqrt(2 kT b / (3 V t)) dW``, with e symmetric. On the group of
    deformations, whose invariant measure is ``dh / V^3``, this samples ``V exp(-(H + P0 V) / kT)``: the term kT/V of the
    derivative of ``ln V`` and that of the noise, which falls as 1/V, cancel. For isotropic strains both that measure
    and this step are those of `rescaled_length`.
    """
    volume = abs(float(np.linalg.det(cell)))
    width = math.sqrt(2.0 * thermal * rate / (3.0 * volume))
    if angles:
        noise = rng.standard_normal((3, 3))
        strain = rate / 6.0 * (excess_pressure + excess_pressure.T) + 0.5 * width * (noise + noise.T)
        values, vectors = np.linalg.eigh(strain)
        whole: FloatArray = (vectors * np.exp(values)) @ vectors.T
        return whole
    inverse = np.linalg.inv(cell)
    along = np.einsum("ai,ij,ja->a", cell, excess_pressure, inverse)
    lengths = np.exp(rate / 3.0 * along + width * rng.standard_normal(3))
    scaled: FloatArray = inverse @ (lengths[:, None] * cell)
    return scaled
