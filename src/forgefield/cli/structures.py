"""Structures from files, labelled or not, for commands that start from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from forgefield.data import read
from forgefield.errors import ConfigError, DataError

__all__ = ["read_structure", "read_structures"]


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


def read_structures(paths: Sequence[Path]) -> list[Atoms]:
    """Return all structures of files, folders or patterns, in any format of this package or ASE.

    Raises
    ------
    DataError
        A file cannot be read by any reader.
    """
    frames: list[Atoms] = []
    for path in paths:
        try:
            frames += read(str(path))
        except DataError:
            if not path.is_file():
                raise
            frames += _all_with_ase(path)
    return frames


def _all_with_ase(path: Path) -> list[Atoms]:
    import ase.io
    from ase.io.formats import UnknownFileTypeError

    try:
        found = ase.io.read(path, index=":")
    except (UnknownFileTypeError, OSError, ValueError, KeyError, IndexError, StopIteration) as error:
        raise DataError(f"cannot read structures from {path}: {error or type(error).__name__}") from None
    _require_elements(path)
    for n, atoms in enumerate(found):
        atoms.info.setdefault("name", f"{path.name}:{n}")
    return list(found)


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
    _require_elements(path)
    return found


def _require_elements(path: Path) -> None:
    """Refuse dumps of LAMMPS whose atom types ASE takes for atomic numbers."""
    from forgefield.properties.trajectory import NAMES, dump_columns

    columns = dump_columns(path)
    if columns is not None and not NAMES & set(columns):
        raise DataError(
            f"{path} says atom types but no elements (columns {' '.join(columns)}); write the dump with the column "
            "`element` and `dump_modify ... element ...`, or convert it to extended XYZ"
        )
