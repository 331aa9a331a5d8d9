"""Rules that look at the gradients of the terms: equal norms, and a direction that all terms agree with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from forgefield.training.weighting.base import Weighting, WeightSettings

__all__ = ["ConFIG", "ConFIGSettings", "GradNorm", "GradNormSettings"]


class GradNormSettings(WeightSettings):
    """Gradients of equal norm (Chen et al., GradNorm, arXiv:1711.02257).

    The weights that make ``w_k |grad l_k|`` equal to the mean norm times ``(l_k / l_k(0))^alpha`` relative to the mean of
    these: GradNorm follows a gradient towards them, here they are taken at once and smoothed. The norm is that of all
    parameters. A measurement costs one gradient for each term. A term whose errors are lost in rounding and noise is left
    out, with the mean weight.
    """

    kind: Literal["gradnorm"] = Field("gradnorm", description="rule for the weights of the loss terms")
    alpha: float = Field(0.0, ge=0, le=3, description="how much a term that learns slowly is favoured")
    interval: int = Field(20, ge=1, description="steps between two measurements")
    memory: float = Field(0.9, ge=0, lt=1, description="share of the past, per measurement")


class GradNorm(Weighting):
    """Mean gradient norm over the norm of each term's gradient."""

    Settings: ClassVar[type[WeightSettings]] = GradNormSettings

    def __init__(self, settings: GradNormSettings, given: Mapping[str, float], seed: int = 0) -> None:
        super().__init__(settings, given, seed)
        self.settings = settings
        self.weights = dict.fromkeys(self.names, 1.0)
        self.first: dict[str, float] = {}
        self.count = 0

    def factors(self, rate: float, share: float) -> Mapping[str, float]:
        """See `Weighting.factors`."""
        del rate, share
        return self.weights

    def wants_gradients(self) -> bool:
        """See `Weighting.wants_gradients`."""
        return self.count % self.settings.interval == 0

    def end_of_step(self, terms: Mapping[str, float]) -> None:
        """See `Weighting.end_of_step`."""
        del terms
        self.count += 1

    def from_gradients(
        self,
        gradients: Mapping[str, Tensor],
        values: Mapping[str, float],
        rate: float = 0.0,
        share: float = 1.0,
    ) -> dict[str, float]:
        """See `Weighting.from_gradients`."""
        if all(k in gradients for k in self.names):
            self._measure({k: float(g.norm()) for k, g in gradients.items()}, values)
        return self.current(rate, share)

    def _measure(self, norms: Mapping[str, float], values: Mapping[str, float]) -> None:
        """Learn from the norms of the gradients of all terms and from the terms."""
        self.first = self.first or {k: self.floored(k, values[k]) for k in self.names}
        norms = {k: n for k, n in norms.items() if n > 0 and values[k] > self.floors.get(k, 0.0)}
        if not norms:
            return
        names = [k for k in self.names if k in norms]
        slow = {k: (values[k] / self.first[k]) ** self.settings.alpha for k in names}
        mean_norm = sum(norms.values()) / len(norms)
        mean_slow = max(sum(slow.values()) / len(slow), 1e-300)
        keep = self.settings.memory if self.count else 0.0
        found = {k: mean_norm * slow[k] / (mean_slow * norms[k]) for k in names}
        total = sum(found.values()) / len(found)
        new = {k: found[k] / total if k in found else 1.0 for k in self.names}
        self.weights = {k: keep * self.weights[k] + (1.0 - keep) * new[k] for k in self.names}

    def state(self) -> dict[str, Any]:
        """See `Weighting.state`."""
        return {"weights": dict(self.weights), "first": dict(self.first), "count": self.count}

    def load(self, state: Mapping[str, Any]) -> None:
        """See `Weighting.load`."""
        self.weights = {k: float(v) for k, v in state["weights"].items()}
        self.first = {k: float(v) for k, v in state["first"].items()}
        self.count = int(state["count"])


class ConFIGSettings(WeightSettings):
    """A step that lowers all terms at once (Liu, Chu and Thuerey, ConFIG, arXiv:2408.11104).

    Along the direction u whose angles with the gradients of the terms have cosines in the ratio of the weights of
    `loss` (equal in the paper), as far as the projections of the gradients on it add up to. Costs one gradient for each
    term, at every step. Terms whose errors are lost in rounding and noise have no say.
    """

    kind: Literal["config"] = Field("config", description="rule for the weights of the loss terms")


class ConFIG(Weighting):
    """Combination of the gradients without conflict."""

    Settings: ClassVar[type[WeightSettings]] = ConFIGSettings
    signed = True

    def wants_gradients(self) -> bool:
        """See `Weighting.wants_gradients`."""
        return len(self.names) > 1

    def from_gradients(
        self,
        gradients: Mapping[str, Tensor],
        values: Mapping[str, float],
        rate: float = 0.0,
        share: float = 1.0,
    ) -> dict[str, float]:
        """See `Weighting.from_gradients`.

        Notes
        -----
        With unit gradients as columns of U, ``u ~ U (U^T U)^-1 c`` for the wanted cosines c; the result is
        ``sum_k (g_k . u) u``, written as a combination of the g_k.
        """
        own = self.current(rate, share)
        names = [
            k for k, g in gradients.items() if float(g.norm()) > 0 and values[k] > self.floors.get(k, 0.0)
        ]
        if not names:
            return own
        g = torch.stack([gradients[k] for k in names]).to(torch.float64)
        norms = g.norm(dim=1)
        unit = g / norms[:, None]
        wanted = torch.tensor([own[k] for k in names], dtype=torch.float64)
        parts = torch.linalg.lstsq(unit @ unit.T, wanted[:, None], driver="gelsd").solution[:, 0]
        direction = parts @ unit
        length = float(direction.norm())
        if length <= 0:
            return own
        along = float((g @ direction).sum()) / length
        found = (parts / norms) * (along / length)
        return dict.fromkeys(own, 0.0) | dict(zip(names, found.tolist(), strict=True))
