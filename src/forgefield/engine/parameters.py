"""The parameters of a potential in the flat layout of the kernels, and gradients back from it.

The scaling of the features is folded into the linear map that follows it: ``((q - shift) scale mix) W`` is
``q W' - shift W'`` with ``W' = scale mix W``, so kernels see features as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forgefield.models.potential import Potential
from forgefield.stages.parameters import Entry, ParameterLayout
from forgefield.tracer.cache import aligned

__all__ = ["KernelParameters"]

Array = NDArray[np.floating]


class KernelParameters:
    """A flat copy of the parameters that kernels read; the unit of energy comes last.

    Parameters
    ----------
    potential : Potential
    layout : ParameterLayout
    dtype : numpy dtype
        Of the kernels.

    Notes
    -----
    Looks at the memory of the parameters and at the scaling of the features once: conversions to another number type
    and the fit of the scaling come first.

    Attributes
    ----------
    flat : (layout.size + 16,) array
    """

    def __init__(self, potential: Potential, layout: ParameterLayout, dtype: Any) -> None:
        self.potential, self.layout, self.dtype = potential, layout, np.dtype(dtype)
        self.flat = aligned(layout.size + 16, dtype)
        scaler = potential.scaler
        self._shift = _array(scaler.shift)
        self._matrix = _array(scaler.scale)[:, None] * _array(scaler.mix)
        self._entries = [
            (e, _array(e.weight), None if e.bias is None else _array(e.bias)) for e in layout.entries
        ]
        self._energy_scale = _array(potential.energy_scale)
        self._folded = [x for x in self._entries if x[0].folded]
        self._copied = list(self._copies())
        self._gradients: dict[int, tuple[Tensor, Array]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Copy the parameters as they are now."""
        for own, values in self._copied:
            own[...] = values
        for e, own_weight, own_bias in self._folded:
            weight = self._matrix @ own_weight.reshape(-1, e.n_in, e.n_out)
            offset = -(self._shift @ weight)
            bias = offset if own_bias is None else own_bias.reshape(-1, e.n_out) + offset
            self._weight(e)[...] = weight
            self._bias(e)[...] = bias

    def _weight(self, e: Entry, flat: Array | None = None) -> Array:
        """Return the place of a weight, (n_species, n_in, n_out)."""
        found = self.flat if flat is None else flat
        size = self.layout.n_species * e.n_in * e.n_out
        return found[e.weight_start : e.weight_start + size].reshape(-1, e.n_in, e.n_out)

    def _bias(self, e: Entry, flat: Array | None = None) -> Array:
        """Return the place of a bias, (n_species, n_out)."""
        found = self.flat if flat is None else flat
        return found[e.bias_start : e.bias_start + self.layout.n_species * e.n_out].reshape(-1, e.n_out)

    def _copies(self) -> Iterator[tuple[Array, Array]]:
        """Yield the places in `flat` that take numbers as they are, and those numbers."""
        for e, weight, bias in self._entries:
            if not e.folded:
                yield self._weight(e), weight.reshape(-1, e.n_in, e.n_out)
                if bias is not None:
                    yield self._bias(e), bias.reshape(-1, e.n_out)
        yield self.flat[self.layout.size : self.layout.size + 1], self._energy_scale

    def set_gradients(self, flat: Array) -> None:
        """Write the gradient with respect to the flat parameters to the ``.grad`` of the potential's own."""
        for e, own_weight, own_bias in self._entries:
            weight = self._weight(e, flat)
            if e.folded:
                weight = self._matrix.T @ (weight - self._shift[:, None] * self._bias(e, flat)[:, None])
            self._set_gradient(e.weight, _summed(weight, len(own_weight)))
            if e.bias is not None and own_bias is not None:
                self._set_gradient(e.bias, _summed(self._bias(e, flat), len(own_bias)))

    def _set_gradient(self, parameter: Tensor, values: Array) -> None:
        """Write to a parameter's gradient; where the numbers of that tensor lie is looked up once."""
        if not parameter.requires_grad:
            return
        known, grad = self._gradients.get(id(parameter)), parameter.grad
        if known is None or known[0] is not grad:
            grad = torch.zeros_like(parameter) if grad is None else grad
            parameter.grad = grad
            known = self._gradients[id(parameter)] = grad, grad.numpy().reshape(values.shape)
        known[1][...] = values


def _summed(gradient: Array, n: int) -> Array:
    """Return the gradient of n rows: of one that serves all species the sum."""
    return gradient if len(gradient) == n else gradient.sum(axis=0, keepdims=True)


def _array(x: Tensor) -> Array:
    result: Array = x.detach().cpu().numpy()
    return result
