"""Learning-rate schedules: pure functions of the progress of training, so that resuming needs no state."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from forgefield.config import Schema

__all__ = ["ScheduleSettings", "learning_rate"]


class ScheduleSettings(Schema):
    """Warm-up, then cosine decay with optional warm restarts."""

    kind: Literal["cosine", "constant"] = Field("cosine", description="shape after the warm-up")
    start: float = Field(0.006, gt=0, le=1.0, description="highest learning rate")
    stop: float = Field(1e-5, gt=0, le=1.0, description="lowest learning rate")
    warmup_epochs: float = Field(2.0, ge=0, description="epochs of linear increase from `stop` to `start`")
    cycles: int = Field(1, ge=1, le=100, description="cosine cycles; more than one are warm restarts")
    decay: float = Field(0.5, gt=0, le=1.0, description="factor on `start` at every restart")


def learning_rate(settings: ScheduleSettings, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the learning rate of a step (0, 1, ...).

    Notes
    -----
    Source: Huang et al. (GNEP), eq. 17, for one cycle; restarts as in Loshchilov and Hutter, arXiv:1608.03983.
    """
    warmup = settings.warmup_epochs * steps_per_epoch
    total = max(epochs * steps_per_epoch, 1)
    if step < warmup:
        return settings.stop + (settings.start - settings.stop) * step / warmup
    if settings.kind == "constant":
        return settings.start
    length = max((total - warmup) / settings.cycles, 1.0)
    cycle = min(int((step - warmup) / length), settings.cycles - 1)
    progress = min((step - warmup - cycle * length) / length, 1.0)
    top = max(settings.start * settings.decay**cycle, settings.stop)
    return settings.stop + (top - settings.stop) * 0.5 * (1.0 + math.cos(math.pi * progress))
