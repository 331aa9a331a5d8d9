"""Dual numbers: a value and its derivatives carried through any formula (forward mode).

They give the first derivatives of the radial functions and harmonics exactly, on NumPy and on torch, without
anybody writing them down and without a graph being recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.formulas.namespace import combine, functions_of

__all__ = ["Dual"]


class Dual:
    """``value + epsilon tangent``.

    Parameters
    ----------
    value : array (...)
        The value.
    tangent : array (..., ) or (n_tangents, ...)
        Derivatives; leading axes broadcast over the axes of `value`.
    """

    __slots__ = ("tangent", "value")
    __array_ufunc__ = None  # numpy arrays on the left hand their operators over to us

    def __init__(self, value: Any, tangent: Any) -> None:
        self.value = value
        self.tangent = tangent

    def __add__(self, other: Any) -> Dual:
        if isinstance(other, Dual):
            return Dual(self.value + other.value, self.tangent + other.tangent)
        return Dual(self.value + other, self.tangent)

    __radd__ = __add__

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.tangent)

    def __sub__(self, other: Any) -> Dual:
        if isinstance(other, Dual):
            return Dual(self.value - other.value, self.tangent - other.tangent)
        return Dual(self.value - other, self.tangent)

    def __rsub__(self, other: Any) -> Dual:
        return Dual(other - self.value, -self.tangent)

    def __mul__(self, other: Any) -> Dual:
        if isinstance(other, Dual):
            return Dual(self.value * other.value, self.tangent * other.value + other.tangent * self.value)
        return Dual(self.value * other, self.tangent * other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Dual:
        if isinstance(other, Dual):
            quotient = self.value / other.value
            return Dual(quotient, (self.tangent - other.tangent * quotient) / other.value)
        return Dual(self.value / other, self.tangent / other)

    def __rtruediv__(self, other: Any) -> Dual:
        quotient = other / self.value
        return Dual(quotient, self.tangent * (-quotient / self.value))

    def __pow__(self, exponent: float) -> Dual:
        if exponent == 0:
            return Dual(self.value**0, self.tangent * 0.0)
        power = self.value ** (exponent - 1)
        return Dual(power * self.value, self.tangent * (exponent * power))

    def __lt__(self, other: Any) -> Any:
        return self.value < _value(other)

    def __gt__(self, other: Any) -> Any:
        return self.value > _value(other)

    @staticmethod
    def combine(coefficients: NDArray[np.float64], values: Sequence[Any]) -> list[Dual]:
        """Linear combinations of dual numbers; plain numbers among them are constants."""
        model = next(v for v in values if isinstance(v, Dual))
        duals = [v if isinstance(v, Dual) else Dual(0 * model.value + v, 0 * model.tangent) for v in values]
        shape = _broadcast_tangents(duals)
        out_value = combine(coefficients, [d.value for d in duals])
        out_tangent = combine(coefficients, shape)
        return [Dual(v, t) for v, t in zip(out_value, out_tangent, strict=True)]


def _broadcast_tangents(duals: Sequence[Dual]) -> list[Any]:
    widest = max(duals, key=lambda d: d.tangent.ndim).tangent
    return [d.tangent + 0 * widest for d in duals]


def _value(x: Any) -> Any:
    return x.value if isinstance(x, Dual) else x


class _DualFunctions:
    """Elementary functions of dual numbers: the chain rule, once each."""

    @staticmethod
    def sin(x: Dual) -> Dual:
        f = functions_of(x.value)
        return Dual(f.sin(x.value), x.tangent * f.cos(x.value))

    @staticmethod
    def cos(x: Dual) -> Dual:
        f = functions_of(x.value)
        return Dual(f.cos(x.value), x.tangent * (-f.sin(x.value)))

    @staticmethod
    def exp(x: Dual) -> Dual:
        value = functions_of(x.value).exp(x.value)
        return Dual(value, x.tangent * value)

    @staticmethod
    def sqrt(x: Dual) -> Dual:
        value = functions_of(x.value).sqrt(x.value)
        return Dual(value, x.tangent * (0.5 / value))

    @staticmethod
    def tanh(x: Dual) -> Dual:
        value = functions_of(x.value).tanh(x.value)
        return Dual(value, x.tangent * (1.0 - value * value))

    @staticmethod
    def log1p(x: Dual) -> Dual:
        return Dual(functions_of(x.value).log1p(x.value), x.tangent / (1.0 + x.value))

    @staticmethod
    def where(condition: Any, yes: Any, no: Any) -> Dual:
        f = functions_of(condition)
        tangent_yes = yes.tangent if isinstance(yes, Dual) else 0.0
        tangent_no = no.tangent if isinstance(no, Dual) else 0.0
        return Dual(f.where(condition, _value(yes), _value(no)), f.where(condition, tangent_yes, tangent_no))


Dual.formula_functions = _DualFunctions()  # type: ignore[attr-defined]
