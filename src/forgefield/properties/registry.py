"""The properties by name; a new one is one file and one line here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from forgefield.errors import ConfigError, did_you_mean
from forgefield.properties.base import Property

__all__ = ["PROPERTIES", "find_property"]

PROPERTIES = {
    "relax": "forgefield.properties.relaxation:RELAX",
    "rdf": "forgefield.properties.distribution:RDF",
    "msd": "forgefield.properties.diffusion:MSD",
    "vdos": "forgefield.properties.vibrations:VDOS",
    "viscosity": "forgefield.properties.viscosity:VISCOSITY",
    "conductivity-gk": "forgefield.properties.conductivity_gk:CONDUCTIVITY_GK",
    "conductivity-hnemd": "forgefield.properties.conductivity_hnemd:CONDUCTIVITY_HNEMD",
    "conductivity-bte": "forgefield.properties.conductivity_bte:CONDUCTIVITY_BTE",
    "eos": "forgefield.properties.eos:EOS",
    "elastic": "forgefield.properties.elastic:ELASTIC",
    "phonons": "forgefield.properties.phonon_property:PHONONS",
    "surfaces": "forgefield.properties.surfaces:SURFACES",
    "vacancy": "forgefield.properties.defects:VACANCY",
    "interstitial": "forgefield.properties.defects:INTERSTITIAL",
    "dimer": "forgefield.properties.short_range:DIMER",
    "cold-curve": "forgefield.properties.short_range:COLD_CURVE",
    "md-certificate": "forgefield.properties.md_certificate:MD_CERTIFICATE",
    "free-energy": "forgefield.properties.free_energy:FREE_ENERGY",
    "melting": "forgefield.properties.melting:MELTING",
    "coexistence": "forgefield.properties.coexistence:COEXISTENCE",
    "melting-point": "forgefield.properties.melting_point:MELTING_POINT",
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
