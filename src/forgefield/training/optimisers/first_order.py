"""Adam, AdamW and stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from forgefield.training.optimisers.base import (
    Descent,
    DescentSettings,
    GradientSettings,
    Parameters,
    TorchDescent,
)
from forgefield.training.schedules import ScheduleSettings

__all__ = ["SGD", "Adam", "AdamSettings", "AdamW", "AdamWSettings", "SGDSettings"]

Decay = Annotated[float, Field(ge=0, lt=1)]

EPSILON = 1e-8
"""Keeps steps finite where a gradient has always been zero."""


class AdamSettings(DescentSettings):
    """Adam (Kingma and Ba, arXiv:1412.6980)."""

    kind: Literal["adam"] = Field("adam", description="optimiser")
    betas: tuple[Decay, Decay] = Field((0.9, 0.999), description="decay rates of Adam's moments")
    weight_decay: float = Field(0.0, ge=0, lt=1, description="L2 decay, added to the gradient")


class Adam(Descent):
    """Steps along the mean gradient, in units of its root mean square.

    One call of the kernel below torch's own method, which costs more in calls around it than in arithmetic.
    """

    Settings: ClassVar[type[GradientSettings]] = AdamSettings
    decoupled: ClassVar[bool] = False
    """Whether the decay acts on the parameters themselves."""

    def __init__(self, settings: AdamSettings, parameters: Parameters, seed: int) -> None:
        super().__init__(settings, parameters, seed)
        self.betas, self.decay = settings.betas, settings.weight_decay
        self.reset()

    def reset(self) -> None:
        """See `Optimiser.reset`."""
        super().reset()
        self.taken = 0
        self.first, self.second = (torch.zeros_like(self.flat.detach()) for _ in range(2))
        self._count = torch.zeros((), dtype=torch.float32, device=self.flat.device)

    def move(self, rate: float) -> None:
        """See `Descent.move`."""
        if self.flat.grad is None:
            return
        self.taken += 1
        method = torch._fused_adamw_ if self.decoupled else torch._fused_adam_
        method(
            [self.flat.detach()],
            [self.flat.grad],
            [self.first],
            [self.second],
            [],
            [self._count.fill_(self.taken)],
            lr=rate,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=self.decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def state(self) -> dict[str, Tensor]:
        """See `Optimiser.state`."""
        own = {"exp_avg": self.first, "exp_avg_sq": self.second, "step": torch.tensor(float(self.taken))}
        return super().state() | ({f"torch.{k}": v for k, v in own.items()} if self.taken else {})

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `Optimiser.load`."""
        self.reset()
        super().load(state)
        if "torch.step" in state:
            self.taken = round(float(state["torch.step"]))
            self.first.copy_(state["torch.exp_avg"])
            self.second.copy_(state["torch.exp_avg_sq"])


class AdamWSettings(AdamSettings):
    """AdamW: Adam with decoupled decay (Loshchilov and Hutter, arXiv:1711.05101)."""

    kind: Literal["adamw"] = Field("adamw", description="optimiser")  # type: ignore[assignment]
    weight_decay: float = Field(
        0.0, ge=0, lt=1, description="decay of the parameters, times the learning rate"
    )


class AdamW(Adam):
    """Adam with decoupled decay."""

    Settings: ClassVar[type[GradientSettings]] = AdamWSettings
    decoupled: ClassVar[bool] = True


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
