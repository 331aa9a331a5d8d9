"""Sign, unit and component order of a stress as a file writes it, and the way to ASE's.

Inside the package a stress is always ASE's: eV/Å^3, positive in tension, order xx yy zz yz xz xy
(`forgefield.keys`). What other programs write is described here by three words and converted in one place.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from forgefield.config import Schema
from forgefield.errors import ConfigError, did_you_mean
from forgefield.units import EV_PER_A3_TO_GPA, EV_PER_A3_TO_KBAR, HARTREE_TO_EV, RYDBERG_TO_EV

__all__ = [
    "ASE",
    "BOHR",
    "CONVENTIONS",
    "ORDERS",
    "STRESS_UNITS",
    "StressConvention",
    "order_indices",
    "parse_convention",
]

FloatArray = NDArray[np.float64]

BOHR = 0.529177210903
"""1 Bohr in Å (CODATA 2018)."""

_OFF_DIAGONAL = {"yz": 3, "xz": 4, "xy": 5}
_ALIAS = {"zy": "yz", "zx": "xz", "yx": "xy"}

ORDERS: tuple[str, ...] = ("yz xz xy", "xy yz xz", "xy xz yz", "yz xy xz", "xz yz xy", "xz xy yz")
"""The six possible orders of components 4 to 6: ASE's, VASP's, LAMMPS's and the rest."""

STRESS_UNITS: dict[str, float] = {
    "eV/A3": 1.0,
    "GPa": 1.0 / EV_PER_A3_TO_GPA,
    "kbar": 1.0 / EV_PER_A3_TO_KBAR,
    "bar": 1e-3 / EV_PER_A3_TO_KBAR,
    "Ry/bohr3": RYDBERG_TO_EV / BOHR**3,
    "Ha/bohr3": HARTREE_TO_EV / BOHR**3,
    "eV": 1.0,
}
"""Factor to eV/Å^3; ``eV`` is an energy per cell (a virial) and is divided by the volume as well."""


class StressConvention(Schema):
    """How the numbers of a stress or virial are meant.

    Parameters
    ----------
    sign : "tension" or "compression"
        Which state has positive diagonal components; ASE: tension; VASP, GPUMD, LAMMPS: compression.
    unit : one of `STRESS_UNITS`
        ``eV`` means a virial per cell.
    order : one of `ORDERS`
        Components 4 to 6 of a 6-vector; without meaning for a 3x3 tensor.
    """

    sign: Literal["tension", "compression"] = "tension"
    unit: Literal["eV/A3", "GPa", "kbar", "bar", "Ry/bohr3", "Ha/bohr3", "eV"] = "eV/A3"
    order: str = ORDERS[0]

    @field_validator("order")
    @classmethod
    def _known_order(cls, value: str) -> str:
        words = [_ALIAS.get(word, word) for word in value.replace(",", " ").lower().split()]
        if words[:3] == ["xx", "yy", "zz"]:
            words = words[3:]
        order = " ".join(words)
        if order not in ORDERS:
            raise ValueError(f"must be an order of the off-diagonal components: {'; '.join(ORDERS)}")
        return order

    @property
    def label(self) -> str:
        """Name of the convention where it has one, else its three words."""
        for name, known in CONVENTIONS.items():
            if known == self:
                return name
        return f"{self.sign}, {self.unit}, {self.order}"

    def to_ase(self, values: FloatArray, volume: float, energy_factor: float = 1.0) -> FloatArray:
        """Convert the components of a file.

        Parameters
        ----------
        values : (6,), (9,) or (3, 3) [`unit`]
            As written; a full tensor is symmetrised.
        volume : float [Å^3], > 0
            Of the cell; used for ``unit="eV"`` only.
        energy_factor : float
            eV per energy unit of the file, applied to a virial (``unit="eV"``).

        Returns
        -------
        (6,) [eV/Å^3]
            ASE's sign and order.
        """
        flat = np.asarray(values, dtype=np.float64).ravel()
        if flat.size == 9:
            full = flat.reshape(3, 3)
            full = 0.5 * (full + full.T)
            voigt = full[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        else:
            voigt = flat.copy()
            voigt[3:] = flat[3:][order_indices(self.order)]
        factor = STRESS_UNITS[self.unit] * (1.0 if self.sign == "tension" else -1.0)
        if self.unit == "eV":
            factor *= energy_factor / volume
        result: FloatArray = voigt * factor
        return result


def order_indices(order: str) -> NDArray[np.intp]:
    """Return `p` such that ``off_diagonal[p]`` is in ASE's order when `off_diagonal` is in `order`.

    Parameters
    ----------
    order : one of `ORDERS`
        Order of the given components.
    """
    words = order.split()
    return np.array([words.index(name) for name in _OFF_DIAGONAL], dtype=np.intp)


ASE = StressConvention()
"""eV/Å^3, positive in tension, yz xz xy: what the package uses."""

CONVENTIONS: dict[str, StressConvention] = {
    "ase": ASE,
    "virial": StressConvention(sign="compression", unit="eV"),
    "vasp": StressConvention(sign="compression", unit="kbar", order="xy yz xz"),
    "mlearn": StressConvention(sign="compression", unit="kbar", order="xy xz yz"),
    "lammps": StressConvention(sign="compression", unit="bar", order="xy xz yz"),
    "espresso": StressConvention(sign="compression", unit="Ry/bohr3"),
    "gpa": StressConvention(unit="GPa"),
}
"""Conventions that have a name."""


def parse_convention(value: str | StressConvention) -> StressConvention:
    """Read a convention: one of its names, or its words separated by commas.

    Parameters
    ----------
    value : str or StressConvention
        ``"vasp"``, ``"compression, kbar, xy yz xz"``, ``"GPa"``; words left out are ASE's.

    Raises
    ------
    ConfigError
        A word is neither a sign, a unit nor an order.
    """
    if isinstance(value, StressConvention):
        return value
    text = value.strip()
    if text.lower() in CONVENTIONS:
        return CONVENTIONS[text.lower()]
    units = {unit.lower(): unit for unit in STRESS_UNITS}
    found: dict[str, str] = {}
    for part in text.split(","):
        word = " ".join(part.split())
        if word.lower() in ("tension", "compression"):
            found["sign"] = word.lower()
        elif word.lower() in units:
            found["unit"] = units[word.lower()]
        elif word.lower().removeprefix("xx yy zz ") in ORDERS:
            found["order"] = word.lower().removeprefix("xx yy zz ")
        else:
            raise ConfigError(
                f"`stress_convention` {value!r}: {word!r} is not known; {did_you_mean(word, CONVENTIONS)}; or "
                f"write sign, unit and order: 'compression, kbar, xy yz xz' (signs: tension, compression; "
                f"units: {', '.join(STRESS_UNITS)}; orders: {'; '.join(ORDERS)})"
            )
    return StressConvention.parse(found, where="stress_convention")
