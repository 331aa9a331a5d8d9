"""Tables of sparse polynomials: what `Stage.products` evaluates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from forgefield.stages.couplings import ComplexProducts

__all__ = ["ProductTable"]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ProductTable:
    """``y[o] = sum over terms t of output o of coefficients[t] * prod_p x[indices[t, p]]``.

    x are the numbers of one or several arrays, one array after the other. A table is constant: its derivative is
    again a table (`gradient`), linear in one more array, so polynomials can be differentiated as often as wanted
    and nothing but their inputs has to be kept.

    Parameters
    ----------
    sizes : tuple of int
        Numbers in each array; an array of r rows and c columns has r c, column by column.
    n_outputs : int
    outputs : (n_terms,) int, ascending
        Which output a term belongs to.
    indices : (n_terms, degree) int
        Factors; ``n_inputs`` (one past the last number) stands for the factor 1, so that terms of lower degree fit.
    coefficients : (n_terms,)
    complex_products : ComplexProducts, optional
        The same polynomials, written with less arithmetic.

    Notes
    -----
    Equality is identity: build a table once and keep it.
    """

    sizes: tuple[int, ...]
    n_outputs: int
    outputs: IntArray
    indices: IntArray
    coefficients: FloatArray
    complex_products: ComplexProducts | None = field(default=None, repr=False)
    _gradients: dict[int, ProductTable] = field(default_factory=dict, repr=False)

    @staticmethod
    def build(
        sizes: Sequence[int],
        n_outputs: int,
        outputs: Iterable[int] | IntArray,
        indices: Sequence[Sequence[int]] | IntArray,
        coefficients: Iterable[float] | FloatArray,
    ) -> ProductTable:
        """Return the table of these terms: sorted, equal products added up, zeros dropped.

        Parameters
        ----------
        sizes : sequence of int
        n_outputs : int
        outputs : (n_terms,) int
        indices : (n_terms, degree) int
        coefficients : (n_terms,)

        Raises
        ------
        ValueError
            An output or factor is out of range, or the lengths differ.
        """
        out = np.asarray(list(outputs) if not isinstance(outputs, np.ndarray) else outputs, dtype=np.int64)
        values = np.asarray(
            list(coefficients) if not isinstance(coefficients, np.ndarray) else coefficients, dtype=np.float64
        )
        factors = np.asarray(indices, dtype=np.int64)
        n_inputs = int(sum(sizes))
        if factors.ndim != 2 or not factors.shape[1] or not len(out) == len(factors) == len(values):
            raise ValueError(
                f"terms need one output, one row of at least one factor and one coefficient each, got {out.shape}, "
                f"{factors.shape} and {values.shape}"
            )
        if len(out) and (out.min() < 0 or out.max() >= n_outputs):
            raise ValueError(f"outputs must be 0 ... {n_outputs - 1}, got {out.min()} ... {out.max()}")
        if factors.size and (factors.min() < 0 or factors.max() > n_inputs):
            raise ValueError(f"factors must be 0 ... {n_inputs}, got {factors.min()} ... {factors.max()}")
        keys = np.column_stack([out, np.sort(factors, axis=1)])
        order = np.lexsort(keys.T[::-1])
        keys = keys[order]
        new = np.ones(len(keys), dtype=bool)
        new[1:] = (keys[1:] != keys[:-1]).any(axis=1)
        position = np.cumsum(new) - 1
        total = np.bincount(position, weights=values[order])
        size = np.bincount(position, weights=np.abs(values[order]))
        kept = np.abs(total) > 1e-14 * size
        return ProductTable(
            sizes=tuple(int(s) for s in sizes),
            n_outputs=int(n_outputs),
            outputs=np.ascontiguousarray(keys[new][kept, 0]),
            indices=np.ascontiguousarray(keys[new][kept, 1:]),
            coefficients=np.ascontiguousarray(total[kept]),
        )

    def __deepcopy__(self, memo: dict[int, object]) -> ProductTable:
        """Return the table itself: it never changes, and copies of a descriptor share what was prepared for it."""
        return self

    @property
    def n_inputs(self) -> int:
        """Numbers in all arrays."""
        return sum(self.sizes)

    @property
    def n_terms(self) -> int:
        """Products to be added up."""
        return len(self.outputs)

    @property
    def degree(self) -> int:
        """Factors of a term, ones included."""
        return int(self.indices.shape[1])

    @cached_property
    def starts(self) -> IntArray:
        """(n_outputs + 1,) first term of each output, and the end."""
        return np.searchsorted(self.outputs, np.arange(self.n_outputs + 1))

    def gradient(self, array: int) -> ProductTable:
        """Return the table of ``sum_o y_bar[o] dy[o]/dx[i]`` for the numbers i of one array.

        Its arrays are those of this table and then y_bar.
        """
        if array not in self._gradients:
            first = sum(self.sizes[:array])
            last = first + self.sizes[array]
            parts = []
            for p in range(self.degree):
                column = self.indices[:, p]
                rows = np.flatnonzero((column >= first) & (column < last))
                factors = self.indices[rows].copy()
                # What stood for 1 moves behind the new array; y_bar takes the place of the factor left out.
                factors[factors == self.n_inputs] = self.n_inputs + self.n_outputs
                factors[:, p] = self.n_inputs + self.outputs[rows]
                parts.append((column[rows] - first, factors, self.coefficients[rows]))
            outputs, factors, coefficients = (np.concatenate([part[k] for part in parts]) for k in range(3))
            self._gradients[array] = ProductTable.build(
                (*self.sizes, self.n_outputs), self.sizes[array], outputs, factors, coefficients
            )
        return self._gradients[array]

    def evaluate(self, *xs: FloatArray) -> FloatArray:
        """Return y on NumPy: the truth for other ways of evaluating it.

        Parameters
        ----------
        xs : (size, ...) arrays

        Returns
        -------
        (n_outputs, ...) array
        """
        x = np.concatenate([*xs, np.ones_like(xs[0][:1])])
        terms = np.prod(x[self.indices], axis=1) * self.coefficients.reshape(-1, *[1] * (x.ndim - 1))
        y = np.zeros((self.n_outputs, *x.shape[1:]))
        np.add.at(y, self.outputs, terms)
        return y
