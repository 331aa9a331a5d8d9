"""Weights by plan: fixed, ramped with the learning rate, in two stages; and balanced by the errors reached so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from forgefield.training.weighting.base import EARLY, Factors, Weighting, WeightSettings

__all__ = [
    "Balanced",
    "BalancedSettings",
    "Fixed",
    "FixedSettings",
    "Ramp",
    "RampSettings",
    "TwoStage",
    "TwoStageSettings",
]


RAMP_START: Factors = {"energy": 0.02, "forces": 1000.0, "stress": 0.02}
RAMP_LIMIT: Factors = {"energy": 1.0, "forces": 1.0, "stress": 1.0}
FIRST_STAGE: Factors = {"energy": 0.1, "stress": 0.1}
SECOND_STAGE: Factors = {"energy": 10.0}


class FixedSettings(WeightSettings):
    """The weights of `loss`, unchanged but for the factors `early`."""

    kind: Literal["fixed"] = Field("fixed", description="rule for the weights of the loss terms")


class Fixed(Weighting):
    """The given weights."""

    Settings: ClassVar[type[WeightSettings]] = FixedSettings


class RampSettings(WeightSettings):
    """Prefactors tied to the learning rate as in DeePMD-kit (Wang et al., Comput. Phys. Commun. 228 (2018) 178).

    ``p(t) = limit (1 - r(t) / r0) + start r(t) / r0`` with the learning rate r and its highest value r0. The defaults
    are DeePMD-kit's; they multiply the weights of `loss`.
    """

    kind: Literal["ramp"] = Field("ramp", description="rule for the weights of the loss terms")
    start: Factors = Field(
        default_factory=RAMP_START.copy,
        description="factors at the highest learning rate",
    )
    limit: Factors = Field(
        default_factory=RAMP_LIMIT.copy,
        description="factors at learning rate zero",
    )


class Ramp(Weighting):
    """Factors interpolated with the learning rate."""

    Settings: ClassVar[type[WeightSettings]] = RampSettings

    def __init__(self, settings: RampSettings, given: Mapping[str, float], seed: int = 0) -> None:
        super().__init__(settings, given, seed)
        self._start = {str(k): v for k, v in settings.start.items()}
        self._limit = {str(k): v for k, v in settings.limit.items()}

    def factors(self, rate: float, share: float) -> Mapping[str, float]:
        """See `Weighting.factors`."""
        del share
        return {
            k: self._limit.get(k, 1.0) * (1.0 - rate) + self._start.get(k, 1.0) * rate for k in self.names
        }


class TwoStageSettings(WeightSettings):
    """Forces first, then energies: factors that change once."""

    kind: Literal["two_stage"] = Field("two_stage", description="rule for the weights of the loss terms")
    switch: float = Field(0.75, gt=0, lt=1, description="share of the epochs in the first stage")
    first: Factors = Field(default_factory=FIRST_STAGE.copy, description="factors in the first stage")
    second: Factors = Field(default_factory=SECOND_STAGE.copy, description="factors in the second stage")


class TwoStage(Weighting):
    """One set of factors, then another."""

    Settings: ClassVar[type[WeightSettings]] = TwoStageSettings

    def __init__(self, settings: TwoStageSettings, given: Mapping[str, float], seed: int = 0) -> None:
        super().__init__(settings, given, seed)
        self._switch = settings.switch
        self._stages = tuple({str(k): v for k, v in x.items()} for x in (settings.first, settings.second))

    def factors(self, rate: float, share: float) -> Mapping[str, float]:
        """See `Weighting.factors`."""
        del rate
        return self._stages[int(share >= self._switch)]


class BalancedSettings(WeightSettings):
    """Each term divided by its running mean over epochs.

    A relative improvement of any property then counts the same whatever its unit and size; the weights of `loss`
    multiply this. A term whose errors are lost in rounding and noise (forces of perfect crystals) counts as it would at
    1e-4 of its labels. It is the closed form of uncertainty weighting (Kendall, Gal, Cipolla, arXiv:1705.07115): the
    optimal variance of a term is its mean.
    """

    kind: Literal["balanced"] = Field("balanced", description="rule for the weights of the loss terms")
    memory: float = Field(0.9, ge=0, lt=1, description="share of the past in the running mean, per epoch")
    early: Factors = Field(
        default_factory=EARLY.copy,
        description="factors on the weights at the highest learning rate; they go to 1 with the learning rate",
    )


class Balanced(Weighting):
    """Given weights divided by the running means of the terms."""

    Settings: ClassVar[type[WeightSettings]] = BalancedSettings

    def __init__(self, settings: BalancedSettings, given: Mapping[str, float], seed: int = 0) -> None:
        super().__init__(settings, given, seed)
        self._memory = settings.memory
        self.means: dict[str, float] = {}

    def factors(self, rate: float, share: float) -> Mapping[str, float]:
        """See `Weighting.factors`."""
        del rate, share
        return {k: 1.0 / v for k, v in self.means.items()}

    def end_of_epoch(self, terms: Mapping[str, float]) -> None:
        """See `Weighting.end_of_epoch`."""
        keep = self._memory
        for name, value in terms.items():
            mean = self.floored(name, value)
            self.means[name] = keep * self.means[name] + (1 - keep) * mean if name in self.means else mean

    def state(self) -> dict[str, Any]:
        """See `Weighting.state`."""
        return {"means": dict(self.means)}

    def load(self, state: Mapping[str, Any]) -> None:
        """See `Weighting.load`."""
        self.means = {k: float(v) for k, v in state["means"].items()}
