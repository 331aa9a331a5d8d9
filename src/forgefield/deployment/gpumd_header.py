"""The header of GPUMD's nep.txt: what it may say, line by line."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ase.data import atomic_numbers

from forgefield.descriptors.nep import TRIPLES
from forgefield.errors import PotentialFileError

__all__ = ["INVARIANTS", "Lines", "NEPHeader", "is_nep", "plain"]

INVARIANTS = ("four_body", "five_body", *TRIPLES)
"""Settings of the NEP descriptor behind the numbers of the `l_max` line after the first, in its order."""

POTENTIALS = re.compile(r"nep([345])(_zbl)?")
FIRST_LINE = re.compile(rb"\s*nep\d?(_\w+)?\s")


def is_nep(content: bytes) -> bool:
    """Return whether a file with this beginning is a nep.txt."""
    return FIRST_LINE.match(content[:200]) is not None


def plain(value: float) -> str:
    """Return the shortest usual form of a number that reads back as the same."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


class Lines:
    """The lines of a file that hold something, one after the other, with errors that name them.

    Parameters
    ----------
    text : str
    name : str
        The file in messages.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.number = 0
        self._lines = text.splitlines()

    def next(self) -> list[str]:
        """Return the words of the next line; an empty list after the last one."""
        while self.number < len(self._lines):
            self.number += 1
            words = self._lines[self.number - 1].split()
            if words:
                return words
        self.number = len(self._lines) + 1
        return []

    def error(self, expected: str, words: Sequence[str]) -> PotentialFileError:
        """Return an error about the line read last."""
        if not words:
            return PotentialFileError(f"{self.name} ends where {expected} is expected; copy it again")
        text = " ".join(words)
        text = text if len(text) <= 60 else text[:57] + "..."
        return PotentialFileError(f"{self.name}, line {self.number}: expected {expected}, got {text!r}")

    def after(self, key: str, form: str) -> list[str]:
        """Return the words after the key that must begin the next line."""
        words = self.next()
        if not words or words[0] != key:
            raise self.error(f"`{form}`", words)
        return words[1:]

    def numbers(self, key: str, form: str, counts: Sequence[int]) -> list[float]:
        """Return the finite numbers after a key; `counts` are the allowed counts of them."""
        words = self.after(key, form)
        try:
            values = [float(w) for w in words]
        except ValueError:
            raise self.error(f"`{form}`", [key, *words]) from None
        if len(values) not in counts or not all(map(math.isfinite, values)):
            raise self.error(f"`{form}`", [key, *words])
        return values

    def integers(self, key: str, form: str, counts: Sequence[int]) -> list[int]:
        """Return the integers >= 0 after a key."""
        values = self.numbers(key, form, counts)
        if any(v < 0 or v != int(v) for v in values):
            raise self.error(f"`{form}` with integers >= 0", [key, *map(plain, values)])
        return [int(v) for v in values]


@dataclass(frozen=True)
class NEPHeader:
    """What the header says.

    Attributes
    ----------
    version : int
        3: one network for all elements; 4: one for each; 5: one for each, with its own output bias.
    elements : tuple of str
        In the order of the file.
    zbl : tuple of float, or None
        Inner and outer cutoff [Å], then the factor of typewise cutoffs where there is one; (0, 0): ten numbers for
        each pair of elements end the file.
    cutoffs : tuple of (radial, angular) [Å]
        One for all elements, or one for each.
    neighbours : (int, int)
        Most neighbours of an atom within the radial and the angular cutoff.
    n_max, basis_size : (int, int)
        Radial, angular.
    l_max : int
    invariants : tuple of bool
        Which of `INVARIANTS` there are.
    n_neurons : int
    """

    version: int
    elements: tuple[str, ...]
    zbl: tuple[float, ...] | None
    cutoffs: tuple[tuple[float, float], ...]
    neighbours: tuple[int, int]
    n_max: tuple[int, int]
    basis_size: tuple[int, int]
    l_max: int
    invariants: tuple[bool, ...]
    n_neurons: int

    @property
    def n_elements(self) -> int:
        """Elements, GPUMD's types."""
        return len(self.elements)

    @property
    def n_features(self) -> int:
        """Features of an atom."""
        return self.n_max[0] + 1 + (self.n_max[1] + 1) * (self.l_max + sum(self.invariants))

    @property
    def flexible_zbl(self) -> bool:
        """Whether each pair of elements has ten parameters of its own."""
        return self.zbl is not None and self.zbl[:2] == (0.0, 0.0)

    @classmethod
    def read(cls, lines: Lines) -> NEPHeader:
        """Read the header; the next line of `lines` is then the first parameter.

        Raises
        ------
        PotentialFileError
            Naming the line and what was expected.
        """
        version, has_zbl, elements = _first_line(lines)
        zbl = _zbl_line(lines) if has_zbl else None
        cutoffs, neighbours = _cutoff_line(lines, len(elements))
        n_max = lines.integers("n_max", "n_max RADIAL ANGULAR", [2])
        basis = lines.integers("basis_size", "basis_size RADIAL ANGULAR", [2])
        l_max, invariants = _l_max_line(lines)
        form = "ANN NEURONS 0"
        neurons = lines.integers("ANN", form, [1, 2])
        if neurons[0] < 1 or neurons[1:] not in ([], [0]):
            raise lines.error(f"`{form}`, one hidden layer", ["ANN", *map(str, neurons)])
        return cls(
            version,
            elements,
            zbl,
            cutoffs,
            neighbours,
            (n_max[0], n_max[1]),
            (basis[0], basis[1]),
            l_max,
            invariants,
            neurons[0],
        )

    def text(self) -> str:
        """Return the lines of the header."""
        kind = f"nep{self.version}" + ("" if self.zbl is None else "_zbl")
        cutoffs = " ".join(plain(c) for pair in self.cutoffs for c in pair)
        rows = [
            f"{kind} {self.n_elements} {' '.join(self.elements)} ",
            *([] if self.zbl is None else [f"zbl {' '.join(plain(v) for v in self.zbl)}"]),
            f"cutoff {cutoffs} {self.neighbours[0]} {self.neighbours[1]}",
            f"n_max {self.n_max[0]} {self.n_max[1]}",
            f"basis_size {self.basis_size[0]} {self.basis_size[1]}",
            f"l_max {self.l_max} {self._invariants_text()}",
            f"ANN {self.n_neurons} 0",
        ]
        return "\n".join(rows) + "\n"

    def _invariants_text(self) -> str:
        """Return the flags of the invariants, the last ones left out where they are zero.

        Programs older than the further four-body invariants want 2, not 1, for the first; those that know them may
        take 2 for a sign that no others follow.
        """
        four, five, *others = self.invariants
        while others and not others[-1]:
            others.pop()
        return " ".join(str(int(x)) for x in (four * (1 if others else 2), five, *others))


def _first_line(lines: Lines) -> tuple[int, bool, tuple[str, ...]]:
    words = lines.next()
    match = POTENTIALS.fullmatch(words[0]) if words else None
    if match is None:
        kinds = "nep3, nep4 or nep5, or one of these with _zbl"
        raise lines.error(f"the kind of a potential, {kinds} (no charges, dipoles, ...)", words[:1])
    if len(words) < 3 or not words[1].isdigit() or int(words[1]) != len(words) - 2:
        raise lines.error("the number of elements and as many symbols, such as `nep4 2 Si O`", words)
    elements = tuple(words[2:])
    for element in elements:
        if atomic_numbers.get(element, 0) < 1:
            raise lines.error("symbols of chemical elements", [element])
    if len(set(elements)) < len(elements):
        raise lines.error("every element once", words)
    return int(match[1]), match[2] is not None, elements


def _zbl_line(lines: Lines) -> tuple[float, ...]:
    form = "zbl INNER OUTER [FACTOR]"
    values = lines.numbers("zbl", form, [2, 3])
    inner, outer, *factor = values
    flexible = inner == outer == 0 and not factor
    if not (flexible or 0 <= inner < outer) or any(f <= 0 for f in factor):
        raise lines.error(f"`{form}` with 0 <= INNER < OUTER, or `zbl 0 0`", ["zbl", *map(plain, values)])
    return tuple(values)


def _cutoff_line(lines: Lines, n: int) -> tuple[tuple[tuple[float, float], ...], tuple[int, int]]:
    form = "cutoff RADIAL ANGULAR NEIGHBOURS NEIGHBOURS"
    expected = f"{form}` or the same with {n} pairs of cutoffs, one for each element"
    words = lines.after("cutoff", expected)
    if len(words) in (5, 6, 7) and len(words) != 2 * n + 2:
        expected += " (factors of covalent radii, written for a while in 2024, are retired)"
    try:
        values = [float(w) for w in words]
        neighbours = [int(w) for w in words[-2:]]
    except ValueError:
        raise lines.error(f"`{expected}", ["cutoff", *words]) from None
    pairs = tuple(zip(values[:-2:2], values[1:-2:2], strict=False))
    valid = all(0 < angular <= radial < math.inf for radial, angular in pairs)
    if len(words) not in (4, 2 * n + 2) or not valid or min(neighbours) < 0:
        raise lines.error(f"`{expected}; 0 < ANGULAR <= RADIAL", ["cutoff", *words])
    return pairs, (neighbours[0], neighbours[1])


def _l_max_line(lines: Lines) -> tuple[int, tuple[bool, ...]]:
    form = "l_max L [Q_222 [Q_1111 [Q_112 [Q_123 [Q_233 [Q_134]]]]]]"
    l_max, *flags = lines.integers("l_max", form, range(1, 8))
    if l_max < 1 or any(f not in (0, 2 if n == 0 else 1, 1) for n, f in enumerate(flags)):
        raise lines.error(f"`{form}` with 0 or 1 after L", ["l_max", *map(str, [l_max, *flags])])
    return l_max, tuple(bool(f) for f in [*flags, *[0] * (len(INVARIANTS) - len(flags))])
