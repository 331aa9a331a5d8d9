"""The spherical expansion on NumPy in float64; `numpy_backend` says what the functions are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgefield.expansions.spherical import SphericalExpansion, split_duals
from forgefield.formulas.dual import Dual

__all__ = ["forward", "jvp", "vjp"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class _Geometry:
    """Basis values and derivatives of every pair: (k or m, n_atoms, width) and, for `angular_slope`, a 3 in front."""

    weights: FloatArray  # (n_channels, n_atoms, width)
    unit: FloatArray  # (3, n_atoms, width)
    inverse: FloatArray
    radial: FloatArray
    radial_slope: FloatArray
    angular: FloatArray
    angular_slope: FloatArray  # (n_harmonics, 3, n_atoms, width)


def _geometry(
    expansion: SphericalExpansion, vectors: FloatArray, neighbour_species: IntArray, centre_species: IntArray
) -> _Geometry:
    components = np.moveaxis(np.asarray(vectors, dtype=np.float64), -1, 0)
    r = np.sqrt((components * components).sum(axis=0))
    unit = components / r
    zero, zeros = np.zeros_like(r), np.zeros((3, *r.shape))
    table = expansion.stretch_factors
    factor = np.ones_like(r) if table is None else table[centre_species[:, None], neighbour_species]
    values, slopes = split_duals(expansion.radial(Dual(r * factor, factor)), zero, zero)
    axes = np.eye(3).reshape(3, 3, 1, 1)
    harmonics = expansion.angular(*(Dual(unit[a], axes[a] + zeros) for a in range(3)))
    angular, angular_slope = split_duals(harmonics, zero, zeros)
    return _Geometry(
        weights=np.moveaxis(expansion.channel_weights[neighbour_species], -1, 0),
        unit=unit,
        inverse=1.0 / r,
        radial=np.stack(values),
        radial_slope=np.stack(slopes),
        angular=np.stack(angular),
        angular_slope=np.stack(angular_slope),
    )


def forward(
    expansion: SphericalExpansion,
    vectors: FloatArray,
    neighbour_species: IntArray,
    centre_species: IntArray,
) -> FloatArray:
    """Return A; see `numpy_backend.forward`."""
    g = _geometry(expansion, vectors, neighbour_species, centre_species)
    return _contract(expansion, g.weights, g.radial, g.angular)


def _contract(
    expansion: SphericalExpansion, weights: FloatArray, radial: FloatArray, angular: FloatArray
) -> FloatArray:
    blocks = [
        np.einsum("ciw,kiw,miw->ickm", weights, radial[k], angular[m], optimize=True)
        for k, m in expansion.radial_blocks()
    ]
    return np.concatenate(blocks, axis=-1)


def vjp(
    expansion: SphericalExpansion,
    vectors: FloatArray,
    neighbour_species: IntArray,
    a_bar: FloatArray,
    centre_species: IntArray,
) -> FloatArray:
    """Return the edge gradients; see `numpy_backend.vjp`."""
    g = _geometry(expansion, vectors, neighbour_species, centre_species)
    radial_bar = np.zeros_like(g.radial)
    angular_bar = np.zeros_like(g.angular)
    for k, m in expansion.radial_blocks():
        weighted = np.einsum("ickm,ciw->ikmw", a_bar[..., m], g.weights, optimize=True)
        radial_bar[k] += np.einsum("ikmw,miw->kiw", weighted, g.angular[m], optimize=True)
        angular_bar[m] += np.einsum("ikmw,kiw->miw", weighted, g.radial[k], optimize=True)
    along = (radial_bar * g.radial_slope).sum(axis=0)
    unit_bar = np.einsum("miw,maiw->aiw", angular_bar, g.angular_slope, optimize=True)
    across = (unit_bar - g.unit * (g.unit * unit_bar).sum(axis=0)) * g.inverse
    return np.moveaxis(g.unit * along + across, 0, -1)


def jvp(
    expansion: SphericalExpansion,
    vectors: FloatArray,
    neighbour_species: IntArray,
    tangent: FloatArray,
    centre_species: IntArray,
) -> FloatArray:
    """Return the change of A; see `numpy_backend.jvp`."""
    g = _geometry(expansion, vectors, neighbour_species, centre_species)
    change = np.moveaxis(tangent, -1, 0)
    r_dot = (g.unit * change).sum(axis=0)
    unit_dot = (change - g.unit * r_dot) * g.inverse
    angular_dot = np.einsum("aiw,maiw->miw", unit_dot, g.angular_slope, optimize=True)
    return _contract(expansion, g.weights, g.radial_slope * r_dot, g.angular) + _contract(
        expansion, g.weights, g.radial, angular_dot
    )
