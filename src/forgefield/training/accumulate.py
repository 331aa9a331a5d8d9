"""Running errors of an epoch in the units of the reports."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from forgefield.training.loss import Residuals
from forgefield.training.loss_arrays import ArrayTerms
from forgefield.units import EV_PER_A3_TO_GPA, MILLI

__all__ = ["UNITS", "Errors"]

UNITS = {"energy": MILLI, "forces": MILLI, "stress": EV_PER_A3_TO_GPA}
"""Factors to meV/atom, meV/Å and GPa."""


HELD = 20_000
"""Residuals that are added up together: single batches are often too few to be worth the calls."""


class Errors:
    """Sums of squares and magnitudes of residuals, by property.

    Parameters
    ----------
    floors : mapping of property to float, optional
        Errors below this (eV/atom, eV/Å, eV/Å^3) count as this in the score; see `Loss.precision`.
    """

    def __init__(self, floors: Mapping[str, float] | None = None) -> None:
        self._floors = dict(floors or {})
        self._squares = dict.fromkeys(UNITS, 0.0)
        self._magnitudes = dict.fromkeys(UNITS, 0.0)
        self._counts = dict.fromkeys(UNITS, 0)
        self._held: dict[str, list[NDArray[np.float64]]] = {k: [] for k in UNITS}
        self._n_held = 0
        self._weighted: dict[str, tuple[float, float, float]] | None = None

    def add(
        self, terms: ArrayTerms | Residuals, weights: Mapping[str, NDArray[np.float64]] | None = None
    ) -> None:
        """Add the residuals of a batch, which must not change any more.

        `weights` are those of all its numbers (`LabelWeights.rows`), None where all are one. The score takes notice of
        them, RMSE and MAE do not.
        """
        for name, held in self._held.items():
            x = np.asarray(getattr(terms, name), dtype=np.float64)
            held.append(x.reshape(-1))
            self._n_held += x.size
            if weights is not None:
                self._weigh(name, held[-1], weights[name])
        if self._n_held >= HELD:
            self._sum()

    def _weigh(self, name: str, x: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
        """Add weighted squares, magnitudes and weights."""
        if self._weighted is None:
            self._weighted = dict.fromkeys(UNITS, (0.0, 0.0, 0.0))
        new = float(weights @ (x * x)), float(weights @ np.abs(x)), float(weights.sum())
        squares, magnitudes, total = (a + b for a, b in zip(self._weighted[name], new, strict=True))
        self._weighted[name] = squares, magnitudes, total

    def _sum(self) -> None:
        """Add up what is held."""
        for name, held in self._held.items():
            if held:
                x = np.concatenate(held)
                self._squares[name] += float(x.dot(x))
                self._magnitudes[name] += float(np.add.reduce(np.abs(x)))
                self._counts[name] += x.size
                held.clear()
        self._n_held = 0

    def rmse(self) -> dict[str, float | None]:
        """Return ``{property}_rmse``: root mean squares, None where nothing is labelled."""
        self._sum()
        return {
            f"{k}_rmse": math.sqrt(self._squares[k] / n) * UNITS[k] if n else None
            for k, n in self._counts.items()
        }

    def mae(self) -> dict[str, float | None]:
        """Return ``{property}_mae``: mean magnitudes, None where nothing is labelled."""
        self._sum()
        return {
            f"{k}_mae": self._magnitudes[k] / n * UNITS[k] if n else None for k, n in self._counts.items()
        }

    def roots(self) -> dict[str, float]:
        """Return the root mean square of each labelled property in eV/atom, eV/Å and eV/Å^3, weighted as in the loss."""
        return {k: math.sqrt(squares / n) for k, (squares, _, n) in self._sums().items() if n > 0}

    def _sums(self) -> Mapping[str, tuple[float, float, float]]:
        """Return squares, magnitudes and what to divide them by, weighted where there are weights."""
        self._sum()
        return self._weighted or {
            k: (self._squares[k], self._magnitudes[k], n) for k, n in self._counts.items()
        }

    def score(self, properties: Collection[str]) -> float:
        """Return the mean logarithm of MAE and RMSE over the properties: small is good, units do not matter.

        Weights of structures and groups count as in the loss.
        """
        sums, parts = self._sums(), []
        for k in properties:
            squares, magnitudes, count = sums[k]
            if count > 0:
                mean, root = magnitudes / count, math.sqrt(squares / count)
                least = max(self._floors.get(k, 0.0), 1e-12)
                parts.append(0.5 * math.log(max(mean, least)) + 0.5 * math.log(max(root, least)))
        total = sum(parts) / len(parts) if parts else math.inf
        return total if math.isfinite(total) else math.inf
