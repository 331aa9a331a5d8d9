"""What a format is: a name, a way to recognise it and a reader."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgefield.data.frames import RawFrame, Where
from forgefield.data.options import ReadOptions
from forgefield.data.sources import Candidate, read_text
from forgefield.errors import DataError

__all__ = ["Format", "load_json", "require"]


@dataclass(frozen=True)
class Format:
    """A data format.

    Parameters
    ----------
    name : str
        What the user writes in ``format:``.
    title : str
        One line for tables and messages.
    sniff : callable
        Tell from the beginning of a file (or a folder) whether it is of this format.
    read : callable
        Yield the frames of one file or folder; raises `DataError`.
    aliases : tuple of str
        Other names of the same format.
    """

    name: str
    title: str
    sniff: Callable[[Candidate], bool]
    read: Callable[[Path, ReadOptions], Iterator[RawFrame]]
    aliases: tuple[str, ...] = ()


def load_json(path: Path, *, skip_comments: bool = False) -> Any:
    """Parse a JSON file, optionally without its leading ``#`` lines.

    Raises
    ------
    DataError
        Not JSON; line and column are named.
    """
    text = read_text(path)
    skipped = 0
    while skip_comments and text.lstrip().startswith("#"):
        _, _, text = text.lstrip().partition("\n")
        skipped += 1
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno + skipped}, column {error.colno}: not valid JSON ({error.msg}); "
            "the file may be cut off"
        ) from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"{path}: not usable JSON ({error})") from None


def require(mapping: Any, key: str, where: Where) -> Any:
    """Return ``mapping[key]`` or say that it is missing.

    Raises
    ------
    DataError
        Not a mapping, or no such key.
    """
    if not isinstance(mapping, dict):
        raise DataError(f"{where}: expected an object with {key!r}, got {type(mapping).__name__}")
    if key not in mapping:
        raise DataError(
            f"{where}: {key!r} is missing; found {', '.join(map(str, sorted(mapping))) or 'nothing'}"
        )
    return mapping[key]
