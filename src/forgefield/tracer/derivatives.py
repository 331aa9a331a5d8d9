"""The derivative of every operation: all that forward and reverse mode need to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["LINEAR"]

Rule = Callable[..., Any] | None


def _f(x: Any) -> Any:
    return x.formula_functions


LINEAR: dict[str, tuple[Rule, ...]] = {
    "add": (lambda t, o, a, b: t, lambda t, o, a, b: t),
    "sub": (lambda t, o, a, b: t, lambda t, o, a, b: -t),
    "mul": (lambda t, o, a, b: t * b, lambda t, o, a, b: t * a),
    "div": (lambda t, o, a, b: t / b, lambda t, o, a, b: -(t * o) / b),
    "where": (
        None,
        lambda t, o, m, a, b: _f(o).where(m, t, 0.0),
        lambda t, o, m, a, b: _f(o).where(m, 0.0, t),
    ),
    "sqrt": (lambda t, o, a: t * (0.5 / o),),
    "exp": (lambda t, o, a: t * o,),
    "log": (lambda t, o, a: t / a,),
    "log1p": (lambda t, o, a: t / (1.0 + a),),
    "tanh": (lambda t, o, a: t * (1.0 - o * o),),
    "cos": (lambda t, o, a: -(t * _f(o).sin(a)),),
    "sin": (lambda t, o, a: t * _f(o).cos(a),),
    "rint": (None,),
}
"""For each argument of an operation, the linear map ``t -> t d(out)/d(argument)``, given (t, out, *arguments).

Reverse mode applies it to adjoints, forward mode to tangents. None: no derivative.
"""
