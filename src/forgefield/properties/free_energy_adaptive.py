"""Thermodynamic integration that chooses its own points of lambda, and how long to stay at each, to meet an error."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from forgefield.properties.free_energy_estimators import Measured

__all__ = ["AdaptiveIntegral", "Integral"]

FloatArray = NDArray[np.float64]

SMOOTH, UNPROVEN, ROUGH = 15.0, 1.0, 2.0
"""The change by halving a panel over its error after that: of Simpson's rule; before that is seen; near a singularity."""
RESOLVED, HIDDEN = 2.0, 4.0
"""A change of so many standard errors is no noise, so that more points help; below, this part of its error is counted."""
PROOF = 8.0
"""Halving a panel has made its changes so much smaller: smooth enough for Simpson's rule, whose factor is 16."""
SHARE = 0.5
"""Panels and points within this factor of the worst are improved together."""


@dataclass(frozen=True)
class Integral:
    """What is known of the integral.

    Attributes
    ----------
    value : float
    statistical : float
        Standard error that the averages leave.
    discretisation : float
        Error of the quadrature, summed over panels; never below what noise could hide.
    """

    value: float
    statistical: float
    discretisation: float

    @property
    def measured(self) -> Measured:
        """The value with both errors."""
        return Measured(self.value, math.hypot(self.statistical, self.discretisation))


@dataclass(frozen=True)
class _Panel:
    first: Fraction
    last: Fraction
    parent: _Panel | None = None

    @property
    def nodes(self) -> list[Fraction]:
        """Five equidistant ones, ends included."""
        return [self.first + Fraction(k, 4) * (self.last - self.first) for k in range(5)]

    @property
    def width(self) -> float:
        return float(self.last - self.first)

    @property
    def fine(self) -> FloatArray:
        """Weights of Simpson's sum with five points."""
        return self.width / 12.0 * np.array([1.0, 4.0, 2.0, 4.0, 1.0])

    @property
    def change(self) -> FloatArray:
        """Those weights less those of the sum with three points."""
        return self.fine - self.width / 6.0 * np.array([1.0, 0.0, 4.0, 0.0, 1.0])


@dataclass
class AdaptiveIntegral:
    """``int_0^1 f dlambda`` by Simpson's rule on panels that are halved, and means that are made longer, where it pays.

    The variable is t with ``lambda = t^(1/(1-k))``, so that what is integrated is ``g(t) = f(lambda) dlambda/dt``; a power
    k > 0 takes a singularity of f at 0 away, and ``g(0) = 0``.

    Parameters
    ----------
    panels : int
        To begin with; each has five points, ends shared.
    power : float
        k, 0 <= k < 1.

    Notes
    -----
    With ``S1`` and ``S2`` Simpson's sums of a panel with three and five points, its integral is ``S2 + (S2 - S1) / 15``. Its
    error is ``|S2 - S1| / 15`` only once that difference has fallen eightfold and more when its parent was halved, else the
    whole difference: an integrand that is steep at one end fools the smaller number. Next to t = 0 with k > 0
    the integral is ``S2`` and the error half of the difference. Within two standard
    errors a difference is noise: a quarter of its error is counted for what it may hide, and longer runs are called for,
    not more points.
    """

    panels: int = 2
    power: float = 0.0
    visits: dict[Fraction, list[Measured]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._panels = [
            _Panel(Fraction(k, self.panels), Fraction(k + 1, self.panels)) for k in range(self.panels)
        ]

    def coupling(self, node: Fraction) -> float:
        """Return lambda at a node t."""
        return float(float(node) ** (1.0 / (1.0 - self.power)))

    def slope(self, node: Fraction) -> float:
        """Return dlambda/dt at a node t."""
        exponent = 1.0 / (1.0 - self.power)
        return float(exponent * float(node) ** (exponent - 1.0))

    @property
    def nodes(self) -> list[Fraction]:
        """All points t that have to be visited, in rising order."""
        return sorted(node for node in self._all if node > 0 or self.power == 0.0)

    def add(self, node: Fraction, found: Measured) -> None:
        """Take one more mean of ``dU/dlambda`` at a node; means of one node count equally."""
        self.visits.setdefault(node, []).append(found)

    def mean(self, node: Fraction) -> Measured:
        """Return the mean of g at a node over its visits."""
        if node == 0 and self.power > 0.0:
            return Measured(0.0, 0.0)
        return self.average(node) * self.slope(node)

    def average(self, node: Fraction) -> Measured:
        """Return the mean of ``dU/dlambda`` at a node over its visits."""
        return _mean(self.visits[node])

    def integral(self) -> Integral:
        """Return the integral as far as it is known."""
        weights = self._weights()
        means = {node: self.mean(node) for node in weights}
        value = sum(w * means[node].value for node, w in weights.items())
        variance = sum((w * means[node].error) ** 2 for node, w in weights.items())
        return Integral(value, math.sqrt(variance), sum(self._error(p) for p in self._panels))

    def improve(self, wanted: float, most: int) -> list[Fraction]:
        """Return the nodes to visit next for an error `wanted`, rising; none once it is met or would take too many.

        Panels are halved where they are worst until the discretisation takes half of the variance at most; points are
        visited again where their share of the statistical error is largest.

        Parameters
        ----------
        wanted : float
        most : int
            Nodes at most.
        """
        if self.integral().measured.error <= wanted:
            return []
        resolved = [self._error(panel, resolved=True) for panel in self._panels]
        if sum(resolved) > wanted * math.sqrt(0.5):
            return self._halve(resolved, most)
        shares = {node: abs(w) * self.mean(node).error for node, w in self._weights().items()}
        ranked = sorted(shares, key=lambda node: -shares[node])
        limit = SHARE * shares[ranked[0]]
        return sorted(node for node in ranked[:most] if shares[node] >= limit and shares[node] > 0.0)

    def _halve(self, errors: list[float], most: int) -> list[Fraction]:
        limit = SHARE * max(errors)
        kept: list[_Panel] = []
        for panel, error in zip(self._panels, errors, strict=True):
            middle = panel.nodes[2]
            halves = [_Panel(panel.first, middle, panel), _Panel(middle, panel.last, panel)]
            kept += halves if error >= limit else [panel]
        new = sorted({node for panel in kept for node in panel.nodes} - self._all)
        if len(new) > most:
            return []
        self._panels = kept
        return new

    @property
    def _all(self) -> set[Fraction]:
        return {node for panel in self._panels for node in panel.nodes}

    def _rough(self, panel: _Panel) -> bool:
        return panel.first == 0 and self.power > 0.0

    def _change(self, panel: _Panel) -> Measured:
        """Return ``|S2 - S1|`` of a panel."""
        means = [self.mean(node) for node in panel.nodes]
        difference = abs(float(panel.change @ [m.value for m in means]))
        return Measured(difference, float(np.sqrt((panel.change**2) @ np.array([m.error**2 for m in means]))))

    def _error(self, panel: _Panel, *, resolved: bool = False) -> float:
        """Return the error of a panel; only where it is more than noise if `resolved`."""
        change = self._change(panel)
        rough = self._rough(panel)
        before = 0.0 if panel.parent is None else self._change(panel.parent).value
        smooth = not rough and before >= 2.0 * PROOF * change.value
        if change.value > RESOLVED * change.error:
            return change.value / (SMOOTH if smooth else ROUGH if rough else UNPROVEN)
        return 0.0 if resolved else change.error / (SMOOTH if smooth else HIDDEN)

    def _weights(self) -> dict[Fraction, float]:
        total: dict[Fraction, float] = {}
        for panel in self._panels:
            rule = panel.fine if self._rough(panel) else panel.fine + panel.change / SMOOTH
            for node, weight in zip(panel.nodes, rule, strict=True):
                total[node] = total.get(node, 0.0) + float(weight)
        return total


def _mean(visits: list[Measured]) -> Measured:
    """Return the mean of visits; their scatter counts where it is more than their errors."""
    values = np.array([v.value for v in visits])
    error = math.sqrt(sum(v.error**2 for v in visits)) / len(visits)
    if len(visits) > 2:
        error = max(error, float(values.std(ddof=1)) / math.sqrt(len(visits)))
    return Measured(float(values.mean()), error)
