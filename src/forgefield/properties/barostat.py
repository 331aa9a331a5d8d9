"""What of the cell moves at constant pressure: its size, its lengths, or all of it; and which of these a crystal needs."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.errors import ConfigError, SimulationError
from forgefield.properties.elastic_symmetry import find_symmetry
from forgefield.properties.free_energy_reference import n_lattice_points

__all__ = ["BAROSTAT", "Barostat", "BarostatChoice", "check_shape", "choose_barostat", "mean_cell"]

FloatArray = NDArray[np.float64]

Barostat = Literal["isotropic", "anisotropic", "triclinic"]
BarostatChoice = Literal["auto", "isotropic", "anisotropic", "triclinic"]

BAROSTAT = (
    "what moves at constant pressure: isotropic, the size of the cell; anisotropic, its three lengths; triclinic, angles "
    "too; auto, what the symmetry of the crystal leaves free"
)
"""Description of the setting."""

SAME = 1e-2
"""Å within which sites count as equal when the symmetry is looked for."""
FLOWS = 0.25
"""Logarithmic strain of the mean cell beyond which it was no crystal that the barostat deformed."""


def choose_barostat(choice: BarostatChoice, atoms: Atoms) -> Barostat:
    """Return what of the cell has to move for every component of the stress to relax.

    Parameters
    ----------
    choice : str
        Returned as it is, except ``auto``.
    atoms : ase.Atoms
        The crystal on its sites, as it will be simulated. A structure with neither symmetry nor translations inside
        its cell (a liquid, a snapshot) gets ``isotropic``: liquids have no shape to relax.

    Raises
    ------
    ConfigError
        The symmetry is needed, and spglib is not installed.
    """
    if choice != "auto":
        return choice
    try:
        rotations = find_symmetry(atoms, SAME).rotations
    except ConfigError as error:
        raise ConfigError(f"{error}; or say which `barostat`: isotropic, anisotropic, triclinic") from None
    if len(rotations) == 1 and n_lattice_points(atoms) == 1:
        return "isotropic"
    strains = _free_strains(rotations)
    if len(strains) == 1:
        return "isotropic"
    lattice = atoms.cell.array.T
    return "anisotropic" if all(_keeps_angles(lattice, s) for s in strains) else "triclinic"


def _free_strains(rotations: FloatArray) -> list[FloatArray]:
    """Return a basis of the symmetric strains that no operation of the point group changes."""
    images = []
    for a in range(3):
        for b in range(a, 3):
            strain = np.zeros((3, 3))
            strain[a, b] = strain[b, a] = 1.0
            images.append(np.einsum("nai,ij,nbj->ab", rotations, strain, rotations) / len(rotations))
    _, weights, basis = np.linalg.svd(np.array(images).reshape(6, 9))
    return [row.reshape(3, 3) for row in basis[: int((weights > 1e-6).sum())]]


def _keeps_angles(lattice: FloatArray, strain: FloatArray) -> bool:
    """Return whether a strain of the lattice (columns are vectors) can be made by changing lengths alone."""
    metric = lattice.T @ lattice
    change = lattice.T @ strain @ lattice
    lengths = 0.5 * np.diag(change) / np.diag(metric)
    left = change - (lengths[:, None] + lengths[None, :]) * metric
    return bool(np.abs(left).max() < 1e-4 * np.abs(metric).max())


def check_shape(before: FloatArray, after: FloatArray, barostat: Barostat, temperature: float) -> None:
    """Raise if a cell (3, 3) [Å] lost its shape, as one that holds a liquid does.

    Raises
    ------
    SimulationError
    """
    if barostat == "isotropic":
        return
    deformation = np.linalg.solve(before, after)
    logs = 0.5 * np.log(np.linalg.eigvalsh(deformation.T @ deformation))
    largest = float(np.abs(logs - logs.mean()).max())
    if not largest < FLOWS:
        raise SimulationError(
            f"the cell lost its shape at {temperature:.0f} K under `barostat` = {barostat}: strained by {largest:.2f} at "
            f"constant volume (allowed: {FLOWS}). A liquid has no shape to relax, and some crystals shear into others: "
            "set barostat=isotropic, or lower `temperature`"
        )


def mean_cell(cells: FloatArray, volume: float) -> FloatArray:
    """Return the mean (3, 3) [Å] of cells (n, 3, 3), scaled to a volume [Å^3]."""
    mean = np.asarray(cells, dtype=np.float64).mean(axis=0)
    scaled: FloatArray = mean * math.pow(volume / abs(float(np.linalg.det(mean))), 1.0 / 3.0)
    return scaled
