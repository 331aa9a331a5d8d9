"""Smooth cutoff functions: one at the origin, zero with zero slope at the cutoff."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from forgefield.formulas.namespace import functions_of

__all__ = ["COSINE", "CutoffName", "CutoffShape", "cosine_cutoff"]

CutoffName = Literal["cosine", "tanh", "exponential", "poly1", "poly2", "poly3", "poly4"]

_POLYNOMIALS = {
    "poly1": (3.0, -2.0),
    "poly2": (10.0, -15.0, 6.0),
    "poly3": (35.0, -84.0, 70.0, -20.0),
    "poly4": (126.0, -420.0, 540.0, -315.0, 70.0),
}
"""Coefficients of u^(k+1), u^(k+2), ... with u = 1 - x: k derivatives vanish at both ends."""

_LEAST_GAP = 1e-3
"""``exp(1 - 1 / gap)`` is zero in every precision at this gap and below."""


def cosine_cutoff(r: Any, cutoff: float) -> Any:
    """Return ``(1 + cos(pi r / cutoff)) / 2`` inside the cutoff and 0 beyond.

    Source: Behler and Parrinello, PRL 98 (2007) 146401, eq. 4; Huang et al. (GNEP), appendix A.
    """
    f = functions_of(r)
    return f.where(r < cutoff, 0.5 + 0.5 * f.cos(r * (math.pi / cutoff)), 0.0)


@dataclass(frozen=True)
class CutoffShape:
    """A cutoff function: how neighbours fade out at the cutoff and, if wanted, close to the atom.

    With ``x = (r - start cutoff) / (cutoff - start cutoff)``, limited to 0 <= x <= 1:

    - cosine: ``(1 + cos(pi x)) / 2``
    - tanh: ``tanh(1 - x)^3``, 0.44 at the origin
    - exponential: ``exp(1 - 1 / (1 - x^2))``, all of whose derivatives vanish at the cutoff
    - poly1 ... poly4: the polynomial of lowest degree from 1 to 0 with that many vanishing derivatives at both ends

    Parameters
    ----------
    function : str
    start : float, 0 <= start < 1
        Share of the cutoff up to which the function is one; 0 for tanh, whose slope does not vanish at x = 0.
    inner : (float, float), optional
        Distances [Å] between which a factor rises from 0 to 1 as 1 - poly2 falls.

    Notes
    -----
    Value and slope vanish at the cutoff, and below the first inner distance; those of poly2 to poly4, tanh and
    exponential with the curvature.
    Source: Yanxon et al. (PyXtal_FF), section 2.1; Singraber, Behler, Dellago, J. Chem. Theory Comput. 15 (2019) 1827
    (n2p2: types 1, 2, 4 to 8 and the inner radius).
    """

    function: CutoffName = "cosine"
    start: float = 0.0
    inner: tuple[float, float] | None = None

    def __call__(self, r: Any, cutoff: float) -> Any:
        """Return the function at r [Å] for a cutoff [Å]; 0 beyond it."""
        outer = self._outer(r, cutoff)
        if self.inner is None:
            return outer
        first, last = self.inner
        f = functions_of(r)
        u = f.where(r < last, f.where(r > first, (r - first) * (1.0 / (last - first)), 0.0), 1.0)
        return outer * _rise(u, _POLYNOMIALS["poly2"])

    def _outer(self, r: Any, cutoff: float) -> Any:
        if self.function == "cosine" and not self.start:
            return cosine_cutoff(r, cutoff)
        f = functions_of(r)
        first = self.start * cutoff
        # u = 1 - x: small near the cutoff, so that nothing cancels there.
        u = f.where(r < cutoff, f.where(r > first, (cutoff - r) * (1.0 / (cutoff - first)), 1.0), 0.0)
        if self.function == "cosine":
            return f.where(r < cutoff, 0.5 - 0.5 * f.cos(u * math.pi), 0.0)
        if self.function == "tanh":
            t = f.tanh(u)
            return t * t * t
        if self.function == "exponential":
            gap = u * (2.0 - u)
            return f.exp(1.0 - 1.0 / f.where(gap > _LEAST_GAP, gap, _LEAST_GAP))
        return _rise(u, _POLYNOMIALS[self.function])


COSINE = CutoffShape()
"""The usual one."""


def _rise(u: Any, coefficients: tuple[float, ...]) -> Any:
    """Return the polynomial with these coefficients of u^k, u^(k+1), ..., k their number; 0 at 0 and 1 at 1.

    It is taken at the end that is nearer, where the terms are small; at the other they cancel.
    """
    f = functions_of(u)
    v = f.where(u < 0.5, u, 1.0 - u)
    total: Any = coefficients[-1]
    for c in coefficients[-2::-1]:
        total = total * v + c
    for _ in coefficients:
        total = total * v
    return f.where(u < 0.5, total, 1.0 - total)
