"""One structure from a file, for commands that start from one."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms

from forgefield.data import read
from forgefield.errors import ConfigError, DataError

__all__ = ["read_structure"]


def read_structure(path: Path, repeat: tuple[int, int, int] = (1, 1, 1)) -> Atoms:
    """Return the last structure of a file, repeated.

    Raises
    ------
    DataError, ConfigError
        The file cannot be read by any reader; a count below one.
    """
    if min(repeat) < 1:
        raise ConfigError(f"--repeat needs three counts of at least 1, got {repeat}")
    if not path.exists():
        raise DataError(f"{path} does not exist (working folder: {Path.cwd()})")
    try:
        atoms = read(path)[-1]
    except DataError:
        atoms = _with_ase(path)
    atoms.calc = None
    return atoms.repeat(repeat)


def _with_ase(path: Path) -> Atoms:
    """Read any format ASE knows (CIF, POSCAR, ...)."""
    import ase.io
    from ase.io.formats import UnknownFileTypeError

    try:
        found = ase.io.read(path, index=-1)
    except (UnknownFileTypeError, OSError, ValueError, KeyError, IndexError, StopIteration) as error:
        raise DataError(f"cannot read a structure from {path}: {error or type(error).__name__}") from None
    if not isinstance(found, Atoms) or len(found) == 0:
        raise DataError(f"{path} holds no structure")
    return found
