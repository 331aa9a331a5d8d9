"""Sparse polynomials at run time: loops over terms whose factors and coefficients are read from memory.

``y[o] = sum over the terms t of o of coefficients[t] * prod_p x[indices[t, p]]`` with far more terms than code could
spell out. Outputs are grouped by their number of terms: up to `LONGEST` they are written out, beyond in pieces of
`PIECE` terms. All tables of a kernel lie in two arguments, one of integers and one of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.tracer.memory import Indices, Rows, Scalars
from forgefield.tracer.trace import Int, Kernel

__all__ = ["Bucket", "TermArguments", "TermMemory", "Terms", "add_terms", "evaluate", "evaluate_linear"]

LONGEST = 8
PIECE = 4

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Store = Callable[[Int, list[Any]], None]
TermArguments = tuple[Indices, Scalars]
"""The arguments of a kernel that hold the integers and the numbers of all tables."""


@dataclass(frozen=True)
class Bucket:
    """Outputs with the same number of terms.

    For each output there lie in memory: its index, then the factors term by term; and its coefficients.

    Attributes
    ----------
    n_outputs, n_terms : int
    first_index, first_number : int
        Where its integers and numbers start.
    """

    n_outputs: int
    n_terms: int
    first_index: int
    first_number: int


@dataclass(frozen=True)
class Terms:
    """Where a polynomial lies in memory.

    Attributes
    ----------
    degree : int
        Factors of each term.
    buckets : tuple of Bucket
    """

    degree: int
    buckets: tuple[Bucket, ...]


@dataclass
class TermMemory:
    """All tables of a kernel.

    Attributes
    ----------
    integers, numbers : list of arrays
        To be concatenated.
    """

    integers: list[IntArray] = field(default_factory=list)
    numbers: list[FloatArray] = field(default_factory=list)
    n_integers: int = 0
    n_numbers: int = 0

    def add(self, integers: IntArray, numbers: FloatArray) -> tuple[int, int]:
        """Append and return where both start."""
        start = self.n_integers, self.n_numbers
        self.integers.append(integers.ravel())
        self.numbers.append(numbers.ravel())
        self.n_integers += integers.size
        self.n_numbers += numbers.size
        return start

    def arrays(self, dtype: Any) -> tuple[NDArray[np.int32], NDArray[Any]]:
        """Return the integers, and the numbers in the working type; never empty."""
        integers = np.concatenate([*self.integers, np.zeros(1, dtype=np.int64)])
        return integers.astype(np.int32), np.concatenate([*self.numbers, np.zeros(1)]).astype(dtype)


def _padded(count: int) -> int:
    """Return the number of terms of the bucket for outputs of `count` terms: beyond `LONGEST`, at most a sixth more."""
    if count <= LONGEST:
        return count
    step = max(PIECE, 1 << (count.bit_length() - 3))
    return -(-count // step) * step


def add_terms(
    memory: TermMemory, n_outputs: int, outputs: IntArray, indices: IntArray, coefficients: FloatArray
) -> Terms:
    """Lay a polynomial out in memory.

    Parameters
    ----------
    memory : TermMemory
    n_outputs : int
    outputs : (n_terms,) int, ascending
    indices : (n_terms, degree) int
    coefficients : (n_terms,)
    """
    starts = np.searchsorted(outputs, np.arange(n_outputs + 1))
    counts = np.diff(starts)
    distinct, of_output = np.unique(counts, return_inverse=True)
    lengths = np.array([_padded(c) for c in distinct.tolist()], dtype=np.int64)[of_output]
    degree = indices.shape[1]
    buckets = []
    for length in np.unique(lengths):
        members = np.flatnonzero(lengths == length)
        slots = np.arange(int(length))
        inside = slots < counts[members, None]
        term = np.where(inside, starts[members, None] + slots, starts[members, None])
        numbers = np.where(inside, coefficients[term], 0.0) if length else np.zeros((len(members), 0))
        factors = indices[term].reshape(len(members), -1) if length else np.zeros((len(members), 0), np.int64)
        start = memory.add(np.concatenate([members[:, None], factors], axis=1), numbers)
        buckets.append(Bucket(len(members), int(length), *start))
    return Terms(degree, tuple(buckets))


def evaluate(k: Kernel, terms: Terms, memory: TermArguments, planes: Sequence[Rows], store: Store) -> None:
    """Emit a polynomial and, with a second plane, its change.

    Parameters
    ----------
    k : Kernel
    terms : Terms
    memory : (Indices, Scalars)
        All tables.
    planes : one or two Rows
        x, and its change.
    store : callable (output, [value] or [value, change])
    """
    for bucket in terms.buckets:
        _bucket(k, terms.degree, bucket, memory, planes, store)


def evaluate_linear(
    k: Kernel, terms: Terms, memory: TermArguments, width: int, x: Rows, store: Store
) -> None:
    """Emit a polynomial of degree one of `width` inputs at once.

    Parameters
    ----------
    k : Kernel
    terms : Terms
    memory : (Indices, Scalars)
        All tables.
    width : int
    x : Rows
        `width` numbers for each input.
    store : callable (output, values)
    """
    for bucket in terms.buckets:
        integers, numbers, n = memory[0] + bucket.first_index, memory[1] + bucket.first_number, bucket.n_terms
        with k.range(bucket.n_outputs) as o:
            at, c_at = o * (1 + n), o * n

            def term(t: Any, at: Int = at, c_at: Int = c_at, memory: Any = (integers, numbers)) -> list[Any]:
                place, c = memory[0][at + (t + 1)] * width, memory[1][c_at + t]
                return [c * x[place + a] for a in range(width)]

            if n <= LONGEST:
                parts = [term(t) for t in range(n)]
                totals: list[Any] = [_tree([p[a] for p in parts]) if parts else 0.0 for a in range(width)]
            else:
                sums = k.accumulators(width)
                with k.range(n) as t:
                    for a, v in enumerate(term(t)):
                        sums[a] += v
                totals = sums.values()
            store(integers[at], totals)


def _bucket(
    k: Kernel,
    degree: int,
    bucket: Bucket,
    memory: TermArguments,
    planes: Sequence[Rows],
    store: Store,
) -> None:
    integers, numbers, n = memory[0] + bucket.first_index, memory[1] + bucket.first_number, bucket.n_terms
    with k.range(bucket.n_outputs) as o:
        at, c_at = o * (1 + n * degree), o * n
        if n <= LONGEST:
            totals = _sum(k, degree, n, (integers + (at + 1), numbers + c_at), planes)
        else:
            sums = k.accumulators(len(planes) * PIECE)
            with k.range(0, n, PIECE) as t:
                own = integers + (at + (t * degree + 1)), numbers + (c_at + t)
                for m in range(PIECE):
                    products = _term(k, degree, m, own, planes)
                    for p, v in enumerate(products):
                        sums[p * PIECE + m] += v
            totals = [_tree(sums.values()[p * PIECE : (p + 1) * PIECE]) for p in range(len(planes))]
        store(integers[at], totals)


def _sum(k: Kernel, degree: int, n: int, memory: TermArguments, planes: Sequence[Rows]) -> list[Any]:
    if not n:
        return [0.0 for _ in planes]
    columns = zip(*(_term(k, degree, m, memory, planes) for m in range(n)), strict=True)
    return [_tree(list(column)) for column in columns]


def _tree(values: list[Any]) -> Any:
    """Return the sum of neighbours, of their sums and so on."""
    while len(values) > 1:
        values = [sum(values[i : i + 2][1:], values[i]) for i in range(0, len(values), 2)]
    return values[0]


def _term(k: Kernel, degree: int, m: int, memory: TermArguments, planes: Sequence[Rows]) -> list[Any]:
    """Return a term and, with a second plane, its change."""
    integers, numbers = memory
    rows = [integers[m * degree + p] for p in range(degree)]
    values = [planes[0][r] for r in rows]
    c = numbers[m]
    with k.tape() as tape:
        product = values[0]
        for v in values[1:]:
            product = product * v
        product = c * product
    if len(planes) == 1:
        return [product]
    return [product, *k.jvp(tape, values, [planes[1][r] for r in rows], [product])]
