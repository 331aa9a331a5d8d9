"""Properties of diamond silicon that studies compare: what a potential says, and what DFT or another calculator says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.build import bulk

from forgefield import datasets
from forgefield.errors import ForgefieldError
from forgefield.properties.elastic import elastic_constants
from forgefield.properties.eos import equation_of_state
from forgefield.properties.phonons import phonons

__all__ = ["NUMBERS", "properties_by", "properties_of_dft", "property_errors"]

NUMBERS = {
    "a0": "lattice constant [Å]",
    "bulk_modulus": "bulk modulus [GPa]",
    "c11": "C11 [GPa]",
    "c12": "C12 [GPa]",
    "c44": "C44 [GPa]",
}
"""Single numbers, with their unit."""
QPOINTS = ((0.0, 0.0, 0.0), (0.5, 0.0, 0.5), (0.5, 0.5, 0.5))
"""Gamma, X and L of the face-centred lattice."""
SUPERCELL = (2, 2, 2)
"""Of primitive cells, as in the DFT reference: those q-points need no interpolation."""
START = 5.47
"""Lattice constant [Å] near which the minimum is looked for."""


def properties_of_dft() -> dict[str, Any]:
    """Return the reference answers that come with the bundled data."""
    reference = datasets.reference("silicon")["diamond"]
    elastic, waves = reference["elastic"], reference["phonons"]
    return {
        "a0": reference["a0"],
        "bulk_modulus": reference["eos"]["bulk_modulus"],
        **{key: elastic[key] for key in ("c11", "c12", "c44")},
        "frequencies": [sorted(waves[point]) for point in ("gamma", "x", "l")],
    }


def properties_by(calculator: Any) -> dict[str, Any]:
    """Return the same by an ASE calculator; ``failed`` says what could not be computed and why."""
    found: dict[str, Any] = {}
    try:
        eos = equation_of_state(bulk("Si", "diamond", a=START), calculator)
        found |= {"a0": eos.length(8), "bulk_modulus": eos.bulk_modulus}
        crystal = bulk("Si", "diamond", a=eos.length(8))
        cubic = elastic_constants(crystal, calculator).cubic
        found |= {"c11": cubic.c11, "c12": cubic.c12, "c44": cubic.c44}
        waves = phonons(crystal, calculator, supercell=SUPERCELL, displacement=0.02)
        found["frequencies"] = np.sort(waves.frequencies(QPOINTS), axis=1).tolist()
    except ForgefieldError as error:
        found["failed"] = str(error).splitlines()[0]
    return found


def property_errors(found: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, float]:
    """Return relative errors [%] of each number, and the mean of those of the phonon frequencies.

    The frequencies that vanish by symmetry are left out; what is missing is NaN.
    """
    errors = {
        key: 100.0 * abs(float(found[key]) / float(reference[key]) - 1.0) if key in found else math.nan
        for key in NUMBERS
    }
    errors["phonons"] = math.nan
    if "frequencies" in found:
        own, true = np.asarray(found["frequencies"]), np.asarray(reference["frequencies"])
        known = np.abs(true) > 0.1
        errors["phonons"] = float(100.0 * np.mean(np.abs(own[known] - true[known]) / true[known]))
    return errors
