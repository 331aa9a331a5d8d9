"""The properties by name; a new one is one file and one line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from forgefield.errors import ConfigError, did_you_mean
from forgefield.properties.base import Property

__all__ = ["PROPERTIES", "find_property"]

PROPERTIES = {
    "relax": "forgefield.properties.relaxation:RELAX",
    "eos": "forgefield.properties.eos:EOS",
    "elastic": "forgefield.properties.elastic:ELASTIC",
    "phonons": "forgefield.properties.phonons:PHONONS",
    "free-energy": "forgefield.properties.free_energy:FREE_ENERGY",
}
"""Where each property is defined; imported when asked for."""


def find_property(name: str) -> Property[Any]:
    """Return a property.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    if name not in PROPERTIES:
        raise ConfigError(f"unknown property {name!r}: {did_you_mean(name, PROPERTIES)}")
    module, _, attribute = PROPERTIES[name].partition(":")
    found: Property[Any] = getattr(import_module(module), attribute)
    return found
