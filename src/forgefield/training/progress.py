"""What a training remembers of its course: counters, the best so far, one row per epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forgefield.keys import PROPERTIES
from forgefield.training.schedules import Plateaus

__all__ = ["COLUMNS", "History", "Means", "Progress", "Row"]

Row = dict[str, float | int | None]

COLUMNS = (
    "epoch",
    "step",
    "learning_rate",
    "loss_train",
    "loss_valid",
    *(f"{p}_rmse_{s}" for s in ("train", "valid") for p in PROPERTIES),
    *(f"{p}_mae_valid" for p in PROPERTIES),
    *(f"weight_{p}" for p in PROPERTIES),
    "score",
    "seconds",
)
"""What is remembered of an epoch: the columns of log.csv; errors in meV/atom, meV/Å and GPa."""

WHOLE = ("epoch", "step")
"""Columns of whole numbers."""

FIRST = 16
"""Rows of the first block."""


class History(Sequence[Row]):
    """One row for each epoch; to append one, and to hand all to a checkpoint, takes no work on the rows before.

    Numbers lie in one block that doubles when it is full. Rows, once there, never change.
    """

    def __init__(self) -> None:
        self._values = np.empty((0, len(COLUMNS)))
        self._known = np.empty((0, len(COLUMNS)), dtype=bool)
        self._n = 0

    def append(self, row: Row) -> None:
        """Add the row of an epoch; columns that are absent or None have no value."""
        if self._n == len(self._values):
            self._values, self._known = _longer(self._values), _longer(self._known)
        given = [row.get(name) for name in COLUMNS]
        self._values[self._n] = [math.nan if x is None else x for x in given]
        self._known[self._n] = [x is not None for x in given]
        self._n += 1

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[n] for n in range(*index.indices(self._n))]
        n = range(self._n)[index]
        given = zip(COLUMNS, self._values[n].tolist(), self._known[n].tolist(), strict=True)
        return {name: (int(x) if name in WHOLE else x) if known else None for name, x, known in given}

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold: views (n_epochs, n_columns) that later epochs leave as they are."""
        return {
            "values": torch.from_numpy(self._values[: self._n]),
            "known": torch.from_numpy(self._known[: self._n]),
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore from a checkpoint."""
        self._values, self._known = (state[k].numpy().copy() for k in ("values", "known"))
        self._n = len(self._values)


def _longer(x: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([x, np.zeros((max(len(x), FIRST), x.shape[1]), dtype=x.dtype)])


@dataclass
class Progress:
    """Everything beyond parameters and optimiser that a resumed run needs.

    The best epoch has the lowest validation score; the epoch kept may be a later one within the margin of it. Epoch 0 is
    the potential before training, with the score `initial_score`: kept while all epochs have errors blown up from its own.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    initial_score: float = math.inf
    best_score: float = math.inf
    best_epoch: int = 0
    kept_epoch: int = 0
    rate_factor: float = 1.0
    lost_epochs: int = 0
    plateaus: Plateaus = field(default_factory=Plateaus)
    history: History = field(default_factory=History)

    def state(self) -> dict[str, Any]:
        """Return counters and the best so far, as plain values; the history is handed over as tensors."""
        counters = {k: v for k, v in vars(self).items() if k != "history"}
        return counters | {"plateaus": asdict(self.plateaus)}

    @classmethod
    def of_state(cls, values: Mapping[str, Any], history: Mapping[str, Tensor]) -> Progress:
        """Restore from a checkpoint."""
        found = cls(**{**values, "plateaus": Plateaus(**values["plateaus"])})
        found.history.load(history)
        return found


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
