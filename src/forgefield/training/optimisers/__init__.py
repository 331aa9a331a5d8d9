"""Optimisers: a registry, and their settings by name."""

from __future__ import annotations

from forgefield.errors import ConfigError
from forgefield.training.loss import Loss
from forgefield.training.optimisers.base import GradientSettings, Optimiser, Parameters
from forgefield.training.optimisers.first_order import SGD, Adam, AdamSettings, AdamW
from forgefield.training.optimisers.kalman import Kalman
from forgefield.training.optimisers.lbfgs import LBFGS
from forgefield.training.optimisers.levenberg import LevenbergMarquardt
from forgefield.training.optimisers.snes import SNES

__all__ = [
    "OPTIMISERS",
    "AdamSettings",
    "GradientSettings",
    "Optimiser",
    "Parameters",
    "make_optimiser",
]

OPTIMISERS: dict[str, type[Optimiser]] = {
    "adam": Adam,
    "adamw": AdamW,
    "sgd": SGD,
    "lbfgs": LBFGS,
    "snes": SNES,
    "kalman": Kalman,
    "levenberg_marquardt": LevenbergMarquardt,
}


def make_optimiser(settings: GradientSettings, parameters: Parameters, loss: Loss, seed: int) -> Optimiser:
    """Return the optimiser of the settings.

    Raises
    ------
    ConfigError
        The method needs a loss that is a sum of squares, and this one is not.
    """
    kind = OPTIMISERS[settings.kind]
    if kind.least_squares and loss.settings.error != "mse":
        raise ConfigError(
            f"`training.kind: {settings.kind}` minimises a sum of squares, but `loss.error` is "
            f"{loss.settings.error!r}; set loss.error: mse, or another training.kind"
        )
    return kind(settings, parameters, seed)
