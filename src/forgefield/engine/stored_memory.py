"""Memory of the kernels on stored features, cut to the size of a batch once for all batches like it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.tracer.cache import address, aligned

__all__ = ["Room", "StoredMemory"]

ROOMS = 256
"""Sizes of batches that are remembered."""

Array = NDArray[Any]
Size = tuple[int, int, int, int]


@dataclass
class Room:
    """Memory cut to the size of a batch.

    Attributes
    ----------
    features, bars : (n_blocks, n_features, lanes)
    by_atom, changes_by_block : (n_blocks, n_features, lanes)
        Views of rows for each lane: what belongs to `bars`, and `changes`.
    energies : (n_blocks * lanes,)
    changes : (n_blocks * lanes, width)
        Of the features.
    forces : (n_atoms, 3); strain : (n_structures, 6)
    sums : list of (n_parameters,)
        Of each thread.
    calls : dict of kernel to list of list of int
        What each thread calls it with, behind what belongs to the batch.
    """

    features: Array
    bars: Array
    by_atom: Array
    changes_by_block: Array
    energies: Array
    changes: Array
    forces: Array
    strain: Array
    sums: list[Array]
    calls: dict[str, list[list[int]]]


class StoredMemory:
    """Memory that grows with the largest batch.

    Parameters
    ----------
    dtype : numpy dtype
    lanes, n_features, width : int
        Atoms in a block; features; numbers in a row of the table.
    n_parameters, work : int
        Numbers that the gradient, and that the kernels of the model need for themselves.
    constants, table : list of int
        Addresses that the kernels of the model, and those that read the table, are called with.
    """

    def __init__(
        self,
        dtype: Any,
        lanes: int,
        n_features: int,
        width: int,
        *,
        n_parameters: int,
        work: int,
        constants: list[int],
        table: list[int],
    ) -> None:
        self.dtype, self.lanes, self.n_features, self.width = np.dtype(dtype), lanes, n_features, width
        self.n_parameters, self.work, self.constants, self.table = n_parameters, work, constants, table
        self._memory: dict[Any, tuple[Array, int]] = {}
        self._rooms: dict[Size, Room] = {}

    def room(self, n_blocks: int, n_atoms: int, n_structures: int, threads: int) -> Room:
        """Return the memory of a batch of some size, contents as they were left."""
        size = n_blocks, n_atoms, n_structures, threads
        found = self._rooms.get(size)
        if found is None:
            found = self._cut(*size)
            if len(self._rooms) >= ROOMS:
                self._rooms.clear()
            self._rooms[size] = found
        return found

    def by_block(self, rows: Array) -> Array:
        """Return rows of lanes (n_slots, width) as (n_blocks, n_features, lanes)."""
        per_block = rows.reshape(-1, self.lanes, self.width).transpose(0, 2, 1)
        return per_block[:, : self.n_features]

    def _take(self, name: Any, *shape: int) -> Array:
        """Return memory; all that was cut is forgotten where it had to grow."""
        size = math.prod(shape)
        have = self._memory.get(name)
        if have is None or have[0].size < size:
            self._rooms.clear()
            new = aligned(size + size // 4, self.dtype)
            have = self._memory[name] = new, address(new)
        return have[0][:size].reshape(shape)

    def _at(self, *names: Any) -> list[int]:
        """Return where pieces of memory begin."""
        return [self._memory[name][1] for name in names]

    def _cut(self, n_blocks: int, n_atoms: int, n_structures: int, threads: int) -> Room:
        features, slots = (n_blocks, self.n_features, self.lanes), n_blocks * self.lanes
        # Nobody writes behind the features of a row, so that zeros stay there.
        by_atom, changes = (self._take(name, slots, self.width) for name in ("by_atom", "changes"))
        of_threads = range(max(1, min(threads, max(n_blocks, n_structures))))
        for t in of_threads:
            self._take(("work", t), self.work)
        room = Room(
            features=self._take("features", *features),
            bars=self._take("bars", *features),
            by_atom=self.by_block(by_atom),
            changes_by_block=self.by_block(changes),
            energies=self._take("energies", slots),
            changes=changes,
            forces=self._take("forces", n_atoms, 3),
            strain=self._take("strain", n_structures, 6),
            sums=[self._take(("gradients", t), self.n_parameters) for t in of_threads],
            calls={},
        )
        model = [[*self.constants, *self._at(("work", t), "features")] for t in of_threads]
        atoms = self._at("forces", "strain")
        room.calls = {
            "values": [[*own, *self._at("energies", "bars")] for own in model],
            "pull": [[*self.table, *self._at("by_atom"), *atoms] for _ in of_threads],
            "push": [[*self.table, *self._at("changes"), *atoms] for _ in of_threads],
            "gradients": [
                [*own, *self._at("bars", "energies", ("gradients", t))] for t, own in enumerate(model)
            ],
        }
        return room
