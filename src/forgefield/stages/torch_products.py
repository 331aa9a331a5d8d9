"""Sparse polynomials on torch: gather, multiply and add, without storing a term."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from forgefield.stages.products import ProductTable

__all__ = ["products"]

NUMBERS_PER_CHUNK = 1 << 18
"""Products held at a time: 2 MB in double precision, so that they stay in the cache of a core."""

NUMBERS_PER_CHUNK_GPU = 1 << 25
"""Products held at a time on a GPU."""


@dataclass(frozen=True)
class _Bucket:
    """Outputs with about the same number of terms, padded to the same number with coefficients of zero.

    Attributes
    ----------
    factors : (degree, n_outputs, n_terms) int
    coefficients : (n_outputs, 1, n_terms)
    """

    factors: Tensor
    coefficients: Tensor


@dataclass(frozen=True)
class _Plan:
    """A table as buckets; `position` says where each output is among those of all buckets."""

    buckets: tuple[_Bucket, ...]
    position: Tensor


def _padded(count: int) -> int:
    """Return the number of terms of the bucket for outputs of `count` terms: at most a quarter more."""
    step = 1 << max(0, count.bit_length() - 3)
    return -(-count // step) * step


@lru_cache(maxsize=128)
def _plan(table: ProductTable, dtype: torch.dtype, device: torch.device) -> _Plan:
    starts = table.starts
    counts = np.diff(starts)
    lengths = np.array([_padded(int(c)) for c in counts], dtype=np.int64)
    order = np.argsort(lengths, kind="stable")
    buckets = []
    for length in np.unique(lengths):
        members = order[lengths[order] == length]
        slots = np.arange(max(int(length), 1))
        inside = slots < counts[members, None]
        term = np.where(inside, starts[members, None] + slots, 0)
        if table.n_terms == 0:
            factors = np.zeros((table.degree, *term.shape), dtype=np.int64)
            coefficients = np.zeros(term.shape)
        else:
            factors = np.moveaxis(np.where(inside[..., None], table.indices[term], 0), -1, 0)
            coefficients = np.where(inside, table.coefficients[term], 0.0)
        buckets.append(
            _Bucket(
                torch.from_numpy(np.ascontiguousarray(factors)).to(device),
                torch.from_numpy(coefficients[:, None, :]).to(device=device, dtype=dtype),
            )
        )
    position = np.empty_like(order)
    position[order] = np.arange(len(order))
    return _Plan(tuple(buckets), torch.from_numpy(position).to(device))


def _evaluate(table: ProductTable, xs: tuple[Tensor, ...]) -> Tensor:
    n_atoms = xs[0].shape[1]
    chunk = NUMBERS_PER_CHUNK if xs[0].device.type == "cpu" else NUMBERS_PER_CHUNK_GPU
    x = torch.cat([*xs, xs[0].new_ones((1, n_atoms))])
    plan = _plan(table, x.dtype, x.device)
    parts = []
    for bucket in plan.buckets:
        n_outputs, n_terms = bucket.factors.shape[1:]
        step = max(1, chunk // max(1, n_terms * n_atoms))
        for first in range(0, n_outputs, step):
            factors = bucket.factors[:, first : first + step]
            terms = x.index_select(0, factors[0].flatten())
            for f in factors[1:]:
                terms *= x.index_select(0, f.flatten())
            terms = terms.view(factors.shape[1], n_terms, n_atoms)
            parts.append(torch.bmm(bucket.coefficients[first : first + step], terms)[:, 0])
    return torch.cat(parts).index_select(0, plan.position) if parts else x.new_zeros((0, n_atoms))


class _Products(Function):
    """The polynomials; their derivatives are polynomials of the same kind, so this repeats for any order."""

    @staticmethod
    def forward(ctx: Any, table: ProductTable, *xs: Tensor) -> Tensor:
        ctx.save_for_backward(*xs)
        ctx.table = table
        return _evaluate(table, xs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        xs = ctx.saved_tensors
        gradients = [
            products(ctx.table.gradient(k), *xs, grad_outputs[0]) if ctx.needs_input_grad[1 + k] else None
            for k in range(len(xs))
        ]
        return None, *gradients


def products(table: ProductTable, *xs: Tensor) -> Tensor:
    """Return the polynomials of `table`, differentiable as often as wanted; only the inputs are kept.

    Parameters
    ----------
    table : ProductTable
    xs : (size, n_atoms) tensors

    Returns
    -------
    (n_outputs, n_atoms) tensor
    """
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]  # a recording holds plain operations only
        return _evaluate(table, xs)
    return _Products.apply(table, *xs)  # type: ignore[no-any-return, no-untyped-call]
