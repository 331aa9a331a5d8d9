"""Residuals as rows of a least-squares problem, and vectors pulled back from them to the parameters.

The loss of a step is ``sum_j a_j d_j^2`` over all labels j, with differences d (prediction minus label) and factors a
that hold weights, units and counts. Rows are ``r_j = sqrt(a_j) d_j``, so that the loss is ``|r|^2`` and its gradient
``2 J^T r`` with ``J = dr/dtheta``. ``J^T u`` for any u costs one reverse pass and no stored derivatives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from forgefield.training.loss_arrays import ArrayTerms, compare

if TYPE_CHECKING:
    from forgefield.training.objective import Objective

__all__ = ["LinearRows"]

FloatArray = NDArray[np.float64]


class LinearRows:
    """Rows of some structures at the parameters of this moment.

    Another evaluation of the same objective ends the life of this one.

    Parameters
    ----------
    objective : Objective
    index : sequence of int
        Structures.
    weights : mapping of property to float
        Of the loss terms; rows of terms without weight are left out.

    Attributes
    ----------
    terms : ArrayTerms
    residuals : (n_rows,) float64
        Square root of the loss, row by row: energies, force components, stress components.
    """

    def __init__(self, objective: Objective, index: Sequence[int], weights: Mapping[str, float]) -> None:
        self._objective = objective
        self.terms, differences = objective.linearise(index)
        roots = _roots(objective, index, weights, differences)
        self._shapes = [x.shape for x in differences]
        flat = np.concatenate([x.ravel() for x in roots])
        self._used = flat > 0
        self._roots = flat[self._used]
        self.residuals: FloatArray = (
            self._roots * np.concatenate([x.ravel() for x in differences])[self._used]
        )

    def __len__(self) -> int:
        return len(self.residuals)

    @property
    def loss(self) -> float:
        """Weighted sum of the terms."""
        return float(self.residuals @ self.residuals)

    def pull_back(self, u: FloatArray) -> None:
        """Write ``J^T u`` to the gradients of the parameters.

        Parameters
        ----------
        u : (n_rows,)
        """
        bars = np.zeros(len(self._used))
        bars[self._used] = self._roots * u
        ends = np.cumsum([int(np.prod(s)) for s in self._shapes])[:-1]
        energy, forces, strain = (
            x.reshape(s) for x, s in zip(np.split(bars, ends), self._shapes, strict=True)
        )
        self._objective.pull_back(energy, forces, strain)


def _roots(
    objective: Objective, index: Sequence[int], weights: Mapping[str, float], like: Sequence[FloatArray]
) -> list[FloatArray]:
    """Return sqrt(a): half the derivative of a mean square at unit differences."""
    labels = objective.labels_of(index)
    ones: ArrayTerms = compare(
        objective.loss,
        labels,
        labels.energy + 1.0,
        labels.forces + 1.0,
        labels.strain + 1.0,
        weights,
    )
    bars = (ones.energy_bar, ones.forces_bar, ones.strain_bar)
    return [np.sqrt(np.maximum(b, 0.0) / 2.0).reshape(x.shape) for b, x in zip(bars, like, strict=True)]
