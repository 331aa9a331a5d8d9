"""The expansion over pairs of neighbours on NumPy in float64: the truth the other backends are tested against.

Every pair of entries of a padded row is evaluated, whether it counts or not; nothing is left out by distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgefield.expansions.spherical import split_duals
from forgefield.expansions.triplets import TripletExpansion
from forgefield.formulas.dual import Dual

__all__ = ["forward", "jvp", "vjp"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class _Triangles:
    """All pairs of columns j < k of every row."""

    first: IntArray  # (n_pairs,) column j
    second: IntArray  # (n_pairs,) column k
    weights: FloatArray  # (n_atoms, n_pairs, n_channels)
    values: FloatArray  # (n_functions, n_atoms, n_pairs)
    slopes: FloatArray  # (n_functions, 3, n_atoms, n_pairs), by r_ij, r_ik and r_jk
    units: FloatArray  # (3, n_atoms, n_pairs, 3): directions of r_ij, r_ik and r_ik - r_ij


def _triangles(expansion: TripletExpansion, vectors: FloatArray, neighbour_species: IntArray) -> _Triangles:
    first, second = np.triu_indices(vectors.shape[1], k=1)
    x = np.asarray(vectors, dtype=np.float64)
    sides = np.stack([x[:, first], x[:, second], x[:, second] - x[:, first]])
    lengths = np.sqrt((sides * sides).sum(axis=-1))
    lengths[lengths == 0.0] = 1.0  # two padding entries, at the same place beyond the cutoff
    axes = np.eye(3)[:, :, None, None] + np.zeros((3, 3, *lengths.shape[1:]))
    zero = np.zeros_like(lengths[0])
    functions = expansion.basis(*(Dual(lengths[a], axes[a]) for a in range(3)))
    values, slopes = split_duals(functions, zero, np.zeros_like(axes[0]))
    return _Triangles(
        first=first,
        second=second,
        weights=expansion.channel_weights[neighbour_species[:, first], neighbour_species[:, second]],
        values=np.stack(values),
        slopes=np.stack(slopes),
        units=sides / lengths[..., None],
    )


def _summed(t: _Triangles, values: FloatArray) -> FloatArray:
    """Sum over the pairs: (n_atoms, n_channels, n_functions, 1)."""
    a: FloatArray = np.einsum("ipc,qip->icq", t.weights, values, optimize=True)[..., None]
    return a


def forward(
    expansion: TripletExpansion,
    vectors: FloatArray,
    neighbour_species: IntArray,
    centre_species: IntArray,  # noqa: ARG001  # makes no difference to this kind
) -> FloatArray:
    """Return A of shape (n_atoms, n_channels, n_functions, 1); arguments as in `numpy_backend.forward`."""
    t = _triangles(expansion, vectors, neighbour_species)
    return _summed(t, t.values)


def vjp(
    expansion: TripletExpansion,
    vectors: FloatArray,
    neighbour_species: IntArray,
    a_bar: FloatArray,
    centre_species: IntArray,  # noqa: ARG001
) -> FloatArray:
    """Return ``g_ij = sum A_bar dA_i/dr_ij``, (n_atoms, width, 3), for ``A_bar = dE/dA``."""
    t = _triangles(expansion, vectors, neighbour_species)
    bar = np.einsum("icq,ipc->qip", a_bar[..., 0], t.weights, optimize=True)
    pulls = np.einsum("qip,qaip->aip", bar, t.slopes, optimize=True)[..., None] * t.units
    g = np.zeros((*vectors.shape[:2], 3))
    for p, (j, k) in enumerate(zip(t.first, t.second, strict=True)):
        g[:, j] += pulls[0, :, p] - pulls[2, :, p]
        g[:, k] += pulls[1, :, p] + pulls[2, :, p]
    return g


def jvp(
    expansion: TripletExpansion,
    vectors: FloatArray,
    neighbour_species: IntArray,
    tangent: FloatArray,
    centre_species: IntArray,  # noqa: ARG001
) -> FloatArray:
    """Return the change of A, shaped like A, for a change `tangent` (n_atoms, width, 3) of the vectors."""
    t = _triangles(expansion, vectors, neighbour_species)
    j, k = tangent[:, t.first], tangent[:, t.second]
    changes = (np.stack([j, k, k - j]) * t.units).sum(axis=-1)
    values = np.einsum("qaip,aip->qip", t.slopes, changes, optimize=True)
    return _summed(t, values)
