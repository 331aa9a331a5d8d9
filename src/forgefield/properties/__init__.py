"""Physical properties from any ASE calculator.

::

    result = ff.properties.find_property("elastic")(atoms, calculator, relax=True, folder="out")
    result["c44"], result.quantities["c44"].error, result.warnings

Everything is imported when first used, so that the names of all properties are known at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from forgefield.properties.registry import PROPERTIES, find_property

if TYPE_CHECKING:
    from forgefield.properties.base import Curve, Property, PropertyResult, Quantity, Table
    from forgefield.properties.elastic import CubicElastic, Elastic, elastic_constants
    from forgefield.properties.eos import EquationOfState, equation_of_state, fit_equation_of_state
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

_PLACES = {
    **dict.fromkeys(("Curve", "Property", "PropertyResult", "Quantity", "Table"), "base"),
    **dict.fromkeys(("CubicElastic", "Elastic", "elastic_constants"), "elastic"),
    **dict.fromkeys(("EquationOfState", "equation_of_state", "fit_equation_of_state"), "eos"),
    "relax_cell": "relaxation",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
