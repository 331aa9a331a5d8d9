"""Smooth cutoff functions: one at the origin, zero with zero slope at the cutoff."""

from __future__ import annotations

import math
from typing import Any

from forgefield.formulas.namespace import functions_of

__all__ = ["cosine_cutoff"]


def cosine_cutoff(r: Any, cutoff: float) -> Any:
    """Return ``(1 + cos(pi r / cutoff)) / 2`` inside the cutoff and 0 beyond.

    Source: Behler and Parrinello, PRL 98 (2007) 146401, eq. 4; Huang et al. (GNEP), appendix A.
    """
    f = functions_of(r)
    return f.where(r < cutoff, 0.5 + 0.5 * f.cos(r * (math.pi / cutoff)), 0.0)
