"""Sets of data as settings of a study: which files, how they are read, how many of their structures are drawn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ase import Atoms
from pydantic import Field

from forgefield.config import Schema
from forgefield.studies.subsets import split_frames, write_split
from forgefield.studies.training import data_source, merged

__all__ = ["SourceSettings", "data_config", "drawn", "frames_like", "source_hash"]

NO_SPLIT = {"split": {"valid": 0.1, "test": 0.2}}
"""How data without a split of their own are divided."""


class SourceSettings(Schema):
    """One set of data."""

    name: str = Field("silicon", description="in the report")
    file: str = Field("silicon", description="bundled set or file of structures")
    test: str | None = Field(
        None, description="file of test structures, where `file` has none and is not split"
    )
    structures: int | None = Field(
        None, ge=2, description="draw so many training structures, by the seed of the run; null: all"
    )
    draw: Literal["random", "groups"] = Field(
        "random", description="how they are drawn; groups: the same number of each group of the data"
    )
    data: dict[str, Any] = Field(
        default_factory=dict, description="how they are read and divided: further settings of `data`"
    )


def data_config(source: SourceSettings) -> dict[str, Any]:
    """Return the section `data` of a training on a set.

    Raises
    ------
    DataError
        No such file.
    """
    files = {"train": [data_source(source.file)["path"]]}
    if source.test is not None:
        files["test"] = [data_source(source.test)["path"]]
    return merged(files, source.data)


def source_hash(source: SourceSettings) -> str:
    """Return the hash of the content of the files of a set."""
    files = [source.file, *([] if source.test is None else [source.test])]
    return hashlib.sha256("".join(data_source(file)["hash"] for file in files).encode()).hexdigest()[:20]


def drawn(
    config: Mapping[str, Any], structures: int | None, how: str, seed: int, folder: Path
) -> dict[str, Any]:
    """Return the configuration of a training with so many of its training structures, written to files.

    Parameters
    ----------
    config : mapping
        With a section `data`.
    structures : int or None
        None: the configuration as it is.
    how : {'random', 'groups'}
        As in `pick`.
    seed : int
        Of the draw.
    folder : Path
        For the files.
    """
    if structures is None:
        return dict(config)
    divided = split_frames(json.dumps(config["data"], sort_keys=True))
    files = write_split(divided, structures, how, seed, folder)
    data = {key: value for key, value in config["data"].items() if key != "split"}
    return {**config, "data": {**data, **files, "stress_convention": "trust"}}


def frames_like(config: Mapping[str, Any], description: str) -> list[Atoms]:
    """Return all structures of the section `data` whose description has these words."""
    divided = split_frames(json.dumps(config["data"], sort_keys=True))
    every = [atoms for frames in divided.values() for atoms in frames]
    return [atoms for atoms in every if description in str(atoms.info.get("description", ""))]
