"""Linear models by least squares on energies, forces and stresses together.

The rows of a structure are the features (energy) and, feature by feature, the transpose of the expansion applied to
``dq/dA`` (forces, stress): descriptor derivatives exist for one feature at a time only. Rows are folded into a
triangular factor structure by structure (TSQR), so memory does not grow with the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from forgefield.config import Schema
from forgefield.errors import ConfigError, TrainingError
from forgefield.expansions import torch_backend as backend
from forgefield.graph import Graph
from forgefield.keys import VOIGT
from forgefield.models.linear import Linear
from forgefield.models.potential import Potential
from forgefield.models.tensors import TensorGraph
from forgefield.training.batches import LabelledSet, Labels
from forgefield.training.loss import PRESETS, LossSettings

__all__ = ["DesignRows", "LeastSquaresSettings", "design_rows", "fit_linear"]

FloatArray = NDArray[np.float64]


class LeastSquaresSettings(Schema):
    """Solver of linear models."""

    kind: Literal["least_squares"] = "least_squares"
    ridge: float = Field(
        1e-9,
        ge=0,
        description="Tikhonov term on scaled features, relative to the largest singular value squared",
    )


@dataclass(frozen=True)
class DesignRows:
    """Derivatives of the predictions of one structure with respect to the linear parameters.

    Attributes
    ----------
    energy : (n_parameters,) [eV]
    forces : (n_atoms, 3, n_parameters) [eV/Å]
    strain_gradient : (6, n_parameters) [eV]
    """

    energy: FloatArray
    forces: FloatArray
    strain_gradient: FloatArray


def design_rows(potential: Potential, graph: TensorGraph) -> DesignRows:
    """Return the design rows of one structure for a potential with a linear model.

    Parameters are ordered: weights (species-major), then the bias of each species.
    """
    descriptor, scale, exact = (
        potential.descriptor,
        float(potential.energy_scale),
        bool(potential.exact_free_atom),
    )
    n_features, n_species = descriptor.n_features, descriptor.n_species
    n_parameters = n_species * (n_features + 1)
    energy = np.zeros(n_parameters)
    forces = np.zeros((graph.n_atoms, 3, n_parameters))
    strain = np.zeros((6, n_parameters))
    for species, rows in graph.blocks:
        block = _block_rows(potential, graph, species, rows)
        columns = slice(species * n_features, (species + 1) * n_features)
        scaled = potential.scaler(block.features) - _free_atom(potential, species)
        energy[columns] = scale * scaled.detach().double().sum(dim=0).cpu().numpy()
        energy[n_species * n_features + species] = 0.0 if exact else scale * len(rows)
        mix = scale * potential.scaler.scale.double()[:, None] * potential.scaler.mix.double()
        forces[:, :, columns] = (block.forces @ mix).cpu().numpy()
        outer = (block.strain @ mix).cpu().numpy()
        strain[:, columns] = [0.5 * (outer[x, y] + outer[y, x]) for x, y in VOIGT]
    return DesignRows(energy, forces, strain)


@dataclass(frozen=True)
class _BlockRows:
    """What the features of the atoms of one element contribute, before they are scaled.

    Attributes
    ----------
    features : (n_block, n_features)
    forces : (n_atoms, 3, n_features) float64
    strain : (3, 3, n_features) float64
    """

    features: Tensor
    forces: Tensor
    strain: Tensor


def _block_rows(potential: Potential, graph: TensorGraph, species: int, rows: Tensor) -> _BlockRows:
    descriptor, centres = potential.descriptor, graph.species[rows]
    lists = [
        (e, p.vectors[rows], p.species[rows], p.neighbours[rows].flatten())
        for e, p in zip(descriptor.expansions, graph.pairs, strict=False)
    ]
    with torch.no_grad():
        bases = [backend.geometry(e, vectors, s, centres) for e, vectors, s, _ in lists]
        a = [backend.forward(e, b) for (e, *_), b in zip(lists, bases, strict=True)]
        features = descriptor.invariants(a, species)
    n_features, device = descriptor.n_features, rows.device
    forces = torch.zeros((graph.n_atoms, 3, n_features), dtype=torch.float64, device=device)
    strain = torch.zeros((3, 3, n_features), dtype=torch.float64, device=device)
    for some, a_bars in descriptor.gradients(a, species):
        for (e, vectors, _, neighbours), basis, bars in zip(lists, bases, a_bars, strict=True):
            with torch.no_grad():
                g = backend.vjp_many(e, basis, bars).double().permute(1, 2, 3, 0)  # (n_block, width, 3, n)
            forces[:, :, some].index_add_(0, rows, g.sum(dim=1))
            forces[:, :, some].index_add_(0, neighbours, g.flatten(0, 1), alpha=-1)
            strain[:, :, some] += torch.einsum("iwa,iwbf->abf", vectors.double(), g)
    return _BlockRows(features, forces, strain)


def _free_atom(potential: Potential, species: int) -> Tensor:
    """Return the scaled features that count as zero: those of a free atom where its energy is exact."""
    zeros = [
        torch.zeros((1, *e.shape), dtype=potential.dtype, device=potential.device)
        for e in potential.descriptor.expansions
    ]
    features = potential.scaler(potential.descriptor.invariants(zeros, species)).detach()
    return features if bool(potential.exact_free_atom) else torch.zeros_like(features)


class _Accumulator:
    """Triangular factor and projected targets of all rows so far."""

    def __init__(self, n_parameters: int) -> None:
        self.factor = np.zeros((0, n_parameters + 1))
        self._pending: list[FloatArray] = []
        self._n_pending = 0

    def add(self, rows: FloatArray, targets: FloatArray) -> None:
        """Add weighted rows (n, n_parameters) and targets (n,)."""
        block = np.concatenate([rows, targets[:, None]], axis=1)
        self._pending.append(block)
        self._n_pending += len(block)
        if self._n_pending > 4 * block.shape[1]:
            self.fold()

    def fold(self) -> None:
        """Reduce everything pending to a triangle."""
        if self._pending:
            self.factor = np.asarray(np.linalg.qr(np.concatenate([self.factor, *self._pending]), mode="r"))
            self._pending, self._n_pending = [], 0


def fit_linear(
    potential: Potential,
    data: LabelledSet,
    loss: LossSettings,
    settings: LeastSquaresSettings,
    on_structure: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Solve for the parameters of the linear model; they minimise the loss on `data` exactly.

    Parameters
    ----------
    potential : Potential
        With a linear model; changed in place.
    data : LabelledSet
    loss : LossSettings
        Mean-square form; weights and normalisation as in gradient training.
    settings : LeastSquaresSettings
    on_structure : callable (done, total), optional
        Progress.

    Returns
    -------
    dict
        ``rank``, ``condition`` (of the scaled rows), ``n_rows``.
    """
    if not isinstance(potential.model, Linear):
        raise ConfigError(f"least squares needs `model.kind: linear`, got {type(potential.model).__name__}")
    if loss.error != "mse":
        raise ConfigError(
            f"least squares minimises `loss.error: mse`, got {loss.error!r}; use training.kind: adam"
        )
    n_features, n_species = potential.descriptor.n_features, potential.descriptor.n_species
    n_parameters = n_species * (n_features + 1)
    rows = _Accumulator(n_parameters)
    factors, n_rows = _row_factors(data, loss), 0
    labels = data.learned(potential)
    for i in range(len(data)):
        batch = data.batch([i], potential.dtype, potential.device)
        design = design_rows(potential, batch.graph)
        virial = PRESETS[loss.normalisation].virial
        n_rows += _add_structure(rows, design, labels[i], data.graphs[i], factors, virial=virial)
        if on_structure is not None:
            on_structure(i + 1, len(data))
    rows.fold()
    solution, rank, condition = _solve(rows.factor, settings.ridge)
    if not np.isfinite(solution).all():
        raise TrainingError(
            "the least-squares problem has no finite solution; raise training.ridge, e.g. to 1e-8"
        )
    with torch.no_grad():
        weights = solution[: n_species * n_features].reshape(n_species, n_features)
        potential.model.weight.copy_(torch.from_numpy(weights))
        potential.model.bias.copy_(torch.from_numpy(solution[n_species * n_features :]))
    return {"rank": float(rank), "condition": condition, "n_rows": float(n_rows)}


def _row_factors(data: LabelledSet, loss: LossSettings) -> dict[str, float]:
    """Square root of weight / (total structure weight * scale^2) of each property."""
    preset, scales = PRESETS[loss.normalisation], data.scales()
    totals = dict.fromkeys(("energy", "forces", "stress"), 0.0)
    for x, g in zip(data.labels, data.graphs, strict=True):
        totals["energy"] += x.weights["energy"] * (x.energy is not None)
        atoms = 1 if preset.forces_by_structure else g.n_atoms
        totals["forces"] += x.weights["forces"] * atoms * (x.forces is not None)
        totals["stress"] += x.weights["stress"] * (x.strain_gradient is not None)
    return {
        k: float(np.sqrt(preset.factor * w / totals[k])) / (scales.get(k, 1.0) if preset.relative else 1.0)
        for k, w in loss.weights().items()
        if totals[k] > 0 and w > 0
    } | {"by_structure": float(preset.forces_by_structure)}


def _add_structure(
    rows: _Accumulator,
    design: DesignRows,
    label: Labels,
    graph: Graph,
    factors: dict[str, float],
    *,
    virial: bool,
) -> int:
    n, count = graph.n_atoms, 0
    root = {k: np.sqrt(w) for k, w in label.weights.items()}
    if label.energy is not None and "energy" in factors:
        f = factors["energy"] * root["energy"] / n
        rows.add(f * design.energy[None], np.array([f * label.energy]))
        count += 1
    if label.forces is not None and "forces" in factors:
        f = factors["forces"] * root["forces"] / np.sqrt(3.0 * (n if factors["by_structure"] else 1))
        rows.add(f * design.forces.reshape(3 * n, -1), f * label.forces.ravel())
        count += 3 * n
    if label.strain_gradient is not None and "stress" in factors:
        f = factors["stress"] * root["stress"] / np.sqrt(6.0) / (n if virial else graph.volumes[0])
        rows.add(f * design.strain_gradient, f * label.strain_gradient)
        count += 6
    return count


def _solve(factor: FloatArray, ridge: float) -> tuple[FloatArray, int, float]:
    """Minimise ``|R x - z|^2 + ridge s_max^2 |x|^2`` by SVD; columns are scaled to unit norm first."""
    r, z = factor[:, :-1], factor[:, -1]
    norms = np.sqrt((r * r).sum(axis=0))
    norms[norms == 0] = 1.0
    u, s, vt = np.linalg.svd(r / norms, full_matrices=False)
    keep = s > s[0] * max(r.shape) * np.finfo(np.float64).eps
    s, u, vt = s[keep], u[:, keep], vt[keep]
    filtered = s / (s * s + ridge * s[0] ** 2)
    return (vt.T @ (filtered * (u.T @ z))) / norms, int(keep.sum()), float(s[0] / s[-1])
