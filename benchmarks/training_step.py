"""A training step (energy, forces, virial) from compiled kernels, against autograd over edges and our torch path.

    python benchmarks/training_step.py [--short]

Structures of 64 silicon atoms, 20 or 4 a step; NEP to 5 Å with nine radial functions and channels, 3-, 4- and 5-body
features, 50 neurons, float32. The gradients of all three are compared in float64 before anything is timed. Memory is
what a step adds to the resident memory of a process of its own, after a step with one structure (Linux only).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from common import Report, alternate, options
from plain_torch import PlainObjective

from forgefield.descriptors import NEP
from forgefield.models import Network, NetworkSettings
from forgefield.models.potential import Potential
from forgefield.training.batches import LabelledSet
from forgefield.training.compiled import CompiledObjective
from forgefield.training.initialise import initialise
from forgefield.training.loss import Loss, LossSettings
from forgefield.training.objective import TorchObjective

WEIGHTS = {"energy": 0.3, "forces": 1.0, "stress": 0.1}
OBJECTIVES: dict[str, Callable[..., Any]] = {
    "compiled": CompiledObjective,
    "autograd over edges": PlainObjective,
    "our torch path": TorchObjective,
}
GOAL, MEMORY_GOAL = 30.0, 6.0
MIB = 2.0**20


def frames(n: int) -> list[Atoms]:
    """Return n strained and rattled cells of 64 silicon atoms with random labels, which gradients do not mind."""
    rng = np.random.default_rng(0)
    result = []
    for k in range(n):
        atoms = bulk("Si", "diamond", a=5.43, cubic=True) * (2, 2, 2)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(scale=0.02, size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.1, seed=k)
        labels = {
            "energy": -5.4 * len(atoms) + rng.normal(),
            "forces": rng.normal(size=(len(atoms), 3)),
            "stress": rng.normal(scale=0.05, size=6),
        }
        atoms.calc = SinglePointCalculator(atoms, **labels)
        result.append(atoms)
    return result


def objective(name: str, structures: list[Atoms], dtype: torch.dtype) -> Any:
    """Return one way to the gradient, for a potential that is the same every time."""
    descriptor = NEP(["Si"])
    model = Network(descriptor.n_features, 1, NetworkSettings(hidden=(50,)))
    potential = Potential(descriptor, model, {14: -5.4}).to_dtype(torch.float64)
    data = LabelledSet(potential, structures)
    initialise(potential, data, "whitened", torch.Generator().manual_seed(1))
    potential.to_dtype(dtype)
    return OBJECTIVES[name](potential, data, Loss(LossSettings(), data.scales()))


def gradients(name: str, structures: list[Atoms]) -> torch.Tensor:
    """Return the gradient of a batch of all structures in float64, all parameters in one row."""
    way = objective(name, structures, torch.float64)
    way.gradient(range(len(structures)), WEIGHTS)
    return torch.cat([p.grad.flatten() for p in way.potential.parameters()])


def check(structures: list[Atoms]) -> str:
    """Say how far the gradients are apart; stop if they are not the same."""
    ours, words = gradients("compiled", structures), []
    for name in list(OBJECTIVES)[1:]:
        apart = float((gradients(name, structures) - ours).abs().max() / ours.abs().max())
        if not apart < 1e-9:
            raise SystemExit(f"gradients of {name} and compiled kernels differ by {apart:.1e}")
        words.append(f"{name} {apart:.1e}")
    return (
        f"largest difference of the float64 gradients from ours, relative to the largest: {', '.join(words)}"
    )


# ---- memory ----------------------------------------------------------------------------------------------------

RESOLUTION = 2.0
"""Resident memory [MiB] below which a difference says little: what is freed earlier may be used again unseen."""


def status(key: str) -> int:
    """Return an entry of this process's status [bytes]."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(key)) * 1024


def step_memory(name: str, batch: int) -> int:
    """Return by how much a step raises the resident memory of this process at most [bytes]."""
    way = objective(name, frames(batch), torch.float32)
    way.gradient([0], WEIGHTS)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak counts from here
    before = status("VmRSS")
    way.gradient(range(batch), WEIGHTS)
    return status("VmHWM") - before


def measured_memory(name: str, batch: int) -> float:
    """Return `step_memory` of a new process [MiB], at least `RESOLUTION`."""
    command = [sys.executable, __file__, "--memory-of", name, "--batch", str(batch)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    return max(int(done.stdout.split()[-1]) / MIB, RESOLUTION)


# ---- the table -------------------------------------------------------------------------------------------------


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the processes that measure memory are told."""
    parser.add_argument("--memory-of", choices=list(OBJECTIVES), help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=20, help=argparse.SUPPRESS)


def main() -> None:
    """Measure, print and save."""
    chosen = options(__doc__, add)
    if chosen.values.memory_of:
        print(step_memory(chosen.values.memory_of, chosen.values.batch))
        return
    report = Report(
        "training_step", "Training step, NEP, E + F + virial", "autograd over edges, in torch", chosen
    )
    report.note(check(frames(4)))
    others = list(OBJECTIVES)[1:]
    for batch in (20, 4):
        structures = frames(batch)
        ways = {name: objective(name, structures, torch.float32) for name in OBJECTIVES}
        sides = {name: _step(way, batch) for name, way in ways.items()}
        times = alternate(sides, chosen.seconds)
        for name in others:
            goal = GOAL if name == others[0] and batch == 20 else None
            report.speed(f"{batch} x 64 Si, against {name}", times["compiled"], times[name], goal=goal)
    if Path("/proc/self/clear_refs").exists():
        ours = measured_memory("compiled", 20)
        for name in others:
            goal = MEMORY_GOAL if name == others[0] else None
            report.less(
                f"memory of a step, 20 x 64 Si, against {name}", ours, measured_memory(name, 20), "MiB", goal
            )
        report.note(f"memory is that of the process; less than {RESOLUTION:g} MiB counts as {RESOLUTION:g}")
    report.finish()


def _step(way: Any, batch: int) -> Callable[[], object]:
    return lambda: way.gradient(range(batch), WEIGHTS)


if __name__ == "__main__":
    main()
