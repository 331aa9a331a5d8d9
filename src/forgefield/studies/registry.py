"""The studies by name; a new one is one file and one line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from forgefield.errors import ConfigError, did_you_mean
from forgefield.studies.base import Study

__all__ = ["STUDIES", "find_study"]

STUDIES = {
    "loss-weighting": "forgefield.studies.loss_weighting:LossWeighting",
    "optimisers": "forgefield.studies.optimisers:Optimisers",
    "data-efficiency": "forgefield.studies.data_efficiency:DataEfficiency",
    "complexity": "forgefield.studies.complexity:Complexity",
    "descriptors": "forgefield.studies.descriptors:Descriptors",
    "stress-training": "forgefield.studies.stress_training:StressTraining",
    "heat-flux": "forgefield.studies.heat_flux:HeatFlux",
}
"""Where each study is defined; imported when asked for."""


def find_study(name: str) -> Study[Any]:
    """Return a study by its name, or by ``module:Class`` for one outside this package.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    place = STUDIES.get(name, name)
    if ":" not in place:
        raise ConfigError(f"unknown study {name!r}: {did_you_mean(name, STUDIES)}; or give module:Class")
    module, _, attribute = place.partition(":")
    try:
        made = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"study {name!r} cannot be loaded: {error}") from None
    if not isinstance(made, Study):
        raise ConfigError(f"{name!r} is a {type(made).__name__}, not a Study")
    return made
