"""Traced values: they look like numbers to a formula, and note down what is done with them."""

from __future__ import annotations

import contextlib
import math
import operator
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgefield.errors import ForgefieldError

if TYPE_CHECKING:
    from forgefield.tracer.trace import Kernel

__all__ = ["Int", "Lanes", "Mask", "TraceError", "Value", "Vec", "blame"]

_HERE = (str(Path(__file__).parent), contextlib.__file__)


class TraceError(ForgefieldError):
    """A formula did something that cannot be compiled; the message names it and its line."""


def blame(problem: str) -> TraceError:
    """Return an error that names the innermost formula at work, its file and line."""
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to the caller's line
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    code = frame.f_code
    return TraceError(f"{code.co_name} ({Path(code.co_filename).name}, line {frame.f_lineno}): {problem}")


_UFUNCS = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
    "less": operator.lt, "less_equal": operator.le, "greater": operator.gt, "greater_equal": operator.ge,
}  # fmt: skip


class Value:
    """The result of an instruction."""

    __slots__ = ("id", "k")
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

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Let NumPy scalars take part in arithmetic; refuse NumPy's functions."""
        name = ufunc.__name__
        if name not in _UFUNCS or method != "__call__" or options:
            raise blame(f"numpy.{name} of a traced value; use functions_of(x), which knows what x is")
        return _UFUNCS[name](*(x if isinstance(x, Value) else self.k.number(x) for x in inputs))


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


def _operator(name: str, *, swapped: bool = False) -> Callable[[Vec, Any], Any]:
    if swapped:
        return lambda a, b: a.k.op(name, b, a)
    return lambda a, b: a.k.op(name, a, b)


class Vec(Value):
    """One number per lane; arithmetic with plain numbers broadcasts them."""

    __slots__ = ()
    formula_functions: Any = None

    __add__ = _operator("add")
    __radd__ = _operator("add", swapped=True)
    __sub__ = _operator("sub")
    __rsub__ = _operator("sub", swapped=True)
    __mul__ = _operator("mul")
    __rmul__ = _operator("mul", swapped=True)
    __truediv__ = _operator("div")
    __rtruediv__ = _operator("div", swapped=True)

    def __lt__(self, other: Any) -> Mask:
        return self.k.compare("lt", self, other)

    def __le__(self, other: Any) -> Mask:
        return self.k.compare("le", self, other)

    def __gt__(self, other: Any) -> Mask:
        return self.k.compare("lt", other, self)

    def __ge__(self, other: Any) -> Mask:
        return self.k.compare("le", other, self)

    def __neg__(self) -> Any:
        return self.k.op("sub", 0.0, self)

    def __abs__(self) -> Any:
        return self.k.op("where", self < 0.0, -self, self)

    def __pow__(self, exponent: Any) -> Any:
        if isinstance(exponent, Value):
            raise blame("the exponent of a power must be a plain number")
        if exponent < 0:
            return 1.0 / self ** (-exponent)
        n = int(exponent)
        if exponent == n:
            if n < 2:
                return self if n else 1.0
            half = self ** (n // 2)
            return half * half * self if n % 2 else half * half
        if exponent == n + 0.5:
            return self**n * self.k.op("sqrt", self)
        return self.k.op("exp", exponent * self.k.op("log", self))


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
    return staticmethod(lambda x: x.k.op(name, x) if isinstance(x, Vec) else getattr(math, name)(x))


for _name in ("sin", "cos", "exp", "sqrt", "tanh", "log", "log1p"):
    setattr(_Functions, _name, _unary(_name))
Vec.formula_functions = _Functions()
