"""Weights of the loss terms during training: fixed, or balanced by the errors reached so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from forgefield.config import Schema

__all__ = ["LossWeights", "WeightSettings"]


Property = Literal["energy", "forces", "stress"]

EARLY: dict[Property, float] = {"energy": 0.1, "stress": 0.1}
"""Forces first: they say most of the energy surface while the learning rate is high."""


class WeightSettings(Schema):
    """How the weights of the loss terms change while training."""

    kind: Literal["fixed", "balanced"] = Field(
        "balanced", description="fixed: as in `loss`; balanced: each term divided by its current mean"
    )
    memory: float = Field(
        0.9, ge=0, lt=1, description="balanced: share of the past in the running mean, per epoch"
    )
    early: dict[Property, Annotated[float, Field(ge=0)]] = Field(
        default_factory=EARLY.copy,
        description="factors on the weights at the highest learning rate; they go to 1 with the learning rate",
    )


class LossWeights:
    """Current weight of each term.

    ``balanced`` divides each term by its running mean over epochs, so that a relative improvement of any property
    counts the same whatever its unit and size; the given weights multiply this. It is the closed form of
    uncertainty weighting (Kendall, Gal, Cipolla, arXiv:1705.07115): the optimal variance of a term is its mean.

    Parameters
    ----------
    settings : WeightSettings
    given : mapping of property to weight
    """

    def __init__(self, settings: WeightSettings, given: Mapping[str, float]) -> None:
        self.settings = settings
        self.given = dict(given)
        self.means: dict[str, float] = {}

    def current(self, rate: float = 0.0) -> dict[str, float]:
        """Return the weights to use now.

        Parameters
        ----------
        rate : float
            Learning rate relative to the highest one; the factors `early` are interpolated with it, as DeePMD-kit
            ties its prefactors to the learning rate (Wang et al., Comput. Phys. Commun. 228 (2018) 178).
        """
        weights = {}
        factors: Mapping[str, float] = {str(k): v for k, v in self.settings.early.items()}
        for name, weight in self.given.items():
            early = factors.get(name, 1.0)
            mean = self.means.get(name, 0.0) if self.settings.kind == "balanced" else 0.0
            weights[name] = weight * (1.0 + (early - 1.0) * rate) / (mean or 1.0)
        return weights

    def end_of_epoch(self, terms: Mapping[str, float]) -> None:
        """Learn from the unweighted means of the terms over the epoch."""
        if self.settings.kind == "fixed":
            return
        keep = self.settings.memory
        for name, value in terms.items():
            mean = max(float(value), 1e-300)
            self.means[name] = keep * self.means[name] + (1 - keep) * mean if name in self.means else mean

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return {"means": dict(self.means)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore from a checkpoint."""
        self.means = {k: float(v) for k, v in state["means"].items()}
