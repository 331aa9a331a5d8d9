"""Adam, AdamW and stochastic gradient descent."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from forgefield.training.optimisers.base import DescentSettings, GradientSettings, TorchDescent
from forgefield.training.schedules import ScheduleSettings

__all__ = ["SGD", "Adam", "AdamSettings", "AdamW", "AdamWSettings", "SGDSettings"]


class AdamSettings(DescentSettings):
    """Adam (Kingma and Ba, arXiv:1412.6980)."""

    kind: Literal["adam"] = Field("adam", description="optimiser")
    betas: tuple[float, float] = Field((0.9, 0.999), description="decay rates of Adam's moments")
    weight_decay: float = Field(0.0, ge=0, lt=1, description="L2 decay, added to the gradient")


class Adam(TorchDescent):
    """Steps along the mean gradient, in units of its root mean square."""

    Settings: ClassVar[type[GradientSettings]] = AdamSettings

    def make(self, settings: Any) -> torch.optim.Optimizer:
        """See `TorchDescent.make`."""
        return torch.optim.Adam(
            [self.flat],
            lr=settings.schedule.start,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )


class AdamWSettings(AdamSettings):
    """AdamW: Adam with decoupled decay (Loshchilov and Hutter, arXiv:1711.05101)."""

    kind: Literal["adamw"] = Field("adamw", description="optimiser")  # type: ignore[assignment]
    weight_decay: float = Field(
        0.0, ge=0, lt=1, description="decay of the parameters, times the learning rate"
    )


class AdamW(Adam):
    """Adam with decoupled decay."""

    Settings: ClassVar[type[GradientSettings]] = AdamWSettings

    def make(self, settings: Any) -> torch.optim.Optimizer:
        """See `TorchDescent.make`."""
        return torch.optim.AdamW(
            [self.flat],
            lr=settings.schedule.start,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )


class SGDSettings(DescentSettings):
    """Stochastic gradient descent with momentum (Sutskever et al., ICML 2013)."""

    kind: Literal["sgd"] = Field("sgd", description="optimiser")
    schedule: ScheduleSettings = Field(
        default_factory=lambda: ScheduleSettings(start=0.001, stop=1e-6), description="learning rate"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="share of the previous move in the next one")
    nesterov: bool = Field(default=True, description="gradient ahead of the move; needs momentum")
    weight_decay: float = Field(0.0, ge=0, lt=1, description="L2 decay, added to the gradient")


class SGD(TorchDescent):
    """Steps along the gradient itself."""

    Settings: ClassVar[type[GradientSettings]] = SGDSettings

    def make(self, settings: Any) -> torch.optim.Optimizer:
        """See `TorchDescent.make`."""
        return torch.optim.SGD(
            [self.flat],
            lr=settings.schedule.start,
            momentum=settings.momentum,
            nesterov=settings.nesterov and settings.momentum > 0,
            weight_decay=settings.weight_decay,
            fused=True,
        )
