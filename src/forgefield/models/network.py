"""Feed-forward network per element."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from forgefield.formulas.activations import ACTIVATIONS
from forgefield.models.base import Model, ModelSettings
from forgefield.stages import Stage, TorchArray, TorchStage

__all__ = ["Network", "NetworkSettings"]


class NetworkSettings(ModelSettings):
    """Layers of the network."""

    kind: Literal["network"] = "network"
    hidden: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(
        (30,), min_length=1, max_length=8, description="neurons of each hidden layer"
    )
    activation: Literal["tanh", "silu", "softplus"] = Field("tanh", description="activation function")
    shared: bool = Field(
        default=False,
        description="one network for all elements, told apart by their features and the bias of the output alone; false: "
        "one for each element",
    )


class Network(Model):
    """``E_i = N_I(q_i)``: one network for each element, any number of hidden layers, linear output.

    With `shared`, ``E_i = N(q_i) + b_I``: one network for all, as of NEP3 (Fan et al., J. Chem. Phys. 157 (2022) 114801),
    and a bias for each element. Its tensors have one row where the others have one for each element.

    Source: Huang et al. (GNEP), eq. D1.1 (one hidden layer); Yanxon et al. (PyXtal_FF), eq. 24 (any depth).
    """

    Settings: ClassVar[type[ModelSettings]] = NetworkSettings
    settings: NetworkSettings

    def __init__(self, n_features: int, n_species: int, settings: ModelSettings | None = None) -> None:
        super().__init__(n_features, n_species, settings or NetworkSettings())
        sizes = [n_features, *self.settings.hidden, 1]
        pairs = list(itertools.pairwise(sizes))
        n = 1 if self.settings.shared else n_species
        self.weights = nn.ParameterList(torch.empty(n, i, o) for i, o in pairs)
        self.biases = nn.ParameterList(torch.empty(n, o) for o in self.settings.hidden)
        self.biases.append(torch.empty(n_species, 1))
        self.reset_parameters()

    def energy(self, stage: Stage, features: Any) -> Any:
        """Return the atomic energy; see `Model.energy`."""
        return stage.linear(self.weights[-1], self._hidden(stage, features), self.biases[-1])

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Return weight (n_species, n_in, n_out) and bias (n_species, n_out) of each layer, also of a shared network."""
        pairs = zip(self.weights, self.biases, strict=True)
        return [(w.expand(self.n_species, -1, -1), b.expand(self.n_species, -1)) for w, b in pairs]

    def last_hidden(self, features: Tensor, species: int) -> Tensor:
        """Return the neurons (n_atoms, n) before the linear output, of atoms of one element.

        Parameters
        ----------
        features : (n_atoms, n_features)
            Scaled.
        species : int
        """
        hidden: Tensor = self._hidden(TorchStage(species), TorchArray.of_features(features)).features()
        return hidden

    def _hidden(self, stage: Stage, x: Any) -> Any:
        activation = ACTIVATIONS[self.settings.activation]
        for weight, bias in list(zip(self.weights, self.biases, strict=True))[:-1]:
            x = stage.map(lambda v: [activation(v[0])], stage.linear(weight, x, bias))
        return x

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights: normal with variance 1 / fan-in, spread biases, a quiet output layer."""
        with torch.no_grad():
            last = len(self.weights) - 1
            for n, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                weight.normal_(0.0, weight.shape[1] ** -0.5, generator=generator)
                if n == last:
                    bias.zero_()
                else:
                    bias.normal_(0.0, 0.5, generator=generator)
