"""Every tolerance of the checks, named once; relative to the largest component unless said otherwise."""

from __future__ import annotations

__all__ = [
    "BACKEND",
    "CUTOFF_ENERGY",
    "CUTOFF_FORCE",
    "EXACT",
    "FINITE_DIFFERENCE",
    "FLOAT32",
    "OTHER_PROGRAM",
    "SUMS",
    "SYMMETRY",
]

EXACT = 0.0
"""Bit for bit."""

FINITE_DIFFERENCE = 1e-6
"""A derivative against central differences in float64."""

SYMMETRY = 1e-10
"""A prediction against that of the same structure described differently, float64."""

SUMS = 1e-12
"""A total against the sum of its parts, float64."""

BACKEND = 1e-12
"""A backend of the expansions against NumPy, float64."""

FLOAT32 = 2e-4
"""Single against double precision, energies without references."""

CUTOFF_ENERGY = 1e-5
"""Energy of a pair within 1e-4 of the cutoff, relative to its size well inside."""

CUTOFF_FORCE = 1e-2
"""Force of a pair within 1e-4 of the cutoff, relative to its size well inside."""

OTHER_PROGRAM = 1e-10
"""The same published potential evaluated by another program, float64."""
