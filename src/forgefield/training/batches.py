"""Labelled structures as tensors, and mini-batches of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, overload

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor

from forgefield.data import group_of
from forgefield.errors import of_structure
from forgefield.graph import Graph, batch
from forgefield.keys import PROPERTIES
from forgefield.models.potential import Evaluation, Potential
from forgefield.models.tensors import TensorGraph, to_tensors

__all__ = ["LEAST_SCALES", "LabelledBatch", "LabelledSet", "Labels", "labels_of", "volume_of", "weights_of"]

FloatArray = NDArray[np.float64]
T = TypeVar("T")

LEAST_SCALES = {"energy": 1e-3, "forces": 1e-2, "stress": 1e-4}
"""No labels are taken to vary by less than this: eV/atom, eV/Å, eV/Å^3."""

_WEIGHTS = {k: f"{k}_weight" for k in PROPERTIES}


@dataclass(frozen=True)
class Labels:
    """Labels of one structure; None where there is none.

    Attributes
    ----------
    energy : float [eV]
        Reference energies subtracted.
    forces : (n_atoms, 3) [eV/Å]
    strain_gradient : (6,) [eV]
        Stress times volume.
    weights : dict of property to float
        Weight of the structure in each term.
    """

    energy: float | None
    forces: FloatArray | None
    strain_gradient: FloatArray | None
    weights: dict[str, float]


@dataclass(frozen=True)
class LabelledBatch:
    """A mini-batch; labels are zero where the masks say there are none.

    Attributes
    ----------
    graph : TensorGraph
    energy : (n_structures,) float64; has_energy : bool mask
    forces : (n_atoms, 3); has_forces : (n_atoms,) bool mask
    strain_gradient : (n_structures, 6); has_stress : bool mask
    weights : dict of property to (n_structures,) float64
    """

    graph: TensorGraph
    energy: Tensor
    has_energy: Tensor
    forces: Tensor
    has_forces: Tensor
    strain_gradient: Tensor
    has_stress: Tensor
    weights: dict[str, Tensor]


class _Graphs(Sequence[Graph]):
    """Graphs of structures, built when first asked for and kept."""

    def __init__(self, potential: Potential, frames: Sequence[Atoms]) -> None:
        self._potential, self._frames = potential, frames
        self._kept: list[Graph | None] = [None] * len(frames)

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, i: int) -> Graph: ...
    @overload
    def __getitem__(self, i: slice) -> list[Graph]: ...
    def __getitem__(self, i: int | slice) -> Graph | list[Graph]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        found = self._kept[i]
        if found is None:
            found = self._kept[i] = self._build(i)
        return found

    def passing(self, i: int) -> Graph:
        """Return a graph without keeping it."""
        return self._kept[i] or self._build(i)

    def _build(self, i: int) -> Graph:
        atoms = self._frames[i]
        with of_structure(atoms.info.get("name", f"structure {i}")):
            return self._potential.graph(atoms)


class LabelledSet:
    """Structures with labels, their graphs built once, when they are first needed.

    Parameters
    ----------
    potential : Potential
        Gives elements, cutoffs and reference energies.
    frames : sequence of ase.Atoms
        With energy, forces and stress in ``atoms.calc.results`` where labelled.
    group_weights : mapping of group to factor, optional
        Multiplies the weights of the structures of a group (``info["config_type"]``).
    """

    def __init__(
        self, potential: Potential, frames: Sequence[Atoms], group_weights: Mapping[str, float] | None = None
    ) -> None:
        factors = group_weights or {}
        references = dict(zip(potential.species, potential.references.tolist(), strict=True))
        self.frames: Sequence[Atoms] = list(frames)
        self.graphs = _Graphs(potential, self.frames)
        self.labels = [
            labels_of(atoms, references, factors.get(group_of(atoms), 1.0)) for atoms in self.frames
        ]
        self.names = [str(a.info.get("name", f"structure {n}")) for n, a in enumerate(frames)]

    def __len__(self) -> int:
        return len(self.frames)

    def subset(self, potential: Potential, index: Sequence[int]) -> LabelledSet:
        """Return some of the structures; `potential` builds their graphs."""
        some = copy.copy(self)
        some.frames = [self.frames[i] for i in index]
        some.labels = [self.labels[i] for i in index]
        some.names = [self.names[i] for i in index]
        some.graphs = _Graphs(potential, some.frames)
        return some

    @property
    def n_atoms(self) -> int:
        """Atoms in all structures."""
        return sum(map(len, self.frames))

    @property
    def n_pairs(self) -> int:
        """Padded pairs in all structures, over all lists."""
        return sum(p.neighbours.size for g in self.graphs for p in g.pairs)

    def learned(self, potential: Potential) -> list[Labels]:
        """Return the labels without what is fixed in the potential (its nuclear repulsion): what is left to learn."""
        if potential.zbl is None:
            return self.labels
        parts = (potential.baseline(to_tensors(g, torch.float64, potential.device)) for g in self.graphs)
        return [_without(x, part) for x, part in zip(self.labels, parts, strict=True)]

    @property
    def max_neighbours(self) -> list[int]:
        """Most neighbours of an atom in each list of pairs."""
        lists = zip(*(g.pairs for g in self.graphs), strict=True)
        return [max(int(p.counts.max(initial=0)) for p in pairs) for pairs in lists]

    def scales(self) -> dict[str, float]:
        """Root mean square of the labels: energy per atom [eV], force components [eV/Å], stress [eV/Å^3].

        The energy is taken about its mean, which the model's bias absorbs. Labels of weight zero do not count, unless a
        property has no others.
        """
        energies = [
            (x.weights["energy"] > 0, x.energy / len(a)) for x, a in self._pairs() if x.energy is not None
        ]
        forces = {True: (0, 0.0), False: (0, 0.0)}  # one by one: the labels may be on disk
        for x in self.labels:
            if x.forces is not None:
                of = x.weights["forces"] > 0
                count, squares = forces[of]
                forces[of] = count + x.forces.size, squares + float(np.square(x.forces).sum())
        stresses = [
            (x.weights["stress"] > 0, x.strain_gradient / volume_of(a))
            for x, a in self._pairs()
            if x.strain_gradient is not None
        ]
        count, squares = forces[True] if forces[True][0] else forces[False]
        result = {}
        if energies:
            result["energy"] = float(np.array(_counting(energies), dtype=np.float64).std())
        if count:
            result["forces"] = float(np.sqrt(squares / count))
        if stresses:
            result["stress"] = float(np.sqrt(np.mean(np.square(_counting(stresses)))))
        return {k: max(v, LEAST_SCALES[k]) for k, v in result.items()}

    def _pairs(self) -> Iterator[tuple[Labels, Atoms]]:
        return zip(self.labels, self.frames, strict=True)

    def batch(
        self, index: Sequence[int], dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> LabelledBatch:
        """Return the structures with these indices as one batch."""
        graph = batch([self.graphs[i] for i in index])
        labels = [self.labels[i] for i in index]
        forces = np.concatenate(
            [
                np.zeros((self.graphs[i].n_atoms, 3)) if x.forces is None else x.forces
                for i, x in zip(index, labels, strict=True)
            ]
        )
        has_forces = np.repeat([x.forces is not None for x in labels], graph.n_atoms_per_structure)
        strain = np.array([np.zeros(6) if x.strain_gradient is None else x.strain_gradient for x in labels])

        def tensor(values: object, kind: torch.dtype) -> Tensor:
            return torch.as_tensor(np.asarray(values)).to(device=device, dtype=kind)

        return LabelledBatch(
            graph=to_tensors(graph, dtype, device),
            energy=tensor([x.energy or 0.0 for x in labels], torch.float64),
            has_energy=tensor([x.energy is not None for x in labels], torch.bool),
            forces=tensor(forces, dtype),
            has_forces=tensor(has_forces, torch.bool),
            strain_gradient=tensor(strain, dtype),
            has_stress=tensor([x.strain_gradient is not None for x in labels], torch.bool),
            weights={k: tensor([x.weights[k] for x in labels], torch.float64) for k in PROPERTIES},
        )


def _counting(values: Sequence[tuple[bool, T]]) -> list[T]:
    """Return the values that are marked, or all where none is."""
    return [x for marked, x in values if marked] or [x for _, x in values]


def volume_of(atoms: Atoms) -> float:
    """Return the volume [Å^3] of a structure, NaN where it is not periodic in three directions."""
    if False in atoms.pbc.tolist():
        return np.nan
    (a, b, c), (d, e, f), (g, h, i) = (
        atoms.cell.array.tolist()
    )  # plain numbers: NumPy takes five times as long
    return abs(float(a * (e * i - f * h) + b * (f * g - d * i) + c * (d * h - e * g)))


def labels_of(atoms: Atoms, references: dict[int, float], factor: float) -> Labels:
    """Return the labels of a structure, its weights times a factor."""
    results = atoms.calc.results if atoms.calc is not None else {}
    energy = results.get("energy")
    if energy is not None:
        energy = float(energy) - sum(map(references.__getitem__, atoms.numbers.tolist()))
    forces = results.get("forces")
    stress = results.get("stress")
    volume = math.nan if stress is None else volume_of(atoms)
    strain = None if math.isnan(volume) else np.asarray(stress, dtype=np.float64) * volume
    return Labels(
        energy=energy,
        forces=None if forces is None else np.asarray(forces, dtype=np.float64),
        strain_gradient=strain,
        weights=weights_of(atoms, factor),
    )


def weights_of(atoms: Atoms, factor: float) -> dict[str, float]:
    """Return the weight of a structure in each term of the loss, times a factor."""
    weight = factor * float(atoms.info.get("weight", 1.0))
    return {k: weight * float(atoms.info.get(name, 1.0)) for k, name in _WEIGHTS.items()}


def _without(labels: Labels, part: Evaluation | None) -> Labels:
    if part is None:
        return labels
    energy, forces, strain = labels.energy, labels.forces, labels.strain_gradient
    return replace(
        labels,
        energy=None if energy is None else energy - float(part.energy[0]),
        forces=None if forces is None else forces - part.forces.double().cpu().numpy(),
        strain_gradient=None if strain is None else strain - part.strain_gradient[0].double().cpu().numpy(),
    )


def elements_of(frames: Sequence[Atoms]) -> list[str]:
    """Return the element symbols present, by ascending atomic number."""
    return [chemical_symbols[z] for z in sorted({int(z) for a in frames for z in a.numbers})]
