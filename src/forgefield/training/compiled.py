"""Loss and gradient of a batch from fused kernels: no tensors of pairs or features, no small operations in between.

Two kernels do the work (`engine.kernel`); what lies between them is the loss, on a few numbers per atom. The plain
path (`training.objective.TorchObjective`) gives the same to rounding and is what this one is tested against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from forgefield.engine.blocks import Block, make_blocks
from forgefield.engine.inference import Engine, Precision
from forgefield.engine.kernel import gradient_kernel, gradient_signature
from forgefield.engine.neighbours import list_neighbours
from forgefield.engine.points import Listing
from forgefield.errors import ForgefieldError, of_structure
from forgefield.models.potential import Potential
from forgefield.parallel import get_num_threads, run_parts
from forgefield.tracer.cache import Native, aligned, native
from forgefield.tracer.trace import trace
from forgefield.training.batches import LabelledSet
from forgefield.training.loss import Loss
from forgefield.training.loss_arrays import ArrayLabels, ArrayTerms, compare

__all__ = ["Batch", "CompiledObjective", "SetPoints"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Atoms and images of a batch: global indices, and where they belong within the batch.

    Attributes
    ----------
    points : (n,) int
        Point of each atom.
    structure : (n,) int
        Structure of each atom, counted within the batch.
    starts : (n_structures,) int
        First atom of each structure.
    images, owner : (n_images,) int
        Point of each image; its atom, counted within the batch.
    """

    points: IntArray
    structure: IntArray
    starts: IntArray
    images: IntArray
    owner: IntArray
    block: Block


class SetPoints:
    """All structures of a set as points with one common numbering."""

    def __init__(self, potential: Potential, data: LabelledSet) -> None:
        parts = []
        for n, atoms in enumerate(data.frames):
            with of_structure(atoms.info.get("name", f"structure {n}")):
                parts.append(list_neighbours(atoms, potential.species, potential.descriptor.cutoffs))
        sizes = np.array([len(p.positions) - 2 for p, _ in parts], dtype=np.int64)
        bases = np.cumsum(sizes) - sizes
        self.padding = int(sizes.sum())
        self.positions = aligned((self.padding + 2, 4), np.float64)
        n_atoms = np.array([p.n_atoms for p, _ in parts], dtype=np.int64)
        n_images = sizes - n_atoms
        self.atom_start = np.concatenate([[0], np.cumsum(n_atoms)])
        self.image_start = np.concatenate([[0], np.cumsum(n_images)])
        self.point = np.empty(int(n_atoms.sum()), dtype=np.int64)
        self.image = np.empty(int(n_images.sum()), dtype=np.int64)
        self.owner = np.empty_like(self.image)
        self.species = np.concatenate([*(p.species for p, _ in parts), np.zeros(0, dtype=np.int64)])
        for k, (p, _) in enumerate(parts):
            self.positions[bases[k] : bases[k] + sizes[k]] = p.positions[:-2]
            self.point[self.atom_start[k] : self.atom_start[k + 1]] = bases[k] + np.arange(n_atoms[k])
            images = slice(self.image_start[k], self.image_start[k + 1])
            self.image[images] = bases[k] + n_atoms[k] + np.arange(n_images[k])
            self.owner[images] = p.owner
        if parts:
            self.positions[-2:] = parts[0][0].positions[-2:]
        n_lists = len(parts[0][1]) if parts else 0
        self.lists = tuple(
            self._joined([p.padding for p, _ in parts], [x[n] for _, x in parts], bases)
            for n in range(n_lists)
        )

    def _joined(self, paddings: Sequence[int], lists: Sequence[Listing], bases: IntArray) -> Listing:
        neighbours, first = [], [np.zeros(1, dtype=np.int64)]
        total = 0
        for padding, listing, base in zip(paddings, lists, bases, strict=True):
            own = listing.neighbours.astype(np.int64)
            neighbours.append(np.where(own == padding, self.padding, own + base).astype(np.int32))
            first.append(listing.first[1:] + total)
            total += len(own)
        return Listing(np.concatenate(neighbours), np.concatenate(first))


class CompiledObjective:
    """Loss, its terms and its gradient for batches of one labelled set.

    Parameters
    ----------
    potential : Potential
        Its parameters are read at every call; `gradient` writes their ``.grad``.
    data : LabelledSet
    loss : Loss
    threads : int, optional
    """

    backend = "compiled"
    stored_bytes = 0

    def __init__(
        self, potential: Potential, data: LabelledSet, loss: Loss, threads: int | None = None
    ) -> None:
        dtype: Precision = "float32" if potential.dtype == torch.float32 else "float64"
        self.potential, self.loss, self.threads = potential, loss, threads
        self.engine = Engine(potential, dtype, repulsion=False)
        self.parameters = self.engine.parameters
        self.points = SetPoints(potential, data)
        # The kernels compute what is learned; the nuclear repulsion is taken off the labels instead.
        self.labels = ArrayLabels.of(data, data.learned(potential))
        self.n_species = len(potential.species)
        n_points = len(self.points.positions)
        # Energies relative to the free atom: one atom of each species without neighbours is added to every batch.
        self._phantoms = bool(potential.exact_free_atom)
        self._forces: list[NDArray[Any]] = []
        self._force_bars = aligned((n_points, 4), self.engine.dtype)
        self._gradient_kernel: Native | None = None
        self._held: tuple[Batch, list[int], NDArray[Any]] | None = None

    @property
    def n_threads(self) -> int:
        """Threads of the kernels."""
        return self.threads or get_num_threads()

    # ---- the interface of the trainer ------------------------------------------------------------------------

    def expect(self, batches: Sequence[Sequence[int]]) -> None:
        """See `objective.Objective.expect`."""

    def gradient(self, index: Sequence[int], weights: Mapping[str, float]) -> ArrayTerms:
        """Return the loss terms of a batch and set the gradient of ``sum weights * terms`` on the parameters.

        Parameters
        ----------
        index : sequence of int
            Structures of the batch.
        weights : mapping of property to weight
        """
        self.parameters.refresh()
        batch = self._batch(index)
        lanes, n_blocks = self.engine.lanes, batch.block.n_blocks
        saved = self.engine.memory("saved", n_blocks * self.engine.plan.coefficients * lanes)
        terms = self._terms(batch, index, weights, saved)
        self._reverse(batch, index, saved, (terms.energy_bar, terms.forces_bar, terms.strain_bar))
        return terms

    def terms(self, index: Sequence[int]) -> ArrayTerms:
        """Return the loss terms of a batch."""
        self.parameters.refresh()
        return self._terms(self._batch(index), index, {}, None)

    def linearise(self, index: Sequence[int]) -> tuple[ArrayTerms, tuple[FloatArray, FloatArray, FloatArray]]:
        """Return the terms and the differences from the labels, and keep what `pull_back` needs.

        Parameters
        ----------
        index : sequence of int
            Structures of the batch.

        Returns
        -------
        terms : ArrayTerms
        differences : ((n_structures,) [eV], (n_atoms, 3) [eV/Å], (n_structures, 6) [eV]) arrays
            Energies, forces, strain gradients: prediction minus label.
        """
        self.parameters.refresh()
        batch = self._batch(index)
        n_blocks = batch.block.n_blocks
        saved = self.engine.memory("saved", n_blocks * self.engine.plan.coefficients * self.engine.lanes)
        predictions = self._predict(batch, index, saved)
        labels = self.labels.batch(index, self._atoms(index), batch.structure)
        self._held = batch, list(index), saved
        energy, forces, strain = predictions
        differences = energy - labels.energy, forces - labels.forces, strain - labels.strain
        return compare(self.loss, labels, *predictions, {}), differences

    def pull_back(self, energy_bar: FloatArray, forces_bar: FloatArray, strain_bar: FloatArray) -> None:
        """Set the gradient of ``sum bar * prediction`` on the parameters, at the batch linearised last.

        Parameters
        ----------
        energy_bar : (n_structures,); forces_bar : (n_atoms, 3); strain_bar : (n_structures, 6)
        """
        if self._held is None:
            raise ForgefieldError("`pull_back` follows `linearise`, with no other evaluation in between")
        self._reverse(*self._held, (energy_bar, forces_bar, strain_bar))

    def labels_of(self, index: Sequence[int]) -> ArrayLabels:
        """Return the labels of some structures."""
        atoms = self._atoms(index)
        sizes = [int(self.points.atom_start[k + 1] - self.points.atom_start[k]) for k in index]
        return self.labels.batch(index, atoms, np.repeat(np.arange(len(sizes)), sizes))

    # ---- parts -----------------------------------------------------------------------------------------------

    def _atoms(self, index: Sequence[int]) -> IntArray:
        start = self.points.atom_start
        return np.concatenate([np.arange(start[k], start[k + 1]) for k in index])

    def _batch(self, index: Sequence[int]) -> Batch:
        p = self.points
        atoms = self._atoms(index)
        images = np.concatenate([np.arange(p.image_start[k], p.image_start[k + 1]) for k in index])
        sizes = np.array([p.atom_start[k + 1] - p.atom_start[k] for k in index])
        n_images = np.array([p.image_start[k + 1] - p.image_start[k] for k in index])
        starts = np.cumsum(sizes) - sizes
        points, species, rows = p.point[atoms], p.species[atoms], atoms
        if self._phantoms:
            nowhere = np.full(self.n_species, p.padding + 1)
            species = np.concatenate([species, np.arange(self.n_species)])
            rows = np.concatenate([rows, np.full(self.n_species, -1)])
            block_points = np.concatenate([points, nowhere])
        else:
            block_points = points
        block = make_blocks(
            block_points,
            rows,
            species,
            p.lists,
            n_species=self.n_species,
            lanes=self.engine.lanes,
            padding=p.padding,
        )
        return Batch(
            points=points,
            structure=np.repeat(np.arange(len(index)), sizes),
            starts=starts,
            images=p.image[images],
            owner=p.owner[images] + np.repeat(starts, n_images),
            block=block,
        )

    def _terms(
        self,
        batch: Batch,
        index: Sequence[int],
        weights: Mapping[str, float],
        saved: NDArray[Any] | None,
    ) -> ArrayTerms:
        predictions = self._predict(batch, index, saved)
        labels = self.labels.batch(index, self._atoms(index), batch.structure)
        return compare(self.loss, labels, *predictions, weights)

    def _predict(
        self, batch: Batch, index: Sequence[int], saved: NDArray[Any] | None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return energies, forces and strain gradients of a batch."""
        self._held = None
        n = len(batch.points)
        energies, strain, on_atoms, on_images = self._evaluate(batch, saved)
        energies, free = energies[:n], energies[n:]
        if self._phantoms:
            energies = energies - free[self.points.species[self._atoms(index)]]
        total = on_atoms[:, :3].astype(np.float64)
        if len(batch.images):
            for c in range(3):
                total[:, c] += np.bincount(batch.owner, on_images[:, c], n)
        energy = np.add.reduceat(energies, batch.starts)
        return energy, total, np.add.reduceat(strain[:n], batch.starts, axis=0)

    def _reverse(
        self,
        batch: Batch,
        index: Sequence[int],
        saved: NDArray[Any],
        bars: tuple[FloatArray, FloatArray, FloatArray],
    ) -> None:
        """Set the gradients of the parameters, given those with respect to energies, forces and strain gradients."""
        energy_bar, forces_bar, strain_bar = bars
        lanes, n_blocks, n = self.engine.lanes, batch.block.n_blocks, len(batch.points)
        energy = np.zeros(batch.block.n_atoms + 1)
        energy[:n] = energy_bar[batch.structure]
        if self._phantoms:
            species = self.points.species[self._atoms(index)]
            energy[n:-1] = -np.bincount(species, energy[:n], self.n_species)
        strain = np.zeros((batch.block.n_atoms + 1, 6))
        strain[:n] = (strain_bar * _HALF_OFF_DIAGONAL)[batch.structure]
        self._force_bars[batch.points, :3] = forces_bar
        self._force_bars[batch.images, :3] = forces_bar[batch.owner]
        slots = batch.block.atoms
        energy_bars = self.engine.memory("energy_bars", n_blocks * lanes)
        energy_bars[: n_blocks * lanes] = energy[slots]
        strain_bars = self.engine.memory("strain_bars", n_blocks * 6 * lanes)
        per_block = strain[slots].reshape(n_blocks, lanes, 6).transpose(0, 2, 1)
        strain_bars[: n_blocks * 6 * lanes].reshape(n_blocks, 6, lanes)[:] = per_block
        self.parameters.set_gradients(self._run_gradient(batch, energy_bars, strain_bars, saved))

    def _evaluate(
        self, batch: Batch, saved: NDArray[Any] | None
    ) -> tuple[FloatArray, FloatArray, NDArray[Any], NDArray[Any]]:
        """Return energies, strain gradients, and the forces on atoms and on images of a batch."""
        engine, n = self.engine, len(batch.points)
        threads = max(1, min(self.n_threads, batch.block.n_blocks))
        while len(self._forces) < threads:
            self._forces.append(aligned((len(self._force_bars), 4), engine.dtype))
        forces = self._forces[:threads]
        touched = np.concatenate([batch.points, batch.images])
        for f in forces:
            f[touched] = 0.0
        energies, strain = engine.values(
            self.points.positions, self.points.lists, batch.block, forces, save=saved
        )
        f = forces[0] if threads == 1 else np.sum([x[touched] for x in forces], axis=0)
        on_atoms, on_images = (f[batch.points], f[batch.images]) if threads == 1 else (f[:n], f[n:])
        return energies, strain, on_atoms, on_images

    def _run_gradient(
        self, batch: Batch, energy_bars: Any, strain_bars: Any, saved: NDArray[Any]
    ) -> NDArray[np.floating]:
        engine, lanes = self.engine, self.engine.lanes
        kernel = self._kernel()
        size = engine.plan.layout.size
        threads = max(1, min(self.n_threads, batch.block.n_blocks))
        sums = [engine.memory(("gradients", t), size * lanes) for t in range(threads)]

        def part(thread: int, first: int, last: int) -> None:
            *arguments, scratch = engine.list_arguments(batch.block, self.points.lists, 2)
            sums[thread][: size * lanes] = 0
            kernel(
                first,
                last,
                self.points.positions,
                batch.block.centres,
                batch.block.species,
                *arguments,
                engine.memory(("work", thread), kernel.workspace * lanes),
                engine.memory(("scratch", thread), scratch),
                saved,
                self._force_bars,
                energy_bars,
                strain_bars,
                sums[thread],
            )

        run_parts(batch.block.n_blocks, threads, part)
        ones = np.ones(lanes, dtype=engine.dtype)
        parts = [x[: size * lanes].reshape(size, lanes) @ ones for x in sums]
        return parts[0] if threads == 1 else np.sum(parts, axis=0)

    def _kernel(self) -> Native:
        if self._gradient_kernel is None:
            plan, bits = self.engine.plan, self.engine.bits
            signature = gradient_signature(plan)
            self._gradient_kernel = native(
                "gradients",
                signature,
                bits,
                self.engine.describe(),
                lambda: trace("gradients", signature, bits, gradient_kernel(plan)),
            )
        return self._gradient_kernel


_HALF_OFF_DIAGONAL = np.array([1.0, 1.0, 1.0, 0.5, 0.5, 0.5])
"""A strain component off the diagonal is the mean of two derivatives."""
