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

ROWS = 768
"""Rows that are folded in at a time: a strip of them stays in the fast memory of the processor."""

NARROW = 128
PANELS = 8, 32
"""Columns that are eliminated together, where there are less than `NARROW` of them and where there are more."""


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
    Rows wait until there are enough of them, then Householder reflections fold them into the triangle, whose zeros are
    not touched.
    Source: Demmel, Grigori, Hoemmen, Langou, SIAM J. Sci. Comput. 34 (2012) A206 (sequential TSQR).
    """

    def __init__(self, n_parameters: int) -> None:
        self._width = n_parameters + 1
        self._triangle: FloatArray | None = None
        self._waiting: FloatArray | None = None
        self._filled = 0
        self.n_rows = 0

    def add(self, rows: FloatArray, labels: FloatArray, n_rows: int | None = None) -> None:
        """Add weighted rows (n, n_parameters) and labels (n,).

        `n_rows` is how many rows they stand for, if they are compressed ones.
        """
        self.n_rows += len(rows) if n_rows is None else n_rows
        if self._waiting is None:
            self._waiting = np.empty((max(ROWS, self._width // 2), self._width), order="F")
        memory, done = self._waiting, 0
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
        if self._triangle is None:
            return Compressed(np.zeros((0, self._width - 1)), np.zeros(0), self.n_rows)
        triangle = np.triu(self._triangle)[: min(self.n_rows, self._width)]
        return Compressed(triangle[:, :-1], triangle[:, -1], self.n_rows)

    def _fold(self) -> None:
        if self._waiting is None or not self._filled:
            return
        rows = self._waiting
        if self._filled < len(rows):
            rows = np.asfortranarray(rows[: self._filled])
        if self._triangle is None:
            self._triangle = np.zeros((self._width, self._width), order="F")
        self._triangle, *_, info = lapack.dtpqrt(
            0,
            min(PANELS[self._width >= NARROW], self._width),
            self._triangle,
            rows,
            overwrite_a=1,
            overwrite_b=1,
        )
        if info:
            raise ValueError(f"LAPACK's dtpqrt rejected argument {-info}")
        self._filled = 0
