"""The loss: energy, force and stress terms, in the normalisation of each paper or our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from forgefield.config import Schema
from forgefield.keys import PROPERTIES
from forgefield.models.potential import Evaluation
from forgefield.training.batches import LabelledBatch
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["PRESETS", "Loss", "LossSettings", "Residuals", "Terms"]

Normalisation = Literal["relative", "softadapt", "pyxtal_ff", "gnep", "efp"]


class LossSettings(Schema):
    """Weights and form of the loss.

    Normalisations (all energies per atom, all mean squares unless `error` says otherwise):

    ``relative``
        Every term divided by the mean square of its labels on the training set: weights are pure numbers.
    ``softadapt``
        Ocampo et al. (paper 1), eq. 4: mean over structures of the energy, over all force components, over the six
        stress components; eV, eV/Å, GPa. The paper names no units of eq. 4; those of its table 1 (meV/atom, meV/Å, MPa)
        have the same ratios, and GPa is the unit of stress in the authors' code.
    ``pyxtal_ff``
        Yanxon et al. (paper 2), eq. 19: half; forces averaged within a structure first, then over structures.
    ``gnep``
        Huang et al. (paper 3), eqs. 9-12: virial per atom [eV] instead of the stress.
    ``efp``
        Shimamura et al. (paper 5), eq. 3: half; forces within a structure first; virial per atom.
    """

    energy: float = Field(0.3, ge=0, description="weight of the energy term")
    forces: float = Field(1.0, ge=0, description="weight of the force term")
    stress: float = Field(0.1, ge=0, description="weight of the stress (or virial) term")
    normalisation: Normalisation = Field("relative", description="what the weights multiply; see above")
    error: Literal["mse", "mae", "huber"] = Field(
        "mse", description="mean square, mean absolute or Huber error"
    )
    huber_delta: float = Field(
        1.0, gt=0, description="error in units of the normalisation where Huber turns from square to linear"
    )

    def weights(self) -> dict[str, float]:
        """Weight of each property."""
        return {"energy": self.energy, "forces": self.forces, "stress": self.stress}


@dataclass(frozen=True)
class Preset:
    """How one normalisation treats the terms; `stress_unit` [eV/Å^3] divides stresses."""

    factor: float
    forces_by_structure: bool
    virial: bool
    relative: bool
    stress_unit: float = 1.0

    def scales(self, labels: Mapping[str, float]) -> dict[str, float]:
        """Return what divides each residual, from the root mean squares of the labels."""
        if self.relative:
            return {k: float(labels.get(k, 1.0)) for k in PROPERTIES}
        return {k: self.stress_unit if k == "stress" else 1.0 for k in PROPERTIES}


PRESETS: dict[str, Preset] = {
    "relative": Preset(1.0, forces_by_structure=False, virial=False, relative=True),
    "softadapt": Preset(
        1.0, forces_by_structure=False, virial=False, relative=False, stress_unit=1.0 / EV_PER_A3_TO_GPA
    ),
    "pyxtal_ff": Preset(0.5, forces_by_structure=True, virial=False, relative=False),
    "gnep": Preset(1.0, forces_by_structure=False, virial=True, relative=False),
    "efp": Preset(0.5, forces_by_structure=True, virial=True, relative=False),
}


@dataclass(frozen=True)
class Residuals:
    """Prediction minus label of a batch, only where labelled, in reporting-ready units.

    Attributes
    ----------
    energy : (n,) [eV/atom]
    forces : (n, 3) [eV/Å]
    stress : (n, 6) [eV/Å^3]
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor


@dataclass(frozen=True)
class Terms:
    """Unweighted loss terms of a batch (scalars); properties without any label in the batch are absent."""

    values: Mapping[str, Tensor]
    residuals: Residuals


class Loss:
    """Compares an evaluation with the labels of its batch.

    Parameters
    ----------
    settings : LossSettings
    scales : mapping of property to float
        Root mean square of the labels on the training set, used by ``relative``.
    """

    def __init__(self, settings: LossSettings, scales: Mapping[str, float]) -> None:
        self.settings = settings
        self.preset = PRESETS[settings.normalisation]
        self.scales = self.preset.scales(scales)

    def terms(self, out: Evaluation, batch: LabelledBatch) -> Terms:
        """Return the loss terms and residuals of a batch."""
        n_atoms = batch.graph.n_atoms_per_structure
        energy = ((out.energy - batch.energy) / n_atoms)[batch.has_energy]
        forces = (out.forces - batch.forces)[batch.has_forces]
        strain = (out.strain_gradient - batch.strain_gradient)[batch.has_stress]
        volumes = batch.graph.volumes[batch.has_stress].to(strain.dtype)
        stress = strain / volumes[:, None]
        values: dict[str, Tensor] = {}
        if len(energy):
            values["energy"] = self._mean("energy", energy, batch.weights["energy"][batch.has_energy])
        if len(forces):
            structure = batch.graph.structure
            weights = batch.weights["forces"][structure]
            if self.preset.forces_by_structure:
                weights = weights / n_atoms[structure]
            values["forces"] = self._mean("forces", forces, weights[batch.has_forces])
        if len(stress):
            target = strain / n_atoms[batch.has_stress, None] if self.preset.virial else stress
            values["stress"] = self._mean("stress", target, batch.weights["stress"][batch.has_stress])
        return Terms(values, Residuals(energy.detach(), forces.detach(), stress.detach()))

    def _mean(self, name: str, residual: Tensor, weights: Tensor) -> Tensor:
        """Weighted mean over structures or atoms (first axis) and components of the error measure."""
        x = residual.to(torch.float64) / self.scales[name]
        if self.settings.error == "mse":
            measure = x * x
        elif self.settings.error == "mae":
            measure = x.abs()
        else:
            delta = self.settings.huber_delta
            size = x.abs()
            measure = torch.where(size < delta, x * x, delta * (2.0 * size - delta))
        rows = measure if measure.ndim == 1 else measure.mean(dim=1)
        return self.preset.factor * (rows * weights).sum() / weights.sum().clamp_min(1e-300)
