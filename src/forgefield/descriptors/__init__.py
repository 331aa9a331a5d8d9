"""Descriptors and their registry: a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forgefield.config import kind_of, parse
from forgefield.descriptors.ace import ACE, ACESettings
from forgefield.descriptors.acsf import ACSF, ACSFSettings
from forgefield.descriptors.base import Descriptor, DescriptorSettings
from forgefield.descriptors.chebyshev import Chebyshev, ChebyshevSettings
from forgefield.descriptors.ead import EAD, EADSettings
from forgefield.descriptors.nep import NEP, NEPSettings
from forgefield.descriptors.pod import POD, PODSettings
from forgefield.descriptors.snap import SNAP, SNAPSettings
from forgefield.descriptors.so3 import SO3, SO3Settings
from forgefield.descriptors.wacsf import WACSF, WACSFSettings

__all__ = [
    "ACE",
    "ACSF",
    "DESCRIPTORS",
    "EAD",
    "NEP",
    "POD",
    "SNAP",
    "SO3",
    "WACSF",
    "ACESettings",
    "ACSFSettings",
    "Chebyshev",
    "ChebyshevSettings",
    "Descriptor",
    "DescriptorSettings",
    "EADSettings",
    "NEPSettings",
    "PODSettings",
    "SNAPSettings",
    "SO3Settings",
    "WACSFSettings",
    "make_descriptor",
    "parse_settings",
]

DESCRIPTORS: dict[str, type[Descriptor]] = {
    "nep": NEP,
    "so3": SO3,
    "snap": SNAP,
    "ace": ACE,
    "pod": POD,
    "acsf": ACSF,
    "wacsf": WACSF,
    "ead": EAD,
    "chebyshev": Chebyshev,
}


def parse_settings(values: Mapping[str, Any] | DescriptorSettings) -> DescriptorSettings:
    """Return the typed settings of a descriptor from a mapping with its `kind`.

    Raises
    ------
    ConfigError
        The kind is missing or unknown, or a parameter is not allowed.
    """
    if isinstance(values, DescriptorSettings):
        return values
    kind = kind_of(values, DESCRIPTORS, "descriptor")
    return parse(DESCRIPTORS[kind].Settings, values, where="descriptor")


def make_descriptor(
    settings: Mapping[str, Any] | DescriptorSettings, species: Sequence[str | int]
) -> Descriptor:
    """Build a descriptor from its settings."""
    typed = parse_settings(settings)
    return DESCRIPTORS[typed.kind](species, typed)
