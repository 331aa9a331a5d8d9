"""Descriptors against the programs that brought them: SNAP, SO(3) and POD against LAMMPS, ACSF against dscribe.

    python benchmarks/descriptors.py [--only snap so3 pod acsf] [--short]

Energy, forces and virial of 1024 tantalum atoms with a neighbour list that is kept; both sides run the same potential
and have to agree on its energy, forces and virial first. Of symmetry functions, the values for a cell of SiO2.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal
from common import Options, Report, alternate, options
from lammps_side import Lammps, import_lammps
from nep_cases import Moving, Reused

from forgefield.deployment.lammps_mliap import export_mliap
from forgefield.deployment.lammps_pod import load_pod
from forgefield.deployment.lammps_snap import export_snap
from forgefield.descriptors import ACSF, SNAP, SO3
from forgefield.descriptors.acsf_sets import pyxtal_set
from forgefield.engine.features import FeatureEngine
from forgefield.models import Linear
from forgefield.models.potential import Potential

AGREEMENT = {"float64": 1e-8, "float32": 1e-4}
"""Of forces, relative to the largest, and of the virial in eV/atom: single precision, LAMMPS's own radial integrals."""

SKIN = 0.1
"""Of the list that is kept for symmetry functions [Å]."""

GOALS: dict[str, Any] = {
    "snap": {"float64": 20.0, "float32": 40.0},
    "so3": {"float64": 100.0, "float32": 100.0},
    "pod": {"float64": 10.0, "float32": 10.0},
    "acsf": 15.0,
}


def tantalum(n_cells: int = 8) -> Atoms:
    """Return ``2 n_cells^3`` tantalum atoms, 0.08 Å off their sites."""
    atoms = bulk("Ta", "bcc", a=3.316, cubic=True) * (n_cells, n_cells, n_cells)
    atoms.rattle(0.08, seed=1)
    return atoms


def linear(descriptor: SNAP | SO3) -> Potential:
    """Return a linear potential with arbitrary coefficients."""
    torch.manual_seed(0)
    model = Linear(descriptor.n_features, 1)
    with torch.no_grad():
        model.weight.copy_(1e-3 * torch.randn_like(model.weight))
    return Potential(descriptor, model, dict.fromkeys(descriptor.species, -1.0), 1.0)


def snap(two_j_max: int, folder: Path) -> tuple[Potential, list[str]]:
    """Return a SNAP potential, and how LAMMPS runs it."""
    potential = linear(SNAP(["Ta"], two_j_max=two_j_max, cutoff=4.67637))
    export_snap(potential, folder, "ta")
    return potential, ["pair_style snap", f"pair_coeff * * {folder}/ta.snapcoeff {folder}/ta.snapparam Ta"]


def so3(folder: Path) -> tuple[Potential, list[str]]:
    """Return an SO(3) potential with n = 4, l = 3, and how LAMMPS runs it."""
    potential = linear(SO3(["Ta"], n_max=4, l_max=3, cutoff=4.67637))
    export_mliap(potential, folder, "ta")
    style = (
        f"pair_style mliap model linear {folder}/ta.mliap.model descriptor so3 {folder}/ta.mliap.descriptor"
    )
    return potential, [style, "pair_coeff * * Ta"]


def pod(folder: Path) -> tuple[Potential, list[str]]:
    """Return the POD potential for tantalum that comes with LAMMPS, and how LAMMPS runs it."""
    del folder
    files = Path(import_lammps().__file__).parent / "share" / "lammps" / "potentials"
    parameters, coefficients = files / "Ta_param.pod", files / "Ta_coeff.pod"
    return load_pod(parameters), ["pair_style pod", f"pair_coeff * * {parameters} {coefficients} Ta"]


def against_lammps(
    report: Report,
    chosen: Options,
    label: str,
    make: Callable[[Path], tuple[Potential, list[str]]],
    goals: Any,
) -> None:
    """Add the rows of one potential."""
    atoms = tantalum(4 if chosen.short else 8)
    with tempfile.TemporaryDirectory() as folder:
        potential, commands = make(Path(folder))
        lammps = Lammps(atoms, commands)
    ours = {dtype: Reused(potential, atoms, dtype) for dtype in ("float64", "float32")}
    forces, strain = lammps.result()
    for dtype, side in ours.items():
        side.points.move(atoms.positions, side.cell)
        out = side.engine.evaluate(side.points, side.lists, side.block)
        own = side.points.fold(out.forces)
        worst = np.abs(own - forces).max() / np.abs(forces).max()
        stress = np.abs(out.strain.sum(axis=0)[:3] - strain).max() / len(atoms)
        report.note(
            f"{label}, {dtype}: forces differ by {worst:.1e} of the largest, the virial by {stress:.1e} eV/atom"
        )
        if max(worst, stress) > AGREEMENT[dtype]:
            raise SystemExit(f"{label}: both sides disagree; nothing to compare")
    times = alternate({"lammps": lammps, **ours}, chosen.seconds)
    per_atom = 1e6 / len(atoms)
    for dtype in ours:
        report.speed(
            f"{label}, {dtype}",
            times[dtype],
            times["lammps"],
            unit="us/atom",
            factor=per_atom,
            goal=goals.get(dtype),
        )
    lammps.close()


def snap_rows(report: Report, chosen: Options) -> None:
    """Add the rows of SNAP."""
    for two_j_max in (6, 8):
        against_lammps(report, chosen, f"SNAP 2J={two_j_max}", partial(snap, two_j_max), GOALS["snap"])


def so3_rows(report: Report, chosen: Options) -> None:
    """Add the rows of the SO(3) power spectrum."""
    against_lammps(report, chosen, "SO(3) n=4 l=3", so3, GOALS["so3"])


def pod_rows(report: Report, chosen: Options) -> None:
    """Add the rows of POD."""
    against_lammps(report, chosen, "POD", pod, GOALS["pod"])


def silica() -> Atoms:
    """Return 60 atoms of cristobalite, 0.05 Å off their sites."""
    cell = crystal(
        ["Si", "O"],
        [(0.3003, 0.3003, 0.0), (0.2392, 0.1044, 0.1787)],
        spacegroup=92,
        cellpar=[4.972, 4.972, 6.922, 90, 90, 90],
    )
    atoms = cell * (5, 1, 1)
    atoms.rattle(0.05, seed=1)
    return atoms


def acsf_rows(report: Report, chosen: Options) -> None:
    """Add the rows of 70 symmetry functions of SiO2, values only: list made anew at every call, and kept by us."""
    from dscribe import descriptors as peer

    atoms, descriptor = silica(), ACSF(["Si", "O"])
    (radial,), (angular,), _ = pyxtal_set()
    theirs = peer.ACSF(
        species=["O", "Si"],
        r_cut=descriptor.settings.cutoff,
        g2_params=list(radial.parameters),
        g4_params=[list(p) for p in angular.parameters],
        periodic=True,
    )
    engines = {dtype: FeatureEngine(descriptor, dtype) for dtype in ("float64", "float32")}
    # DScribe: G1 comes first for each element.
    expected = np.delete(theirs.create(atoms), [0, 1 + len(radial.parameters)], axis=1)
    for dtype, engine in engines.items():
        worst = np.abs(engine.compute(atoms) - expected).max() / np.abs(expected).max()
        report.note(f"ACSF-70, {dtype}: values differ by {worst:.1e} of the largest")
        if worst > AGREEMENT[dtype]:
            raise SystemExit("ACSF: both sides disagree; nothing to compare")
    moving = Moving(atoms)

    def moved(compute: Callable[[Atoms], Any]) -> None:
        atoms.positions = moving.next()
        compute(atoms)

    kept = {dtype: FeatureEngine(descriptor, dtype, skin=SKIN) for dtype in engines}
    sides = {f"{dtype}, list made anew": partial(moved, engine.compute) for dtype, engine in engines.items()}
    sides |= {f"{dtype}, list kept": partial(moved, engine.compute) for dtype, engine in kept.items()}
    times = alternate({"dscribe": partial(moved, theirs.create), **sides}, chosen.seconds)
    for name in sides:
        report.speed(f"ACSF-70 of 60 atoms SiO2, {name}", times[name], times["dscribe"], goal=GOALS["acsf"])
    by_cpu = [f"{name} {times['dscribe'].cpu_median / times[name].cpu_median:.1f}x" for name in sides]
    report.note(
        f"ACSF-70 by processor time, which counts on a busy machine (goal {GOALS['acsf']:g}x): {', '.join(by_cpu)}"
    )


CASES: dict[str, Callable[[Report, Options], None]] = {
    "snap": snap_rows,
    "so3": so3_rows,
    "pod": pod_rows,
    "acsf": acsf_rows,
}


def main() -> None:
    """Measure, print and save."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))

    chosen = options(__doc__, add, seconds=10.0)
    report = Report(
        "descriptors", "Descriptors, neighbour list kept", "LAMMPS; dscribe", chosen, ("lammps", "dscribe")
    )
    for name in chosen.values.only:
        CASES[name](report, chosen)
    report.finish()


if __name__ == "__main__":
    main()
