"""Heat flux of many-body potentials, the force that drives it, and a proof that both are right.

With atomic energies ``e_i``, kinetic energies ``t_i`` and atomic virials ``W_i`` (paper 5, eqs. 11-14)

``V J = sum_i (t_i + e_i) v_i + sum_i W_i v_i``;

the first sum is the convective part. Of the three atomic virials only kind I, ``W_i = sum_j r_ij (x) dE_j/dr_ji``, makes
this the time derivative of ``sum_i r_i (t_i + e_i)``, which is what conduction of heat is about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from forgefield.errors import ConfigError
from forgefield.models.results import VirialKind
from forgefield.properties.dynamics_forces import ForceField, Forces, force_field
from forgefield.properties.dynamics_state import State
from forgefield.properties.dynamics_steps import draw_velocities

__all__ = ["TO_W_PER_M_K", "Driving", "HeatFlux", "energy_origins", "flux_error", "move"]

FloatArray = NDArray[np.float64]

TO_W_PER_M_K = float(1.602176634e-19 * 1e10 * units.s)
"""1 eV / (Å K ASE time) in W/(m K)."""


@dataclass(frozen=True)
class HeatFlux:
    """Observable of `Dynamics`: potential and convective part of ``V J``, (2, 3) [eV Å per ASE time].

    Attributes
    ----------
    origins : (n_atoms,) [eV]
        Taken from the atomic energies; see `energy_origins`.
    """

    origins: FloatArray

    def __call__(self, state: State, forces: Forces) -> FloatArray:
        """Return both parts."""
        energies, virials = _atomic(forces)
        v = state.velocities
        kinetic = 0.5 * state.masses * np.einsum("ia,ia->i", v, v)
        carried = (kinetic + energies - self.origins) @ v
        return np.stack([np.einsum("iab,ib->a", virials, v), carried])


@dataclass(frozen=True)
class Driving:
    """The force of homogeneous nonequilibrium molecular dynamics, a `Drive` of `Dynamics`.

    Attributes
    ----------
    field : (3,) [1/Å]
        Driving force parameter F.
    origins : (n_atoms,) [eV]
    convective : bool
        With the convective part of the flux.

    Notes
    -----
    ``F_i = (t_i + e_i) F + W_i^T F - (m_i / M) sum_j (...)_j``: the power it does is ``sum_i v_i F_i = V J F``, with J of
    `HeatFlux`, as linear response needs (D. J. Evans, Phys. Lett. A 91, 457 (1982); Z. Fan et al., Phys. Rev. B 99,
    064308 (2019), eq. 8). The last term keeps the centre of mass at rest and does no work while it is.
    """

    field: FloatArray
    origins: FloatArray
    convective: bool = True

    def __call__(self, state: State, forces: Forces) -> FloatArray:
        """Return (n_atoms, 3) [eV/Å]."""
        energies, virials = _atomic(forces)
        push: FloatArray = np.einsum("iab,a->ib", virials, self.field)
        if self.convective:
            v = state.velocities
            kinetic = 0.5 * state.masses * np.einsum("ia,ia->i", v, v)
            push += (kinetic + energies - self.origins)[:, None] * self.field
        push -= (state.masses / state.masses.sum())[:, None] * push.sum(axis=0)
        return push


def energy_origins(numbers: NDArray[np.int64], energies: FloatArray) -> FloatArray:
    """Return the mean atomic energy of each atom's element, (n_atoms,).

    Taking a constant per element from the atomic energies adds ``c_s sum v`` to the flux: nothing for one element with
    its centre at rest, a bounded noise in a solid compound; where elements diffuse, it chooses the heat flux without
    the mean energy that each of them carries.
    """
    _, kind = np.unique(numbers, return_inverse=True)
    means = np.bincount(kind, weights=energies) / np.bincount(kind)
    origins: FloatArray = means[kind]
    return origins


def _atomic(forces: Forces) -> tuple[FloatArray, FloatArray]:
    if forces.energies is None or forces.virials is None:
        raise ConfigError("the heat flux needs atomic energies and virials of the force field (atomic=True)")
    return forces.energies, forces.virials


def move(
    positions: FloatArray, velocities: FloatArray, acceleration: FloatArray, time: float
) -> tuple[FloatArray, FloatArray]:
    """Return positions and velocities after a short time."""
    ahead: FloatArray = positions + time * velocities + 0.5 * time * time * acceleration
    faster: FloatArray = velocities + time * acceleration
    return ahead, faster


def flux_error(
    atoms: Atoms,
    source: Any,
    *,
    virials: VirialKind = "I",
    pairwise: bool = False,
    temperature: float = 300.0,
    step: float = 0.004,
    seed: int = 0,
) -> float:
    """Return how far the heat flux is from the time derivative of ``sum_i r_i (t_i + e_i)``, relative to its size.

    Parameters
    ----------
    atoms : ase.Atoms
        Taken out of its cell: the sum has a meaning only where atoms end. Atoms moved a little at random.
    source : anything that `force_field` takes, but no ForceField (it has its own periodicity)
    virials, pairwise
        See `force_field`.
    temperature : float [K]
    step : float [fs]
        Of the central difference.
    seed : int

    Returns
    -------
    float
        1e-5 or less for a right flux in float64, of the order of 1 for a wrong one.

    Notes
    -----
    A potential of Forgefield is evaluated in float64, whatever its own number type: differences need the digits. The
    potential part alone is compared: ``sum_i W_i v_i`` against ``d/dt sum_i r_i (t_i + e_i) - sum_i (t_i + e_i) v_i``.
    """
    cluster = atoms.copy()
    cluster.set_constraint()
    cluster.pbc = False
    cluster.set_cell(np.eye(3) * (np.ptp(cluster.positions, axis=0).max() + 60.0))
    rng = np.random.default_rng(seed)
    cluster.positions += 0.02 * rng.standard_normal((len(cluster), 3))
    field: ForceField = force_field(
        source, cluster, virials=virials, pairwise=pairwise, skin=0.0, dtype="float64"
    )
    masses = cluster.get_masses()
    x, cell = cluster.positions.copy(), cluster.cell.array.copy()
    v = draw_velocities(masses, temperature, rng)
    now = field.evaluate(x, cell, atomic=True)
    if now.virials is None or now.energies is None:
        raise ConfigError("the force field gives no atomic virials")
    origins = now.energies.copy()
    time = step * units.fs
    moments = []
    for sign in (1.0, -1.0):
        there, faster = move(x, v, now.forces / masses[:, None], sign * time)
        energies = field.evaluate(there, cell, atomic=True).energies
        if energies is None:
            raise ConfigError("the force field gives no atomic energies")
        kinetic = 0.5 * masses * np.einsum("ia,ia->i", faster, faster)
        moments.append((kinetic + energies - origins) @ there)
    change = (moments[0] - moments[1]) / (2.0 * time)
    carried = (0.5 * masses * np.einsum("ia,ia->i", v, v)) @ v
    expected = change - carried
    found = np.einsum("iab,ib->a", now.virials, v)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
