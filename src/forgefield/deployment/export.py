"""Potentials for other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from forgefield.deployment.gpumd import export_nep
from forgefield.deployment.lammps_pod import export_pod
from forgefield.errors import ConfigError, did_you_mean
from forgefield.files import make_folder
from forgefield.models.potential import Potential

__all__ = ["TARGETS", "export"]


def _gpumd(potential: Potential, folder: Path) -> list[Path]:
    return [export_nep(potential, folder / "nep.txt")]


TARGETS: dict[str, Callable[[Potential, Path], list[Path]]] = {"gpumd": _gpumd, "lammps-pod": export_pod}
"""What writes the files for each program into a folder and names them."""


def export(potential: Potential, to: str, folder: str | Path) -> list[Path]:
    """Write the files another program needs to run a potential.

    Parameters
    ----------
    potential : Potential
    to : str
        One of `TARGETS`.
    folder : str or Path
        Made if it does not exist.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ConfigError
        Unknown program, or one that cannot represent this potential.
    ForgefieldError
        A file cannot be written.
    """
    if to not in TARGETS:
        raise ConfigError(f"cannot export to {to!r}: {did_you_mean(to, TARGETS)}")
    return TARGETS[to](potential, make_folder(folder))
