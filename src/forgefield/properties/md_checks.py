"""What a potential must survive before molecular dynamics with it can be believed, one check at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray

from forgefield.deployment.ase import ForgefieldCalculator
from forgefield.deployment.md import run_md
from forgefield.errors import ConfigError, DataError, ForgefieldError, SimulationError
from forgefield.properties.base import Curve
from forgefield.properties.phonons import phonons
from forgefield.properties.relaxation import relax_cell
from forgefield.properties.short_range import cold_curve, dimer
from forgefield.properties.structures import strained

__all__ = [
    "Check",
    "Watch",
    "check_cold_curve",
    "check_conservation",
    "check_derivative",
    "check_dimers",
    "check_grades",
    "check_phonons",
    "check_run",
]

FloatArray = NDArray[np.float64]

DERIVATIVE = 2e-3
"""Part of the work by which it may differ from the change of the energy."""
STEP = 0.02
"""Displacement [Å] over which work and energy are compared."""
WORST = 3
"""Atoms named."""


@dataclass(frozen=True)
class Check:
    """One line of the certificate.

    Attributes
    ----------
    name : str
    status : {'passed', 'failed', 'not available'}
    reason : str
        What was found, in words, with numbers and limits.
    values : mapping
        The numbers.
    curves : mapping of Curve
    """

    name: str
    status: Literal["passed", "failed", "not available"]
    reason: str
    values: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return name, status, reason and numbers."""
        content = asdict(self)
        del content["curves"]
        return content


def _status(passed: bool) -> Literal["passed", "failed"]:
    return "passed" if passed else "failed"


class Watch:
    """Follows extrapolation grades along simulations.

    Parameters
    ----------
    calculator : ASE calculator
    """

    def __init__(self, calculator: Any) -> None:
        self.calculator = calculator
        self.rows: list[dict[str, Any]] = []
        self.highest: list[tuple[str, int, float]] = []
        self.missing = "" if isinstance(calculator, ForgefieldCalculator) else "not a potential of Forgefield"

    def __call__(self, atoms: Atoms, run: str, step: int, limit: float) -> None:
        """Grade every atom of a state."""
        if self.missing:
            return
        try:
            grades = np.asarray(self.calculator.get_property("extrapolation", atoms), dtype=np.float64)
        except ConfigError as error:
            self.missing = str(error)
            return
        self.highest.append((run, step, float(grades.max())))
        for k in np.argsort(-grades)[:WORST]:
            if grades[k] > limit:
                self.rows.append(
                    {
                        "run": run,
                        "step": step,
                        "atom": int(k),
                        "element": str(atoms.symbols[int(k)]),
                        "grade": float(grades[k]),
                    }
                )


# ---- at rest -------------------------------------------------------------------------------------------------


def check_derivative(atoms: Atoms, calculator: Any, seed: int) -> Check:
    """Check that forces are the derivative of the energy, in a displaced structure and along a direction between theirs and a random one."""
    rng = np.random.default_rng(seed)
    middle = atoms.copy()
    middle.positions += 0.05 * rng.standard_normal((len(atoms), 3))
    middle.calc = calculator
    force = np.array(middle.get_forces(), dtype=np.float64)
    direction = force / max(float(np.sqrt(np.mean(force**2))), 1e-6) + rng.standard_normal(force.shape)
    direction /= np.linalg.norm(direction, axis=1).max()
    energies, pulls, sizes = [], [], []
    for x in (-STEP, 0.0, STEP):
        copy = middle.copy()
        copy.positions += x * direction
        copy.calc = calculator
        energies.append(float(copy.get_potential_energy()))
        forces = copy.get_forces()
        pulls.append(float((forces * direction).sum()))
        sizes.append(float(np.linalg.norm(forces) * np.linalg.norm(direction)) / np.sqrt(3 * len(atoms)))
    work = STEP / 3.0 * (pulls[0] + 4.0 * pulls[1] + pulls[2])  # Simpson's rule
    change = energies[2] - energies[0]
    relative = abs(change + work) / (2.0 * STEP * max(float(np.mean(sizes)), 1e-3))
    return Check(
        "forces are the derivative of the energy",
        _status(relative <= DERIVATIVE),
        f"work of the forces and change of the energy differ by {relative:.1e} of a typical work "
        f"(allowed: {DERIVATIVE:.0e})",
        {"relative_difference": relative, "energy_change_eV": change, "work_eV": -work},
    )


def check_dimers(elements: list[str], calculator: Any, barrier: float) -> Check:
    """Check that two atoms repel each other at short distances, up to an energy no collision reaches."""
    curves, values, bad = {}, {}, []
    for first, second in combinations_with_replacement(elements, 2):
        name = f"{first}-{second}"
        radii = sum(float(covalent_radii[Atoms(s).numbers[0]]) for s in (first, second))
        scan = dimer(first, second, calculator, np.linspace(0.35 * radii, 6.0, 100))
        hole = scan.hardest > 0 and scan.barrier < barrier
        values[name] = {
            "barrier_eV": scan.barrier,
            "repulsive_down_to_A": float(scan.x[scan.hardest]),
            "minimum_A": float(scan.x[scan.minimum]),
        }
        if hole or not np.isfinite(scan.energies[-1]):
            bad.append(
                f"{name} collapses below {scan.x[scan.hardest]:.2f} Å behind {scan.barrier:.1f} eV "
                f"(needed: {barrier:g} eV)"
            )
        shown = np.isfinite(scan.energies) & (np.abs(scan.energies) < 2.0 * barrier)
        curves[f"dimer {name}"] = Curve(
            scan.x[shown], scan.energies[shown], "distance of two atoms [Å]", "energy [eV]"
        )
    reason = (
        "; ".join(bad) or f"pairs repel up to at least {min(v['barrier_eV'] for v in values.values()):.3g} eV"
    )
    return Check("two atoms repel each other", _status(not bad), reason, values, curves)


def check_cold_curve(atoms: Atoms, calculator: Any, smallest: float) -> Check:
    """Check that compressing the crystal costs energy all the way to lengths scaled by `smallest`."""
    scales = np.linspace(smallest, 1.3, 50)
    scan, pressures = cold_curve(atoms, calculator, scales)
    minimum = float(scan.x[scan.minimum])
    pushed = (scales < min(minimum, 1.0)) & np.isfinite(pressures)
    soft = bool((pressures[pushed] <= 0.0).any()) or not np.isfinite(scan.energies).all()
    bad = scan.hardest > 0 or soft
    volume = float(atoms.get_volume()) / len(atoms)
    reason = (
        f"under compression the energy falls again, or the pressure is negative, below {scan.x[scan.hardest]:.3g} of "
        "the length"
        if bad
        else f"energy and pressure rise down to {smallest:g} of the length ({np.nanmax(pressures):.0f} GPa)"
    )
    shown = np.isfinite(scan.energies)
    curve = Curve(scales[shown] ** 3 * volume, scan.energies[shown], "volume [Å^3/atom]", "energy [eV/atom]")
    values = {"minimum_at_length": minimum, "repulsive_down_to_length": float(scan.x[scan.hardest])}
    return Check("the crystal resists compression", _status(not bad), reason, values, {"cold curve": curve})


def check_phonons(atoms: Atoms, calculator: Any, name: str, *, length: float, tolerance: float) -> Check:
    """Check that a phase has no imaginary mode; its cell and ions are relaxed first."""
    title = f"phonons of {name}"
    try:
        at_rest = relax_cell(atoms, calculator, force_tolerance=1e-3)
        lowest = phonons(at_rest, calculator, length=length).lowest(density=20.0)
    except ForgefieldError as error:
        missing = isinstance(error, ConfigError)
        return Check(title, "not available" if missing else "failed", str(error))
    bad = lowest.frequency < -tolerance
    words = (
        f"imaginary mode {-lowest.frequency:.3g}i THz" if bad else f"lowest mode {lowest.frequency:.3g} THz"
    )
    reason = f"{words} at q = {lowest.q} ({lowest.where}); allowed: {tolerance:g}i THz"
    return Check(title, _status(not bad), reason, {"lowest_THz": lowest.frequency, "q": list(lowest.q)})


# ---- in motion -----------------------------------------------------------------------------------------------


def check_conservation(
    atoms: Atoms, calculator: Any, watch: Watch, settings: Any, rng: np.random.Generator
) -> Check:
    """Check that the energy is conserved without a thermostat."""
    title = f"energy is conserved at {settings.temperature:g} K"
    copy = atoms.copy()
    warm = {"temperature": settings.temperature, "timestep": settings.timestep}
    try:
        run_md(
            copy, calculator, steps=settings.steps // 4, seed=int(rng.integers(2**31)), friction=0.05, **warm
        )
        summary = run_md(
            copy,
            calculator,
            ensemble="nve",
            steps=settings.steps,
            log_interval=5,
            draw_velocities=False,
            **warm,
        )
    except SimulationError as error:
        return Check(title, "failed", str(error))
    watch(copy, "nve", settings.steps, settings.grade_limit)
    drift = abs(summary.energy_drift or 0.0)
    return Check(
        title,
        _status(drift <= settings.drift_limit),
        f"drift {drift * 1000:.3g} meV/atom/ps over {summary.time:g} ps at {summary.temperature:.0f} K, time step "
        f"{settings.timestep:g} fs (allowed: {settings.drift_limit * 1000:g})",
        {"drift_eV_per_atom_per_ps": drift, "temperature_K": summary.temperature, "time_ps": summary.time},
    )


def runs(atoms: Atoms, settings: Any) -> Iterator[tuple[str, Atoms, float]]:
    """Yield name, start and temperature [K] of the stability runs."""
    e, cold, hot = settings.strain, settings.temperature, settings.hot_temperature
    yield f"hot, {hot:g} K", atoms.copy(), hot
    yield f"compressed by {100 * e:g} %", strained(atoms, (1 - e) * np.eye(3)), cold
    yield f"stretched by {100 * e:g} %", strained(atoms, (1 + e) * np.eye(3)), cold
    shear = np.eye(3)
    shear[0, 1] = shear[1, 0] = e
    yield f"sheared by {100 * e:g} %", strained(atoms, shear), cold


def check_run(
    name: str,
    atoms: Atoms,
    calculator: Any,
    watch: Watch,
    settings: Any,
    *,
    temperature: float,
    seed: int,
    folder: Path | None = None,
) -> Check:
    """Check that dynamics with a thermostat go on without breaking down; grades are taken on the way."""
    title = f"stable: {name}"
    chunks = 10
    steps = max(settings.steps // (2 * chunks), 1)
    for chunk in range(chunks):
        try:
            summary = run_md(
                atoms,
                calculator,
                temperature=temperature,
                timestep=settings.timestep,
                steps=steps,
                friction=0.02,
                seed=seed + chunk,
            )
        except SimulationError as error:
            if folder is not None:
                _keep(folder / f"failed_{name.split(',', maxsplit=1)[0].replace(' ', '_')}.xyz", atoms)
            return Check(title, "failed", f"after {chunk * steps} steps: {error}")
        watch(atoms, name, (chunk + 1) * steps, settings.grade_limit)
    time = chunks * steps * settings.timestep / 1000.0
    values = {"time_ps": time, "temperature_K": summary.temperature, "pressure_GPa": summary.pressure}
    pressure = "" if summary.pressure is None else f", {summary.pressure:.2f} GPa"
    return Check(title, "passed", f"{time:g} ps at {summary.temperature:.0f} K{pressure}", values)


def check_grades(watch: Watch, limit: float) -> Check:
    """Check that no atom met in the simulations is unlike the training set."""
    title = "atoms stay within the training set"
    if watch.missing or not watch.highest:
        return Check(title, "not available", watch.missing or "no simulation got far enough to be graded")
    run, step, highest = max(watch.highest, key=lambda item: item[2])
    curve = Curve(
        np.arange(len(watch.highest), dtype=np.float64),
        np.array([g for _, _, g in watch.highest]),
        "sample, in the order of the runs",
        "highest extrapolation grade",
        points=True,
    )
    reason = f"highest grade {highest:.3g} in '{run}' at step {step} (allowed: {limit:g})"
    worst = sorted(watch.rows, key=lambda row: -float(row["grade"]))[:WORST]
    if worst:
        names = ", ".join(
            f"{r['element']} {r['atom']} ({r['run']}, step {r['step']}: {r['grade']:.3g})" for r in worst
        )
        reason += f"; worst atoms: {names}"
    values = {"highest": highest, "atoms": watch.rows}
    return Check(title, _status(highest <= limit), reason, values, {"extrapolation": curve})


def _keep(path: Path, atoms: Atoms) -> None:
    from ase.io import write

    copy = atoms.copy()
    copy.calc = None
    copy.set_momenta(None)
    if not np.isfinite(copy.positions).all():
        return
    try:
        write(path, copy, format="extxyz")
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from None
