"""Loss and gradient of a batch from stored features and derivatives: where the descriptor has nothing to learn.

A step is then a network on numbers at hand, and two passes over the part of the table that belongs to the batch. The
numbers are those of `compiled.CompiledObjective` to rounding; decision 19 says when this is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from forgefield.engine.derivative_table import TableEngine
from forgefield.engine.features import FeatureEngine
from forgefield.engine.stored_model import StoredModel
from forgefield.errors import ForgefieldError
from forgefield.models.potential import Potential
from forgefield.parallel import get_num_threads
from forgefield.training.batches import LabelledSet
from forgefield.training.loss import Loss
from forgefield.training.loss_arrays import ArrayLabels, ArrayTerms, compare
from forgefield.training.stored_batches import Batches, LabelledStored

__all__ = ["StoredObjective", "has_fixed_features"]

FloatArray = NDArray[np.float64]


def has_fixed_features(potential: Potential) -> bool:
    """Return whether the descriptor has no parameters to train."""
    return not any(p.requires_grad for p in potential.descriptor.parameters())


class StoredObjective:
    """Loss, its terms and its gradient for batches of one labelled set, with features and derivatives stored.

    Parameters
    ----------
    potential : Potential
        Its scaling is final; its parameters are read at every call, `gradient` writes their ``.grad``.
    data : LabelledSet
        Forces and strain gradients are predicted where they are labelled only; elsewhere they are zero.
    loss : Loss
    threads : int, optional

    Raises
    ------
    ForgefieldError
        The descriptor has parameters to train.
    NotCompiledError
        A part of the potential has no kernel.
    """

    backend = "compiled"

    def __init__(
        self, potential: Potential, data: LabelledSet, loss: Loss, threads: int | None = None
    ) -> None:
        if not has_fixed_features(potential):
            kind = type(potential.descriptor).__name__
            raise ForgefieldError(
                f"{kind} has parameters to train, so that its features cannot be stored; set training.cache: none"
            )
        self.potential, self.loss, self.threads = potential, loss, threads
        dtype = np.dtype(np.float32 if potential.dtype == torch.float32 else np.float64)
        self.labels = ArrayLabels.of(data, data.learned(potential))
        maker = TableEngine(FeatureEngine(potential.descriptor, "float64", threads), potential.scaler, dtype)
        self.table = maker.build(data.frames, self.labels.has_forces, self.labels.has_stress)
        self.model = StoredModel(potential, self.table)
        # Energies relative to the free atom: one atom of each species without neighbours is added to every batch.
        exact = bool(potential.exact_free_atom)
        self.batches = Batches(self.table, self.labels, self.model.lanes, free_atoms=exact)
        self._held: LabelledStored | None = None

    @property
    def stored_bytes(self) -> int:
        """Memory of the table."""
        return self.table.n_bytes

    @property
    def n_threads(self) -> int:
        """Threads of the kernels."""
        return self.threads or get_num_threads()

    # ---- the interface of the trainer ------------------------------------------------------------------------

    def expect(self, batches: Sequence[Sequence[int]]) -> None:
        """See `Objective.expect`."""
        self.batches.expect(batches)

    def gradient(self, index: Sequence[int], weights: Mapping[str, float]) -> ArrayTerms:
        """See `Objective.gradient`."""
        x = self.batches[index]
        terms = compare(self.loss, x.labels, *self._predict(x), weights)
        self._reverse(x, terms.energy_bar, terms.forces_bar, terms.strain_bar)
        return terms

    def terms(self, index: Sequence[int]) -> ArrayTerms:
        """See `Objective.terms`."""
        x = self.batches[index]
        return compare(self.loss, x.labels, *self._predict(x), {})

    def linearise(self, index: Sequence[int]) -> tuple[ArrayTerms, tuple[FloatArray, FloatArray, FloatArray]]:
        """See `Objective.linearise`; differences are zero where there is no label of forces or stress."""
        x = self.batches[index]
        energy, forces, strain = self._predict(x)
        self._held = x
        differences = energy - x.labels.energy, forces - x.labels.forces, strain - x.labels.strain
        return compare(self.loss, x.labels, energy, forces, strain, {}), differences

    def pull_back(self, energy_bar: FloatArray, forces_bar: FloatArray, strain_bar: FloatArray) -> None:
        """See `Objective.pull_back`."""
        if self._held is None:
            raise ForgefieldError("`pull_back` follows `linearise`, with no other evaluation in between")
        self._reverse(self._held, energy_bar, forces_bar, strain_bar)

    def labels_of(self, index: Sequence[int]) -> ArrayLabels:
        """See `Objective.labels_of`."""
        return self.batches[index].labels

    # ---- parts -----------------------------------------------------------------------------------------------

    def _predict(self, x: LabelledStored) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return energies, forces and strain gradients of a batch."""
        self._held = None
        self.model.parameters.refresh()
        energies, forces, strain = self.model.values(x.batch, self.n_threads)
        per_atom, n = energies.astype(np.float64), x.batch.n_atoms
        if self.batches.n_free:
            per_atom = per_atom[:n] - per_atom[n:][x.species]
        energy = np.add.reduceat(per_atom, x.batch.starts)
        return energy, forces.astype(np.float64), strain.astype(np.float64)

    def _reverse(
        self, x: LabelledStored, energy_bar: FloatArray, forces_bar: FloatArray, strain_bar: FloatArray
    ) -> None:
        """Set the gradients of the parameters, given those with respect to energies, forces and strain gradients."""
        energies = energy_bar[x.labels.structure]
        if self.batches.n_free:
            free = -np.bincount(x.species, energies, self.batches.n_free)
            energies = np.concatenate([energies, free])
        self.model.gradients(x.batch, energies, forces_bar, strain_bar, self.n_threads)
