"""What a spherical expansion consists of; how it is evaluated is the backends' business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forgefield.formulas.dual import Dual
from forgefield.formulas.harmonics import harmonics

__all__ = ["RadialBasis", "SphericalExpansion"]


class RadialBasis(Protocol):
    """Radial functions of one expansion: a callable value, comparable by its parameters.

    Attributes
    ----------
    n_radial : int
        Functions per angular momentum.
    per_l : bool
        Whether each angular momentum has functions of its own.
    """

    @property
    def n_radial(self) -> int: ...  # noqa: D102

    @property
    def per_l(self) -> bool: ...  # noqa: D102

    def __call__(self, r: Any) -> list[Any]:
        """Return R_k(r), k = 0 ... n_radial - 1; l-major over l = 0 ... l_max where `per_l`.

        Every function and its derivative must vanish at and beyond the cutoff.
        """
        ...


@dataclass(frozen=True)
class SphericalExpansion:
    """``A_i[c, k, m] = sum_j channels[species_j, c] R_k(r_ij) Y_m(r_ij)``.

    Parameters
    ----------
    radial : RadialBasis
    cutoff : float [Å]
    l_min, l_max : int
        Angular momenta included.
    channels : tuple of n_species rows of n_channels weights
        The identity resolves the species of the neighbour; one column of weights adds them up.
    unit_l0 : bool
        Take Y_00 = 1 instead of 1/sqrt(4 pi) (radial features of NEP and of Behler-Parrinello functions).
    stretch : tuple of n_species rows of n_species factors >= 1, or None
        Each pair of elements has a cutoff of its own, ``cutoff / stretch[species_i][species_j]``: the radial functions
        are taken at ``stretch * r_ij``.
    """

    radial: RadialBasis
    cutoff: float
    l_min: int
    l_max: int
    channels: tuple[tuple[float, ...], ...]
    unit_l0: bool = False
    stretch: tuple[tuple[float, ...], ...] | None = None

    @property
    def n_channels(self) -> int:
        """Channels of neighbour species."""
        return len(self.channels[0])

    @property
    def n_species(self) -> int:
        """Elements of neighbours."""
        return len(self.channels)

    @property
    def n_harmonics(self) -> int:
        """Components (l, m) kept."""
        return (self.l_max + 1) ** 2 - self.l_min**2

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of A for one atom: (n_channels, n_radial, n_harmonics)."""
        return self.n_channels, self.radial.n_radial, self.n_harmonics

    @property
    def numbers_per_pair(self) -> int:
        """Basis values and derivatives of a pair."""
        return 4 * self.n_harmonics + 2 * self.radial.n_radial * self.n_channels + 8

    @property
    def channel_weights(self) -> NDArray[np.float64]:
        """(n_species, n_channels) array of the channel weights."""
        return np.asarray(self.channels, dtype=np.float64)

    @property
    def stretch_factors(self) -> NDArray[np.float64] | None:
        """(n_species, n_species) array of the factors on the distance, centre first, or None."""
        return None if self.stretch is None else np.asarray(self.stretch, dtype=np.float64)

    @property
    def resolves_species(self) -> bool:
        """Whether there is one channel per species."""
        return self.channels == identity_channels(len(self.channels))

    def angular(self, x: Any, y: Any, z: Any) -> list[Any]:
        """Return the harmonics kept, of a unit vector; constants are plain numbers."""
        values = harmonics(x, y, z, self.l_max)
        if self.unit_l0:
            values[0] = 1.0
        return values[self.l_min**2 :]

    def radial_blocks(self) -> list[tuple[slice, slice]]:
        """Pairs (radial rows, harmonic rows) that multiply; one block unless the basis depends on l."""
        if not self.radial.per_l:
            return [(slice(0, self.radial.n_radial), slice(0, self.n_harmonics))]
        n, offset = self.radial.n_radial, self.l_min**2
        return [
            (slice(l * n, (l + 1) * n), slice(l * l - offset, (l + 1) ** 2 - offset))
            for l in range(self.l_min, self.l_max + 1)
        ]


def identity_channels(n_species: int) -> tuple[tuple[float, ...], ...]:
    """One channel per species."""
    return tuple(tuple(float(i == j) for j in range(n_species)) for i in range(n_species))


def split_duals(values: Sequence[Any], zero: Any, zero_tangent: Any) -> tuple[list[Any], list[Any]]:
    """Return the values and tangents of a formula's result; constants get the zero tangent."""
    parts = [v if isinstance(v, Dual) else Dual(zero + v, zero_tangent) for v in values]
    return [p.value for p in parts], [p.tangent for p in parts]
