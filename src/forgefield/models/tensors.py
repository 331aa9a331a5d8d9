"""A graph on the device and in the number type of a potential."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forgefield.graph import Graph

__all__ = ["PairTensors", "TensorGraph", "to_tensors"]


@dataclass(frozen=True)
class PairTensors:
    """Padded pair rows of one expansion; see `graph.Pairs`.

    Attributes
    ----------
    neighbours : (n_atoms, width) int
    species : (n_atoms, width) int
    vectors : (n_atoms, width, 3) [Å]
    """

    neighbours: Tensor
    species: Tensor
    vectors: Tensor


@dataclass(frozen=True)
class TensorGraph:
    """A batch ready for a potential.

    Attributes
    ----------
    blocks : list of (species, rows)
        Atoms of each element present; together all rows, in `order`.
    restore : (n_atoms,) int
        Puts values that were computed block by block back into the order of the atoms.
    structure : (n_atoms,) int
    volumes : (n_structures,) float64 [Å^3]
    n_atoms_per_structure : (n_structures,) int
    pairs : tuple of PairTensors
    """

    blocks: tuple[tuple[int, Tensor], ...]
    restore: Tensor
    species: Tensor
    structure: Tensor
    volumes: Tensor
    n_atoms_per_structure: Tensor
    pairs: tuple[PairTensors, ...]

    @property
    def n_atoms(self) -> int:
        """Atoms in the batch."""
        return len(self.species)

    @property
    def n_structures(self) -> int:
        """Structures in the batch."""
        return len(self.volumes)


def species_blocks(species: Tensor) -> tuple[tuple[tuple[int, Tensor], ...], Tensor]:
    """Group atoms by element; return the blocks and the permutation that undoes the grouping."""
    order = torch.argsort(species, stable=True)
    restore = torch.empty_like(order)
    restore[order] = torch.arange(len(order), device=order.device)
    present, counts = torch.unique_consecutive(species[order], return_counts=True)
    rows = torch.split(order, counts.tolist())
    return tuple(zip(present.tolist(), rows, strict=True)), restore


def to_tensors(
    graph: Graph, dtype: torch.dtype, device: torch.device | str = "cpu", rows: slice = slice(None)
) -> TensorGraph:
    """Move a graph to tensors; vectors are rounded to `dtype` only here.

    `rows` restricts it to some centres; their neighbours keep the indices of the whole graph.
    """
    everyone = torch.from_numpy(graph.species)
    pairs = []
    for p in graph.pairs:
        neighbours = torch.from_numpy(p.neighbours[rows])
        pairs.append(
            PairTensors(
                neighbours=neighbours.to(device),
                species=everyone[neighbours].to(device),
                vectors=torch.from_numpy(p.vectors[rows]).to(device=device, dtype=dtype),
            )
        )
    species = everyone[rows].to(device)
    blocks, restore = species_blocks(species)
    return TensorGraph(
        blocks=blocks,
        restore=restore,
        species=species,
        structure=torch.from_numpy(graph.structure[rows]).to(device),
        volumes=torch.from_numpy(graph.volumes).to(device),
        n_atoms_per_structure=torch.from_numpy(graph.n_atoms_per_structure).to(device),
        pairs=tuple(pairs),
    )
