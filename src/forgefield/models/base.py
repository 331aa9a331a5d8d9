"""What a model is: atomic energies from features, element by element."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from forgefield.config import Schema
from forgefield.stages import Stage, TorchArray, TorchStage

__all__ = ["Model", "ModelSettings"]


class ModelSettings(Schema):
    """Base of every model's settings; `kind` is its name in the registry."""

    kind: str


class Model(nn.Module):
    """Atomic energy of a block of atoms of one element.

    Parameters
    ----------
    n_features, n_species : int
    settings : ModelSettings
    """

    Settings: ClassVar[type[ModelSettings]]

    def __init__(self, n_features: int, n_species: int, settings: ModelSettings) -> None:
        super().__init__()
        self.n_features = n_features
        self.n_species = n_species
        self.settings = settings

    @abstractmethod
    def energy(self, stage: Stage, features: Any) -> Any:
        """Return the atomic energy in the model's own unit, in terms of the operations of `Stage`.

        Parameters
        ----------
        stage : Stage
        features : Array
            Scaled features, one column.

        Returns
        -------
        Array of one row and one column
        """

    def forward(self, features: Tensor, species: int) -> Tensor:
        """Return the atomic energies of a block of atoms.

        Parameters
        ----------
        features : (n_atoms, n_features) tensor
            Scaled features of atoms of one element.
        species : int
            Index of that element.

        Returns
        -------
        (n_atoms,) tensor
        """
        result: Tensor = self.energy(TorchStage(species), TorchArray.of_features(features)).features()
        return result[:, 0]

    @abstractmethod
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew."""
