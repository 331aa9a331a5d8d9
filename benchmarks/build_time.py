"""Time to build kernels: traced and compiled, and taken from the cache by a later process.

    python benchmarks/build_time.py [--short]

Every build happens in a process of its own: with an empty cache folder (cold), then again (cached). Importing the
package is not counted, starting the compiler is. Memory is allocated and parameters are copied before.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from ase.build import bulk
from common import Report, options
from nep_cases import silicon
from training_step import frames, objective

from forgefield.descriptors import ACE, ACSF, NEP, SNAP, SO3, Descriptor
from forgefield.engine.inference import Engine, Precision
from forgefield.engine.kernel import NotCompiledError
from forgefield.engine.predictor import Predictor
from forgefield.models import Linear, Network, NetworkSettings
from forgefield.models.potential import Potential

COLD, CACHED = 3.0, 0.2
SIXTEEN = "Ag Al Au Cr Cu Mg Mo Ni Pb Pd Pt Ta Ti V W Zr".split()  # noqa: SIM905 - sixteen quotes help nobody

Build = Callable[[], object]


def network(descriptor: Descriptor, hidden: int = 50) -> Potential:
    """Return a potential with a network, untrained: kernels do not depend on the parameters."""
    settings = NetworkSettings(hidden=(hidden,))
    return Potential(descriptor, Network(descriptor.n_features, descriptor.n_species, settings))


def linear(descriptor: Descriptor) -> Potential:
    """Return a linear potential, untrained."""
    return Potential(descriptor, Linear(descriptor.n_features, descriptor.n_species))


def values(potential: Potential, dtype: Precision) -> Build:
    """Return the build of the kernel for energies and forces."""
    return Engine(potential, dtype).kernel


def silicon_nep() -> Potential:
    """Return a potential of the shape of the published silicon ones."""
    sizes = {"n_max_radial": 10, "n_max_angular": 10, "basis_size_radial": 10, "basis_size_angular": 10}
    return network(NEP(["Si"], **sizes))


def unep() -> Potential:
    """Return a potential of the shape of UNEP-v1."""
    sizes = {"n_max_radial": 4, "n_max_angular": 4, "cutoff_radial": 6.0, "cutoff_angular": 5.0}
    return network(NEP(SIXTEEN, **sizes), hidden=80)


def first_prediction() -> Build:
    """Return what a user waits for: predictor, neighbour list and first result, for 64 atoms."""
    potential, atoms = silicon_nep(), silicon(2)
    return lambda: Predictor(potential, "float32").predict(atoms)


def first_step() -> Build:
    """Return the first step of a training run: both of its kernels."""
    import torch

    structures = frames(2)
    return lambda: objective("compiled", structures, torch.float32).gradient(
        [0], {"energy": 1.0, "forces": 1.0}
    )


def lists() -> Build:
    """Return the build of the kernels that list neighbours."""
    from forgefield.engine.neighbours import list_neighbours

    atoms = bulk("Si", cubic=True)
    return lambda: list_neighbours(atoms, [14], [5.0])


KERNELS: dict[str, Callable[[], Build]] = {
    "NEP, Si, float32": lambda: values(silicon_nep(), "float32"),
    "NEP, Si, float64": lambda: values(silicon_nep(), "float64"),
    "NEP, 16 elements, float32": lambda: values(unep(), "float32"),
    "SNAP 2J=8, float64": lambda: values(linear(SNAP(["Ta"], two_j_max=8, cutoff=4.9)), "float64"),
    "SO(3) n=4 l=3, float64": lambda: values(linear(SO3(["Si"], n_max=4, l_max=3)), "float64"),
    "ACE, float64": lambda: values(linear(ACE(["Si"])), "float64"),
    "ACSF, float64": lambda: values(network(ACSF(["Si"])), "float64"),
    "neighbour list": lists,
}
"""Single kernels: these have goals."""

WAITS = {
    "first prediction of a process, all kernels": first_prediction,
    "first training step, all kernels": first_step,
}
"""What users see: several kernels and all around them."""

ALL = KERNELS | WAITS
SHORT = ["NEP, Si, float32", "NEP, 16 elements, float32", "first prediction of a process, all kernels"]


def add(parser: argparse.ArgumentParser) -> None:
    """Add what the processes that build are told."""
    parser.add_argument("--case", choices=list(ALL), help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=3, help="of every build (default 3; 1 in short runs)")


def build_here(case: str) -> dict[str, Any]:
    """Build in this process and say how long it took."""
    try:
        build = ALL[case]()
        wall, cpu = time.perf_counter(), time.process_time()
        build()
    except NotCompiledError as error:
        return {"skipped": str(error)}
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def build(case: str, folder: str) -> dict[str, Any]:
    """Build in a new process with its cache in a folder."""
    command = [sys.executable, __file__, "--case", case]
    env = {**os.environ, "FORGEFIELD_CACHE": folder}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Measure, print and save."""
    chosen = options(__doc__, add)
    if chosen.values.case:
        print(json.dumps(build_here(chosen.values.case)))
        return
    repeats = 1 if chosen.short else chosen.values.repeats
    report = Report("build_time", "Time to build kernels", "the goals", chosen)
    for case in SHORT if chosen.short else ALL:
        cold, cached = [], []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as folder:
                cold.append(build(case, folder))
                cached.append(build(case, folder))
        if "skipped" in cold[0]:
            report.note(f"{case}: {cold[0]['skipped']}")
            continue
        for kind, found, most in (("cold", cold, COLD), ("cached", cached, CACHED)):
            wall, cpu = (statistics.median(x[k] for x in found) for k in ("wall", "cpu"))
            report.limit(f"{case}, {kind}", wall, "s", most if case in KERNELS else None, cpu)
    report.finish()


if __name__ == "__main__":
    main()
