"""What an expansion over pairs of neighbours consists of; how it is evaluated is the backends' business.

``A_i[c, q] = sum over neighbours j < k of w_c(species_j, species_k) B_q(r_ij, r_ik, r_jk)``

For functions that depend on the distance between the neighbours (G4) or are no polynomial of the angle; everything
else is cheaper as a `SphericalExpansion`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["FactoredBasis", "TripletBasis", "TripletExpansion", "pair_channels", "product_channel"]

TYPICAL_DENSITY = 0.06
"""Atoms per Å^3 of a condensed phase, to estimate memory."""

NUMBERS_PER_TRIANGLE = 15
"""Two rows, target, three lengths, three directions."""


class TripletBasis(Protocol):
    """Functions of a triangle of atoms: a callable value, comparable by its parameters.

    Attributes
    ----------
    n_functions : int
    reach : float [Å]
        Every function and its derivatives vanish where the two neighbours are farther apart; infinite if none does.
    """

    @property
    def n_functions(self) -> int: ...  # noqa: D102

    @property
    def reach(self) -> float: ...  # noqa: D102

    def __call__(self, r_ij: Any, r_ik: Any, r_jk: Any) -> list[Any]:
        """Return B_q at the three distances; the same if j and k change places.

        Every function and its derivatives must vanish where r_ij or r_ik is at or beyond the cutoff.
        """
        ...


@runtime_checkable
class FactoredBasis(TripletBasis, Protocol):
    """Functions that are products, of which kernels evaluate each factor as rarely as possible.

    ``B_q = side_e(r_ij) side_e(r_ik) third_e(r_jk) angle_a(cos theta)`` for ``factors[q] = (e, a)``.

    Attributes
    ----------
    factors : sequence of (e, a)
        For every function.
    angular_degree : int or None
        Of the angles as polynomials of the cosine; None if one of them is none.
    third_reach : float [Å]
        The `thirds` that are not constant vanish there with their slopes.
    """

    @property
    def factors(self) -> Sequence[tuple[int, int]]: ...  # noqa: D102

    @property
    def angular_degree(self) -> int | None: ...  # noqa: D102

    @property
    def third_reach(self) -> float: ...  # noqa: D102

    def sides(self, r: Any) -> list[Any]:
        """Return every ``side_e`` at the distance of a neighbour."""
        ...

    def thirds(self, r: Any) -> list[Any]:
        """Return every ``third_e`` at the distance between two neighbours; a plain 1.0 where there is none."""
        ...

    def angles(self, cosine: Any) -> list[Any]:
        """Return every ``angle_a``."""
        ...


@dataclass(frozen=True)
class TripletExpansion:
    """``A_i[c, q] = sum_(j<k) channels[species_j][species_k][c] B_q(r_ij, r_ik, r_jk)``.

    Parameters
    ----------
    basis : TripletBasis
    cutoff : float [Å]
    channels : n_species x n_species rows of n_channels weights
        Symmetric in the first two: one channel per unordered pair of species (`pair_channels`), or one that weights
        them (`product_channel`).
    """

    basis: TripletBasis
    cutoff: float
    channels: tuple[tuple[tuple[float, ...], ...], ...]

    @property
    def n_species(self) -> int:
        """Species of neighbours."""
        return len(self.channels)

    @property
    def numbers_per_pair(self) -> int:
        """Numbers held for each pair of a batch while it is evaluated on torch: the list of its triangles."""
        neighbours = 4.0 / 3.0 * math.pi * self.cutoff**3 * TYPICAL_DENSITY
        return round(NUMBERS_PER_TRIANGLE * 0.5 * neighbours)

    @property
    def n_channels(self) -> int:
        """Channels of pairs of neighbour species."""
        return len(self.channels[0][0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of A for one atom: (n_channels, n_functions, 1)."""
        return self.n_channels, self.basis.n_functions, 1

    @property
    def channel_weights(self) -> NDArray[np.float64]:
        """(n_species, n_species, n_channels) array of the channel weights."""
        return np.asarray(self.channels, dtype=np.float64)

    @property
    def resolves_species(self) -> bool:
        """Whether there is one channel per unordered pair of species."""
        return self.channels == pair_channels(len(self.channels))


def pair_channels(n_species: int) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """One channel per unordered pair of species, in the order (0, 0), (0, 1), ... (1, 1), ...."""
    pairs = list(itertools.combinations_with_replacement(range(n_species), 2))
    return tuple(
        tuple(tuple(float(pair == (min(s, t), max(s, t))) for pair in pairs) for t in range(n_species))
        for s in range(n_species)
    )


def product_channel(weights: Sequence[float]) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """One channel with the product of the weights of both species."""
    return tuple(tuple((float(a) * float(b),) for b in weights) for a in weights)
