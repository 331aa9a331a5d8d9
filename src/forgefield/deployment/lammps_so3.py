"""The descriptor so3 of LAMMPS's `pair_style mliap`.

Its features are those of the descriptor `so3` in another order, each times ``2 sqrt(2) pi / sqrt(2 l + 1)``. LAMMPS
computes the radial integrals with ``10 (n_max + l_max + 1)`` points, so that its features carry relative errors of 1e-9
to 1e-12, the larger the smaller n_max and l_max.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from forgefield.config import parse
from forgefield.deployment.lammps_files import integer, number
from forgefield.descriptors.so3 import SO3, SO3Settings
from forgefield.errors import ConfigError, PotentialFileError
from forgefield.formulas.cutoffs import COSINE

__all__ = ["KEYWORDS", "so3_descriptor", "so3_keywords", "so3_places"]

KEYWORDS = ("rcutfac", "nmax", "lmax", "alpha")

LARGEST_EXPONENT = 700.0
"""LAMMPS computes hyperbolic sines of up to 2 alpha cutoff^2; those of larger numbers overflow."""


def so3_descriptor(
    found: Mapping[str, Sequence[str]],
    elements: Sequence[str],
    radii: Sequence[float],
    weights: Sequence[float],
    path: Path,
) -> SO3:
    """Return the descriptor for LAMMPS's keywords and elements.

    Raises
    ------
    PotentialFileError
        A keyword is missing, or LAMMPS's density is one that the descriptor has not.
    """
    missing = [k for k in KEYWORDS if k not in found]
    if missing:
        raise PotentialFileError(f"{path}: the keyword `{missing[0]}` is missing")
    if 2 * min(radii) < 1.0:
        raise PotentialFileError(
            f"{path}: `radelems` below 0.5 cut the density off where it does not vanish, got {min(radii)}; use 0.5"
        )
    numbers = [float(atomic_numbers[e]) for e in elements]
    if list(weights) != numbers and not (len(elements) == 1 and weights[0] == 1.0):
        raise PotentialFileError(
            f"{path}: `welems` must be the atomic numbers, {' '.join(f'{z:g}' for z in numbers)}, got "
            f"{' '.join(f'{w:g}' for w in weights)}"
        )
    values: dict[str, Any] = {
        "cutoff": number(found["rcutfac"][0], path, "`rcutfac`"),
        "n_max": integer(found["nmax"][0], path, "`nmax`"),
        "l_max": integer(found["lmax"][0], path, "`lmax`"),
        "alpha": number(found["alpha"][0], path, "`alpha`"),
        "species_weighting": "atomic_number" if list(weights) == numbers else "resolved",
    }
    return SO3(elements, parse(SO3Settings, values, where=str(path)))


def so3_places(p: SO3Settings) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return where LAMMPS has each feature, and how many times as large as ours it is there."""
    radial, angular = range(p.n_max), range(p.l_max + 1)
    theirs = {(n2, n1, l): k for k, (n1, n2, l) in enumerate(_features(p.n_max, p.l_max))}
    ours = [(n1, n2, l) for l in angular for n1, n2 in itertools.combinations_with_replacement(radial, 2)]
    norms = [2.0 * np.sqrt(2.0) * np.pi / np.sqrt(2.0 * l + 1.0) for *_, l in ours]
    return np.array([theirs[key] for key in ours]), np.array(norms)


def _features(n_max: int, l_max: int) -> list[tuple[int, int, int]]:
    return [(n1, n2, l) for n1 in range(n_max) for n2 in range(n1 + 1) for l in range(l_max + 1)]


def so3_keywords(descriptor: SO3, elements: Sequence[str]) -> tuple[dict[str, list[float]], list[str]]:
    """Return the numbers of each element by keyword, and the lines of the other keywords.

    Raises
    ------
    ConfigError
        LAMMPS has no such descriptor.
    """
    p = descriptor.settings
    _check(p, len(elements))
    by_number = p.species_weighting == "atomic_number"
    columns = {
        "radelems": [0.5] * len(elements),
        "welems": [float(atomic_numbers[e]) if by_number else 1.0 for e in elements],
    }
    return columns, [f"rcutfac {p.cutoff!r}", f"nmax {p.n_max}", f"lmax {p.l_max}", f"alpha {p.alpha!r}"]


def _check(p: SO3Settings, n_species: int) -> None:
    if p.species_weighting == "resolved" and n_species > 1:
        raise ConfigError(
            "LAMMPS's so3 has one density, weighted by atomic number, for all elements; this potential has "
            "`descriptor.species_weighting: resolved`; train with `atomic_number`"
        )
    if p.cutoff_shape != COSINE:
        raise ConfigError(
            "LAMMPS's so3 has the cosine as its cutoff function, this potential has "
            f"`cutoff_function: {p.cutoff_function}`, `cutoff_start: {p.cutoff_start:g}` and `inner_switch: "
            f"{list(p.inner_switch) if p.inner_switch else 'null'}`; train with the defaults of these"
        )
    if p.l_max == 0:
        raise ConfigError("LAMMPS's so3 needs `descriptor.l_max` >= 1, this potential has 0; train another")
    if 2.0 * p.alpha * p.cutoff**2 > LARGEST_EXPONENT:
        raise ConfigError(
            f"LAMMPS's so3 overflows where 2 alpha cutoff^2 > {LARGEST_EXPONENT:g}, this potential has "
            f"{2 * p.alpha * p.cutoff**2:g}; train with a smaller `descriptor.alpha` or `descriptor.cutoff`"
        )
