"""DeePMD-kit folders: ``type.raw``, ``type_map.raw`` and NumPy arrays in ``set.*``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forgefield.data.frames import RawFrame, Where, atomic_number
from forgefield.data.options import ReadOptions
from forgefield.data.readers.base import Format
from forgefield.data.sources import Candidate, read_text
from forgefield.data.stress import CONVENTIONS
from forgefield.errors import DataError

__all__ = ["FORMAT"]


def _sniff(file: Candidate) -> bool:
    return file.is_folder and (file.path / "type.raw").is_file() and any(file.path.glob("set.*/coord.npy"))


def _load(folder: Path, name: str, shape: tuple[int, int]) -> NDArray[np.float64] | None:
    """Return an array of `shape` (-1: any number of frames), None where the file is missing."""
    path = folder / f"{name}.npy"
    if not path.is_file():
        return None
    try:
        array = np.load(path, allow_pickle=False)
        values = np.asarray(array, dtype=np.float64)
        return values.reshape(shape[0] if shape[0] >= 0 else len(values), shape[1])
    except (ValueError, EOFError, OSError, TypeError, MemoryError) as error:
        raise DataError(f"{path}: not a NumPy array of {shape[1]} numbers per frame ({error})") from None


def _numbers(folder: Path) -> NDArray[np.int64]:
    where = Where(str(folder / "type.raw"))
    words = read_text(folder / "type.raw").split()
    if not (folder / "type_map.raw").is_file():
        raise DataError(
            f"{folder}: type_map.raw is missing; write the element of each type into it, such as 'O H'"
        )
    names = read_text(folder / "type_map.raw").split()
    if not all(word.isdigit() and int(word) < len(names) for word in words):
        raise DataError(f"{where}: types must be integers from 0 to {len(names) - 1} (type_map.raw)")
    table = np.array([atomic_number(name, where) for name in names], dtype=np.int64)
    return table[[int(word) for word in words]]


def _read(path: Path, options: ReadOptions) -> Iterator[RawFrame]:
    del options
    if not path.is_dir():
        raise DataError(f"{path}: a DeePMD data set is a folder with type.raw and set.*; name the folder")
    numbers = _numbers(path)
    n_atoms = len(numbers)
    periodic = not (path / "nopbc").exists()
    for folder in sorted(path.glob("set.*")):
        coordinates = _load(folder, "coord", (-1, 3 * n_atoms))
        if coordinates is None:
            raise DataError(f"{folder}: coord.npy is missing")
        n_frames = len(coordinates)
        box = _load(folder, "box", (n_frames, 9))
        if box is None and periodic:
            raise DataError(f"{folder}: box.npy is missing; add it, or an empty file `nopbc` beside type.raw")
        energy = _load(folder, "energy", (n_frames, 1))
        forces = _load(folder, "force", (n_frames, 3 * n_atoms))
        virial = _load(folder, "virial", (n_frames, 9))
        for k in range(n_frames):
            yield RawFrame(
                numbers=numbers,
                positions=coordinates[k].reshape(-1, 3),
                cell=np.zeros((3, 3)) if box is None or not periodic else box[k].reshape(3, 3),
                pbc=(periodic, periodic, periodic),
                energy=None if energy is None else float(energy[k, 0]),
                forces=None if forces is None else forces[k].reshape(-1, 3),
                stress=None if virial is None or not periodic else virial[k],
                convention=CONVENTIONS["virial"],
            )


FORMAT = Format("deepmd", "DeePMD-kit folder (raw and npy)", _sniff, _read, aliases=("deepmd/npy",))
