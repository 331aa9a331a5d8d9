"""Scaling, unit of energy and reference energies folded into the weights of a model, for files that have no place for them."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from forgefield.models.linear import Linear
from forgefield.models.network import Network
from forgefield.models.potential import Potential

__all__ = ["Layers", "linear_coefficients", "network_layers", "set_linear_coefficients"]

FloatArray = NDArray[np.float64]


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


def linear_coefficients(potential: Potential) -> tuple[FloatArray, FloatArray]:
    """Return constants (n_species,) and weights (n_species, n_features) [eV] of a linear model of the features.

    Parameters
    ----------
    potential : Potential
        With a `Linear` model.
    """
    model, scaler, unit = potential.model, potential.scaler, float(potential.energy_scale)
    if not isinstance(model, Linear):
        raise TypeError(f"{type(model).__name__} is not linear")
    mixed = _array(model.weight) @ _array(scaler.mix).T * _array(scaler.scale)
    constants = unit * (_array(model.bias) - mixed @ _array(scaler.shift))
    return constants + _constants(potential), unit * mixed


def set_linear_coefficients(potential: Potential, constants: FloatArray, weights: FloatArray) -> None:
    """Set a linear potential without scaling; the inverse of `linear_coefficients`."""
    model = potential.model
    if not isinstance(model, Linear):
        raise TypeError(f"{type(model).__name__} is not linear")
    with torch.no_grad():
        potential.references.copy_(torch.from_numpy(constants))
        model.weight.copy_(torch.from_numpy(weights))


def network_layers(potential: Potential) -> Layers:
    """Return the layers of a potential with a `Network` model."""
    model, scaler, unit = potential.model, potential.scaler, float(potential.energy_scale)
    if not isinstance(model, Network):
        raise TypeError(f"{type(model).__name__} is no network")
    weights, biases = [_array(w) for w in model.weights], [_array(b) for b in model.biases]
    weights[0] = _array(scaler.mix) @ weights[0]
    weights[-1] = unit * weights[-1]
    biases[-1] = unit * biases[-1] + _constants(potential)[:, None]
    return Layers(_array(scaler.shift), _array(scaler.scale), weights, biases)
