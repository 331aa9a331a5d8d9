"""What LAMMPS writes while it runs, read as it appears: rows of its log, frames of its dump."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Frame", "LammpsOutput", "box_of_dump"]

FloatArray = NDArray[np.float64]

HEAD = 9
"""Lines of a frame before its atoms."""


@dataclass(frozen=True)
class Frame:
    """A moment of a simulation, with LAMMPS's axes.

    Attributes
    ----------
    step : int
    thermo : list of float
        The row of the log, without the step.
    cell : (3, 3) array [Å]
        Lower triangular.
    atoms : (n_atoms, 9) or (n_atoms, 10) array
        Unwrapped positions [Å], velocities [Å/ps] and forces [eV/Å]; of a committee also the spread of the force.
    """

    step: int
    thermo: list[float]
    cell: FloatArray
    atoms: FloatArray


class _Lines:
    """The whole lines of a file that grows."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, 0
        self.waiting: list[str] = []

    def read(self) -> list[str]:
        """Return the lines not yet taken."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self.offset)
                whole, newline, _ = file.read().rpartition(b"\n")
            self.offset += len(whole) + len(newline)
            if newline:
                self.waiting += whole.decode("utf-8", "replace").split("\n")
        return self.waiting


class LammpsOutput:
    """Log and dump of a run.

    Parameters
    ----------
    log : Path
        Rows of `n_columns` numbers, the first of them the step.
    dump : Path
        Sorted by id, with the columns ``id xu yu zu vx vy vz fx fy fz`` and perhaps one more.
    n_columns : int
    """

    def __init__(self, log: Path, dump: Path, n_columns: int) -> None:
        self._log, self._dump, self.n_columns = _Lines(log), _Lines(dump), n_columns
        self._rows: dict[int, list[float]] = {}

    def frames(self) -> Iterator[Frame]:
        """Yield every frame that has become whole, and whose row of the log is there."""
        for line in self._log.read():
            words = line.split()
            if len(words) == self.n_columns and words[0].isdigit():
                try:
                    self._rows[int(words[0])] = [float(w) for w in words[1:]]
                except ValueError:
                    continue
        self._log.waiting.clear()
        lines = self._dump.read()
        while len(lines) >= HEAD:
            n, step = int(lines[3]), int(lines[1])
            if len(lines) < HEAD + n or step not in self._rows:
                return
            bounds = [[float(x) for x in line.split()] for line in lines[5:8]]
            values = np.array([line.split() for line in lines[HEAD : HEAD + n]], dtype=np.float64)[:, 1:]
            cell = box_of_dump(bounds, triclinic="xy" in lines[4])
            del lines[: HEAD + n]
            yield Frame(step, self._rows.pop(step), cell, values)


def box_of_dump(bounds: list[list[float]], *, triclinic: bool) -> FloatArray:
    """Return the cell of a dump, whose bounds are those of the box around it."""
    xy, xz, yz = (b[2] for b in bounds) if triclinic else (0.0, 0.0, 0.0)
    (xlo, xhi), (ylo, yhi), (zlo, zhi) = (b[:2] for b in bounds)
    xlo, xhi = xlo - min(0.0, xy, xz, xy + xz), xhi - max(0.0, xy, xz, xy + xz)
    ylo, yhi = ylo - min(0.0, yz), yhi - max(0.0, yz)
    return np.array([[xhi - xlo, 0.0, 0.0], [xy, yhi - ylo, 0.0], [xz, yz, zhi - zlo]])
