"""Real spherical harmonics of a unit vector."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["harmonics"]


def harmonics(x: Any, y: Any, z: Any, l_max: int) -> list[Any]:
    """Return the orthonormal real spherical harmonics of the unit vector (x, y, z).

    Order: l = 0 ... l_max; within l: m = 0, then the pair (cos m phi, sin m phi) for m = 1 ... l. Position of
    (l, m): ``l^2 + 2 m - 1`` (cosine) and ``l^2 + 2 m`` (sine), ``l^2`` for m = 0. The first is a plain number.

    Notes
    -----
    Built from the recursion of the associated Legendre functions divided by sin^m, so that nothing is singular
    on the z axis. Normalisation: the integral of each squared over the sphere is 1; no Condon-Shortley phase.
    Source: Huang et al. (GNEP), appendix B lists the same functions without their norms.
    """
    cosine: list[Any] = [1.0]  # Re (x + i y)^m
    sine: list[Any] = [0.0]  # Im (x + i y)^m
    for _ in range(l_max):
        c, s = cosine[-1], sine[-1]
        cosine.append(x * c - y * s)
        sine.append(x * s + y * c)
    legendre: dict[tuple[int, int], Any] = {}
    for m in range(l_max + 1):
        double_factorial = math.prod((2 * i + 1) / (2 * i) for i in range(1, m + 1))
        legendre[m, m] = math.sqrt((2 if m else 1) * double_factorial / (4 * math.pi))
        for l in range(m + 1, l_max + 1):
            a = math.sqrt((4 * l * l - 1) / (l * l - m * m))
            if l == m + 1:
                legendre[l, m] = (a * legendre[m, m]) * z
                continue
            b = math.sqrt(((l - 1) ** 2 - m * m) / (4 * (l - 1) ** 2 - 1))
            legendre[l, m] = a * z * legendre[l - 1, m] - a * b * legendre[l - 2, m]
    result: list[Any] = []
    for l in range(l_max + 1):
        result.append(legendre[l, 0])
        for m in range(1, l + 1):
            result += [legendre[l, m] * cosine[m], legendre[l, m] * sine[m]]
    return result
