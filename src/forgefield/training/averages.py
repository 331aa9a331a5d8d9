"""Means of the parameters over the steps of a training, which are validated and kept in place of the last ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

__all__ = ["ParameterMean"]

START = 10
"""Steps after which the running mean reaches half of its memory."""


class ParameterMean:
    """Running mean (EMA), then, if wanted, the plain mean from a certain step on (SWA).

    Parameters
    ----------
    flat : nn.Parameter
        All parameters.
    memory : float
        Of the running mean, per step; zero: the parameters themselves.
    plain_from : int, optional
        Step from which the mean is the plain one (Izmailov et al., arXiv:1803.05407).
    """

    def __init__(self, flat: nn.Parameter, memory: float, plain_from: int | None) -> None:
        self.flat, self.memory, self.plain_from = flat, memory, plain_from
        self.mean = flat.detach().clone()
        self.steps = 0

    def update(self, step: int) -> None:
        """Take in the parameters after a step (1, 2, ...).

        The memory grows from nothing, so that the start is forgotten.
        """
        if self.plain_from is not None and step > self.plain_from:
            share = 1.0 / (step - self.plain_from)
        else:
            share = 1.0 - min(self.memory, step / (step + START))
        self.steps = step
        self.mean.lerp_(self.flat.detach(), share)

    def restart(self) -> None:
        """Begin again at the parameters of this moment; a plain mean counts the steps from here on alone."""
        self.mean = self.flat.detach().clone()
        if self.plain_from is not None:
            self.plain_from = max(self.plain_from, self.steps)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the means in place of the parameters for a while."""
        own = self.flat.detach().clone()
        self.flat.data.copy_(self.mean)
        try:
            yield
        finally:
            self.flat.data.copy_(own)

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold."""
        plain_from = {} if self.plain_from is None else {"plain_from": torch.tensor(self.plain_from)}
        return {"mean": self.mean, "steps": torch.tensor(self.steps), **plain_from}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore from a checkpoint."""
        self.mean = torch.as_tensor(state["mean"]).clone()
        self.steps = int(state.get("steps", self.steps))
        if "plain_from" in state:
            self.plain_from = int(state["plain_from"])
