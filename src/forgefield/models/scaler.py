"""Scaling of the features: fixed numbers, measured once on the training data, stored in the potential."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["FeatureScaler", "ScalingKind"]

ScalingKind = Literal["whitened", "standard", "minmax", "none"]

WHITENING_FLOOR = 0.03
"""Variances below this share of the largest are not amplified to one: they are noise, or will be after training."""

REACH = 2.0
"""No atom of the sample is farther from the mean than this, in scaled units. Rare environments (surfaces,
defects) can lie many standard deviations away, where neurons scaled by those alone are close to saturation."""


class FeatureScaler(nn.Module):
    """``q -> ((q - shift) * scale) @ mix``.

    Attributes
    ----------
    shift, scale : (n_features,) tensors
    mix : (n_features, n_features) tensor
        Symmetric; the identity unless the features are whitened. A linear map that the first layer of a network, or a
        linear model, could absorb: it changes how fast a potential trains, not what it can represent.
    """

    shift: Tensor
    scale: Tensor
    mix: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))
        self.register_buffer("mix", torch.eye(n_features))

    def forward(self, features: Tensor) -> Tensor:
        """Return the scaled features, (n_atoms, n_features)."""
        return ((features - self.shift) * self.scale) @ self.mix

    def fit(self, features: Tensor, kind: ScalingKind, least: Tensor | None = None) -> None:
        """Measure the scaling on the (n_atoms, n_features) features of the training data.

        A feature that does not vary keeps the scale of a small fraction of its size, so that noise is not blown up.

        Parameters
        ----------
        features : (n_atoms, n_features) tensor
        kind : {'whitened', 'standard', 'minmax', 'none'}
            ``standard``: zero mean, unit variance; ``whitened``: uncorrelated as well, down to `WHITENING_FLOOR`;
            ``minmax``: from 0 to 1; ``none``: as they are.
        least : (n_features,) tensor, optional
            What a feature is taken to vary by at least, where it is zero by symmetry in all the data, for example.
        """
        x = features.detach().double()
        if kind == "none":
            shift, spread = torch.zeros_like(x[0]), torch.ones_like(x[0])
        elif kind == "minmax":
            low, high = x.min(dim=0).values, x.max(dim=0).values
            shift, spread = low, high - low
        else:
            shift, spread = x.mean(dim=0), x.std(dim=0, correction=0)
            spread = torch.maximum(spread, (x - shift).abs().amax(dim=0) / REACH)
        floor = 1e-3 * x.abs().amax(dim=0).clamp_min(1e-12)
        if least is not None:
            floor = torch.maximum(floor, least.double())
        scale = torch.ones_like(spread) if kind == "none" else 1.0 / torch.maximum(spread, floor)
        self.shift.copy_(shift)
        self.scale.copy_(scale)
        self.mix.copy_(torch.eye(len(shift)))
        if kind == "whitened":
            y = (x - shift) * scale
            values, vectors = torch.linalg.eigh(y.T @ y / len(y))
            # Where all features hardly vary, as of one crystal again and again, their noise is not blown up either.
            root = (values.clamp_min(0.0) + WHITENING_FLOOR * values[-1].clamp_min(1.0)).rsqrt()
            farthest = (y @ vectors).abs().amax(dim=0).clamp_min(1e-12)
            self.mix.copy_((vectors * torch.minimum(root, REACH / farthest)) @ vectors.T)
