"""Results of cells as files, under the hash of what determines them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forgefield.errors import ConfigError
from forgefield.files import make_folder, write_json
from forgefield.studies.base import Cell, CellResult, Study
from forgefield.studies.keys import source_of

__all__ = ["Store", "finite"]

MARK = "study.json"
"""Says whose folder it is."""


class Store:
    """The finished cells of one study.

    Parameters
    ----------
    folder : Path
        Of the study, as seen from everywhere.
    study : Study

    Raises
    ------
    ConfigError
        The folder holds another study.
    """

    def __init__(self, folder: Path, study: Study[Any]) -> None:
        claim(folder, study.name)
        self.folder, self.study = folder, study
        self.source = source_of(study)
        self.damaged: list[Path] = []
        make_folder(folder / "cells")

    def key(self, cell: Cell) -> str:
        """Return the key of a cell, of the code as it was at the start."""
        return cell.key(self.study.name, self.study.version, self.source)

    def folder_of(self, cell: Cell) -> Path:
        """Return where a cell may write."""
        return self.folder / "runs" / self.key(cell)

    def _path(self, cell: Cell) -> Path:
        return self.folder / "cells" / f"{self.key(cell)}.json"

    def read(self, cell: Cell) -> CellResult | None:
        """Return what is kept; None if nothing is, or if it cannot be read, which `damaged` then names."""
        path = self._path(cell)
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return _result(cell, content)
        except (ValueError, KeyError, TypeError, OSError):
            if path not in self.damaged:
                self.damaged.append(path)
            return None

    def write(self, cell: Cell, values: Mapping[str, Any], seconds: float, cpu_seconds: float) -> None:
        """Keep what a cell gave."""
        content = {
            "name": cell.name,
            "parameters": dict(cell.parameters),
            "values": finite(values),
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
        }
        write_json(self._path(cell), content)


def _result(cell: Cell, content: Any) -> CellResult:
    values, cpu = content["values"], content.get("cpu_seconds")
    if not isinstance(values, dict):
        raise TypeError("values of a cell are a mapping")
    return CellResult(cell, values, float(content["seconds"]), None if cpu is None else float(cpu))


def claim(folder: Path, name: str) -> None:
    """Mark a folder as that of a study.

    Raises
    ------
    ConfigError
        It is that of another.
    """
    for file in (folder / MARK, folder / "results.json"):
        owner = _owner(file)
        if owner not in (None, name):
            raise ConfigError(
                f"{folder} holds the study {owner!r}, whose report would be lost; choose another folder with -o"
            )
    if _owner(folder / MARK) is None:
        write_json(folder / MARK, {"study": name})


def _owner(file: Path) -> str | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return None
    owner = content.get("study") if isinstance(content, dict) else None
    return owner if isinstance(owner, str) else None


def finite(value: Any) -> Any:
    """Return plain values with None, which JSON has, for numbers that are not finite, which it has not."""
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
