"""All parameters of a potential as one vector: the optimiser takes one step instead of one per tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from forgefield.models.potential import Potential

__all__ = ["Segment", "flatten", "segments"]


@dataclass(frozen=True)
class Segment:
    """Where one parameter tensor lies in the vector.

    Attributes
    ----------
    name : str
        As in ``potential.named_parameters()``.
    start : int
    shape : tuple of int
    """

    name: str
    start: int
    shape: tuple[int, ...]

    @property
    def stop(self) -> int:
        """First place behind it."""
        return self.start + math.prod(self.shape)


def flatten(potential: Potential) -> nn.Parameter:
    """Make the parameters of a potential and their gradients views of one vector, and return it.

    The potential works as before; conversions to another number type or device must come first.
    """
    parameters = [p for p in potential.parameters() if p.requires_grad]
    flat = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in parameters]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for p in parameters:
        stop = start + p.numel()
        p.data = flat.data[start:stop].view(p.shape)
        p.grad = flat.grad[start:stop].view(p.shape)
        start = stop
    return flat


def segments(potential: Potential) -> tuple[Segment, ...]:
    """Return the places of the parameters in the vector that `flatten` makes."""

    def places() -> Iterator[Segment]:
        start = 0
        for name, p in potential.named_parameters():
            if p.requires_grad:
                yield Segment(name, start, tuple(p.shape))
                start += p.numel()

    return tuple(places())
