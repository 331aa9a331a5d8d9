"""Scaling of the features: fixed numbers, measured once on the training data, stored in the potential."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["FeatureScaler", "ScalingKind"]

ScalingKind = Literal["standard", "minmax", "none"]


class FeatureScaler(nn.Module):
    """``q -> (q - shift) * scale``.

    Attributes
    ----------
    shift, scale : (n_features,) tensors
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def forward(self, features: Tensor) -> Tensor:
        """Return the scaled features, (n_atoms, n_features)."""
        return (features - self.shift) * self.scale

    def fit(self, features: Tensor, kind: ScalingKind) -> None:
        """Measure shift and scale on the (n_atoms, n_features) features of the training data.

        A feature that does not vary keeps the scale of a small fraction of its size, so that noise is not blown up.
        """
        x = features.detach().double()
        if kind == "none":
            shift, spread = torch.zeros_like(x[0]), torch.ones_like(x[0])
        elif kind == "minmax":
            low, high = x.min(dim=0).values, x.max(dim=0).values
            shift, spread = low, high - low
        else:
            shift, spread = x.mean(dim=0), x.std(dim=0, correction=0)
        floor = 1e-3 * x.abs().amax(dim=0).clamp_min(1e-12)
        self.shift.copy_(shift)
        self.scale.copy_(1.0 / torch.maximum(spread, floor))
