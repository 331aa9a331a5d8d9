"""Neighbours and memory a run will need, before it starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from forgefield.descriptors import Descriptor
from forgefield.errors import ConfigError, of_structure
from forgefield.graph import neighbour_pairs
from forgefield.training.batches import LabelledSet
from forgefield.training.streaming import StreamedSet

__all__ = ["MOST_NEIGHBOURS", "MemoryEstimate", "check_cutoff", "estimate_memory"]

MOST_NEIGHBOURS = 1000.0
"""Mean number of neighbours above which a cutoff is taken for a mistake."""

FEW_NEIGHBOURS = 5.0
"""Estimated neighbours below which it is counted whether there are any."""

SAMPLED = 200
"""Structures that stand for a set on disk."""

BYTES_PER_PAIR = 8 + 3 * 8
"""A stored pair: index of the neighbour and three float64 components."""

SHOWN = 5_000_000
"""State of an optimiser from which it is worth a word [bytes]."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of the stored neighbour lists and of the largest mini-batch at work.

    Attributes
    ----------
    graphs, batch : int [bytes]
    neighbours : float
        Mean number of neighbours of an atom within the largest cutoff.
    optimiser : int [bytes]
        What the optimiser keeps: the covariance of a Kalman filter grows with the square of its blocks.
    stored : int [bytes]
        Features and their derivatives, where a training keeps them.
    """

    graphs: int
    batch: int
    neighbours: float
    optimiser: int = 0
    stored: int = 0

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        return self.graphs + self.batch + self.optimiser + self.stored

    def __str__(self) -> str:
        parts = [f"{self.graphs / 1e6:.0f} neighbour lists", f"{self.batch / 1e6:.0f} per step"]
        if self.optimiser >= SHOWN:
            parts.append(f"{self.optimiser / 1e6:.0f} optimiser")
        if self.stored:
            parts.append(f"{self.stored / 1e6:.0f} stored features and derivatives")
        return f"{self.total / 1e6:.0f} MB ({', '.join(parts)})"


def estimate_memory(
    descriptor: Descriptor,
    data: LabelledSet,
    batch_size: int,
    n_bytes: int,
    optimiser: int = 0,
    stored: int = 0,
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
    optimiser : int [bytes]
        What the optimiser keeps.
    stored : int [bytes]
        Features and derivatives that are stored; steps then need little more.
    """
    if isinstance(data, StreamedSet):
        data = data.sample(SAMPLED)
    pairs_per_structure = sorted((sum(p.neighbours.size for p in g.pairs) for g in data.graphs), reverse=True)
    atoms = sum(sorted((g.n_atoms for g in data.graphs), reverse=True)[:batch_size])
    pairs = sum(pairs_per_structure[:batch_size])
    per_pair = max(e.numbers_per_pair for e in descriptor.expansions)
    per_atom = sum(math.prod(e.shape) for e in descriptor.expansions)
    work = 2 * per_pair * pairs + 24 * (per_atom + descriptor.n_features) * atoms
    if stored:
        work = 24 * descriptor.n_features * atoms
    found = sum(max(int(p.counts.sum()) for p in g.pairs) for g in data.graphs)
    return MemoryEstimate(
        graphs=data.n_pairs * BYTES_PER_PAIR,
        batch=n_bytes * work,
        neighbours=found / max(data.n_atoms, 1),
        optimiser=optimiser,
        stored=stored,
    )


def check_cutoff(descriptor: Descriptor, frames: Sequence[Atoms]) -> None:
    """Refuse a cutoff that would bury the run under neighbours, before they are looked for.

    Raises
    ------
    ConfigError
        More than `MOST_NEIGHBOURS` neighbours per atom on average, estimated from the densities; or none at all.
    """
    cutoff = max(descriptor.cutoffs)
    ball = 4.0 / 3.0 * np.pi * cutoff**3
    total = 0.0
    for atoms in frames:
        volume = abs(float(np.linalg.det(atoms.cell.array))) if atoms.pbc.all() else 0.0
        total += len(atoms) * (len(atoms) / volume * ball if volume > 0 else min(len(atoms) - 1, ball))
    mean = total / max(sum(len(a) for a in frames), 1)
    if mean > MOST_NEIGHBOURS:
        raise ConfigError(
            f"a cutoff of {cutoff:g} Å gives about {mean:.0f} neighbours per atom, more than {MOST_NEIGHBOURS:.0f}; 20 "
            "to 100 are usual, which is 4 to 7 Å in most solids: lower the cutoff of `descriptor`"
        )
    if mean < FEW_NEIGHBOURS and not any(_has_neighbours(atoms, cutoff) for atoms in frames):
        raise ConfigError(
            f"no atom in the data has a neighbour within the cutoff of {cutoff:g} Å, so there is nothing to learn; raise the "
            "cutoff of `descriptor` (4 to 7 Å are usual), or check the unit of the positions with `forgefield inspect`"
        )


def _has_neighbours(atoms: Atoms, cutoff: float) -> bool:
    with of_structure(str(atoms.info.get("name", "a structure"))):
        return len(neighbour_pairs(atoms, cutoff)[0]) > 0
