"""Factors on the rows of a least-squares problem: from the loss, or group by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.units import bar
from numpy.typing import NDArray

from forgefield.training.batches import LabelledSet, Labels
from forgefield.training.linear.design import DesignRows
from forgefield.training.linear.settings import RowWeights
from forgefield.training.loss import PRESETS, LossSettings

__all__ = ["Weighting", "from_groups", "from_loss"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Weighting:
    """Factor of each kind of row of each structure; the structure's own weights multiply their squares.

    Attributes
    ----------
    energy : (n_structures,) [1/eV]
        Of the energy per atom.
    forces : (n_structures,) [Å/eV]
    stress : (n_structures,)
        Of the stress [Å^3/eV], or of the strain gradient per atom [1/eV].
    by_structure : bool
        Force rows are divided by the root of the number of atoms.
    virial : bool
        What `stress` multiplies is the strain gradient per atom.
    """

    energy: FloatArray
    forces: FloatArray
    stress: FloatArray
    by_structure: bool = False
    virial: bool = False

    def factors(
        self, index: Sequence[int], labels: Sequence[Labels], sizes: IntArray, volumes: FloatArray
    ) -> FloatArray:
        """Return the factors on energy, force components and strain gradient of some structures, (n, 3).

        `labels`, numbers of atoms `sizes` and `volumes` [Å^3] are theirs.
        """
        some = np.asarray(index, dtype=np.int64)
        roots = np.sqrt([(x.weights["energy"], x.weights["forces"], x.weights["stress"]) for x in labels])
        shares = sizes, np.sqrt(sizes) if self.by_structure else 1.0, sizes if self.virial else volumes
        kinds = zip((self.energy, self.forces, self.stress), roots.T, shares, strict=True)
        return np.stack([factor[some] * root / share for factor, root, share in kinds], axis=1)

    def rows(
        self, i: int, design: DesignRows, labels: Labels, volume: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return the weighted rows (n, n_parameters) and labels (n,) of structure i, without those of weight zero."""
        n, width = len(design.forces), len(design.energy)
        factors = self.factors([i], [labels], np.array([n]), np.array([volume]))[0]
        rows, targets = [np.empty((0, width))], [np.empty(0)]

        def add(factor: float, block: FloatArray, values: FloatArray) -> None:
            if factor > 0:
                rows.append(factor * block.reshape(-1, width))
                targets.append(factor * values.ravel())

        if labels.energy is not None:
            add(factors[0], design.energy, np.array([labels.energy]))
        if labels.forces is not None:
            add(factors[1], design.forces, labels.forces)
        if labels.strain_gradient is not None:
            add(factors[2], design.strain_gradient, labels.strain_gradient)
        return np.concatenate(rows), np.concatenate(targets)


def from_loss(data: LabelledSet, loss: LossSettings) -> Weighting:
    """Return the factors for which the sum of squares of the rows is the loss."""
    preset = PRESETS[loss.normalisation]
    scales = preset.scales(data.scales())
    totals = dict.fromkeys(("energy", "forces", "stress"), 0.0)
    for x, frame in zip(data.labels, data.frames, strict=True):
        totals["energy"] += x.weights["energy"] * (x.energy is not None)
        atoms = 1 if preset.forces_by_structure else len(frame)
        totals["forces"] += 3.0 * x.weights["forces"] * atoms * (x.forces is not None)
        totals["stress"] += 6.0 * x.weights["stress"] * (x.strain_gradient is not None)
    factors = {
        k: np.full(len(data), np.sqrt(preset.factor * w / max(totals[k], 1e-300)) * (totals[k] > 0))
        / scales[k]
        for k, w in loss.weights().items()
    }
    return Weighting(**factors, by_structure=preset.forces_by_structure, virial=preset.virial)


def from_groups(weights: Sequence[RowWeights]) -> Weighting:
    """Return the factors from those of the group of every structure."""
    return Weighting(
        energy=np.array([w.eweight for w in weights]),
        forces=np.array([w.fweight for w in weights]),
        stress=np.array([w.vweight for w in weights]) / bar,
    )
