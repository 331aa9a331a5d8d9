"""Physical properties from any ASE calculator.

::

    result = ff.properties.find_property("elastic")(atoms, calculator, relax=True, folder="out")
    result["c44"], result.quantities["c44"].error, result.warnings
"""

from __future__ import annotations

from forgefield.properties.base import Curve, Property, PropertyResult, Quantity, Table
from forgefield.properties.elastic import CubicElastic, Elastic, elastic_constants
from forgefield.properties.eos import EquationOfState, equation_of_state, fit_equation_of_state
from forgefield.properties.registry import PROPERTIES, find_property
from forgefield.properties.relaxation import relax_cell

__all__ = [
    "PROPERTIES",
    "CubicElastic",
    "Curve",
    "Elastic",
    "EquationOfState",
    "Property",
    "PropertyResult",
    "Quantity",
    "Table",
    "elastic_constants",
    "equation_of_state",
    "find_property",
    "fit_equation_of_state",
    "relax_cell",
]
