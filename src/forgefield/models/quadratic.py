"""Quadratic model: the energy is a polynomial of second degree in the features, per element."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from forgefield.models.base import Model, ModelSettings
from forgefield.stages import Stage

__all__ = ["Quadratic", "QuadraticSettings"]


class QuadraticSettings(ModelSettings):
    """A quadratic model has no settings beyond its kind."""

    kind: Literal["quadratic"] = "quadratic"


class Quadratic(Model):
    """``E_i = b_I + w_I . q_i + 1/2 q_i . W_I q_i`` for an atom of element I.

    Attributes
    ----------
    weight : (n_species, n_features) parameter
    matrix : (n_species, n_features, n_features) parameter
        Only its symmetric part acts. Least squares writes symmetric ones, and gradients are symmetric.
    bias : (n_species,) parameter

    Notes
    -----
    The product ``W q`` is one linear map: n^2 operations for an atom and no list of n (n + 1) / 2 products.
    Source: Wood and Thompson, J. Chem. Phys. 148 (2018) 241721, eq. 11; Yanxon et al. (PyXtal_FF), eq. 21.
    """

    Settings: ClassVar[type[ModelSettings]] = QuadraticSettings
    identity: Tensor
    halves: Tensor

    def __init__(self, n_features: int, n_species: int, settings: ModelSettings | None = None) -> None:
        super().__init__(n_features, n_species, settings or QuadraticSettings())
        self.weight = nn.Parameter(torch.zeros(n_species, n_features))
        self.matrix = nn.Parameter(torch.zeros(n_species, n_features, n_features))
        self.bias = nn.Parameter(torch.zeros(n_species))
        # Constants of the operations; files do not hold them.
        eye = torch.eye(n_features).expand(n_species, n_features, n_features).clone()
        self.register_buffer("identity", eye, persistent=False)
        self.register_buffer("halves", torch.full((n_species, n_features), 0.5), persistent=False)

    def energy(self, stage: Stage, features: Any) -> Any:
        """Return the atomic energy; see `Model.energy`.

        Kernels fold the scaling of the features into the linear map that follows; the map with the identity is where
        scaled features exist on their own.
        """
        q = stage.linear(self.identity, features)
        linear = stage.linear(self.weight, q, self.bias)
        products = stage.map(lambda v: [v[0] * v[1]], q, stage.linear(self.matrix, q))
        return stage.map(lambda v: [v[0] + v[1]], linear, stage.linear(self.halves, products))

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw small normal weights, smaller ones for the products."""
        n = self.n_features
        with torch.no_grad():
            self.weight.normal_(0.0, 0.1 * n**-0.5, generator=generator)
            self.matrix.normal_(0.0, 0.02 / n, generator=generator)
            self.matrix.copy_(0.5 * (self.matrix + self.matrix.transpose(1, 2)))
            self.bias.zero_()
