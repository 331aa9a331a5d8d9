"""Networks in LAMMPS's files of `pair_style mliap` with the model nn.

``NET features layers activation nodes ...``, then for each element what is subtracted from the features, what they are
divided by, and layer by layer, node by node, bias and weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forgefield.deployment.folding import Layers
from forgefield.deployment.lammps_files import integer, number
from forgefield.errors import PotentialFileError

__all__ = ["NetworkFile", "folded", "network_lines", "read_network"]

FloatArray = NDArray[np.float64]

ACTIVATIONS = ("linear", "tanh", "sigmoid")
"""What can be written with tanh; LAMMPS also knows relu."""

PER_LINE = 5


@dataclass(frozen=True)
class NetworkFile:
    """What a file says.

    Attributes
    ----------
    activations : tuple of str
        Of each layer, the output included.
    shift, divisor : (n_elements, n_features) arrays
    weights : list of (n_elements, n_inputs, n_outputs) arrays
    biases : list of (n_elements, n_outputs) arrays
    """

    activations: tuple[str, ...]
    shift: FloatArray
    divisor: FloatArray
    weights: list[FloatArray]
    biases: list[FloatArray]


def read_network(lines: Sequence[Sequence[str]], path: Path) -> NetworkFile:
    """Return the networks of the lines of a file, comments left out.

    Raises
    ------
    PotentialFileError
        The file is damaged or uses an activation that is not supported.
    """
    n_elements, n_parameters = (integer(w, path, "a number of the first line") for w in lines[0])
    head = lines[1]
    if len(head) < 5 or len(head) % 2 == 0:
        raise PotentialFileError(
            f"{path}: `{' '.join(head)}` must be NET, features, layers and for each layer activation and nodes"
        )
    n_features, n_layers = (integer(w, path, "a number after NET") for w in head[1:3])
    activations, nodes = tuple(head[3::2]), [integer(w, path, "the nodes of a layer") for w in head[4::2]]
    for name in activations:
        if name not in ACTIVATIONS:
            raise PotentialFileError(
                f"{path}: the activation {name!r} is not supported, only {', '.join(ACTIVATIONS)}; "
                + ("the forces of relu jump" if name == "relu" else "LAMMPS would take it for linear")
            )
    sizes = [n_features, *nodes]
    expected = sum((i + 1) * o for i, o in itertools.pairwise(sizes))
    if len(nodes) != n_layers or nodes[-1] != 1 or min(sizes) < 1 or n_parameters != expected:
        raise PotentialFileError(
            f"{path}: `{' '.join(head)}` must have {n_layers} layers, the last with one node, and the first line their "
            f"number of parameters, {expected}, got {n_parameters}"
        )
    flat = [number(w, path, "a parameter") for words in lines[2:] for w in words]
    per_element = 2 * n_features + n_parameters
    if len(flat) != n_elements * per_element:
        raise PotentialFileError(
            f"{path} has {len(flat)} numbers, expected {n_elements * per_element}: {n_elements} elements with two scales "
            f"of {n_features} and {n_parameters} parameters; copy it again"
        )
    table = np.array(flat).reshape(n_elements, per_element)
    shift, divisor = table[:, :n_features], table[:, n_features : 2 * n_features]
    if not (divisor != 0).all():
        raise PotentialFileError(
            f"{path}: a feature is divided by 0; a scale of the second kind must not be 0"
        )
    weights, biases, start = [], [], 2 * n_features
    for i, o in itertools.pairwise(sizes):
        block = table[:, start : start + (i + 1) * o].reshape(n_elements, o, i + 1)
        weights.append(block[:, :, 1:].transpose(0, 2, 1))
        biases.append(block[:, :, 0])
        start += (i + 1) * o
    return NetworkFile(activations, shift, divisor, weights, biases)


def folded(file: NetworkFile) -> tuple[list[FloatArray], list[FloatArray]]:
    """Return weights and biases with tanh between all layers and a linear output; one layer where all are linear.

    ``sigmoid(x) = (1 + tanh(x / 2)) / 2``, and linear layers are joined with the next.
    """
    layers = list(zip(file.activations, file.weights, file.biases, strict=True))
    if layers[-1][0] != "linear":
        n = len(file.shift)
        layers.append(("linear", np.ones((n, 1, 1)), np.zeros((n, 1))))
    weights, biases = [], []
    factor, constant = 1.0, 0.0  # of what comes out of the layer before
    pending: tuple[FloatArray, FloatArray] | None = None
    for activation, own_weights, own_bias in layers:
        b = own_bias + constant * own_weights.sum(axis=1)
        w = factor * own_weights
        if pending is not None:
            b = np.einsum("ei,eio->eo", pending[1], w) + b
            w = np.einsum("eij,ejo->eio", pending[0], w)
        pending, factor, constant = None, 1.0, 0.0
        if activation == "linear":
            pending = w, b
            continue
        if activation == "sigmoid":
            w, b = 0.5 * w, 0.5 * b
            factor = constant = 0.5
        weights.append(w)
        biases.append(b)
    if pending is None:
        raise TypeError("the last layer is linear")
    return [*weights, pending[0]], [*biases, pending[1]]


def network_lines(layers: Layers) -> list[str]:
    """Return the lines of the file of networks with tanh and a linear output."""
    n_elements, n_features = layers.weights[0].shape[:2]
    nodes = [w.shape[2] for w in layers.weights]
    parameters = [
        np.concatenate([b[:, :, None], w.transpose(0, 2, 1)], axis=2).reshape(n_elements, -1)
        for w, b in zip(layers.weights, layers.biases, strict=True)
    ]
    table = np.concatenate(parameters, axis=1)
    kinds = ["tanh"] * (len(nodes) - 1) + ["linear"]
    described = " ".join(f"{kind} {n}" for kind, n in zip(kinds, nodes, strict=True))
    lines = [f"{n_elements} {table.shape[1]}", f"NET {n_features} {len(nodes)} {described}"]
    for row in table:
        for title, values in (
            ("subtracted", layers.shift),
            ("divisor", 1.0 / layers.scale),
            ("network", row),
        ):
            lines.append(f"# {title}")
            lines += [
                " ".join(repr(float(v)) for v in values[k : k + PER_LINE])
                for k in range(0, len(values), PER_LINE)
            ]
    return lines
