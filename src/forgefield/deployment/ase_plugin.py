"""What ASE's search for installed plug-ins finds: the entry point ``forgefield`` of the group ``ase.plugins``.

ASE 3.29 collects plug-ins of the group in its preview of version 4 (`ase._4.plugins.plugins`, shown by
``ase info --plugins``); where ASE has no such search nothing happens. Its `get_calculator_class` does not look there; for that
importing `deployment.ase` registers the calculator by its name.
"""

from __future__ import annotations

from typing import Any

__all__: list[str] = []

try:
    from ase._4.plugins.plugin import CalculatorPlugin
except ImportError:
    __ase_plugins__: set[Any] = set()
else:
    __ase_plugins__ = {
        CalculatorPlugin(
            "forgefield",
            citation="Forgefield",
            implementation="forgefield.deployment.ase.ForgefieldCalculator",
        )
    }
