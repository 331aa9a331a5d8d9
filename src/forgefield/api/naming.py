"""Errors about a structure say which one it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ase import Atoms

from forgefield.errors import StructureError, UnknownSpeciesError
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential

__all__ = ["naming"]


@contextmanager
def naming(potential: Potential | Committee, frames: Sequence[Atoms]) -> Iterator[None]:
    """Put the name of the structure in front of an error about one of `frames`.

    Raises
    ------
    StructureError, UnknownSpeciesError
        As raised inside, with the name.
    """
    try:
        yield
    except (StructureError, UnknownSpeciesError):
        for n, atoms in enumerate(frames):
            try:
                potential.graph(atoms)
            except (StructureError, UnknownSpeciesError) as error:
                name = atoms.info.get("name", f"structure {n}")
                raise type(error)(f"{name}: {error}") from None
        raise
