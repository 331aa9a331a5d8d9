"""What a descriptor is: expansions of the neighbourhood plus invariants of their coefficients."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray
from torch import Tensor, nn

from forgefield.config import Schema, parse
from forgefield.errors import ConfigError
from forgefield.expansions import Expansion
from forgefield.expansions import torch_backend as backend
from forgefield.graph import build_graph
from forgefield.stages import ProductTable, Stage, TorchArray, TorchStage

__all__ = ["Descriptor", "DescriptorSettings", "Jacobian", "species_numbers"]


class DescriptorSettings(Schema):
    """Base of every descriptor's parameters; `kind` is its name in the registry."""

    kind: str


def species_numbers(species: Sequence[str | int]) -> tuple[int, ...]:
    """Return ascending atomic numbers of element symbols or numbers, without repeats."""
    numbers = set()
    for s in species:
        number = atomic_numbers.get(s, 0) if isinstance(s, str) else int(s)
        if not 1 <= number < len(chemical_symbols):
            raise ConfigError(f"`species` holds {s!r}, which is not a chemical element")
        numbers.add(number)
    if not numbers:
        raise ConfigError("`species` is empty; name at least one element, e.g. ['Si']")
    return tuple(sorted(numbers))


@dataclass(frozen=True)
class Jacobian:
    """Derivatives of features with respect to the coefficients of a single expansion, as polynomials.

    Attributes
    ----------
    table : ProductTable
    inputs : tuple of Array
        Its arrays.
    features, coefficients : (n_outputs,) int
        Which derivative each output is; coefficients in the order of ``Expansion.shape``.
    """

    table: ProductTable
    inputs: tuple[Any, ...]
    features: NDArray[np.int64]
    coefficients: NDArray[np.int64]


class Descriptor(nn.Module):
    """Invariant features of atomic neighbourhoods.

    A subclass sets `expansions` and implements `features` and `feature_names`; forces, stress, training and compiled
    kernels follow.

    Parameters
    ----------
    species : sequence of str or int
        Elements, as symbols or atomic numbers; kept ascending.
    settings : DescriptorSettings, optional
        Parameters; alternatively give them by name.

    Attributes
    ----------
    species : tuple of int
        Atomic numbers, ascending.
    settings : DescriptorSettings
    expansions : tuple of Expansion
        Stage one. Their coefficients are what `features` receives.
    """

    Settings: ClassVar[type[DescriptorSettings]]
    expansions: tuple[Expansion, ...]

    def __init__(
        self,
        species: Sequence[str | int],
        settings: DescriptorSettings | None = None,
        **parameters: Any,
    ) -> None:
        super().__init__()
        self.species = species_numbers(species)
        self.settings = (
            settings if settings is not None else parse(self.Settings, parameters, where="descriptor")
        )

    @property
    def n_species(self) -> int:
        """Number of elements."""
        return len(self.species)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        """Cutoff [Å] of each expansion."""
        return tuple(e.cutoff for e in self.expansions)

    @property
    def n_features(self) -> int:
        """Features per atom."""
        return len(self.feature_names)

    @property
    @abstractmethod
    def feature_names(self) -> list[str]:
        """Name of every feature, in order."""

    @abstractmethod
    def features(self, stage: Stage, a: Sequence[Any]) -> Any:
        """Return the features of an atom, in terms of the operations of `Stage`.

        Parameters
        ----------
        stage : Stage
        a : one Array per expansion
            Coefficients: rows (channel, radial function), columns the harmonics.

        Returns
        -------
        Array of n_features rows and one column
        """

    restrictable: ClassVar[bool] = False
    """Whether `restricted` works: features keep their number and meaning when elements are left out."""

    def restricted(self, index: NDArray[np.int64]) -> Descriptor:
        """Return the descriptor for the elements of these indices, ascending, where `restrictable`."""
        raise ConfigError(
            f"the descriptor {self.settings.kind} cannot be restricted to elements {index.tolist()}"
        )

    def invariants(self, a: Sequence[Tensor], species: int) -> Tensor:
        """Return the features of a block of atoms of one species.

        Parameters
        ----------
        a : one (n_atoms, n_channels, n_radial, n_harmonics) tensor per expansion
        species : int
            Index of the element of these atoms.

        Returns
        -------
        (n_atoms, n_features) tensor
        """
        arrays = [TorchArray.of_coefficients(x) for x in a]
        result: Tensor = self.features(TorchStage(species), arrays).features()
        return result

    def gradients(self, a: Sequence[Tensor], species: int) -> Iterator[tuple[slice, list[Tensor]]]:
        """Yield the derivatives of the features of a block of atoms, some features at a time.

        Parameters
        ----------
        a, species
            As for `invariants`.

        Yields
        ------
        slice, list of (n, n_atoms, n_channels, n_radial, n_harmonics) tensors
            Which features, and their derivatives with respect to the coefficients of each expansion.
        """
        inputs = [x.detach().requires_grad_() for x in a]
        with torch.enable_grad():
            sums = self.invariants(inputs, species).sum(dim=0)
        for f in range(self.n_features):
            parts = torch.autograd.grad(sums[f], inputs, retain_graph=True, materialize_grads=True)
            yield slice(f, f + 1), [x[None] for x in parts]

    def jacobian(self, stage: Stage, a: Sequence[Any]) -> Jacobian | None:
        """Return the derivatives of the features as polynomials of the coefficients, where that is cheaper.

        Parameters
        ----------
        stage, a
            As for `features`.

        Returns
        -------
        Jacobian or None
            None: the reverse sweep over `features` serves, feature by feature.
        """
        del stage, a
        return None

    def compute(self, atoms: Atoms) -> NDArray[np.float64]:
        """Return the features of every atom, (n_atoms, n_features), in float64."""
        graph = build_graph(atoms, self.species, self.cutoffs)
        numbers = itertools.chain(self.parameters(), self.buffers())
        dtype = next((p.dtype for p in numbers if p.is_floating_point()), torch.float64)
        with torch.no_grad():
            a = []
            centres = torch.from_numpy(graph.species)
            for expansion, pairs in zip(self.expansions, graph.pairs, strict=True):
                neighbour_species = torch.from_numpy(graph.species[pairs.neighbours])
                vectors = torch.from_numpy(pairs.vectors).to(dtype)
                a.append(backend.expand(expansion, vectors, neighbour_species, centres))
            features = np.empty((graph.n_atoms, self.n_features))
            for index in np.unique(graph.species):
                rows = np.flatnonzero(graph.species == index)
                block = [x[torch.from_numpy(rows)] for x in a]
                features[rows] = self.invariants(block, int(index)).double().numpy()
        return features
