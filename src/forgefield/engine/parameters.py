"""The parameters of a potential in the flat layout of the kernels, and gradients back from it.

The scaling of the features is folded into the linear map that follows it: ``((q - shift) scale mix) W`` is
``q W' - shift W'`` with ``W' = scale mix W``, so kernels see features as they are.
"""

from __future__ import annotations

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

    Attributes
    ----------
    flat : (layout.size + 16,) array
    """

    def __init__(self, potential: Potential, layout: ParameterLayout, dtype: Any) -> None:
        self.potential, self.layout, self.dtype = potential, layout, np.dtype(dtype)
        self.flat = aligned(layout.size + 16, dtype)
        self.refresh()

    def refresh(self) -> None:
        """Copy the parameters as they are now."""
        for e in self.layout.entries:
            weight, bias = self._folded(e)
            self.flat[e.weight_start : e.weight_start + weight.size] = weight.ravel()
            if bias is not None:
                self.flat[e.bias_start : e.bias_start + bias.size] = bias.ravel()
        self.flat[self.layout.size] = float(self.potential.energy_scale)

    def _folded(self, e: Entry) -> tuple[Array, Array | None]:
        weight = _array(e.weight).reshape(-1, e.n_in, e.n_out)
        bias = None if e.bias is None else _array(e.bias).reshape(-1, e.n_out)
        if not e.folded:
            return weight, bias
        shift, matrix = self._scaling()
        weight = matrix @ weight
        offset = -(shift @ weight)
        return weight, offset if bias is None else bias + offset

    def _scaling(self) -> tuple[Array, Array]:
        """Return the shift and the matrix ``diag(scale) mix``."""
        s = self.potential.scaler
        return _array(s.shift), _array(s.scale)[:, None] * _array(s.mix)

    def set_gradients(self, flat: Array) -> None:
        """Write the gradient with respect to the flat parameters to the ``.grad`` of the potential's own."""
        for e in self.layout.entries:
            shape = (-1, e.n_in, e.n_out)
            n_species = e.weight.shape[0]
            weight = flat[e.weight_start : e.weight_start + n_species * e.n_in * e.n_out].reshape(shape)
            bias = None
            if e.bias_start >= 0:
                bias = flat[e.bias_start : e.bias_start + n_species * e.n_out].reshape(-1, e.n_out)
            if e.folded and bias is not None:
                shift, matrix = self._scaling()
                weight = matrix.T @ (weight - shift[:, None] * bias[:, None, :])
            _set_gradient(e.weight, weight)
            if e.bias is not None and bias is not None:
                _set_gradient(e.bias, bias)


def _array(x: Tensor) -> Array:
    result: Array = x.detach().cpu().numpy()
    return result


def _set_gradient(parameter: Tensor, values: Array) -> None:
    if not parameter.requires_grad:
        return
    gradient = torch.from_numpy(np.ascontiguousarray(values)).reshape(parameter.shape).to(parameter.dtype)
    if parameter.grad is None:
        parameter.grad = gradient
    else:
        parameter.grad.copy_(gradient)
