"""The property `coexistence`: the melting temperature of a crystal beside its melt."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgefield.errors import ConfigError, SimulationError
from forgefield.properties.barostat import Barostat, choose_barostat
from forgefield.properties.base import Curve, Progress, Property, PropertyResult, silent
from forgefield.properties.dynamics import State
from forgefield.properties.dynamics_forces import ForceField, Forces, force_field
from forgefield.properties.free_energy_checks import nearest_distance
from forgefield.properties.free_energy_estimators import Measured
from forgefield.properties.free_energy_sampling import Walker
from forgefield.properties.melting_order import BraggOrder, Tethered
from forgefield.properties.statistics import series_mean
from forgefield.properties.structures import require_crystal
from forgefield.properties.walks import BathSettings, begin_walk, missed_goal, open_journal, quantity
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["COEXISTENCE", "CoexistenceSettings", "half_melted", "settled_mean"]

FloatArray = NDArray[np.float64]

JOURNAL = "coexistence.journal.json"
CRYSTAL = 0.4
"""Smallest Bragg order of a crystal."""
QUENCH = 8
"""The melted half is cooled for this part of `equilibration`."""
TETHER = 0.07
"""Thermal amplitude along one direction of atoms held in place, in nearest-neighbour distances."""


class CoexistenceSettings(BathSettings):
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


class _Slab:
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

    def at_constant_energy(self) -> tuple[dict[str, Measured], FloatArray]:
        """Return averages of the second half of a run at constant energy; temperature, crystal and pressure of its 20 parts."""
        s = self.settings
        parts = 20
        series = []
        for part in range(parts):
            found = self.walker.average(
                f"constant energy {part + 1}",
                self.field,
                {"solid": self.solid},
                steps=s.steps // parts,
                equilibration=0,
                every=max(1, min(s.every, s.steps // parts // 8)),
                ensemble="nve",
            )
            self._check(
                found["solid"].value, f"within {(part + 1) * s.steps // parts} steps at constant energy"
            )
            series.append(found)
        columns = {name: [p[name] for p in series] for name in ("temperature", "solid", "pressure")}
        averages = {}
        for name, each in columns.items():
            late = each[parts // 2 :]
            own = math.sqrt(sum(one.error**2 for one in late)) / len(late)
            mean = settled_mean(np.array([one.value for one in each]))
            averages[name] = Measured(mean.value, max(own, mean.error))
        return averages, np.array([[one.value for one in each] for each in columns.values()]).T

    def grows(self, temperature: float) -> tuple[bool, float]:
        """Return whether the crystal grows at a temperature, and its part at the end; always from the same start."""
        s, chunks = self.settings, 10
        start = self.walker.current()  # every trial has a walker of its own, so that this one stays there
        own = self.walker
        walker = Walker(f"{temperature:.3f} K", start, own.dynamics, own.journal, own.progress)
        walker.planned, walker.done = own.planned, own.done
        parts = []
        for chunk in range(chunks):
            found = walker.average(
                f"part {chunk + 1}",
                self.field,
                {"solid": self.solid},
                steps=s.steps // chunks,
                equilibration=0,
                every=max(1, min(s.every, s.steps // chunks // 8)),
                ensemble="npt",
                temperature=temperature,
                barostat=self.mixed,
            )
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


def half_melted(
    atoms: Atoms, field: ForceField, walker: Walker, settings: CoexistenceSettings
) -> tuple[Atoms, float]:
    """Return a cell whose lower half is crystal and whose upper half is liquid, and the crystalline part.

    Parameters
    ----------
    atoms : ase.Atoms
        The crystal, long along ``settings.axis``.
    field, walker, settings
        See `COEXISTENCE`.

    Raises
    ------
    SimulationError
        The crystal melted, or one half has gone.
    """
    slab = _Slab(atoms, field, walker, settings)
    slab.prepare()
    made = walker.current()
    fraction = slab.order.fraction(slab.psi)(made.positions, made.cell.array)
    return made, fraction


def _bisect(slab: _Slab) -> tuple[Measured, FloatArray]:
    s = slab.settings
    width = s.interval or 0.2 * s.temperature
    low, high = s.temperature - width, s.temperature + width
    if low <= 0:
        raise ConfigError(f"`interval` must be below the guess of {s.temperature} K, got {width}")
    tried = []
    for bound, wanted in ((low, True), (high, False)):
        growing, part = slab.grows(bound)
        tried.append((bound, part))
        if growing is not wanted:
            raise SimulationError(
                f"the crystal {'grows' if growing else 'shrinks'} at {bound:.0f} K already, so the melting temperature is "
                f"not between {low:.0f} and {high:.0f} K: "
                f"{'raise' if growing else 'lower'} `temperature` or widen `interval`"
            )
    while high - low > s.tolerance:
        middle = 0.5 * (low + high)
        growing, part = slab.grows(middle)
        tried.append((middle, part))
        low, high = (middle, high) if growing else (low, middle)
    return Measured(0.5 * (low + high), (high - low) / math.sqrt(12.0)), np.array(tried)


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: CoexistenceSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> PropertyResult:
    require_crystal(atoms, "coexistence")
    crystal = atoms.copy() * settings.repeat
    crystal.calc = None
    field = force_field(calculator, crystal)
    barostat = choose_barostat(settings.barostat, crystal)
    walker = begin_walk(
        "slab",
        crystal,
        settings,
        open_journal(folder, JOURNAL, crystal, settings),
        steps=(2.5 + 1.0 / QUENCH) * settings.equilibration
        + settings.melt_steps
        + _runs(settings) * settings.steps,
        progress=progress,
        ensemble="npt",
        temperature=settings.temperature,
        pressure=settings.pressure,
        barostat=barostat,
    )
    slab = _Slab(crystal, field, walker, settings)
    slab.prepare()
    conditions = settings.model_dump() | {
        "n_atoms": len(crystal),
        "barostat": barostat,
        "bragg_order_of_crystal": slab.psi,
    }
    if settings.method == "bisection":
        melting, tried = _bisect(slab)
        order = np.argsort(tried[:, 0])
        curve = Curve(
            tried[order, 0], tried[order, 1], "temperature [K]", "crystalline part at the end", points=True
        )
        return PropertyResult(
            name="coexistence",
            quantities={"melting_temperature": quantity(melting, "K", "bisection")},
            conditions=conditions | {"ensemble": "npt"},
            curves={"crystalline part": curve},
        )
    averages, series = slab.at_constant_energy()
    return _settled(averages, series, settings, conditions)


def _runs(settings: CoexistenceSettings) -> int:
    """Return at how many temperatures there is a run of `steps`."""
    if settings.method == "nve":
        return 1
    bracket = 2.0 * (settings.interval or 0.2 * settings.temperature)
    return 2 + math.ceil(math.log2(max(bracket / settings.tolerance, 1.0)))


def _settled(
    averages: dict[str, Measured],
    series: FloatArray,
    settings: CoexistenceSettings,
    conditions: dict[str, Any],
) -> PropertyResult:
    melting = averages["temperature"]
    pressure = averages["pressure"] * EV_PER_A3_TO_GPA
    time = (np.arange(len(series)) + 0.5) * settings.steps / len(series) * settings.timestep / 1000.0
    warnings = []
    half = len(series) // 2
    slope = float(np.polyfit(time[half:], series[half:, 0], 1)[0])
    drift = slope * (time[-1] - time[half])
    if abs(drift) > 4.0 * melting.error:
        warnings.append(
            f"the temperature still drifts, by {drift:+.0f} K over the second half of the run; take more `steps` or a "
            "`temperature` nearer to the result"
        )

    def takes(times: float) -> str:
        need = math.ceil(settings.steps * times)
        return f"that takes about {need} `steps` ({need * settings.timestep / 1000.0:.3g} ps)"

    warnings += missed_goal(melting.error, settings.error, takes)
    if abs(pressure.value - settings.pressure) > max(5.0 * pressure.error, 0.5):
        warnings.append(
            f"the pressure settled at {pressure.value:.2f} GPa, not at {settings.pressure:g} GPa: the temperature is that of "
            "this pressure; begin at a `temperature` nearer to the result"
        )
    return PropertyResult(
        name="coexistence",
        quantities={
            "melting_temperature": quantity(melting, "K", "mean of the second half"),
            "pressure": quantity(pressure, "GPa", "mean of the second half"),
            "crystalline_part": quantity(averages["solid"], ""),
        },
        conditions=conditions | {"ensemble": "nve"},
        curves={
            "temperature": Curve(time, series[:, 0], "time [ps]", "temperature [K]"),
            "crystalline part": Curve(time, series[:, 1], "time [ps]", "crystalline part"),
            "pressure": Curve(time, series[:, 2] * EV_PER_A3_TO_GPA, "time [ps]", "pressure [GPa]"),
        },
        warnings=tuple(warnings),
    )


COEXISTENCE = Property(
    "coexistence",
    "melting temperature of a crystal beside its melt, at constant energy or by bisection",
    CoexistenceSettings,
    _compute,
)
