"""Rules that look at the sizes of the terms: learned uncertainties, and relative balancing with a random look back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from forgefield.training.weighting.base import Weighting, WeightSettings

__all__ = ["ReLoBRaLo", "ReLoBRaLoSettings", "Uncertainty", "UncertaintySettings"]


class UncertaintySettings(WeightSettings):
    """Learned uncertainties (Kendall, Gal and Cipolla, arXiv:1705.07115).

    The loss is ``sum_k exp(-v_k) l_k + v_k`` with log variances v_k that are learned beside the potential, by Adam, so
    that the weight of a term is one over its variance.
    """

    kind: Literal["uncertainty"] = Field("uncertainty", description="rule for the weights of the loss terms")
    rate: float = Field(0.02, gt=0, le=1, description="learning rate of the log variances, per step")


class Uncertainty(Weighting):
    """One over a learned variance."""

    Settings: ClassVar[type[WeightSettings]] = UncertaintySettings

    def __init__(self, settings: UncertaintySettings, given: Mapping[str, float], seed: int = 0) -> None:
        super().__init__(settings, given, seed)
        self._rate = settings.rate
        zeros = dict.fromkeys(self.names, 0.0)
        self.log_variance, self.mean, self.square = dict(zeros), dict(zeros), dict(zeros)
        self.count = dict.fromkeys(self.names, 0)

    def factors(self, rate: float, share: float) -> Mapping[str, float]:
        """See `Weighting.factors`."""
        del rate, share
        return {k: math.exp(-v) for k, v in self.log_variance.items()}

    def end_of_step(self, terms: Mapping[str, float]) -> None:
        """See `Weighting.end_of_step`."""
        for k in self.names:
            if k not in terms:
                continue
            slope = 1.0 - math.exp(-self.log_variance[k]) * self.floored(k, terms[k])
            self.count[k] += 1
            self.mean[k] = 0.9 * self.mean[k] + 0.1 * slope
            self.square[k] = 0.999 * self.square[k] + 0.001 * slope * slope
            mean = self.mean[k] / (1.0 - 0.9 ** self.count[k])
            size = math.sqrt(self.square[k] / (1.0 - 0.999 ** self.count[k]))
            self.log_variance[k] -= self._rate * mean / (size + 1e-8)

    def state(self) -> dict[str, Any]:
        """See `Weighting.state`."""
        return {
            "log_variance": dict(self.log_variance),
            "mean": dict(self.mean),
            "square": dict(self.square),
            "count": dict(self.count),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """See `Weighting.load`."""
        self.log_variance, self.mean, self.square = (
            {k: float(v) for k, v in state[name].items()} for name in ("log_variance", "mean", "square")
        )
        self.count = {k: int(v) for k, v in state["count"].items()}


class ReLoBRaLoSettings(WeightSettings):
    """Relative loss balancing with random look-back (Bischof and Kraus, arXiv:2110.09813).

    ``b_k(i, j) = m softmax_k(l_k(i) / (T l_k(j)))`` with the number of terms m; each epoch
    ``w(i) = a (r w(i-1) + (1 - r) b(i, 0)) + (1 - a) b(i, i-1)`` with `memory` a and r drawn: 1 with probability
    `look_back`, else 0.
    """

    kind: Literal["relobralo"] = Field("relobralo", description="rule for the weights of the loss terms")
    memory: float = Field(0.95, ge=0, lt=1, description="share of the past, per epoch")
    temperature: float = Field(
        0.1, gt=0, description="T: the lower, the stronger the slowest term is favoured"
    )
    look_back: float = Field(
        0.99, ge=0, le=1, description="probability that the past is the previous epoch's, not the first one's"
    )


class ReLoBRaLo(Weighting):
    """Softmax of the terms relative to what they were."""

    Settings: ClassVar[type[WeightSettings]] = ReLoBRaLoSettings

    def __init__(self, settings: ReLoBRaLoSettings, given: Mapping[str, float], seed: int = 0) -> None:
        super().__init__(settings, given, seed)
        self.settings = settings
        self.weights = dict.fromkeys(self.names, 1.0)
        self.first: dict[str, float] = {}
        self.previous: dict[str, float] = {}
        self.count = 0

    def factors(self, rate: float, share: float) -> Mapping[str, float]:
        """See `Weighting.factors`."""
        del rate, share
        return self.weights

    def end_of_epoch(self, terms: Mapping[str, float]) -> None:
        """See `Weighting.end_of_epoch`."""
        if any(k not in terms for k in self.names):
            return
        now = {k: self.floored(k, terms[k]) for k in self.names}
        if self.previous:
            s = self.settings
            draw = np.random.default_rng([self.seed, self.count]).random()
            old, since, step = self.weights, self._softmax(now, self.first), self._softmax(now, self.previous)
            past = old if draw < s.look_back else since
            self.weights = {k: s.memory * past[k] + (1.0 - s.memory) * step[k] for k in self.names}
        else:
            self.first = now
        self.previous = now
        self.count += 1

    def _softmax(self, now: Mapping[str, float], then: Mapping[str, float]) -> dict[str, float]:
        x = np.array([now[k] / (self.settings.temperature * then[k]) for k in self.names])
        e = np.exp(x - x.max())
        return dict(zip(self.names, (len(x) * e / e.sum()).tolist(), strict=True))

    def state(self) -> dict[str, Any]:
        """See `Weighting.state`."""
        return {
            "weights": dict(self.weights),
            "first": dict(self.first),
            "previous": dict(self.previous),
            "count": self.count,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """See `Weighting.load`."""
        self.weights, self.first, self.previous = (
            {k: float(v) for k, v in state[name].items()} for name in ("weights", "first", "previous")
        )
        self.count = int(state["count"])
