"""Start values that depend on the data: feature scaling, energy unit, mean energy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from forgefield.expansions import torch_backend as backend
from forgefield.models.potential import Potential
from forgefield.models.scaler import ScalingKind
from forgefield.models.tensors import TensorGraph
from forgefield.training.batches import LabelledSet
from forgefield.training.energy_start import fit_output_layer

__all__ = ["feature_blocks", "initialise", "least_spread"]

SAMPLE_STRUCTURES = 200
"""Structures on which feature scaling is measured; more change nothing."""

RATTLED_STRUCTURES = 5
RATTLE = 0.03
"""Displacements of rattled structures, in nearest distances: 0.07 Å in silicon, as at room temperature."""
LEAST_SHARE = 0.1
"""Of what a feature changes by in rattled structures: no feature is taken to vary less than that."""


def feature_blocks(potential: Potential, data: LabelledSet, index: list[int]) -> Iterator[tuple[int, Tensor]]:
    """Yield (species, unscaled features) of the atoms of some structures."""
    for i in index:
        yield from _blocks_of(potential, data.batch([i], potential.dtype, potential.device).graph)


def _blocks_of(potential: Potential, graph: TensorGraph) -> Iterator[tuple[int, Tensor]]:
    with torch.no_grad():
        a = [
            backend.expand(e, p.vectors, p.species, graph.species)
            for e, p in zip(potential.descriptor.expansions, graph.pairs, strict=False)
        ]
        yield from potential.features(a, graph)


def least_spread(potential: Potential, data: LabelledSet) -> Tensor | None:
    """Return what features are taken to vary by at least, (n_features,), from some structures with rattled atoms.

    Perfect crystals have features that are zero by symmetry, or equal in all of them. Scaled by what little they vary by,
    the least displacement of an atom would be a change beyond all measure.
    """
    rng = np.random.default_rng(0)
    changes = []
    for i in np.unique(np.linspace(0, len(data) - 1, RATTLED_STRUCTURES).astype(int)).tolist():
        pairs = max(data.graphs[i].pairs, key=lambda p: p.width)
        if pairs.counts.max(initial=0) == 0:
            continue  # free atoms
        nearest = float(np.linalg.norm(pairs.vectors, axis=2).min())
        atoms = data.frames[i].copy()
        atoms.positions += RATTLE * nearest * rng.standard_normal((len(atoms), 3))
        rattled = potential.tensors(potential.graph(atoms))
        before, after = (
            torch.cat([q for _, q in blocks]).double()
            for blocks in (feature_blocks(potential, data, [i]), _blocks_of(potential, rattled))
        )
        changes.append(after - before)
    if not changes:
        return None
    return LEAST_SHARE * torch.cat(changes).square().mean(dim=0).sqrt()


def initialise(
    potential: Potential, data: LabelledSet, scaling: ScalingKind, generator: torch.Generator
) -> None:
    """Draw the parameters, measure the feature scaling and set the unit of the energy.

    The unit is the root mean square force times 1 Å: the depth of the energy surface the model has to span, known
    without looking at absolute energies. Energies far from zero then start at their mean: see `energy_start`.
    """
    reset = getattr(potential.descriptor, "reset_parameters", None)
    if reset is not None:
        reset(generator)
    potential.model.reset_parameters(generator)
    count = min(len(data), SAMPLE_STRUCTURES)
    index = np.unique(np.linspace(0, len(data) - 1, count).astype(int)).tolist()
    blocks = [(i, species, q) for i in index for species, q in feature_blocks(potential, data, [i])]
    features = torch.cat([q for _, _, q in blocks])
    potential.scaler.fit(features, scaling, least_spread(potential, data))
    scales = data.scales()
    unit = scales.get("forces", scales.get("energy", 1.0))
    potential.energy_scale.fill_(float(np.clip(unit, 0.01, 100.0)))
    learned = data.learned(potential)
    energies = {i: (e, data.graphs[i].n_atoms) for i in index if (e := learned[i].energy) is not None}
    fit_output_layer(potential, blocks, energies)
