"""Rules for the weights of the loss terms: a registry, and their settings by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forgefield.config import kind_of, parse
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
    kind = kind_of(values, WEIGHTINGS, "weights", "balanced")
    return parse(WEIGHTINGS[kind].Settings, values, where="weights")


def make_weighting(settings: WeightSettings, given: Mapping[str, float], seed: int = 0) -> Weighting:
    """Return the rule of the settings for the weights given with the loss."""
    return WEIGHTINGS[settings.kind](settings, given, seed)
