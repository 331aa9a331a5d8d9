"""What every property asks of its structure and its calculator before it begins, and what it says if they fail."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculatorError, PropertyNotImplementedError

from forgefield.errors import ConfigError, PredictionError, StructureError
from forgefield.graph import neighbour_pairs

__all__ = ["CLOSEST", "Foreign", "require_apart", "require_finite", "try_calculator"]

CLOSEST = 0.5
"""Distance [Å] below which two atoms are a mistake in the structure; no bond is shorter than 0.74 Å."""


def require_finite(atoms: Atoms) -> None:
    """Raise unless positions and cell of a structure are numbers.

    Raises
    ------
    StructureError
    """
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if len(bad):
        named = ", ".join(f"{atoms.symbols[int(i)]} {i}" for i in bad[:3])
        raise StructureError(f"positions are not finite: {named} ({len(bad)} of {len(atoms)} atoms)")
    if not np.isfinite(atoms.cell.array).all():
        raise StructureError(f"the cell is not finite: {atoms.cell.array.tolist()}")


def require_apart(atoms: Atoms) -> None:
    """Raise where atoms, or their images, sit nearly in the same place.

    Raises
    ------
    StructureError
        Names the closest pair and what may be wrong: positions, cell or its units.
    """
    periodic = atoms.pbc.any()
    if len(atoms) == 0 or (periodic and not np.linalg.norm(atoms.cell.array[atoms.pbc], axis=1).all()):
        return  # properties that need a cell say so themselves
    i, j, shifts, vectors = neighbour_pairs(atoms, CLOSEST)
    if len(i) == 0:
        return
    distances = np.linalg.norm(vectors, axis=1)
    n = int(distances.argmin())
    image = "an image of " if shifts[n].any() else ""
    pair = f"{atoms.symbols[int(i[n])]} {i[n]} and {image}{atoms.symbols[int(j[n])]} {j[n]}"
    cell = f" of the cell with lengths {np.round(atoms.cell.lengths(), 3).tolist()} Å" if periodic else ""
    raise StructureError(
        f"atoms overlap: {pair}{cell} are {distances[n]:.3g} Å apart (at least {CLOSEST} Å is needed); check the "
        "positions, the cell and its units (Å), and whether atoms are in the file twice"
    )


class Foreign:
    """Turns what a calculator of another program raises into one message that says whose it is.

    LAMMPS raises the bare class ``Exception``, others whatever they like.

    Parameters
    ----------
    calculator : ASE calculator
    everything : bool
        Inside is nothing but the call of that calculator, so that any exception is its own. False: only those that no
        line of this package raises.
    """

    def __init__(self, calculator: Any, *, everything: bool = False) -> None:
        self.name = type(calculator).__name__
        self.everything = everything

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or error is None:
            return
        if issubclass(kind, PropertyNotImplementedError):
            raise ConfigError(
                f"{self.name} does not offer what is needed here ({error}); use a calculator that does"
            ) from error
        own = kind is Exception or issubclass(kind, CalculatorError)
        if own or (self.everything and issubclass(kind, Exception) and not issubclass(kind, MemoryError)):
            said = " ".join(str(error).split()) or "no explanation"
            raise PredictionError(
                f"{self.name} cannot compute this structure; it says: {said} ({kind.__name__})"
            ) from error


def try_calculator(atoms: Atoms, calculator: Any) -> None:
    """Compute energy and forces once with a calculator of another program, before anything long begins.

    Raises
    ------
    PredictionError
        It fails, or gives numbers that are not finite.
    ConfigError
        It has no forces.
    """
    with Foreign(calculator, everything=True):
        copy = atoms.copy()
        copy.set_constraint()
        energy = calculator.get_property("energy", copy)
        forces = calculator.get_property("forces", copy)
    if energy is None or forces is None or not (np.isfinite(energy).all() and np.isfinite(forces).all()):
        raise PredictionError(
            f"{type(calculator).__name__} gives energy {energy} eV and forces that are not all finite for this "
            "structure; check the structure and the settings of the calculator"
        )
