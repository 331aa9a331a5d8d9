"""Files as the readers see them: found, decompressed, decoded, with clear errors."""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from forgefield.errors import DataError

__all__ = ["Candidate", "candidate", "expand", "read_bytes", "read_lines", "read_text"]

_COMPRESSIONS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_HEAD = 65536
_BROKEN = (EOFError, lzma.LZMAError, zlib.error)


@dataclass(frozen=True)
class Candidate:
    """What a format looks at to recognise a file.

    Parameters
    ----------
    path : Path
        The file or folder.
    name : str
        Lower-case name without a compression suffix.
    head : bytes
        The first 64 kB, decompressed; empty for a folder.
    is_folder : bool
        A folder rather than a file.
    """

    path: Path
    name: str
    head: bytes
    is_folder: bool

    @property
    def text(self) -> str:
        """The head as text; broken characters are replaced."""
        return self.head.decode("utf-8", errors="replace")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    opener = _COMPRESSIONS.get(path.suffix.lower())
    try:
        with path.open("rb") if opener is None else opener(path, "rb") as file:
            yield file
    except _BROKEN as error:
        raise DataError(f"{path}: the compressed file is damaged or cut off ({error})") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def candidate(path: Path) -> Candidate:
    """Look at the beginning of a file.

    Raises
    ------
    DataError
        The file is missing, unreadable or empty.
    """
    name = path.name.lower()
    for suffix in _COMPRESSIONS:
        name = name.removesuffix(suffix)
    if path.is_dir():
        return Candidate(path, name, b"", is_folder=True)
    with _opened(path) as file:
        head = file.read(_HEAD)
    if not head.strip():
        raise DataError(f"{path} is empty")
    return Candidate(path, name, head, is_folder=False)


def read_bytes(path: Path) -> bytes:
    """Return the whole decompressed file."""
    with _opened(path) as file:
        return file.read()


def read_text(path: Path) -> str:
    """Return the whole file as text.

    Raises
    ------
    DataError
        Missing, empty, damaged or binary.
    """
    data = read_bytes(path)
    if not data.strip():
        raise DataError(f"{path} is empty")
    if b"\0" in data[:_HEAD]:
        raise DataError(f"{path} is binary, not text; if it is right, name its format")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not text (byte {error.start} is not UTF-8)") from None


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file without holding it in memory.

    Raises
    ------
    DataError
        Missing, damaged or binary.
    """
    with _opened(path) as file:
        try:
            with io.TextIOWrapper(file, encoding="utf-8") as text:
                yield from text
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not text ({error.reason}); it may be binary or damaged") from None


def expand(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """Turn paths and patterns into existing files and folders, in a stable order.

    Parameters
    ----------
    paths : str, Path or sequence of them
        ``*``, ``?`` and ``[]`` are expanded where no file has that very name.

    Raises
    ------
    DataError
        A path does not exist or a pattern matches nothing.
    """
    items = [paths] if isinstance(paths, str | Path) else list(paths)
    if not items:
        raise DataError("no data files were given; name at least one file or folder")
    found: list[Path] = []
    for item in items:
        path = Path(item).expanduser()
        if path.exists():
            found.append(path)
            continue
        pattern = path.relative_to(path.anchor)
        matches = sorted(Path(path.anchor).glob(str(pattern))) if glob.has_magic(str(path)) else []
        if not matches:
            what = "matches no file" if glob.has_magic(str(path)) else "does not exist"
            raise DataError(f"{item} {what} (working folder: {Path.cwd()})")
        found.extend(map(Path, matches))
    unique = {path.resolve(): path for path in reversed(found)}
    return [path for path in dict.fromkeys(found) if unique.get(path.resolve()) == path]
