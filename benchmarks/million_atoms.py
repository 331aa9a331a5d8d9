"""Memory and time of a million silicon atoms: NEP energy, forces and virial, in a process of its own.

    python benchmarks/million_atoms.py DATA [--short]

DATA is a folder with ``nep/Si_2022_NEP4_5body.txt``, as published. The memory is the largest resident size of the whole
process, with libraries and the structure itself. Short runs take an eighth of the atoms.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from common import Report, options
from nep_cases import SILICON, Listing, data_argument, silicon

from forgefield.deployment.load import load

MOST_GB = 8.0
CASES = (("float32", 0.0), ("float64", 0.0), ("float32", 1.0))
N_CELLS, N_CELLS_SHORT = 50, 25


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the processes are told."""
    data_argument(parser)
    parser.add_argument("--case", type=int, choices=range(len(CASES)), help=argparse.SUPPRESS)


def measure(path: Path, case: int, n_cells: int) -> dict[str, float]:
    """Run one case here: three calls, of which the last is timed."""
    dtype, skin = CASES[case]
    atoms = silicon(n_cells)
    call = Listing(load(path), atoms, "float64" if dtype == "float64" else "float32", skin)
    call()
    call()
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"n_atoms": len(atoms), "wall": wall, "cpu": cpu, "peak": peak}


def main() -> None:
    """Measure, print and save."""
    chosen = options(__doc__, add)
    data, n_cells = chosen.values.data, N_CELLS_SHORT if chosen.short else N_CELLS
    if chosen.values.case is not None:
        print(json.dumps(measure(data / "nep" / SILICON, chosen.values.case, n_cells)))
        return
    n_atoms = 8 * n_cells**3
    report = Report("million_atoms", f"NEP inference, {n_atoms} atoms", "the memory at hand", chosen)
    for case, (dtype, skin) in enumerate(CASES[:1] if chosen.short else CASES):
        command = [sys.executable, __file__, str(data), "--case", str(case), *["--short"] * chosen.short]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
        found = json.loads(done.stdout.splitlines()[-1])
        words = f"{dtype}, {f'list with a skin of {skin:g} Å' if skin else 'list at every call'}"
        most = MOST_GB * n_atoms / 1e6
        report.limit(f"{words}: largest memory", found["peak"] / 1e9, "GB", most)
        report.limit(f"{words}: time of a call", found["wall"], "s", cpu=found["cpu"])
    report.finish()


if __name__ == "__main__":
    main()
