"""Time to error of the optimisers: Adam as GNEP trains with, our default, second-order methods, SNES.

    python benchmarks/optimisers.py DATA [--sets Si Mo bundled] [--methods ...] [--short]

DATA is a folder with ``mlearn_Si/{train,test}.xyz`` and the same for Mo; ``bundled`` is the silicon set of the package.
All methods train the same potential, that of `forgefield init`. The yardstick is the error that Adam with the recipe of
Huang et al. (GNEP: one structure a step, 100 epochs, warm-up of one epoch and cosine, its loss with the weights 1, 2 and
0.1, learning rate 1e-3 to 1e-7, the defaults of its program) has at its end: geometric mean over energy, forces and
stress of the RMSE on the test structures, which no method sees. The time to it is the processor time of training,
validation and step together, until the test error is there; the evaluations that find this out are not counted. Our
default is what `forgefield init` suggests, unchanged. AdamW is run at several lengths, for its learning rate goes down
over the whole of a run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from common import RESULTS, machine

from forgefield.api.init import suggest
from forgefield.api.train import Silent, prepare
from forgefield.config import apply_overrides
from forgefield.data import read
from forgefield.datasets import path
from forgefield.errors import TrainingError
from forgefield.training.accumulate import Errors
from forgefield.training.batches import LabelledSet
from forgefield.training.gradient import GradientTrainer
from forgefield.training.loss import Loss
from forgefield.training.objective import make_objective
from forgefield.training.settings import RunSettings
from forgefield.training.weighting import make_weighting

FIXED = "weights={kind: fixed}"
RECIPE = "Adam, GNEP recipe"
DEFAULT = "our default"
ADAMW = [
    "training={kind: adamw, weight_decay: 0.02}",
    "weights={kind: balanced}",
    "loss.energy=0.3",
]
KALMAN = ["training={kind: kalman}", "weights={kind: balanced, early: {}}", "loss.energy=1"]
METHODS: dict[str, list[str]] = {
    RECIPE: [
        (
            "training={kind: adam, epochs: 100, batch_size: 1, clip: null, average: 0, "
            "schedule: {start: 1.0e-3, stop: 1.0e-7, warmup_epochs: 1}}"
        ),
        FIXED,
        "loss={energy: 1, forces: 2, stress: 0.1, normalisation: gnep}",
        "scaling=minmax",
    ],
    DEFAULT: [],
    "AdamW, 40 epochs": [*ADAMW, "training.epochs=40"],
    "AdamW, 80 epochs": [*ADAMW, "training.epochs=80"],
    "AdamW, 240 epochs": [*ADAMW, "training.epochs=240"],
    "SGD, Nesterov": ["training={kind: sgd, epochs: 80}", *ADAMW[1:]],
    "Kalman, block per neuron": [*KALMAN, "training.blocks=neuron"],
    "Kalman, blocks of 1024": KALMAN,
    "Kalman, one block": [*KALMAN, "training.blocks=all", "training.block_size=4096"],
    "L-BFGS": ["training={kind: lbfgs, epochs: 40}", FIXED],
    "Levenberg-Marquardt": ["training={kind: levenberg_marquardt, epochs: 12}", FIXED],
    "SNES": [
        "training={kind: snes, epochs: 60}",
        FIXED,
        "loss={energy: 1, forces: 1, stress: 0.1, normalisation: gnep}",
    ],
}
"""Overrides of the suggested settings."""
SHORT = 5
"""Runs are shorter by this factor with --short."""
LOOKS = 40
"""Evaluations of the test structures in a run."""
KEYS = ("energy", "forces", "stress")


@dataclass
class Run:
    """One training: the test errors over processor time."""

    data: str
    method: str
    epochs: int
    trace: list[tuple[float, float, dict[str, float]]] = field(default_factory=list)
    failed: str = ""

    def time_to(self, goal: Run, *, each: bool = False) -> float | None:
        """Return the processor time [s] until another run's last error is there: on the mean, or of each property."""
        _, score, errors = goal.trace[-1]
        for seconds, own, found in self.trace:
            if all(found[f"{k}_rmse"] <= errors[f"{k}_rmse"] for k in KEYS) if each else own <= score:
                return seconds
        return None


def train(data: str, folder: Path, method: str, shorter: int) -> Run:
    """Train with one method."""
    files = [path()] if data == "bundled" else [folder / f"mlearn_{data}" / "train.xyz"]
    values = apply_overrides(suggest(files).model_dump(mode="json"), METHODS[method])
    epochs = RunSettings.parse(values).training.epochs
    values["training"]["epochs"] = max(epochs // shorter, 2)
    settings = RunSettings.parse(values)
    prepared = prepare(settings, Silent())
    loss = Loss(settings.loss, prepared.train.scales())
    trainer = GradientTrainer(
        prepared.potential,
        prepared.train,
        prepared.valid,
        loss=loss,
        weights=make_weighting(settings.weights, settings.loss.weights(), settings.seed),
        settings=settings.training,
        seed=settings.seed,
        threads=1,
    )
    if data == "bundled":
        frames = [prepared.dataset.frames[int(k)] for k in prepared.dataset.split.test]
    else:
        frames = read([folder / f"mlearn_{data}" / "test.xyz"])
    test = make_objective(prepared.potential, LabelledSet(prepared.potential, frames), loss, threads=1)
    trainer.objective.gradient([0], settings.loss.weights())  # kernels are built before the clock runs
    trainer.validate()
    run = Run(data, method, settings.training.epochs)
    every, used = max(settings.training.epochs // LOOKS, 1), 0.0
    while not trainer.finished:
        start = time.process_time()
        try:
            trainer.epoch()
        except TrainingError as reason:
            run.failed = str(reason)
            break
        used += time.process_time() - start
        if trainer.progress.epoch % every == 0 or trainer.finished:
            with trainer.average.in_place():
                run.trace.append((used, *look(test, len(frames))))
    return run


def look(test: Any, n: int) -> tuple[float, dict[str, float]]:
    """Return the geometric mean of the RMSE and all errors on the test structures."""
    errors = Errors()
    for k in range(0, n, 16):
        errors.add(test.terms(range(k, min(k + 16, n))))
    found = {k: float(v) for k, v in {**errors.rmse(), **errors.mae()}.items() if v is not None}
    score = math.exp(float(np.mean([math.log(max(found[f"{k}_rmse"], 1e-12)) for k in KEYS])))
    return score, found


def table(runs: list[Run]) -> str:
    """Return the comparison in Markdown."""
    lines = [
        (
            "| set | method | epochs | CPU (s) | E | F | S (test MAE) | E | F | S (test RMSE) | CPU to the recipe's mean error (s) | "
            "share | to each of its errors (s) | share |"
        ),
        f"|{'---|' * 14}",
    ]
    for data in dict.fromkeys(r.data for r in runs):
        own = [r for r in runs if r.data == data and r.trace]
        recipe = next((r for r in own if r.method == RECIPE), None)
        for r in own:
            seconds, _, errors = r.trace[-1]
            cells = [
                f"{errors[f'{k}_{m}']:{form}}"
                for m in ("mae", "rmse")
                for k, form in zip(KEYS, (".2f", ".1f", ".3f"), strict=True)
            ]
            for each in (False, True):
                reached = None if recipe is None else r.time_to(recipe, each=each)
                cells.append("-" if reached is None else f"{reached:.1f}")
                share = "" if reached is None or recipe is None else f"{reached / recipe.trace[-1][0]:.2f}"
                cells.append(share)
            note = " (diverged)" if r.failed else ""
            lines.append(f"| {data} | {r.method}{note} | {r.epochs} | {seconds:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Parse, run, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", default=["Si", "Mo", "bundled"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--short", action="store_true", help=f"runs {SHORT} times shorter, not kept")
    chosen = parser.parse_args()
    runs: list[Run] = []
    for data in chosen.sets:
        for method in chosen.methods:
            runs.append(train(data, chosen.data, method, SHORT if chosen.short else 1))
            print(table(runs).splitlines()[-1], flush=True)
            save(runs, RESULTS / "short" if chosen.short else RESULTS)
    print("\n" + table(runs))


def save(runs: list[Run], folder: Path) -> None:
    """Write all traces and the table."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {**machine(), "load": os.getloadavg()},
        "runs": [asdict(r) for r in runs],
    }
    (folder / "optimisers.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    text = f"# Time to error of the optimisers\n\n{table(runs)}\n\n{values['date']}; load average {os.getloadavg()[0]:.1f}\n"
    (folder / "optimisers.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
