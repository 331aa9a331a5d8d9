"""RuNNer and n2p2 ``input.data``. The format carries no units; eV and Å are assumed unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from forgefield.data.frames import IncompleteError, RawFrame, Where, atomic_number, number_array
from forgefield.data.options import ReadOptions
from forgefield.data.readers.base import Format
from forgefield.data.sources import Candidate, read_lines
from forgefield.errors import DataError

__all__ = ["FORMAT"]


def _sniff(file: Candidate) -> bool:
    return not file.is_folder and file.text.split(maxsplit=1)[:1] == ["begin"]


@dataclass
class _Block:
    start: int
    lattice: list[list[str]] = field(default_factory=list)
    atoms: list[list[str]] = field(default_factory=list)
    energy: str | None = None
    comment: str = ""


def _read(path: Path, options: ReadOptions) -> Iterator[RawFrame]:
    del options
    block: _Block | None = None
    index = 0
    number = 0
    for line in read_lines(path):
        number += 1
        words = line.split()
        where = Where(str(path), index, number)
        keyword = words[0].lower() if words else ""
        if keyword in ("", "#"):
            continue
        if keyword == "begin":
            if block is not None:
                raise DataError(f"{where}: `begin` before the `end` of the structure of line {block.start}")
            block = _Block(number)
        elif block is None:
            raise DataError(f"{where}: expected `begin`, got {line.strip()[:40]!r}")
        elif keyword == "end":
            yield _frame(block, Where(str(path), index, block.start))
            block = None
            index += 1
        else:
            _line(block, keyword, words, where)
    if block is not None:
        raise IncompleteError(
            f"{Where(str(path), index, number)}: the file breaks off within a structure (no `end`); copy it again, "
            "or read with allow_incomplete=true to use the structures before"
        )


def _line(block: _Block, keyword: str, words: list[str], where: Where) -> None:
    if keyword == "comment":
        block.comment = " ".join(words[1:])
    elif keyword == "lattice":
        block.lattice.append(words[1:4])
    elif keyword == "atom":
        if len(words) < 10:
            raise DataError(
                f"{where}: `atom` needs x y z element c1 c2 fx fy fz, got {len(words) - 1} values"
            )
        block.atoms.append(words[1:10])
    elif keyword == "energy":
        block.energy = words[1] if len(words) > 1 else ""
    elif keyword != "charge":
        raise DataError(
            f"{where}: unknown keyword {words[0][:30]!r}; known: atom, charge, comment, energy, lattice"
        )


def _frame(block: _Block, where: Where) -> RawFrame:
    if len(block.lattice) not in (0, 3):
        raise DataError(
            f"{where}: {len(block.lattice)} `lattice` lines; give three, or none without periodicity"
        )
    if not block.atoms:
        raise DataError(f"{where}: a structure without `atom` lines")
    periodic = bool(block.lattice)
    cell = number_array(block.lattice, "lattice", where, (3, 3)) if periodic else np.zeros((3, 3))
    info = {"comment": block.comment} if block.comment else {}
    return RawFrame(
        numbers=np.array([atomic_number(row[3], where) for row in block.atoms], dtype=np.int64),
        positions=number_array([row[:3] for row in block.atoms], "positions", where, (-1, 3)),
        cell=cell,
        pbc=(periodic, periodic, periodic),
        energy=None if block.energy is None else float(number_array(block.energy, "energy", where, ())),
        forces=number_array([row[6:9] for row in block.atoms], "forces", where, (-1, 3)),
        info=info,
        line=block.start,
    )


FORMAT = Format("n2p2", "n2p2 / RuNNer input.data", _sniff, _read, aliases=("runner",))
