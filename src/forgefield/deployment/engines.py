"""Other programs asked for what they make of a potential's files: energies, forces and virials."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.errors import ForgefieldError

__all__ = [
    "Answer",
    "EngineError",
    "EngineMissingError",
    "LammpsRun",
    "last_words",
    "run_calorine",
    "run_lammps",
]

FloatArray = NDArray[np.float64]

TIME_LIMIT = 600.0
"""Seconds after which an engine is taken for dead."""

LAUNCHERS = ("PMI_", "PMIX_", "HYDRA_", "HYDI_", "MPI_", "MPIR_", "OMPI_", "SLURM_")
"""Variables by which MPI launchers claim a process; the engine is a single process of its own."""

UPPER = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""LAMMPS's order of the components of a virial."""

LOWER = ((1, 0), (2, 0), (2, 1))
"""The three that ``centroid/stress/atom`` has beyond them."""


class EngineError(ForgefieldError, RuntimeError):
    """Another program refuses files or breaks down on them."""


class EngineMissingError(EngineError):
    """Another program is not installed."""


@dataclass(frozen=True)
class Answer:
    """What an engine says of a structure.

    Attributes
    ----------
    energy : float [eV]
    energies : (n_atoms,) array [eV]
    forces : (n_atoms, 3) array [eV/Å]
    virials : (n_atoms, 3, 3) array [eV], optional
        Of each atom; components an engine does not give are NaN.
    virial : (3, 3) array [eV]
        Of all atoms, symmetric: ``-stress * V``.
    """

    energy: float
    energies: FloatArray
    forces: FloatArray
    virials: FloatArray | None
    virial: FloatArray


# ---- asking --------------------------------------------------------------------------------------------------


def _ask(name: str, request: Mapping[str, Any], folder: str | Path, install: str) -> dict[str, Any]:
    """Return the answer of a process of its own; see `engine_worker`."""
    with tempfile.TemporaryDirectory(prefix="forgefield-engine-") as scratch:
        paths = Path(scratch, "request.json"), Path(scratch, "answer.json")
        paths[0].write_text(json.dumps(request), encoding="utf-8")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            done = subprocess.run(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", "forgefield.deployment.engine_worker", *map(str, paths)],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIME_LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EngineError(f"{name} did not answer within {TIME_LIMIT:.0f} s") from None
        if done.returncode != 0 or not paths[1].exists():
            raise EngineError(f"{name} refuses it: {last_words(done)}")
        result: dict[str, Any] = json.loads(paths[1].read_text(encoding="utf-8"))
    if "missing" in result:
        raise EngineMissingError(f"{name} cannot be used here ({result['missing']}); install it: {install}")
    return result


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a program said of its end: its error, else its last line."""
    lines = [line.strip() for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
    said = [line for line in lines if "ERROR" in line] or lines[-1:]
    if not said:
        return f"it ended with code {done.returncode} and said nothing"
    return re.sub(r"^\w*Exception: |\s*\(src/\S+\)$", "", said[-1])


# ---- LAMMPS --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LammpsRun:
    """Structures to be evaluated with one pair style.

    Attributes
    ----------
    commands : sequence of str
        Set up the pair style; file names are relative to the folder of `run_lammps`.
    elements : sequence of str
        Of the atom types, in order.
    structures : sequence of ase.Atoms
        Periodic, with lower triangular cells, so that coordinates are the same here and there.
    centroid : bool
        Ask for the nine components of ``centroid/stress/atom`` in place of the six of ``stress/atom``.
    """

    commands: Sequence[str]
    elements: Sequence[str]
    structures: Sequence[Atoms]
    centroid: bool = False


def run_lammps(runs: Sequence[LammpsRun], folder: str | Path) -> tuple[list[list[Answer]], str]:
    """Return what LAMMPS says of the structures of each run, and its version.

    Parameters
    ----------
    runs : sequence of LammpsRun
    folder : str or Path
        Where LAMMPS looks for files.

    Raises
    ------
    EngineMissingError
        LAMMPS is not installed.
    EngineError
        LAMMPS refuses a command or a file, or dies.
    """
    asked = {"engine": "lammps", "runs": [_request(run) for run in runs]}
    result = _ask("LAMMPS", asked, folder, "pip install 'forgefield[md]'")
    return [[_lammps_answer(s) for s in run] for run in result["runs"]], str(result["version"])


def _request(run: LammpsRun) -> dict[str, Any]:
    index = {symbol: n + 1 for n, symbol in enumerate(run.elements)}
    structures = [
        {
            "cell": atoms.cell.array.tolist(),
            "types": [index[s] for s in atoms.symbols],
            "positions": atoms.positions.tolist(),
        }
        for atoms in run.structures
    ]
    commands, style = list(run.commands), "centroid/stress/atom" if run.centroid else "stress/atom"
    return {"n_types": len(index), "commands": commands, "virials": style, "structures": structures}


def _lammps_answer(values: Mapping[str, Any]) -> Answer:
    energies, given = np.array(values["energies"]), np.array(values["virials"])
    virials = np.full((len(energies), 3, 3), np.nan)
    virial = np.empty((3, 3))
    for n, (a, b) in enumerate(UPPER):
        virial[a, b] = virial[b, a] = values["virial"][n]
    for n in range(given.shape[1]):
        a, b = (UPPER + LOWER)[n]
        virials[:, a, b] = given[:, n]
    return Answer(values["energy"], energies, np.array(values["forces"]), virials, virial)


# ---- GPUMD's NEP on the processor ----------------------------------------------------------------------------


def run_calorine(path: str | Path, structures: Sequence[Atoms]) -> tuple[list[Answer], str]:
    """Return what calorine (NEP_CPU, the program behind it) says of structures with a nep.txt, and its version.

    Raises
    ------
    EngineMissingError
        calorine is not installed.
    EngineError
        It refuses the file.
    """
    asked = {
        "engine": "calorine",
        "path": str(Path(path).resolve()),
        "structures": [
            {
                "symbols": atoms.get_chemical_symbols(),
                "cell": atoms.cell.array.T.ravel().tolist(),
                "positions": atoms.positions.T.ravel().tolist(),
                "masses": atoms.get_masses().tolist(),
            }
            for atoms in structures
        ],
    }
    result = _ask("calorine", asked, Path(path).parent, "pip install 'forgefield[gpumd]'")
    answers = []
    for atoms, found in zip(structures, result["structures"], strict=True):
        names = ("energies", "forces", "virials")
        energies, forces, virials = (np.array(found[k]).reshape(-1, len(atoms)).T for k in names)
        tensors = virials.reshape(-1, 3, 3)
        total = tensors.sum(axis=0)
        answers.append(
            Answer(float(energies.sum()), energies[:, 0], forces, tensors, 0.5 * (total + total.T))
        )
    return answers, str(result["version"])
