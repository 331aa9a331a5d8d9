"""Extended XYZ in the dialects of ASE, QUIP/GAP, MACE and GPUMD (NEP).

A frame is a line with the number of atoms, a line of ``key=value`` pairs and one line per atom whose columns
``Properties`` names. Keys are matched without regard to case, so GPUMD's ``Energy`` and ``Virial`` work.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.data.frames import IncompleteError, RawFrame, Where, atomic_number, number_array
from forgefield.data.options import ReadOptions
from forgefield.data.readers.base import Format
from forgefield.data.readers.labels import assign_labels, assign_weights
from forgefield.data.sources import Candidate, read_lines
from forgefield.errors import DataError

__all__ = ["FORMAT", "parse_comment"]

_MAX_ATOMS = 10**9
_KEY = re.compile(r'\s*("(?:\\.|[^"\\])*"|[^\s="]+)(\s*=\s*)?')
_BARE = re.compile(r"[^\s]+")
_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"|' + r"'([^']*)'")
_TRUE = {"t", "true"}
_FALSE = {"f", "false"}
_CLOSING = {"{": "}", "[": "]"}
_Columns = list[tuple[str, str, int]]


def _sniff(file: Candidate) -> bool:
    if file.is_folder:
        return False
    first, _, rest = file.text.lstrip("\ufeff\r\n ").partition("\n")
    comment = rest.partition("\n")[0]
    if not first.strip().isdigit():
        return False
    return file.name.endswith((".xyz", ".extxyz")) or bool(
        re.search(r"(?i)\b(lattice|properties)\s*=", comment)
    )


def parse_comment(text: str, where: Where) -> dict[str, str]:
    """Split the comment line of a frame into keys and unparsed values.

    Parameters
    ----------
    text : str
        ``key=value``, ``key="quoted text"``, ``key={1 2}``, ``key=[[1, 2], [3, 4]]`` or a bare ``key``.
    where : Where
        For messages.

    Raises
    ------
    DataError
        A quote or bracket is not closed.
    """
    pairs: dict[str, str] = {}
    position = 0
    text = text.strip()
    while position < len(text):
        match = _KEY.match(text, position)
        if match is None:
            raise DataError(
                f"{where}: cannot read the comment line from {text[position : position + 40]!r} on"
            )
        key = match.group(1).strip('"')
        position = match.end()
        if match.group(2) is None:
            pairs[key] = "T"
        else:
            pairs[key], position = _value(text, position, key, where)
    return pairs


def _value(text: str, start: int, key: str, where: Where) -> tuple[str, int]:
    opening = text[start : start + 1]
    if opening in ('"', "'"):
        match = _QUOTED.match(text, start)
        if match is None:
            raise DataError(f"{where}: the quote after `{key}=` is not closed")
        quoted = match.group(1)
        return (match.group(2) if quoted is None else re.sub(r"\\(.)", r"\1", quoted)), match.end()
    if opening in _CLOSING:
        depth = 0
        for end in range(start, len(text)):
            depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(text[end], 0)
            if depth == 0:
                return text[start + 1 : end], end + 1
        raise DataError(f"{where}: the {opening} after `{key}=` is not closed")
    match = _BARE.match(text, start)
    return ("", start) if match is None else (match.group(), match.end())


def _typed(text: str) -> Any:
    """Return a value of the comment line as bool, int, float, vector or text."""
    words = text.replace(",", " ").split()
    if len(words) == 1:
        word = words[0]
        if word.lower() in _TRUE:
            return True
        if word.lower() in _FALSE:
            return False
        try:
            return int(word) if re.fullmatch(r"[+-]?\d{1,18}", word) else float(word)
        except ValueError:
            return text
    if words and all(re.match(r"[+-]?(\d|\.\d)", word) for word in words):
        try:
            return np.array([float(word) for word in words])
        except ValueError:
            return text
    return text


def _floats(text: str) -> list[str]:
    text = text.removeprefix("_JSON")  # how ASE marks nested arrays
    return re.sub(r"[,\[\]{}()]", " ", text).replace("D", "E").replace("d", "e").split()


def _columns(text: str, where: Where) -> _Columns:
    parts = text.split(":")
    fits = len(parts) % 3 == 0 and all(
        kind in ("S", "R", "I", "L") and count.isdigit() and 0 < int(count) <= 10**6
        for kind, count in zip(parts[1::3], parts[2::3], strict=False)
    )
    if not fits:
        raise DataError(
            f"{where}: Properties={text!r} must be name:type:count triples with types S, R, I, L, for example "
            "species:S:1:pos:R:3:forces:R:3"
        )
    return [(n, k, int(c)) for n, k, c in zip(parts[::3], parts[1::3], parts[2::3], strict=True)]


def _column_arrays(rows: list[list[str]], columns: _Columns, where: Where) -> dict[str, NDArray[Any]]:
    width = sum(count for _, _, count in columns)
    for offset, row in enumerate(rows):
        if len(row) != width:
            line = (where.line or 0) + 2 + offset
            raise DataError(
                f"{Where(where.path, where.frame, line)}: {len(row)} columns, but Properties names {width}"
            )
    arrays: dict[str, NDArray[Any]] = {}
    start = 0
    by_column = list(zip(*rows, strict=True))
    for name, kind, count in columns:
        block = by_column[start : start + count]
        start += count
        if kind == "S":
            values: NDArray[Any] = np.array(block).T
        elif kind == "L":
            values = np.array([[word.lower() in ("t", "true", "1") for word in column] for column in block]).T
        else:
            values = _numbers(block, name, where)
            if kind == "I":
                values = values.astype(np.int64) if np.all(np.abs(values) < 2**62) else values
        arrays[name] = values[:, 0] if count == 1 else values
    return arrays


def _numbers(block: list[tuple[str, ...]], name: str, where: Where) -> NDArray[np.float64]:
    try:
        return np.array([list(map(float, column)) for column in block]).T
    except ValueError:
        pass
    for column in block:
        for offset, word in enumerate(column):
            try:
                float(word.replace("D", "E").replace("d", "e"))
            except ValueError:
                place = Where(where.path, where.frame, (where.line or 0) + 2 + offset)
                raise DataError(f"{place}: {word[:40]!r} in column {name!r} is not a number") from None
    exponents = [[float(word.replace("D", "E").replace("d", "e")) for word in column] for column in block]
    return np.array(exponents).T


def _pop(pairs: dict[str, Any], name: str) -> Any:
    for key in pairs:
        if key.lower() == name:
            return pairs.pop(key)
    return None


def _cell(text: str | None, where: Where) -> NDArray[np.float64]:
    if text is None:
        return np.zeros((3, 3))
    values = number_array(_floats(text), "Lattice", where)
    if values.size == 3:
        return np.diag(values)
    if values.size != 9:
        raise DataError(f"{where}: Lattice must have 9 numbers (three vectors), got {values.size}")
    return values.reshape(3, 3)


def _pbc(text: str | None, *, has_cell: bool, where: Where) -> tuple[bool, bool, bool]:
    if text is None:
        return (has_cell, has_cell, has_cell)
    words = [word.lower() for word in _floats(text)]
    values = [word in {"t", "true", "1"} for word in words]
    known = all(
        value or word in {"f", "false", "falsee", "0"} for value, word in zip(values, words, strict=True)
    )
    if not known or len(values) not in (1, 3):
        raise DataError(f'{where}: pbc must be three of T and F, such as pbc="T T T", got {text!r}')
    return (values[0], values[0], values[0]) if len(values) == 1 else (values[0], values[1], values[2])


def _frame(pairs: dict[str, str], rows: list[list[str]], options: ReadOptions, where: Where) -> RawFrame:
    lattice = _pop(pairs, "lattice")
    cell = _cell(lattice, where)
    pbc = _pbc(_pop(pairs, "pbc"), has_cell=lattice is not None, where=where)
    properties = _pop(pairs, "properties")
    if properties is None:
        rows = [row[:4] for row in rows]
    columns = _columns(properties or "species:S:1:pos:R:3", where)
    arrays = _column_arrays(rows, columns, where)
    symbols = next(
        (a for n in ("species", "z", "symbols", "numbers") if (a := _pop(arrays, n)) is not None), None
    )
    positions = next((a for n in ("pos", "positions") if (a := _pop(arrays, n)) is not None), None)
    if symbols is None or positions is None:
        raise DataError(f"{where}: Properties must name species and pos, got {properties!r}")
    lookup = {symbol: atomic_number(symbol, where) for symbol in set(symbols.tolist())}
    raw = RawFrame(
        numbers=np.array([lookup[symbol] for symbol in symbols.tolist()], dtype=np.int64),
        positions=number_array(positions, "positions", where, (len(rows), 3)),
        cell=cell,
        pbc=pbc,
    )
    values: dict[str, Any] = dict(pairs)
    assign_labels(raw, values, arrays, options, where, as_floats=_floats)
    info = {key: _typed(text) if isinstance(text, str) else text for key, text in values.items()}
    group = _pop(info, "config_type")
    if group is not None:
        info["config_type"] = next(text for key, text in pairs.items() if key.lower() == "config_type")
    assign_weights(info, where)
    raw.info = info
    raw.arrays = arrays
    return raw


def _cut_off(last: str, rows: list[list[str]]) -> bool:
    """Tell whether a last line without a line end was cut within its numbers.

    It has fewer columns than the lines before, or fewer decimals than any of them in the same column.
    """
    if last.endswith("\n") or len(rows) < 2:
        return False
    if len(rows[-1]) != len(rows[0]):
        return True
    decimals = [len(row[-1].partition(".")[2]) for row in rows if len(row) == len(rows[0])]
    return decimals[-1] < min(decimals[:-1])


def _read(path: Path, options: ReadOptions) -> Iterator[RawFrame]:
    lines = read_lines(path)
    number, index = 0, 0
    for first in lines:
        number += 1
        start = Where(str(path), index, number)
        text = first.lstrip("\ufeff").strip()
        if not text:
            continue
        if not re.fullmatch(r"\d{1,18}", text) or not 0 < int(text) < _MAX_ATOMS:
            raise DataError(f"{start}: expected the number of atoms, got {text[:40]!r}")
        n_atoms = int(text)
        comment = next(lines, None)
        block = list(itertools.islice(lines, n_atoms))
        rows = [line.split() for line in block]
        if comment is None or len(rows) < n_atoms or not rows[-1] or _cut_off(block[-1], rows):
            raise IncompleteError(
                f"{start}: the file breaks off: {n_atoms} atoms announced, {len(rows)} lines found; "
                "copy it again, or read with allow_incomplete=true to use the frames before"
            )
        raw = _frame(parse_comment(comment, start), rows, options, start)
        raw.line = number
        number += 1 + n_atoms
        index += 1
        yield raw


FORMAT = Format(
    "extxyz", "extended XYZ (ASE, GAP, MACE, GPUMD train.xyz)", _sniff, _read, aliases=("xyz", "gpumd", "nep")
)
