"""A cell with a crystal in one half and its melt in the other: how it is made, and how it is watched."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgefield.errors import SimulationError
from forgefield.properties.barostat import Barostat
from forgefield.properties.dynamics import State
from forgefield.properties.dynamics_forces import ForceField, Forces
from forgefield.properties.free_energy_checks import nearest_distance
from forgefield.properties.free_energy_estimators import Measured
from forgefield.properties.free_energy_sampling import Walker
from forgefield.properties.melting_order import BraggOrder, Tethered
from forgefield.properties.statistics import series_mean
from forgefield.properties.walks import EngineSettings

__all__ = ["CoexistenceSettings", "TwoPhases", "settled_mean"]

FloatArray = NDArray[np.float64]

CRYSTAL = 0.4
"""Smallest Bragg order of a crystal."""
QUENCH = 8
"""The melted half is cooled for this part of `equilibration`."""
TETHER = 0.07
"""Thermal amplitude along one direction of atoms held in place, in nearest-neighbour distances."""
PARTS = 20
"""Of a run at constant energy."""
CHUNKS = 10
"""Of a run at constant temperature."""


class CoexistenceSettings(EngineSettings):
    """Settings of two phases in one cell."""

    temperature: float = Field(1000.0, gt=0, description="a guess of the melting temperature [K]")
    method: Literal["nve", "bisection"] = Field(
        "nve",
        description="let the temperature settle at constant energy; or see at constant temperature which half grows",
    )
    interval: float | None = Field(
        None,
        gt=0,
        description="bisection: the first bracket is the guess plus and minus this [K]; null: a fifth of it",
    )
    tolerance: float = Field(20.0, gt=0, description="bisection: width of the last bracket [K]")
    repeat: tuple[int, int, int] = Field((1, 1, 1), description="repeats of the structure; long along `axis`")
    axis: Literal[0, 1, 2] = Field(2, description="of the cell, across the interface")
    pressure: float = Field(0.0, description="[GPa]")
    steps: int = Field(
        20_000, ge=200, description="nve: steps altogether; bisection: the most at one temperature"
    )
    equilibration: int = Field(2000, ge=10, description="steps of each preparation")
    melt_temperature: float | None = Field(
        None, gt=0, description="of the half that is melted [K]; null: 2.5 times the guess"
    )
    melt_steps: int = Field(3000, ge=10, description="steps of that")
    friction: float = Field(0.005, gt=0, description="of the Langevin bath [1/fs]")
    every: int = Field(10, ge=1, description="steps between samples")
    error: float | None = Field(
        None, gt=0, description="nve: standard error wanted [K]; said in a warning where it is not reached"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if min(self.repeat) < 1:
            raise ValueError("`repeat` must be >= 1 along every axis")
        if self.steps < 40 * self.every:
            raise ValueError(f"`steps` must be >= 40 x `every` ({40 * self.every})")
        return self


class TwoPhases:
    """Solid and liquid in one cell: its force field, its order, and what to do with it."""

    def __init__(
        self, atoms: Atoms, field: ForceField, walker: Walker, settings: CoexistenceSettings
    ) -> None:
        self.crystal, self.field, self.walker, self.settings = atoms, field, walker, settings
        self.order = BraggOrder(atoms, settings.axis)
        self.psi = 1.0
        # With a melt in the cell its angles have nothing to hold them.
        self.mixed: Barostat = "isotropic" if walker.dynamics.barostat == "isotropic" else "anisotropic"

    def psi_of(self, state: State, _forces: Forces) -> float:
        """Mean Bragg order of all slabs."""
        return float(self.order.profile(state.positions, state.cell).mean())

    def solid(self, state: State, _forces: Forces) -> float:
        """Crystalline part."""
        return self.order.fraction(self.psi)(state.positions, state.cell)

    def prepare(self) -> None:
        """Equilibrate the crystal, melt half of it, and let both come to temperature and pressure."""
        s, walker = self.settings, self.walker
        found = walker.average(
            "crystal",
            self.field,
            {"psi": self.psi_of},
            steps=s.equilibration,
            equilibration=s.equilibration // 2,
            every=s.every,
            ensemble="npt",
        )
        self.psi = found["psi"].value
        if self.psi < CRYSTAL:
            raise SimulationError(
                f"wrong phase: the crystal melted at the guess of {s.temperature:.0f} K before half of it was to be "
                f"melted (Bragg order {self.psi:.2f}, a crystal has more than {CRYSTAL}); lower `temperature`"
            )
        walker.settle("crystal")
        held = self._held()
        hot = s.melt_temperature or 2.5 * s.temperature
        # At constant volume: atoms on springs this stiff have no thermal expansion, so that at constant pressure the crystal
        # would draw the cell together and press the melt until it freezes. Briefly, as the melt is dense until it may expand.
        for stage, temperature, steps, friction in (
            ("melt one half", hot, s.melt_steps, s.friction),
            ("cool that half", s.temperature, max(10, s.equilibration // QUENCH), 10.0 * s.friction),
        ):
            walker.average(
                stage,
                held,
                {},
                steps=steps,
                equilibration=0,
                every=max(1, min(s.every, steps // 8)),
                temperature=temperature,
                friction=friction,
                ensemble="nvt",
            )
        made = walker.average(
            "settle",
            self.field,
            {"solid": self.solid},
            steps=s.equilibration,
            equilibration=0,
            every=s.every,
            ensemble="npt",
            barostat=self.mixed,
        )
        self._check(made["solid"].value, "after the preparation")

    def _held(self) -> Tethered:
        """Hold the lower half on springs to its sites."""
        s = self.settings
        sites = self.crystal.copy()
        sites.set_cell(self.walker.atoms.cell.array, scale_atoms=True)
        lower = (sites.cell.scaled_positions(sites.positions)[:, s.axis] % 1.0) < 0.5
        hot = s.melt_temperature or 2.5 * s.temperature
        stiffness = units.kB * hot / (TETHER * nearest_distance(sites)) ** 2
        return Tethered(self.field, sites, np.where(lower, stiffness, 0.0))

    def _check(self, solid: float, when: str) -> None:
        if 0.1 < solid < 0.9:
            return
        gone, advice = ("liquid", "raise") if solid > 0.5 else ("solid", "lower")
        raise SimulationError(
            f"the {gone} half has gone {when} (crystalline part {solid:.2f}); {advice} `temperature` (now "
            f"{self.settings.temperature:.0f} K), or take a longer cell"
        )

    def _run(self, walker: Walker, stage: str, steps: int, **equations: Any) -> dict[str, Measured]:
        """Return averages of a short run that goes on where the one before ended."""
        every = max(1, min(self.settings.every, steps // 8))
        return walker.average(
            stage, self.field, {"solid": self.solid}, steps=steps, equilibration=0, every=every, **equations
        )

    def at_constant_energy(self) -> tuple[dict[str, Measured], FloatArray]:
        """Return averages of the second half of a run at constant energy; temperature, crystal and pressure of its 20 parts."""
        s = self.settings
        series = []
        for part in range(PARTS):
            found = self._run(self.walker, f"constant energy {part + 1}", s.steps // PARTS, ensemble="nve")
            self._check(
                found["solid"].value, f"within {(part + 1) * s.steps // PARTS} steps at constant energy"
            )
            series.append(found)
        columns = {name: [p[name] for p in series] for name in ("temperature", "solid", "pressure")}
        averages = {}
        for name, each in columns.items():
            late = each[PARTS // 2 :]
            own = math.sqrt(sum(one.error**2 for one in late)) / len(late)
            mean = settled_mean(np.array([one.value for one in each]))
            averages[name] = Measured(mean.value, max(own, mean.error))
        return averages, np.array([[one.value for one in each] for each in columns.values()]).T

    def grows(self, temperature: float) -> tuple[bool, float]:
        """Return whether the crystal grows at a temperature, and its part at the end; always from the same start."""
        s = self.settings
        start = self.walker.current()  # every trial has a walker of its own, so that this one stays there
        own = self.walker
        walker = Walker(f"{temperature:.3f} K", start, own.dynamics, own.journal, own.progress)
        walker.planned, walker.done = own.planned, own.done
        parts = []
        for chunk in range(CHUNKS):
            bath = {"ensemble": "npt", "temperature": temperature, "barostat": self.mixed}
            found = self._run(walker, f"part {chunk + 1}", s.steps // CHUNKS, **bath)
            parts.append(found["solid"].value)
            if not 0.15 < parts[-1] < 0.85:
                break
        own.done = walker.done
        slope = np.polyfit(np.arange(len(parts)), parts, 1)[0] if len(parts) > 1 else parts[-1] - 0.5
        return bool(slope > 0), parts[-1]


def settled_mean(values: FloatArray) -> Measured:
    """Return the mean over the second half of a series (n,), with an error that knows how slowly an interface moves.

    Notes
    -----
    Fluctuations and correlation are those of the whole series, its way to equilibrium included: half of it is often too short
    to show that the interface, and the temperature with it, swing more slowly than that. Where all of it is in equilibrium this
    is the error of half of it.
    """
    late = values[len(values) // 2 :]
    return Measured(float(late.mean()), math.sqrt(len(values) / len(late)) * series_mean(values).error)
