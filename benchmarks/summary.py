"""Put the last results of all benchmarks into the table of benchmarks/README.md.

    python benchmarks/summary.py [--check]

Reads ``benchmarks/results/*.json``; only lines with a goal are shown, the rest is in the Markdown files beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- begin results -->", "<!-- end results -->"

SCRIPTS: dict[str, tuple[str, str, str]] = {
    "nep_inference": (
        "NEP energy, forces, virial, neighbour list kept, against calorine",
        "DATA",
        "Si 5-body, 1000 atoms: float32 80x, float64 45x",
    ),
    "nep_list": (
        "the same with a neighbour list at every call",
        "DATA",
        "Si 5-body, 1000 atoms, float32: 35x",
    ),
    "nep_species": ("the same for 16 elements (UNEP-v1)", "DATA", "list kept, float32: 20x"),
    "training_step": (
        "training step, 20 x 64 Si, against autograd over edges and our own torch path",
        "",
        "autograd over edges: 30x, a sixth of the memory",
    ),
    "epoch_torchnep": (
        "epoch of NEP training on mlearn Si, time to an error, against TorchNEP",
        "DATA",
        "25x; 25x",
    ),
    "threads": ("two threads against one, 64,000 atoms", "DATA", "1.8x"),
    "lammps_any": (
        "SNAP 2J = 8 in LAMMPS: plug-in against pair_style snap, two processes, drift of the energy",
        "",
        "float64 20x, float32 40x; 1.8x; 1e-7 eV/atom/ps",
    ),
    "linear_fit": (
        "linear SNAP of Ta and In-P, rows and solution, against FitSNAP; the ratio of processor time counts",
        "DATA --fitsnap CHECKOUT",
        "Ta 15x, In-P 10x",
    ),
    "network_epoch": (
        "epoch of a network on SNAP, Ta, against FitSNAP, derivatives stored by both",
        "DATA CHECKOUT",
        "10x",
    ),
    "million_atoms": ("a million atoms", "DATA", "8 GB"),
    "build_time": ("kernels traced and compiled; from the cache", "", "3 s; 0.2 s"),
}
"""What is measured, arguments, goal; each script is named as its results are."""


def main() -> int:
    """Write the table, or with ``--check`` say whether it is up to date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if out of date")
    arguments = parser.parse_args()
    path = HERE / "README.md"
    before = path.read_text(encoding="utf-8")
    head, _, rest = before.partition(BEGIN)
    _, _, tail = rest.partition(END)
    after = f"{head}{BEGIN}\n{table()}\n{END}{tail}"
    if arguments.check:
        return int(before != after)
    path.write_text(after, encoding="utf-8")
    return 0


def table() -> str:
    """Return the table of all scripts."""
    lines = ["| what | command | goal | last result |", "|---|---|---|---|"]
    for name, (what, arguments, goal) in SCRIPTS.items():
        command = f"python benchmarks/{name}.py {arguments}".strip()
        lines.append(f"| {what} | `{command}` | {goal} | {results(name)} |")
    return "\n".join(lines)


def results(name: str) -> str:
    """Return the lines with a goal of a script's last results."""
    path = HERE / "results" / f"{name}.json"
    if not path.exists():
        return "none yet"
    values = json.loads(path.read_text(encoding="utf-8"))
    shown = "; ".join(result(row) for row in values["rows"] if row["goal"])
    return f"{shown} ([{values['date'].split()[0]}](results/{name}.md))"


def result(row: dict[str, Any]) -> str:
    """Return one line of a table in words."""
    if row["ratio"] is None:
        value = f"{row['ours']:.2g} {row['unit']}"
    else:
        value = f"{row['ratio']:.3g}x"
        if row["ratio_cpu"] is not None:
            value += f" ({row['ratio_cpu']:.3g}x of CPU time)"
    return f"{row['what']}: {value}" + ("" if row["met"] else ", **missed**")


if __name__ == "__main__":
    sys.exit(main())
