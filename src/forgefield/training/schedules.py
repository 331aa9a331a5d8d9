"""Learning-rate schedules: functions of the step and, for one of them, of the plateaus counted so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from forgefield.config import Schema
from forgefield.errors import ConfigError

__all__ = ["SCHEDULES", "Moment", "Plateaus", "ScheduleSettings", "learning_rate"]

FIRST_OF_ONE_CYCLE = 25.0
"""One cycle begins at the highest learning rate divided by this (Smith and Topin, arXiv:1708.07120)."""
LEAST_GAIN = 1e-3
"""Improvement of the score (a mean logarithm of errors) that ends a plateau."""


class ScheduleSettings(Schema):
    """Learning rate over the steps of a training.

    With the highest rate `start` and the lowest `stop`, after a linear warm-up, at the share t of the rest:

    ``cosine``
        ``stop + (start - stop) (1 + cos(pi t)) / 2``; with more than one of `cycles` it restarts, each time at `decay`
        times the height (Loshchilov and Hutter, arXiv:1608.03983).
    ``constant``
        `start`.
    ``exponential``
        ``start (stop / start)^t``, the decay of DeePMD-kit.
    ``step``
        `start` times `decay` for every `interval` epochs that have passed.
    ``plateau``
        `start` times `decay` for every `interval` epochs in which the validation score did not improve.
    ``one_cycle``
        Cosine up from ``start / 25`` over the share `rise` of the steps, cosine down to `stop` (Smith and Topin,
        arXiv:1708.07120; without the cycle of the momentum, and without warm-up).
    """

    kind: Literal["cosine", "constant", "exponential", "step", "plateau", "one_cycle"] = Field(
        "cosine", description="shape after the warm-up"
    )
    start: float = Field(0.006, gt=0, le=1.0, description="highest learning rate")
    stop: float = Field(1e-5, gt=0, le=1.0, description="lowest learning rate")
    warmup_epochs: float = Field(2.0, ge=0, description="epochs of linear increase from `stop` to `start`")
    cycles: int = Field(1, ge=1, le=100, description="cosine cycles; more than one are warm restarts")
    decay: float = Field(
        0.5, gt=0, le=1.0, description="factor on the rate at every restart, step or plateau"
    )
    interval: int = Field(
        20, ge=1, description="epochs between two steps, or without improvement before a plateau is left"
    )
    rise: float = Field(0.3, gt=0, lt=1, description="one_cycle: share of the steps in which the rate rises")

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if self.stop > self.start:
            raise ConfigError(
                f"`schedule.stop`, the lowest learning rate, is {self.stop:g}, above `schedule.start`, the highest, which is "
                f"{self.start:g}; set schedule.stop to at most schedule.start"
            )
        return self

    def never_reached(self, epochs: int) -> str:
        """Return a warning where a training of so many epochs ends before the warm-up does, else nothing."""
        if self.kind == "one_cycle" or self.warmup_epochs < epochs:
            return ""
        return (
            f"training.schedule.warmup_epochs is {self.warmup_epochs:g} and training.epochs {epochs}: the learning rate never "
            f"reaches training.schedule.start ({self.start:g}); train longer, or warm up for less"
        )


@dataclass(frozen=True)
class Moment:
    """Where a training stands after the warm-up.

    Attributes
    ----------
    t : float
        Share of the steps after the warm-up that are done, 0 to 1.
    epoch : float
        Epochs done since the warm-up.
    plateaus : int
        Plateaus left so far.
    """

    t: float
    epoch: float
    plateaus: int


def _cosine(s: ScheduleSettings, now: Moment) -> float:
    cycle = min(int(now.t * s.cycles), s.cycles - 1)
    progress = min(now.t * s.cycles - cycle, 1.0)
    return _fall(max(s.start * s.decay**cycle, s.stop), s.stop, progress)


def _one_cycle(s: ScheduleSettings, now: Moment) -> float:
    if now.t < s.rise:
        return _fall(s.start / FIRST_OF_ONE_CYCLE, s.start, now.t / s.rise)
    return _fall(s.start, s.stop, (now.t - s.rise) / (1.0 - s.rise))


def _constant(s: ScheduleSettings, now: Moment) -> float:
    del now
    return s.start


def _fall(top: float, bottom: float, progress: float) -> float:
    return bottom + (top - bottom) * 0.5 * (1.0 + math.cos(math.pi * progress))


SCHEDULES: dict[str, Callable[[ScheduleSettings, Moment], float]] = {
    "cosine": _cosine,
    "constant": _constant,
    "exponential": lambda s, now: s.start * (s.stop / s.start) ** now.t,
    "step": lambda s, now: max(s.start * s.decay ** int(now.epoch / s.interval), s.stop),
    "plateau": lambda s, now: max(s.start * s.decay**now.plateaus, s.stop),
    "one_cycle": _one_cycle,
}


def learning_rate(
    settings: ScheduleSettings, step: int, steps_per_epoch: int, epochs: int, left_plateaus: int = 0
) -> float:
    """Return the learning rate of a step (0, 1, ...).

    Notes
    -----
    Source: Huang et al. (GNEP), eq. 17, for one cosine cycle after a warm-up.
    """
    warmup = 0.0 if settings.kind == "one_cycle" else settings.warmup_epochs * steps_per_epoch
    if step < warmup:
        return settings.stop + (settings.start - settings.stop) * step / warmup
    total = max(epochs * steps_per_epoch, 1)
    after = step - warmup
    t = min(after / max(total - warmup, 1.0), 1.0)
    return SCHEDULES[settings.kind](settings, Moment(t, after / steps_per_epoch, left_plateaus))


@dataclass
class Plateaus:
    """Count of the plateaus that the validation scores (low is good) have been through; part of a checkpoint.

    Attributes
    ----------
    best : float
        Lowest score so far, to within `LEAST_GAIN`.
    waited : int
        Epochs since it, or since the last plateau was left.
    left : int
        Plateaus left so far.
    """

    best: float = math.inf
    waited: int = 0
    left: int = 0

    def add(self, score: float, interval: int) -> None:
        """Take in the score of an epoch; `interval` epochs without improvement are a plateau."""
        if score < self.best - LEAST_GAIN:
            self.best, self.waited = score, 0
        else:
            self.waited += 1
        if self.waited >= interval:
            self.left, self.waited = self.left + 1, 0
