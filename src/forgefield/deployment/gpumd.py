"""GPUMD's potential file nep.txt, read and written.

========================================  ==================================================================
in the file, for each element in turn     here
========================================  ==================================================================
``w0`` (neurons, features), ``b0``, ``w1``  ``E_i = sum_n w1_n tanh(w0_n . (scaler q_i) - b0_n) - b1``
its own bias (nep5 only)                  added to ``b1``
then ``b1``                               one number for all elements
``c`` (n, k, centre, neighbour)           radial, then angular
``scaler``                                one factor on each feature
ten numbers (flexible ZBL only)           inner, outer, a1 ... a8 of each pair of elements 1-1, 1-2, ..., 2-2, ...
========================================  ==================================================================

Source: the manual of GPUMD (nep.in, potentials/nep) and the files it writes; numbers are checked against calorine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers
from numpy.typing import NDArray

from forgefield.deployment.gpumd_header import INVARIANTS, Lines, NEPHeader
from forgefield.descriptors import NEP, NEPSettings
from forgefield.errors import ConfigError, PotentialFileError
from forgefield.files import read_text, write_text
from forgefield.formulas.zbl import COVALENT_RADII
from forgefield.models import Network, NetworkSettings
from forgefield.models.file import DTYPES, DtypeName
from forgefield.models.potential import Potential
from forgefield.models.zbl import ZBL, ZBLSettings

__all__ = ["export_nep", "nep_text", "parse_nep", "read_nep"]

FloatArray = NDArray[np.float64]

MOST_FEATURES, MOST_ANGULAR, LARGEST_BASIS, MOST_NEIGHBOURS = 103, 90, 16, 819
"""What the arrays of GPUMD hold: features, angular features, `basis_size`, neighbours."""

SATURATED = 20.0
"""tanh of this is exactly 1 in double precision."""


@dataclass
class _Numbers:
    """Parameters of one file, in its order of elements.

    Attributes
    ----------
    w0 : (n_networks, n_neurons, n_features); b0, w1 : (n_networks, n_neurons); own_bias : (n_networks,)
    b1 : float
    c_radial, c_angular : (n + 1, k + 1, n_elements, n_elements)
    scaler : (n_features,)
    zbl : (n_pairs, 10)
    """

    w0: FloatArray
    b0: FloatArray
    w1: FloatArray
    own_bias: FloatArray
    b1: float
    c_radial: FloatArray
    c_angular: FloatArray
    scaler: FloatArray
    zbl: FloatArray


# ---- reading -------------------------------------------------------------------------------------------------


def read_nep(path: str | Path, *, dtype: DtypeName | None = None) -> Potential:
    """Read a nep.txt of version 3, 4 or 5, with or without ZBL.

    Parameters
    ----------
    path : str or Path
    dtype : {'float32', 'float64'}, optional
        Number type to evaluate in; default float64.

    Returns
    -------
    Potential
        `provenance.notes["nep"]` keeps order of elements and numbers of neighbours for `export_nep`.

    Raises
    ------
    PotentialFileError
        Naming the line and what was expected there.
    """
    return parse_nep(read_text(path), dtype=dtype, name=str(path))


def parse_nep(text: str, *, dtype: DtypeName | None = None, name: str = "nep.txt") -> Potential:
    """Return the potential of the text of a nep.txt; see `read_nep`. `name` stands for the file in messages."""
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"`dtype` must be 'float32' or 'float64', got {dtype!r}")
    lines = Lines(text, name)
    header = NEPHeader.read(lines)
    numbers = _read_numbers(lines, header)
    try:
        descriptor = NEP(header.elements, _descriptor_settings(header))
        shared = header.version == 3 and header.n_elements > 1
        layers = NetworkSettings.parse({"hidden": [header.n_neurons], "shared": shared}, where="model")
        zbl = ZBL(descriptor.species, _zbl_settings(header, numbers.zbl)) if header.zbl is not None else None
    except ConfigError as error:
        raise PotentialFileError(f"{name}: {error}") from None
    model = Network(descriptor.n_features, descriptor.n_species, layers)
    potential = Potential(descriptor, model, zbl=zbl).to_dtype(torch.float64)
    _set_parameters(potential, header, numbers)
    potential.provenance.notes["nep"] = {
        "version": header.version,
        "elements": list(header.elements),
        "neighbours": list(header.neighbours),
    }
    return potential if dtype is None else potential.to_dtype(DTYPES[dtype])


def _read_numbers(lines: Lines, header: NEPHeader) -> _Numbers:
    types, dim, neurons = header.n_elements, header.n_features, header.n_neurons
    networks, bias = (1 if header.version == 3 else types), int(header.version == 5)
    per_network = neurons * (dim + 2) + bias
    c_shapes = [(n + 1, k + 1, types, types) for n, k in zip(header.n_max, header.basis_size, strict=True)]
    n_zbl = 10 * types * (types + 1) // 2 if header.flexible_zbl else 0
    counts = [networks * per_network, 1, *(math.prod(s) for s in c_shapes), dim, n_zbl]
    values = _parameters(lines, sum(counts), header)
    network, b1, c_radial, c_angular, scaler, zbl = np.split(values, np.cumsum(counts)[:-1])
    network = network.reshape(networks, per_network)
    split = neurons * dim
    return _Numbers(
        w0=network[:, :split].reshape(networks, neurons, dim),
        b0=network[:, split : split + neurons],
        w1=network[:, split + neurons : split + 2 * neurons],
        own_bias=network[:, -1] if bias else np.zeros(networks),
        b1=float(b1[0]),
        c_radial=c_radial.reshape(c_shapes[0]),
        c_angular=c_angular.reshape(c_shapes[1]),
        scaler=scaler,
        zbl=zbl.reshape(-1, 10),
    )


def _parameters(lines: Lines, count: int, header: NEPHeader) -> FloatArray:
    """Return the numbers below the header, of which there must be `count`."""
    values: list[float] = []
    about = f"{header.n_features} features, {header.n_neurons} neurons, {header.n_elements} elements"
    while words := lines.next():
        try:
            row = [float(w) for w in words]
        except ValueError:
            raise lines.error("a number", words) from None
        if not all(map(math.isfinite, row)):
            raise lines.error("a finite number", words)
        values += row
        if len(values) > count:
            raise lines.error(f"the end of the file after {count} parameters ({about})", words)
    if len(values) < count:
        raise PotentialFileError(
            f"{lines.name} ends after {len(values)} parameters on line {lines.number - 1}; its header announces {count} "
            f"({about}); copy it again"
        )
    return np.array(values)


def _descriptor_settings(header: NEPHeader) -> NEPSettings:
    radial, angular = (max(c[k] for c in header.cutoffs) for k in (0, 1))
    single = len(header.cutoffs) == 1
    values: dict[str, Any] = {
        "cutoff_radial": radial,
        "cutoff_angular": angular,
        "n_max_radial": header.n_max[0],
        "n_max_angular": header.n_max[1],
        "basis_size_radial": header.basis_size[0],
        "basis_size_angular": header.basis_size[1],
        "l_max": header.l_max,
        "element_cutoffs": None if single else dict(zip(header.elements, header.cutoffs, strict=True)),
        **dict(zip(INVARIANTS, header.invariants, strict=True)),
    }
    return NEPSettings.parse(values, where="descriptor")


def _zbl_settings(header: NEPHeader, parameters: FloatArray) -> ZBLSettings:
    if header.flexible_zbl:
        keys = [f"{a}-{b}" for n, a in enumerate(header.elements) for b in header.elements[n:]]
        pairs = {k: tuple(p) for k, p in zip(keys, parameters.tolist(), strict=True)}
        return ZBLSettings.parse({"pairs": pairs}, where="zbl")
    inner, outer, *factor = header.zbl or ()
    values = {"inner": inner, "outer": outer, "typewise_factor": factor[0] if factor else None}
    return ZBLSettings.parse(values, where="zbl")


def _set_parameters(potential: Potential, header: NEPHeader, x: _Numbers) -> None:
    descriptor, model = potential.descriptor, potential.model
    if not (isinstance(descriptor, NEP) and isinstance(model, Network)):
        raise TypeError(f"{type(descriptor).__name__} with {type(model).__name__} is no NEP")
    order = np.argsort([atomic_numbers[e] for e in header.elements])  # the file's elements in our order

    def networks(values: FloatArray) -> torch.Tensor:
        own = values if len(values) == 1 else values[order]  # one network may serve all
        return torch.from_numpy(np.ascontiguousarray(own))

    with torch.no_grad():
        model.weights[0].copy_(networks(x.w0).transpose(1, 2))
        model.biases[0].copy_(-networks(x.b0))
        model.weights[1].copy_(networks(x.w1)[:, :, None])
        model.biases[1].copy_(-(networks(x.own_bias) + x.b1)[:, None])
        for target, c in ((descriptor.c_radial, x.c_radial), (descriptor.c_angular, x.c_angular)):
            ours = c[:, :, order][:, :, :, order].transpose(2, 3, 1, 0)  # centre, neighbour, k, n
            target.copy_(torch.from_numpy(ours.reshape(target.shape).copy()))
        potential.scaler.scale.copy_(torch.from_numpy(x.scaler))


# ---- writing -------------------------------------------------------------------------------------------------


def export_nep(potential: Potential, path: str | Path, *, neighbours: tuple[int, int] | None = None) -> Path:
    """Write a potential as nep.txt of version 4, which GPUMD, calorine and LAMMPS with NEP_CPU run.

    Parameters
    ----------
    potential : Potential
        With the NEP descriptor and networks of one hidden layer with tanh.
    path : str or Path
    neighbours : (int, int), optional
        Most neighbours of an atom within the radial and the angular cutoff; GPUMD makes room for 1.25 times as many.
        Default: as in the training data or in the file the potential was read from, else that of a dense packing.

    Raises
    ------
    ConfigError
        GPUMD cannot represent this potential; the message says why.
    ForgefieldError
        The file cannot be written.

    Notes
    -----
    The scaling of the features and the unit of the energy are folded into the weights, in double precision; numbers
    that need more than the eight digits GPUMD writes have seventeen. The file has one output bias for all elements:
    where the energies of free atoms differ, each network has one more neuron, without inputs and always saturated,
    that adds the difference of its element. GPUMD adds up energies in single precision.
    """
    return write_text(path, nep_text(potential, neighbours=neighbours))


def nep_text(potential: Potential, *, neighbours: tuple[int, int] | None = None) -> str:
    """Return the text of the nep.txt of a potential; see `export_nep`."""
    descriptor, model = potential.descriptor, potential.model
    if not isinstance(descriptor, NEP):
        raise ConfigError(
            f"nep.txt holds the descriptor `nep`; this potential has {descriptor.settings.kind!r}"
        )
    if not isinstance(model, Network):
        raise ConfigError(f"nep.txt holds a `network`; this potential has {model.settings.kind!r}")
    if len(model.settings.hidden) != 1 or model.settings.activation != "tanh":
        raise ConfigError(
            "nep.txt holds networks of one hidden layer with tanh; this potential has model.hidden: "
            f"{list(model.settings.hidden)}, model.activation: {model.settings.activation}; train another"
        )
    if potential.zbl is not None and potential.zbl.settings.form != "gpumd":
        raise ConfigError(
            f"nep.txt holds ZBL in GPUMD's form; this potential has zbl.form: {potential.zbl.settings.form}; train with gpumd"
        )
    header = _header(potential, descriptor.settings, model.settings.hidden[0], neighbours)
    _check_limits(header)
    numbers = _folded(potential, descriptor, model, header)
    header = replace(header, n_neurons=numbers.b0.shape[1])
    parts = [
        np.concatenate([w.ravel(), b, v]) for w, b, v in zip(numbers.w0, numbers.b0, numbers.w1, strict=True)
    ]
    parts += [np.array([numbers.b1]), numbers.c_radial.ravel(), numbers.c_angular.ravel(), numbers.scaler]
    parts.append(numbers.zbl.ravel())
    values = np.concatenate(parts) + 0.0  # no negative zeros
    if not np.isfinite(values).all():
        raise ConfigError("this potential has parameters that are not finite; nothing was written")
    return header.text() + "".join(map(_line, values.tolist()))


def _line(value: float) -> str:
    short = f"{value:15.7e}\n"
    return short if float(short) == value else f"{value:24.16e}\n"


def _header(
    potential: Potential, settings: NEPSettings, n_neurons: int, neighbours: tuple[int, int] | None
) -> NEPHeader:
    notes = potential.provenance.notes
    elements = notes.get("nep", {}).get("elements", potential.elements)
    if sorted(elements) != sorted(potential.elements):
        elements = potential.elements
    common = (settings.cutoff_radial, settings.cutoff_angular)
    own = settings.element_cutoffs
    if neighbours is None:
        known = notes.get("nep", {}).get("neighbours") or notes.get("max_neighbours")
        neighbours = (known[0], known[-1]) if known else _packed(potential)
    return NEPHeader(
        version=4,
        elements=tuple(elements),
        zbl=None if potential.zbl is None else _zbl_words(potential.zbl.settings),
        cutoffs=(common,) if own is None else tuple(own.get(e, common) for e in elements),
        neighbours=(int(neighbours[0]), int(neighbours[1])),
        n_max=(settings.n_max_radial, settings.n_max_angular),
        basis_size=(settings.basis_size_radial, settings.basis_size_angular),
        l_max=settings.l_max,
        invariants=tuple(bool(getattr(settings, name)) for name in INVARIANTS),
        n_neurons=n_neurons,
    )


def _packed(potential: Potential) -> tuple[int, int]:
    """Return the neighbours in a close packing of the smallest atoms, four fifths of a bond apart."""
    distance = (
        0.8 * 2 * min(COVALENT_RADII[min(z, len(COVALENT_RADII)) - 1] for z in potential.species) * 0.75
    )
    density = math.sqrt(2) / distance**3
    cutoffs = potential.descriptor.cutoffs
    radial, angular = (
        min(MOST_NEIGHBOURS, math.ceil(4 / 3 * math.pi * c**3 * density)) for c in (cutoffs[0], cutoffs[-1])
    )
    return radial, angular


def _zbl_words(settings: ZBLSettings) -> tuple[float, ...]:
    if settings.pairs is not None:
        return (0.0, 0.0)
    inner = 0.5 * settings.outer if settings.inner is None else settings.inner
    factor = settings.typewise_factor
    return (inner, settings.outer) if factor is None else (inner, settings.outer, factor)


def _check_limits(header: NEPHeader) -> None:
    angular = header.n_features - header.n_max[0] - 1
    for name, value, limit in (
        ("l_max", header.l_max, 8),
        ("features", header.n_features, MOST_FEATURES),
        ("angular features", angular, MOST_ANGULAR),
        ("basis_size", max(header.basis_size), LARGEST_BASIS),
        ("neighbours", max(header.neighbours), MOST_NEIGHBOURS),
    ):
        if value > limit:
            raise ConfigError(
                f"GPUMD holds at most {limit} {name}, this potential has {value}; train a smaller one for it"
            )


def _folded(potential: Potential, descriptor: NEP, model: Network, header: NEPHeader) -> _Numbers:
    """Return the parameters with scaling, energy unit and reference energies folded in, in the file's order."""
    symbols = potential.elements
    order = [symbols.index(e) for e in header.elements]  # our elements in the file's order

    def array(tensor: torch.Tensor) -> FloatArray:
        return tensor.detach().double().cpu().numpy()

    (weights, bias), (output, output_bias) = ((array(w)[order], array(b)[order]) for w, b in model.layers())
    scaler, unit = potential.scaler, float(potential.energy_scale)
    scale, shift, mix = array(scaler.scale), array(scaler.shift), array(scaler.mix)
    if not np.array_equal(mix, np.eye(len(mix))):
        weights = mix @ weights
    w0, b0 = weights.transpose(0, 2, 1), (shift * scale) @ weights - bias
    w1 = unit * output[:, :, 0]
    free = array(potential.references)[order]
    if bool(potential.exact_free_atom):
        free = free + (w1 * np.tanh(b0)).sum(axis=1)
    else:
        free = free + unit * output_bias[:, 0]
    if not (free == free[0]).all():
        w0 = np.concatenate([w0, np.zeros_like(w0[:, :1])], axis=1)
        b0 = np.concatenate([b0, np.full_like(b0[:, :1], -SATURATED)], axis=1)
        w1 = np.concatenate([w1, (free - free[0])[:, None]], axis=1)
    c = []
    for values, n, k in zip(
        (descriptor.c_radial, descriptor.c_angular), header.n_max, header.basis_size, strict=True
    ):
        ours = array(values).reshape(len(order), len(order), k + 1, n + 1)
        c.append(ours[order][:, order].transpose(3, 2, 0, 1))
    return _Numbers(
        w0, b0, w1, np.zeros(0), -float(free[0]), c[0], c[1], scale, _zbl_parameters(potential.zbl, header)
    )


def _zbl_parameters(zbl: ZBL | None, header: NEPHeader) -> FloatArray:
    if zbl is None or zbl.settings.pairs is None:
        return np.zeros((0, 10))
    return np.array(
        [zbl.pair_parameters(a, b) for n, a in enumerate(header.elements) for b in header.elements[n:]]
    )
