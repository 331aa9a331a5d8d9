"""Potentials for LAMMPS's `pair_style mliap` and from it: descriptors sna and so3, models linear, quadratic and nn.

``NAME.mliap.descriptor`` holds the elements and the settings of the descriptor `snap` or `so3`; ``NAME.mliap.model``
the coefficients of each element, the constant first, or networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray

from forgefield.deployment.folding import Layers, Polynomial, network_layers, polynomial, potential_of
from forgefield.deployment.lammps_files import (
    UNITS,
    as_dtype,
    check_elements,
    integer,
    number,
    partner,
    read_keywords,
    words_of,
    words_of_content,
)
from forgefield.deployment.lammps_networks import NetworkFile, folded, network_lines, read_network
from forgefield.deployment.lammps_script import check_zbl
from forgefield.deployment.lammps_snap import KEYWORDS as SNAP_KEYWORDS
from forgefield.deployment.lammps_snap import feature_order, polynomial_degree, snap_keywords, snap_settings
from forgefield.deployment.lammps_so3 import KEYWORDS as SO3_KEYWORDS
from forgefield.deployment.lammps_so3 import so3_descriptor, so3_keywords, so3_places
from forgefield.deployment.lammps_symmetry import averaged, equal_features, shared_equally
from forgefield.descriptors.base import Descriptor
from forgefield.descriptors.snap import DEFAULT_RADIUS, SNAP
from forgefield.descriptors.so3 import SO3
from forgefield.errors import ConfigError, PotentialFileError
from forgefield.files import make_folder, write_text
from forgefield.models.file import DtypeName, read_content
from forgefield.models.linear import Linear
from forgefield.models.network import Network, NetworkSettings
from forgefield.models.potential import Potential

__all__ = ["export_mliap", "is_mliap_descriptor", "is_mliap_model", "load_mliap", "model_kind", "read_mliap"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

PER_ELEMENT = ("elems", "radelems", "welems", "sinnerelems", "dinnerelems")


# ---- recognising ---------------------------------------------------------------------------------------------


def is_mliap_descriptor(content: bytes) -> bool:
    """Return whether a file with this content looks like a NAME.mliap.descriptor."""
    first = {words[0] for words in words_of_content(content)}
    return {"rcutfac", "nelems", "elems"} <= first


def is_mliap_model(content: bytes) -> bool:
    """Return whether a file with this content looks like a NAME.mliap.model."""
    lines = words_of_content(content)
    if len(lines) < 2 or len(lines[0]) != 2 or not all(w.isdigit() for w in lines[0]):
        return False
    return lines[1][0] == "NET" or (len(lines[1]) == 1 and lines[1][0].lstrip("+-")[:1].isdigit())


# ---- reading -------------------------------------------------------------------------------------------------


def load_mliap(path: str | Path, dtype: DtypeName | None = None) -> Potential:
    """Read a potential from the path of one of its two files; the other lies beside it.

    Parameters
    ----------
    path : str or Path
        ``NAME.mliap.descriptor`` or ``NAME.mliap.model``.
    dtype : {'float32', 'float64'}, optional
        Number type to evaluate in; default float64.
    """
    path = Path(path)
    endings = ".mliap.descriptor", ".mliap.model"
    if is_mliap_descriptor(read_content(path)):
        model, descriptor = partner(path, *endings, is_mliap_model), path
    else:
        model, descriptor = path, partner(path, *endings[::-1], is_mliap_descriptor)
    return as_dtype(read_mliap(model, descriptor), dtype)


def read_mliap(model: str | Path, descriptor: str | Path) -> Potential:
    """Read the two files of a potential of `pair_style mliap`.

    Parameters
    ----------
    model, descriptor : str or Path
        ``NAME.mliap.model`` and ``NAME.mliap.descriptor``.

    Returns
    -------
    Potential
        In float64.

    Raises
    ------
    PotentialFileError
        A file is missing or damaged, does not fit the other, or asks for something that is not supported.
    """
    model = Path(model)
    lines = words_of(model)
    if len(lines) < 2 or len(lines[0]) != 2:
        raise PotentialFileError(
            f"{model}: the first line must hold the numbers of elements and of parameters"
        )
    sizes = [integer(w, model, "a number of the first line") for w in lines[0]]
    network = lines[1][0] == "NET"
    features, elements = _read_descriptor(Path(descriptor))
    if sizes[0] != len(elements):
        raise PotentialFileError(
            f"{model} is for {sizes[0]} elements, {descriptor} for {len(elements)}: {' '.join(elements)}"
        )
    rows = [elements.index(chemical_symbols[z]) for z in features.species]
    order, factors = _places(features, elements)
    if network:
        return _networks(features, read_network(lines, model), rows, order, factors, model)
    values = _coefficients(lines, sizes[0], sizes[1], model)
    n = features.n_features
    quadratic = n * (n + 1) // 2
    if sizes[1] not in (1 + n, 1 + n + quadratic):
        raise PotentialFileError(
            f"{model} has {sizes[1]} coefficients for each element; the {n} features of {descriptor} need {1 + n} "
            f"(linear) or {1 + n + quadratic} (quadratic)"
        )
    return potential_of(features, Polynomial.of_table(values, n).taken(rows, order, factors))


def _read_descriptor(path: Path) -> tuple[Descriptor, tuple[str, ...]]:
    """Return the descriptor and the elements in the order of the file."""
    lines = words_of(path)
    so3 = any(words[0] == "nmax" for words in lines)
    common = ("nelems", "elems", "radelems", "welems")
    own = SO3_KEYWORDS if so3 else (*SNAP_KEYWORDS, *PER_ELEMENT)
    unknown = () if so3 else ("quadraticflag", "sinner", "dinner", "chunksize", "parallelthresh")
    found = read_keywords(lines, dict.fromkeys(k for k in (*common, *own) if k not in unknown), path)
    missing = [k for k in (*common, "rcutfac") if k not in found]
    if missing:
        raise PotentialFileError(f"{path}: the keyword `{missing[0]}` is missing")
    n = integer(found["nelems"][0], path, "`nelems`")
    for keyword in PER_ELEMENT:
        if keyword in found and len(found[keyword]) != n:
            raise PotentialFileError(f"{path}: `{keyword}` needs {n} values, one for each element")
    elements = check_elements(found["elems"], path)
    radii = [number(w, path, "a radius") for w in found["radelems"]]
    weights = [number(w, path, "a weight") for w in found["welems"]]
    try:
        if so3:
            return so3_descriptor(found, elements, radii, weights, path), elements
        found |= {k.removesuffix("elems"): v for k, v in found.items() if k in PER_ELEMENT[3:]}
        settings = snap_settings(found, elements, radii, weights, path)
        return SNAP(elements, settings), elements
    except ConfigError as error:
        raise PotentialFileError(f"{path}: {error}") from None


def _coefficients(lines: Sequence[Sequence[str]], n_elements: int, n: int, path: Path) -> FloatArray:
    flat = [number(w, path, "a coefficient") for words in lines[1:] for w in words]
    if len(flat) != n_elements * n:
        raise PotentialFileError(
            f"{path} has {len(flat)} coefficients, expected {n_elements * n}; copy it again"
        )
    return np.array(flat).reshape(n_elements, n)


def _places(descriptor: Descriptor, elements: Sequence[str]) -> tuple[IntArray, FloatArray]:
    """Return where LAMMPS has each feature, and how many times as large as ours it is there."""
    if isinstance(descriptor, SNAP):
        order = feature_order(descriptor, elements)
        return order, np.ones(len(order))
    if not isinstance(descriptor, SO3):
        raise TypeError(f"{type(descriptor).__name__} is no descriptor of mliap")
    return so3_places(descriptor.settings)


def _networks(
    descriptor: Descriptor,
    file: NetworkFile,
    rows: Sequence[int],
    order: IntArray,
    factors: FloatArray,
    path: Path,
) -> Potential:
    if file.shift.shape[1] != descriptor.n_features:
        raise PotentialFileError(
            f"{path} is for {file.shift.shape[1]} features, the descriptor has {descriptor.n_features}"
        )
    weights, biases = folded(file)
    weights, biases = [w[rows] for w in weights], [b[rows] for b in biases]
    shift, scale = file.shift[rows][:, order] / factors, factors / file.divisor[rows][:, order]
    weights[0] = weights[0][:, order]
    alike = bool((shift == shift[0]).all() and (scale == scale[0]).all())
    if not alike:  # one scaling for all elements
        weights[0] = weights[0] * scale[:, :, None]
        biases[0] = biases[0] - np.einsum("ef,efo->eo", shift, weights[0])
    if len(weights) == 1:
        model: Linear | Network = Linear(descriptor.n_features, descriptor.n_species)
    else:
        settings = NetworkSettings(hidden=tuple(w.shape[2] for w in weights[:-1]), activation="tanh")
        model = Network(descriptor.n_features, descriptor.n_species, settings)
    potential = Potential(descriptor, model).to_dtype(torch.float64)
    with torch.no_grad():
        if alike:
            potential.scaler.shift.copy_(torch.from_numpy(shift[0]))
            potential.scaler.scale.copy_(torch.from_numpy(scale[0]))
        if isinstance(model, Linear):
            model.weight.copy_(torch.from_numpy(weights[0][:, :, 0]))
            model.bias.copy_(torch.from_numpy(biases[0][:, 0]))
        else:
            for target, values in zip([*model.weights, *model.biases], [*weights, *biases], strict=True):
                target.copy_(torch.from_numpy(np.ascontiguousarray(values)))
    return potential


# ---- writing -------------------------------------------------------------------------------------------------


def model_kind(potential: Potential) -> str:
    """Return LAMMPS's name of the model: linear, quadratic or nn.

    Raises
    ------
    ConfigError
        LAMMPS has no such model.
    """
    descriptor, model = potential.descriptor, potential.model
    degree = polynomial_degree(potential)
    if degree in (1, 2):
        return "linear" if degree == 1 else "quadratic"
    if not isinstance(model, Network):
        raise ConfigError(
            "LAMMPS's pair_style mliap has the models linear, quadratic and nn; a quadratic model of quadratic features "
            "is of fourth degree; train with `descriptor.quadratic: false`"
        )
    if isinstance(descriptor, SNAP) and descriptor.settings.quadratic:
        raise ConfigError(
            "LAMMPS's pair_style mliap has no networks of quadratic features; train with `descriptor.quadratic: false` "
            "(a network needs no products), or a linear model"
        )
    if model.settings.activation != "tanh":
        raise ConfigError(
            "LAMMPS's networks know tanh, sigmoid, relu and linear, this potential has `model.activation: "
            f"{model.settings.activation}`; train with tanh"
        )
    return "nn"


def export_mliap(potential: Potential, folder: str | Path, name: str = "potential") -> list[Path]:
    """Write ``NAME.mliap.model`` and ``NAME.mliap.descriptor`` for LAMMPS.

    In LAMMPS: ``pair_style mliap model KIND NAME.mliap.model descriptor sna|so3 NAME.mliap.descriptor`` with
    `model_kind`, ``pair_coeff * * Ta W ...`` (units metal).

    Parameters
    ----------
    potential : Potential
        Descriptor `snap` or `so3`, model linear, quadratic or a network with tanh; a repulsion of nuclei, in LAMMPS's form,
        is no part of the files.
    folder : str or Path
        Made if it does not exist.
    name : str
        How the files begin.

    Raises
    ------
    ConfigError
        LAMMPS cannot represent this potential; the message says which part, and what would do.
    """
    descriptor, elements = potential.descriptor, potential.elements
    head = _descriptor_lines(potential)
    check_zbl(potential.zbl)
    order, factors = _places(descriptor, elements)
    if model_kind(potential) == "nn":
        lines = network_lines(_reordered(network_layers(potential), descriptor, order, factors))
        finite = not any(w in ("nan", "inf", "-inf") for line in lines for w in line.split())
    else:
        own = polynomial(potential)
        if isinstance(descriptor, SNAP):
            own = shared_equally(descriptor, own)
        table = own.taken(range(len(elements)), np.argsort(order), 1.0 / factors[np.argsort(order)]).table()
        finite = bool(np.isfinite(table).all())
        lines = [f"{len(elements)} {table.shape[1]}", *(repr(float(v)) for v in table.ravel())]
    if not finite:
        raise ConfigError("this potential has parameters that are not finite; nothing was written")
    target = make_folder(folder)
    return [
        write_text(target / f"{name}.mliap.model", UNITS + "\n".join(lines) + "\n"),
        write_text(target / f"{name}.mliap.descriptor", UNITS + "\n".join(head) + "\n"),
    ]


def _descriptor_lines(potential: Potential) -> list[str]:
    descriptor, elements = potential.descriptor, potential.elements
    lines = [f"nelems {len(elements)}", f"elems {' '.join(elements)}"]
    if isinstance(descriptor, SNAP):
        p = descriptor.settings
        columns = {
            "radelems": [p.radii.get(e, DEFAULT_RADIUS) for e in elements],
            "welems": [p.weights.get(e, 1.0) for e in elements],
        }
        keywords = snap_keywords(descriptor)
        if p.inner_middle:
            columns["sinnerelems"] = [p.inner_middle[e] for e in elements]
            columns["dinnerelems"] = [p.inner_width[e] for e in elements]
            keywords.append("switchinnerflag 1")
    elif isinstance(descriptor, SO3):
        columns, keywords = so3_keywords(descriptor, elements)
    else:
        raise ConfigError(
            "LAMMPS's pair_style mliap needs `descriptor.kind: snap` or `so3`, got "
            f"{descriptor.settings.kind}; train such a potential"
        )
    return lines + [" ".join([k, *map(repr, values)]) for k, values in columns.items()] + keywords


def _reordered(layers: Layers, descriptor: Descriptor, order: IntArray, factors: FloatArray) -> Layers:
    """Return the layers for LAMMPS's features."""
    first, bias, shift, scale = layers.weights[0], layers.biases[0], layers.shift, layers.scale
    if isinstance(descriptor, SNAP) and len(np.unique(same := equal_features(descriptor))) < len(same):
        first = first * scale[:, None]
        bias = bias - np.einsum("f,efo->eo", shift, first)
        rows = first.transpose(0, 2, 1).reshape(-1, len(same))
        first = averaged(rows, same).reshape(len(first), -1, len(same)).transpose(0, 2, 1)
        shift, scale = np.zeros_like(shift), np.ones_like(scale)
    weights, new_shift, new_scale = np.empty_like(first), np.empty_like(shift), np.empty_like(scale)
    weights[:, order], new_shift[order], new_scale[order] = first, shift * factors, scale / factors
    return Layers(new_shift, new_scale, [weights, *layers.weights[1:]], [bias, *layers.biases[1:]])
