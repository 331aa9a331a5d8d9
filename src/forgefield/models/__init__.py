"""Models, their registry, and the potential that joins a descriptor with one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forgefield.config import kind_of, parse
from forgefield.models.base import Model, ModelSettings
from forgefield.models.linear import Linear, LinearSettings
from forgefield.models.network import Network, NetworkSettings
from forgefield.models.quadratic import Quadratic, QuadraticSettings

__all__ = [
    "MODELS",
    "Linear",
    "LinearSettings",
    "Model",
    "ModelSettings",
    "Network",
    "NetworkSettings",
    "Quadratic",
    "QuadraticSettings",
    "make_model",
    "parse_settings",
]

MODELS: dict[str, type[Model]] = {
    "linear": Linear,
    "network": Network,
    "quadratic": Quadratic,
}


def parse_settings(values: Mapping[str, Any] | ModelSettings) -> ModelSettings:
    """Return the typed settings of a model from a mapping with its `kind`."""
    if isinstance(values, ModelSettings):
        return values
    kind = kind_of(values, MODELS, "model")
    return parse(MODELS[kind].Settings, values, where="model")


def make_model(settings: Mapping[str, Any] | ModelSettings, n_features: int, n_species: int) -> Model:
    """Build a model from its settings."""
    typed = parse_settings(settings)
    return MODELS[typed.kind](n_features, n_species, typed)
