"""What every optimiser is: settings, a step, a state that a checkpoint holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from forgefield.config import Schema
from forgefield.training.flat import Segment
from forgefield.training.loss_arrays import ArrayTerms
from forgefield.training.objective import Backend, Cache
from forgefield.training.schedules import ScheduleSettings
from forgefield.training.step import Step

__all__ = ["Descent", "DescentSettings", "GradientSettings", "Optimiser", "Parameters"]


class GradientSettings(Schema):
    """What all iterative trainings share."""

    kind: str = Field(description="optimiser")
    epochs: int = Field(300, ge=1, le=1_000_000, description="passes over the training structures")
    batch_size: int = Field(4, ge=1, le=100_000, description="structures per step")
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings, description="learning rate")
    average: float = Field(
        0.998,
        ge=0,
        lt=1,
        description="memory per step of the running mean of the parameters that is validated and kept; 0: none",
    )
    swa_start: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="share of the training after which the plain mean of the parameters takes the place of the running "
        "one; null: never",
    )
    margin: float = Field(
        0.0,
        ge=0,
        description="a later epoch takes the place of the best one while its validation score, a mean logarithm of errors, "
        "is higher by no more than this; few validation structures tell no smaller difference",
    )
    patience: int | None = Field(None, ge=1, description="stop after so many epochs without improvement")
    backend: Backend = Field(
        "auto", description="compiled kernels, plain torch, or compiled where there are kernels (auto)"
    )
    cache: Cache = Field(
        "auto",
        description="store features and their derivatives once instead of computing them in every step: derivatives, none, "
        "or where the descriptor has nothing to train, they fit a quarter of the memory and there are 20 epochs (auto)",
    )
    checkpoint_seconds: float = Field(30.0, ge=0, description="least time between checkpoints [s]")

    @property
    def structures_per_step(self) -> int | None:
        """Structures that a step sees; None: all of them."""
        return self.batch_size

    @property
    def structures_at_a_time(self) -> int:
        """Structures evaluated together."""
        return self.batch_size


class Parameters:
    """What is optimised.

    Attributes
    ----------
    flat : nn.Parameter
        All parameters; its ``.grad`` is written by `Step`.
    segments : tuple of Segment
        Where the parameter tensors lie in it.
    n_species : int
    """

    def __init__(self, flat: nn.Parameter, segments: tuple[Segment, ...], n_species: int) -> None:
        self.flat, self.segments, self.n_species = flat, segments, n_species


class Optimiser(ABC):
    """Moves the parameters.

    Parameters
    ----------
    settings : GradientSettings
        An instance of `Settings`.
    parameters : Parameters
    seed : int
        Of whatever the method draws.
    """

    Settings: ClassVar[type[GradientSettings]]
    least_squares: ClassVar[bool] = False
    """Whether the method needs a loss that is a sum of squares."""
    follows_rate: ClassVar[bool] = True
    """Whether moves are proportional to the learning rate."""

    def __init__(self, settings: GradientSettings, parameters: Parameters, seed: int) -> None:
        del seed
        self.parameters = parameters
        self.flat = parameters.flat
        self._check_type(settings)

    @property
    def n_bytes(self) -> int:
        """Memory of the state, about: two numbers for each parameter unless a method keeps more."""
        return 2 * self.flat.numel() * self.flat.element_size()

    def _check_type(self, settings: GradientSettings) -> None:
        if not isinstance(settings, self.Settings):
            raise TypeError(f"{type(self).__name__} needs {self.Settings.__name__}, got {settings!r}")

    @abstractmethod
    def step(self, step: Step, rate: float) -> ArrayTerms:
        """Move the parameters once; return the terms before the move.

        Raises
        ------
        DivergedError
            The loss or its gradient is not finite.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forget everything learned, after the parameters have been put elsewhere."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold."""

    @abstractmethod
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore from a checkpoint."""


class DescentSettings(GradientSettings):
    """What methods share that take one gradient a step."""

    accumulate: int = Field(
        1, ge=1, le=100_000, description="batches whose gradients are added up before a step, to save memory"
    )
    clip: float | None = Field(2.0, gt=0, description="largest gradient norm, in units of its running mean")

    @property
    def structures_per_step(self) -> int:
        """Structures that a step sees."""
        return self.batch_size * self.accumulate


class Descent(Optimiser):
    """A method that takes one gradient a step, clipped to a multiple of its running norm."""

    Settings: ClassVar[type[GradientSettings]] = DescentSettings

    def __init__(self, settings: GradientSettings, parameters: Parameters, seed: int) -> None:
        super().__init__(settings, parameters, seed)
        self.clip: float | None = getattr(settings, "clip", None)
        self.mean_norm = 0.0

    @abstractmethod
    def move(self, rate: float) -> None:
        """Move the parameters along the gradient in ``flat.grad``."""

    def step(self, step: Step, rate: float) -> ArrayTerms:
        """See `Optimiser.step`."""
        terms = step.gradient()
        self._limit(step, terms.total)
        self.move(rate)
        return terms

    def _limit(self, step: Step, loss: float) -> None:
        norm = step.norm()
        step.check(loss, norm)
        limited = norm
        if self.clip is not None and self.mean_norm > 0 and norm > self.clip * self.mean_norm:
            limited = self.clip * self.mean_norm
            if self.flat.grad is not None:
                self.flat.grad.mul_(limited / norm)
        self.mean_norm = limited if self.mean_norm == 0 else 0.98 * self.mean_norm + 0.02 * limited

    def reset(self) -> None:
        """See `Optimiser.reset`."""
        self.mean_norm = 0.0

    def state(self) -> dict[str, Tensor]:
        """See `Optimiser.state`."""
        return {"mean_norm": torch.tensor(self.mean_norm, dtype=torch.float64)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `Optimiser.load`."""
        self.mean_norm = float(state["mean_norm"])


class TorchDescent(Descent):
    """A method that torch brings."""

    def __init__(self, settings: GradientSettings, parameters: Parameters, seed: int) -> None:
        super().__init__(settings, parameters, seed)
        self.method = self.make(settings)

    @abstractmethod
    def make(self, settings: Any) -> torch.optim.Optimizer:
        """Return the method for the one vector of parameters."""

    def move(self, rate: float) -> None:
        """See `Descent.move`."""
        for group in self.method.param_groups:
            group["lr"] = rate
        self.method.step()

    def reset(self) -> None:
        """See `Optimiser.reset`."""
        super().reset()
        self.method.state.clear()

    def state(self) -> dict[str, Tensor]:
        """See `Optimiser.state`."""
        entries = self.method.state_dict()["state"].get(0, {})
        own = {f"torch.{k}": torch.as_tensor(v) for k, v in entries.items() if v is not None}
        return super().state() | own

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `Optimiser.load`."""
        super().load(state)
        entries = {k.removeprefix("torch."): v for k, v in state.items() if k.startswith("torch.")}
        values = self.method.state_dict()
        values["state"] = {0: entries} if entries else {}
        self.method.load_state_dict(values)
