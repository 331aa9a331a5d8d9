"""Basis functions of the atomic cluster expansion: which there are, how they are coupled, and their radial functions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forgefield.formulas.clebsch_gordan_real import real_clebsch_gordan
from forgefield.formulas.cutoffs import cosine_cutoff
from forgefield.formulas.namespace import combine, functions_of
from forgefield.formulas.radial import chebyshev

__all__ = [
    "ClusterFunction",
    "Factor",
    "chebyshev_exponential",
    "cluster_functions",
    "coupling_tensor",
    "independent_couplings",
    "spherical_bessel",
    "spherical_bessel_coefficients",
]


class Factor(NamedTuple):
    """One factor A of a basis function; ordered by l, channel, n."""

    l: int
    channel: int
    n: int  # counted from 0


class ClusterFunction(NamedTuple):
    """A basis function: its factors, ascending, and the intermediate angular momentum of four of them.

    The value is A_1, ``sum_m A_1 A_2 / sqrt(2 l + 1)``, ``sum_m (A_1 A_2)_l3m A_3m`` or
    ``sum_m (A_1 A_2)_Lm (A_3 A_4)_Lm``, where (..)_L is the coupling of `real_clebsch_gordan`.
    """

    factors: tuple[Factor, ...]
    coupling: int


def _triangle(a: int, b: int, c: int) -> bool:
    return abs(a - b) <= c <= a + b


def coupling_tensor(ls: Sequence[int], coupling: int) -> NDArray[np.float64]:
    """Return the coefficients of the product of the A_(l m), one axis of length 2 l + 1 per factor.

    Parameters
    ----------
    ls : one to four angular momenta
    coupling : int
        Intermediate angular momentum; fixed by `ls` for fewer than four factors.
    """
    if len(ls) == 1:
        return np.ones(1)
    left = real_clebsch_gordan(ls[0], ls[1], coupling)
    if len(ls) == 2:
        return left[..., 0]
    if len(ls) == 3:
        return left
    return np.tensordot(left, real_clebsch_gordan(ls[2], ls[3], coupling), axes=(2, 2))


def _candidates(ls: Sequence[int]) -> list[int]:
    """Intermediate angular momenta of invariant, even couplings, ascending."""
    if sum(ls) % 2:
        return []
    if len(ls) == 1:
        return [0] if ls[0] == 0 else []
    if len(ls) == 2:
        return [0] if ls[0] == ls[1] else []
    if len(ls) == 3:
        return [ls[2]] if _triangle(*ls) else []
    largest = min(ls[0] + ls[1], ls[2] + ls[3])
    return [c for c in range(largest + 1) if _triangle(ls[0], ls[1], c) and _triangle(ls[2], ls[3], c)]


@lru_cache(maxsize=65536)
def independent_couplings(ls: tuple[int, ...], classes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the intermediate angular momenta whose functions are linearly independent.

    Parameters
    ----------
    ls : angular momenta of the factors
    classes : one label per factor
        Factors with the same label are the same A; exchanging them changes nothing, which makes some couplings zero
        and others dependent.

    Notes
    -----
    All couplings of one tree span every invariant of the tensor product, so after averaging over the exchanges they
    span every invariant polynomial; the first independent ones, in ascending order, are kept.
    """
    candidates = _candidates(ls)
    if len(ls) < 4 or not candidates:
        return tuple(candidates)
    groups = [[i for i, c in enumerate(classes) if c == label] for label in dict.fromkeys(classes)]
    permutations = list(itertools.product(*(itertools.permutations(g) for g in groups)))
    kept: list[int] = []
    basis: list[NDArray[np.float64]] = []
    for coupling in candidates:
        tensor = coupling_tensor(ls, coupling)
        axes = [list(itertools.chain.from_iterable(p)) for p in permutations]
        order = list(itertools.chain.from_iterable(groups))
        average = sum(tensor.transpose(_inverse(order, a)) for a in axes)
        vector = np.ravel(average) / len(axes)
        for _ in range(2):  # twice: Gram-Schmidt to rounding
            for b in basis:
                vector = vector - (b @ vector) * b
        size = float(np.linalg.norm(vector))
        if size > 1e-8 * float(np.linalg.norm(tensor)):
            kept.append(coupling)
            basis.append(vector / size)
    return tuple(kept)


def _inverse(order: Sequence[int], permuted: Sequence[int]) -> list[int]:
    """Axes of the transpose that moves every factor of `order` to the place of that of `permuted`."""
    axes = [0] * len(order)
    for place, source in zip(order, permuted, strict=True):
        axes[place] = source
    return axes


def cluster_functions(
    n_channels: int, n_max: Sequence[int], l_min: Sequence[int], l_max: Sequence[int]
) -> Iterator[ClusterFunction]:
    """Enumerate the basis functions, body order by body order, in lexicographic order of their factors.

    Parameters
    ----------
    n_channels : int
        Neighbour species.
    n_max, l_min, l_max : one to four integers each
        Radial functions and range of angular momenta of functions of one, two, ... factors.
    """
    for n_factors, (n, lowest, highest) in enumerate(zip(n_max, l_min, l_max, strict=True), start=1):
        labels = [
            Factor(l, channel, k)
            for l in range(lowest, highest + 1)
            for channel in range(n_channels)
            for k in range(n)
        ]
        for factors in itertools.combinations_with_replacement(labels, n_factors):
            ls = tuple(f.l for f in factors)
            classes = tuple(factors.index(f) for f in factors)
            for coupling in independent_couplings(ls, classes):
                yield ClusterFunction(factors, coupling)


def chebyshev_exponential(r: Any, cutoff: float, n: int, decay: float) -> list[Any]:
    """Return n radial functions: the cutoff function, then it times ``(1 - T_k(x)) / 2``, k = 1 ... n - 1.

    ``x = 1 - 2 (exp(-decay r / cutoff) - exp(-decay)) / (1 - exp(-decay))`` falls from 1 at the cutoff to -1 at 0.

    Source: Drautz, PRB 99 (2019) 014104 (there the first function has a factor 2); ChebExpCos of PACE.
    """
    f = functions_of(r)
    inside = f.where(r < cutoff, r, cutoff)
    end = math.exp(-decay)
    x = 1.0 - (f.exp(inside * (-decay / cutoff)) - end) * (2.0 / (1.0 - end))
    cut = cosine_cutoff(r, cutoff)
    return [cut, *((0.5 - 0.5 * t) * cut for t in chebyshev(x, max(n, 2))[1:])][:n]


@lru_cache(maxsize=64)
def spherical_bessel_coefficients(cutoff: float, n: int) -> NDArray[np.float64]:
    """Return the (n, n + 1) coefficients of ``sin(k pi r / cutoff) / r``, k = 1 ... n + 1, in `spherical_bessel`."""
    raw = np.zeros((n, n + 1))
    for i in range(n):
        a, b = i + 1, i + 2
        size = (-1) ** i * math.sqrt(2.0 / cutoff) * a * b / math.hypot(a, b)
        raw[i, i], raw[i, i + 1] = size / a, size / b
    table, d = raw.copy(), 1.0
    for i in range(1, n):
        e = i**2 * (i + 2) ** 2 / (4 * (i + 1) ** 4 + 1)
        d_next = 1.0 - e / d
        table[i] = (raw[i] + math.sqrt(e / d) * table[i - 1]) / math.sqrt(d_next)
        d = d_next
    table.setflags(write=False)
    return table


def spherical_bessel(r: Any, cutoff: float, n: int) -> list[Any]:
    """Return n orthonormal combinations of ``j_0(k pi r / cutoff)`` whose value and slope vanish at the cutoff.

    ``int_0^cutoff g_a g_b r^2 dr = delta_ab``.

    Source: Kocer, Mason, Erturk, AIP Advances 10 (2020) 015021; SBessel of PACE.
    """
    f = functions_of(r)
    inside = f.where(r < cutoff, r, cutoff)
    angle = inside * (math.pi / cutoff)
    double, sines = 2.0 * f.cos(angle), [f.sin(angle)]
    while len(sines) < n + 1:
        previous = sines[-2] if len(sines) > 1 else 0.0
        sines.append(double * sines[-1] - previous)
    inverse = f.where(r < cutoff, 1.0 / inside, 0.0)
    return [s * inverse for s in combine(spherical_bessel_coefficients(cutoff, n).copy(), sines)]
