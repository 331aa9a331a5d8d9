"""Which parameters and tables a potential's second half uses, and where they lie in the arrays that kernels read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from forgefield.errors import ForgefieldError
from forgefield.expansions.terms import TermMemory
from forgefield.stages.base import Function
from forgefield.stages.kernel_couplings import CouplingEntry, add_couplings
from forgefield.stages.kernel_products import ProductEntry, add_products
from forgefield.stages.products import ProductTable

__all__ = ["Entry", "ParameterLayout", "Shape", "ShapeStage"]


@dataclass(frozen=True)
class Entry:
    """One linear map: its weight and bias, and where they start in the flat array.

    Attributes
    ----------
    weight, bias : tensors of the potential
        ``(n_species, n_in, n_out)`` (or one output less) and ``(n_species, n_out)``; the bias may be None. One row in
        place of n_species serves all; kernels see it repeated.
    folded : bool
        Acts on scaled features; the kernel sees unscaled ones, and the scaling folded into weight and bias.
    n_in, n_out : int
    weight_start, bias_start : int
        The values of species I start at ``start + I * size``; `bias_start` is -1 without a bias.
    """

    weight: Tensor
    bias: Tensor | None
    folded: bool
    n_in: int
    n_out: int
    weight_start: int
    bias_start: int


@dataclass
class ParameterLayout:
    """All linear maps and polynomials of a potential in the order of their use."""

    n_species: int
    entries: list[Entry] = field(default_factory=list)
    size: int = 0
    products: list[ProductEntry | CouplingEntry] = field(default_factory=list)
    memory: TermMemory = field(default_factory=TermMemory)

    def add(self, weight: Tensor, bias: Tensor | None, shape: tuple[int, int], *, folded: bool) -> Entry:
        """Register a linear map, once."""
        known = self.find(weight)
        if known is not None:
            if known.folded != folded or known.bias is not bias:
                raise ForgefieldError("one weight is used in two different linear maps; give each its own")
            return known
        n_in, n_out = shape
        start = self.size
        self.size += self.n_species * n_in * n_out
        bias_start = -1
        if bias is not None or folded:
            bias_start = self.size
            self.size += self.n_species * n_out
        entry = Entry(weight, bias, folded, n_in, n_out, start, bias_start)
        self.entries.append(entry)
        return entry

    def find(self, weight: Tensor) -> Entry | None:
        """Return the entry of a weight."""
        return next((e for e in self.entries if e.weight is weight), None)

    def products_of(self, table: ProductTable) -> ProductEntry | CouplingEntry:
        """Return the entry of a polynomial, registered when first asked for."""
        known = next((e for e in self.products if e.table is table), None)
        if known is not None:
            return known
        add = add_products if table.complex_products is None else add_couplings
        entry = add(self.memory, table)
        self.products.append(entry)
        return entry


@dataclass(frozen=True)
class Shape:
    """An array of which only the shape is known."""

    shape: tuple[int, int]
    scaled: bool = False

    def columns(self, first: int, last: int) -> Shape:
        """Return columns first ... last - 1."""
        return Shape((self.shape[0], last - first))

    def rows(self, first: int, last: int) -> Shape:
        """Return rows first ... last - 1."""
        return Shape((last - first, self.shape[1]))


class ShapeStage:
    """`Stage` on shapes: finds the parameters, computes nothing (formulas run on plain numbers)."""

    def __init__(self, n_species: int) -> None:
        self.layout = ParameterLayout(n_species)

    def scaled(self, x: Shape) -> Shape:
        """Return the features, marked as scaled."""
        return Shape(x.shape, scaled=True)

    def linear(self, weight: Tensor, x: Shape, bias: Tensor | None = None) -> Shape:
        """See `Stage.linear`."""
        n_out = weight.shape[2] if weight.ndim == 3 else 1
        self.layout.add(weight, bias, (x.shape[0], n_out), folded=x.scaled)
        return Shape((n_out, x.shape[1]))

    def map(self, function: Function, *xs: Shape) -> Shape:
        """See `Stage.map`."""
        columns = sum(x.shape[1] for x in xs)
        return Shape((xs[0].shape[0], len(function([0.5] * columns))))

    def map_pairs(self, function: Callable[[Any, Any], list[Any]], x: Shape) -> Shape:
        """See `Stage.map_pairs`."""
        n, m = x.shape
        return Shape((n * (n + 1) // 2, len(function([0.5] * m, [0.5] * m))))

    def products(self, table: ProductTable, *xs: Shape) -> Shape:
        """See `Stage.products`."""
        del xs
        self.layout.products_of(table)
        return Shape((table.n_outputs, 1))

    def join(self, *parts: Shape) -> Shape:
        """See `Stage.join`."""
        return Shape((sum(p.shape[0] * p.shape[1] for p in parts), 1))
