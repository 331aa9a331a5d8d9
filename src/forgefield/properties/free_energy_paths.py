"""One leg of a thermodynamic path, walked there and back, in equilibrium or by switching."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.properties.dynamics import Observable, State
from forgefield.properties.dynamics_forces import Forces
from forgefield.properties.free_energy_checks import check_solid
from forgefield.properties.free_energy_estimators import Measured, Quadrature, forward_backward
from forgefield.properties.free_energy_potentials import Mixture
from forgefield.properties.free_energy_sampling import Walker
from forgefield.properties.free_energy_settings import PathSettings

__all__ = ["Leg", "hysteresis_warnings", "walk"]

FloatArray = NDArray[np.float64]

SIGNIFICANT = 3.0
"""A hysteresis of more standard errors is no noise."""


@dataclass(frozen=True)
class Leg:
    """One part of the path.

    Attributes
    ----------
    difference : Measured [eV]
        Free energy at its end minus that at its start.
    hysteresis : Measured [eV]
        Way up minus way down; with switching, the work wasted on one way.
    couplings, up, down : (n,)
        lambda and ``<dU/dlambda>`` [eV] on both ways.
    """

    difference: Measured
    hysteresis: Measured
    couplings: FloatArray
    up: FloatArray
    down: FloatArray


def walk(
    walker: Walker,
    name: str,
    mixture: Mixture,
    rule: Quadrature,
    settings: PathSettings,
    temperature: float,
    *,
    first_up: bool,
    watch: Observable | None = None,
) -> Leg:
    """Go from one end of a leg to the other and back, `repeats` times.

    Parameters
    ----------
    walker : Walker
    name : str
        Of the stages.
    mixture : Mixture
        Its start is lambda = 0.
    rule : Quadrature
        Of the equilibrium method.
    settings : PathSettings
    temperature : float [K]
    first_up : bool
        The walker is at lambda = 0, else at 1.
    watch : callable, optional
        `free_energy_checks.excursion` of a crystal: the walk stops when it melts.
    """
    if settings.method == "switching":
        return _switch(walker, name, mixture, settings, temperature, first_up=first_up, watch=watch)
    observe: dict[str, Observable] = {"difference": lambda _s, _f: mixture.difference}
    if watch is not None:
        observe["excursion"] = watch
    n = len(rule.points)
    ways: dict[bool, list[list[Measured]]] = {True: [], False: []}
    for repeat in range(settings.repeats):
        for up in (first_up, not first_up):
            found: list[Measured] = [Measured(0.0, 0.0)] * n
            for k in range(n) if up else reversed(range(n)):
                mixture.coupling = float(rule.points[k])
                averages = walker.average(
                    f"{name} {'up' if up else 'down'} {repeat + 1} point {k + 1}",
                    mixture,
                    observe,
                    steps=settings.steps,
                    equilibration=settings.equilibration,
                )
                found[k] = averages["difference"]
                if watch is not None:
                    where = f"at lambda = {mixture.coupling:.3f}"
                    check_solid(averages["excursion"].value, temperature, where)
            ways[up].append(found)
    sums = {up: [rule.integrate(*_columns(w)) for w in ways[up]] for up in (True, False)}
    mean_up, mean_down = _mean(sums[True]), _mean(sums[False])
    both, hysteresis = (mean_up + mean_down) * 0.5, mean_up - mean_down
    if abs(hysteresis.value) > SIGNIFICANT * hysteresis.error:  # more than noise: half of it may be missing
        both = Measured(both.value, math.hypot(both.error, 0.5 * hysteresis.value))
    return Leg(
        difference=both,
        hysteresis=hysteresis,
        couplings=rule.points,
        up=np.mean([_columns(w)[0] for w in ways[True]], axis=0),
        down=np.mean([_columns(w)[0] for w in ways[False]], axis=0),
    )


def _switch(
    walker: Walker,
    name: str,
    mixture: Mixture,
    settings: PathSettings,
    temperature: float,
    *,
    first_up: bool,
    watch: Observable | None,
) -> Leg:
    works: dict[bool, list[float]] = {True: [], False: []}
    paths: dict[bool, FloatArray] = {}
    for repeat in range(settings.repeats):
        for up in (first_up, not first_up):
            work, paths[up] = walker.switch(
                f"{name} switching {'up' if up else 'down'} {repeat + 1}",
                mixture,
                steps=settings.steps,
                equilibration=settings.equilibration,
                direction="up" if up else "down",
                check=None if watch is None else _checker(watch, temperature),
            )
            works[up].append(work)
    difference, wasted = forward_backward(works[True], works[False])
    grid = paths[True][:, 0]
    down = np.interp(grid, paths[False][::-1, 0], paths[False][::-1, 1])
    return Leg(difference, wasted, grid, paths[True][:, 1], down)


def _checker(excursion: Observable, temperature: float) -> Callable[[Atoms], None]:
    def check(atoms: Atoms) -> None:
        state = State(
            atoms.positions,
            np.zeros_like(atoms.positions),
            atoms.cell.array,
            atoms.get_masses(),
            atoms.numbers,
        )
        check_solid(
            float(np.asarray(excursion(state, Forces(0.0, atoms.positions)))), temperature, "after switching"
        )

    return check


def _columns(estimates: list[Measured]) -> tuple[FloatArray, FloatArray]:
    return np.array([e.value for e in estimates]), np.array([e.error for e in estimates])


def _mean(estimates: list[Measured]) -> Measured:
    values, errors = _columns(estimates)
    n = len(values)
    error = float(np.sqrt((errors**2).sum())) / n
    if n > 1:  # walks may differ by more than each of them shows
        error = max(error, float(values.std(ddof=1)) / math.sqrt(n))
    return Measured(float(values.mean()), error)


def hysteresis_warnings(legs: dict[str, Leg], n_atoms: int) -> tuple[str, ...]:
    """Return what to say where the two ways differ by more than three standard errors."""
    found = []
    for name, leg in legs.items():
        error = max(leg.hysteresis.error, 1e-12)
        if abs(leg.hysteresis.value) > SIGNIFICANT * error:
            found.append(
                f"hysteresis of the leg {name!r}: {1e3 * leg.hysteresis.value / n_atoms:.3f} meV/atom between the ways "
                f"up and down, more than three standard errors ({1e3 * error / n_atoms:.3f} meV/atom); raise `steps` and "
                "`equilibration`"
            )
    return tuple(found)
