"""Is it the phase it should be: what tells a crystal from a liquid during a run."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from ase.geometry import get_distances
from numpy.typing import NDArray

from forgefield.errors import SimulationError, StructureError
from forgefield.properties.dynamics import Observable, State
from forgefield.properties.dynamics_forces import ForceField, Forces
from forgefield.properties.free_energy_potentials import EinsteinSprings

__all__ = [
    "check_liquid",
    "check_solid",
    "excursion",
    "flow",
    "nearest_distance",
    "require_sites",
    "square_displacement",
]

FloatArray = NDArray[np.float64]

LARGEST_EXCURSION = 0.6
"""In distances to the nearest site: the farthest atom of a crystal stays closer to its own site, on average."""
SMALLEST_FLOW = 0.4
"""In units of (V/N)^(1/3): the root mean square displacement of a liquid, averaged over the run, grows beyond."""


def nearest_distance(atoms: Atoms) -> float:
    """Return the shortest distance [Å] between two atoms, images included."""
    if len(atoms) == 1:
        return float(atoms.cell.lengths().min())
    _, distances = get_distances(atoms.positions[:1], atoms.positions[1:], cell=atoms.cell, pbc=atoms.pbc)
    return float(distances.min())


def square_displacement(springs: EinsteinSprings, chosen: NDArray[np.bool_]) -> Observable:
    """Return an observable: the mean of ``|u|^2`` [Å^2] over chosen atoms, from sites of a floating lattice."""
    n = len(chosen)
    correction = n / (n - 1.0) if n > 1 else 1.0  # the floating lattice takes up 1/N of the motion

    def square(state: State, _forces: Forces) -> float:
        u = springs.displacements(state.positions)[chosen]
        return correction * float((u * u).sum(axis=1).mean())

    return square


def excursion(springs: EinsteinSprings, spacing: float) -> Observable:
    """Return an observable: the largest displacement from a site, in units of `spacing` [Å]."""

    def largest(state: State, _forces: Forces) -> float:
        u = springs.displacements(state.positions)
        return float(np.sqrt((u * u).sum(axis=1).max())) / spacing

    return largest


def flow(distance: float) -> Observable:
    """Return an observable: the root mean square displacement since the first sample, in units of `distance` [Å]."""
    start: list[FloatArray] = []

    def moved(state: State, _forces: Forces) -> float:
        scaled = state.positions @ np.linalg.inv(state.cell)  # so that a cell that breathes moves no atom
        if not start:
            start.append(scaled)
        u = (scaled - start[0]) @ state.cell
        u = u - u.mean(axis=0)
        return float(np.sqrt((u * u).sum(axis=1).mean())) / distance

    return moved


def check_solid(largest: float, temperature: float, where: str) -> None:
    """Raise if atoms left their sites.

    Raises
    ------
    SimulationError
    """
    if largest > LARGEST_EXCURSION:
        raise SimulationError(
            f"wrong phase: the solid melted or its atoms diffuse at {temperature:.0f} K {where}: the farthest atom was "
            f"on average {largest:.2f} nearest-neighbour distances off its site (allowed: {LARGEST_EXCURSION}). "
            "Lower `temperature`, give the crystal on its ideal sites, or use phase=liquid"
        )


def check_liquid(moved: float, temperature: float, time: float) -> None:
    """Raise if the atoms did not move as those of a liquid do within a time [ps].

    Raises
    ------
    SimulationError
    """
    if moved < SMALLEST_FLOW:
        raise SimulationError(
            f"wrong phase: the liquid does not flow at {temperature:.0f} K: within {time:.2f} ps atoms moved "
            f"by {moved:.2f} (V/N)^(1/3) on average (a liquid: > {SMALLEST_FLOW}). It froze or never melted: raise "
            "`melt_temperature` or `melt_steps`, or, if it flows slowly, `target_steps`"
        )


def require_sites(sites: Atoms, field: ForceField, springs: FloatArray, temperature: float) -> None:
    """Raise if a crystal is not on its sites: if forces there move atoms by more than heat does.

    Parameters
    ----------
    sites : ase.Atoms
    field : ForceField
    springs : (n_atoms,) [eV/Å^2]
        That give the mean square displacements.
    temperature : float [K]

    Raises
    ------
    StructureError
    """
    field.reset()
    forces = np.linalg.norm(field.evaluate(sites.positions, sites.cell.array).forces, axis=1)
    field.reset()
    thermal = np.sqrt(3.0 * units.kB * temperature / springs)
    worst = int((forces / springs / thermal).argmax())
    if forces[worst] / springs[worst] > thermal[worst]:
        raise StructureError(
            f"Unrelaxed structure: atom {worst} ({sites.symbols[worst]}) is not on its site: the force there, "
            f"{forces[worst]:.3g} eV/Å, moves it by about {forces[worst] / springs[worst]:.2g} Å, more than heat does at "
            f"{temperature:.0f} K ({thermal[worst]:.2g} Å); give the crystal relaxed, on its ideal sites (`forgefield property "
            "relax`), or use phase=liquid"
        )
