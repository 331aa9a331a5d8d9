"""The work test: sign, unit, order and constant offset of a stress from energy differences alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.data.conventions.pairs import PairTable, find_pairs
from forgefield.data.stress import ORDERS, STRESS_UNITS, order_indices
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["WorkFit", "WorkTest", "offset_in_gpa", "unit_of_slope", "work_test"]

FloatArray = NDArray[np.float64]

_SHEARED = 0.2
_MIN_PAIRS = 6
_MIN_SHEARED = 8
_GOOD_R2 = 0.9
_ORDER_RATIO = 1.5
_ORDER_PAIRS = 20.0
_MAX_CONDITION = 30.0
_UNIT_TOLERANCE = 0.35


@dataclass(frozen=True)
class WorkFit:
    """Fit of ``dE - force work = slope * V <stress>:e + pressure * V tr e`` for one order.

    Parameters
    ----------
    order : str
        Order of the off-diagonal components that was assumed.
    slope : float
        eV/Å^3 per unit of the label; +1 for ASE's convention.
    offset : float [units of the label]
        Label minus energy derivative, as a constant on the diagonal.
    r2 : float
        Explained fraction of the squared energy differences.
    rss : float [eV^2]
        Squared residuals.
    """

    order: str
    slope: float
    offset: float
    r2: float
    rss: float


@dataclass(frozen=True)
class WorkTest:
    """Outcome for one group.

    Parameters
    ----------
    n_pairs, n_sheared : int
        Pairs used, and those among them with noticeable shear.
    best : WorkFit or None
        Fit with the best order over all pairs; None with too few pairs.
    plain : WorkFit or None
        The same without a constant offset.
    sheared : tuple of WorkFit
        Fits over the sheared pairs for the six orders, best first; empty with too few.
    orders : tuple of str
        Orders that cannot be told from the best one; all six when nothing is sheared.
    """

    n_pairs: int
    n_sheared: int
    best: WorkFit | None
    plain: WorkFit | None
    sheared: tuple[WorkFit, ...]
    orders: tuple[str, ...]

    @property
    def conclusive(self) -> bool:
        """Tell whether energies and stresses are related well enough to conclude anything."""
        return self.best is not None and self.best.r2 >= _GOOD_R2


def work_test(frames: Sequence[Atoms]) -> WorkTest:
    """Relate energy differences of like structures to the work of their labels.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        One group.
    """
    pairs = find_pairs(frames)
    pairs = pairs.select(np.abs(pairs.stress).max(axis=1, initial=0.0) > 0.0)
    off = np.abs(pairs.strain[:, 3:]).max(axis=1, initial=0.0)
    sheared = pairs.select(off >= _SHEARED * np.abs(pairs.strain).max(axis=1, initial=0.0))
    if len(pairs) < _MIN_PAIRS:
        return WorkTest(len(pairs), len(sheared), None, None, (), ORDERS)
    fits = sorted((_fit(pairs, order, offset=True) for order in ORDERS), key=lambda fit: fit.rss)
    orders = ORDERS
    shear_fits: tuple[WorkFit, ...] = ()
    if len(sheared) >= _MIN_SHEARED:
        shear_fits = tuple(sorted((_fit(sheared, o, offset=True) for o in ORDERS), key=lambda fit: fit.rss))
        orders = _indistinguishable(shear_fits, len(sheared))
    best = next(fit for fit in fits if fit.order == (shear_fits or fits)[0].order)
    return WorkTest(len(pairs), len(sheared), best, _fit(pairs, best.order, offset=False), shear_fits, orders)


def _indistinguishable(fits: tuple[WorkFit, ...], n_sheared: int) -> tuple[str, ...]:
    """Return the orders whose residual is not clearly above the smallest."""
    if fits[0].r2 < _GOOD_R2:
        return ORDERS
    limit = max(max(_ORDER_RATIO, 1.0 + _ORDER_PAIRS / n_sheared) * fits[0].rss, 1e-16)
    return tuple(fit.order for fit in fits if fit.rss <= limit)


def _fit(pairs: PairTable, order: str, *, offset: bool) -> WorkFit:
    """Fit slope and offset; pairs are weighted by the inverse of their strain squared.

    The error of the trapezoidal rule grows with the cube of the strain, the work with its first or second
    power; the weights keep a few large steps from outvoting the rest.
    """
    stress = np.concatenate([pairs.stress[:, :3], pairs.stress[:, 3:][:, order_indices(order)]], axis=1)
    doubled = pairs.strain * np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    work = pairs.volume * (stress * doubled).sum(axis=1)
    trace = pairs.volume * pairs.strain[:, :3].sum(axis=1)
    target = pairs.energy - pairs.force_work
    weight = 1.0 / (pairs.volume * (np.abs(pairs.strain).max(axis=1) + 1e-3))
    scale = float(np.sqrt(np.mean((work * weight) ** 2))) or 1.0
    columns = [work / scale, trace] if offset else [work / scale]
    matrix = np.stack(columns, axis=1) * weight[:, None]
    if offset and not _independent(matrix):
        return _fit(pairs, order, offset=False)
    solution, *_ = np.linalg.lstsq(matrix, target * weight, rcond=1e-10)
    residual = target * weight - matrix @ solution
    total = float(((target * weight) ** 2).sum())
    rss = float((residual**2).sum())
    slope = float(solution[0]) / scale
    constant = -float(solution[1]) / slope if offset and slope else 0.0
    return WorkFit(order, slope, constant, 1.0 - rss / total if total else 0.0, rss)


def _independent(matrix: FloatArray) -> bool:
    """Tell whether pressure and work vary independently, so that a constant pressure can be told apart."""
    norms = np.linalg.norm(matrix, axis=0)
    return bool(np.all(norms > 0.0)) and float(np.linalg.cond(matrix / norms)) < _MAX_CONDITION


def unit_of_slope(slope: float, volume: float, *, precision: float = 1.0) -> tuple[str | None, float]:
    """Return the unit whose factor is nearest to a slope, None if none is near or several are.

    Parameters
    ----------
    slope : float
        eV/Å^3 per unit of the label, of either sign.
    volume : float [Å^3]
        Typical volume of the cells, for labels that are virials in eV per cell.
    precision : float, >= 1
        Factor by which the slope may be off; no other unit may be that near.

    Returns
    -------
    (unit, ratio)
        Name in `STRESS_UNITS`; `ratio` is the slope over the unit's factor (1 when they agree).
    """
    factors = {name: factor / volume if name == "eV" else factor for name, factor in STRESS_UNITS.items()}
    if not slope:
        return None, 0.0
    gaps = {name: abs(np.log(abs(slope) / factor)) for name, factor in factors.items()}
    name, second = sorted(gaps, key=lambda unit: gaps[unit])[:2]
    known = gaps[name] < max(_UNIT_TOLERANCE, np.log(precision)) and gaps[second] >= np.log(precision)
    return (name if known else None), abs(slope) / factors[name]


def offset_in_gpa(fit: WorkFit) -> float:
    """Return the constant offset (label minus energy derivative) in GPa, ASE's sign."""
    return fit.offset * fit.slope * EV_PER_A3_TO_GPA
