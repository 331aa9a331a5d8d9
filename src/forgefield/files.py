"""Files: clear errors on reading, atomic writes (temporary file, fsync, rename)."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from forgefield.errors import DataError, ForgefieldError

__all__ = [
    "append_csv",
    "make_folder",
    "read_text",
    "write_bytes",
    "write_csv",
    "write_json",
    "write_text",
]


def read_text(path: str | Path) -> str:
    """Return the text of a file.

    Raises
    ------
    DataError
        The file does not exist, is a folder, may not be read, or is not UTF-8 text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file (byte {error.start} is not UTF-8)") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def make_folder(path: str | Path) -> Path:
    """Create a folder with its parents, or explain why not."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ForgefieldError(
            f"cannot create the folder {folder}: {error.strerror or error}; choose another with -o"
        ) from None
    return folder


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write a file so that a reader sees the old content or the new, never a part.

    Raises
    ------
    ForgefieldError
        No permission, no space, or no such folder. The previous file is left as it was.
    """
    target = Path(path)
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(_default_mode())
        Path(temporary).replace(target)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise ForgefieldError(
            f"cannot write {target}: {error.strerror or error}; nothing was changed"
        ) from None
    return target


def _default_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def write_text(path: str | Path, content: str) -> Path:
    """Write UTF-8 text atomically."""
    return write_bytes(path, content.encode("utf-8"))


def write_json(path: str | Path, content: Any) -> Path:
    """Write JSON atomically, indented; NaN is refused rather than written as invalid JSON."""
    return write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_csv(path: str | Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Path:
    """Write rows of named columns atomically."""
    header = dict(zip(columns, columns, strict=True))
    return write_text(path, _csv([header, *rows], columns))


def append_csv(path: str | Path, row: Mapping[str, Any], columns: Sequence[str]) -> None:
    """Append a row to a file of `write_csv` in one call of the system, so that readers see whole rows.

    Nothing waits for the disk: a machine that loses power may lose the last rows.

    Raises
    ------
    ForgefieldError
        No permission or no space; the part of the row that was written is taken away again.
    """
    line = _csv([row], columns).encode("utf-8")
    try:
        with Path(path).open("ab", buffering=0) as file:
            before = file.tell()
            fits = file.write(line) == len(line)
            if not fits:
                file.truncate(before)
    except OSError as error:
        raise ForgefieldError(f"cannot write {path}: {error.strerror or error}") from None
    if not fits:
        raise ForgefieldError(f"cannot write {path}: {os.strerror(errno.ENOSPC)}")


def _csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.DictWriter(buffer, fieldnames=list(columns), lineterminator="\n").writerows(rows)
    return buffer.getvalue()
