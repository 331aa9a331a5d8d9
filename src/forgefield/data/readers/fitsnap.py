"""FitSNAP JSON: one file per configuration, after a comment line; the folder is the group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from forgefield.data.frames import RawFrame, Where, atomic_number, number_array
from forgefield.data.options import ReadOptions
from forgefield.data.readers.base import Format, load_json, require
from forgefield.data.sources import Candidate
from forgefield.data.stress import StressConvention
from forgefield.errors import DataError, did_you_mean

__all__ = ["FORMAT"]

_STRESS_STYLES = {"bar": "bar", "kb": "kbar", "kbar": "kbar", "gpa": "GPa"}
_STYLES = {
    "LatticeStyle": ("angstrom",),
    "PositionsStyle": ("angstrom", "fractional"),
    "EnergyStyle": ("electronvolt", "ev"),
    "ForcesStyle": ("electronvoltperangstrom", "ev/angstrom"),
    "AtomTypeStyle": ("chemicalsymbol",),
}


def _sniff(file: Candidate) -> bool:
    return not file.is_folder and '"Dataset"' in file.text and file.text.lstrip()[:1] in ("#", "{")


def _style(dataset: dict[str, Any], name: str, where: Where) -> str:
    value = str(dataset.get(name, _STYLES[name][0])).lower().replace(" ", "").replace("_", "")
    if value not in _STYLES[name]:
        raise DataError(
            f"{where}: {name} {dataset[name]!r} is not known; {did_you_mean(value, _STYLES[name])}"
        )
    return value


def _convention(dataset: dict[str, Any], where: Where) -> StressConvention:
    style = str(dataset.get("StressStyle", "bar")).lower()
    if style not in _STRESS_STYLES:
        raise DataError(f"{where}: StressStyle {style!r} is not known; {did_you_mean(style, _STRESS_STYLES)}")
    # A full tensor, so the order only matters for the rare file with six components.
    return StressConvention.parse({"sign": "compression", "unit": _STRESS_STYLES[style], "order": "xy xz yz"})


def _read(path: Path, options: ReadOptions) -> Iterator[RawFrame]:
    del options
    where = Where(str(path), 0)
    dataset = require(load_json(path, skip_comments=True), "Dataset", where)
    entries = require(dataset, "Data", where)
    if not isinstance(entries, list):
        raise DataError(f"{where}: `Data` must be a list of configurations")
    for index, entry in enumerate(entries):
        yield _frame(entry, dataset, path.resolve().parent.name, Where(str(path), index))


def _frame(entry: Any, dataset: dict[str, Any], group: str, where: Where) -> RawFrame:
    for name in _STYLES:
        _style(dataset, name, where)
    symbols = require(entry, "AtomTypes", where)
    if not isinstance(symbols, list) or not symbols:
        raise DataError(f"{where}: `AtomTypes` must be a list of chemical symbols")
    cell = number_array(require(entry, "Lattice", where), "Lattice", where, (3, 3))
    positions = number_array(require(entry, "Positions", where), "Positions", where, (len(symbols), 3))
    if _style(dataset, "PositionsStyle", where) == "fractional":
        positions = positions @ cell
    forces, stress, energy = (entry.get(name) for name in ("Forces", "Stress", "Energy"))
    return RawFrame(
        numbers=np.array([atomic_number(symbol, where) for symbol in symbols], dtype=np.int64),
        positions=positions,
        cell=cell,
        energy=None if energy is None else float(number_array(energy, "Energy", where, ())),
        forces=None if forces is None else number_array(forces, "Forces", where),
        stress=None if stress is None else number_array(stress, "Stress", where),
        convention=_convention(dataset, where),
        info={"config_type": group},
    )


FORMAT = Format("fitsnap", "FitSNAP JSON, one file per configuration, folders are groups", _sniff, _read)
