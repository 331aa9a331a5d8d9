"""LAMMPS as the other side of a linear fit: rows of `compute snap` for every structure, then one least-squares solution.

This is what FitSNAP does with one process: a new box for every structure, all rows in memory, SVD.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from lammps_side import import_lammps
from numpy.typing import NDArray
from scipy.linalg import lstsq

__all__ = ["fit_with_lammps"]

FloatArray = NDArray[np.float64]
BAR = 6.241509074460763e-7
"""eV/Å^3."""

CUT = 1e-13
"""Singular values below this share of the largest are dropped, as in FitSNAP."""


def fit_with_lammps(
    frames: Sequence[Atoms],
    weights: dict[str, dict[str, float]],
    descriptor: dict[str, Any],
    zbl: tuple[float, float],
    shifts: dict[int, float] | None = None,
) -> dict[str, Any]:
    """Return processor seconds of rows and solution, the size of the rows, the rms of the weighted residuals.

    Energies are taken relative to `shifts`, of each atomic number. There is a constant for each element unless
    ``bzero`` makes the features of a free atom vanish, as in FitSNAP.
    """
    elements = sorted({s for a in frames for s in a.get_chemical_symbols()}, key=atomic_numbers.__getitem__)
    references = {atomic_numbers[e]: (shifts or {}).get(atomic_numbers[e], 0.0) for e in elements}
    engine = import_lammps().lammps(cmdargs=["-screen", "none", "-log", "none"])
    start = time.process_time()
    parts = [_rows(engine, a, elements, descriptor, zbl, references) for a in frames]
    factors = []
    for a in frames:
        w, n = weights[a.info["config_type"]], len(a)
        factors.append(
            np.concatenate([[w["eweight"]], np.full(3 * n, w["fweight"]), np.full(6, w["vweight"])])
        )
    rows, labels = (np.concatenate([p[k] for p in parts]) for k in (0, 1))
    factor = np.concatenate(factors)
    made = time.process_time()
    values, *_ = lstsq(rows * factor[:, None], labels * factor, cond=CUT)
    end = time.process_time()
    residual = factor * (rows @ values - labels)
    return {
        "rows_seconds": made - start,
        "solve_seconds": end - made,
        "rows_mb": 2 * rows.nbytes / 2**20,
        "residual": float(np.sqrt((residual**2).mean())),
    }


def _rows(
    engine: Any,
    atoms: Atoms,
    elements: list[str],
    p: dict[str, Any],
    zbl: tuple[float, float],
    references: dict[int, float],
) -> tuple[FloatArray, FloatArray]:
    """Return the rows of a structure (energy per atom, forces, stresses in bar) and its labels less the repulsion."""
    cell, turn = atoms.cell.standard_form()
    types = [elements.index(s) + 1 for s in atoms.get_chemical_symbols()]
    cell = cell.tolist()
    xhi, yhi, zhi = (cell[a][a] for a in range(3))
    engine.command("clear")
    for line in (
        "units metal",
        "atom_style atomic",
        "atom_modify map array sort 0 0",
        "box tilt large",
        "boundary p p p",
        f"region cell prism 0 {xhi!r} 0 {yhi!r} 0 {zhi!r} {cell[1][0]!r} {cell[2][0]!r} {cell[2][1]!r} units box",
        f"create_box {len(elements)} cell",
        "mass * 100.0",
    ):
        engine.command(line)
    n = len(atoms)
    places = (atoms.get_scaled_positions(wrap=True) @ np.array(cell)).ravel()
    engine.create_atoms(n, list(range(1, n + 1)), types, places.tolist())
    for line in _commands(elements, p, zbl):
        engine.command(line)
    found = np.array(engine.numpy.extract_compute("snap", 0, 2))
    found[0] /= n
    found[-6:, :-1] /= BAR * atoms.get_volume()
    counts = np.zeros((len(found), len(elements)))
    counts[0] = np.bincount(types, minlength=len(elements) + 1)[1:] / n
    stress = -(turn @ atoms.get_stress(voigt=False) @ turn.T)[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)] / BAR
    labels = np.concatenate(
        [
            [(atoms.get_potential_energy() - sum(references[z] for z in atoms.numbers)) / n],
            (atoms.get_forces() @ turn.T).ravel(),
            stress,
        ]
    )
    rows = found[:, :-1] if p.get("bzero", True) else np.column_stack([counts, found[:, :-1]])
    return rows, labels - found[:, -1]


def _commands(elements: list[str], p: dict[str, Any], zbl: tuple[float, float]) -> list[str]:
    """Return what sets up and runs the rows of the structure in LAMMPS."""
    radii = [p.get("radii", {}).get(e, 0.5) for e in elements]
    factors = [p.get("weights", {}).get(e, 1.0) for e in elements]
    chem = f"chem {len(elements)} {' '.join(map(str, range(len(elements))))}" if p.get("chemical") else ""
    flags = (
        f"bzeroflag {int(p.get('bzero', True))} bnormflag {int(p.get('bnorm', False))} "
        f"wselfallflag {int(p.get('wself_all', False))}"
    )
    numbers = " ".join(repr(float(x)) for x in (*radii, *factors))
    pairs = [
        f"pair_coeff {i + 1} {j + 1} zbl {atomic_numbers[a]} {atomic_numbers[b]}"
        for i, a in enumerate(elements)
        for j, b in enumerate(elements)
        if i <= j
    ]
    return [
        f"pair_style hybrid/overlay zero 10.0 zbl {zbl[0]} {zbl[1]}",
        "pair_coeff * * zero",
        *pairs,
        f"compute snap all snap {p['cutoff']!r} 0.99363 {p['two_j_max']} {numbers} rmin0 0.0 {chem} {flags}",
        "thermo_style custom step c_snap[1][1]",
        "run 0 post no",
    ]
