"""Compute every structure of a file with pw.x; interrupted runs go on where they stopped.

    python run.py structures.extxyz --results results --processes 2

One JSON file per finished structure is kept in the results folder; a structure whose file exists
is skipped. Failures are listed at the end, are not written, and make the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import ase.io
from ase import Atoms
from qe import SETTINGS, SYMMETRIC_GROUPS, RunError, Settings, run_pw

ATTEMPTS: tuple[dict[str, float], ...] = ({}, {"mixing_beta": 0.3}, {"mixing_beta": 0.15})
"""Changes tried in turn where the SCF cycle does not converge; none alters the converged answer."""


def settings_for(atoms: Atoms) -> Settings:
    """Return the common settings and what differs: symmetry, mixing, and the spin of the atom alone."""
    if atoms.info["config_type"] in SYMMETRIC_GROUPS:
        return replace(SETTINGS, symmetry=True)
    if atoms.info["config_type"] == "IsolatedAtom":
        return replace(SETTINGS, magnetization=2, mixing_beta=0.3, mixing_mode="plain", conv_thr=1.0e-6)
    if atoms.info["config_type"] == "surface":
        return replace(SETTINGS, mixing_mode="local-TF", mixing_beta=0.5)
    return SETTINGS


def compute(atoms: Atoms, results: Path) -> str | None:
    """Compute one structure unless it is there already; return a message if it failed."""
    name = atoms.info["name"]
    target = results / f"{name}.json"
    if target.exists():
        return None
    base = settings_for(atoms)
    folder = results / "work" / name
    grid = tuple(int(count) for count in atoms.info["grid"])
    start = time.perf_counter()
    message = ""
    for change in ATTEMPTS:
        try:
            labels = run_pw(atoms, folder, replace(base, **change), grid=(grid[0], grid[1], grid[2]))
        except (RunError, subprocess.TimeoutExpired) as error:
            message = f"{name}: {error}"
            continue
        labels["wall_seconds"] = time.perf_counter() - start
        temporary = target.with_suffix(".tmp")
        temporary.write_text(json.dumps(labels))
        temporary.replace(target)
        shutil.copy(folder / "pw.out", results / f"{name}.out")
        shutil.rmtree(folder)
        return None
    return message


def main() -> int:
    """Run all structures of the file with a pool of pw.x processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("structures", type=Path)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="only structures whose name contains this text")
    parser.add_argument("--part", default="1/1", help="e.g. 2/3: every third structure from the second on")
    arguments = parser.parse_args()
    part, n_parts = (int(number) for number in arguments.part.split("/"))
    frames = [
        frame
        for frame in ase.io.read(arguments.structures, index=":")
        if arguments.only in frame.info["name"]
    ][part - 1 :: n_parts]
    arguments.results.mkdir(parents=True, exist_ok=True)
    done = 0
    failures = []
    with ThreadPoolExecutor(arguments.processes) as pool:
        for message in pool.map(lambda frame: compute(frame, arguments.results), frames):
            done += 1
            if message:
                failures.append(message)
            print(f"{done}/{len(frames)} finished, {len(failures)} failed {message or ''}", flush=True)
    for message in failures:
        print(message, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
