"""What LAMMPS writes while it runs, read as it appears: rows of its log, frames of its binary dump."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forgefield.deployment.engines import EngineError

__all__ = ["Frame", "LammpsOutput", "box_of_dump"]

FloatArray = NDArray[np.float64]

MAGIC = struct.pack("<q", -10) + b"DUMPCUSTOM" + struct.pack("<i", 1)
"""How every frame of a dump whose name ends in .bin begins, on a little-endian machine."""


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


class _Growing:
    """A file that grows."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, 0

    def read(self) -> bytes:
        """Return what has not yet been taken."""
        if not self.path.exists():
            return b""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read()


class _Cursor:
    """Reads numbers one after the other; IndexError where they are not there yet."""

    def __init__(self, content: bytes, at: int) -> None:
        self.content, self.at = content, at

    def take(self, layout: str) -> tuple[float, ...]:
        """Return numbers of a layout of `struct`."""
        return struct.unpack("<" + layout, self.skip(struct.calcsize("<" + layout)))

    def integer(self, layout: str = "i") -> int:
        """Return one integer."""
        return int(self.take(layout)[0])

    def skip(self, n: int) -> bytes:
        """Return so many bytes."""
        self.at += n
        if self.at > len(self.content):
            raise IndexError
        return self.content[self.at - n : self.at]


class LammpsOutput:
    """Log and dump of a run.

    Parameters
    ----------
    log : Path
        Rows of `n_columns` numbers, the first of them the step.
    dump : Path
        Binary, sorted by id, with the columns ``id xu yu zu vx vy vz fx fy fz`` and perhaps one more.
    n_columns : int
    """

    def __init__(self, log: Path, dump: Path, n_columns: int) -> None:
        self._log, self._dump, self.n_columns = _Growing(log), _Growing(dump), n_columns
        self._rows: dict[int, list[float]] = {}

    def frames(self) -> Iterator[Frame]:
        """Yield every frame that has become whole, and whose row of the log is there.

        Raises
        ------
        EngineError
            The dump is none of the kind this LAMMPS should write.
        """
        whole, newline, _ = self._log.read().rpartition(b"\n")
        self._log.offset += len(whole) + len(newline)
        for line in whole.decode("utf-8", "replace").split("\n"):
            words = line.split()
            if len(words) == self.n_columns and words[0].isdigit():
                try:
                    self._rows[int(words[0])] = [float(w) for w in words[1:]]
                except ValueError:
                    continue
        content, at = self._dump.read(), 0
        while True:
            try:
                step, cell, atoms, end = _frame(content, at)
            except IndexError:
                return
            if step not in self._rows:
                return
            self._dump.offset += end - at
            at = end
            yield Frame(step, self._rows.pop(step), cell, atoms)


def _frame(content: bytes, at: int) -> tuple[int, FloatArray, FloatArray, int]:
    """Return step, cell and atoms of the frame that begins at a byte, and where it ends."""
    cursor = _Cursor(content, at)
    if cursor.skip(len(MAGIC)) != MAGIC:
        raise EngineError(
            f"LAMMPS wrote a dump of another kind than expected: it begins with {content[at : at + len(MAGIC)]!r}"
        )
    cursor.integer()  # revision
    step, _ = cursor.integer("q"), cursor.integer("q")
    triclinic = cursor.integer()
    cursor.skip(6 * 4)  # kinds of boundaries
    bounds = np.array(cursor.take("6d")).reshape(3, 2).tolist()
    if triclinic:
        bounds = [[*pair, tilt] for pair, tilt in zip(bounds, cursor.take("3d"), strict=True)]
    columns = cursor.integer()
    cursor.skip(cursor.integer())  # units
    cursor.skip(8 * cursor.integer("b"))  # time
    cursor.skip(cursor.integer())  # names of the columns
    parts = [cursor.skip(8 * cursor.integer()) for _ in range(cursor.integer())]
    values = np.frombuffer(b"".join(parts), dtype="<f8").reshape(-1, columns)[:, 1:]
    return step, box_of_dump(bounds, triclinic=bool(triclinic)), values, cursor.at


def box_of_dump(bounds: list[list[float]], *, triclinic: bool) -> FloatArray:
    """Return the cell of a dump, whose bounds are those of the box around it."""
    xy, xz, yz = (b[2] for b in bounds) if triclinic else (0.0, 0.0, 0.0)
    (xlo, xhi), (ylo, yhi), (zlo, zhi) = (b[:2] for b in bounds)
    xlo, xhi = xlo - min(0.0, xy, xz, xy + xz), xhi - max(0.0, xy, xz, xy + xz)
    ylo, yhi = ylo - min(0.0, yz), yhi - max(0.0, yz)
    return np.array([[xhi - xlo, 0.0, 0.0], [xy, yhi - ylo, 0.0], [xz, yz, zhi - zlo]])
