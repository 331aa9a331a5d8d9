"""What the readers and writers of LAMMPS's potential files share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers

from forgefield.errors import ConfigError, DataError, PotentialFileError, did_you_mean
from forgefield.files import read_text
from forgefield.models.file import DTYPES, DtypeName
from forgefield.models.potential import Potential

__all__ = [
    "UNITS",
    "as_dtype",
    "check_elements",
    "flag",
    "integer",
    "number",
    "partner",
    "read_keywords",
    "words_of",
    "words_of_content",
]

UNITS = "# UNITS: metal CONTRIBUTOR: written by forgefield\n"
"""First line of every file; LAMMPS compares its units with its own."""

LARGEST_LOOK = 1 << 16
"""Bytes at the beginning of a file by which it is recognised."""


def words_of(path: str | Path) -> list[list[str]]:
    """Return the words of every line of a file that has any, without comments and quotes.

    Raises
    ------
    PotentialFileError
        The file is missing or no text.
    """
    try:
        return _words(read_text(path))
    except DataError as error:
        raise PotentialFileError(str(error)) from None


def words_of_content(content: bytes) -> list[list[str]]:
    """Return the same of the beginning of a file; nothing where it is not text."""
    beginning = content[:LARGEST_LOOK]
    return [] if b"\0" in beginning else _words(beginning.decode("utf-8", "ignore"))


def _words(text: str) -> list[list[str]]:
    lines = (line.partition("#")[0].replace('"', " ").replace("'", " ").split() for line in text.splitlines())
    return [words for words in lines if words]


def number(word: str, path: str | Path, what: str) -> float:
    """Return a finite number."""
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise PotentialFileError(f"{path}: {what} must be a number, got {word!r}")
    return value


def integer(word: str, path: str | Path, what: str) -> int:
    """Return an integer."""
    try:
        return int(word)
    except ValueError:
        raise PotentialFileError(f"{path}: {what} must be an integer, got {word!r}") from None


def flag(word: str, path: str | Path, what: str) -> bool:
    """Return a flag, 0 or 1."""
    if word not in ("0", "1"):
        raise PotentialFileError(f"{path}: {what} must be 0 or 1, got {word!r}")
    return word == "1"


def read_keywords(
    lines: Iterable[Sequence[str]], known: Mapping[str, Any], path: str | Path
) -> dict[str, list[str]]:
    """Return the values of each keyword; the last one counts, as in LAMMPS.

    Raises
    ------
    PotentialFileError
        A keyword is unknown or has no value.
    """
    found: dict[str, list[str]] = {}
    for words in lines:
        if words[0] not in known:
            raise PotentialFileError(f"{path}: unknown keyword {words[0]!r}: {did_you_mean(words[0], known)}")
        if len(words) < 2:
            raise PotentialFileError(f"{path}: the keyword `{words[0]}` has no value")
        found[words[0]] = list(words[1:])
    return found


def check_elements(names: Sequence[str], path: str | Path) -> tuple[str, ...]:
    """Return the names if they are chemical elements, each once."""
    for name in names:
        if atomic_numbers.get(name, 0) < 1:
            raise PotentialFileError(
                f"{path}: {name!r} is no chemical element; rename it in the file if it stands for one"
            )
    if len(set(names)) != len(names):
        raise PotentialFileError(f"{path}: an element appears twice: {' '.join(names)}")
    return tuple(names)


def partner(path: Path, ending: str, others: str, fits: Callable[[bytes], bool]) -> Path:
    """Return the second file of a potential, beside the first.

    Parameters
    ----------
    path : Path
        The first file, whose name should end in `ending`.
    ending, others : str
        Such as ``.snapcoeff`` and ``.snapparam``.
    fits : callable
        Whether the content of a file is of the second kind.

    Notes
    -----
    It has the same name with the other ending, or else is the only one whose name begins alike up to the first dot.

    Raises
    ------
    PotentialFileError
        There is none, or more than one.
    """
    if path.name.endswith(ending):
        same = path.with_name(path.name.removesuffix(ending) + others)
        if same.is_file():
            return same
    start = path.name.partition(".")[0]
    candidates = sorted(
        p
        for p in path.parent.glob(f"{start}*{others}")
        if p.name.partition(".")[0] == start and fits(p.read_bytes())
    )
    if len(candidates) == 1:
        return candidates[0]
    found = ", ".join(p.name for p in candidates) or "none"
    raise PotentialFileError(
        f"{path}: its second file, NAME{others} beside NAME{ending}, cannot be told (found: {found}); name the two "
        "alike, or load an input file with their pair_style and pair_coeff commands"
    )


def as_dtype(potential: Potential, dtype: DtypeName | None) -> Potential:
    """Convert a potential read from a file in double precision."""
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"`dtype` must be 'float32' or 'float64', got {dtype!r}")
    return potential if dtype is None else potential.to_dtype(DTYPES[dtype])
