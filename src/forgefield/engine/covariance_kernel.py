"""The kernel of a covariance: takes a few rank-one matrices away and multiplies the result with a few vectors.

Both in one pass over half of the matrix, which is all that its time depends on. Of the symmetric matrix only the
lanes from the one with the diagonal on are read and written, row by row.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from forgefield.tracer.cache import Machine, Native, host, native
from forgefield.tracer.trace import Int, Kernel, trace
from forgefield.tracer.values import Vec

__all__ = ["BITS", "GROUP", "MOST_VECTORS", "covariance_kernel"]

BITS = 64
"""Working type: in float32 the covariance would lose its positive eigenvalues."""
GROUP = 4
"""Rows of the matrix at a time, which share what is read of the vectors."""
MOST_VECTORS = 5
"""Vectors at a time: their sums for each row of a group fill the registers."""

SIGNATURE = {"n_chunks": "int", "first": "int", "last": "int", "scale": "scalars", "matrix": "rows"}
SIGNATURE |= {"halves": "rows", "halves_of_rows": "scalars", "vectors": "rows", "vectors_of_rows": "scalars"}
SIGNATURE |= {"by_columns": "rows", "by_rows": "totals"}


def covariance_kernel(n_vectors: int) -> Native:
    """Return the kernel that does ``P <- scale P - halves^T halves`` and returns ``P vectors^T``.

    Arguments
    ---------
    n_chunks, first, last : int
        Lanes of a row of the matrix; groups of rows to do.
    scale : (1,)
    matrix : (stride, stride)
        P; stride is ``n_chunks * lanes``. Rows and columns that fill it up are zero.
    halves, halves_of_rows : (n_vectors, stride)
        The same array twice.
    vectors, vectors_of_rows : (n_vectors, stride)
        The same array twice.
    by_columns, by_rows : (n_vectors, stride), out
        Two parts of the products, added to.
    """
    return _covariance_kernel(n_vectors, host())


@lru_cache(maxsize=16)
def _covariance_kernel(n_vectors: int, machine: Machine) -> Native:
    name, lanes = "covariance", machine.lanes(BITS)

    def function(k: Kernel, n_chunks: Int, first: Int, last: Int, **a: Any) -> None:
        with k.range(first, last) as group:
            _Group(k, group * GROUP, n_chunks, (n_vectors, lanes), a).advance()

    return native(name, SIGNATURE, BITS, (n_vectors, GROUP), lambda: trace(name, SIGNATURE, BITS, function))


class _Group:
    """`GROUP` rows of the matrix, from `start` on."""

    def __init__(
        self, k: Kernel, start: Int, n_chunks: Int, sizes: tuple[int, int], arguments: dict[str, Any]
    ) -> None:
        self.k, self.start, self.n_chunks, self.a = k, start, n_chunks, arguments
        self.n, self.lanes = sizes
        self.halves = self._of_rows("halves_of_rows")
        self.vectors = self._of_rows("vectors_of_rows")
        self.scale = arguments["scale"][0]
        self.sums = k.accumulators(GROUP * self.n)

    def _of_rows(self, name: str) -> list[list[Vec]]:
        """Return the numbers of each row for each vector, the same in all lanes."""
        x, stride = self.a[name], self.n_chunks * self.lanes
        return [[x[m * stride + self.start + r] for m in range(self.n)] for r in range(GROUP)]

    def advance(self) -> None:
        """Emit the pass along the rows."""
        diagonal = self.k.integer("div", self.start, self.lanes)
        self._chunk(diagonal)  # both halves of the matrix: its columns have their sums along the rows
        products = self.a["by_columns"]
        with self.k.range(diagonal + 1, self.n_chunks) as c:
            rows = self._chunk(c)
            for m in range(self.n):
                total = products[m * self.n_chunks + c]
                for row, vectors in zip(rows, self.vectors, strict=True):
                    total = total + row * vectors[m]
                products[m * self.n_chunks + c] = total
        for m in range(self.n):
            sums = [self.sums[r * self.n + m] for r in range(GROUP)]
            self.a["by_rows"].add_all(m * self.n_chunks * self.lanes + self.start, sums)

    def _chunk(self, c: Int) -> list[Vec]:
        """Bring lanes `c` of the rows up to date and add them to the sums along the rows."""
        matrix, n_chunks = self.a["matrix"], self.n_chunks
        halves = [self.a["halves"][m * n_chunks + c] for m in range(self.n)]
        rows = []
        for r in range(GROUP):
            at = (self.start + r) * n_chunks + c
            x = matrix[at] * self.scale
            for own, other in zip(self.halves[r], halves, strict=True):
                x = x - own * other
            matrix[at] = x
            rows.append(x)
        for m in range(self.n):
            vector = self.a["vectors"][m * n_chunks + c]
            for r, row in enumerate(rows):
                self.sums[r * self.n + m] = self.sums[r * self.n + m] + row * vector
        return rows
