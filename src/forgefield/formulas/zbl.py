"""Screened nuclear repulsion of two atoms at short distance (Ziegler, Biersack, Littmark)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from forgefield.formulas.namespace import functions_of

__all__ = [
    "COULOMB",
    "COVALENT_RADII",
    "RATE_UNITS",
    "UNIVERSAL_SCREENING",
    "cosine_switch",
    "polynomial_switch",
    "screened_repulsion",
    "screening_rate",
    "zbl_pair",
]

COULOMB = 14.399645
"""``e^2 / (4 pi epsilon_0)`` [eV Å], with the digits of GPUMD."""

UNIVERSAL_SCREENING = ((0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162))
"""Amplitudes and exponents of the universal screening function."""

# Hundredths of an Å, hydrogen to plutonium: Pyykkö and Atsumi, Chem. Eur. J. 15 (2009) 186, metals reduced by 10 %.
_SINGLE_BOND_RADII = """
32 46 120 94 77 75 71 63 64 67 140 125 113 104 110 102 99 96 176 154 133 122 121 110 107 104 100 99 101 109 112 109
115 110 114 117 189 167 147 139 132 124 115 113 113 108 115 123 128 126 126 123 132 131 209 176 162 147 158 157 156
155 151 152 151 150 149 149 148 153 146 137 131 123 118 116 111 112 113 132 130 130 136 131 138 142 201 181 167 158
152 153 154 155
"""

COVALENT_RADII = tuple(float(f"{4 * int(r) / 300:.6g}") for r in _SINGLE_BOND_RADII.split())
"""Radii [Å] by atomic number - 1 that typewise cutoffs refer to.

Grimme et al., J. Chem. Phys. 132 (2010) 154104: 4/3 of the single-bond radii; six digits as in GPUMD.
"""


def cosine_switch(r: Any, inner: Any, outer: Any) -> Any:
    """Return 1 below `inner`, 0 beyond `outer` and half a period of a cosine between them."""
    f = functions_of(r)
    between = 0.5 + 0.5 * f.cos((r - inner) * (math.pi / (outer - inner)))
    return f.where(r < outer, f.where(r < inner, 1.0, between), 0.0)


RATE_UNITS = {"gpumd": 2.134563, "lammps": 1.0 / 0.46850}
"""``1 / (0.8854 Bohr radii)`` [1/Å], with the digits of each program."""


def screening_rate(zi: Any, zj: Any, form: str = "gpumd") -> Any:
    """Return the inverse screening length [1/Å] of two nuclei."""
    return (zi**0.23 + zj**0.23) * RATE_UNITS[form]


def polynomial_switch(
    charge: Any,
    rate: Any,
    inner: Any,
    outer: Any,
    screening: Sequence[tuple[Any, Any]] = UNIVERSAL_SCREENING,
) -> tuple[Any, Any, Any]:
    """Return what ``cubic t^3 + quartic t^4 + shift``, t = r - inner, needs to end the repulsion at `outer`.

    Energy, slope and curvature of `screened_repulsion` vanish there; at `inner` the polynomial starts with t^3.

    Notes
    -----
    Source: the documentation of LAMMPS's pair_style zbl, equations of S(r).
    """
    f = functions_of(outer)
    width = outer - inner
    energy = slope = curvature = 0.0
    for a, b in screening:
        k = b * rate
        term = a * f.exp(-k * outer)
        energy = energy + term
        slope = slope - term * (k + 1.0 / outer)
        curvature = curvature + term * (k * k + 2.0 * k / outer + 2.0 / (outer * outer))
    energy, slope, curvature = (v * charge / outer for v in (energy, slope, curvature))
    cubic = (width * curvature - 3.0 * slope) / (3.0 * width * width)
    quartic = (2.0 * slope - width * curvature) / (4.0 * width * width * width)
    return cubic, quartic, 0.5 * width * slope - energy - width * width * curvature / 12.0


def screened_repulsion(
    r: Any,
    charge: Any,
    rate: Any,
    inner: Any,
    outer: Any,
    *,
    cosine: Any = 1.0,
    cubic: Any = 0.0,
    quartic: Any = 0.0,
    shift: Any = 0.0,
    screening: Sequence[tuple[Any, Any]] = UNIVERSAL_SCREENING,
) -> Any:
    """Return ``charge / r * sum_k a_k exp(-b_k rate r)``, ended at `outer` by a factor or by a polynomial [eV].

    Parameters
    ----------
    r : distance [Å]
    charge : [eV Å]
        Product of the nuclear charges times `COULOMB`.
    rate : [1/Å]
        Inverse screening length.
    inner, outer : [Å]
        Where the switch begins and where the energy vanishes.
    cosine : 1 or 0
        Whether `cosine_switch` is a factor.
    cubic, quartic, shift : [eV/Å^3, eV/Å^4, eV]
        Added: ``cubic t^3 + quartic t^4 + shift`` with ``t = max(r - inner, 0)``, see `polynomial_switch`.
    screening : four pairs (a_k, b_k)

    Notes
    -----
    Source: Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Solids (1985), chapter 2; the factor as in
    Liu et al., PRB 108 (2023) 054312, as GPUMD does it, the polynomial as in LAMMPS's pair_style zbl.
    """
    f = functions_of(r)
    x = r * rate
    terms = [f.exp(x * (-b)) * a for a, b in screening]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    factor = 1.0 + (cosine_switch(r, inner, outer) - 1.0) * cosine
    t = f.where(r < outer, f.where(r < inner, 0.0, r - inner), 0.0)
    polynomial = t * t * t * (t * quartic + cubic) + shift
    return f.where(r < outer, total * charge / r * factor + polynomial, 0.0)


def zbl_pair(r: Any, zi: Any, zj: Any, inner: Any, outer: Any) -> Any:
    """Return the universal repulsion [eV] of nuclei of charge zi and zj; each atom of the pair has half of it."""
    return screened_repulsion(r, COULOMB * zi * zj, screening_rate(zi, zj), inner, outer)
