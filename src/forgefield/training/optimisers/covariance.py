"""A covariance of parameters: a symmetric matrix that is changed by few vectors and multiplied with few."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forgefield.engine.covariance_kernel import BITS, GROUP, MOST_VECTORS, covariance_kernel
from forgefield.parallel import get_num_threads, run_parts
from forgefield.tracer.cache import aligned, host

__all__ = ["Covariance", "covariance_bytes", "largest_block"]

FloatArray = NDArray[np.float64]

PART = 64
"""Rows that are worth a thread of their own."""


class Covariance:
    """Symmetric positive definite matrix P of `size` parameters, of which the upper half is kept.

    What `shrink` takes away waits for the next `product`, so that both need one pass over the matrix.

    Attributes
    ----------
    size : int
    waiting : (m, size) float64
        Vectors h of which ``scale P - sum of h h^T`` is still to be taken.
    scale : float
    """

    def __init__(self, size: int, variance: float) -> None:
        self.size, self.scale = size, 1.0
        self.stride = _padded(size)
        self.waiting: FloatArray = np.zeros((0, size))
        self.matrix: FloatArray = aligned((self.stride, self.stride), np.float64)
        self.matrix[range(size), range(size)] = variance

    def product(self, vectors: FloatArray) -> FloatArray:
        """Return ``P v`` for every row v of vectors (m, size)."""
        m = len(vectors)
        pieces = max(1, math.ceil(max(m, len(self.waiting)) / MOST_VECTORS))
        wide = math.ceil(max(m, len(self.waiting), 1) / pieces)
        none = np.zeros((0, self.size))
        changes = [self.waiting[n * wide : (n + 1) * wide] for n in range(pieces)]
        parts = [vectors[n * wide : (n + 1) * wide] for n in range(pieces)]
        for change in changes[:-1]:  # the last of them goes together with the first of the vectors
            self._pass(change, none, wide)
        found = [self._pass(changes[-1], parts[0], wide)]
        found += [self._pass(none, part, wide) for part in parts[1:]]
        self.waiting = none
        return np.concatenate(found)[:m]

    def shrink(self, vectors: FloatArray, scale: float) -> None:
        """Let P become ``scale P - sum of v v^T`` over the rows v of vectors (m, size)."""
        if len(self.waiting):
            self.product(np.zeros((0, self.size)))
        self.waiting, self.scale = vectors, scale

    def _pass(self, change: FloatArray, vectors: FloatArray, wide: int) -> FloatArray:
        halves, places = self._rows(change, wide), self._rows(vectors, wide)
        n_groups, scale = self.stride // GROUP, np.array([self.scale])
        threads = max(1, min(get_num_threads(), self.size // PART))
        sums = [aligned((2, wide, self.stride), np.float64) for _ in range(threads)]
        kernel, n_chunks = covariance_kernel(wide), self.stride // host().lanes(BITS)

        def run(thread: int, first: int, last: int) -> None:
            ends = (_equal_area(n_groups, first / threads), _equal_area(n_groups, last / threads))
            out = sums[thread]
            kernel(n_chunks, *ends, scale, self.matrix, halves, halves, places, places, out[0], out[1])

        run_parts(threads, threads, run)
        self.scale = 1.0
        total: FloatArray = np.sum(sums, axis=(0, 1))
        return total[: len(vectors), : self.size]

    def _rows(self, vectors: FloatArray, wide: int) -> FloatArray:
        rows: FloatArray = aligned((wide, self.stride), np.float64)
        rows[: len(vectors), : self.size] = vectors
        return rows

    # ---- storage -------------------------------------------------------------------------------------------

    def packed(self) -> FloatArray:
        """Return the upper triangle (size (size + 1) / 2,), row after row, without what is `waiting`."""
        found: FloatArray = np.empty(self.size * (self.size + 1) // 2)
        for i, place in enumerate(self._places()):
            found[place] = self.matrix[i, i : self.size]
        return found

    def unpack(self, packed: FloatArray) -> None:
        """Take the matrix from its upper triangle, bit for bit."""
        lanes = host().lanes(BITS)
        for i, place in enumerate(self._places()):
            row = packed[place]
            self.matrix[i, i : self.size] = row
            end = min(self.size, i - i % lanes + lanes)  # the lanes with the diagonal hold both halves
            self.matrix[i:end, i] = row[: end - i]

    def _places(self) -> Sequence[slice]:
        ends = np.cumsum(np.arange(self.size, 0, -1)).tolist()
        return [slice(end - (self.size - i), end) for i, end in enumerate(ends)]


def covariance_bytes(sizes: Sequence[int]) -> int:
    """Return the memory [bytes] of covariances of so many parameters."""
    return BITS // 8 * sum(_padded(n) ** 2 for n in sizes)


def largest_block(n: int, n_bytes: float) -> int:
    """Return the size of blocks in which the covariances of `n` parameters take `n_bytes`; at least 1."""
    size, lanes = int(n_bytes / (BITS // 8 * max(n, 1))), host().lanes(BITS)
    return max(size - size % lanes, 1)


def _padded(size: int) -> int:
    lanes = host().lanes(BITS)
    return -(-size // lanes) * lanes


def _equal_area(n: int, share: float) -> int:
    """Return up to which of `n` rows of a triangle this share of it goes."""
    return round(n * (1.0 - math.sqrt(1.0 - share)))
