"""Weighted rows of structures: from compiled kernels where the descriptor has them, else from tensors.

Both make the rows of some structures at a time and forget them once they are folded into a triangle.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from forgefield.engine.kernel import NotCompiledError
from forgefield.engine.many import LONGEST, length_of
from forgefield.engine.rows import FeatureRows, RowEngine
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet, Labels, volume_of
from forgefield.training.linear.compress import Compressed, Compressor
from forgefield.training.linear.design import Columns, design_batch, free_atom
from forgefield.training.linear.weighting import Weighting

__all__ = ["RowBackend", "WeightedRows", "accumulate", "make_rows"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
RowBackend = Literal["auto", "compiled", "torch"]

BATCH = 2_000_000
"""Numbers in the derivatives of structures that tensors treat together: 16 MB."""

CHUNK = 4_000_000
"""Numbers in the rows of structures that kernels treat together: 32 MB."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightedRows:
    """Rows of some structures.

    Attributes
    ----------
    rows : (n, n_parameters)
    labels : (n,)
    structure : (n,) int
        Which of the data each belongs to.
    """

    rows: FloatArray
    labels: FloatArray
    structure: IntArray


class RowMaker(Protocol):
    """Makes the rows of a labelled set."""

    backend: str

    def __call__(self, index: Sequence[int]) -> Iterator[WeightedRows]:
        """Yield the rows of the structures `index`, some structures at a time."""
        ...


def make_rows(
    potential: Potential, data: LabelledSet, weighting: Weighting, backend: RowBackend = "auto"
) -> RowMaker:
    """Return what makes the rows.

    Parameters
    ----------
    potential : Potential
    data : LabelledSet
    weighting : Weighting
    backend : {'auto', 'compiled', 'torch'}
        auto: compiled where possible.

    Raises
    ------
    NotCompiledError
        `compiled`, and a part of the potential has no kernel for rows.
    """
    if backend == "torch" or (backend == "auto" and potential.device.type != "cpu"):
        return TensorRows(potential, data, weighting)
    try:
        return CompiledRows(potential, data, weighting)
    except NotCompiledError as error:
        if backend == "compiled":
            raise
        _log.warning("rows come from tensors, several times slower: %s", error)
        return TensorRows(potential, data, weighting)


def accumulate(
    make: RowMaker,
    index: Sequence[int],
    fold: IntArray,
    n_folds: int,
    n_parameters: int,
    on_structure: Callable[[int, int], None] | None = None,
) -> list[Compressed]:
    """Return the rows of the structures `index` in triangles, one for each fold.

    Parameters
    ----------
    make : RowMaker
    index : sequence of int
    fold : (n_structures,) int
        To which triangle each structure of the data belongs.
    n_folds, n_parameters : int
    on_structure : callable (done, total), optional
    """
    parts = [Compressor(n_parameters) for _ in range(n_folds)]
    done = 0
    for found in make(index):
        if n_folds == 1:
            parts[0].add(found.rows, found.labels)
        else:
            of_rows = fold[found.structure]
            for k, part in enumerate(parts):
                part.add(found.rows[of_rows == k], found.labels[of_rows == k])
        done += len(np.unique(found.structure))
        if on_structure is not None:
            on_structure(done, len(index))
    if on_structure is not None and done < len(index):
        on_structure(len(index), len(index))
    return [part.result() for part in parts]


class TensorRows:
    """Rows from tensors, on any device: the reference."""

    backend = "torch"

    def __init__(self, potential: Potential, data: LabelledSet, weighting: Weighting) -> None:
        self.potential, self.data, self.weighting = potential, data, weighting
        self.columns = Columns.of(potential)
        self.labels = data.learned(potential)

    def __call__(self, index: Sequence[int]) -> Iterator[WeightedRows]:
        """See `RowMaker`."""
        p, data = self.potential, self.data
        for some in self._batches(index):
            batch = data.batch(some, p.dtype, p.device)
            rows, labels, structure = [], [], []
            for i, design in zip(some, design_batch(p, batch.graph), strict=True):
                own, targets = self.weighting.rows(i, design, self.labels[i], volume_of(data.frames[i]))
                rows.append(own)
                labels.append(targets)
                structure.append(np.full(len(targets), i))
            yield WeightedRows(np.concatenate(rows), np.concatenate(labels), np.concatenate(structure))

    def _batches(self, index: Sequence[int]) -> Iterator[list[int]]:
        """Yield structures that are treated together: many small ones, or a large one."""
        some: list[int] = []
        total = 0
        for i in index:
            graph = self.data.graphs[i]
            size = 3 * self.columns.n_features * sum(p.neighbours.size for p in graph.pairs)
            size += 3 * len(self.columns) * graph.n_atoms
            if some and total + size > BATCH:
                yield some
                some, total = [], 0
            some.append(i)
            total += size
        if some:
            yield some


class CompiledRows:
    """Rows from kernels; see `engine.rows`."""

    backend = "compiled"

    def __init__(self, potential: Potential, data: LabelledSet, weighting: Weighting) -> None:
        self.potential, self.data, self.weighting = potential, data, weighting
        self.columns = Columns.of(potential)
        self.engine = RowEngine(potential, products=self.columns.quadratic)
        self.scale = float(potential.energy_scale)
        n, exact = self.columns.n_features, bool(potential.exact_free_atom)
        self.free = np.zeros((self.columns.n_species, n))
        if exact:
            self.free = np.concatenate(
                [free_atom(potential, s).cpu().numpy() for s in range(self.columns.n_species)]
            )

    def __call__(self, index: Sequence[int]) -> Iterator[WeightedRows]:
        """See `RowMaker`."""
        for some in self._chunks(index):
            yield self._weighted(some, self.engine.compute([self.data.frames[i] for i in some]))

    def _chunks(self, index: Sequence[int]) -> Iterator[list[int]]:
        some: list[int] = []
        total, length, cutoff = 0, 0.0, max(self.potential.cutoffs)
        for i in index:
            atoms = self.data.frames[i]
            size = self.engine.numbers(len(atoms)) + (3 * len(atoms) + 7) * len(self.columns)
            room = length_of(atoms, cutoff)
            if some and (total + size > CHUNK or length + room > LONGEST):
                yield some
                some, total, length = [], 0, 0.0
            some.append(i)
            total, length = total + size, length + room
        if some:
            yield some

    def _weighted(self, some: Sequence[int], found: FeatureRows) -> WeightedRows:
        """Return rows in the order energies, forces, strain gradients."""
        columns, n_structures = self.columns, len(some)
        sizes = np.array([len(self.data.frames[i]) for i in some])
        species, starts = found.species, np.cumsum(sizes) - sizes
        n = len(species)
        factors, targets = self._labels(some, sizes, found)
        width, f_end = len(columns), n_structures + 3 * n
        rows = np.zeros((f_end + 6 * n_structures, width))
        self._energies(rows[:n_structures], found.features, species, starts)
        for s in range(columns.n_species):
            own = species == s
            if not own.any():
                continue
            strain = np.add.reduceat(np.where(own[:, None, None], found.strain, 0.0), starts, axis=0)
            for first, last, place in (
                (0, columns.n_features, columns.weights(s)),
                (columns.n_features, self.engine.n_columns, columns.products(s)),
            ):
                if last > first:
                    block = found.forces[s, first:last].transpose(1, 2, 0)
                    rows[n_structures:f_end, place] = block.reshape(3 * n, -1)
                    rows[f_end:, place] = (
                        strain[:, first:last].transpose(0, 2, 1).reshape(6 * n_structures, -1)
                    )
        if self.scale != 1.0:
            rows *= self.scale
        structure = np.concatenate(
            [
                np.arange(n_structures),
                np.repeat(np.arange(n_structures), 3 * sizes),
                np.repeat(np.arange(n_structures), 6),
            ]
        )
        kept = factors > 0
        if not kept.all():
            rows, factors, targets, structure = rows[kept], factors[kept], targets[kept], structure[kept]
        rows *= factors[:, None]
        return WeightedRows(rows, targets * factors, np.asarray(some)[structure])

    def _energies(self, rows: FloatArray, features: FloatArray, species: IntArray, starts: IntArray) -> None:
        """Fill in the rows of the energies, without the unit of energy."""
        columns, exact = self.columns, bool(self.potential.exact_free_atom)
        a, b = np.triu_indices(columns.n_features)
        halves, ends = np.where(a == b, 0.5, 1.0), np.append(starts[1:], len(species))
        for s in range(columns.n_species):
            own, free = species == s, self.free[s]
            counts = np.add.reduceat(own.astype(np.float64), starts)
            rows[:, columns.weights(s)] = np.add.reduceat(
                np.where(own[:, None], features - free, 0.0), starts, axis=0
            )
            if not exact:
                rows[:, columns.bias(s)] = counts
            if columns.quadratic:
                for row, first, last, count in zip(rows, starts, ends, counts, strict=True):
                    q = features[first:last][own[first:last]]
                    row[columns.products(s)] = halves * (q.T @ q - count * np.outer(free, free))[a, b]

    def _labels(
        self, some: Sequence[int], sizes: IntArray, found: FeatureRows
    ) -> tuple[FloatArray, FloatArray]:
        """Return factors and labels of all rows; what has no label has the factor 0."""
        n_structures, ends = len(some), np.cumsum(sizes)
        factors = [np.zeros(n_structures), np.zeros(3 * int(sizes.sum())), np.zeros((n_structures, 6))]
        targets = [np.zeros_like(x) for x in factors]
        for k, (i, n, end) in enumerate(zip(some, sizes, ends, strict=True)):
            x: Labels = self.data.labels[i]
            own = self.weighting.factors(i, x, int(n), volume_of(self.data.frames[i]))
            of_atoms = slice(3 * (end - n), 3 * end)
            if x.energy is not None:
                factors[0][k], targets[0][k] = own[0], x.energy
            if x.forces is not None:
                factors[1][of_atoms], targets[1][of_atoms] = own[1], x.forces.ravel()
            if x.strain_gradient is not None:
                factors[2][k], targets[2][k] = own[2], x.strain_gradient
        if found.repulsion is not None:
            starts = ends - sizes
            targets[0] -= np.add.reduceat(found.repulsion.energies, starts)
            targets[1] -= found.repulsion.forces.ravel()
            targets[2] -= np.add.reduceat(found.repulsion.strain, starts, axis=0)
        return np.concatenate([x.ravel() for x in factors]), np.concatenate([x.ravel() for x in targets])
