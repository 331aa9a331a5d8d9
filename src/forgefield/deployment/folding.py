"""Scaling, unit of energy and reference energies folded into the weights of a model, for files that have no place for them."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from forgefield.descriptors.base import Descriptor
from forgefield.descriptors.snap import SNAP
from forgefield.models.linear import Linear
from forgefield.models.network import Network
from forgefield.models.potential import Potential
from forgefield.models.quadratic import Quadratic

__all__ = ["Layers", "Polynomial", "network_layers", "polynomial", "potential_of"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Polynomial:
    """``E_i = constant + linear . q_i + 1/2 q_i . matrix q_i`` for each element, in eV.

    Attributes
    ----------
    constants : (n_species,) array
    linear : (n_species, n_features) array
    matrix : (n_species, n_features, n_features) array or None
        Symmetric.
    """

    constants: FloatArray
    linear: FloatArray
    matrix: FloatArray | None

    @classmethod
    def of_table(cls, table: FloatArray, n_features: int) -> Polynomial:
        """Return the polynomial of the rows ``constant, linear, upper triangle of the matrix row by row``."""
        n = n_features
        matrix = None
        if table.shape[1] > 1 + n:
            upper = np.triu_indices(n)
            matrix = np.zeros((len(table), n, n))
            matrix[:, upper[0], upper[1]] = matrix[:, upper[1], upper[0]] = table[:, 1 + n :]
        return cls(table[:, 0], table[:, 1 : 1 + n], matrix)

    def table(self) -> FloatArray:
        """Return the rows `of_table` is made from."""
        columns = [self.constants[:, None], self.linear]
        if self.matrix is not None:
            upper = np.triu_indices(self.linear.shape[1])
            columns.append(self.matrix[:, upper[0], upper[1]])
        return np.concatenate(columns, axis=1)

    def taken(self, rows: Sequence[int], order: IntArray, factors: FloatArray) -> Polynomial:
        """Return the polynomial for some elements in features ``q'_k = q_(order k) / factors_k``."""
        linear = self.linear[rows][:, order] * factors
        if self.matrix is None:
            return Polynomial(self.constants[rows], linear, None)
        matrix = self.matrix[rows][:, order][:, :, order] * np.outer(factors, factors)
        return Polynomial(self.constants[rows], linear, matrix)


@dataclass(frozen=True)
class Layers:
    """One network per element, of features as they are: ``q -> (q - shift) * scale``, then the layers, in eV.

    Attributes
    ----------
    shift, scale : (n_features,) arrays
    weights : list of (n_species, n_inputs, n_outputs) arrays
    biases : list of (n_species, n_outputs) arrays
    """

    shift: FloatArray
    scale: FloatArray
    weights: list[FloatArray]
    biases: list[FloatArray]


def _array(tensor: torch.Tensor) -> FloatArray:
    return tensor.detach().double().cpu().numpy()


def _constants(potential: Potential) -> FloatArray:
    """Return what is added to the model's energy of an atom of each element, (n_species,) [eV]."""
    constants = _array(potential.references)
    if not bool(potential.exact_free_atom):
        return constants
    return constants - copy.deepcopy(potential).to_dtype(torch.float64).model_offsets()


def polynomial(potential: Potential) -> Polynomial:
    """Return what a linear or quadratic model is of the features themselves.

    Parameters
    ----------
    potential : Potential
        With a `Linear` or a `Quadratic` model. Products among the features of a quadratic `SNAP` count as such.
    """
    model, scaler, unit = potential.model, potential.scaler, float(potential.energy_scale)
    if not isinstance(model, Linear | Quadratic):
        raise TypeError(f"{type(model).__name__} is no polynomial")
    shift, map_ = _array(scaler.shift), _array(scaler.scale)[:, None] * _array(scaler.mix)
    linear = _array(model.weight) @ map_.T
    constants = _array(model.bias) - linear @ shift
    matrix = None
    if isinstance(model, Quadratic):
        own = _array(model.matrix)
        matrix = map_ @ (0.5 * (own + own.transpose(0, 2, 1))) @ map_.T
        linear = linear - matrix @ shift
        constants = constants + 0.5 * np.einsum("f,sfg,g->s", shift, matrix, shift)
    constants = unit * constants + _constants(potential)
    if matrix is not None:
        return Polynomial(constants, unit * linear, unit * matrix)
    table = np.column_stack([constants, unit * linear])
    descriptor = potential.descriptor
    if isinstance(descriptor, SNAP) and descriptor.settings.quadratic:
        n_products = descriptor.n_features
        return Polynomial.of_table(table, (math.isqrt(9 + 8 * n_products) - 3) // 2)
    return Polynomial(table[:, 0], table[:, 1:], None)


def potential_of(descriptor: Descriptor, p: Polynomial) -> Potential:
    """Return a potential in float64 without scaling, its constants being the reference energies."""
    sizes = descriptor.n_features, descriptor.n_species
    model = Linear(*sizes) if p.matrix is None else Quadratic(*sizes)
    potential = Potential(descriptor, model).to_dtype(torch.float64)
    with torch.no_grad():
        potential.references.copy_(torch.from_numpy(p.constants.copy()))
        model.weight.copy_(torch.from_numpy(p.linear.copy()))
        if isinstance(model, Quadratic) and p.matrix is not None:
            model.matrix.copy_(torch.from_numpy(p.matrix.copy()))
    return potential


def network_layers(potential: Potential) -> Layers:
    """Return the layers of a potential with a `Network` model."""
    model, scaler, unit = potential.model, potential.scaler, float(potential.energy_scale)
    if not isinstance(model, Network):
        raise TypeError(f"{type(model).__name__} is no network")
    layers = model.layers()
    weights, biases = [_array(w) for w, _ in layers], [_array(b) for _, b in layers]
    weights[0] = _array(scaler.mix) @ weights[0]
    weights[-1] = unit * weights[-1]
    biases[-1] = unit * biases[-1] + _constants(potential)[:, None]
    return Layers(_array(scaler.shift), _array(scaler.scale), weights, biases)
