"""Rules for the weights of the loss terms: a registry, and their settings by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forgefield.config import parse
from forgefield.errors import ConfigError, did_you_mean
from forgefield.training.weighting.base import Weighting, WeightSettings
from forgefield.training.weighting.gradients import ConFIG, GradNorm
from forgefield.training.weighting.losses import ReLoBRaLo, Uncertainty
from forgefield.training.weighting.simple import Balanced, BalancedSettings, Fixed, Ramp, TwoStage
from forgefield.training.weighting.softadapt import SoftAdapt

__all__ = ["WEIGHTINGS", "BalancedSettings", "WeightSettings", "Weighting", "make_weighting", "parse_weights"]

WEIGHTINGS: dict[str, type[Weighting]] = {
    "balanced": Balanced,
    "fixed": Fixed,
    "ramp": Ramp,
    "two_stage": TwoStage,
    "softadapt": SoftAdapt,
    "uncertainty": Uncertainty,
    "gradnorm": GradNorm,
    "relobralo": ReLoBRaLo,
    "config": ConFIG,
}


def parse_weights(values: Any) -> WeightSettings:
    """Return the settings of the rule that ``kind`` names (default: balanced).

    Raises
    ------
    ConfigError
        No such rule, or settings that it does not know.
    """
    if isinstance(values, WeightSettings):
        return values
    if not isinstance(values, Mapping):
        raise ConfigError(f"`weights` must be a mapping of settings, got {values!r}")
    kind = values.get("kind", "balanced")
    if kind not in WEIGHTINGS:
        raise ConfigError(f"`weights.kind` is {kind!r}: {did_you_mean(str(kind), WEIGHTINGS)}")
    return parse(WEIGHTINGS[kind].Settings, values, where="weights")


def make_weighting(settings: WeightSettings, given: Mapping[str, float], seed: int = 0) -> Weighting:
    """Return the rule of the settings for the weights given with the loss."""
    return WEIGHTINGS[settings.kind](settings, given, seed)
