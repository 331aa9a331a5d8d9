"""Training on structures that stay on disk: each batch is read when its turn comes, and forgotten after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, overload

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.data import group_of
from forgefield.data.shards import Shards
from forgefield.graph import Graph
from forgefield.models.potential import Potential
from forgefield.tracer.cache import aligned
from forgefield.training.batches import LabelledSet, Labels, labels_of
from forgefield.training.compiled import CompiledObjective, SetPoints
from forgefield.training.loss import Loss
from forgefield.training.loss_arrays import ArrayLabels, ArrayTerms

__all__ = ["StreamedObjective", "StreamedSet"]

FloatArray = NDArray[np.float64]
T = TypeVar("T")


class _Made(Sequence[T]):
    """Values made anew whenever they are asked for."""

    def __init__(self, n: int, make: Callable[[int], T]) -> None:
        self._n, self._make = n, make

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, i: int) -> T: ...
    @overload
    def __getitem__(self, i: slice) -> list[T]: ...
    def __getitem__(self, i: int | slice) -> T | list[T]:
        if isinstance(i, slice):
            return [self._make(k) for k in range(*i.indices(self._n))]
        if not -self._n <= i < self._n:
            raise IndexError(i)
        return self._make(i % self._n)

    def passing(self, i: int) -> T:
        """Return a value; none is ever kept."""
        return self._make(i)


class StreamedSet(LabelledSet):
    """A `LabelledSet` that keeps no structure.

    Parameters
    ----------
    potential, group_weights
        See `LabelledSet`.
    frames : sequence of ase.Atoms
        `Shards`, or a few structures just read.
    """

    def __init__(
        self, potential: Potential, frames: Sequence[Atoms], group_weights: Mapping[str, float] | None = None
    ) -> None:
        factors = dict(group_weights or {})
        references = dict(zip(potential.species, potential.references.tolist(), strict=True))

        def labels(i: int) -> Labels:
            atoms = frames[i]
            return labels_of(atoms, references, factors.get(group_of(atoms), 1.0))

        n = len(frames)
        self._potential, self._factors = potential, factors
        self.frames = frames
        self.graphs = _Made[Graph](n, lambda i: potential.graph(frames[i]))  # type: ignore[assignment]
        self.labels = _Made(n, labels)  # type: ignore[assignment]
        self.names = _Made(n, lambda i: str(frames[i].info.get("name", f"structure {i}")))  # type: ignore[assignment]

    @property
    def n_atoms(self) -> int:
        """Atoms in all structures."""
        return int(self.frames.sizes.sum()) if isinstance(self.frames, Shards) else super().n_atoms

    @property
    def n_pairs(self) -> int:
        """Pairs that are kept: none."""
        return 0

    @property
    def max_neighbours(self) -> list[int]:
        """Most neighbours of an atom in each list of pairs."""
        found: list[int] = []
        for graph in self.graphs:
            most = [int(p.counts.max(initial=0)) for p in graph.pairs]
            found = [max(a, b) for a, b in zip(found or most, most, strict=True)]
        return found

    def pick(self, index: Sequence[int]) -> StreamedSet:
        """Return some structures, read now."""
        return StreamedSet(self._potential, [self.frames[i] for i in index], self._factors)

    def sample(self, n: int) -> StreamedSet:
        """Return at most n structures, evenly spread."""
        some = np.unique(np.linspace(0, len(self) - 1, min(n, len(self))).astype(int))
        return self.pick(some.tolist())


class StreamedObjective(CompiledObjective):
    """`CompiledObjective` that reads each batch from disk; the same bits.

    Parameters
    ----------
    potential, loss, threads
        See `CompiledObjective`.
    data : StreamedSet
    """

    def __init__(
        self, potential: Potential, data: StreamedSet, loss: Loss, threads: int | None = None
    ) -> None:
        super().__init__(potential, data.pick([]), loss, threads)
        self.data = data
        self._loaded: list[int] | None = None

    def gradient(self, index: Sequence[int], weights: Mapping[str, float]) -> ArrayTerms:
        """See `CompiledObjective.gradient`."""
        return super().gradient(self._load(index), weights)

    def terms(self, index: Sequence[int]) -> ArrayTerms:
        """See `CompiledObjective.terms`."""
        return super().terms(self._load(index))

    def linearise(self, index: Sequence[int]) -> tuple[ArrayTerms, tuple[FloatArray, FloatArray, FloatArray]]:
        """See `CompiledObjective.linearise`."""
        return super().linearise(self._load(index))

    def labels_of(self, index: Sequence[int]) -> ArrayLabels:
        """See `CompiledObjective.labels_of`."""
        if self._loaded == list(index):
            return super().labels_of(range(len(self._loaded)))
        part = self.data.pick(index)
        return ArrayLabels.of(part, part.learned(self.potential))

    def _load(self, index: Sequence[int]) -> range:
        """Read the structures of a batch; return their numbers therein."""
        wanted = list(index)
        if self._loaded != wanted:
            part = self.data.pick(wanted)
            self.points = SetPoints(self.potential, part)
            self.labels = ArrayLabels.of(part, part.learned(self.potential))
            self._loaded = wanted
            n = len(self.points.positions)
            if n > len(self._force_bars):
                self._forces = []
                self._force_bars = aligned((n + n // 4, 4), self.engine.dtype)
            self._force_bars[:n] = 0.0
        return range(len(wanted))
