"""SoftAdapt: weights from how fast the terms of the loss change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from forgefield.training.weighting.base import Factors, Weighting, WeightSettings

__all__ = ["SoftAdapt", "SoftAdaptSettings"]

EPSILON = 1e-8
LARGE = 500.0
"""Exponents up to here need no care: exp(709) overflows."""


class SoftAdaptSettings(WeightSettings):
    """Algorithm 1 of Ocampo et al., Adaptive loss weighting for machine learning interatomic potentials.

    Every epoch i: slopes ``s_k = l_k(i) - l_k(i-1)`` (eq. 7), divided by the sum of their magnitudes plus 1e-8
    (``slope: normalised``, the paper's default) or by their Euclidean norm (``l2``) or by nothing (``plain``); a softmax
    ``alpha_k = exp(beta s_k) / (sum_m exp(beta s_m) + 1e-8)`` (eq. 6); after every n epochs the mean of the n softmaxes
    becomes the weights. A positive `beta` favours the term that improves least. ``loss_weighted`` multiplies the
    exponentials by the terms themselves, the variant of Heydari et al. (arXiv:1912.12355). For the paper's run: `loss`
    in ``normalisation: softadapt``, and ``prior: false``, for in the paper nothing multiplies the weights.
    """

    kind: Literal["softadapt"] = Field("softadapt", description="rule for the weights of the loss terms")
    beta: float = Field(1.0, ge=-1e6, le=1e6, description="sensitivity; the paper finds the order of 1 best")
    n: int = Field(10, ge=1, le=100_000, description="epochs (or steps) between two changes of the weights")
    slope: Literal["normalised", "plain", "l2"] = Field("normalised", description="what divides the slopes")
    loss_weighted: bool = Field(default=False, description="exponentials times the terms of the loss")
    per: Literal["epoch", "step"] = Field("epoch", description="slopes between epochs, or between steps")
    prior: bool = Field(default=True, description="the weights of `loss` multiply the adaptive ones")
    initial: Factors = Field(
        default_factory=dict, description="weights at the start; not named: one over the number of terms"
    )


class SoftAdapt(Weighting):
    """Softmax of the slopes of the terms."""

    Settings: ClassVar[type[WeightSettings]] = SoftAdaptSettings

    def __init__(self, settings: SoftAdaptSettings, given: Mapping[str, float], seed: int = 0) -> None:
        super().__init__(settings, given, seed)
        self.settings = settings
        start = {str(k): v for k, v in settings.initial.items()}
        self.weights = {k: start.get(k, 1.0 / max(len(self.names), 1)) for k in self.names}
        self.previous: dict[str, float] = {}
        self.collected: list[dict[str, float]] = []
        self.count = 0

    def factors(self, rate: float, share: float) -> Mapping[str, float]:
        """See `Weighting.factors`."""
        del rate, share
        if self.settings.prior:
            return self.weights
        return {k: w / self.given[k] for k, w in self.weights.items()}

    def end_of_step(self, terms: Mapping[str, float]) -> None:
        """See `Weighting.end_of_step`."""
        if self.settings.per == "step":
            self._learn(terms)

    def end_of_epoch(self, terms: Mapping[str, float]) -> None:
        """See `Weighting.end_of_epoch`."""
        if self.settings.per == "epoch":
            self._learn(terms)

    def _learn(self, terms: Mapping[str, float]) -> None:
        if any(k not in terms for k in self.names):
            return  # a batch without labels of one property says nothing of its slope
        if self.previous:
            self.collected.append(self._softmax(terms))
        self.previous = {k: float(terms[k]) for k in self.names}
        self.count += 1
        if self.count % self.settings.n == 0 and self.collected:
            self.weights = {k: sum(x[k] for x in self.collected) / len(self.collected) for k in self.names}
            self.collected = []

    def _softmax(self, terms: Mapping[str, float]) -> dict[str, float]:
        slopes = {k: float(terms[k]) - self.previous[k] for k in self.names}
        if self.settings.slope == "normalised":
            size = sum(abs(s) for s in slopes.values()) + EPSILON
        elif self.settings.slope == "l2":
            size = math.sqrt(sum(s * s for s in slopes.values())) + EPSILON
        else:
            size = 1.0
        exponents = {k: self.settings.beta * s / size for k, s in slopes.items()}
        # Moving all exponents does not change a softmax but keeps it from overflowing.
        top = max(0.0, *exponents.values())
        if self.settings.slope != "plain" and top < LARGE:
            top = 0.0
        parts = {
            k: math.exp(x - top) * (float(terms[k]) if self.settings.loss_weighted else 1.0)
            for k, x in exponents.items()
        }
        total = sum(parts.values()) + EPSILON * math.exp(-top)
        return {k: p / total for k, p in parts.items()}

    def state(self) -> dict[str, Any]:
        """See `Weighting.state`."""
        return {
            "weights": dict(self.weights),
            "previous": dict(self.previous),
            "collected": [dict(x) for x in self.collected],
            "count": self.count,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """See `Weighting.load`."""
        self.weights = {k: float(v) for k, v in state["weights"].items()}
        self.previous = {k: float(v) for k, v in state["previous"].items()}
        self.collected = [{k: float(v) for k, v in x.items()} for x in state["collected"]]
        self.count = int(state["count"])
