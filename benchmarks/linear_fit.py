"""Linear and quadratic SNAP fitted to published data: time, memory, errors beside LAMMPS's rows and FitSNAP's output.

FitSNAP is not run: its times and errors are those of the output files in its repository (one process, a machine
unknown). What it does is: rows of LAMMPS's `compute snap` structure by structure, then SVD of all of them; linear cases
do the same in the same run (`lammps_rows.py`), on every `LAMMPS_EVERY`-th structure. Every case runs in a process of its
own, so that peak memory is that of the case; processor time counts neighbour lists, rows and solution, and neither
reading the file nor building the kernels, which a first fit of three structures has done.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.io import read
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
    ),
}


def run(name: str, data: Path, every: int) -> dict[str, Any]:
    """Return time [s], memory [MB] and errors of a case."""
    case = CASES[name]
    torch.set_num_threads(1)
    frames = read(data / case.file, f"::{every}")
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
    start = time.process_time()
    fit = fit_linear(potential, LabelledSet(potential, frames), LossSettings(), settings)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    left = _mean_square(fit)
    side = {}
    if name in LAMMPS_EVERY:
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
        "first_seconds": start - before,
        "residual": left**0.5,
        "lammps": side,
        "peak_mb": peak,
        "errors": errors,
        "published_seconds": case.published_seconds,
        "published_errors": list(case.published),
    }


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


def main() -> None:
    """Run every case in a process of its own, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder with the published data sets")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["Ta linear", "Ta quadratic"])
    parser.add_argument("--every", type=int, default=1, help="use every n-th structure only")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run(options.cases[0], options.data, options.every)))
        return
    results = []
    print(
        "| case | rows x parameters | CPU s | µs/atom | LAMMPS µs/atom | FitSNAP s | peak MB | E MAE, RMSE | F MAE, RMSE |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in options.cases:
        command = [
            sys.executable,
            __file__,
            str(options.data),
            "--cases",
            name,
            "--every",
            str(options.every),
        ]
        done = subprocess.run([*command, "--child"], check=True, capture_output=True, text=True)
        r = json.loads(done.stdout.splitlines()[-1])
        e, side = r["errors"], r["lammps"]
        lammps = (
            1e6 * (side["rows_seconds"] + side["solve_seconds"]) / side["atoms"] if side else float("nan")
        )
        print(
            f"| {name} | {r['rows']} x {r['parameters']} | {r['cpu_seconds']:.2f} | "
            f"{1e6 * r['cpu_seconds'] / r['atoms']:.1f} | {lammps:.1f} | {r['published_seconds']:.1f} | "
            f"{r['peak_mb']:.0f} | {e[0]:.6g}, {e[1]:.6g} | {e[2]:.6g}, {e[3]:.6g} |"
        )
        results.append(r)
    if options.every == 1:
        output = Path(__file__).parent / "results" / "linear_fit.json"
        output.parent.mkdir(parents=True, exist_ok=True)
        known = {r["case"]: r for r in json.loads(output.read_text())} if output.exists() else {}
        known |= {r["case"]: r for r in results}
        output.write_text(json.dumps(list(known.values()), indent=2) + "\n")


if __name__ == "__main__":
    main()
