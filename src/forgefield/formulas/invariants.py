"""Rotation invariants of expansion coefficients.

A channel is a list, or an array along its first axis, over (l, m) in the order of `harmonics`.
"""

from __future__ import annotations

import math
from typing import Any

from forgefield.formulas.namespace import inner

__all__ = ["nep_invariants", "power_spectrum"]


def power_spectrum(left: Any, right: Any, l_max: int) -> list[Any]:
    """Return ``sum_m left_lm right_lm`` for l = 0 ... l_max; both lists start at l = 0.

    Source: Yanxon et al. (PyXtal_FF), eq. 18, for real harmonics.
    """
    return [inner(left[l * l : (l + 1) ** 2], right[l * l : (l + 1) ** 2]) for l in range(l_max + 1)]


def nep_invariants(s: Any, l_max: int, *, four_body: bool, five_body: bool) -> list[Any]:
    """Return NEP's angular features of one radial channel.

    Parameters
    ----------
    s : sequence of (l_max + 1)^2 - 1 values
        S_lm for l = 1 ... l_max, of orthonormal harmonics.
    l_max : int
        Three-body features for l = 1 ... l_max.
    four_body : bool
        Add the (l = 2)^3 invariant; needs l_max >= 2.
    five_body : bool
        Add the (l = 1)^4 invariant.

    Notes
    -----
    Source: Huang et al. (GNEP), eqs. 7-8; Fan et al., J. Chem. Phys. 157 (2022) 114801, eqs. 12-15 for the 4- and
    5-body terms, here in orthonormal harmonics.
    """
    q = [inner(s[l * l - 1 : l * l + 2 * l], s[l * l - 1 : l * l + 2 * l]) for l in range(1, l_max + 1)]
    if four_body:
        a, c1, s1, c2, s2 = s[3:8]
        q.append(
            math.sqrt(2 / 35)
            * (
                a * (3.0 * (c2 * c2 + s2 * s2) - 1.5 * (c1 * c1 + s1 * s1) - a * a)
                + math.sqrt(6.75) * (c2 * (s1 * s1 - c1 * c1) - 2.0 * c1 * s1 * s2)
            )
        )
    if five_body:
        q.append(7 / 15 * q[0] * q[0])
    return q
