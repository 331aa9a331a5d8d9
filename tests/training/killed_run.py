"""What runs in a process that will be killed; see test_killed.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import forgefield as ff
from forgefield.api.run import RunFolder
from forgefield.api.train import Listener

__all__ = ["descend"]


def _only_the_potential(
    folder: RunFolder, settings: Any, dataset: Any, potential: Any, *_: Any, **__: Any
) -> None:
    del settings, dataset
    potential.save(folder.potential)


def descend(
    config: dict[str, Any], output: Path, *, resume: bool = False, listener: Listener | None = None
) -> bytes:
    """Train without writing a report; return the content of the potential's file."""
    written, fsync = RunFolder.write_results, os.fsync
    try:
        os.fsync = lambda _: None  # type: ignore[assignment]  # a killed process loses nothing that it has written
        RunFolder.write_results = _only_the_potential  # type: ignore[method-assign]
        ff.train(config, output=output, resume=resume, listener=listener)
    finally:
        RunFolder.write_results = written  # type: ignore[method-assign]
        os.fsync = fsync
    return (output / "potential.ff").read_bytes()
