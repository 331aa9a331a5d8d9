"""Whether a training stores the features of its structures with their derivatives; decision 19."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from forgefield.engine.derivative_table import padded_features
from forgefield.errors import ConfigError
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.objective import Backend, Cache
from forgefield.training.optimisers.memory import physical_memory
from forgefield.training.stored import has_fixed_features
from forgefield.training.streaming import StreamedSet

__all__ = ["Wanted", "stored_bytes", "stores_derivatives"]

SHARE = 0.25
"""Of the machine's memory, for the tables of training and validation of all processes."""


class Wanted(Protocol):
    """What the settings of an optimiser say about it."""

    @property
    def cache(self) -> Cache:
        """Whether to store derivatives."""
        ...

    @property
    def backend(self) -> Backend:
        """What computes."""
        ...

    @property
    def epochs(self) -> int:
        """Passes over the structures."""
        ...


def stored_bytes(potential: Potential, data: LabelledSet) -> int:
    """Return how much memory the table of a set takes at most.

    Parameters
    ----------
    potential : Potential
        Its descriptor and number type count.
    data : LabelledSet
    """
    dtype = np.dtype(np.float32 if potential.dtype == torch.float32 else np.float64)
    columns, n_lists = 0, len(potential.descriptor.expansions)
    for labels, graph in zip(data.labels, data.graphs, strict=True):
        n = graph.n_atoms
        if labels.forces is not None:
            counts = np.max([p.counts for p in graph.pairs[:n_lists]], axis=0)
            columns += 3 * int(np.minimum(counts, n - 1).sum())
        if labels.strain_gradient is not None:
            columns += 6 * n
    row = padded_features(potential.descriptor.n_features, dtype) * dtype.itemsize
    return (columns + data.n_atoms) * row


LEAST_EPOCHS = 20
"""Passes over the structures in which a table saves about what it costs."""


def stores_derivatives(
    settings: Wanted, potential: Potential, sets: Sequence[LabelledSet], processes: int = 1
) -> bool:
    """Return whether a training stores derivatives; on one machine always the same answer.

    Parameters
    ----------
    settings : GradientSettings
        With `cache`: ``auto`` stores where derivatives cannot change, kernels compute on a processor, the structures are
        in memory, the tables take no more than `SHARE` of it, and there are `LEAST_EPOCHS` or more.
    potential : Potential
    sets : sequence of LabelledSet
        Training and validation.
    processes : int
        That each store all of it.

    Raises
    ------
    ConfigError
        ``derivatives`` was asked for where they cannot be stored.
    """
    if settings.cache == "none":
        return False
    reason = _obstacle(settings.backend, potential, sets)
    if settings.cache == "derivatives":
        if reason:
            raise ConfigError(f"`training.cache` is 'derivatives', but {reason}; use cache: auto")
        return True
    memory = physical_memory()
    if reason or memory is None or settings.epochs < LEAST_EPOCHS:
        return False
    return processes * sum(stored_bytes(potential, s) for s in sets) <= SHARE * memory


def _obstacle(backend: Backend, potential: Potential, sets: Sequence[LabelledSet]) -> str:
    """Return why nothing can be stored; empty if it can."""
    if not has_fixed_features(potential):
        return f"the {type(potential.descriptor).__name__} descriptor has parameters that are trained"
    if any(isinstance(s, StreamedSet) for s in sets):
        return "the structures are read from shards, batch by batch"
    if backend in ("torch", "cuda") or (backend == "auto" and potential.device.type != "cpu"):
        return "only compiled kernels on a processor use stored derivatives"
    return ""
