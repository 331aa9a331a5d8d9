"""The hyperspherical expansion on NumPy in float64; `numpy_backend` says what the functions are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgefield.expansions.hyperspherical import HypersphericalExpansion
from forgefield.expansions.spherical import split_duals
from forgefield.formulas.dual import Dual
from forgefield.formulas.wigner import wigner_functions

__all__ = ["forward", "jvp", "vjp"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class _Basis:
    """What each pair adds: channel weights, and norm * s * U with its derivatives along x, y and z."""

    weights: FloatArray  # (n_atoms, width, n_channels)
    values: FloatArray  # (n_harmonics, n_atoms, width)
    slopes: FloatArray  # (n_harmonics, 3, n_atoms, width)


def _basis(
    expansion: HypersphericalExpansion,
    vectors: FloatArray,
    neighbour_species: IntArray,
    centre_species: IntArray,
) -> _Basis:
    components = np.moveaxis(np.asarray(vectors, dtype=np.float64), -1, 0)
    zeros = np.zeros(components.shape)
    x, y, z = (Dual(c, axis.reshape(3, 1, 1) + zeros) for c, axis in zip(components, np.eye(3), strict=True))
    square = x * x + y * y + z * z
    r = _sqrt(square)
    cutoff, middle, half_width = np.moveaxis(
        expansion.pair_table[centre_species[:, None], neighbour_species], -1, 0
    )
    s = expansion.strength(r, cutoff, middle, half_width)
    point = expansion.point(x / r, y / r, z / r, r, cutoff)
    functions = [s * u for u in wigner_functions(*point, expansion.two_j_max)]
    values, slopes = split_duals(functions, zeros[0], zeros)
    norms = expansion.norms
    return _Basis(
        weights=expansion.channel_weights[neighbour_species],
        values=norms[:, None, None] * np.stack(values),
        slopes=norms[:, None, None, None] * np.stack(slopes),
    )


def _sqrt(x: Dual) -> Dual:
    root = np.sqrt(x.value)
    return Dual(root, x.tangent * (0.5 / root))


def forward(
    expansion: HypersphericalExpansion,
    vectors: FloatArray,
    neighbour_species: IntArray,
    centre_species: IntArray,
) -> FloatArray:
    """Return A; see `numpy_backend.forward`."""
    b = _basis(expansion, vectors, neighbour_species, centre_species)
    a: FloatArray = np.einsum("iwc,miw->icm", b.weights, b.values, optimize=True)[:, :, None]
    return a


def vjp(
    expansion: HypersphericalExpansion,
    vectors: FloatArray,
    neighbour_species: IntArray,
    a_bar: FloatArray,
    centre_species: IntArray,
) -> FloatArray:
    """Return the edge gradients; see `numpy_backend.vjp`."""
    b = _basis(expansion, vectors, neighbour_species, centre_species)
    pair_bar = np.einsum("iwc,icm->miw", b.weights, a_bar[:, :, 0], optimize=True)
    gradients: FloatArray = np.einsum("miw,maiw->iwa", pair_bar, b.slopes, optimize=True)
    return gradients


def jvp(
    expansion: HypersphericalExpansion,
    vectors: FloatArray,
    neighbour_species: IntArray,
    tangent: FloatArray,
    centre_species: IntArray,
) -> FloatArray:
    """Return the change of A; see `numpy_backend.jvp`."""
    b = _basis(expansion, vectors, neighbour_species, centre_species)
    change = np.einsum("maiw,iwa->miw", b.slopes, tangent, optimize=True)
    a_dot: FloatArray = np.einsum("iwc,miw->icm", b.weights, change, optimize=True)[:, :, None]
    return a_dot
