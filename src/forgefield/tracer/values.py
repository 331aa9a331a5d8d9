"""Traced values: they look like numbers to a formula, and note down what is done with them."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgefield.errors import ForgefieldError

if TYPE_CHECKING:
    from forgefield.tracer.trace import Kernel

__all__ = ["Int", "Lanes", "Mask", "TraceError", "Value", "Vec", "blame"]

_HERE = Path(__file__).parent


class TraceError(ForgefieldError):
    """A formula did something that cannot be compiled; the message names it and its line."""


def blame(problem: str) -> TraceError:
    """Return an error that names the innermost formula at work, its file and line."""
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to the caller's line
    while frame.f_back is not None and Path(frame.f_code.co_filename).parent == _HERE:
        frame = frame.f_back
    code = frame.f_code
    return TraceError(f"{code.co_name} ({Path(code.co_filename).name}, line {frame.f_lineno}): {problem}")


class Value:
    """The result of an instruction."""

    __slots__ = ("id", "k")
    __array_ufunc__ = None  # NumPy scalars leave the arithmetic to us
    __hash__ = object.__hash__

    def __init__(self, k: Kernel, number: int) -> None:
        self.k, self.id = k, number

    def __bool__(self) -> bool:
        raise blame(
            "`if` (or and, or, min, max) asked whether a traced value is true; use where(condition, a, b)"
        )

    def __float__(self) -> float:
        raise blame("a traced value was turned into a plain number; keep to arithmetic and functions_of(x)")

    def __iter__(self) -> Any:
        raise blame("a traced value was used as a sequence; it is one number per atom")


class Mask(Value):
    """True or false for every lane."""

    __slots__ = ()


class Lanes(Value):
    """One integer per lane: which atom it works on, or which neighbour it looks at."""

    __slots__ = ()


class Int(Value):
    """An integer, the same for every lane: addresses and loop counters."""

    __slots__ = ()

    def __add__(self, other: Int | int) -> Int:
        return self if isinstance(other, int) and other == 0 else self.k.integer("add", self, other)

    def __sub__(self, other: Int | int) -> Int:
        return self if isinstance(other, int) and other == 0 else self.k.integer("sub", self, other)

    def __rsub__(self, other: int) -> Int:
        return self.k.integer("sub", other, self)

    def __mul__(self, other: Int | int) -> Int:
        return self if isinstance(other, int) and other == 1 else self.k.integer("mul", self, other)

    def __floordiv__(self, other: Int | int) -> Int:
        """Quotient of non-negative integers."""
        return self.k.integer("div", self, other)

    __radd__, __rmul__ = __add__, __mul__


class Vec(Value):
    """One number per lane; arithmetic with plain numbers broadcasts them."""

    __slots__ = ()

    def __add__(self, other: Any) -> Any:
        return self.k.op("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return self.k.op("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return self.k.op("sub", self, other)

    def __rsub__(self, other: Any) -> Any:
        return self.k.op("sub", other, self)

    def __mul__(self, other: Any) -> Any:
        return self.k.op("mul", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self.k.op("mul", other, self)

    def __truediv__(self, other: Any) -> Any:
        return self.k.op("div", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self.k.op("div", other, self)

    def __neg__(self) -> Any:
        return self.k.op("sub", 0.0, self)

    def __abs__(self) -> Any:
        return self.k.op("where", self < 0.0, -self, self)

    def __lt__(self, other: Any) -> Mask:
        return self.k.compare("lt", self, other)

    def __le__(self, other: Any) -> Mask:
        return self.k.compare("le", self, other)

    def __gt__(self, other: Any) -> Mask:
        return self.k.compare("lt", other, self)

    def __ge__(self, other: Any) -> Mask:
        return self.k.compare("le", other, self)

    def __pow__(self, exponent: float) -> Any:
        if isinstance(exponent, Value):
            raise blame("the exponent of a power must be a plain number")
        if exponent < 0:
            return 1.0 / self ** (-exponent)
        if exponent == int(exponent):
            n = int(exponent)
            if n < 2:
                return self if n else 1.0
            half = self ** (n // 2)
            return half * half * self if n % 2 else half * half
        if 2 * exponent == int(2 * exponent):
            return self ** int(exponent - 0.5) * self.k.op("sqrt", self)
        return self.k.op("exp", exponent * self.k.op("log", self))

    formula_functions: Any = None


class _Functions:
    """What `formulas.namespace.functions_of` hands to a formula that works on traced values."""

    def __getattr__(self, name: str) -> Any:
        raise blame(f"the function {name!r} is not known to the compiler; see formulas.namespace.Functions")

    @staticmethod
    def where(condition: Any, yes: Any, no: Any) -> Any:
        if not isinstance(condition, Mask):
            return yes if condition else no
        return condition.k.op("where", condition, yes, no)


def _unary(name: str) -> Any:
    def call(x: Any) -> Any:
        return x.k.op(name, x) if isinstance(x, Vec) else getattr(math, name)(x)

    return staticmethod(call)


for _name in ("sin", "cos", "exp", "sqrt", "tanh", "log", "log1p"):
    setattr(_Functions, _name, _unary(_name))
Vec.formula_functions = _Functions()
