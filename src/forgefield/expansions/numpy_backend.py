"""The expansions on NumPy in float64: the truth the other backends are tested against.

Each kind of expansion has a module with these functions; a new kind is one such module and one line in `KINDS`.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forgefield.expansions import numpy_hyperspherical, numpy_spherical, numpy_triplets
from forgefield.expansions.base import Expansion
from forgefield.expansions.hyperspherical import HypersphericalExpansion
from forgefield.expansions.spherical import SphericalExpansion
from forgefield.expansions.triplets import TripletExpansion

__all__ = ["forward", "jvp", "vjp"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class NumpyKind(Protocol):
    """What the module of a kind offers; arguments as for the functions below."""

    def forward(
        self, expansion: Any, vectors: FloatArray, neighbour_species: IntArray, centre_species: IntArray
    ) -> FloatArray: ...

    def vjp(
        self,
        expansion: Any,
        vectors: FloatArray,
        neighbour_species: IntArray,
        a_bar: FloatArray,
        centre_species: IntArray,
    ) -> FloatArray: ...

    def jvp(
        self,
        expansion: Any,
        vectors: FloatArray,
        neighbour_species: IntArray,
        tangent: FloatArray,
        centre_species: IntArray,
    ) -> FloatArray: ...


KINDS: dict[type, NumpyKind] = {
    SphericalExpansion: numpy_spherical,
    HypersphericalExpansion: numpy_hyperspherical,
    TripletExpansion: numpy_triplets,
}


def _centres(vectors: FloatArray, centre_species: IntArray | None) -> IntArray:
    return np.zeros(len(vectors), dtype=np.int64) if centre_species is None else centre_species


def forward(
    expansion: Expansion,
    vectors: FloatArray,
    neighbour_species: IntArray,
    centre_species: IntArray | None = None,
) -> FloatArray:
    """Return A.

    Parameters
    ----------
    expansion : Expansion
    vectors : (n_atoms, width, 3) [Å]
        Padded rows of ``r_ij``.
    neighbour_species : (n_atoms, width) int
    centre_species : (n_atoms,) int, optional
        Zero where absent.

    Returns
    -------
    (n_atoms, n_channels, n_radial, n_harmonics)
    """
    centres = _centres(vectors, centre_species)
    return KINDS[type(expansion)].forward(expansion, vectors, neighbour_species, centres)


def vjp(
    expansion: Expansion,
    vectors: FloatArray,
    neighbour_species: IntArray,
    a_bar: FloatArray,
    centre_species: IntArray | None = None,
) -> FloatArray:
    """Return ``g_ij = sum A_bar dA_i/dr_ij``, (n_atoms, width, 3), for ``A_bar = dE/dA``."""
    centres = _centres(vectors, centre_species)
    return KINDS[type(expansion)].vjp(expansion, vectors, neighbour_species, a_bar, centres)


def jvp(
    expansion: Expansion,
    vectors: FloatArray,
    neighbour_species: IntArray,
    tangent: FloatArray,
    centre_species: IntArray | None = None,
) -> FloatArray:
    """Return the change of A, shaped like A, for a change `tangent` (n_atoms, width, 3) of the vectors."""
    centres = _centres(vectors, centre_species)
    return KINDS[type(expansion)].jvp(expansion, vectors, neighbour_species, tangent, centres)
