"""First and second derivatives of the atomic energy with respect to the features: the shape two models agree on or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ase import Atoms

from forgefield.models.committee import Committee
from forgefield.models.potential import Potential

__all__ = ["mean_derivatives"]

MAX_ATOMS = 200
"""Atoms whose second derivatives are averaged."""
SHOWN = 2
"""Features whose derivatives are given atom by atom."""


def mean_derivatives(potential: Potential | Committee, frames: Sequence[Atoms]) -> dict[str, Any] | None:
    """Return the averages over atoms of ``dE/dB_k`` and ``d2E/dB_k dB_l`` (paper 4, figure 3), one element only.

    Returns
    -------
    dict or None
        ``first``: (n_features,) [eV]; ``second``: (n_features, n_features), flattened; ``features`` and ``slopes``:
        (`SHOWN`, n_atoms), values of the first features and the derivatives with respect to them. None for several
        elements.
    """
    if isinstance(potential, Committee) or len(potential.elements) != 1:
        return None
    features = [potential.descriptor.compute(atoms) for atoms in frames]
    x = torch.cat([torch.as_tensor(f, dtype=torch.float64) for f in features])[:MAX_ATOMS]
    own = potential.dtype

    def energy(row: torch.Tensor) -> torch.Tensor:
        scaled = potential.scaler(row[None].to(own))
        return torch.as_tensor(potential.model(scaled, 0)).sum() * float(potential.energy_scale)

    slopes = torch.stack([torch.func.grad(energy)(row) for row in x])
    second = torch.stack([torch.func.hessian(energy)(row) for row in x]).mean(dim=0)
    return {
        "first": slopes.mean(dim=0).tolist(),
        "second": second.reshape(-1).tolist(),
        "features": x[:, :SHOWN].T.tolist(),
        "slopes": slopes[:, :SHOWN].T.tolist(),
    }
