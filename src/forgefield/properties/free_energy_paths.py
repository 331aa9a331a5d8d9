"""One leg of a thermodynamic path, walked there and back, in equilibrium or by switching."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.properties.dynamics import Observable, State
from forgefield.properties.dynamics_forces import Forces
from forgefield.properties.free_energy_adaptive import AdaptiveIntegral
from forgefield.properties.free_energy_checks import check_solid
from forgefield.properties.free_energy_estimators import Measured, Quadrature, forward_backward
from forgefield.properties.free_energy_potentials import Mixture
from forgefield.properties.free_energy_sampling import Walker
from forgefield.properties.free_energy_settings import PathSettings

__all__ = ["Leg", "path_warnings", "walk"]

FloatArray = NDArray[np.float64]

SIGNIFICANT = 3.0
"""A hysteresis of more standard errors is no noise."""
ENOUGH = 25.0
"""Independent samples, of two correlation times each, below which the error of a mean is a guess."""


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
        lambda and ``<dU/dlambda>`` [eV] on both ways; nan where there was only one.
    facts : dict
        How it was integrated, where that was not settled before; ``independent_samples``: median over runs.
    """

    difference: Measured
    hysteresis: Measured
    couplings: FloatArray
    up: FloatArray
    down: FloatArray
    facts: dict[str, float] = field(default_factory=dict)


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
    legs: int = 1,
) -> Leg:
    """Go from one end of a leg to the other and back, `repeats` times, or until the error is as small as asked for.

    Parameters
    ----------
    walker : Walker
    name : str
        Of the stages.
    mixture : Mixture
        Its start is lambda = 0.
    rule : Quadrature
        Of the equilibrium method; an adaptive one takes its power and the number of its points.
    settings : PathSettings
    temperature : float [K]
    first_up : bool
        The walker is at lambda = 0, else at 1.
    watch : callable, optional
        `free_energy_checks.excursion` of a crystal: the walk stops when it melts.
    legs : int
        Of the whole path; they share `target_error`.
    """
    if settings.method == "switching":
        return _switch(walker, name, mixture, settings, temperature, first_up=first_up, watch=watch)
    mean = _Mean(walker, name, mixture, settings, temperature, watch)
    if settings.lambdas == "adaptive" and settings.target_error is not None:
        wanted = 1e-3 * settings.target_error * len(walker.atoms) / math.sqrt(legs)
        return _adapt(mean, rule, settings, wanted, first_up=first_up)
    n = len(rule.points)
    ways: dict[bool, list[list[Measured]]] = {True: [], False: []}
    for repeat in range(settings.repeats):
        for up in (first_up, not first_up):
            found: list[Measured] = [Measured(0.0, 0.0)] * n
            for k in range(n) if up else reversed(range(n)):
                found[k] = mean(f"{_way(up)} {repeat + 1} point {k + 1}", float(rule.points[k]))
            ways[up].append(found)
    sums = {up: [rule.integrate(*_columns(w)) for w in ways[up]] for up in (True, False)}
    mean_up, mean_down = _mean(sums[True]), _mean(sums[False])
    hysteresis = mean_up - mean_down
    return Leg(
        difference=_with_hysteresis((mean_up + mean_down) * 0.5, hysteresis),
        hysteresis=hysteresis,
        couplings=rule.points,
        up=np.mean([_columns(w)[0] for w in ways[True]], axis=0),
        down=np.mean([_columns(w)[0] for w in ways[False]], axis=0),
        facts={"independent_samples": float(np.median(mean.independent))},
    )


@dataclass(frozen=True)
class _Mean:
    """``<dU/dlambda>`` of one leg at a lambda, as a stage of a walk."""

    walker: Walker
    name: str
    mixture: Mixture
    settings: PathSettings
    temperature: float
    watch: Observable | None
    independent: list[float] = field(default_factory=list)

    def __call__(self, stage: str, coupling: float) -> Measured:
        self.mixture.coupling = coupling
        observe: dict[str, Observable] = {"difference": lambda _s, _f: self.mixture.difference}
        if self.watch is not None:
            observe["excursion"] = self.watch
        averages = self.walker.average(
            f"{self.name} {stage}",
            self.mixture,
            observe,
            steps=self.settings.steps,
            equilibration=self.settings.equilibration,
        )
        if self.watch is not None:
            check_solid(averages["excursion"].value, self.temperature, f"at lambda = {coupling:.3f}")
        self.independent.append(self.walker.independent(f"{self.name} {stage}", "difference"))
        return averages["difference"]


def _adapt(mean: _Mean, rule: Quadrature, settings: PathSettings, wanted: float, *, first_up: bool) -> Leg:
    """Go there and back over what `AdaptiveIntegral` asks for, until the error [eV] is the one wanted."""
    panels = max(1, round((len(rule.points) - 1) / 4))
    whole = AdaptiveIntegral(panels, rule.power)
    ways = {True: AdaptiveIntegral(panels, rule.power), False: AdaptiveIntegral(panels, rule.power)}
    up, runs, walks = first_up, 0, 0
    plan = whole.nodes
    while plan:
        walks += 1
        for node in plan if up else reversed(plan):
            coupling = whole.coupling(node)
            found = mean(f"{_way(up)} {walks} at {coupling:.8g}", coupling)
            whole.add(node, found)
            ways[up].add(node, found)
        runs += len(plan)
        up = not up
        left = settings.max_runs - runs
        plan = whole.nodes if walks < 2 * settings.repeats else whole.improve(wanted, max(left, 0))
    total = whole.integral()
    mean_up, mean_down = (ways[u].integral() for u in (True, False))
    hysteresis = Measured(
        mean_up.value - mean_down.value, math.hypot(mean_up.statistical, mean_down.statistical)
    )
    return Leg(
        difference=_with_hysteresis(total.measured, hysteresis),
        hysteresis=hysteresis,
        couplings=np.array([whole.coupling(node) for node in whole.nodes]),
        up=_along(whole.nodes, ways[True]),
        down=_along(whole.nodes, ways[False]),
        facts={
            "points": float(len(whole.nodes)),
            "runs": float(runs),
            "discretisation_eV_per_atom": total.discretisation / len(mean.walker.atoms),
            "independent_samples": float(np.median(mean.independent)),
        },
    )


def _along(nodes: list[Fraction], way: AdaptiveIntegral) -> FloatArray:
    return np.array([way.average(node).value if node in way.visits else math.nan for node in nodes])


def _way(up: bool) -> str:
    return "up" if up else "down"


def _with_hysteresis(difference: Measured, hysteresis: Measured) -> Measured:
    """Return a difference with half the hysteresis in its error, where that is more than noise."""
    if abs(hysteresis.value) <= SIGNIFICANT * hysteresis.error:
        return difference
    return Measured(difference.value, math.hypot(difference.error, 0.5 * hysteresis.value))


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


def path_warnings(legs: dict[str, Leg], n_atoms: int) -> tuple[str, ...]:
    """Return what to say where ways differ by more than three standard errors, or runs are too short for errors."""
    found = []
    for name, leg in legs.items():
        error = max(leg.hysteresis.error, 1e-12)
        if abs(leg.hysteresis.value) > SIGNIFICANT * error:
            found.append(
                f"hysteresis of the leg {name!r}: {1e3 * leg.hysteresis.value / n_atoms:.3f} meV/atom between the ways "
                f"up and down, more than three standard errors ({1e3 * error / n_atoms:.3f} meV/atom); raise `steps` and "
                "`equilibration`"
            )
        independent = leg.facts.get("independent_samples", math.inf)
        if independent < ENOUGH:
            found.append(
                f"runs of the leg {name!r} are short: half of them have less than {2.0 * independent:.0f} correlation "
                f"times of dU/dlambda (wanted: {2.0 * ENOUGH:.0f}), so that their error bars are rough; raise "
                f"`steps` {ENOUGH / independent:.1f} times"
            )
    return tuple(found)
