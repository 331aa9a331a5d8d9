"""Numbers as settings of studies may have them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

__all__ = ["Count", "Fraction", "Positive"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A weight, a temperature: more than nothing, and finite."""
Fraction = Annotated[float, Field(gt=0, le=1)]
"""A part of a whole."""
Count = Annotated[int, Field(ge=1)]
"""Of things of which there is at least one."""
