"""Uncertainty of one network from its last layer: the Laplace approximation, exact where the model is linear.

With all other parameters fixed, energies, forces and stress are linear in the weights of the last layer. Their posterior
around the trained values is a normal distribution, whose covariance one pass over the training data gives.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

from forgefield.data.shards import Shards
from forgefield.descriptors import Descriptor
from forgefield.errors import ConfigError, DataError
from forgefield.formulas.activations import ACTIVATIONS
from forgefield.keys import PROPERTIES
from forgefield.models import Linear, Network
from forgefield.models.potential import Potential
from forgefield.models.results import LastLayer
from forgefield.stages import Stage
from forgefield.training.batches import LabelledSet
from forgefield.training.linear.design import Columns, DesignRows, design_rows
from forgefield.training.streaming import StreamedSet

__all__ = ["LastLayerPosterior", "LastLayerSpread", "fit_last_layer", "last_layer", "stored_posterior"]

FloatArray = NDArray[np.float64]

ITERATIONS = 100
CONVERGED = 1e-8

FEWEST = 10
"""Numbers that tell how large errors are."""


class HiddenLayer(Descriptor):
    """The last hidden layer of a network as features.

    Parameters
    ----------
    potential : Potential
        With a network.
    """

    mix: Tensor
    shift: Tensor

    def __init__(self, potential: Potential) -> None:
        super().__init__(potential.species, potential.descriptor.settings)
        if not isinstance(potential.model, Network):
            raise ConfigError(f"a network is needed, got {type(potential.model).__name__}")
        self.inner = potential.descriptor
        self.expansions = potential.descriptor.expansions
        self.network = potential.model
        scaler, n = potential.scaler, len(potential.species)
        self.register_buffer("mix", (scaler.scale[:, None] * scaler.mix).expand(n, -1, -1).contiguous())
        self.register_buffer(
            "shift", -((scaler.shift * scaler.scale) @ scaler.mix).expand(n, -1).contiguous()
        )

    @property
    def feature_names(self) -> list[str]:
        """Name of every neuron."""
        return [f"neuron {n}" for n in range(self.network.weights[-1].shape[1])]

    def features(self, stage: Stage, a: Sequence[Any]) -> Any:
        """Return the values of the neurons; see `Descriptor.features`."""
        activation = ACTIVATIONS[self.network.settings.activation]
        x = stage.linear(self.mix, self.inner.features(stage, a), self.shift)
        for weight, bias in list(zip(self.network.weights, self.network.biases, strict=True))[:-1]:
            x = stage.map(lambda v: [activation(v[0])], stage.linear(weight, x, bias))
        return x


def last_layer(potential: Potential) -> Potential:
    """Return the same potential, in float64, as a linear model on the last hidden layer.

    Parameters
    ----------
    potential : Potential
        With a network; one with a linear model is returned as it is.

    Raises
    ------
    ConfigError
        The model is of another kind.
    """
    whole = copy.deepcopy(potential).to_dtype(torch.float64)
    if isinstance(whole.model, Linear):
        return whole
    if not isinstance(whole.model, Network):
        raise ConfigError(
            f"the last layer of a {type(whole.model).__name__} is not linear; use a committee, or model.kind: network"
        )
    if whole.model.settings.shared and len(whole.species) > 1:
        raise ConfigError(
            "the last layer of a network that all elements share is not one of each element, of which the spread is made; "
            "use a committee, or model.shared: false"
        )
    hidden = HiddenLayer(whole)
    model = Linear(hidden.n_features, hidden.n_species).double()
    with torch.no_grad():
        model.weight.copy_(whole.model.weights[-1][:, :, 0])
        model.bias.copy_(whole.model.biases[-1][:, 0])
    result = Potential(
        hidden,
        model,
        dict(zip(whole.species, whole.references.tolist(), strict=True)),
        float(whole.energy_scale),
        exact_free_atom=bool(whole.exact_free_atom),
        zbl=whole.zbl,
    )
    return result.to_dtype(torch.float64)


@dataclass(frozen=True)
class LastLayerSpread:
    """Standard deviations of the prediction for one structure, noise of the labels not included.

    Attributes
    ----------
    energy : float [eV]
        Of the total energy.
    forces : (n_atoms,) [eV/Å]
        Square root of the summed variances of the three components.
    stress : (6,) [eV/Å^3] or None
        None without a volume.
    """

    energy: float
    forces: FloatArray
    stress: FloatArray | None


@dataclass(frozen=True)
class LastLayerPosterior:
    """Posterior of the weights of the last layer.

    Attributes
    ----------
    potential : Potential
        From `last_layer`.
    covariance : (n_parameters, n_parameters)
        In the order of `training.linear.design.Columns`.
    noise : dict
        Standard deviation of the labels about the predictions: ``energy`` [eV/atom], ``forces`` [eV/Å],
        ``stress`` [eV/Å^3]; only of what was labelled.
    prior : float
        Precision of the normal prior of the weights.
    scale : dict
        Factor on the spreads of ``energy``, ``forces`` and ``stress``, 1 where there is none; see `calibrated`.
    """

    potential: Potential
    covariance: FloatArray
    noise: dict[str, float]
    prior: float
    scale: dict[str, float] = field(default_factory=dict)

    def stored(self) -> LastLayer:
        """Return what a potential keeps of it, as ``potential.last_layer``."""
        return LastLayer(
            torch.from_numpy(self.covariance), dict(self.noise), float(self.prior), dict(self.scale)
        )

    def calibrated(
        self, frames: Sequence[Atoms], group_weights: Mapping[str, float] | None = None
    ) -> LastLayerPosterior:
        """Return the posterior with spreads as large as the errors on structures that were not trained on.

        The formula takes residuals for noise, which averages out over many labels; they are mostly what the network cannot
        represent, which does not. So the root mean square error over the root mean square spread is measured for energies
        per atom, force components and stress components; fewer than 10 numbers take the factor of the forces. What has no
        weight is left out; other weights say what training is to learn first, not how wrong it is, and make no difference.

        Parameters
        ----------
        frames : sequence of ase.Atoms
            Labelled.
        group_weights : mapping of group to factor, optional
            As in the training.
        """
        weights = Columns.of(self.potential).read(self.potential.model)
        errors, variances, counts = (dict.fromkeys(PROPERTIES, 0.0) for _ in range(3))
        for k, rows, target, _ in _labelled(self.potential, _set_of(self.potential, frames, group_weights)):
            errors[k] += float(np.square(target - rows @ weights).sum())
            variances[k] += float(self._variance(rows).sum())
            counts[k] += len(target)
        scale = {
            k: float(np.sqrt(errors[k] / variances[k]))
            for k in PROPERTIES
            if counts[k] >= FEWEST and errors[k] > 0 and variances[k] > 0
        }
        if "forces" in scale:
            scale = {k: scale.get(k, scale["forces"]) for k in PROPERTIES}
        return replace(self, scale=scale)

    def spread(self, atoms: Atoms) -> LastLayerSpread:
        """Return the spreads of energy, forces and stress of a structure."""
        graph = self.potential.graph(atoms)
        rows = design_rows(self.potential, self.potential.tensors(graph))
        forces = self._variance(rows.forces).sum(axis=1)
        volume = float(graph.volumes[0])
        stress = None if np.isnan(volume) else np.sqrt(self._variance(rows.strain_gradient)) / volume
        energy, forces = float(np.sqrt(self._variance(rows.energy))), np.sqrt(forces)
        by = {k: self.scale.get(k, 1.0) for k in PROPERTIES}
        return LastLayerSpread(
            by["energy"] * energy, by["forces"] * forces, None if stress is None else by["stress"] * stress
        )

    def _variance(self, rows: FloatArray) -> FloatArray:
        return np.asarray(np.maximum(((rows @ self.covariance) * rows).sum(axis=-1), 0.0), dtype=np.float64)


def stored_posterior(potential: Potential) -> LastLayerPosterior | None:
    """Return the posterior that a potential has kept, None where it has none.

    Raises
    ------
    ConfigError
        It is of another model.
    """
    kept = potential.last_layer
    if kept is None:
        return None
    linear = last_layer(potential)
    n = len(Columns.of(linear).read(linear.model))
    if len(kept.covariance) != n:
        raise ConfigError(
            f"the posterior kept with this potential is of {len(kept.covariance)} weights, its last layer has {n}; fit it "
            "anew with `training.laplace.fit_last_layer`"
        )
    return LastLayerPosterior(linear, kept.covariance.numpy(), kept.noise, kept.prior, kept.scale)


def fit_last_layer(
    potential: Potential,
    frames: Sequence[Atoms],
    *,
    prior: float | None = None,
    group_weights: Mapping[str, float] | None = None,
) -> LastLayerPosterior:
    """Return the posterior of the last layer for the training data.

    ``covariance = (sum_k rows_k^T rows_k / noise_k^2 + prior I)^-1`` over the rows of energies per atom, forces and
    stresses; each noise is the root mean square residual of the trained potential. Weights of structures multiply squares
    and products of rows as in the loss, relative to their mean (sum of weights over sum of squared weights): what has no
    weight is not there, and a factor on all weights changes nothing.

    Parameters
    ----------
    potential : Potential
        Trained, with a network or a linear model.
    frames : sequence of ase.Atoms
        Labelled training structures.
    prior : float, optional
        Precision of the weights; default: that of the largest evidence (MacKay, Neural Comput. 4 (1992) 415), its rule
        ``prior = gamma / |w|^2`` iterated.
    group_weights : mapping of group to factor, optional
        As in the training; see `LabelledSet`.

    Raises
    ------
    ConfigError
        The last layer of the model is not linear.
    DataError
        Not one label of some weight.
    """
    linear = last_layer(potential)
    weights = Columns.of(linear).read(linear.model)
    grams = {k: np.zeros((len(weights), len(weights))) for k in PROPERTIES}
    squares, totals, weight_squares = (dict.fromkeys(PROPERTIES, 0.0) for _ in range(3))
    for k, rows, target, weight in _labelled(linear, _set_of(linear, frames, group_weights)):
        grams[k] += weight * (rows.T @ rows)
        squares[k] += weight * float(np.square(target - rows @ weights).sum())
        totals[k] += weight * len(target)
        weight_squares[k] += weight * weight * len(target)
    noise = {k: float(np.sqrt(squares[k] / totals[k])) for k in PROPERTIES if totals[k] > 0}
    if not noise:
        raise DataError(
            "not one of the structures has a label of some weight; the posterior needs the training data"
        )
    precision = np.zeros_like(grams["energy"])
    for k, sigma in noise.items():
        precision += grams[k] / max(sigma, 1e-12) ** 2 * (totals[k] / weight_squares[k])
    chosen = _evidence(precision, weights) if prior is None else prior
    covariance = np.linalg.inv(precision + chosen * np.eye(len(weights)))
    return LastLayerPosterior(linear, 0.5 * (covariance + covariance.T), noise, chosen)


def _set_of(
    linear: Potential, frames: Sequence[Atoms], group_weights: Mapping[str, float] | None
) -> LabelledSet:
    kind = StreamedSet if isinstance(frames, Shards) else LabelledSet
    return kind(linear, frames, group_weights)


def _labelled(linear: Potential, data: LabelledSet) -> Iterator[tuple[str, FloatArray, FloatArray, float]]:
    """Yield property, rows, labels and weight of everything that is labelled with a weight above zero."""
    for n, labels in enumerate(data.learned(linear)):
        if not any(labels.weights.values()):
            continue
        graph = data.graphs[n]
        volume, strain = float(graph.volumes[0]), labels.strain_gradient
        rows = _rows(design_rows(linear, linear.tensors(graph)), graph.n_atoms, volume)
        targets = {
            "energy": None if labels.energy is None else np.array([labels.energy / graph.n_atoms]),
            "forces": None if labels.forces is None else labels.forces.ravel(),
            "stress": None if strain is None else strain / volume,
        }
        for k, target in targets.items():
            if target is not None and labels.weights[k] > 0:
                yield k, rows[k], target, labels.weights[k]


def _rows(design: DesignRows, n_atoms: int, volume: float) -> dict[str, FloatArray]:
    width = len(design.energy)
    return {
        "energy": design.energy[None] / n_atoms,
        "forces": design.forces.reshape(-1, width),
        "stress": design.strain_gradient / volume,
    }


def _evidence(precision: FloatArray, weights: FloatArray) -> float:
    """Return the prior precision with which the weights are as likely as the data make them."""
    eigenvalues = np.maximum(np.linalg.eigvalsh(precision), 0.0)
    size = max(float(weights @ weights), 1e-12)
    prior = len(weights) / size
    for _ in range(ITERATIONS):
        before, prior = prior, max(float((eigenvalues / (eigenvalues + prior)).sum()) / size, 1e-12)
        if abs(prior - before) <= CONVERGED * prior:
            break
    return prior
