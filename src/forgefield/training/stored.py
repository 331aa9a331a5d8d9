"""Loss and gradient of a batch from stored features and derivatives: where the descriptor has nothing to learn.

A step is then a network on numbers at hand, and two passes over the part of the table that belongs to the batch. The
numbers are those of `compiled.CompiledObjective` to rounding; decision 19 says when this is chosen.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from forgefield.engine.derivative_table import TableEngine
from forgefield.engine.features import FeatureEngine
from forgefield.engine.stored_model import StoredBatch, StoredModel
from forgefield.errors import ForgefieldError
from forgefield.models.potential import Potential
from forgefield.parallel import get_num_threads
from forgefield.training.batches import LabelledSet
from forgefield.training.loss import Loss
from forgefield.training.loss_arrays import ArrayLabels, ArrayTerms, compare

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
        self.n_species = len(potential.species)
        # Energies relative to the free atom: one atom of each species without neighbours is added to every batch.
        self._n_free = self.n_species if bool(potential.exact_free_atom) else 0
        starts = self.table.atom_start.astype(np.int64)
        self._sizes = np.diff(starts)
        self._atoms = [np.arange(a, b) for a, b in itertools.pairwise(starts)]
        self._known: dict[range, tuple[StoredBatch, NDArray[np.int64], ArrayLabels]] = {}
        self._held: StoredBatch | None = None
        self._held_atoms: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._held_structure: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    @property
    def n_bytes(self) -> int:
        """Memory of the table."""
        return self.table.n_bytes

    @property
    def n_threads(self) -> int:
        """Threads of the kernels."""
        return self.threads or get_num_threads()

    # ---- the interface of the trainer ------------------------------------------------------------------------

    def gradient(self, index: Sequence[int], weights: Mapping[str, float]) -> ArrayTerms:
        """See `Objective.gradient`."""
        batch, atoms, labels = self._batch(index)
        terms = compare(self.loss, labels, *self._predict(batch, atoms), weights)
        self._reverse(batch, atoms, labels.structure, terms.energy_bar, terms.forces_bar, terms.strain_bar)
        return terms

    def terms(self, index: Sequence[int]) -> ArrayTerms:
        """See `Objective.terms`."""
        batch, atoms, labels = self._batch(index)
        return compare(self.loss, labels, *self._predict(batch, atoms), {})

    def linearise(self, index: Sequence[int]) -> tuple[ArrayTerms, tuple[FloatArray, FloatArray, FloatArray]]:
        """See `Objective.linearise`; differences are zero where there is no label of forces or stress."""
        batch, atoms, labels = self._batch(index)
        energy, forces, strain = self._predict(batch, atoms)
        self._held, self._held_atoms, self._held_structure = batch, atoms, labels.structure
        differences = energy - labels.energy, forces - labels.forces, strain - labels.strain
        return compare(self.loss, labels, energy, forces, strain, {}), differences

    def pull_back(self, energy_bar: FloatArray, forces_bar: FloatArray, strain_bar: FloatArray) -> None:
        """See `Objective.pull_back`."""
        if self._held is None:
            raise ForgefieldError("`pull_back` follows `linearise`, with no other evaluation in between")
        self._reverse(self._held, self._held_atoms, self._held_structure, energy_bar, forces_bar, strain_bar)

    def labels_of(self, index: Sequence[int]) -> ArrayLabels:
        """See `Objective.labels_of`."""
        return self._batch(index)[2]

    # ---- parts -----------------------------------------------------------------------------------------------

    def _batch(self, index: Sequence[int]) -> tuple[StoredBatch, NDArray[np.int64], ArrayLabels]:
        """Return the batch, its atoms in the table, and its labels; those of ranges are kept for the next time."""
        if isinstance(index, range) and index in self._known:
            return self._known[index]
        structures = np.array(index, dtype=np.int32)
        sizes = self._sizes[structures]
        ends = sizes.cumsum()
        atoms = np.concatenate([self._atoms[k] for k in index])
        rows, slots, species = self._lanes(atoms)
        batch = StoredBatch(structures, (ends - sizes).astype(np.int32), len(atoms), rows, slots, species)
        labels = self.labels.batch(structures, atoms, np.arange(len(sizes)).repeat(sizes))
        if isinstance(index, range):
            self._known[index] = batch, atoms, labels
        return batch, atoms, labels

    def _lanes(self, atoms: NDArray[np.int64]) -> tuple[NDArray[np.int64], Any, Any]:
        """Return rows, slots and species of a `StoredBatch`."""
        lanes, n, free = self.model.lanes, len(atoms), len(self.table.species)
        if self.n_species == 1:
            n_blocks = -(-(n + self._n_free) // lanes)
            rows = np.full(n_blocks * lanes, free)
            rows[:n] = atoms
            return rows, np.arange(n + self._n_free, dtype=np.int32), np.zeros(n_blocks, dtype=np.int32)
        all_rows = np.concatenate([atoms, free + np.arange(self._n_free)])
        species = np.concatenate([self.table.species[atoms], np.arange(self._n_free)])
        counts = np.bincount(species, minlength=self.n_species)
        of_species: NDArray[np.int64] = -(-counts // lanes)
        kinds = np.arange(self.n_species, dtype=np.int32).repeat(of_species)
        shift = (of_species.cumsum() - of_species) * lanes - (counts.cumsum() - counts)
        order = species.argsort(kind="stable")
        slots = np.empty(len(species), dtype=np.int32)
        slots[order] = np.arange(len(species)) + shift.repeat(counts)
        rows = free + kinds.astype(np.int64).repeat(lanes)
        rows[slots] = all_rows
        return rows, slots, kinds

    def _predict(
        self, batch: StoredBatch, atoms: NDArray[np.int64]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return energies, forces and strain gradients of a batch."""
        self._held = None
        self.model.parameters.refresh()
        energies, forces, strain = self.model.values(batch, self.n_threads)
        per_atom = energies.astype(np.float64)
        if self._n_free:
            free = per_atom[batch.n_atoms :]
            per_atom = per_atom[: batch.n_atoms] - free[self.table.species[atoms]]
        energy = np.add.reduceat(per_atom, batch.starts)
        return energy, forces.astype(np.float64), strain.astype(np.float64)

    def _reverse(
        self,
        batch: StoredBatch,
        atoms: NDArray[np.int64],
        structure: NDArray[np.int64],
        energy_bar: FloatArray,
        forces_bar: FloatArray,
        strain_bar: FloatArray,
    ) -> None:
        """Set the gradients of the parameters, given those with respect to energies, forces and strain gradients."""
        energies = energy_bar[structure]
        if self._n_free:
            free = -np.bincount(self.table.species[atoms], energies, self.n_species)
            energies = np.concatenate([energies, free])
        self.model.gradients(batch, energies, forces_bar, strain_bar, self.n_threads)
