"""The operations on tensors of many atoms: differentiable as often as wanted, on any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from forgefield.stages.base import Function
from forgefield.stages.products import ProductTable
from forgefield.stages.torch_products import products

__all__ = ["TorchArray", "TorchStage"]


@dataclass(frozen=True)
class TorchArray:
    """The numbers of many atoms, (columns, n_atoms, rows): contractions over rows are single matrix products."""

    tensor: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.tensor.shape[2], self.tensor.shape[0]

    def columns(self, first: int, last: int) -> TorchArray:
        """Return columns first ... last - 1."""
        return TorchArray(self.tensor[first:last])

    def rows(self, first: int, last: int) -> TorchArray:
        """Return rows first ... last - 1."""
        return TorchArray(self.tensor[:, :, first:last])

    @staticmethod
    def of_coefficients(a: Tensor) -> TorchArray:
        """Wrap expansion coefficients (n_atoms, n_channels, n_radial, n_harmonics)."""
        return TorchArray(a.flatten(1, 2).permute(2, 0, 1))

    @staticmethod
    def of_features(features: Tensor) -> TorchArray:
        """Wrap features (n_atoms, n_features)."""
        return TorchArray(features[None])

    def features(self) -> Tensor:
        """Return the single column as (n_atoms, n_rows)."""
        return self.tensor[0]


@lru_cache(maxsize=64)
def _pairs(n: int) -> tuple[Tensor, Tensor]:
    i, j = torch.triu_indices(n, n)
    return i, j


class TorchStage:
    """`Stage` on tensors.

    Parameters
    ----------
    species : int
        Index of the element of the atoms.
    """

    def __init__(self, species: int) -> None:
        self.species = species

    def linear(self, weight: Tensor, x: TorchArray, bias: Tensor | None = None) -> TorchArray:
        """See `Stage.linear`."""
        w = weight[self._row(weight)]
        w = w if w.ndim == 2 else w[:, None]
        if bias is None:
            return TorchArray(x.tensor @ w)
        b = bias[self._row(bias)]
        if len(x.tensor) == 1:
            return TorchArray(torch.addmm(b if b.ndim else b[None], x.tensor[0], w)[None])
        return TorchArray(x.tensor @ w + b)

    def _row(self, parameter: Tensor) -> int:
        return self.species if len(parameter) > 1 else 0

    def map(self, function: Function, *xs: TorchArray) -> TorchArray:
        """See `Stage.map`."""
        x = xs[0].tensor if len(xs) == 1 else torch.cat([v.tensor for v in xs])
        return TorchArray(_stacked(function(x), x[0]))

    def map_pairs(self, function: Callable[[Any, Any], list[Any]], x: TorchArray) -> TorchArray:
        """See `Stage.map_pairs`."""
        i, j = (index.to(x.tensor.device) for index in _pairs(x.shape[0]))
        left, right = x.tensor[:, :, i], x.tensor[:, :, j]
        return TorchArray(_stacked(function(left, right), left[0]))

    def products(self, table: ProductTable, *xs: TorchArray) -> TorchArray:
        """See `Stage.products`."""
        flat = [x.tensor.permute(0, 2, 1).flatten(0, 1) for x in xs]
        return TorchArray(products(table, *flat).T[None])

    def join(self, *parts: TorchArray) -> TorchArray:
        """See `Stage.join`."""
        columns = [column for part in parts for column in part.tensor]
        return TorchArray(torch.cat(columns, dim=1)[None])


def _stacked(values: Sequence[Any], like: Tensor) -> Tensor:
    """Stack the results of a formula, constants included."""
    if len(values) == 1 and isinstance(values[0], Tensor):
        return values[0][None]
    return torch.stack([v if isinstance(v, Tensor) else torch.full_like(like, v) for v in values])
