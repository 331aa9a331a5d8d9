"""Activation functions of the networks."""

from __future__ import annotations

from typing import Any

from forgefield.formulas.namespace import functions_of

__all__ = ["ACTIVATIONS", "silu", "softplus", "tanh"]


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return functions_of(x).tanh(x)


def silu(x: Any) -> Any:
    """Return ``x / (1 + exp(-x))``, written with tanh so that it cannot overflow."""
    return 0.5 * x * (1.0 + functions_of(x).tanh(0.5 * x))


def softplus(x: Any) -> Any:
    """Return ``log(1 + exp(x)) - log 2`` without overflow; zero at zero."""
    f = functions_of(x)
    positive = f.where(x > 0, x, 0.0 * x)
    magnitude = f.where(x > 0, x, -x)
    return positive + f.log1p(f.exp(-magnitude)) - 0.6931471805599453


ACTIVATIONS = {"tanh": tanh, "silu": silu, "softplus": softplus}
