"""Physical properties from any ASE calculator: equation of state, elastic constants."""

from __future__ import annotations

from forgefield.properties.elastic import CubicElastic, Elastic, elastic_constants
from forgefield.properties.eos import EquationOfState, equation_of_state, fit_equation_of_state

__all__ = [
    "CubicElastic",
    "Elastic",
    "EquationOfState",
    "elastic_constants",
    "equation_of_state",
    "fit_equation_of_state",
]
