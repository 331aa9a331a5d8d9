"""Linear model: the energy is a weighted sum of the features, with weights per element."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import nn

from forgefield.models.base import Model, ModelSettings
from forgefield.stages import Stage

__all__ = ["Linear", "LinearSettings"]


class LinearSettings(ModelSettings):
    """A linear model has no settings beyond its kind."""

    kind: Literal["linear"] = "linear"


class Linear(Model):
    """``E_i = b_I + w_I . q_i`` for an atom of element I.

    Source: Yanxon et al. (PyXtal_FF), eq. 21 without its quadratic part; solved by least squares.
    """

    Settings: ClassVar[type[ModelSettings]] = LinearSettings

    def __init__(self, n_features: int, n_species: int, settings: ModelSettings | None = None) -> None:
        super().__init__(n_features, n_species, settings or LinearSettings())
        self.weight = nn.Parameter(torch.zeros(n_species, n_features))
        self.bias = nn.Parameter(torch.zeros(n_species))

    def energy(self, stage: Stage, features: Any) -> Any:
        """Return the atomic energy; see `Model.energy`."""
        return stage.linear(self.weight, features, self.bias)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw small normal weights."""
        with torch.no_grad():
            self.weight.normal_(0.0, 0.1 * self.n_features**-0.5, generator=generator)
            self.bias.zero_()
