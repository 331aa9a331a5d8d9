"""PyXtal_FF JSON: a list of dictionaries whose numbers are lists, serialised arrays or Python literals."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from forgefield.data.frames import RawFrame, Where, atomic_number, number_array
from forgefield.data.options import ReadOptions
from forgefield.data.readers.base import Format, load_json, require
from forgefield.data.sources import Candidate
from forgefield.data.stress import StressConvention
from forgefield.errors import DataError

__all__ = ["FORMAT", "PYXTAL_STRESS", "literal"]

PYXTAL_STRESS = StressConvention(sign="compression", unit="GPa", order="xy yz xz")
"""PyXtal_FF writes GPa, positive in compression, and takes VASP's order for granted."""

_MAX_LITERAL = 50_000_000


def _sniff(file: Candidate) -> bool:
    text = file.text.lstrip()
    return not file.is_folder and text.startswith("[") and '"coords"' in text and '"lattice"' in text


def literal(value: Any, what: str, where: Where) -> Any:
    """Return lists and numbers from a list, a serialised array or the text of a Python literal.

    Only literals are evaluated, never code.

    Raises
    ------
    DataError
        The text is not a literal.
    """
    if isinstance(value, dict):
        return literal(require(value, "data", where), what, where)
    if not isinstance(value, str):
        return value
    text = (
        value.strip().removeprefix("array(").removesuffix(")")
        if value.strip().startswith("array(")
        else value
    )
    try:
        return ast.literal_eval(text[:_MAX_LITERAL])
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise DataError(f"{where}: {what} is neither a list nor the text of one: {value[:60]!r}") from None


def _read(path: Path, options: ReadOptions) -> Iterator[RawFrame]:
    del options
    entries = load_json(path)
    if not isinstance(entries, list):
        raise DataError(f"{path}: expected a list of structures, got {type(entries).__name__}")
    for index, entry in enumerate(entries):
        yield _frame(entry, Where(str(path), index))


def _frame(entry: Any, where: Where) -> RawFrame:
    symbols = literal(require(entry, "elements", where), "elements", where)
    if not isinstance(symbols, list) or not symbols:
        raise DataError(f"{where}: `elements` must be a list of chemical symbols")
    cell = number_array(literal(require(entry, "lattice", where), "lattice", where), "lattice", where, (3, 3))
    scaled = number_array(literal(require(entry, "coords", where), "coords", where), "coords", where, (-1, 3))
    energy, forces, stress = (entry.get(name) for name in ("energy", "force", "stress"))
    if stress is not None:
        stress = number_array(literal(stress, "stress", where), "stress", where)
    info = {} if entry.get("group") is None else {"config_type": str(entry["group"])}
    return RawFrame(
        numbers=np.array([atomic_number(symbol, where) for symbol in symbols], dtype=np.int64),
        positions=scaled @ cell,
        cell=cell,
        energy=None
        if energy is None
        else float(number_array(literal(energy, "energy", where), "energy", where, ())),
        forces=None if forces is None else number_array(literal(forces, "force", where), "force", where),
        stress=stress,
        convention=PYXTAL_STRESS,
        info=info,
    )


FORMAT = Format("pyxtal", "PyXtal_FF JSON", _sniff, _read, aliases=("pyxtal_ff",))
