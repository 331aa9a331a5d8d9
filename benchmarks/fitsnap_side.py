"""FitSNAP as the other side, in a process of its own: one of its examples, fitted or trained, with the times it took.

Usage: python benchmarks/fitsnap_side.py CHECKOUT EXAMPLE [--every N] [--epochs N] [--batch N]

CHECKOUT is a checkout of its repository with the examples' data; it need not be installed. Its MPI stubs are used (one
process). Prints one line of JSON: seconds of wall and processor for rows and solution, peak memory; for networks
seconds per epoch.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["prepare", "run"]


def prepare(
    checkout: Path, example: str, folder: Path, every: int, epochs: int | None = None, batch: int = 4
) -> Path:
    """Write an input file for every n-th structure of each group of an example, and return its path."""
    source = next((checkout / "examples" / example).glob("*.in"))
    text = source.read_text(encoding="utf-8")
    found = re.search(r"^dataPath\s*=\s*(\S+)", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{source} names no dataPath")
    data = (source.parent / found[1]).resolve()
    for group in sorted(p for p in data.iterdir() if p.is_dir()):
        own = folder / "JSON" / group.name
        own.mkdir(parents=True)
        for path in sorted(group.glob("*.json"))[::every]:
            (own / path.name).symlink_to(path)
    text = text.replace(found[0], "dataPath = JSON")
    # Nothing but potential and errors is to be written.
    text = re.sub(r"^dump_(\w+)\s*=.*$", r"dump_\1 = 0", text, flags=re.MULTILINE)
    if epochs is not None:
        text = re.sub(r"^num_epochs\s*=.*$", f"num_epochs = {epochs}", text, flags=re.MULTILINE)
        text = re.sub(r"^batch_size\s*=.*$", f"batch_size = {batch}", text, flags=re.MULTILINE)
    path = folder / "fit.in"
    path.write_text(text, encoding="utf-8")
    return path


def run(checkout: Path, example: str, every: int, epochs: int | None, batch: int) -> dict[str, Any]:
    """Run the example and return what it took."""
    sys.path.insert(0, str(checkout))
    from lammps_side import import_lammps

    import_lammps()
    import torch
    from fitsnap3lib.fitsnap import FitSnap

    torch.set_num_threads(1)
    if epochs is not None:
        from fitsnap3lib.solvers import pytorch

        pytorch.time = time.process_time  # what it prints for an epoch
    result: dict[str, Any] = {"example": example, "every": every}
    with tempfile.TemporaryDirectory() as name:
        path = prepare(checkout, example, Path(name), every, epochs, batch)
        os.chdir(name)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            fit = FitSnap(path.name, comm=None, arglist=["--overwrite"])
            fit.scrape_configs(delete_scraper=True)
            result["rows"] = _timed(lambda: fit.process_configs(delete_data=True))
            result["fit"] = _timed(fit.perform_fit)
        if epochs is not None:
            lines = re.findall(r"^\d+ +[\d.e+-]+ +\S+ +([\d.e+-]+)", printed.getvalue(), re.MULTILINE)
            result["epochs"] = [float(x) for x in lines]
        else:
            result["coefficients"] = len(fit.solver.fit)
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def _timed(task: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    task()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("example")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch", type=int, default=4)
    given = parser.parse_args()
    print(json.dumps(run(given.checkout.resolve(), given.example, given.every, given.epochs, given.batch)))
