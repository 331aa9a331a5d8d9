"""All rows of a least-squares problem in a triangle: memory does not grow with the data.

A triangle R with ``R^T R = A^T A`` has every sum of squares of the rows A in it, also those of the labels (its last
column), so solvers and cross-validation never see the rows themselves. Unlike normal equations it squares no condition
number: solutions have the error of a factorisation of all rows at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

__all__ = ["Compressed", "Compressor"]

FloatArray = NDArray[np.float64]


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
        stacked = np.concatenate([np.column_stack([p.rows, p.labels]) for p in parts])
        factor = stacked if len(parts) == 1 else _triangle(stacked)
        return Compressed(factor[:, :-1], factor[:, -1], sum(p.n_rows for p in parts))


class Compressor:
    """Takes rows, keeps a triangle (TSQR)."""

    def __init__(self, n_parameters: int) -> None:
        self._width = n_parameters + 1
        self._factor = np.zeros((0, self._width))
        self._pending: list[FloatArray] = []
        self._n_pending = 0
        self.n_rows = 0

    def add(self, rows: FloatArray, labels: FloatArray) -> None:
        """Add weighted rows (n, n_parameters) and labels (n,)."""
        self._pending.append(np.concatenate([rows, labels[:, None]], axis=1))
        self._n_pending += len(rows)
        self.n_rows += len(rows)
        if self._n_pending > 4 * self._width:
            self._fold()

    def result(self) -> Compressed:
        """Return what has been added."""
        self._fold()
        return Compressed(self._factor[:, :-1], self._factor[:, -1], self.n_rows)

    def _fold(self) -> None:
        if self._pending:
            self._factor = _triangle(np.concatenate([self._factor, *self._pending]))
            self._pending, self._n_pending = [], 0


def _triangle(a: FloatArray) -> FloatArray:
    """Return R of the QR factorisation, (min(rows, columns), columns)."""
    (factor,) = qr(a, mode="r", overwrite_a=True, check_finite=False)
    return np.ascontiguousarray(factor[: a.shape[1]])
