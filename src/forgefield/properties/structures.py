"""Strained copies of a crystal and their relaxation: what several properties share."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS
from numpy.typing import NDArray

from forgefield.errors import PredictionError, StructureError

__all__ = ["MAX_STEPS", "relax_ions", "require_crystal", "right_handed", "strained"]

FloatArray = NDArray[np.float64]

MAX_STEPS = 1000
"""Steps after which the relaxation of ions is given up."""


def require_crystal(atoms: Atoms, purpose: str) -> None:
    """Raise unless the structure fills a cell that is periodic in three directions.

    Raises
    ------
    StructureError
    """
    if len(atoms) == 0:
        raise StructureError(f"{purpose} needs a crystal, got a structure without atoms")
    if not atoms.pbc.all() or abs(float(np.linalg.det(atoms.cell.array))) < 1e-6:
        raise StructureError(
            f"{purpose} needs a cell periodic in three directions with a volume, got pbc={atoms.pbc.tolist()} and "
            f"cell lengths {np.round(atoms.cell.lengths(), 3).tolist()} Å; set pbc=True and a cell"
        )


def right_handed(atoms: Atoms) -> Atoms:
    """Return a copy whose three cell vectors form a right-handed system: all are turned round where they do not.

    The lattice and the positions stay.
    """
    copy = atoms.copy()
    if np.linalg.det(copy.cell.array) < 0.0:
        copy.set_cell(-copy.cell.array, scale_atoms=False)
    return copy


def strained(atoms: Atoms, deformation: FloatArray) -> Atoms:
    """Return a copy whose cell and atoms are deformed homogeneously.

    Parameters
    ----------
    atoms : ase.Atoms
    deformation : (3, 3)
        Every vector r becomes ``deformation @ r``.
    """
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ deformation.T, scale_atoms=True)
    return copy


def relax_ions(atoms: Atoms, calculator: Calculator, force_tolerance: float) -> None:
    """Move the atoms, at fixed cell, until no force exceeds `force_tolerance` [eV/Å].

    Raises
    ------
    PredictionError
        Not reached within `MAX_STEPS` steps.
    """
    atoms.calc = calculator
    with BFGS(atoms, logfile=None) as optimiser:
        done = optimiser.run(fmax=force_tolerance, steps=MAX_STEPS)
    if not done:
        largest = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        raise PredictionError(
            f"ions did not relax within {MAX_STEPS} steps: the largest force is {largest:.2g} eV/Å, "
            f"{force_tolerance:.2g} was asked for; raise `force_tolerance` or evaluate in float64"
        )
