"""What `forgefield train --dry-run` says against what the training then takes: processor time and peak memory.

Usage: python benchmarks/dry_run.py [DATA [CASE ...]]

DATA is a data file; without it, or as ``-``, the bundled silicon set is used. CASE is the name of a case up to its comma; the
rows of others are kept. Dry run and training are processes of their own, after one that has built the kernels; times
are those of the processor, one thread, so that a busy machine counts as little as possible.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "dry_run.json"

NETWORK = {"descriptor": {"kind": "nep"}, "model": {"kind": "network", "hidden": [30]}}
CASES: dict[str, dict[str, Any]] = {
    "Adam, 40 epochs": {**NETWORK, "training": {"kind": "adam", "epochs": 40}},
    "AdamW, SoftAdapt, float64, 20 epochs": {
        **NETWORK,
        "training": {"kind": "adamw", "epochs": 20},
        "weights": {"kind": "softadapt"},
        "dtype": "float64",
    },
    "Last layer, extrapolation, 40 neurons, 20 epochs": {
        "descriptor": {"kind": "nep"},
        "model": {"kind": "network", "hidden": [40]},
        "training": {"kind": "adam", "epochs": 20},
        "last_layer": True,
        "extrapolation": True,
    },
    "Long, twentieth of the structures, 1000 epochs": {
        **NETWORK,
        "data": {"fraction": 0.05},
        "training": {"kind": "adam", "epochs": 1000},
    },
    "SGD, 40 epochs": {**NETWORK, "training": {"kind": "sgd", "epochs": 40}},
    "SNES, 15 epochs": {**NETWORK, "training": {"kind": "snes", "epochs": 15}},
    "L-BFGS, 40 epochs": {**NETWORK, "training": {"kind": "lbfgs", "epochs": 40}},
    "Levenberg-Marquardt, 10 epochs": {**NETWORK, "training": {"kind": "levenberg_marquardt", "epochs": 10}},
    "Kalman, blocks by layer, 5 epochs": {**NETWORK, "training": {"kind": "kalman", "epochs": 5}},
    "Adam, plain torch, 2 epochs": {**NETWORK, "training": {"kind": "adam", "epochs": 2, "backend": "torch"}},
    "Network on SNAP, Adam, derivatives stored, 100 epochs": {
        "descriptor": {"kind": "snap", "two_j_max": 6, "cutoff": 4.8},
        "model": {"kind": "network", "hidden": [30]},
        "training": {"kind": "adam", "epochs": 100},
    },
    "linear SNAP": {
        "descriptor": {"kind": "snap", "two_j_max": 6, "cutoff": 4.8},
        "model": {"kind": "linear"},
        "training": {"kind": "least_squares"},
        "dtype": "float64",
    },
    "quadratic SNAP": {
        "descriptor": {"kind": "snap", "two_j_max": 6, "cutoff": 4.8},
        "model": {"kind": "quadratic"},
        "training": {"kind": "least_squares"},
        "dtype": "float64",
    },
    "Recipe standard": {"quality": "standard"},
    "Recipe best, four members": {"quality": "best"},
}
"""Every optimiser, long enough for the training to be most of the run; last what `forgefield init` suggests, as it is."""


def child(what: str, config: dict[str, Any], folder: str) -> None:
    """Run one of both, and print seconds and bytes."""
    import forgefield as ff
    from forgefield.api import dry_run

    dry_run.clock = time.process_time
    result = {}
    if what == "said":
        start = time.process_time()
        found = dry_run.dry_run(config)
        result |= {"said_seconds": found.seconds, "said_bytes": found.peak_memory}
        result["own_seconds"] = time.process_time() - start
    else:
        start = time.process_time()
        ff.train(config, output=folder)
        result["seconds"] = time.process_time() - start
        result["bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(result))


def measure(what: str, config: dict[str, Any], folder: Path) -> dict[str, float]:
    """Return what a process printed."""
    text = subprocess.run(
        [sys.executable, __file__, "--child", what, json.dumps(config), str(folder)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    ).stdout
    found: dict[str, float] = json.loads(text.splitlines()[-1])
    return found


def main(path: str, wanted: list[str]) -> None:
    """Measure every case and write the table."""
    saved = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    known = {r["case"]: r for r in saved if r["case"] in CASES and r["data"] == Path(path).name}
    with tempfile.TemporaryDirectory() as name:
        for case, values in CASES.items():
            if wanted and case.split(",")[0] not in wanted:
                continue
            given = suggested(path, values)
            config = {**given, "data": {"train": [path], **given.get("data", {})}, "threads": 1}
            training = config["training"] | ({"epochs": 1} if "epochs" in config["training"] else {})
            warm = {**config, "training": training, "committee": None}
            measure("took", warm, Path(name) / "warm")  # builds the kernels
            said, took = (measure(what, config, Path(name) / what) for what in ("said", "took"))
            known[case] = {"data": Path(path).name, "case": case, **said, **took}
            write([known[c] for c in CASES if c in known])
            print(json.dumps(known[case]), flush=True)


def suggested(path: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a case: those given, or those that `forgefield init` writes for the data."""
    if "quality" not in values:
        return values
    from forgefield.api.init import suggest

    found: dict[str, Any] = suggest(path, quality=values["quality"]).model_dump(mode="json")
    return found


def write(rows: list[dict[str, Any]]) -> None:
    """Write the numbers and a table of them."""
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    table = [
        "| data | training | said / took [s] | ratio | said / took [MB] | ratio | dry run [s] |",
        "|---|---|---|---|---|---|---|",
    ]
    table += [
        f"| {r['data']} | {r['case']} | {r['said_seconds']:.1f} / {r['seconds']:.1f} | "
        f"{r['said_seconds'] / r['seconds']:.2f} | {r['said_bytes'] / 1e6:.0f} / {r['bytes'] / 1e6:.0f} | "
        f"{r['said_bytes'] / r['bytes']:.2f} | {r['own_seconds']:.1f} |"
        for r in rows
    ]
    RESULTS.with_suffix(".md").write_text("\n".join(["# Dry run against run", "", *table]) + "\n")


def bundled() -> str:
    """Return the bundled silicon set."""
    from forgefield import datasets

    return str(Path(datasets.__file__).parent / "silicon.extxyz.xz")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], json.loads(sys.argv[3]), sys.argv[4])
    else:
        main(sys.argv[1] if sys.argv[1:] and sys.argv[1] != "-" else bundled(), sys.argv[2:])
