"""The property `coexistence`: the melting temperature of a crystal beside its melt."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.errors import ConfigError, SimulationError
from forgefield.properties.barostat import choose_barostat
from forgefield.properties.base import Curve, Progress, Property, PropertyResult, silent
from forgefield.properties.free_energy_estimators import Measured
from forgefield.properties.structures import require_crystal
from forgefield.properties.two_phases import CHUNKS, PARTS, QUENCH, CoexistenceSettings, TwoPhases
from forgefield.properties.walks import begin_walk, missed_goal, open_journal, quantity, walk_forces
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["COEXISTENCE", "CoexistenceSettings"]

FloatArray = NDArray[np.float64]

JOURNAL = "coexistence.journal.json"


def _bisect(slab: TwoPhases) -> tuple[Measured, FloatArray]:
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
    barostat = choose_barostat(settings.barostat, crystal)
    journal = open_journal(folder, JOURNAL, crystal, settings)
    trials = _trials(settings)
    planned = 2.5 * settings.equilibration + trials * settings.steps
    parts = trials * (PARTS if settings.method == "nve" else CHUNKS)
    field = walk_forces(calculator, crystal, settings, journal, steps=planned, runs=3 + parts)
    walker = begin_walk(
        "slab",
        crystal,
        settings,
        journal,
        steps=planned + settings.equilibration / QUENCH + settings.melt_steps,
        progress=progress,
        ensemble="npt",
        temperature=settings.temperature,
        pressure=settings.pressure,
        barostat=barostat,
    )
    slab = TwoPhases(crystal, field, walker, settings)
    slab.prepare()
    conditions = settings.model_dump() | {
        "engine": journal.engine,
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


def _trials(settings: CoexistenceSettings) -> int:
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
