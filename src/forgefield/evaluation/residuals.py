"""Labels and predictions side by side, flattened, in the units of reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.errors import DataError, LabelError, PredictionError, StructureError
from forgefield.evaluation.labels import Labels, group_of, read_labels, split_of, structure_name
from forgefield.evaluation.predict import Prediction
from forgefield.keys import PROPERTIES
from forgefield.units import EV_PER_A3_TO_GPA, MILLI

__all__ = ["QUANTITIES", "Pairs", "Quantity", "Residuals", "check_prediction", "collect"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Quantity:
    """How one property is shown.

    Parameters
    ----------
    key : str
        ``energy``, ``forces`` or ``stress``.
    title, noun : str
        Heading, and the word before "error".
    value_unit, error_unit : str
        Units of values and of errors.
    error_scale : float
        Errors in `error_unit` per error in `value_unit`.
    components : tuple of str
        Names of the components of one row; empty for a scalar.
    """

    key: str
    title: str
    noun: str
    value_unit: str
    error_unit: str
    error_scale: float
    components: tuple[str, ...]


QUANTITIES: dict[str, Quantity] = {
    "energy": Quantity("energy", "Energy", "energy", "eV/atom", "meV/atom", MILLI, ()),
    "forces": Quantity("forces", "Forces", "force", "eV/Å", "meV/Å", MILLI, ("x", "y", "z")),
    "stress": Quantity("stress", "Stress", "stress", "GPa", "GPa", 1.0, ("xx", "yy", "zz", "yz", "xz", "xy")),
}
"""Energy per atom, force components and stress components."""


@dataclass(frozen=True)
class Pairs:
    """Reference and predicted values of one property; missing labels are left out.

    Parameters
    ----------
    quantity : Quantity
    reference, predicted : (n_values,) [``quantity.value_unit``]
    structure : (n_values,)
        Index of the structure each value belongs to, ascending.
    component : (n_values,)
        Index into ``quantity.components``; 0 for a scalar.
    atomic_numbers : (n_values,)
        Element of the atom each force component acts on; 0 for energy and stress.
    """

    quantity: Quantity
    reference: Array
    predicted: Array
    structure: Index
    component: Index
    atomic_numbers: Index

    @property
    def errors(self) -> Array:
        """Predicted minus reference, (n_values,) [``quantity.error_unit``]."""
        return (self.predicted - self.reference) * self.quantity.error_scale

    def select(self, mask: NDArray[np.bool_]) -> Pairs:
        """Return the values for which `mask`, (n_values,), is true."""
        return Pairs(
            self.quantity,
            self.reference[mask],
            self.predicted[mask],
            self.structure[mask],
            self.component[mask],
            self.atomic_numbers[mask],
        )

    def structure_rmse(self, n_structures: int) -> Array:
        """Return the RMSE within each structure, (n_structures,) [``quantity.error_unit``].

        NaN for a structure without this label. For the energy it is the absolute error per atom.
        """
        counts = np.bincount(self.structure, minlength=n_structures).astype(np.float64)
        sums = np.bincount(self.structure, weights=self.errors**2, minlength=n_structures)
        counts[counts == 0.0] = np.nan
        return np.asarray(np.sqrt(sums / counts), dtype=np.float64)

    def structure_max(self, n_structures: int) -> Array:
        """Return the largest absolute error within each structure, (n_structures,); 0 without label."""
        largest = np.zeros(n_structures)
        np.maximum.at(largest, self.structure, np.abs(self.errors))
        return largest


@dataclass(frozen=True)
class Residuals:
    """All properties of all structures, with their names, groups and splits.

    Parameters
    ----------
    names, groups, splits : tuple of str, n_structures each
    n_atoms : (n_structures,)
    pairs : dict
        Property name to `Pairs`; all three properties are present, perhaps empty.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    splits: tuple[str, ...]
    n_atoms: Index
    pairs: dict[str, Pairs]

    @property
    def n_structures(self) -> int:
        """Number of structures."""
        return len(self.names)


def collect(frames: Sequence[Atoms], predictions: Sequence[Prediction]) -> Residuals:
    """Pair labels with predictions.

    A stress label of a structure without a predicted stress (no volume) counts as missing.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Labels in ``atoms.calc.results``; any of them may be missing.
    predictions : sequence of Prediction
        One for each frame, in the same order.

    Raises
    ------
    DataError
        The lengths differ, or there is no structure.
    LabelError
        Not one structure has a label, or a label has the wrong shape.
    PredictionError
        A prediction does not fit its structure.
    """
    if len(frames) != len(predictions):
        raise DataError(
            f"{len(frames)} structures but {len(predictions)} predictions; give one for each structure"
        )
    if not frames:
        raise DataError("no structures to evaluate; check the data files and the split")
    names = tuple(structure_name(atoms, index) for index, atoms in enumerate(frames))
    labels = [read_labels(atoms, name) for atoms, name in zip(frames, names, strict=True)]
    for atoms, prediction, name in zip(frames, predictions, names, strict=True):
        check_prediction(atoms, prediction, name)
    if all(label.empty for label in labels):
        raise LabelError(
            f"none of the {len(frames)} structures has an energy, force or stress label, so there is nothing to"
            " compare with; check how the file names its labels with `forgefield inspect`"
        )
    pairs = {key: _pairs(QUANTITIES[key], frames, labels, predictions) for key in PROPERTIES}
    return Residuals(
        names=names,
        groups=tuple(group_of(atoms) for atoms in frames),
        splits=tuple(split_of(atoms) for atoms in frames),
        n_atoms=np.array([len(atoms) for atoms in frames], dtype=np.intp),
        pairs=pairs,
    )


def check_prediction(atoms: Atoms, prediction: Prediction, name: str) -> None:
    """Raise unless the prediction fits the structure and is finite.

    Raises
    ------
    StructureError
        The structure has no atoms.
    PredictionError
        A shape is wrong or a value is not finite.
    """
    if len(atoms) == 0:
        raise StructureError(f"structure {name!r} has no atoms; remove it from the data")
    if np.shape(prediction.forces) != (len(atoms), 3):
        raise PredictionError(
            f"predicted forces of structure {name!r} have shape {np.shape(prediction.forces)}, expected"
            f" ({len(atoms)}, 3); predictions must be in the order of the structures"
        )
    if not np.isfinite(prediction.energy) or not np.isfinite(prediction.forces).all():
        raise PredictionError(f"the predicted energy or a force of structure {name!r} is not finite")
    stress = prediction.stress
    if stress is not None and (np.shape(stress) != (6,) or not np.isfinite(stress).all()):
        raise PredictionError(
            f"the predicted stress of structure {name!r} must be 6 finite numbers, got {stress}"
        )


def _pairs(
    quantity: Quantity, frames: Sequence[Atoms], labels: Sequence[Labels], predictions: Sequence[Prediction]
) -> Pairs:
    reference: list[Array] = []
    predicted: list[Array] = []
    structure: list[Index] = []
    component: list[Index] = []
    numbers: list[Index] = []
    for index, (atoms, label, prediction) in enumerate(zip(frames, labels, predictions, strict=True)):
        both = _values(quantity.key, label, prediction, len(atoms))
        if both is None:
            continue
        known = np.flatnonzero(np.isfinite(both[0]))
        width = max(1, len(quantity.components))
        reference.append(both[0][known])
        predicted.append(both[1][known])
        structure.append(np.full(len(known), index, dtype=np.intp))
        component.append(known % width)
        elements = np.asarray(atoms.numbers, dtype=np.intp)
        numbers.append(
            elements[known // 3] if quantity.key == "forces" else np.zeros(len(known), dtype=np.intp)
        )
    return Pairs(
        quantity,
        np.concatenate([*reference, np.zeros(0)]),
        np.concatenate([*predicted, np.zeros(0)]),
        np.concatenate([*structure, np.zeros(0, dtype=np.intp)]),
        np.concatenate([*component, np.zeros(0, dtype=np.intp)]),
        np.concatenate([*numbers, np.zeros(0, dtype=np.intp)]),
    )


def _values(key: str, label: Labels, prediction: Prediction, n_atoms: int) -> tuple[Array, Array] | None:
    """Return the flat (reference, predicted) of one structure in the units of values, or None."""
    if key == "energy" and label.energy is not None:
        return np.array([label.energy / n_atoms]), np.array([prediction.energy / n_atoms])
    if key == "forces" and label.forces is not None:
        return label.forces.ravel(), np.asarray(prediction.forces, dtype=np.float64).ravel()
    if key == "stress" and label.stress is not None and prediction.stress is not None:
        return label.stress * EV_PER_A3_TO_GPA, np.asarray(prediction.stress) * EV_PER_A3_TO_GPA
    return None
