"""One reader a format, and the registry that finds the right one."""

from __future__ import annotations

from pathlib import Path

from forgefield.data.readers import (
    ase_db,
    deepmd,
    espresso,
    extxyz,
    fitsnap,
    mlearn,
    n2p2,
    outcar,
    pyxtal,
    vasprun,
)
from forgefield.data.readers.base import Format
from forgefield.data.sources import Candidate, candidate
from forgefield.errors import DataError, did_you_mean

__all__ = ["FORMATS", "Format", "find_format", "recognise"]

FORMATS: dict[str, Format] = {
    reader.FORMAT.name: reader.FORMAT
    for reader in (ase_db, deepmd, outcar, vasprun, espresso, mlearn, fitsnap, pyxtal, n2p2, extxyz)
}
"""Every format by name, in the order in which files are offered to them."""


def find_format(name: str) -> Format:
    """Return a format by its name or alias.

    Raises
    ------
    DataError
        No such format; the names are listed.
    """
    key = name.strip().lower()
    for form in FORMATS.values():
        if key in (form.name, *form.aliases):
            return form
    raise DataError(f"unknown format {name!r}; {did_you_mean(key, FORMATS)}")


def recognise(path: Path) -> tuple[Format | None, Candidate]:
    """Tell the format of a file or folder from its content.

    Returns
    -------
    (Format or None, Candidate)
        None where no format claims it.
    """
    file = candidate(path)
    return next((form for form in FORMATS.values() if form.sniff(file)), None), file
