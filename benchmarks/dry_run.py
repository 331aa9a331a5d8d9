"""What `forgefield train --dry-run` says against what the training then takes: processor time and peak memory.

Usage: python benchmarks/dry_run.py DATA [CASE ...]

DATA is the folder with the published data (mlearn sets under ``mlearn``); without it only the bundled set is used. Every dry run
and every training is a process of its own; times are those of the processor, one thread, so that a busy machine counts
as little as possible.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "dry_run.json"

NETWORK = {"descriptor": {"kind": "nep"}, "model": {"kind": "network", "hidden": [30]}}
CASES: dict[str, dict[str, Any]] = {
    "Adam": {**NETWORK, "training": {"kind": "adam", "epochs": 30}},
    "AdamW, SoftAdapt, float64": {
        **NETWORK,
        "training": {"kind": "adamw", "epochs": 10},
        "weights": {"kind": "softadapt"},
        "dtype": "float64",
    },
    "Kalman, layers": {**NETWORK, "training": {"kind": "kalman", "epochs": 5}},
    "L-BFGS": {**NETWORK, "training": {"kind": "lbfgs", "epochs": 6}},
    "SNES": {**NETWORK, "training": {"kind": "snes", "epochs": 3}},
    "Adam, plain torch": {**NETWORK, "training": {"kind": "adam", "epochs": 2, "backend": "torch"}},
    "linear SNAP": {
        "descriptor": {"kind": "snap", "two_j_max": 6, "cutoff": 4.8},
        "model": {"kind": "linear"},
        "training": {"kind": "least_squares"},
        "dtype": "float64",
    },
}


def child(what: str, config: dict[str, Any], folder: str) -> None:
    """Run one of both, and print seconds and bytes."""
    import forgefield as ff
    from forgefield.api import dry_run

    dry_run.clock = time.process_time
    start = time.process_time()
    if what == "dry":
        found = dry_run.dry_run(config)
        result = {"seconds": found.seconds, "bytes": found.peak_memory, "epoch": found.epoch}
    else:
        ff.train(config, output=folder)
        result = {"seconds": time.process_time() - start}
        result["bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result["own_seconds"] = time.process_time() - start
    print(json.dumps(result))


def measure(what: str, config: dict[str, Any], folder: Path) -> dict[str, float]:
    """Return what a process printed."""
    text = subprocess.run(
        [sys.executable, __file__, "--child", what, json.dumps(config), str(folder)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found: dict[str, float] = json.loads(text.splitlines()[-1])
    return found


def main(data: list[str], wanted: list[str]) -> None:
    """Measure every case on every set and write the table."""
    import tempfile

    rows = []
    with tempfile.TemporaryDirectory() as name:
        for path in data:
            for case, values in CASES.items():
                if wanted and case not in wanted:
                    continue
                config = {"data": {"train": [path]}, "threads": 1, **values}
                measure(
                    "real",
                    config | {"training": {**config["training"], **short(config)}},
                    Path(name) / "warm",
                )
                said, took = (measure(what, config, Path(name) / what) for what in ("dry", "real"))
                row = {"data": Path(path).name, "case": case, "said": said, "took": took}
                row["time"] = said["seconds"] / took["seconds"]
                row["memory"] = said["bytes"] / took["bytes"]
                rows.append(row)
                print(
                    f"{row['data']:24} {case:28} time x{row['time']:.2f} memory x{row['memory']:.2f}",
                    flush=True,
                )
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    table = [
        "| data | training | said / took [s] | ratio | said / took [MB] | ratio | dry run [s] |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        s, t = r["said"], r["took"]
        table.append(
            f"| {r['data']} | {r['case']} | {s['seconds']:.1f} / {t['seconds']:.1f} | {r['time']:.2f} | "
            f"{s['bytes'] / 1e6:.0f} / {t['bytes'] / 1e6:.0f} | {r['memory']:.2f} | {s['own_seconds']:.1f} |"
        )
    RESULTS.with_suffix(".md").write_text("\n".join(["# Dry run against run", "", *table]) + "\n")


def short(config: dict[str, Any]) -> dict[str, Any]:
    """Return settings with which the kernels are compiled and little else is done."""
    return {} if config["training"]["kind"] == "least_squares" else {"epochs": 1}


def bundled() -> str:
    """Return the bundled silicon set."""
    from forgefield import datasets

    return str(Path(datasets.__file__).parent / "silicon.extxyz.xz")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], json.loads(sys.argv[3]), sys.argv[4])
    else:
        main(sys.argv[1:2] or [bundled()], sys.argv[2:])
