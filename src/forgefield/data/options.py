"""Settings of the readers."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from forgefield.config import Schema
from forgefield.data.stress import BOHR, StressConvention, parse_convention
from forgefield.errors import ConfigError
from forgefield.units import HARTREE_TO_EV, KJ_PER_MOL_TO_EV, RYDBERG_TO_EV

__all__ = ["ENERGY_UNITS", "FORCE_UNITS", "LENGTH_UNITS", "ReadOptions", "parse_index"]

ENERGY_UNITS: dict[str, float] = {
    "eV": 1.0,
    "Hartree": HARTREE_TO_EV,
    "Rydberg": RYDBERG_TO_EV,
    "kJ/mol": KJ_PER_MOL_TO_EV,
    "kcal/mol": 4.184 * KJ_PER_MOL_TO_EV,
}
"""eV per unit."""

LENGTH_UNITS: dict[str, float] = {"A": 1.0, "Bohr": BOHR}
"""Å per unit."""

FORCE_UNITS: dict[str, float] = {
    "eV/A": 1.0,
    "Hartree/Bohr": HARTREE_TO_EV / BOHR,
    "Hartree/A": HARTREE_TO_EV,
    "Rydberg/Bohr": RYDBERG_TO_EV / BOHR,
    "kJ/mol/A": KJ_PER_MOL_TO_EV,
    "kcal/mol/A": 4.184 * KJ_PER_MOL_TO_EV,
}
"""eV/Å per unit."""


class ReadOptions(Schema):
    """How to read data files; the defaults suit files that follow their format.

    Parameters
    ----------
    format : str or None
        Name of a format; None lets each file decide.
    index : str or None
        Frames to take from each file, as a Python slice: ``"0:100"``, ``"::10"``, ``"-1"``.
    energy_unit, length_unit, forces_unit
        Units of the numbers in the file where they are not the format's own (eV, Å, eV/Å). Without
        `forces_unit` forces are in energy unit per length unit.
    stress_convention : str or None
        How the stress numbers are meant, against what the file claims: a name (``ase``, ``virial``,
        ``vasp``, ``mlearn``, ``lammps``, ``gpa``) or ``"sign, unit, order"``.
    energy_choice : "free" or "extrapolated"
        Of an electronic-structure output that prints both: the free energy the forces derive from, or the
        one extrapolated to zero smearing.
    energy_key, forces_key, stress_key, virial_key : str or None
        Names of the labels in extended XYZ and ASE databases where they are unusual.
    on_nan : "error" or "unlabelled"
        What a NaN or infinite energy, force or stress means.
    allow_incomplete : bool
        Use the complete frames of a file that breaks off, instead of refusing it.
    """

    format: str | None = Field(default=None, description="name of a format; None: each file decides")
    index: str | None = Field(default=None, description="frames of each file, a Python slice such as '0:100'")
    energy_unit: Literal["eV", "Hartree", "Rydberg", "kJ/mol", "kcal/mol"] | None = Field(
        default=None, description="of energies, where it is not the format's own"
    )
    length_unit: Literal["A", "Bohr"] | None = Field(
        default=None, description="of positions and cells, where it is not the format's own"
    )
    forces_unit: (
        Literal["eV/A", "Hartree/Bohr", "Hartree/A", "Rydberg/Bohr", "kJ/mol/A", "kcal/mol/A"] | None
    ) = Field(default=None, description="of forces; none: energy unit per length unit")
    stress_convention: str | None = Field(
        default=None, description="ase, virial, vasp, ... or sign, unit, order"
    )
    energy_choice: Literal["free", "extrapolated"] = Field(
        default="free", description="energy the forces derive from, or extrapolated to zero smearing"
    )
    energy_key: str | None = Field(
        default=None, description="name of the energies in the file, where unusual"
    )
    forces_key: str | None = Field(default=None, description="name of the forces in the file, where unusual")
    stress_key: str | None = Field(
        default=None, description="name of the stresses in the file, where unusual"
    )
    virial_key: str | None = Field(default=None, description="name of the virials in the file, where unusual")
    on_nan: Literal["error", "unlabelled"] = Field(
        default="error", description="what a NaN or infinite label means"
    )
    allow_incomplete: bool = Field(
        default=False, description="use the complete structures of a file that breaks off"
    )

    @field_validator("stress_convention")
    @classmethod
    def _known_convention(cls, value: str | None) -> str | None:
        if value is not None:
            parse_convention(value)
        return value

    @field_validator("index")
    @classmethod
    def _valid_index(cls, value: str | None) -> str | None:
        if value is not None:
            parse_index(value)
        return value

    @property
    def convention(self) -> StressConvention | None:
        """The stress convention that overrides the file's, or None."""
        return None if self.stress_convention is None else parse_convention(self.stress_convention)

    @property
    def energy_factor(self) -> float:
        """Multiplies energies, in eV per unit."""
        return ENERGY_UNITS[self.energy_unit or "eV"]

    @property
    def length_factor(self) -> float:
        """Multiplies positions and cells, in Å per unit."""
        return LENGTH_UNITS[self.length_unit or "A"]

    @property
    def forces_factor(self) -> float:
        """Multiplies forces, in eV/Å per unit."""
        if self.forces_unit is not None:
            return FORCE_UNITS[self.forces_unit]
        return self.energy_factor / self.length_factor


def parse_index(text: str) -> slice:
    """Read a Python slice or a single index.

    Raises
    ------
    ConfigError
        The text is neither.
    """
    if re.fullmatch(r"\s*-?\d+\s*", text):
        start = int(text)
        return slice(start, start + 1 if start != -1 else None)
    if not re.fullmatch(r"\s*(-?\d+)?\s*:\s*(-?\d+)?\s*(:\s*(-?\d+)?\s*)?", text):
        raise ConfigError(f"`index` must be a slice such as '0:100', '::10' or '-1', got {text!r}")
    parts = [int(part) if part.strip() else None for part in text.split(":")]
    if len(parts) == 3 and parts[2] == 0:
        raise ConfigError(f"`index` must have a step other than 0, got {text!r}")
    return slice(*parts)
