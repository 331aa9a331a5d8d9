"""What identifies the content of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol

import numpy as np
from ase import Atoms

from forgefield.data.frames import get_energy, get_forces, get_stress
from forgefield.keys import PROPERTIES

__all__ = ["content_hash", "feed"]


class Digest(Protocol):
    """A hash in the making."""

    def update(self, content: bytes, /) -> None:
        """Add some bytes."""


def content_hash(frames: Iterable[Atoms]) -> str:
    """Return the sha256 over species, cells, positions and labels, in order; names and paths do not count."""
    digest = hashlib.sha256()
    for atoms in frames:
        feed(digest, atoms)
    return digest.hexdigest()


def feed(digest: Digest, atoms: Atoms) -> None:
    """Add a structure to a `content_hash` in the making."""
    digest.update(np.asarray(atoms.numbers, dtype="<i8").tobytes())
    digest.update(np.asarray(atoms.pbc, dtype="<i1").tobytes())
    digest.update((np.asarray(atoms.cell.array, dtype="<f8") + 0.0).tobytes())
    digest.update((np.asarray(atoms.positions, dtype="<f8") + 0.0).tobytes())
    for name, value in zip(
        PROPERTIES, (get_energy(atoms), get_forces(atoms), get_stress(atoms)), strict=True
    ):
        digest.update(name.encode() if value is not None else b"-")
        if value is not None:
            digest.update((np.asarray(value, dtype="<f8") + 0.0).tobytes())
