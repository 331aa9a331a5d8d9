"""Bundled density-functional data sets: structures with labels, and reference answers.

``silicon``
    Diamond and beta-Sn under strain, thermal, liquid, vacancy and surface structures of silicon,
    computed with PBE; see ``docs/data_silicon.md``. Energies are total energies in eV, forces eV/Å,
    stresses eV/Å^3 (positive in tension, Voigt xx yy zz yz xz xy).
"""

from __future__ import annotations

import io
import json
import lzma
from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms

from forgefield.errors import ConfigError, DataError, did_you_mean

__all__ = ["NAMES", "SPLITS", "load", "path", "reference"]

NAMES: tuple[str, ...] = ("silicon",)
"""Names of the bundled data sets."""
SPLITS: tuple[str, ...] = ("train", "valid", "test")
"""Values of ``info["split"]``, fixed in the file."""


def path(name: str = "silicon") -> Path:
    """Return the path of a data file (extended XYZ, compressed with xz).

    Parameters
    ----------
    name : str
        One of `NAMES`.

    Raises
    ------
    ConfigError
        The name is unknown.
    DataError
        The installation lacks the file.
    """
    return _file(name, f"{name}.extxyz.xz")


def load(name: str = "silicon", split: str | None = None) -> list[Atoms]:
    """Return the structures of a data set, labels in a ``SinglePointCalculator``.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    split : {"train", "valid", "test"}, optional
        Only this part; all structures by default.

    Returns
    -------
    list of Atoms
        ``get_potential_energy()`` [eV], ``get_forces()`` (n_atoms, 3) [eV/Å] and ``get_stress()``
        (6,) [eV/Å^3]; ``info`` holds ``config_type`` (group), ``split`` and ``name`` (unique).

    Raises
    ------
    ConfigError
        The name or the split is unknown.
    DataError
        The installation lacks the file.
    """
    if split is not None and split not in SPLITS:
        raise ConfigError(f"unknown split {split!r} of data set {name!r}; {did_you_mean(split, SPLITS)}")
    text = lzma.decompress(path(name).read_bytes()).decode()
    frames: list[Atoms] = ase.io.read(io.StringIO(text), index=":", format="extxyz")
    return [frame for frame in frames if split is None or frame.info["split"] == split]


def reference(name: str = "silicon") -> dict[str, Any]:
    """Return the reference answers computed with the settings of the data set.

    Parameters
    ----------
    name : str
        One of `NAMES`.

    Returns
    -------
    dict
        Equation of state, elastic constants and phonon frequencies, with the entries ``units``,
        ``settings`` and ``methods``.

    Raises
    ------
    ConfigError
        The name is unknown.
    DataError
        The installation lacks the file.
    """
    answers: dict[str, Any] = json.loads(_file(name, f"{name}_reference.json").read_text(encoding="utf-8"))
    return answers


def _file(name: str, file_name: str) -> Path:
    """Path of a file beside this module; errors for unknown data sets and missing files."""
    if name not in NAMES:
        raise ConfigError(f"unknown data set {name!r}; {did_you_mean(name, NAMES)}")
    found = Path(__file__).resolve().parent / file_name
    if not found.is_file():
        raise DataError(f"the data file {found} is missing from the installation; reinstall forgefield")
    return found
