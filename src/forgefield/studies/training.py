"""Training inside a cell: the part most studies share."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forgefield import api, datasets
from forgefield.api.run import Run
from forgefield.api.train import Listener
from forgefield.errors import CheckpointError, DataError
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential
from forgefield.studies.clock import TIMES
from forgefield.training.settings import RunSettings

__all__ = [
    "ERRORS",
    "UNITS",
    "checked",
    "data_source",
    "errors_of",
    "merged",
    "single",
    "thinned",
    "train_cell",
]

ERRORS = ("energy", "forces", "stress")
"""Properties whose errors are reported."""
UNITS = {"energy": "meV/atom", "forces": "meV/Å", "stress": "GPa"}
"""Of their errors."""


def data_source(name: str) -> dict[str, Any]:
    """Return what `data.train` takes and the hash of its content; ``silicon`` is the bundled set.

    Raises
    ------
    DataError
        No such file.
    """
    path = datasets.path(name) if name in datasets.NAMES else Path(name)
    if not path.is_file():
        raise DataError(
            f"`data` is {name!r}: neither a bundled set ({', '.join(datasets.NAMES)}) nor a file "
            f"(working folder: {Path.cwd()})"
        )
    return {"path": str(path.resolve()), "hash": hashlib.sha256(path.read_bytes()).hexdigest()[:20]}


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings merged, the later ones on top; a mapping with another ``kind`` replaces."""
    result: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            old = result.get(key)
            same = isinstance(old, dict) and isinstance(value, Mapping)
            if same and old is not None and value.get("kind", old.get("kind")) == old.get("kind"):
                result[key] = merged(old, value)
            else:
                result[key] = dict(value) if isinstance(value, Mapping) else value
    return result


def checked(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration unchanged if training would accept it.

    Raises
    ------
    ConfigError
        Naming each key that it would not.
    """
    RunSettings.parse(config)
    return config


def train_cell(config: Mapping[str, Any], folder: Path, listener: Listener | None = None) -> Run:
    """Train, or go on where an interrupted cell stopped; where its checkpoint cannot be read, from the beginning."""
    output = folder / "run"
    if (output / "checkpoint.ff").exists():
        try:
            return api.train(config, output=output, resume=True, listener=listener)
        except CheckpointError:
            shutil.rmtree(output)
            (folder / TIMES).unlink(missing_ok=True)
    return api.train(config, output=output, listener=listener)


def single(run: Run) -> Potential:
    """Return the potential of a run, the first of a committee."""
    return run.potential.members[0] if isinstance(run.potential, Committee) else run.potential


def errors_of(run: Run) -> dict[str, dict[str, float]]:
    """Return the RMSE of each split and property, in `UNITS`; NaN where there is no label."""
    found: dict[str, dict[str, float]] = {}
    for split, entry in run.evaluation.metrics.splits.items():
        values = {key: getattr(entry, key).rmse for key in ERRORS}
        found[split] = {key: math.nan if value is None else float(value) for key, value in values.items()}
    return found


def thinned(
    history: Sequence[Mapping[str, Any]], columns: Sequence[str], most: int = 200
) -> dict[str, list[Any]]:
    """Return columns of the log, at most so many rows, the first and the last among them."""
    step = max(1, -(-len(history) // most))
    rows = [*history[:-1:step], *history[-1:]]
    return {column: [row.get(column) for row in rows] for column in columns}
