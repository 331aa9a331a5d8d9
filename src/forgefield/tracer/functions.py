"""Functions that a processor has no instruction for, from those it has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from forgefield.tracer.values import Vec

__all__ = ["COMPOSITE"]


def _polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    p: Any = coefficients[-1]
    for c in coefficients[-2::-1]:
        p = p * x + c
    return p


def _clamped(x: Vec, low: float, high: float) -> Any:
    where = x.formula_functions.where
    x = where(x < low, low, x)
    return where(x < high, x, high)


def _exp(x: Vec) -> Any:
    """exp(x) = 2^n exp(r) with |r| <= log(2) / 2; log(2) in two parts so that r is exact."""
    k, single = x.k, x.k.bits == 32
    x = _clamped(x, *((-87.0, 88.0) if single else (-708.0, 709.0)))
    n = k.op("rint", x * 1.4426950408889634)
    high, low = (
        (0.693359375, -2.12194440054690583e-4) if single else (0.6931471803691238, 1.9082149292705877e-10)
    )
    r = x - n * high - n * low
    terms = 7 if single else 13
    return _polynomial(r, [1 / math.factorial(i) for i in range(terms + 1)]) * k.op("power_of_two", n)


def _tanh(x: Vec) -> Any:
    return 1.0 - 2.0 / (_exp(_clamped(2.0 * x, -40.0, 40.0)) + 1.0)


def _log(x: Vec) -> Any:
    """log(x) = e log(2) + 2 artanh((m - 1) / (m + 1)) with the mantissa m between sqrt(1/2) and sqrt(2)."""
    m, e = x.k.op("mantissa", x), x.k.op("exponent", x)
    s = (m - 1.0) / (m + 1.0)
    terms = 5 if x.k.bits == 32 else 11
    return e * math.log(2.0) + 2.0 * s * _polynomial(s * s, [1 / (2 * i + 1) for i in range(terms)])


def _log1p(x: Vec) -> Any:
    """log(1 + x), corrected for what 1 + x loses."""
    u = 1.0 + x
    return _log(u) + (x - (u - 1.0)) / u


def _cos(x: Vec) -> Any:
    return _sin_pi(x * (1.0 / math.pi) + 0.5)


def _sin(x: Vec) -> Any:
    return _sin_pi(x * (1.0 / math.pi))


def _sin_pi(u: Vec) -> Any:
    """sin(pi u): an odd polynomial on |r| <= 1/2, the sign from the parity of the period."""
    rint = u.k.op
    n = rint("rint", u)
    r, half = u - n, n * 0.5
    odd = half - rint("rint", half)  # 0 or +-1/2
    terms = 6 if u.k.bits == 32 else 10
    return r * _polynomial(r * r, _sin_pi_coefficients(terms)) * (1.0 - 8.0 * odd * odd)


@lru_cache(maxsize=2)
def _sin_pi_coefficients(terms: int) -> list[float]:
    r = 0.5 * np.cos(np.linspace(0, np.pi, 801)[:400])
    powers = r[:, None] ** (2 * np.arange(terms))
    result: list[float] = np.linalg.lstsq(powers, np.sin(np.pi * r) / r, rcond=None)[0].tolist()
    return result


COMPOSITE: dict[str, Callable[[Vec], Any]] = {
    "exp": _exp,
    "tanh": _tanh,
    "log": _log,
    "log1p": _log1p,
    "cos": _cos,
    "sin": _sin,
}
"""Accuracy: a few units in the last place of the result or of one, whichever is larger; |x| < 1e3 for sin and cos."""
