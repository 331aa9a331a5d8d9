"""A potential for some of its elements: kernels need not loop over those that are absent."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from forgefield.errors import ConfigError
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.models.zbl import ZBL

__all__ = ["restricted"]


def restricted(potential: Potential, species: Sequence[int]) -> Potential:
    """Return a potential that knows only these elements and agrees with the whole one on structures of them.

    Parameters
    ----------
    potential : Potential
        With a descriptor that can be restricted.
    species : sequence of int
        Atomic numbers, ascending.
    """
    unknown = set(species) - set(potential.species)
    if unknown:
        raise ConfigError(
            f"elements {sorted(unknown)} are not among those of the potential, {potential.species}"
        )
    index = np.searchsorted(potential.species, species)
    rows = torch.from_numpy(index)
    descriptor = potential.descriptor.restricted(index)
    model = make_model(potential.model.settings, descriptor.n_features, len(species)).to(potential.dtype)
    with torch.no_grad():
        for own, whole in zip(model.parameters(), potential.model.parameters(), strict=True):
            own.copy_(whole if own.shape == whole.shape else whole[rows])  # shared ones have no row for each
    result = Potential(
        descriptor,
        model,
        {z: float(potential.references[i]) for z, i in zip(species, index, strict=True)},
        float(potential.energy_scale),
        exact_free_atom=bool(potential.exact_free_atom),
        zbl=_repulsion(potential.zbl, index),
    )
    result.scaler = copy.deepcopy(potential.scaler)
    return result


def _repulsion(zbl: ZBL | None, index: np.ndarray) -> ZBL | None:
    if zbl is None:
        return None
    result = copy.copy(zbl)
    nn.Module.__init__(result)
    result.species = tuple(zbl.species[i] for i in index)
    result.settings = zbl.settings
    result.tables = {name: table[np.ix_(index, index)] for name, table in zbl.tables.items()}
    result.screening = zbl.screening[:, :, index][:, :, :, index]
    result.cutoff = float(result.tables["outer"].max())
    return result
