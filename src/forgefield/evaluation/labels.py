"""Reference labels and names of structures, as evaluation reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.errors import LabelError
from forgefield.keys import matrix_to_voigt

__all__ = ["UNGROUPED", "UNSPLIT", "Labels", "group_of", "read_labels", "split_of", "structure_name"]

Array = NDArray[np.float64]

UNGROUPED = "ungrouped"
"""Group of a structure without ``info["config_type"]``."""

UNSPLIT = "unsplit"
"""Split of a structure without ``info["split"]``."""


@dataclass(frozen=True)
class Labels:
    """Reference labels of one structure; None where there is no label, NaN in single missing components.

    Parameters
    ----------
    energy : float [eV] or None
    forces : (n_atoms, 3) [eV/Å] or None
    stress : (6,) [eV/Å^3] or None
        ASE order and sign.
    """

    energy: float | None
    forces: Array | None
    stress: Array | None

    @property
    def empty(self) -> bool:
        """Whether there is no label at all."""
        return self.energy is None and self.forces is None and self.stress is None


def read_labels(atoms: Atoms, name: str) -> Labels:
    """Return the labels in ``atoms.calc.results``; nothing is computed.

    Values that are not finite count as missing: a property of which nothing is finite is None.

    Parameters
    ----------
    atoms : ase.Atoms
        With a `SinglePointCalculator`, or without a calculator (no labels).
    name : str
        Named in messages.

    Raises
    ------
    LabelError
        A label has the wrong shape.
    """
    results = getattr(atoms.calc, "results", None) or {}
    energy = _finite(results.get("energy"), [()], "energy", name)
    forces = _finite(results.get("forces"), [(len(atoms), 3)], "forces", name)
    stress = _finite(results.get("stress"), [(6,), (3, 3)], "stress", name)
    if stress is not None and stress.shape == (3, 3):
        stress = matrix_to_voigt(stress)
    return Labels(None if energy is None else float(energy), forces, stress)


def _finite(value: object, shapes: list[tuple[int, ...]], what: str, name: str) -> Array | None:
    if value is None:
        return None
    array = np.array(value, dtype=np.float64)
    if array.shape not in shapes:
        allowed = " or ".join(map(str, shapes))
        raise LabelError(f"{what} label of structure {name!r} has shape {array.shape}, expected {allowed}")
    array = np.where(np.isfinite(array), array, np.nan)
    return None if np.isnan(array).all() else array


def structure_name(atoms: Atoms, index: int) -> str:
    """Return ``info["name"]``, or the group and the position in the list, counted from 0."""
    name = atoms.info.get("name")
    return f"{group_of(atoms)} #{index}" if name is None or name == "" else str(name)


def group_of(atoms: Atoms) -> str:
    """Return the group of a structure, ``info["config_type"]``."""
    return str(atoms.info.get("config_type", UNGROUPED)) or UNGROUPED


def split_of(atoms: Atoms) -> str:
    """Return the split of a structure, ``info["split"]``: train, valid or test."""
    return str(atoms.info.get("split", UNSPLIT)) or UNSPLIT
