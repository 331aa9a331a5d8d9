"""What a simulation is told and what moves in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgefield.config import Schema
from forgefield.errors import ConfigError, StructureError

__all__ = ["DynamicsSettings", "State", "check_start", "symbol_of"]

FloatArray = NDArray[np.float64]


class DynamicsSettings(Schema):
    """Equations of motion."""

    ensemble: Literal["nve", "nvt", "npt"] = Field(
        "nvt", description="what is kept: energy; volume; pressure"
    )
    timestep: float = Field(1.0, gt=0, le=100, description="[fs]")
    temperature: float = Field(
        300.0, ge=0, description="of the bath, and of the first velocities where the structure has none [K]"
    )
    thermostat: Literal["langevin", "bussi"] = Field(
        "langevin",
        description="a bath for every atom (BAOAB), or one factor for all velocities, which keeps the dynamics",
    )
    friction: float = Field(0.005, gt=0, description="langevin: friction [1/fs]")
    thermostat_time: float = Field(100.0, gt=0, description="bussi: relaxation time of the temperature [fs]")
    pressure: float = Field(0.0, description="npt: external pressure [GPa]")
    barostat: Literal["isotropic", "anisotropic", "triclinic"] = Field(
        "isotropic", description="npt: what moves: the size of the cell; its three lengths; its angles too"
    )
    barostat_time: float = Field(1000.0, gt=0, description="npt: relaxation time of the volume [fs]")
    compressibility: float = Field(
        0.01, gt=0, description="npt: rough isothermal compressibility [1/GPa]; sets the pace, not the result"
    )
    fix_centre: bool = Field(
        default=True, description="keep the centre of mass at rest; False with forces from outside"
    )
    temperature_limit: float | None = Field(
        None, gt=0, description="stop above this [K]; null: the larger of 10 x temperature and 10000 K"
    )
    seed: int = Field(0, ge=0, description="of first velocities, thermostat and barostat")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ensemble != "nve" and self.temperature <= 0:
            raise ValueError(f"`temperature` must be > 0 K for ensemble {self.ensemble!r}")
        return self


@dataclass
class State:
    """What moves.

    Attributes
    ----------
    positions : (n_atoms, 3) [Å]
        Never wrapped back into the cell: displacements are differences.
    velocities : (n_atoms, 3) [Å per ASE time unit]
    cell : (3, 3) [Å]
    masses : (n_atoms,) [amu]
    numbers : (n_atoms,)
    step : int
    """

    positions: FloatArray
    velocities: FloatArray
    cell: FloatArray
    masses: FloatArray
    numbers: NDArray[np.int64]
    step: int = 0

    @property
    def volume(self) -> float:
        """Of the cell [Å^3]."""
        return abs(float(np.linalg.det(self.cell)))

    @property
    def kinetic(self) -> float:
        """Kinetic energy [eV]."""
        return 0.5 * float(self.masses @ np.einsum("ia,ia->i", self.velocities, self.velocities))

    @property
    def kinetic_tensor(self) -> FloatArray:
        """``sum_i m v (x) v`` (3, 3) [eV]; its trace is twice the kinetic energy."""
        tensor: FloatArray = self.velocities.T @ (self.masses[:, None] * self.velocities)
        return tensor


def symbol_of(number: int) -> str:
    """Return the symbol of an element."""
    return str(chemical_symbols[int(number)])


def check_start(atoms: Atoms, settings: DynamicsSettings) -> None:
    """Raise unless a structure can start a simulation with these settings."""
    if len(atoms) == 0:
        raise StructureError("the structure has no atoms; nothing to simulate")
    if settings.ensemble == "npt" and not atoms.pbc.all():
        raise ConfigError(
            f"ensemble 'npt' needs pbc in three directions, got {atoms.pbc.tolist()}; use 'nvt'"
        )
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise StructureError("positions or cell are not finite")
