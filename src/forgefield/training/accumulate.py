"""Running errors of an epoch in the units of the reports."""

from __future__ import annotations

import math
from collections.abc import Collection

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
    """Sums of squares and magnitudes of residuals, by property."""

    def __init__(self) -> None:
        self._squares = dict.fromkeys(UNITS, 0.0)
        self._magnitudes = dict.fromkeys(UNITS, 0.0)
        self._counts = dict.fromkeys(UNITS, 0)
        self._held: dict[str, list[NDArray[np.float64]]] = {k: [] for k in UNITS}
        self._n_held = 0

    def add(self, terms: ArrayTerms | Residuals) -> None:
        """Add the residuals of a batch, which must not change any more."""
        for name, held in self._held.items():
            x = np.asarray(getattr(terms, name), dtype=np.float64)
            held.append(x.reshape(-1))
            self._n_held += x.size
        if self._n_held >= HELD:
            self._sum()

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

    def score(self, properties: Collection[str]) -> float:
        """Return the mean logarithm of MAE and RMSE over the properties: small is good, units do not matter."""
        self._sum()
        parts = []
        for k in properties:
            if self._counts[k]:
                mean = self._magnitudes[k] / self._counts[k]
                root = math.sqrt(self._squares[k] / self._counts[k])
                parts.append(0.5 * math.log(max(mean, 1e-12)) + 0.5 * math.log(max(root, 1e-12)))
        total = sum(parts) / len(parts) if parts else math.inf
        return total if math.isfinite(total) else math.inf
