"""What descriptors and models may do with the coefficients of one atom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self

from torch import Tensor

from forgefield.stages.products import ProductTable

__all__ = ["Array", "Function", "Stage"]

Function = Callable[[Any], list[Any]]
"""A formula from the values of a row to new values; see `formulas`."""


class Array(Protocol):
    """Numbers of one atom in rows and columns.

    Expansion coefficients have one row per (channel, radial function) and one column per harmonic; features have one
    row each and a single column.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    def columns(self, first: int, last: int) -> Self:
        """Return columns first ... last - 1."""
        ...

    def rows(self, first: int, last: int) -> Self:
        """Return rows first ... last - 1."""
        ...


class Stage(Protocol):
    """The operations, for atoms of one species; each returns a new `Array`."""

    def linear(self, weight: Tensor, x: Any, bias: Tensor | None = None) -> Any:
        """Return ``y[o, c] = bias[o] + sum_i weight[i, o] x[i, c]``.

        Parameters
        ----------
        weight : (n_species, n_rows, n_out) tensor, or (n_species, n_rows) for one output
            A parameter or buffer of the potential; those of the species of the atom act. One row serves all species.
        x : Array
        bias : (n_species, n_out) tensor, or (n_species,) for one output; or one row
        """
        ...

    def map(self, function: Function, *xs: Any) -> Any:
        """Return ``y[i, :] = function(x[i, :])``; several arrays of equal rows are joined column by column first."""
        ...

    def map_pairs(self, function: Callable[[Any, Any], list[Any]], x: Any) -> Any:
        """Return ``y[p, :] = function(x[i, :], x[j, :])`` for the pairs i <= j, those of the first row first."""
        ...

    def products(self, table: ProductTable, *xs: Any) -> Any:
        """Return ``y[o] = sum_t coefficients[t] prod_p x[indices[t, p]]`` over the terms t of output o, one column.

        For couplings that mix all numbers of an atom, with far more terms than a formula could spell out: triple
        products of SNAP, products of ACE. Polynomials of high degree are cheaper in steps, where the products of
        one table are factors in the next.

        Parameters
        ----------
        table : ProductTable
            Constant; for the numbers of all `xs` in the order of `join`.
        xs : Array
            As many as the table has sizes, of rows times columns numbers each.
        """
        ...

    def join(self, *parts: Any) -> Any:
        """Return all numbers as one column: part by part, column by column."""
        ...
