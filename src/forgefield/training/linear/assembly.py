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
from forgefield.training.batches import LabelledSet, volume_of
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
"""Numbers in the rows of structures that kernels treat together: at most 32 MB."""

ATOMS = 1500
"""Atoms from which structures are enough: their rows are still in the processor's memory when they are folded in."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightedRows:
    """Rows of some structures.

    Attributes
    ----------
    rows : (n, n_columns)
        Columns as of `RowMaker`.
    labels : (n,)
    structure : (n,) int
        Which of the data each belongs to.
    """

    rows: FloatArray
    labels: FloatArray
    structure: IntArray


class RowMaker(Protocol):
    """Makes the rows of a labelled set.

    Attributes
    ----------
    backend : str
    n_columns : int
        Numbers of a row. Rows of all parameters are linear in them, see `spread`.
    """

    backend: str
    n_columns: int

    def __call__(self, index: Sequence[int]) -> Iterator[WeightedRows]:
        """Yield the rows of the structures `index`, some structures at a time; another turn ends the life of one."""
        ...

    def spread(self, rows: FloatArray) -> FloatArray:
        """Return the columns of all parameters, (n, n_parameters), of rows (n, n_columns), or of sums of such rows."""
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
    on_structure: Callable[[int, int], None] | None = None,
) -> list[Compressed]:
    """Return the rows of the structures `index` in triangles, one for each fold.

    Parameters
    ----------
    make : RowMaker
    index : sequence of int
    fold : (n_structures,) int
        To which triangle each structure of the data belongs.
    n_folds : int
    on_structure : callable (done, total), optional
    """
    parts = [Compressor(make.n_columns) for _ in range(n_folds)]
    done = 0
    for found in make(index):
        if n_folds == 1:
            parts[0].add(found.rows, found.labels)
        else:
            of_rows = fold[found.structure]
            for k, part in enumerate(parts):
                part.add(found.rows[of_rows == k], found.labels[of_rows == k])
        if on_structure is not None:
            done += len(np.unique(found.structure))
            on_structure(done, len(index))
    if on_structure is not None and done < len(index):
        on_structure(len(index), len(index))
    found_parts = [part.result() for part in parts]
    return [Compressed(make.spread(x.rows), x.labels, x.n_rows) for x in found_parts]


class TensorRows:
    """Rows from tensors, on any device: the reference."""

    backend = "torch"

    def __init__(self, potential: Potential, data: LabelledSet, weighting: Weighting) -> None:
        self.potential, self.data, self.weighting = potential, data, weighting
        self.columns = Columns.of(potential)
        self.n_columns = len(self.columns)
        self.labels = data.learned(potential)

    def spread(self, rows: FloatArray) -> FloatArray:
        """Return them as they are."""
        return rows

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
    """Rows from kernels; see `engine.rows`.

    Columns: for each element the distinct features, and products of features; then biases. Where features are whitened,
    as of the parameters: combinations of nearly dependent columns are made of rows, a triangle of such columns is too
    inaccurate.
    """

    backend = "compiled"

    def __init__(self, potential: Potential, data: LabelledSet, weighting: Weighting) -> None:
        self.potential, self.data, self.weighting = potential, data, weighting
        self.columns = Columns.of(potential)
        self.engine = RowEngine(potential, products=self.columns.quadratic)
        mix = potential.scaler.mix.double().cpu().numpy()
        self.mix = None if np.array_equal(mix, np.eye(len(mix))) else mix
        self._width = self.columns.n_species * (self.engine.n_columns + 1)
        self.n_columns = self._width if self.mix is None else len(self.columns)
        self.scale, self.exact = float(potential.energy_scale), bool(potential.exact_free_atom)
        self.free = np.zeros((self.columns.n_species, len(self.engine.wanted)))
        if self.exact:
            for s in range(self.columns.n_species):
                self.free[s] = free_atom(potential, s, mixed=False).cpu().numpy()[0, self.engine.wanted]

    def spread(self, rows: FloatArray) -> FloatArray:
        """See `RowMaker`."""
        return self._arranged(rows) if self.mix is None else rows

    def _arranged(self, rows: FloatArray) -> FloatArray:
        """Copy equal features, mix, put into the order of `Columns`."""
        columns, engine, mix = self.columns, self.engine, self.mix
        n, width = columns.n_features, engine.n_columns
        result = np.empty((len(rows), len(columns)))
        for s in range(columns.n_species):
            own = rows[:, s * width : (s + 1) * width]
            linear = own[:, engine.sources]
            result[:, columns.weights(s)] = linear if mix is None else linear @ mix
            if columns.quadratic:
                products = own[:, n:]
                result[:, columns.products(s)] = products if mix is None else _mixed(products, mix)
            result[:, columns.bias(s)] = rows[:, columns.n_species * width + s]
        return result

    def __call__(self, index: Sequence[int]) -> Iterator[WeightedRows]:
        """See `RowMaker`."""
        for some in self._chunks(index):
            yield self._weighted(some, self.engine.compute([self.data.frames[i] for i in some]))

    def _chunks(self, index: Sequence[int]) -> Iterator[list[int]]:
        some: list[int] = []
        total, n_atoms, length, cutoff = 0, 0, 0.0, max(self.potential.cutoffs)
        per_atom = self.engine.numbers(1) + 3 * self.n_columns
        for i in index:
            atoms = self.data.frames[i]
            n = len(atoms)
            size = n * per_atom + 7 * self.n_columns
            room = length_of(atoms, cutoff)
            if some and (total + size > CHUNK or length + room > LONGEST or n_atoms + n > ATOMS):
                yield some
                some, total, n_atoms, length = [], 0, 0, 0.0
            some.append(i)
            total, n_atoms, length = total + size, n_atoms + n, length + room
        if some:
            yield some

    def _weighted(self, some: Sequence[int], found: FeatureRows) -> WeightedRows:
        """Return rows in the order energies, forces, strain gradients."""
        n_structures, n = len(some), len(found.species)
        sizes = np.array([len(self.data.frames[i]) for i in some])
        starts = np.cumsum(sizes) - sizes
        factors, targets = self._labels(some, sizes, found)
        width, f_end = self.columns.n_species * self.engine.n_columns, n_structures + 3 * n
        rows = np.empty((f_end + 6 * n_structures, self._width))
        rows[n_structures:, width:] = 0.0
        self._energies(rows[:n_structures], found.features, found.species, starts)
        scaled = factors[:, None] * self.scale
        rows[:n_structures] *= scaled[:n_structures]
        for block, at in ((found.forces, slice(n_structures, f_end)), (found.strain, slice(f_end, None))):
            m, k = len(block), block.shape[-1]
            part = block.reshape(m, width, k).transpose(0, 2, 1)
            np.multiply(part, scaled[at].reshape(m, k, 1), out=rows[at].reshape(m, k, -1)[..., :width])
        each = np.arange(n_structures)
        structure = np.concatenate([each, np.repeat(each, 3 * sizes), np.repeat(each, 6)])
        kept = factors > 0
        if not kept.all():
            rows, factors, targets, structure = rows[kept], factors[kept], targets[kept], structure[kept]
        if self.mix is not None:
            rows = self._arranged(rows)
        return WeightedRows(rows, targets * factors, np.asarray(some)[structure])

    def _energies(self, rows: FloatArray, features: FloatArray, species: IntArray, starts: IntArray) -> None:
        """Fill in the rows of the energies, without the unit of energy."""
        columns, width, n = self.columns, self.engine.n_columns, len(self.engine.wanted)
        a, b = np.triu_indices(n)
        halves, ends = np.where(a == b, 0.5, 1.0), np.append(starts[1:], len(species))
        for s in range(columns.n_species):
            own, free = species == s, self.free[s]
            counts = np.add.reduceat(own.astype(np.float64), starts)
            part = rows[:, s * width : (s + 1) * width]
            part[:, :n] = np.add.reduceat(np.where(own[:, None], features - free, 0.0), starts, axis=0)
            rows[:, columns.n_species * width + s] = 0.0 if self.exact else counts
            if columns.quadratic:
                for row, first, last, count in zip(part, starts, ends, counts, strict=True):
                    q = features[first:last][own[first:last]]
                    row[n:] = halves * (q.T @ q - count * np.outer(free, free))[a, b]

    def _labels(
        self, some: Sequence[int], sizes: IntArray, found: FeatureRows
    ) -> tuple[FloatArray, FloatArray]:
        """Return factors and labels of all rows; what has no label has the factor 0."""
        labels = [self.data.labels[i] for i in some]
        volumes = np.array([volume_of(self.data.frames[i]) for i in some])
        own = self.weighting.factors(some, labels, sizes, volumes)
        own[np.array([(x.energy is None, x.forces is None, x.strain_gradient is None) for x in labels])] = 0.0
        factors = [own[:, 0], np.repeat(own[:, 1], 3 * sizes), np.repeat(own[:, 2], 6)]
        forces = [
            np.zeros((n, 3)) if x.forces is None else x.forces for n, x in zip(sizes, labels, strict=True)
        ]
        none = np.zeros(6)
        targets = [
            np.array([0.0 if x.energy is None else x.energy for x in labels]),
            np.concatenate(forces).ravel(),
            np.array([none if x.strain_gradient is None else x.strain_gradient for x in labels]),
        ]
        if found.repulsion is not None:
            starts = np.cumsum(sizes) - sizes
            targets[0] -= np.add.reduceat(found.repulsion.energies, starts)
            targets[1] -= found.repulsion.forces.ravel()
            targets[2] -= np.add.reduceat(found.repulsion.strain, starts, axis=0)
        return np.concatenate([x.ravel() for x in factors]), np.concatenate([x.ravel() for x in targets])


def _mixed(products: FloatArray, mix: FloatArray) -> FloatArray:
    """Return products of mixed features, from those of unmixed ones: ``M^T P M`` of every row as a symmetric matrix."""
    n = len(mix)
    a, b = np.triu_indices(n)
    halves = np.where(a == b, 0.5, 1.0)
    result = np.empty_like(products)
    step = max(1, CHUNK // (n * n))
    for start in range(0, len(products), step):
        part = products[start : start + step] / halves
        full = np.empty((len(part), n, n))
        full[:, a, b] = full[:, b, a] = part
        result[start : start + step] = halves * (mix.T @ full @ mix)[:, a, b]
    return result
