"""The properties by name; a new one is one file and one line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from forgefield.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from forgefield.properties.base import Property

__all__ = ["PROPERTIES", "Entry", "find_property"]


class Entry(NamedTuple):
    """What is known of a property before it is imported.

    Attributes
    ----------
    place : str
        MODULE:NAME of the `Property`, within this package.
    summary : str
        One line; the same as that of the `Property`.
    """

    place: str
    summary: str


PROPERTIES = {
    "relax": Entry("relaxation:RELAX", "cell and ions at rest: energy, volume, lengths"),
    "rdf": Entry("distribution:RDF", "neighbours: radial and angular distributions, coordination"),
    "msd": Entry("diffusion:MSD", "mean squared displacement and diffusion coefficients"),
    "vdos": Entry("vibrations:VDOS", "velocity autocorrelation and vibrational density of states"),
    "viscosity": Entry("viscosity:VISCOSITY", "shear viscosity of a liquid (Green-Kubo)"),
    "conductivity-gk": Entry(
        "conductivity_gk:CONDUCTIVITY_GK", "thermal conductivity from equilibrium (Green-Kubo)"
    ),
    "conductivity-hnemd": Entry(
        "conductivity_hnemd:CONDUCTIVITY_HNEMD", "thermal conductivity from a driven heat flux (HNEMD)"
    ),
    "conductivity-bte": Entry(
        "conductivity_bte:CONDUCTIVITY_BTE", "thermal conductivity of a crystal (phonon Boltzmann equation)"
    ),
    "eos": Entry("eos:EOS", "energy against volume: V0, E0, bulk modulus"),
    "elastic": Entry("elastic:ELASTIC", "elastic constants of any crystal, moduli, stability"),
    "phonons": Entry(
        "phonon_property:PHONONS", "bands, density of states, thermal properties, imaginary modes"
    ),
    "surfaces": Entry("surfaces:SURFACES", "surface energies of planes, relaxed and not"),
    "vacancy": Entry("defects:VACANCY", "formation energy of vacancies"),
    "interstitial": Entry(
        "defects:INTERSTITIAL", "formation energy of interstitials in voids and as dumbbells"
    ),
    "dimer": Entry("short_range:DIMER", "energy of two atoms against their distance; holes at short range"),
    "cold-curve": Entry(
        "short_range:COLD_CURVE", "crystal from crushed to torn apart; holes under compression"
    ),
    "md-certificate": Entry(
        "md_certificate:MD_CERTIFICATE",
        "ready for molecular dynamics? drift, short range, strain, heat, phonons, extrapolation",
    ),
    "free-energy": Entry(
        "free_energy:FREE_ENERGY",
        "absolute free energy of a solid or liquid: thermodynamic integration, switching, reversible scaling",
    ),
    "melting": Entry(
        "melting:MELTING",
        "hysteresis of melting and freezing: a crystal heated and cooled at constant pressure, with g(r)",
    ),
    "coexistence": Entry(
        "coexistence:COEXISTENCE",
        "melting temperature of a crystal beside its melt, at constant energy or by bisection",
    ),
    "melting-point": Entry(
        "melting_point:MELTING_POINT",
        "melting temperature from absolute free energies: where solid and liquid have one Gibbs energy",
    ),
}
"""Where each property is defined, which is imported when asked for, and what `forgefield property list` says of it."""

OTHER_NAMES = {
    "conductivity": "conductivity-gk",
    "diffusion": "msd",
    "phonon": "phonons",
    "surface": "surfaces",
}
"""What else a property may be called."""


def find_property(name: str) -> Property[Any]:
    """Return a property, by its name or one of `OTHER_NAMES`.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    name = OTHER_NAMES.get(name, name)
    if name not in PROPERTIES:
        raise ConfigError(f"unknown property {name!r}: {did_you_mean(name, PROPERTIES)}")
    module, _, attribute = PROPERTIES[name].place.partition(":")
    found: Property[Any] = getattr(import_module(f"{__package__}.{module}"), attribute)
    return found
