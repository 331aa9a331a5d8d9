"""Memory a run will need, before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from forgefield.descriptors import Descriptor
from forgefield.training.batches import LabelledSet

__all__ = ["MemoryEstimate", "estimate_memory"]

BYTES_PER_PAIR = 8 + 3 * 8
"""A stored pair: index of the neighbour and three float64 components."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of the stored neighbour lists and of the largest mini-batch at work."""

    graphs: int
    batch: int

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        return self.graphs + self.batch

    def __str__(self) -> str:
        return f"{self.total / 1e6:.0f} MB ({self.graphs / 1e6:.0f} neighbour lists, {self.batch / 1e6:.0f} per step)"


def estimate_memory(
    descriptor: Descriptor, data: LabelledSet, batch_size: int, n_bytes: int
) -> MemoryEstimate:
    """Estimate the memory of training.

    Parameters
    ----------
    descriptor : Descriptor
    data : LabelledSet
    batch_size : int
        Structures per step.
    n_bytes : int
        Size of a number in the kernels: 4 or 8.
    """
    pairs_per_structure = sorted((sum(p.neighbours.size for p in g.pairs) for g in data.graphs), reverse=True)
    atoms = sum(sorted((g.n_atoms for g in data.graphs), reverse=True)[:batch_size])
    pairs = sum(pairs_per_structure[:batch_size])
    per_pair = max(
        4 * e.n_harmonics + 2 * e.radial.n_radial * e.n_channels + 8 for e in descriptor.expansions
    )
    per_atom = sum(e.n_channels * e.radial.n_radial * e.n_harmonics for e in descriptor.expansions)
    work = 2 * per_pair * pairs + 24 * (per_atom + descriptor.n_features) * atoms
    return MemoryEstimate(graphs=data.n_pairs * BYTES_PER_PAIR, batch=n_bytes * work)
