"""What runs in a process that will be killed, and how it is killed; see test_killed.py and benchmarks/kill_resume.py."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import forgefield as ff
from forgefield.api.run import RunFolder
from forgefield.api.train import Listener

__all__ = ["TRAININGS", "children", "descend", "kill", "settings"]

DESCRIPTOR = {
    "kind": "nep",
    "cutoff_radial": 4.0,
    "cutoff_angular": 3.5,
    "n_max_radial": 2,
    "n_max_angular": 2,
    "basis_size_radial": 3,
    "basis_size_angular": 3,
    "l_max": 2,
}
TRAININGS: dict[str, dict[str, Any]] = {
    "adam": {"epochs": 10},
    "adamw": {"epochs": 10, "swa_start": 0.5},
    "sgd": {"epochs": 10},
    "lbfgs": {"epochs": 6, "iterations": 3},
    "kalman": {"epochs": 6, "prior": 1e-3},
    "levenberg_marquardt": {"epochs": 6, "iterations": 3, "probes": 2},
    "snes": {"epochs": 6, "population": 4},
}
"""Every optimiser, in a few seconds."""
RULE_SETTINGS = {
    "softadapt": {"n": 2},
    "gradnorm": {"interval": 2},
}


def settings(path: Path, kind: str, rule: str = "balanced", **training: Any) -> dict[str, Any]:
    """Return the settings of a small training by an optimiser with a rule for the weights of the loss."""
    return {
        "data": {"train": [str(path)]},
        "descriptor": DESCRIPTOR,
        "model": {"kind": "network", "hidden": [4]},
        "weights": {"kind": rule, **RULE_SETTINGS.get(rule, {})},
        "training": {"kind": kind, "checkpoint_seconds": 0.0, **TRAININGS[kind], **training},
    }


def children() -> Any:
    """Return what starts processes that have everything imported and nothing running."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["forgefield.api.train", "killed_run"])
    return context


def kill(context: Any, config: dict[str, Any], output: Path, delay: float) -> int:
    """Start a run, kill it some seconds after its first checkpoint, and return its exit code."""
    child = context.Process(target=descend, args=(config, output))
    child.start()
    deadline = time.monotonic() + 60.0
    while child.is_alive() and not (output / "checkpoint.ff").exists():
        assert time.monotonic() < deadline, "no checkpoint within a minute"
        time.sleep(0.001)
    time.sleep(delay)
    child.kill()
    child.join()
    return int(child.exitcode)


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
