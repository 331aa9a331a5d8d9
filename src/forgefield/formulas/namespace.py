"""Which module's functions act on a value: NumPy, torch, or the value's own."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Functions", "combine", "functions_of", "inner"]


class Functions(Protocol):
    """What a formula may call beside arithmetic; numpy and torch have all of it."""

    def sin(self, x: Any) -> Any: ...
    def cos(self, x: Any) -> Any: ...
    def exp(self, x: Any) -> Any: ...
    def sqrt(self, x: Any) -> Any: ...
    def tanh(self, x: Any) -> Any: ...
    def log1p(self, x: Any) -> Any: ...
    def where(self, condition: Any, yes: Any, no: Any) -> Any: ...


class _Scalars:
    """The functions on plain Python numbers, so that formulas also run on constants."""

    sin = staticmethod(math.sin)
    cos = staticmethod(math.cos)
    exp = staticmethod(math.exp)
    sqrt = staticmethod(math.sqrt)
    tanh = staticmethod(math.tanh)
    log1p = staticmethod(math.log1p)

    @staticmethod
    def where(condition: bool, yes: Any, no: Any) -> Any:
        return yes if condition else no


_SCALARS = _Scalars()


def functions_of(x: Any) -> Functions:
    """Return the functions for values like `x`.

    A class may bring its own through an attribute ``formula_functions`` (dual numbers, traced values).
    """
    own = getattr(type(x), "formula_functions", None)
    if own is not None:
        return own  # type: ignore[no-any-return]
    if isinstance(x, int | float):
        return _SCALARS
    module = type(x).__module__.partition(".")[0]
    return sys.modules.get(module, np)


SUMS_AT_A_TIME = 16
"""Linear combinations that are formed together: half the registers of AVX-512."""


def combine(coefficients: NDArray[np.float64], values: Sequence[Any]) -> list[Any]:
    """Return the linear combinations ``sum_p coefficients[q, p] values[p]`` for every q.

    Parameters
    ----------
    coefficients : (n_out, n_in) array
        Constants.
    values : n_in values of one kind

    Notes
    -----
    On arrays this is one matrix product instead of n_out * n_in small operations.
    """
    first = values[0] if not isinstance(values[0], int | float) else values[-1]
    own = getattr(type(first), "combine", None)
    if own is not None:
        return list(own(coefficients, values))
    if isinstance(first, np.ndarray):
        stacked = np.stack(np.broadcast_arrays(*values))
        return list(np.tensordot(coefficients, stacked, axes=1))
    if type(first).__module__.partition(".")[0] == "torch":
        import torch

        rows = [v if isinstance(v, torch.Tensor) else torch.full_like(first, v) for v in values]
        matrix = torch.as_tensor(coefficients, dtype=first.dtype, device=first.device)
        return list(
            torch.tensordot(
                matrix,
                torch.stack(
                    torch.broadcast_tensors(*rows)  # type: ignore[no-untyped-call]
                ),
                dims=1,
            )
        )
    totals: list[Any] = [0.0] * len(coefficients)
    for first in range(0, len(totals), SUMS_AT_A_TIME):
        # Traced values: every one is used for all sums while it is in a register, and the sums are, too.
        for p, v in enumerate(values):
            for q in range(first, min(first + SUMS_AT_A_TIME, len(totals))):
                totals[q] = totals[q] + float(coefficients[q, p]) * v
    return totals


def inner(left: Any, right: Any) -> Any:
    """Return ``sum_m left[m] right[m]`` over the first axis of arrays or the items of lists.

    Arrays are multiplied and summed in one piece; anything else term by term.
    """
    if hasattr(left, "shape") and hasattr(right, "shape"):
        return (left * right).sum(0)
    return sum(a * b for a, b in zip(left, right, strict=True))
