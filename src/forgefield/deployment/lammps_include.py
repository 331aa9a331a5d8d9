"""LAMMPS's include files of potentials (``Ta06A.snap``, ``InP_JCPA2020.mliap``): pair styles and their coefficients.

Understood are the commands variable (styles index, equal and string, with plain values), pair_style and pair_coeff, with
snap, mliap or pod alone or with zbl in a hybrid/overlay. Everything else is refused rather than guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ase.data import chemical_symbols

from forgefield.deployment.lammps_files import as_dtype, integer, number
from forgefield.deployment.lammps_mliap import read_mliap
from forgefield.deployment.lammps_pod import read_pod
from forgefield.deployment.lammps_snap import read_snap
from forgefield.errors import ConfigError, DataError, PotentialFileError
from forgefield.files import read_text
from forgefield.models.file import DtypeName
from forgefield.models.potential import Potential
from forgefield.models.zbl import ZBL, ZBLSettings

__all__ = ["is_include", "read_include"]

STYLES = {"snap": 0, "mliap": 6, "pod": 0, "zbl": 2}
"""Pair styles that are understood, with the number of their arguments."""

FILES = {"snap": 2, "mliap": 0, "pod": 2}
"""Files named by pair_coeff, before the elements."""

PAIR_STYLE = re.compile(r"^\s*pair_style\s", re.MULTILINE)
REFERENCE = re.compile(r"\$\{(\w+)\}|\$(\w)")


@dataclass
class _Commands:
    """The pair styles with their arguments, and the arguments of each pair_coeff."""

    styles: dict[str, list[str]] = field(default_factory=dict)
    coefficients: list[list[str]] = field(default_factory=list)
    hybrid: bool = False


def is_include(content: bytes) -> bool:
    """Return whether a file with this content holds a command pair_style."""
    try:
        return PAIR_STYLE.search(content[: 1 << 20].decode("utf-8")) is not None
    except UnicodeDecodeError:
        return False


def read_include(path: str | Path, dtype: DtypeName | None = None) -> Potential:
    """Read the potential that an include file of LAMMPS sets up; its files lie beside it.

    Parameters
    ----------
    path : str or Path
    dtype : {'float32', 'float64'}, optional
        Number type to evaluate in; default float64.

    Raises
    ------
    PotentialFileError
        A command or pair style is not understood, or a file is missing or damaged.
    """
    path = Path(path)
    commands = _commands(path)
    main = [s for s in commands.styles if s != "zbl"]
    if len(main) != 1:
        raise PotentialFileError(
            f"{path}: needs one of the pair styles {', '.join(FILES)}, got {' '.join(commands.styles) or 'none'}"
        )
    style = main[0]
    rows = [words for words in commands.coefficients if not commands.hybrid or words[2:3] == [style]]
    if len(rows) != 1 or rows[0][:2] != ["*", "*"]:
        raise PotentialFileError(f"{path}: needs one command `pair_coeff * * ...` for {style}")
    words = rows[0][3 if commands.hybrid else 2 :]
    files = [path.with_name(w) for w in words[: FILES[style]]]
    elements = words[FILES[style] :]
    if not elements or "NULL" in elements or len(set(elements)) != len(elements):
        raise PotentialFileError(
            f"{path}: `pair_coeff * *` of {style} must name each element once, got {' '.join(elements) or 'none'}"
        )
    if style == "snap":
        potential = read_snap(files[0], files[1], elements=elements)
    elif style == "pod":
        potential = read_pod(files[0], files[1])
    else:
        potential = _mliap(commands.styles[style], path)
    if "zbl" in commands.styles:
        potential = _with_zbl(potential, commands, elements, path)
    return as_dtype(potential, dtype)


def _commands(path: Path) -> _Commands:
    try:
        text = read_text(path)
    except DataError as error:
        raise PotentialFileError(str(error)) from None
    joined = re.sub(r"&[ \t]*\n", " ", re.sub(r"#.*", "", text))
    variables: dict[str, str] = {}
    result = _Commands()
    for line in joined.splitlines():
        words = _substituted(line, variables, path).replace('"', " ").split()
        if not words:
            continue
        if words[0] == "variable" and len(words) == 4 and words[2] in ("index", "equal", "string"):
            variables[words[1]] = words[3]
        elif words[0] == "pair_style" and len(words) > 1 and not result.styles:
            result.hybrid = words[1].startswith("hybrid")
            if result.hybrid and words[1] != "hybrid/overlay":
                raise PotentialFileError(f"{path}: only hybrid/overlay adds pair styles up, got {words[1]}")
            result.styles = _styles(words[2:] if result.hybrid else words[1:], path)
        elif words[0] == "pair_coeff":
            result.coefficients.append(words[1:])
        else:
            raise PotentialFileError(
                f"{path}: the command `{' '.join(words)}` is not understood; only variable (index, equal, string with a "
                "value), one pair_style and pair_coeff are"
            )
    return result


def _substituted(line: str, variables: dict[str, str], path: Path) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        if name not in variables:
            raise PotentialFileError(f"{path}: the variable {name} is used but not set")
        return variables[name]

    return REFERENCE.sub(value, line)


def _styles(words: Sequence[str], path: Path) -> dict[str, list[str]]:
    styles: dict[str, list[str]] = {}
    k = 0
    while k < len(words):
        name = words[k]
        if name not in STYLES:
            raise PotentialFileError(
                f"{path}: the pair style {name} is not supported, only {', '.join(STYLES)}; load the files of one of these alone"
            )
        if name in styles:
            raise PotentialFileError(f"{path}: the pair style {name} is there twice")
        styles[name] = list(words[k + 1 : k + 1 + STYLES[name]])
        if len(styles[name]) != STYLES[name]:
            raise PotentialFileError(f"{path}: the pair style {name} needs {STYLES[name]} arguments")
        k += 1 + STYLES[name]
    return styles


def _mliap(words: Sequence[str], path: Path) -> Potential:
    """Read the files of ``model KIND FILE descriptor KIND FILE``, in either order."""
    parts = {words[0]: words[1:3], words[3]: words[4:6]}
    if set(parts) != {"model", "descriptor"}:
        raise PotentialFileError(
            f"{path}: mliap needs `model KIND FILE descriptor KIND FILE`, got {' '.join(words)}"
        )
    for part, known in (("model", ("linear", "quadratic", "nn")), ("descriptor", ("sna", "so3"))):
        if parts[part][0] not in known:
            raise PotentialFileError(
                f"{path}: the {part} {parts[part][0]} of mliap is not supported, only {', '.join(known)}"
            )
    return read_mliap(path.with_name(parts["model"][1]), path.with_name(parts["descriptor"][1]))


def _with_zbl(potential: Potential, commands: _Commands, elements: Sequence[str], path: Path) -> Potential:
    """Return the potential with the repulsion of nuclei, which every pair of elements must have in full."""
    inner, outer = (number(w, path, "a cutoff of zbl") for w in commands.styles["zbl"])
    numbers = {e: chemical_symbols.index(e) for e in elements}
    wanted = {
        (i + 1, j + 1): (float(numbers[a]), float(numbers[b]))
        for i, a in enumerate(elements)
        for j, b in enumerate(elements)
        if i <= j
    }
    found = {}
    for words in commands.coefficients:
        if words[2:3] == ["zbl"] and len(words) == 5:
            pair = tuple(integer(w, path, "an atom type of zbl") for w in words[:2])
            found[pair] = tuple(number(w, path, "a charge of zbl") for w in words[3:])
    if found != wanted or sorted(elements) != sorted(potential.elements):
        raise PotentialFileError(
            f"{path}: zbl must be there for all pairs of {' '.join(potential.elements)}, with their atomic numbers, got "
            f"{found}"
        )
    try:
        settings = ZBLSettings.parse({"form": "lammps", "inner": inner, "outer": outer}, where="zbl")
        zbl = ZBL(potential.species, settings)
    except ConfigError as error:
        raise PotentialFileError(f"{path}: {error}") from None
    free = dict(zip(potential.species, potential.references.tolist(), strict=True))
    joined = Potential(potential.descriptor, potential.model, free, zbl=zbl).to_dtype(potential.dtype)
    joined.scaler = potential.scaler
    return joined
