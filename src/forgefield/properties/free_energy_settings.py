"""Settings of free energies: what is computed, on which path, and for how long."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from forgefield.properties.dynamics import DynamicsSettings
from forgefield.properties.walks import BathSettings

__all__ = ["FreeEnergySettings", "PathSettings"]


class PathSettings(BathSettings):
    """How a free energy is integrated."""

    method: Literal["equilibrium", "switching"] = Field(
        "equilibrium",
        description="averages at fixed lambda, or works of switching there and back (Frenkel and Ladd)",
    )
    lambdas: Literal["gauss", "adaptive"] = Field(
        "gauss",
        description="equilibrium: Gauss and Legendre's points, or points and steps added where the error is largest until "
        "it is below `target_error`",
    )
    points: int = Field(
        12, ge=1, le=200, description="equilibrium: points of lambda; adaptive: to begin with"
    )
    max_runs: int = Field(400, ge=10, description="adaptive: most runs of `steps` on each leg of the path")
    steps: int = Field(2000, ge=20, description="steps at each point and way, or of one switching")
    equilibration: int = Field(500, ge=0, description="steps before each point or switching")
    repeats: int = Field(1, ge=1, description="how often the path is walked there and back")
    springs: float | None = Field(
        None, gt=0, description="of the Einstein crystal [eV/Å^2]; null: from the mean square displacements"
    )
    finite_size: bool = Field(
        default=True,
        description="add what the cell lacks of an infinite system: of a harmonic crystal; of a liquid of this compressibility",
    )
    reference: Literal["uhlenbeck-ford", "soft-core"] = Field(
        "uhlenbeck-ford", description="repulsion between ideal gas and liquid"
    )
    reference_strength: float | None = Field(
        None, gt=0, description="p of Uhlenbeck-Ford (null: 50) or mu/kT of the soft core (null: 0.714)"
    )
    reference_length: float | None = Field(
        None, gt=0, description="sigma [Å]; null: 0.57 or 1.045 of the distance (V/N)^(1/3)"
    )
    reference_exponent: int = Field(12, ge=4, description="n of the soft core")
    reference_points: int = Field(12, ge=1, le=200, description="points from the ideal gas to the repulsion")
    reference_steps: int | None = Field(None, ge=20, description="steps at each of them; null: `steps`")
    power: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="k of lambda = ((x+1)/2)^(1/(1-k)) there; null: 0.5 (Uhlenbeck-Ford), 0.85 (soft core)",
    )
    melt_temperature: float | None = Field(
        None, gt=0, description="liquid: where the structure is melted first [K]; null: twice the temperature"
    )
    melt_steps: int = Field(2000, ge=0, description="liquid: steps of that; 0 if the structure is liquid")
    target_steps: int = Field(
        4000, ge=20, description="steps of the potential itself: volume, energy, springs"
    )
    target_error: float | None = Field(
        None, gt=0, description="largest standard error accepted [meV/atom]; null: any"
    )

    @model_validator(mode="after")
    def _adaptive(self) -> Self:
        if self.lambdas == "adaptive" and (self.method != "equilibrium" or self.target_error is None):
            raise ValueError(
                "lambdas=adaptive needs `target_error`, the error at which to stop [meV/atom], and method=equilibrium"
            )
        return self


class FreeEnergySettings(PathSettings):
    """Settings of the absolute free energy of a solid or a liquid."""

    phase: Literal["solid", "liquid"] = Field("solid", description="which phase the structure is or becomes")
    temperature: float = Field(300.0, gt=0, description="[K]")
    pressure: float | None = Field(
        None, description="[GPa]: the volume is found first; null: that of the structure is kept"
    )
    final_temperature: float | None = Field(
        None, gt=0, description="reversible scaling: F(T) at this volume from `temperature` to here [K]"
    )
    scaling_steps: int = Field(5000, ge=20, description="reversible scaling: steps each way")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.final_temperature == self.temperature:
            raise ValueError("`final_temperature` must differ from `temperature`")
        return self

    def dynamics(self) -> DynamicsSettings:
        """Return the equations of motion; the size of the cell alone moves, until a barostat is chosen."""
        return self.equations(ensemble="nvt", temperature=self.temperature, pressure=self.pressure or 0.0)
