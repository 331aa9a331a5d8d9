"""Steps of a training with stored features and derivatives against steps that compute them, for every descriptor.

    python benchmarks/stored_derivatives.py [--short]

Structures of the bundled silicon set in batches of four and of thirty-two, a network of 30 neurons, energies, forces and
stress, one thread. The unit of time is one pass over the structures. "Built in" says after how many such passes the
table has cost less than it saved. Descriptors that are trained cannot be stored. Decision 19 rests on this table.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from ase.io import read
from common import Options, Report, Timing, options

from forgefield.datasets import path
from forgefield.descriptors import DESCRIPTORS, make_descriptor, parse_settings
from forgefield.models import Network, NetworkSettings
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.caching import stored_bytes
from forgefield.training.compiled import CompiledObjective
from forgefield.training.loss import Loss, LossSettings
from forgefield.training.objective import Objective
from forgefield.training.stored import StoredObjective, has_fixed_features

STRUCTURES, STRUCTURES_SHORT = 96, 32
TURNS, TURNS_SHORT = 5, 2
WEIGHTS = {"energy": 0.3, "forces": 1.0, "stress": 0.1}


def potential(kind: str) -> Potential:
    """Return a network on the default descriptor of a kind."""
    torch.manual_seed(0)
    descriptor = make_descriptor(parse_settings({"kind": kind}), ("Si",))
    model = Network(descriptor.n_features, 1, NetworkSettings(hidden=(30,)))
    p = Potential(descriptor, model, dict.fromkeys(descriptor.species, -1.0), 1.0).to_dtype(torch.float32)
    p.scaler.fit(torch.randn(200, descriptor.n_features), "standard")
    return p


def passes(objective: Objective, n: int, batch: int) -> float:
    """Return the processor time of one pass."""
    start = time.process_time()
    steps = [list(range(k, min(k + batch, n))) for k in range(0, n, batch)]
    objective.expect(steps)
    for index in steps:
        objective.gradient(index, WEIGHTS)
    return time.process_time() - start


def measure(report: Report, kind: str, chosen: Options) -> None:
    """Add the rows of a descriptor."""
    short = chosen.short
    frames = read(path("silicon"), ":")
    step = max(1, len(frames) // (STRUCTURES_SHORT if short else STRUCTURES))
    frames = frames[::step]
    p = potential(kind)
    data = LabelledSet(p, frames)
    loss = Loss(LossSettings(), data.scales())
    fused = CompiledObjective(p, data, loss, 1)
    StoredObjective(p, data, loss, 1)  # builds the kernel
    start = time.process_time()
    stored = StoredObjective(p, data, loss, 1)
    built = time.process_time() - start
    n, size = len(frames), stored.stored_bytes
    for batch in (4, 32):
        times: dict[str, list[float]] = {"stored": [], "fused": []}
        for _ in range((TURNS_SHORT if short else TURNS) + 1):
            times["stored"].append(passes(stored, n, batch))
            times["fused"].append(passes(fused, n, batch))
        ours, theirs = (Timing(tuple(x[1:]), tuple(x[1:])) for x in times.values())
        report.speed(f"{kind}, {p.descriptor.n_features} features, batches of {batch}", ours, theirs)
        saved = theirs.median - ours.median
    report.note(
        f"{kind}: {size / data.n_atoms / 1e3:.1f} kB for each of {data.n_atoms} atoms (at most "
        f"{stored_bytes(p, data) / data.n_atoms / 1e3:.1f}), made in {built:.2f} s, "
        + (f"which {np.ceil(built / saved):.0f} passes in batches of 32 save" if saved > 0 else "never saved")
    )


def main() -> None:
    """Measure every descriptor that can be stored."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--only", nargs="+", choices=sorted(DESCRIPTORS), default=list(DESCRIPTORS))

    chosen = options(__doc__, add)
    report = Report(
        "stored_derivatives",
        "Training steps with stored derivatives",
        "the fused step, which stores none",
        chosen,
        (),
    )
    for kind in chosen.values.only:
        if has_fixed_features(potential(kind)):
            measure(report, kind, chosen)
    report.finish()


if __name__ == "__main__":
    main()
