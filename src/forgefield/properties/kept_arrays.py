"""Arrays of a computation in pieces, kept in one file so that a run that was interrupted computes only what is missing."""

from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.errors import CheckpointError
from forgefield.files import write_bytes
from forgefield.properties.journal import refuse_other

__all__ = ["KeptArrays"]

FloatArray = NDArray[np.float64]

PAUSE = 20.0
"""Seconds between two times that the file is written, so that many short pieces cost nothing."""


class KeptArrays:
    """Arrays by name.

    Parameters
    ----------
    path : Path, optional
        A .npz file; None: kept in memory only.
    digest : str
        Of structure and settings, see `journal.fingerprint`.

    Raises
    ------
    CheckpointError
        The file belongs to another run, or is damaged.
    """

    def __init__(self, path: Path | None, digest: str) -> None:
        self.path, self.digest = path, digest
        self.arrays: dict[str, FloatArray] = {}
        self.written = time.monotonic()
        if path is None or not path.exists():
            return
        try:
            with np.load(path, allow_pickle=False) as file:
                found: dict[str, Any] = {name: file[name] for name in file.files}
            of = str(found.pop("digest"))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CheckpointError(
                f"{path} is damaged or not of this computation ({error}); remove it to begin anew"
            ) from None
        refuse_other(path, of, digest)
        self.arrays = found

    def get(self, name: str) -> FloatArray | None:
        """Return an array, or None."""
        return self.arrays.get(name)

    def put(self, name: str, array: FloatArray, *, at_once: bool = False) -> None:
        """Keep an array; it is on disk at the latest after the next `flush`."""
        self.arrays[name] = array
        if at_once or time.monotonic() - self.written > PAUSE:
            self.flush()

    def require(self, name: str, value: float, tolerance: float, what: str) -> None:
        """Keep a number, or raise where it is not the one kept.

        Raises
        ------
        CheckpointError
            They differ by more than the tolerance.
        """
        before = self.get(name)
        if before is None:
            self.put(name, np.array(value))
        elif not abs(float(before) - value) <= tolerance:
            raise CheckpointError(
                f"{self.path} belongs to another {what} ({float(before):.8g}, this one is {value:.8g}); choose another folder "
                "with -o, or remove the file to begin anew"
            )

    def flush(self) -> None:
        """Write the file."""
        self.written = time.monotonic()
        if self.path is None:
            return
        content = io.BytesIO()
        np.savez(content, digest=np.array(self.digest), **self.arrays)  # type: ignore[arg-type]
        write_bytes(self.path, content.getvalue())
