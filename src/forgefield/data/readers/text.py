"""A cursor over the lines of a program's output."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forgefield.data.frames import IncompleteError, Where
from forgefield.data.sources import read_lines
from forgefield.errors import DataError

__all__ = ["Cursor"]

_FLOAT = re.compile(r"[+-]?(?:\d+\.\d*|\.\d+|\d+)(?:[EeDd][+-]?\d+)?")


class Cursor:
    """Lines with their numbers; reading past the end is an `IncompleteError`.

    Parameters
    ----------
    path : Path
        Text file, possibly compressed.
    """

    def __init__(self, path: Path) -> None:
        self._lines = read_lines(path)
        self.path = str(path)
        self.number = 0
        self.frame = 0

    @property
    def where(self) -> Where:
        """The current place, for messages."""
        return Where(self.path, self.frame, self.number)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        if not line.endswith("\n"):
            # Programs end every line; a last line without an end was cut off, perhaps within a number.
            raise StopIteration
        return line

    def take(self, count: int, what: str) -> list[str]:
        """Return the next lines.

        Raises
        ------
        IncompleteError
            The file ends before.
        """
        lines = []
        for _ in range(count):
            line = next(self, None)
            if line is None:
                raise self.incomplete(what)
            lines.append(line)
        return lines

    def incomplete(self, what: str) -> IncompleteError:
        """Return the error for a file that ends within a frame."""
        return IncompleteError(
            f"{self.where}: the file breaks off within {what}; let the run finish or copy it again, or read with "
            "allow_incomplete=true to use the structures before"
        )

    def floats(self, line: str, count: int, what: str, *, last: bool = False) -> NDArray[np.float64]:
        """Return the first (or last) numbers of a line.

        Raises
        ------
        DataError
            Too few numbers, for example stars where one did not fit.
        """
        found = _FLOAT.findall(line)
        if len(found) < count or "*" in line:
            raise DataError(f"{self.where}: expected {count} numbers for {what}, got {line.strip()[:80]!r}")
        words = found[-count:] if last else found[:count]
        return np.array([float(word.replace("D", "E").replace("d", "e")) for word in words])
