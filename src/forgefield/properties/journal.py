"""The journal of a computation made of stages with names.

What a stage gave, and the state it ended in, are written down, so that a run that was interrupted goes on with the first
stage that is missing and ends as it would have.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from forgefield.errors import CheckpointError
from forgefield.files import read_text, write_json

__all__ = ["Journal", "fingerprint", "refuse_other"]

OWN = "own"
"""The engine of journals that name none."""


def fingerprint(atoms: Atoms, settings: Mapping[str, Any]) -> str:
    """Return a short digest of a structure and settings, by which a journal knows its own run."""
    digest = hashlib.sha256()
    digest.update(np.ascontiguousarray(atoms.numbers, dtype=np.int64).tobytes())
    for array in (atoms.positions, atoms.cell.array, atoms.get_masses()):
        digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
    digest.update(json.dumps(dict(settings), sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def refuse_other(path: Path, found: str, digest: str) -> None:
    """Raise CheckpointError where a file is of another run than this one, by their fingerprints."""
    if found != digest:
        raise CheckpointError(
            f"{path} belongs to a run with another structure or other settings ({found}, this one is {digest}); "
            "choose another folder with -o, or remove the file to begin anew"
        )


class Journal:
    """What the stages of a run gave.

    Parameters
    ----------
    path : Path, optional
        None: kept in memory only.
    digest : str
        Of structure and settings, see `fingerprint`.

    Attributes
    ----------
    engine : str, optional
        Which takes the steps; None before it is chosen.

    Raises
    ------
    CheckpointError
        The file belongs to another run, or is damaged.
    """

    def __init__(self, path: Path | None, digest: str) -> None:
        self.path, self.digest = path, digest
        self.engine: str | None = None
        self.stages: dict[str, dict[str, Any]] = {}
        self.states: dict[str, dict[str, Any]] = {}
        self.profiles: dict[str, list[Any]] = {}
        if path is None or not path.exists():
            return
        try:
            content = json.loads(read_text(path))
            found, self.stages, self.states = content["digest"], content["stages"], content["states"]
            self.profiles = content["profiles"]
            self.engine = content.get("engine", OWN)
        except (json.JSONDecodeError, KeyError, TypeError):
            raise CheckpointError(
                f"{path} is not a journal of this computation; remove it to begin anew"
            ) from None
        refuse_other(path, found, digest)

    def runs_with(self, engine: str) -> None:
        """Say which engine takes the steps.

        Raises
        ------
        CheckpointError
            Another one has begun.
        """
        if self.engine is not None and self.engine != engine:
            raise CheckpointError(
                f"{self.path} was begun with engine={self.engine}, not {engine}; set engine={self.engine} or auto to go on, "
                "or remove the file to begin anew"
            )
        self.engine = engine

    def close(self, walker: str, stage: str, result: dict[str, Any], state: dict[str, Any]) -> None:
        """Write down a stage that is done, and the state the walker is in now."""
        self.stages[stage] = result
        self.states[walker] = state
        if self.path is not None:
            content = {
                "digest": self.digest,
                "engine": self.engine or OWN,
                "stages": self.stages,
                "states": self.states,
                "profiles": self.profiles,
            }
            write_json(self.path, content)
