"""All rows of a least-squares problem in a triangle: memory does not grow with the data.

A triangle R with ``R^T R = A^T A`` has every sum of squares of the rows A in it, also those of the labels (its last
column), so solvers and cross-validation never see the rows themselves. Unlike normal equations it squares no condition
number: solutions have the error of a factorisation of all rows at once. Triangles of parts of the data merge into that
of the whole, wherever they were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

__all__ = ["Compressed", "Compressor"]

FloatArray = NDArray[np.float64]

BLOCK = 4
"""Rows that are folded in at a time, in units of the width: a quarter more work than all rows at once."""

LEAST = 2048
"""Rows that are folded in at a time, at least."""


@dataclass(frozen=True)
class Compressed:
    """Rows A and labels z, compressed: equal norms, scalar products and solutions.

    Attributes
    ----------
    rows : (m, n_parameters)
        m <= n_parameters + 1.
    labels : (m,)
    n_rows : int
        How many rows there were.
    """

    rows: FloatArray
    labels: FloatArray
    n_rows: int

    @staticmethod
    def join(parts: Sequence[Compressed]) -> Compressed:
        """Return the rows of all parts, compressed."""
        if len(parts) == 1:
            return parts[0]
        whole = Compressor(parts[0].rows.shape[1])
        for part in parts:
            whole.add(part.rows, part.labels, n_rows=part.n_rows)
        return whole.result()


class Compressor:
    """Takes rows, keeps a triangle (TSQR).

    Parameters
    ----------
    n_parameters : int

    Notes
    -----
    The triangle and the rows not yet in it share one array, which is factorised in place whenever it is full.
    Source: Demmel, Grigori, Hoemmen, Langou, SIAM J. Sci. Comput. 34 (2012) A206 (sequential TSQR).
    """

    def __init__(self, n_parameters: int) -> None:
        self._width = n_parameters + 1
        self._memory: FloatArray | None = None
        self._filled = 0
        self.n_rows = 0

    def add(self, rows: FloatArray, labels: FloatArray, n_rows: int | None = None) -> None:
        """Add weighted rows (n, n_parameters) and labels (n,).

        `n_rows` is how many rows they stand for, if they are compressed ones.
        """
        self.n_rows += len(rows) if n_rows is None else n_rows
        memory = self._room()
        done = 0
        while done < len(rows):
            if self._filled == len(memory):
                self._fold()
            n = min(len(rows) - done, len(memory) - self._filled)
            place = slice(self._filled, self._filled + n)
            memory[place, :-1] = rows[done : done + n]
            memory[place, -1] = labels[done : done + n]
            self._filled += n
            done += n

    def result(self) -> Compressed:
        """Return what has been added."""
        self._fold()
        triangle = self._room()[: self._filled].copy(order="C")
        return Compressed(triangle[:, :-1], triangle[:, -1], self.n_rows)

    def _room(self) -> FloatArray:
        if self._memory is None:
            size = self._width + max(BLOCK * self._width, LEAST)
            self._memory = np.empty((size, self._width), order="F")
        return self._memory

    def _fold(self) -> None:
        width, memory = self._width, self._room()
        if self._filled <= 1:
            return
        whole = self._filled == len(memory)
        rows = memory if whole else np.asfortranarray(memory[: self._filled])
        factors, _, _, info = lapack.dgeqrf(rows, lwork=64 * width, overwrite_a=1)
        if info:
            raise ValueError(f"LAPACK's dgeqrf rejected argument {-info}")
        self._filled = min(self._filled, width)
        memory[: self._filled] = np.triu(factors[: self._filled])
