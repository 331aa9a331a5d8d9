"""All parameters of a potential as one vector: the optimiser takes one step instead of one per tensor."""

from __future__ import annotations

import torch
from torch import nn

from forgefield.models.potential import Potential

__all__ = ["flatten"]


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
