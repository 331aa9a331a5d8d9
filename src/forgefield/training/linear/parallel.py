"""Fits by several processes: each makes the rows of its structures, their triangles are merged, the answer is one.

A `Share` says who makes which rows. With `ProcessShare` every process of a `torch.distributed` group calls `fit_linear`
and ends with the same parameters; with `DaskShare` one process calls it, and the workers of a Dask cluster make the
rows. What travels is one triangle for each process, (p + 1)² numbers for p parameters, whatever the data.
"""

from __future__ import annotations

import copy
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from forgefield.errors import ConfigError
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.linear.assembly import RowBackend, accumulate, make_rows
from forgefield.training.linear.compress import Compressed
from forgefield.training.linear.weighting import Weighting

__all__ = ["DaskShare", "ProcessShare", "RowWork", "Share", "share_out"]

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class RowWork:
    """The rows of a labelled set that are to be compressed.

    Attributes
    ----------
    potential : Potential
    data : LabelledSet
    weighting : Weighting
    fold : (n_structures,) int
        To which of `n_folds` triangles each structure belongs.
    n_folds, n_parameters : int
    backend : {'auto', 'compiled', 'torch'}
    """

    potential: Potential
    data: LabelledSet
    weighting: Weighting
    fold: IntArray
    n_folds: int
    n_parameters: int
    backend: RowBackend

    def run(
        self, index: Sequence[int], on_structure: Callable[[int, int], None] | None = None
    ) -> list[Compressed]:
        """Return the triangles of the structures `index`."""
        make = make_rows(self.potential, self.data, self.weighting, self.backend)
        return accumulate(make, index, self.fold, self.n_folds, on_structure)

    def run_all(self) -> list[Compressed]:
        """Return the triangles of all structures."""
        return self.run(range(len(self.data)))

    def part(self, index: Sequence[int]) -> RowWork:
        """Return the work of some structures, without the data of the others."""
        some = np.asarray(index, dtype=np.int64)
        w = self.weighting
        weighting = replace(w, energy=w.energy[some], forces=w.forces[some], stress=w.stress[some])
        data = self.data.subset(self.potential, some.tolist())
        return replace(self, data=data, weighting=weighting, fold=self.fold[some])


class Share(Protocol):
    """Who makes which rows."""

    def compress(
        self, work: RowWork, on_structure: Callable[[int, int], None] | None = None
    ) -> list[Compressed]:
        """Return the triangles of all structures."""
        ...


def share_out(data: LabelledSet, n_parts: int) -> list[list[int]]:
    """Return the structures of each of several parts: the largest first, each to the part with the least atoms."""
    sizes = [len(a) for a in data.frames]
    parts = [(0, k, list[int]()) for k in range(n_parts)]
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        total, k, own = heapq.heappop(parts)
        heapq.heappush(parts, (total + sizes[i], k, [*own, i]))
    return [sorted(own) for _, _, own in sorted(parts, key=lambda part: part[1])]


def merged(parts: Sequence[list[Compressed]]) -> list[Compressed]:
    """Return the triangles of all parts together, fold by fold."""
    return [Compressed.join(of_fold) for of_fold in zip(*parts, strict=True)]


@dataclass(frozen=True)
class ProcessShare:
    """The share of this process in a group of `torch.distributed`; every process of the group calls `fit_linear`.

    Attributes
    ----------
    group : process group, optional
        Default: all processes. Its backend may be gloo or nccl.

    Notes
    -----
    All processes need the same data and settings, in the same order, and merge the triangles in the order of ranks:
    parameters are equal bit for bit on all of them, and those of a single process to rounding.
    """

    group: Any = None

    def compress(
        self, work: RowWork, on_structure: Callable[[int, int], None] | None = None
    ) -> list[Compressed]:
        """See `Share`."""
        if not (dist.is_available() and dist.is_initialized()):
            raise ConfigError(
                "a fit by several processes needs a process group; start it with torchrun and call "
                "torch.distributed.init_process_group('gloo') first"
            )
        rank, size = dist.get_rank(self.group), dist.get_world_size(self.group)
        own = work.run(share_out(work.data, size)[rank], on_structure)
        return merged([self._unpacked(x, work) for x in self._gathered(_packed(own, work), size)])

    def _gathered(self, own: torch.Tensor, size: int) -> list[torch.Tensor]:
        if dist.get_backend(self.group) == "nccl":
            own = own.cuda()
        every = [torch.empty_like(own) for _ in range(size)]
        dist.all_gather(every, own, group=self.group)
        return [x.cpu() for x in every]

    @staticmethod
    def _unpacked(values: torch.Tensor, work: RowWork) -> list[Compressed]:
        parts = []
        for one in values.numpy().reshape(work.n_folds, -1):
            m, n_rows = int(one[0]), int(one[1])
            rows = one[2:].reshape(-1, work.n_parameters + 1)[:m]
            parts.append(Compressed(rows[:, :-1].copy(), rows[:, -1].copy(), n_rows))
        return parts


def _packed(parts: Sequence[Compressed], work: RowWork) -> torch.Tensor:
    width = work.n_parameters + 1
    values = np.zeros((work.n_folds, 2 + width * width))
    for row, part in zip(values, parts, strict=True):
        m = len(part.labels)
        row[:2] = m, part.n_rows
        row[2 : 2 + m * width] = np.column_stack([part.rows, part.labels]).ravel()
    return torch.from_numpy(values)


@dataclass(frozen=True)
class DaskShare:
    """Rows by the workers of a Dask cluster; one process calls `fit_linear`.

    Attributes
    ----------
    client : dask.distributed.Client
        Workers with one thread each use the processor best.
    parts_per_worker : int
        More parts even out the work, and send more triangles.
    """

    client: Any
    parts_per_worker: int = 1

    def compress(
        self, work: RowWork, on_structure: Callable[[int, int], None] | None = None
    ) -> list[Compressed]:
        """See `Share`."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            raise ConfigError("the Dask cluster has no workers; add some, e.g. cluster.scale(2)")
        n_parts = max(1, min(len(workers) * self.parts_per_worker, len(work.data)))
        shares = share_out(work.data, n_parts)
        bare = replace(work, potential=copy.deepcopy(work.potential).cpu())
        futures = [self.client.submit(RowWork.run_all, bare.part(own), pure=False) for own in shares]
        results, done = [], 0
        for future, own in zip(futures, shares, strict=True):
            results.append(future.result())
            done += len(own)
            if on_structure is not None:
                on_structure(done, len(work.data))
        return merged(results)
