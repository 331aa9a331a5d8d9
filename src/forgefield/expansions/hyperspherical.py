"""What a hyperspherical expansion consists of; how it is evaluated is the backends' business."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.formulas.namespace import functions_of
from forgefield.formulas.wigner import component_norms, components, sphere_point, switching

__all__ = ["HypersphericalExpansion"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class HypersphericalExpansion:
    """``A_i[c, 0, m] = sum_j channels[species_j, c] s(r_ij) U_m(r_ij)``: neighbours on the 3-sphere.

    The length of ``r_ij`` becomes the polar angle ``rfac0 pi (r - rmin0) / (cutoff_ij - rmin0)`` of a point on the
    unit sphere in four dimensions, where the elements of the Wigner matrices U are the harmonics.

    Parameters
    ----------
    two_j_max : int
        Largest 2j of the matrices; m runs over `wigner.components`.
    cutoffs : (n_species, n_species) numbers [Å]
        For centre and neighbour.
    channels : n_species rows of n_channels weights
        What a neighbour adds to each channel.
    rfac0, rmin0 : float, float [Å]
        Scale and start of the polar angle.
    switch : bool
        Let s fall to zero at the cutoff; otherwise s = 1 and the energy jumps where neighbours enter.
    inner : (n_species, n_species) pairs of float [Å], optional
        Middle and half width of a second switch that removes close neighbours.

    Notes
    -----
    Source: Thompson et al., J. Comput. Phys. 285 (2015) 316, eqs. 1-4; conventions of LAMMPS, except that closer
    than rmin0 the angle continues to negative values, where LAMMPS mirrors the point.
    """

    two_j_max: int
    cutoffs: tuple[tuple[float, ...], ...]
    channels: tuple[tuple[float, ...], ...]
    rfac0: float = 0.99363
    rmin0: float = 0.0
    switch: bool = True
    inner: tuple[tuple[tuple[float, float], ...], ...] | None = None

    @property
    def cutoff(self) -> float:
        """Largest cutoff [Å]."""
        return max(max(row) for row in self.cutoffs)

    @property
    def n_species(self) -> int:
        """Elements."""
        return len(self.cutoffs)

    @property
    def n_channels(self) -> int:
        """Channels of neighbour species."""
        return len(self.channels[0])

    @property
    def n_harmonics(self) -> int:
        """Independent real numbers of the matrices."""
        return len(components(self.two_j_max))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of A for one atom: (n_channels, 1, n_harmonics)."""
        return self.n_channels, 1, self.n_harmonics

    @property
    def numbers_per_pair(self) -> int:
        """Coordinates on the sphere and slopes; the matrices exist for a few atoms at a time."""
        return self.n_channels + 16

    @property
    def channel_weights(self) -> FloatArray:
        """(n_species, n_channels) array of the channel weights."""
        return np.asarray(self.channels, dtype=np.float64)

    @property
    def norms(self) -> FloatArray:
        """(n_harmonics,) factors of the harmonics, applied after the sum."""
        return component_norms(self.two_j_max)

    @property
    def pair_table(self) -> FloatArray:
        """(n_species, n_species, 3): cutoff, middle and half width of the inner switch [Å] of a pair of species."""
        table = np.zeros((self.n_species, self.n_species, 3))
        table[:, :, 0] = self.cutoffs
        table[:, :, 1:] = (-1.0, 0.5) if self.inner is None else self.inner
        return table

    def angle(self, r: Any, cutoff: Any) -> Any:
        """Return the polar angle of a neighbour at distance r."""
        return (r - self.rmin0) * (self.rfac0 * math.pi / (cutoff - self.rmin0))

    def strength(self, r: Any, cutoff: Any, middle: Any, half_width: Any) -> Any:
        """Return s(r): the product of the outer and the inner switch, zero beyond the cutoff."""
        f = functions_of(r)
        s = switching(r, cutoff, self.rmin0) if self.switch else f.where(r < cutoff, 1.0 + 0.0 * r, 0.0)
        if self.inner is None:
            return s
        phase = (r - middle) * (0.5 * math.pi / half_width)
        rise = f.where(r > middle - half_width, 0.5 + 0.5 * f.sin(phase), 0.0)
        return s * f.where(r < middle + half_width, rise, 1.0)

    def point(self, x: Any, y: Any, z: Any, r: Any, cutoff: Any) -> tuple[Any, Any, Any, Any]:
        """Return the four coordinates on the sphere of a neighbour in the direction (x, y, z) at distance r."""
        return sphere_point(x, y, z, self.angle(r, cutoff))
