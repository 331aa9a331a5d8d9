"""What a training remembers of its course: counters, the best so far, one row per epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Means", "Progress", "Row"]

Row = dict[str, float | int | None]


@dataclass
class Progress:
    """Everything beyond parameters and optimiser that a resumed run needs.

    The best epoch has the lowest validation score; the epoch kept may be a later one within the margin of it.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    best_score: float = math.inf
    best_epoch: int = 0
    kept_epoch: int = 0
    rate_factor: float = 1.0
    lost_epochs: int = 0
    scores: list[float] = field(default_factory=list)
    history: list[Row] = field(default_factory=list)


class Means:
    """Running means of the loss, its unweighted terms and their weights over the steps of an epoch."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def add(self, total: float, terms: Mapping[str, float]) -> None:
        """Add a step."""
        for name, value in {"": total, **terms}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def total(self) -> float | None:
        """Return the mean loss."""
        return self.sums[""] / self.counts[""] if self.counts else None

    def weighted(self, weights: Mapping[str, float]) -> float | None:
        """Return the weighted sum of the mean terms."""
        return sum(weights.get(k, 0.0) * v for k, v in self.means().items()) if self.counts else None

    def means(self) -> dict[str, float]:
        """Return the mean terms."""
        return {k: v / self.counts[k] for k, v in self.sums.items() if k}
