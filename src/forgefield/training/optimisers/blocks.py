"""Groups of parameters whose curvature is kept together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from forgefield.training.flat import Segment
from forgefield.training.optimisers.base import Parameters

__all__ = ["Grouping", "blocks"]

Grouping = Literal["neuron", "layer", "all"]


def blocks(parameters: Parameters, grouping: Grouping, largest: int) -> list[Tensor]:
    """Return the places of each block in the vector of parameters.

    Parameters
    ----------
    parameters : Parameters
    grouping : {'neuron', 'layer', 'all'}
        Weights and bias that lead to one neuron of one element, and each further tensor; every tensor of each element;
        everything together.
    largest : int
        Larger blocks are cut.
    """
    found = {"neuron": _neurons, "layer": _layers, "all": _everything}[grouping](parameters)
    return [part for block in found for part in torch.split(block, largest)]


def _everything(parameters: Parameters) -> Iterator[Tensor]:
    yield torch.arange(len(parameters.flat))


def _places(segment: Segment) -> Tensor:
    return torch.arange(segment.start, segment.stop).reshape(segment.shape)


def _layers(parameters: Parameters) -> Iterator[Tensor]:
    for segment in parameters.segments:
        places = _places(segment)
        by_element = len(segment.shape) > 1 and segment.shape[0] == parameters.n_species
        yield from (x.reshape(-1) for x in places) if by_element else iter((places.reshape(-1),))


def _neurons(parameters: Parameters) -> Iterator[Tensor]:
    segments = {s.name: s for s in parameters.segments}
    used: set[str] = set()
    for name, segment in segments.items():
        bias = segments.get(name.replace("weights", "biases"))
        if "weights" not in name or bias is None or len(segment.shape) != 3:
            continue
        weight, offset = _places(segment), _places(bias)
        if offset.shape != (weight.shape[0], weight.shape[2]):
            continue
        used |= {name, bias.name}
        for element in range(weight.shape[0]):
            for neuron in range(weight.shape[2]):
                yield torch.cat([weight[element, :, neuron], offset[element, neuron : neuron + 1]])
    rest = tuple(s for n, s in segments.items() if n not in used)
    yield from _layers(Parameters(parameters.flat, rest, parameters.n_species))
