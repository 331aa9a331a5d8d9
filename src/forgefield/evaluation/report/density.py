"""Hexagonal bins: where there are too many points to draw, draw how many there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgefield.evaluation.report.svg import number

__all__ = ["N_LEVELS", "Hexagons", "hexagon_path", "hexagons", "levels"]

Array = NDArray[np.float64]
Index = NDArray[np.intp]

N_LEVELS = 8
"""Number of colours of a density."""


@dataclass(frozen=True)
class Hexagons:
    """Hexagonal bins that hold at least one point.

    Parameters
    ----------
    x, y : (n_bins,) [pixels]
        Centres.
    width : float [pixels]
        Distance of the centres in a row.
    bin_of : (n_points,)
        Bin of each point.
    """

    x: Array
    y: Array
    width: float
    bin_of: Index

    def counts(self, chosen: NDArray[np.bool_]) -> Index:
        """Return the number of chosen points in each bin, (n_bins,)."""
        return np.bincount(self.bin_of[chosen], minlength=len(self.x))


def hexagons(x: Array, y: Array, width: float) -> Hexagons:
    """Sort points into a hexagonal lattice.

    The lattice is two rectangular ones; a point belongs to the nearer of its two candidate centres.

    Parameters
    ----------
    x, y : (n_points,) [pixels]
    width : float [pixels]
        Distance of the centres in a row; rows are ``width * sqrt(3) / 2`` apart.
    """
    height = width * np.sqrt(3.0)
    column_a, row_a = np.rint(x / width), np.rint(y / height)
    column_b, row_b = np.floor(x / width), np.floor(y / height)
    to_a = (x - column_a * width) ** 2 + (y - row_a * height) ** 2
    to_b = (x - (column_b + 0.5) * width) ** 2 + (y - (row_b + 0.5) * height) ** 2
    nearer = to_a <= to_b
    twice_column = np.where(nearer, 2 * column_a, 2 * column_b + 1).astype(np.intp)
    twice_row = np.where(nearer, 2 * row_a, 2 * row_b + 1).astype(np.intp)
    centres, bin_of = np.unique(np.stack([twice_column, twice_row], axis=1), axis=0, return_inverse=True)
    return Hexagons(centres[:, 0] * width / 2, centres[:, 1] * height / 2, width, bin_of.reshape(-1))


def levels(counts: Index, largest: int) -> Index:
    """Return the colour, 0 to `N_LEVELS` - 1, of each count on a logarithmic scale; -1 for none."""
    top = np.log(max(largest, 2))
    level = np.floor(np.log(np.maximum(counts, 1)) / top * N_LEVELS).astype(np.intp)
    return np.where(counts > 0, np.minimum(level, N_LEVELS - 1), -1)


def hexagon_path(x: Array, y: Array, width: float) -> str:
    """Return one path with a hexagon, a point up, at each centre."""
    half, side = width / 2, width / np.sqrt(3.0)
    shape = (
        f"l{number(half)} {number(side / 2)}v{number(side)}l-{number(half)} {number(side / 2)}"
        f"l-{number(half)} -{number(side / 2)}v-{number(side)}z"
    )
    return "".join(
        f"M{number(a)} {number(b - side)}{shape}" for a, b in zip(x.tolist(), y.tolist(), strict=True)
    )
