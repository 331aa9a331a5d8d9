"""Structures simulated and labelled by a potential that is the truth, kept beside the cells that train on them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import ase.io
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from forgefield.files import make_folder
from forgefield.properties.dynamics import Dynamics
from forgefield.properties.dynamics_forces import force_field
from forgefield.properties.dynamics_state import DynamicsSettings

__all__ = ["kept", "labelled", "snapshots"]


def kept(
    folder: Path, settings: Mapping[str, Any], make: Callable[[], Sequence[Atoms]], name: str = "data"
) -> Path:
    """Return a file of structures; it is made once for all cells with the same settings.

    Parameters
    ----------
    folder : Path
        Shared by cells.
    settings : mapping
        All that the structures depend on, plain JSON values.
    make : callable
    name : str
        Of the file, followed by a hash of the settings.
    """
    text = json.dumps(dict(settings), sort_keys=True)
    path = make_folder(folder) / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.extxyz"
    if not path.exists():
        part = path.with_suffix(f".{uuid4().hex}.part")  # two processes may do it at once, on two machines
        ase.io.write(part, list(make()), format="extxyz")
        part.replace(path)
    return path


def labelled(atoms: Atoms, truth: Any, group: str) -> Atoms:
    """Return a copy at rest with energy, forces and stress of a calculator as its labels."""
    copy = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    found = {key: truth.get_property(key, copy) for key in ("energy", "forces", "stress")}
    copy.calc = SinglePointCalculator(copy, **found)
    copy.info["config_type"] = group
    return copy


def snapshots(
    atoms: Atoms,
    truth: Any,
    settings: DynamicsSettings,
    *,
    structures: int,
    gap: int,
    first: int | None = None,
    melt: tuple[float, int] | None = None,
) -> list[Atoms]:
    """Return structures of a simulation with their velocities.

    Parameters
    ----------
    atoms : ase.Atoms
        Start.
    truth : ASE calculator
    settings : DynamicsSettings
    structures : int
    gap : int
        Steps between them.
    first : int, optional
        Steps before the first; default: the same.
    melt : (float, int), optional
        Temperature [K] and steps of a simulation before, from which the first goes on.
    """
    if melt is not None:
        hot = Dynamics(atoms, force_field(truth, atoms), settings.model_copy(update={"temperature": melt[0]}))
        hot.run(melt[1], every=melt[1])
        atoms = hot.atoms()
    dynamics = Dynamics(atoms, force_field(truth, atoms), settings)
    found = []
    for n in range(structures):
        steps = gap if n or first is None else first
        dynamics.run(steps, every=steps)
        found.append(dynamics.atoms())
    return found
