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
}
"""Where each study is defined; imported when asked for."""


def find_study(name: str) -> Study[Any]:
    """Return a study.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    if name not in STUDIES:
        raise ConfigError(f"unknown study {name!r}: {did_you_mean(name, STUDIES)}")
    module, _, attribute = STUDIES[name].partition(":")
    made: Study[Any] = getattr(import_module(module), attribute)()
    return made
