"""Rotation invariants of expansion coefficients.

A channel is a list, or an array along its first axis, over (l, m) in the order of `harmonics`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from forgefield.formulas.harmonics import harmonics
from forgefield.formulas.namespace import inner

__all__ = ["coupling_table", "nep_invariants", "power_spectrum", "triple_invariant"]

Triple = tuple[int, int, int]


def power_spectrum(left: Any, right: Any, l_max: int) -> list[Any]:
    """Return ``sum_m left_lm right_lm`` for l = 0 ... l_max; both lists start at l = 0.

    Source: Yanxon et al. (PyXtal_FF), eq. 18, for real harmonics.
    """
    return [inner(left[l * l : (l + 1) ** 2], right[l * l : (l + 1) ** 2]) for l in range(l_max + 1)]


@lru_cache(maxsize=32)
def coupling_table(l1: int, l2: int, l3: int) -> tuple[tuple[int, int, tuple[tuple[int, float], ...]], ...]:
    """Return what couples three multiplets of real orthonormal harmonics to a scalar.

    Returns
    -------
    tuple of (b, c, ((a, weight), ...))
        Positions within the multiplets l2, l3 and l1 (see `harmonics`); pairs b, c of equal l once, b <= c.

    Notes
    -----
    The weights are the Wigner 3j symbols in the real basis. They are proportional to the integrals of three harmonics
    over the sphere where l1 + l2 + l3 is even, and integrals of polynomials are exact by quadrature.
    """
    total = l1 + l2 + l3
    if total % 2 or not abs(l1 - l2) <= l3 <= l1 + l2:
        raise ValueError(f"({l1}, {l2}, {l3}) do not couple to a scalar that reflections leave alone")
    z, weights = np.polynomial.legendre.leggauss(total // 2 + 1)
    phi = 2 * np.pi * np.arange(total + 1) / (total + 1)
    sine = np.sqrt(1 - z * z)[:, None]
    x, y = sine * np.cos(phi), sine * np.sin(phi)
    values = harmonics(x, y, np.broadcast_to(z[:, None], x.shape), max(l1, l2, l3))
    first, second, third = (
        np.stack([np.broadcast_to(v, x.shape) for v in values[l * l : (l + 1) ** 2]]) for l in (l1, l2, l3)
    )
    integrals = np.einsum("z,azp,bzp,czp->abc", weights, first, second, third)
    polynomials = [np.polynomial.legendre.Legendre.basis(l)(z) for l in (l1, l2, l3)]
    # The square of the symbol of m = 0; its sign alternates with half the sum.
    square = 0.5 * float(np.sum(weights * np.prod(polynomials, axis=0)))
    symbols = integrals * ((-1) ** (total // 2) * math.sqrt(square) / integrals[0, 0, 0])
    symbols[np.abs(symbols) < 1e-12] = 0.0
    rows = []
    for b, c in itertools.product(range(2 * l2 + 1), range(2 * l3 + 1)):
        if l2 == l3 and b > c:
            continue
        both = 2.0 if l2 == l3 and b < c else 1.0
        terms = tuple((int(a), both * float(symbols[a, b, c])) for a in np.flatnonzero(symbols[:, b, c]))
        if terms:
            rows.append((b, c, terms))
    return tuple(rows)


def triple_invariant(s: Any, triple: Triple) -> Any:
    """Return ``sum_abc (l1 l2 l3; a b c) S_l1a S_l2b S_l3c``, the Wigner 3j symbols taken for real harmonics.

    Parameters
    ----------
    s : sequence of values
        S_lm from l = 1 on, of orthonormal harmonics.
    triple : (l1, l2, l3)
    """
    one, two, three = (l * l - 1 for l in triple)
    total: Any = None
    for b, c, terms in coupling_table(*triple):
        partner: Any = None
        for a, weight in terms:
            term = s[one + a] * weight
            partner = term if partner is None else partner + term
        value = partner * (s[two + b] * s[three + c])
        total = value if total is None else total + value
    return total


def nep_invariants(
    s: Any, l_max: int, *, four_body: bool, five_body: bool, triples: Sequence[Triple] = ()
) -> list[Any]:
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
    triples : sequence of (l1, l2, l3)
        Further four-body invariants, each l <= l_max.

    Notes
    -----
    Source: Huang et al. (GNEP), eqs. 7-8; Fan et al., J. Chem. Phys. 157 (2022) 114801, eqs. 12-15 for the 4- and
    5-body terms, here in orthonormal harmonics. GPUMD's manual lists the further triples; each is the one scalar of
    third order its three multiplets have.
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
    return q + [triple_invariant(s, triple) for triple in triples]
