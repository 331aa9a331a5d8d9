"""The loss on plain arrays, with its derivative with respect to energies, forces and strain gradients.

The same terms as `loss.Loss.terms`, without tensors: between two compiled kernels there is no room for a hundred small
operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgefield.keys import PROPERTIES
from forgefield.training.batches import LabelledSet, Labels, volume_of
from forgefield.training.loss import Loss

__all__ = ["ArrayLabels", "ArrayTerms", "compare"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ArrayLabels:
    """Labels of structures; zero where there is none.

    Attributes
    ----------
    energy, has_energy : (n_structures,)
    forces : (n_atoms, 3); has_forces : (n_structures,)
    strain : (n_structures, 6); has_stress : (n_structures,)
    volumes, n_atoms : (n_structures,)
    weights : dict of property to (n_structures,)
    structure : (n_atoms,) int
    complete : bool
        Known to have all labels.
    """

    energy: FloatArray
    has_energy: NDArray[np.bool_]
    forces: FloatArray
    has_forces: NDArray[np.bool_]
    strain: FloatArray
    has_stress: NDArray[np.bool_]
    volumes: FloatArray
    n_atoms: FloatArray
    weights: dict[str, FloatArray]
    structure: NDArray[np.int64]
    complete: bool = False

    @property
    def labelled(self) -> tuple[NDArray[np.bool_] | bool, ...]:
        """Rows with a label of the energy, forces (atoms) and stress; True for all, False for none."""
        if self.complete:
            return True, True, True
        found = (self.has_energy, self.has_forces[self.structure], self.has_stress)
        return tuple(True if x.all() else x if x.any() else False for x in found)

    @classmethod
    def of(cls, data: LabelledSet, labels: Sequence[Labels] | None = None) -> ArrayLabels:
        """Gather the labels of a set, or others for its structures."""
        x = data.labels if labels is None else labels
        n = np.array([len(a) for a in data.frames], dtype=np.int64)
        forces = [
            np.zeros((m, 3)) if y.forces is None else y.forces for y, m in zip(x, n.tolist(), strict=True)
        ]
        strain = [np.zeros(6) if y.strain_gradient is None else y.strain_gradient for y in x]
        return cls(
            energy=np.array([y.energy or 0.0 for y in x]),
            has_energy=np.array([y.energy is not None for y in x], dtype=bool),
            forces=np.concatenate([*forces, np.zeros((0, 3))]),
            has_forces=np.array([y.forces is not None for y in x], dtype=bool),
            strain=np.array(strain).reshape(-1, 6),
            has_stress=np.array([y.strain_gradient is not None for y in x], dtype=bool),
            volumes=np.array([volume_of(a) for a in data.frames]),
            n_atoms=n.astype(np.float64),
            weights={k: np.array([y.weights[k] for y in x]) for k in PROPERTIES},
            structure=np.repeat(np.arange(len(n)), n),
            complete=all(v is not None for y in x for v in (y.energy, y.forces, y.strain_gradient)),
        )

    def batch(
        self,
        index: Sequence[int] | NDArray[np.integer],
        atoms: NDArray[np.int64],
        structure: NDArray[np.int64],
    ) -> ArrayLabels:
        """Return the labels of some structures, whose atoms are given."""
        i = np.asarray(index, dtype=np.int64)
        return ArrayLabels(
            self.energy[i],
            self.has_energy[i],
            self.forces[atoms],
            self.has_forces[i],
            self.strain[i],
            self.has_stress[i],
            self.volumes[i],
            self.n_atoms[i],
            {k: w[i] for k, w in self.weights.items()},
            structure,
            self.complete,
        )

    def part(self, structures: slice, atoms: slice) -> ArrayLabels:
        """Return the labels of consecutive structures, whose atoms are given."""
        return ArrayLabels(
            self.energy[structures],
            self.has_energy[structures],
            self.forces[atoms],
            self.has_forces[structures],
            self.strain[structures],
            self.has_stress[structures],
            self.volumes[structures],
            self.n_atoms[structures],
            {k: w[structures] for k, w in self.weights.items()},
            self.structure[atoms],
            self.complete,
        )


@dataclass(frozen=True)
class ArrayTerms:
    """Unweighted loss terms, residuals as in `loss.Residuals`, and derivatives of the weighted sum of the terms.

    Attributes
    ----------
    values : dict of property to float
    total : float
        ``sum weights * values``.
    energy, forces, stress : arrays
        Prediction minus label where labelled: eV/atom, eV/Å, eV/Å^3.
    energy_bar : (n_structures,); forces_bar : (n_atoms, 3); strain_bar : (n_structures, 6)
    """

    values: dict[str, float]
    total: float
    energy: FloatArray
    forces: FloatArray
    stress: FloatArray
    energy_bar: FloatArray
    forces_bar: FloatArray
    strain_bar: FloatArray


def compare(
    loss: Loss,
    labels: ArrayLabels,
    energy: FloatArray,
    forces: FloatArray,
    strain: FloatArray,
    weights: Mapping[str, float],
) -> ArrayTerms:
    """Compare predictions with labels.

    Parameters
    ----------
    loss : Loss
    labels : ArrayLabels
    energy : (n_structures,); forces : (n_atoms, 3); strain : (n_structures, 6)
        Predictions, references and fixed parts subtracted as in the labels.
    weights : mapping of property to weight
        Of the terms in the total; a missing one is zero.
    """
    n, preset, structure = labels.n_atoms, loss.preset, labels.structure
    has_energy, has_forces, has_stress = labels.labelled
    of_forces = labels.weights["forces"]
    if preset.forces_by_structure:
        of_forces = of_forces / n
    away = strain - labels.strain
    # Without labels anywhere, volumes may be unknown.
    stress = away / labels.volumes[:, None] if has_stress is not False else away
    virial = preset.virial and has_stress is not False
    parts = {
        "energy": _Part(((energy - labels.energy) / n)[:, None], has_energy, labels.weights["energy"], n),
        "forces": _Part(forces - labels.forces, has_forces, of_forces[structure], None),
        "stress": _Part(stress, has_stress, labels.weights["stress"], n if virial else labels.volumes),
    }
    values: dict[str, float] = {}
    bars: dict[str, FloatArray] = {}
    for name, part in parts.items():
        target = away / n[:, None] if name == "stress" and virial else part.residual
        value, bar = _term(loss, name, part, target, weights.get(name, 0.0))
        if value is not None:
            values[name] = value
        bars[name] = np.zeros(target.shape) if bar is None else bar
    return ArrayTerms(
        values,
        sum(weights.get(k, 0.0) * v for k, v in values.items()),
        parts["energy"].labelled[:, 0],
        parts["forces"].labelled,
        parts["stress"].labelled,
        bars["energy"][:, 0],
        bars["forces"],
        bars["stress"],
    )


class _Part:
    """Residuals of a property, rows by rows: which are labelled (all: True, none: False), weights, and units."""

    __slots__ = ("has", "residual", "unit", "weights")

    def __init__(
        self,
        residual: FloatArray,
        has: NDArray[np.bool_] | bool,
        weights: FloatArray,
        unit: FloatArray | None,
    ) -> None:
        self.residual, self.has, self.weights, self.unit = residual, has, weights, unit

    @property
    def labelled(self) -> FloatArray:
        """Residuals where there is a label."""
        if self.has is True:
            return self.residual
        return self.residual[:0] if self.has is False else self.residual[self.has]


def _term(
    loss: Loss, name: str, part: _Part, target: FloatArray, weight: float
) -> tuple[float | None, FloatArray | None]:
    """Return a term, None without labels of some weight, and the derivative of `weight` times it, None where zero."""
    has, w, unit = part.has, part.weights, part.unit
    if has is False:
        return None, None
    x = target if has is True else target[has]
    if has is not True:
        w, unit = w[has], None if unit is None else unit[has]
    total = float(np.add.reduce(w))
    if not total > 0:
        return None, None
    scale = loss.scales[name]
    factor = loss.preset.factor / (x.shape[1] * total)
    if loss.settings.error == "mse":
        # Squares take their scale as a number, not array by array.
        factor /= scale * scale
        slope, size = x * w[:, None], 2.0 * weight * factor
        value = float(np.vdot(x, slope)) * factor
    else:
        measure, slope = _measure(loss, x / scale)
        value = float(measure.sum(axis=1) @ w) * factor
        slope, size = slope * w[:, None], weight * factor / scale
    if not weight:
        return value, None
    bar = slope * size if unit is None else slope * (size / unit)[:, None]
    if has is True:
        return value, bar
    whole = np.zeros(target.shape)
    whole[has] = bar
    return value, whole


def _measure(loss: Loss, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the error measure of scaled residuals and its derivative."""
    kind, delta = loss.settings.error, loss.settings.huber_delta
    if kind == "mse":
        return x * x, 2.0 * x
    size, sign = np.abs(x), np.sign(x)
    if kind == "mae":
        return size, sign
    inside = size < delta
    return np.where(inside, x * x, delta * (2.0 * size - delta)), np.where(
        inside, 2.0 * x, 2.0 * delta * sign
    )
