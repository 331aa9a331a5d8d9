"""Cost of descriptors per atom: defaults of every kind, gradients beside other programs, ACE by number of functions.

    python benchmarks/descriptor_costs.py [--only gradients featomic ace kinds] [--featomic PYTHON] [--short]

Neighbour lists are made anew at every call. With ``--featomic``, the interpreter of an environment that holds featomic
and ASE, the power spectrum with gradients is computed there in turns; PyXtal_FF's time is the published one.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from ase import Atoms
from common import Clock, Options, Report, Timing, alternate, options
from nep_cases import silicon

from descriptors import silica
from forgefield.descriptors import ACSF, DESCRIPTORS, SO3, Descriptor, make_descriptor
from forgefield.engine.features import FeatureEngine
from forgefield.engine.gradients import GradientEngine
from forgefield.engine.inference import Precision
from forgefield.engine.predictor import Predictor
from forgefield.engine.rows import RowEngine
from forgefield.models import Linear, Network, NetworkSettings
from forgefield.models.potential import Potential

PYXTAL_SECONDS = 44.6e-3
"""Symmetry functions and their gradients in PyXtal_FF [s/atom], not measured here; table 1 of Yanxon et al., 4.374 s for
60 atoms of SiO2 with 70 functions, makes it 0.0729."""

GOAL_PYXTAL, GOAL_FEATOMIC = 2000.0, 15.0
ACE_SETTINGS: tuple[dict[str, Any], ...] = (
    {"n_max": (4, 2), "l_min": (0, 0), "l_max": (0, 2)},
    {"n_max": (6, 3, 1), "l_min": (0, 0, 0), "l_max": (0, 3, 2)},
    {},
    {"n_max": (10, 6, 2, 1), "l_max": (0, 5, 4, 2)},
    {"n_max": (10, 6, 3, 1), "l_max": (0, 5, 4, 3)},
)
PRECISIONS = get_args(Precision)


def potential(descriptor: Descriptor, hidden: tuple[int, ...] | None = None) -> Potential:
    """Return a linear potential or a network with arbitrary coefficients."""
    torch.manual_seed(0)
    n, n_species = descriptor.n_features, descriptor.n_species
    model = Linear(n, n_species) if hidden is None else Network(n, n_species, NetworkSettings(hidden=hidden))
    model.reset_parameters()
    return Potential(descriptor, model, dict.fromkeys(descriptor.species, -1.0), 1.0)


def predict(predictor: Any, atoms: Atoms) -> None:
    """Compute energy, forces and stress; the list is made anew."""
    predictor.predict(atoms)


def predictors(p: Potential) -> dict[str, Any]:
    """Return the potential in both precisions, without a skin."""
    return {dtype: Predictor(p, dtype, threads=1, skin=0.0) for dtype in PRECISIONS}


def gradient_rows(report: Report, chosen: Options) -> None:
    """Add what a network on the 70 functions of SiO2 takes, beside the published time of the gradients it needs."""
    atoms, descriptor = silica(), ACSF(["Si", "O"])
    values = {dtype: FeatureEngine(descriptor, dtype, 1) for dtype in PRECISIONS}
    forces = predictors(potential(descriptor, (30, 30)))
    sides: dict[str, Callable[[], object]] = {}
    sides |= {f"values, {d}": partial(e.compute, atoms) for d, e in values.items()}
    sides |= {f"network, {d}": partial(predict, q, atoms) for d, q in forces.items()}
    times = alternate(sides, chosen.seconds)
    per_atom = 1e6 / len(atoms)
    for dtype in PRECISIONS:
        found = times[f"values, {dtype}"]
        report.limit(
            f"ACSF-70 values, {dtype}", found.median * per_atom, "us/atom", cpu=found.cpu_median * per_atom
        )
    for dtype in PRECISIONS:
        ours = times[f"network, {dtype}"].cpu_median * per_atom
        what = f"ACSF-70 values, forces and stress of a network, {dtype} (processor time)"
        report.less(what, ours, PYXTAL_SECONDS * 1e6, "us/atom", GOAL_PYXTAL)
    report.note(
        f"PyXtal_FF: {PYXTAL_SECONDS * 1e3:g} ms/atom, not measured here, machine unknown; it stores the gradients of all functions, "
        "here the network's forces are pulled back through them"
    )


def featomic_rows(report: Report, chosen: Options) -> None:
    """Add the power spectrum with n = 8, l = 6 and its gradients."""
    if chosen.values.featomic is None:
        report.note("featomic was not given (--featomic): no comparison of the power spectrum")
        return
    atoms = silicon(2 if chosen.short else 3)
    n_max, l_max, cutoff, alpha = 8, 6, 5.0, 2.0
    linear = potential(SO3(["Si"], n_max=n_max, l_max=l_max, cutoff=cutoff, alpha=alpha))
    rows, forces = RowEngine(linear, threads=1), predictors(linear)
    ours: dict[str, Callable[[], object]] = {"rows": partial(rows.compute, [atoms])}
    for dtype in PRECISIONS:
        engine = GradientEngine(linear.descriptor, dtype, 1)
        ours[f"stored, {dtype}"] = partial(engine.differentiate, atoms, engine.differentiate(atoms))
    ours |= {d: partial(predict, q, atoms) for d, q in forces.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "silicon.extxyz"
        atoms.write(path)
        times, features, stored = _in_turns(chosen, path, (n_max, l_max, cutoff, (0.5 / alpha) ** 0.5), ours)
    made = GradientEngine(linear.descriptor).differentiate(atoms)
    numbers = made.gradients.size + made.own.size
    per_atom = 1e6 / len(atoms)
    labels = {
        f"stored, {d}": f"values and gradients of all features, stored by pair, {d}" for d in PRECISIONS
    }
    labels |= {
        "rows": "values and gradients of all features, summed over centres (rows of a linear fit), float64"
    }
    labels |= {d: f"energy, forces, stress of a linear model, {d}" for d in PRECISIONS}
    for key, label in labels.items():
        what = f"power spectrum n=8 l=6, {label}"
        # Sums over the centres are another thing than featomic's table.
        goal = None if key == "rows" else GOAL_FEATOMIC
        report.speed(what, times[key], times["featomic"], unit="us/atom", factor=per_atom, goal=goal)
    report.note(
        f"featomic: {features} features (all pairs n1, n2), Gaussian-type radial functions, {stored / len(atoms):.0f} numbers of "
        f"gradients stored per atom; ours: {linear.descriptor.n_features} (n1 <= n2), {numbers / len(atoms):.0f} numbers stored per atom, "
        "in memory that is used again"
    )


def _in_turns(
    chosen: Options, path: Path, numbers: tuple[float, ...], ours: dict[str, Callable[[], object]]
) -> tuple[dict[str, Timing], int, int]:
    """Return the times of all sides, and how many features and numbers of gradients featomic makes."""
    command = [
        chosen.values.featomic,
        str(Path(__file__).with_name("featomic_side.py")),
        str(path),
        *map(str, numbers),
    ]
    clocks = {name: Clock() for name in ("featomic", *ours)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        features, stored = map(int, other.stdout.readline().split())
        for call in ours.values():
            call()
        start, turns = time.perf_counter(), 0
        while turns < 5 or time.perf_counter() - start < chosen.seconds:
            other.stdin.write("\n")
            other.stdin.flush()
            wall, cpu = map(float, other.stdout.readline().split())
            clocks["featomic"].add(wall, cpu)
            for name, call in ours.items():
                clocks[name].turn(call, 3)
            turns += 1
        other.stdin.close()
    return {name: clock.timing for name, clock in clocks.items()}, features, stored


def ace_rows(report: Report, chosen: Options) -> None:
    """Add ACE by number of functions: energy, forces and stress of a linear model of silicon."""
    atoms = silicon(3)
    for settings in ACE_SETTINGS[: 3 if chosen.short else None]:
        p = potential(make_descriptor({"kind": "ace", **settings}, ["Si"]))
        sides = {d: partial(predict, q, atoms) for d, q in predictors(p).items()}
        times = alternate(sides, chosen.seconds / 3)
        shown = {k: list(v) for k, v in settings.items()} or "defaults"
        for dtype, found in times.items():
            name = f"ACE, {p.descriptor.n_features} functions, {dtype}: {shown}"
            report.limit(
                name, found.median * 1e6 / len(atoms), "us/atom", cpu=found.cpu_median * 1e6 / len(atoms)
            )


def kind_rows(report: Report, chosen: Options) -> None:
    """Add every descriptor with its defaults on SiO2: values, and energy, forces and stress of a linear model."""
    atoms = silica() * (1, 2, 2)
    per_atom = 1e6 / len(atoms)
    for kind in DESCRIPTORS:
        descriptor = make_descriptor({"kind": kind}, ["Si", "O"]).double()
        sides: dict[str, Callable[[], object]] = {
            "values, float64": partial(FeatureEngine(descriptor, "float64", 1).compute, atoms)
        }
        for dtype, q in predictors(potential(descriptor)).items():
            sides[f"energy, forces, stress, {dtype}"] = partial(predict, q, atoms)
        for name, found in alternate(sides, chosen.seconds / 5).items():
            what = f"{kind}, SiO2, {descriptor.n_features} features, {name}"
            report.limit(what, found.median * per_atom, "us/atom", cpu=found.cpu_median * per_atom)


CASES: dict[str, Callable[[Report, Options], None]] = {
    "gradients": gradient_rows,
    "featomic": featomic_rows,
    "ace": ace_rows,
    "kinds": kind_rows,
}


def main() -> None:
    """Measure, print and save."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
        parser.add_argument("--featomic", metavar="PYTHON", help="interpreter that has featomic and ASE")

    chosen = options(__doc__, add, seconds=10.0)
    title = "Cost of descriptors, neighbour list made anew"
    report = Report("descriptor_costs", title, "PyXtal_FF (published); featomic", chosen)
    for name in chosen.values.only:
        CASES[name](report, chosen)
    report.finish()


if __name__ == "__main__":
    main()
