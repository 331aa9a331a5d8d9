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
    bars = {"energy": np.zeros_like(energy), "forces": np.zeros_like(forces), "stress": np.zeros_like(strain)}
    values: dict[str, float] = {}
    n, preset, structure = labels.n_atoms, loss.preset, labels.structure
    has = {
        "energy": labels.has_energy,
        "forces": labels.has_forces[structure],
        "stress": labels.has_stress,
    }
    of_forces = labels.weights["forces"] / (n if preset.forces_by_structure else 1.0)
    row_weights = labels.weights | {"forces": of_forces[structure]}
    residuals = {
        "energy": ((energy - labels.energy) / n)[:, None],
        "forces": forces - labels.forces,
        "stress": (strain - labels.strain) / labels.volumes[:, None],
    }
    targets = dict(residuals)
    units = {
        "energy": 1.0 / n[:, None],
        "forces": np.ones((1, 1)),
        "stress": 1.0 / (n if preset.virial else labels.volumes)[:, None],
    }
    if preset.virial:
        targets["stress"] = (strain - labels.strain) / n[:, None]
    for name in PROPERTIES:
        mask = has[name]
        if not mask.any():
            continue
        every = bool(mask.all())
        x = (targets[name] if every else targets[name][mask]) / loss.scales[name]
        w = row_weights[name] if every else row_weights[name][mask]
        measure, slope = _measure(loss, x)
        factor = preset.factor / max(float(w.sum()), 1e-300)
        values[name] = float(measure.mean(axis=1) @ w) * factor
        weight = weights.get(name, 0.0)
        if weight:
            size = weight * factor / (loss.scales[name] * x.shape[1])
            unit = units[name] if every or name == "forces" else units[name][mask]
            bar = slope * (size * w[:, None] * unit)
            if every:
                bars[name] = bar.reshape(bars[name].shape)
            else:
                bars[name].reshape(len(mask), -1)[mask] = bar
    return ArrayTerms(
        values,
        sum(weights.get(k, 0.0) * v for k, v in values.items()),
        residuals["energy"][has["energy"], 0],
        residuals["forces"][has["forces"]],
        residuals["stress"][has["stress"]],
        bars["energy"],
        bars["forces"],
        bars["stress"],
    )


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
