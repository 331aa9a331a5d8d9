"""Wigner matrices of many points at once on torch, and the constant maps that take the place of their derivatives."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from forgefield.formulas.wigner import component_norms, components

__all__ = ["Maps", "maps", "matrices", "n_elements"]


class _Layout:
    """Rows of an array of matrix elements: for every 2j a block (real and imaginary, mb up to the middle, all ma)."""

    def __init__(self, two_j_max: int) -> None:
        self.shapes = [(2, two_j // 2 + 1, two_j + 1) for two_j in range(two_j_max + 1)]
        sizes = [int(np.prod(s)) for s in self.shapes]
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        self.n = int(self.starts[-1])

    def find(self, two_j: int, mb: int, ma: int, part: int) -> tuple[int, float]:
        """Return row and sign of any element; the lower half of a matrix is the mirrored upper one."""
        sign = 1.0
        if 2 * mb > two_j:
            mb, ma = two_j - mb, two_j - ma
            sign = -1.0 if (ma - mb + part) % 2 else 1.0
        _, rows, columns = self.shapes[two_j]
        return int(self.starts[two_j]) + (part * rows + mb) * columns + ma, sign


@lru_cache(maxsize=16)
def _layout(two_j_max: int) -> _Layout:
    return _Layout(two_j_max)


def n_elements(two_j_max: int) -> int:
    """Return the rows of `matrices`."""
    return _layout(two_j_max).n


def matrices(point: Tensor, two_j_max: int) -> Tensor:
    """Return the functions of `formulas.wigner.wigner_functions`: the same recursion, a whole matrix at a time.

    Parameters
    ----------
    point : (4, ...) tensor
        Re a, Im a, Re b, Im b.
    two_j_max : int

    Returns
    -------
    (n_elements, n_points) tensor
        Rows as `Maps` knows them.
    """
    a_r, a_i, b_r, b_i = point.flatten(1)
    layout = _layout(two_j_max)
    out = torch.empty((layout.n, a_r.shape[0]), dtype=point.dtype, device=point.device)
    out[0], out[1] = 1.0, 0.0
    blocks = [
        out[lo:hi].view(*shape, -1)
        for lo, hi, shape in zip(layout.starts[:-1], layout.starts[1:], layout.shapes, strict=True)
    ]
    for two_j in range(1, two_j_max + 1):
        old, new = blocks[two_j - 1], blocks[two_j]
        n_rows = (two_j + 1) // 2
        u, v = old
        for target, by_a, by_b in (
            (new[0, :n_rows], ((u, a_r), (v, a_i)), ((u, b_r), (v, b_i))),
            (new[1, :n_rows], ((v, a_r), (u, -a_i)), ((v, b_r), (u, -b_i))),
        ):
            _fill(target, by_a)
            _add(target[:, 1:], by_b, -1.0)
        if two_j % 2 == 0:
            u, v = old[:, -1:]
            for target, by_b, by_a in (
                (new[0, -1:], ((u, b_r), (v, -b_i)), ((u, a_r), (v, -a_i))),
                (new[1, -1:], ((v, b_r), (u, b_i)), ((v, a_r), (u, a_i))),
            ):
                _fill(target, by_b)
                _add(target[:, 1:], by_a, 1.0)
    return out


_Factors = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def _fill(target: Tensor, factors: _Factors) -> None:
    """Set all columns but the last to the sum of two products, and the last to zero."""
    (x, p), (y, q) = factors
    torch.mul(x, p, out=target[:, :-1]).addcmul_(y, q)
    target[:, -1] = 0.0


def _add(target: Tensor, factors: _Factors, sign: float) -> None:
    for x, p in factors:
        target.addcmul_(x, p, value=sign)


@dataclass(frozen=True)
class _SparseMap:
    """``y[m] = sum_t coefficients[t, m] x[indices[t, m]]``, a constant sparse matrix."""

    indices: tuple[Tensor, ...]
    coefficients: tuple[Tensor, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Apply it to (n_in, ...), giving (n_out, ...)."""
        shape = (-1, *[1] * (x.ndim - 1))
        total = x.index_select(0, self.indices[0]) * self.coefficients[0].view(shape)
        for index, coefficient in zip(self.indices[1:], self.coefficients[1:], strict=True):
            total.addcmul_(x.index_select(0, index), coefficient.view(shape))
        return total


@dataclass(frozen=True)
class Maps:
    """Constant maps between independent components (A) and the rows of `_Layout` (V).

    Attributes
    ----------
    select : V to A, with the norms
    spread : its transpose
    down : for each axis of the sphere, the transpose of d/dq_a
    up : for each axis d/dq_a
    """

    select: _SparseMap
    spread: _SparseMap
    down: tuple[_SparseMap, ...]
    up: tuple[_SparseMap, ...]


def _sparse(
    rows: list[int],
    columns: list[int],
    values: list[float],
    n_rows: int,
    like: tuple[torch.dtype, torch.device],
) -> _SparseMap:
    order = np.argsort(rows, kind="stable")
    row, column = (np.asarray(v, dtype=np.int64)[order] for v in (rows, columns))
    counts = np.bincount(row, minlength=n_rows)
    slot = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = max(1, int(counts.max(initial=0)))
    indices = np.zeros((width, n_rows), dtype=np.int64)
    coefficients = np.zeros((width, n_rows))
    indices[slot, row] = column
    coefficients[slot, row] = np.asarray(values, dtype=np.float64)[order]
    dtype, device = like
    return _SparseMap(
        tuple(torch.from_numpy(indices).to(device)),
        tuple(torch.from_numpy(coefficients).to(device=device, dtype=dtype)),
    )


@lru_cache(maxsize=16)
def maps(two_j_max: int, dtype: torch.dtype, device: torch.device) -> Maps:
    """Return the constant maps for all matrices up to 2j = `two_j_max`."""
    layout, like = _layout(two_j_max), (dtype, device)
    norms = component_norms(two_j_max).tolist()
    chosen = [layout.find(*c)[0] for c in components(two_j_max)]
    own = list(range(len(chosen)))
    down, up = [], []
    for axis in range(4):
        rows, columns, values = _derivative(two_j_max, layout, axis)
        up.append(_sparse(rows, columns, values, layout.n, like))
        down.append(_sparse(columns, rows, values, layout.n, like))
    return Maps(
        select=_sparse(own, chosen, norms, len(own), like),
        spread=_sparse(chosen, own, norms, layout.n, like),
        down=tuple(down),
        up=tuple(up),
    )


def _derivative(two_j_max: int, layout: _Layout, axis: int) -> tuple[list[int], list[int], list[float]]:
    """Return rows, columns and values of d/dq_axis.

    From ``(conj(a) - conj(b) t)^(2j - mb) (b + a t)^mb``, whose coefficients of t^ma the elements are.
    """
    terms: dict[tuple[int, int], float] = {}
    for two_j in range(1, two_j_max + 1):
        for mb, ma in itertools.product(range(two_j // 2 + 1), range(two_j + 1)):
            imaginary = axis % 2
            # Derivative of the first bracket, which has conjugates: d/d Im is -i there, +i in the second.
            first = (two_j - mb, mb, ma) if axis < 2 else (mb - two_j, mb, ma - 1)
            second = (mb, mb - 1, ma - 1) if axis < 2 else (mb, mb - 1, ma)
            for (power, row, column), sign in ((first, 1 - 2 * imaginary), (second, 1)):
                if power == 0 or not (0 <= row < two_j and 0 <= column < two_j):
                    continue
                for part in (0, 1):
                    source = part ^ imaginary
                    factor = power * sign * (-1.0 if imaginary and part == 0 else 1.0)
                    target, _ = layout.find(two_j, mb, ma, part)
                    index, mirrored = layout.find(two_j - 1, row, column, source)
                    terms[target, index] = terms.get((target, index), 0.0) + factor * mirrored
    kept = {k: v for k, v in terms.items() if v}
    return [k[0] for k in kept], [k[1] for k in kept], list(kept.values())
