"""Rows of a tall matrix that span the largest volume, and the extrapolation grade they define."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from forgefield.data import group_of
from forgefield.errors import ConfigError
from forgefield.models.extrapolation import Extrapolation, Grader
from forgefield.models.potential import Potential
from forgefield.training.batches import weights_of

__all__ = ["fit_extrapolation", "grade_matrix", "maxvol"]

FloatArray = NDArray[np.float64]

TOLERANCE = 1.001
"""Grade above which a training atom replaces one of the active set."""

RANK = 1e-6
"""Directions in which the features vary less than this share of the largest variation are not spanned, but bounded."""

INDEPENDENT = 1e-12
"""A row nearer to the span of others, in units of the longest row, depends on them."""

MOST_SWAPS = 100_000
"""The volume grows by `TOLERANCE` at least with each swap; this many are never needed."""


def maxvol(a: FloatArray, tolerance: float = TOLERANCE) -> NDArray[np.int64]:
    """Return rows of `a` that form a submatrix of locally largest volume.

    Parameters
    ----------
    a : (n, r), n >= r
        Of full column rank.
    tolerance : float, >= 1
        The coefficients of every row of `a` in the chosen rows are at most this.

    Returns
    -------
    (r,) int64
        Indices of rows; swapping one for another changes the volume by a factor of `tolerance` at most.

    Raises
    ------
    ConfigError
        Fewer rows than columns, or the columns depend on each other.

    Notes
    -----
    Source: Goreinov et al., How to find a good submatrix, in Matrix Methods (World Scientific, 2010), 247.
    """
    n, r = a.shape
    if n < r:
        raise ConfigError(f"maxvol needs at least as many rows as columns, got {n} x {r}")
    rows = _pivots(a)
    for _ in range(MOST_SWAPS):
        # Updates lose digits slowly; what ends the search is a fresh solution.
        coefficients = np.asarray(np.linalg.solve(a[rows].T, a.T).T, dtype=np.float64)
        if not _swap(coefficients, rows, tolerance):
            break
    return rows


def _pivots(a: FloatArray) -> NDArray[np.int64]:
    """Return rows, each the farthest from the span of those before it; the same in every orthonormal basis."""
    work = a.copy()
    rows = np.empty(a.shape[1], dtype=np.int64)
    largest = 0.0
    for k in range(len(rows)):
        squares = np.einsum("nr,nr->n", work, work)
        p = int(squares.argmax())
        length = float(np.sqrt(squares[p]))
        largest = max(largest, length)
        if not length > INDEPENDENT * largest:
            raise ConfigError(
                f"maxvol needs independent columns; only {k} of {len(rows)} directions are there"
            )
        rows[k] = p
        direction = work[p] / length
        work -= np.outer(work @ direction, direction)
    return rows


def _swap(coefficients: FloatArray, rows: NDArray[np.int64], tolerance: float) -> bool:
    """Swap rows until no coefficient exceeds the tolerance; changes both in place and says whether it did."""
    changed = False
    for _ in range(MOST_SWAPS):
        i, j = np.unravel_index(np.abs(coefficients).argmax(), coefficients.shape)
        pivot = coefficients[i, j]
        if abs(pivot) <= tolerance:
            break
        row = coefficients[i].copy()
        row[j] -= 1.0
        coefficients -= np.outer(coefficients[:, j] / pivot, row)
        rows[j] = i
        changed = True
    return changed


def grade_matrix(x: FloatArray) -> FloatArray:
    """Return G with which ``max_k |x G|_k`` is the extrapolation grade of feature vectors x.

    Parameters
    ----------
    x : (n, m)
        Feature vectors of all training atoms of one element.

    Returns
    -------
    (m, m), or (m, 0) without training atoms
        The first columns give the coefficients of x in the active set, the others how far x leaves the space that the
        training atoms span, in units of the farthest training atom. Every row of `x` has a grade of at most `TOLERANCE`.

    Notes
    -----
    Source: Podryabinkin, Shapeev, Comput. Mater. Sci. 140, 171 (2017), eqs. 9-11; the columns outside the span are ours:
    with linearly dependent features the active set alone would not notice what is new in kind.
    """
    n, m = x.shape
    if n == 0:
        return np.zeros((m, 0))
    _, s, vt = np.linalg.svd(np.linalg.qr(x, mode="r"), full_matrices=True)
    rank = int((s > RANK * s[0]).sum())
    span = vt[:rank].T * (np.sqrt(n) / s[:rank])
    inside = x @ span
    rows = maxvol(inside)
    outside = vt[rank:].T
    farthest = np.maximum(np.abs(x @ outside).max(axis=0), RANK * s[0] / np.sqrt(n))
    return np.concatenate([span @ np.linalg.inv(inside[rows]), outside / farthest], axis=1)


def fit_extrapolation(
    potential: Potential, frames: Sequence[Atoms], group_weights: Mapping[str, float] | None = None
) -> Extrapolation:
    """Return the extrapolation grade of a potential for its training structures.

    Parameters
    ----------
    potential : Potential
        Trained: the features of NEP change with training.
    frames : sequence of ase.Atoms
        The structures it was trained on; their labels are not looked at. Those of weight zero have taught it nothing and
        are left out; other weights make no difference.
    group_weights : mapping of group to factor, optional
        As in the training.

    Notes
    -----
    Memory: all feature vectors in float64. Time: of order (atoms) x (features)^2 for each pass of swaps.
    """
    grader = Grader(potential)
    found: list[list[FloatArray]] = [[] for _ in potential.species]
    factors = group_weights or {}
    for atoms in frames:
        if not any(weights_of(atoms, factors.get(group_of(atoms), 1.0)).values()):
            continue
        features = grader.features(atoms)
        index = np.searchsorted(potential.species, atoms.numbers)
        for k, rows in enumerate(found):
            rows.append(features[index == k])
    matrices = [grade_matrix(np.concatenate([np.empty((0, grader.n_features)), *rows])) for rows in found]
    return Extrapolation(tuple(torch.from_numpy(x) for x in matrices))
