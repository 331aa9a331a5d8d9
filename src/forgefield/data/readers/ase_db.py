"""ASE databases (SQLite), also those of PyXtal_FF that keep the labels in ``row.data``.

The tables are read directly and read-only, so no lock file is made beside the data and nothing in the file
can run code.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.data.frames import RawFrame, Where, number_array
from forgefield.data.options import ReadOptions
from forgefield.data.readers.base import Format
from forgefield.data.readers.labels import assign_labels, assign_weights
from forgefield.data.readers.pyxtal import PYXTAL_STRESS
from forgefield.data.sources import Candidate, read_bytes
from forgefield.errors import DataError

__all__ = ["FORMAT"]

_MAGIC = b"SQLite format 3\0"
_COLUMNS = (
    "id",
    "numbers",
    "positions",
    "cell",
    "pbc",
    "energy",
    "free_energy",
    "forces",
    "stress",
    "key_value_pairs",
    "data",
)


def _sniff(file: Candidate) -> bool:
    return not file.is_folder and file.head.startswith(_MAGIC)


def _connect(path: Path) -> sqlite3.Connection:
    if path.suffix.lower() in (".gz", ".bz2", ".xz"):
        connection = sqlite3.connect(":memory:")
        connection.deserialize(read_bytes(path))
        return connection
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def _read(path: Path, options: ReadOptions) -> Iterator[RawFrame]:
    try:
        with closing(_connect(path)) as connection:
            tables = {
                row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
            }
            if "systems" not in tables:
                raise DataError(f"{path}: an SQLite file without the table `systems` is not an ASE database")
            rows = connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM systems ORDER BY id")  # noqa: S608
            for index, row in enumerate(rows):
                values = dict(zip(_COLUMNS, row, strict=True))
                yield _frame(values, options, Where(f"{path} (id {values['id']})", index))
    except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the database is damaged or not ASE's ({error})") from None


def _array(blob: Any, dtype: Any, what: str, where: Where) -> NDArray[Any] | None:
    if blob is None:
        return None
    size = np.dtype(dtype).itemsize
    if not isinstance(blob, bytes) or len(blob) % size:
        raise DataError(f"{where}: `{what}` is not an array of numbers; the row is damaged")
    return np.frombuffer(blob, dtype=np.dtype(dtype).newbyteorder("<")).astype(dtype)


def _object(value: Any, what: str, where: Where) -> dict[str, Any]:
    """Return the dictionary of a JSON text or of ASE's binary form (offset, arrays, JSON)."""
    if value in (None, b"", ""):
        return {}
    binary = b""
    try:
        if isinstance(value, bytes):
            binary = value
            offset = int.from_bytes(value[:8], "little", signed=True)
            value = value[max(offset, 0) :].decode("utf-8")
        found = _decoded(json.loads(value), binary, what, where)
    except (ValueError, RecursionError, TypeError):
        raise DataError(f"{where}: `{what}` cannot be decoded; the row is damaged") from None
    return found if isinstance(found, dict) else {}


def _decoded(item: Any, binary: bytes, what: str, where: Where) -> Any:
    if isinstance(item, list):
        return [_decoded(value, binary, what, where) for value in item]
    if not isinstance(item, dict):
        return item
    if "__ndarray__" in item:
        shape, name, third = item["__ndarray__"]
        if not isinstance(third, int):
            return np.array(third, dtype=_dtype(name)).reshape(shape)
        dtype = _dtype(name)
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(binary[third : third + size], dtype=dtype.newbyteorder("<")).reshape(shape)
    return {key: _decoded(value, binary, what, where) for key, value in item.items()}


def _dtype(name: Any) -> np.dtype[Any]:
    dtype = np.dtype(str(name))
    if dtype.kind not in "biufc":
        raise ValueError(f"dtype {name!r}")
    return dtype


def _frame(row: dict[str, Any], options: ReadOptions, where: Where) -> RawFrame:
    numbers = _array(row["numbers"], np.int32, "numbers", where)
    positions = _array(row["positions"], np.float64, "positions", where)
    cell = _array(row["cell"], np.float64, "cell", where)
    if numbers is None or positions is None or positions.size != 3 * numbers.size:
        raise DataError(f"{where}: numbers and positions are missing or do not fit each other")
    if np.any((numbers < 1) | (numbers > 118)):
        raise DataError(f"{where}: atomic numbers must be 1 to 118, got {numbers.min()} to {numbers.max()}")
    if cell is not None and cell.size != 9:
        raise DataError(f"{where}: the cell has {cell.size} numbers, expected 9")
    pbc = row["pbc"] if isinstance(row["pbc"], int) else 0
    raw = RawFrame(
        numbers=numbers.astype(np.int64),
        positions=positions.reshape(-1, 3),
        cell=np.zeros((3, 3)) if cell is None else cell.reshape(3, 3),
        pbc=(bool(pbc & 1), bool(pbc & 2), bool(pbc & 4)),
    )
    data = _object(row["data"], "data", where)
    values = data | _object(row["key_value_pairs"], "key_value_pairs", where)
    for name in ("energy", "free_energy"):
        if row[name] is not None:
            values[name] = row[name]
    stress = _array(row["stress"], np.float64, "stress", where)
    if stress is not None:
        values["stress"] = stress
    arrays = _atom_arrays(values, len(numbers), where)
    forces = _array(row["forces"], np.float64, "forces", where)
    if forces is not None:
        if forces.size != 3 * len(numbers):
            raise DataError(f"{where}: {forces.size} force components for {len(numbers)} atoms")
        arrays["forces"] = forces.reshape(-1, 3)
    assign_labels(raw, values, arrays, options, where, as_floats=str.split)
    if stress is None and raw.stress is not None and "group" in values:
        raw.convention = PYXTAL_STRESS
    raw.info = _info(values, where)
    return raw


def _atom_arrays(values: dict[str, Any], n_atoms: int, where: Where) -> dict[str, NDArray[Any]]:
    """Take the per-atom forces out of ``row.data``."""
    arrays: dict[str, NDArray[Any]] = {}
    for name in [key for key in values if isinstance(values[key], list | np.ndarray)]:
        if "force" in name.lower() and "weight" not in name.lower():
            arrays[name] = number_array(values.pop(name), name, where, (n_atoms, 3))
    return arrays


def _info(values: dict[str, Any], where: Where) -> dict[str, Any]:
    info = {key: value for key, value in values.items() if isinstance(value, str | int | float | bool)}
    if "group" in info and "config_type" not in info:
        info["config_type"] = info.pop("group")
    assign_weights(info, where)
    return info


FORMAT = Format("ase_db", "ASE database (SQLite), also PyXtal_FF's", _sniff, _read, aliases=("db", "ase"))
