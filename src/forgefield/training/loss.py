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
from forgefield.training.batches import LEAST_SCALES, LabelledBatch
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["PRESETS", "Loss", "LossSettings", "Residuals", "Terms"]

LEARNED = 1e-4
"""Errors of this share of the labels are as good as none: what is left of them is rounding and noise."""
NOISE = 1e-2
"""The same, as a share of `batches.LEAST_SCALES`: 0.01 meV/atom, 0.1 meV/Å, 0.16 MPa."""
VOLUME = 10.0
"""About that of an atom [Å^3], where a stress has to be told as a virial."""

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
    """Unweighted loss terms of a batch (scalars); properties without any label of some weight in the batch are absent."""

    values: Mapping[str, Tensor]
    residuals: Residuals


class Loss:
    """Compares an evaluation with the labels of its batch.

    Parameters
    ----------
    settings : LossSettings
    scales : mapping of property to float
        Root mean square of the labels on the training set, used by ``relative``.

    Attributes
    ----------
    labels : dict of property to float
        These root mean squares: eV/atom, eV/Å, eV/Å^3.
    precision : dict of property to float
        Errors below this are as good as none, in the same units: no judgement of a potential and no weight of a term
        may hang on them. Perfect crystals, whose forces any potential has right, are all noise there.
    """

    def __init__(self, settings: LossSettings, scales: Mapping[str, float]) -> None:
        self.settings = settings
        self.preset = PRESETS[settings.normalisation]
        self.scales = self.preset.scales(scales)
        self.labels = {k: float(v) for k, v in scales.items()}
        self.precision = {
            k: max(LEARNED * self.labels.get(k, 0.0), NOISE * least) for k, least in LEAST_SCALES.items()
        }

    def floors(self) -> dict[str, float]:
        """Return the terms of the loss of a potential whose errors are all `precision`."""
        found = {}
        for k, error in self.precision.items():
            x = error * (VOLUME if k == "stress" and self.preset.virial else 1.0) / self.scales[k]
            measure = self._measure(torch.tensor(x, dtype=torch.float64))
            found[k] = self.preset.factor * float(measure)
        return found

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
            self._add(values, "energy", energy, batch.weights["energy"][batch.has_energy])
        if len(forces):
            structure = batch.graph.structure
            weights = batch.weights["forces"][structure]
            if self.preset.forces_by_structure:
                weights = weights / n_atoms[structure]
            self._add(values, "forces", forces, weights[batch.has_forces])
        if len(stress):
            target = strain / n_atoms[batch.has_stress, None] if self.preset.virial else stress
            self._add(values, "stress", target, batch.weights["stress"][batch.has_stress])
        return Terms(values, Residuals(energy.detach(), forces.detach(), stress.detach()))

    def _add(self, values: dict[str, Tensor], name: str, residual: Tensor, weights: Tensor) -> None:
        """Add the weighted mean over structures or atoms (first axis) and components of the error measure.

        Where all weights are zero there is no term, as where there is no label.
        """
        total = weights.sum()
        if not float(total) > 0:
            return
        measure = self._measure(residual.to(torch.float64) / self.scales[name])
        rows = measure if measure.ndim == 1 else measure.mean(dim=1)
        values[name] = self.preset.factor * (rows * weights).sum() / total

    def _measure(self, x: Tensor) -> Tensor:
        """Return the error measure of residuals in units of their scale."""
        if self.settings.error == "mse":
            return x * x
        if self.settings.error == "mae":
            return x.abs()
        delta = self.settings.huber_delta
        size = x.abs()
        return torch.where(size < delta, x * x, delta * (2.0 * size - delta))
