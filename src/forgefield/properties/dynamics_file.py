"""Checkpoints of simulations: one .npz file without pickle, written atomically."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write
from numpy.typing import NDArray

from forgefield.errors import CheckpointError
from forgefield.files import write_bytes

__all__ = ["begun_with", "read_state", "write_state", "write_structure"]

FloatArray = NDArray[np.float64]
FORMAT = 1
BEFORE = {"barostat": "isotropic", "engine": "own"}
"""What settings were that older files do not name."""


def write_state(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    records: Mapping[str, FloatArray],
    values: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """Write arrays, records and plain values.

    Parameters
    ----------
    path : Path
    arrays : mapping
        The state.
    records : mapping
        What was recorded so far.
    values : mapping
        Numbers and the state of the random numbers.
    settings : mapping
        A file is read only by a simulation with the same ones.
    """
    header = {"format": FORMAT, "values": dict(values), "settings": dict(settings)}
    named: dict[str, Any] = {"header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)}
    named |= {f"state_{k}": v for k, v in arrays.items()} | {f"record_{k}": v for k, v in records.items()}
    content = io.BytesIO()
    np.savez(content, **named)
    write_bytes(path, content.getvalue())


def begun_with(path: Path) -> str | None:
    """Return the engine of the simulation that a checkpoint belongs to; None where there is none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            settings = json.loads(file["header"].tobytes())["settings"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return str(settings.get("engine", BEFORE["engine"]))


def read_state(
    path: Path, settings: Mapping[str, Any], numbers: NDArray[np.int64], masses: FloatArray
) -> tuple[dict[str, NDArray[Any]], dict[str, FloatArray], dict[str, Any]]:
    """Return arrays, records and values of a checkpoint.

    Raises
    ------
    CheckpointError
        Damaged, of another version, with other settings or other atoms.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes())
            found = {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint of a simulation ({error}); delete it to start anew"
        ) from None
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {header.get('format')}, this version reads {FORMAT}"
        )
    other = [k for k, v in settings.items() if header["settings"].get(k, BEFORE.get(k)) != v]
    if other:
        raise CheckpointError(
            f"{path} belongs to a simulation with other settings ({', '.join(sorted(other))}); delete it or choose "
            "another folder"
        )
    state = {k.removeprefix("state_"): v for k, v in found.items() if k.startswith("state_")}
    if not (np.array_equal(state["numbers"], numbers) and np.array_equal(state["masses"], masses)):
        raise CheckpointError(f"{path} belongs to other atoms; delete it or choose another folder")
    records = {k.removeprefix("record_"): v for k, v in found.items() if k.startswith("record_")}
    return state, records, header["values"]


def write_structure(path: Path, atoms: Atoms) -> bool:
    """Write a structure as extended XYZ, without velocities; return False where its numbers are not finite."""
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        return False
    bare = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    text = io.StringIO()
    write(text, bare, format="extxyz")
    write_bytes(path, text.getvalue().encode())
    return True
