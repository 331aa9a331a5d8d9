"""Conversion factors; inside the package everything is in eV, Å, eV/Å, eV/Å^3 and K.

Values: CODATA 2018 through `ase.units` would tie them to its default set, so they are written here once
and checked against `ase.units` in the tests.
"""

from __future__ import annotations

__all__ = [
    "EV_PER_A3_TO_GPA",
    "EV_PER_A3_TO_KBAR",
    "HARTREE_TO_EV",
    "KJ_PER_MOL_TO_EV",
    "MILLI",
    "RYDBERG_TO_EV",
]

EV_PER_A3_TO_GPA = 160.2176634
"""1 eV/Å^3 in GPa."""

EV_PER_A3_TO_KBAR = 10.0 * EV_PER_A3_TO_GPA
"""1 eV/Å^3 in kbar."""

HARTREE_TO_EV = 27.211386245988
"""1 Hartree in eV."""

RYDBERG_TO_EV = 0.5 * HARTREE_TO_EV
"""1 Rydberg in eV."""

KJ_PER_MOL_TO_EV = 0.010364269656262174
"""1 kJ/mol in eV."""

MILLI = 1e3
"""eV to meV, in reports."""
