"""Which features depend on which expansion coefficients: what the rows of a linear model need not multiply.

The Jacobian of the features is mostly zeros where invariants couple a few angular momenta each. Its pattern is found
once per descriptor, by looking at it; kernels then read tiles of it: up to `LARGEST` features that depend on the same
coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from forgefield.descriptors.base import Descriptor, Jacobian
from forgefield.expansions.terms import TermMemory, Terms, add_terms

__all__ = ["LARGEST", "JacobianTerms", "RowTables", "pattern_of"]

LARGEST = 8
"""Features of a tile: with three directions each this fills the registers of AVX-512."""

SAMPLES = 3

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def pattern_of(descriptor: Descriptor) -> list[BoolArray]:
    """Return for each expansion which features depend on which coefficients, (n_features, n_coefficients) bool.

    A derivative that vanishes for all of several random coefficients and all elements is taken to vanish always.
    """
    random = torch.Generator().manual_seed(0)
    tensors = [*descriptor.parameters(), *descriptor.buffers()]
    dtype = next((t.dtype for t in tensors if t.is_floating_point()), torch.float64)
    found = [np.zeros((descriptor.n_features, int(np.prod(e.shape))), bool) for e in descriptor.expansions]
    for species in range(descriptor.n_species):
        a = [
            torch.randn((SAMPLES, *e.shape), generator=random, dtype=torch.float64).to(dtype)
            for e in descriptor.expansions
        ]
        for some, gradients in descriptor.gradients(a, species):
            for pattern, g in zip(found, gradients, strict=True):
                depends = (g.detach() != 0).any(dim=1).cpu().numpy()
                pattern[some] |= depends.reshape(len(depends), -1)
    return found


@dataclass(frozen=True)
class RowTables:
    """Tiles of the Jacobian for each expansion and element of a neighbour.

    Attributes
    ----------
    integers : (n,) int32
        A directory of (first, last) records for each (expansion, element, tile size); the records: features, then
        first and last of their coefficients; the coefficients.
    sizes : tuple of tuple of int
        Tile sizes that occur, for each expansion.
    entries : tuple of (n_features, n_coefficients) bool
        What of the Jacobian with respect to each expansion is read.
    """

    integers: NDArray[np.int32]
    sizes: tuple[tuple[int, ...], ...]
    entries: tuple[BoolArray, ...]

    @staticmethod
    def of(descriptor: Descriptor) -> RowTables:
        """Return the tables of a descriptor."""
        n_species = descriptor.n_species
        tiles = [
            [_tiles(pattern, _reached(e, s)) for s in range(n_species)]
            for e, pattern in zip(descriptor.expansions, pattern_of(descriptor), strict=True)
        ]
        sizes = tuple(
            tuple(sorted({len(f) for of_species in of_list for f, _ in of_species})) for of_list in tiles
        )
        start = 2 * LARGEST * n_species * len(tiles)
        directory = np.zeros((len(tiles), n_species, LARGEST, 2), dtype=np.int64)
        columns: list[int] = []
        placed: list[tuple[int, list[int], int, int]] = []
        length = start
        for n, of_list in enumerate(tiles):
            for s, of_species in enumerate(of_list):
                for size in range(1, LARGEST + 1):
                    directory[n, s, size - 1, 0] = length
                    for features, coefficients in of_species:
                        if len(features) == size:
                            first = len(columns)
                            columns.extend(coefficients)
                            placed.append((length, features, first, len(columns)))
                            length += size + 2
                    directory[n, s, size - 1, 1] = length
        integers = np.zeros(length + len(columns) + 1, dtype=np.int32)
        integers[:start] = directory.ravel()
        for at, features, first, last in placed:
            integers[at : at + len(features) + 2] = [*features, length + first, length + last]
        integers[length : length + len(columns)] = columns
        entries = []
        for of_list, e in zip(tiles, descriptor.expansions, strict=True):
            read = np.zeros((descriptor.n_features, int(np.prod(e.shape))), dtype=bool)
            for features, coefficients in (tile for of_species in of_list for tile in of_species):
                read[np.ix_(features, coefficients)] = True
            entries.append(read)
        return RowTables(integers, sizes, tuple(entries))


def _reached(expansion: object, species: int) -> BoolArray:
    """Return the coefficients that a neighbour of an element takes part in."""
    weights = np.asarray(expansion.channel_weights)  # type: ignore[attr-defined]
    n_channels, n_radial, n_harmonics = expansion.shape  # type: ignore[attr-defined]
    return np.repeat(weights[species] != 0, n_radial * n_harmonics)[: n_channels * n_radial * n_harmonics]


def _tiles(pattern: BoolArray, reached: BoolArray) -> list[tuple[list[int], list[int]]]:
    """Return (features, coefficients) of tiles that cover the pattern."""
    used = np.flatnonzero(reached & pattern.any(axis=0))
    if not len(used):
        return []
    kinds, kind = np.unique(pattern[:, used].T, axis=0, return_inverse=True)
    groups = [(np.flatnonzero(k), used[kind.ravel() == n]) for n, k in enumerate(kinds)]
    every = np.flatnonzero(pattern[:, used].any(axis=1))
    # A tile costs two more coefficients for loading and storing its sums.
    if sum(len(f) * (len(c) + 2) for f, c in groups) >= len(every) * (len(used) + 2):
        groups = [(every, used)]
    return [
        (some.tolist(), coefficients.tolist())
        for features, coefficients in groups
        for some in np.array_split(features, -(-len(features) // LARGEST))
    ]


@dataclass(frozen=True)
class JacobianTerms:
    """A Jacobian laid out in memory: each polynomial once, then copies of it times a factor.

    Attributes
    ----------
    n_inputs, n_unique : int
    terms : Terms
        The polynomials, in the inputs and a one.
    n_copies : int
    first_integer, first_number : int
        Where the copies lie: polynomial, place in the Jacobian and feature; factor.
    """

    n_inputs: int
    n_unique: int
    terms: Terms
    n_copies: int
    first_integer: int
    first_number: int

    @staticmethod
    def of(jacobian: Jacobian, entries: BoolArray, memory: TermMemory) -> JacobianTerms:
        """Lay out what of a Jacobian is read.

        Parameters
        ----------
        jacobian : Jacobian
        entries : (n_features, n_coefficients) bool
        memory : TermMemory
        """
        table, width = jacobian.table, entries.shape[1]
        starts, known = table.starts, dict[bytes, int]()
        filled = np.flatnonzero(np.diff(starts))
        lengths = np.diff(starts)[filled]
        # Polynomials that differ by a factor are one; their coefficients agree to rounding.
        shapes = (
            np.round(table.coefficients / np.repeat(table.coefficients[starts[filled]], lengths), 10) + 0.0
        )
        rows, copies, factors = list[int](), list[tuple[int, int, int]](), list[float]()
        missing = entries.copy()
        for o in filled:
            f, m = int(jacobian.features[o]), int(jacobian.coefficients[o])
            if not entries[f, m]:
                continue
            missing[f, m] = False
            some = slice(starts[o], starts[o + 1])
            key = table.indices[some].tobytes() + shapes[some].tobytes()
            unique = known.setdefault(key, len(rows))
            if unique == len(rows):
                rows.append(int(o))
            copies.append((unique, f * width + m, f))
            factors.append(float(table.coefficients[starts[o]] / table.coefficients[starts[rows[unique]]]))
        for f, m in np.argwhere(missing):
            copies.append((0, int(f * width + m), int(f)))
            factors.append(0.0)
        counts = np.diff(starts)[rows]
        term = np.concatenate([np.arange(starts[o], starts[o + 1]) for o in rows])
        terms = add_terms(
            memory,
            len(rows),
            np.repeat(np.arange(len(rows)), counts),
            table.indices[term],
            table.coefficients[term],
        )
        start = memory.add(np.array(copies), np.array(factors))
        return JacobianTerms(table.n_inputs, len(rows), terms, len(copies), *start)
