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

SMOOTH, ROUGH = 15.0, 2.0
"""The change by halving a panel, over its error after that: of Simpson's rule, and next to a singularity."""
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
        Sum over panels of what their halving changed, divided by 15.
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
    With ``S1`` and ``S2`` Simpson's sums of a panel with three and five points, its integral is ``S2 + (S2 - S1) / 15`` and
    its error ``|S2 - S1| / 15``; half of ``|S2 - S1|`` next to t = 0 where k > 0. A difference within its standard error
    is noise, which the statistical error has already.
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
        now = self.integral()
        if now.measured.error <= wanted:
            return []
        if now.discretisation > wanted * math.sqrt(0.5):
            return self._halve(most)
        shares = {node: abs(w) * self.mean(node).error for node, w in self._weights().items()}
        ranked = sorted(shares, key=lambda node: -shares[node])
        limit = SHARE * shares[ranked[0]]
        return sorted(node for node in ranked[:most] if shares[node] >= limit and shares[node] > 0.0)

    def _halve(self, most: int) -> list[Fraction]:
        errors = [self._error(panel) for panel in self._panels]
        limit = SHARE * max(errors)
        kept: list[_Panel] = []
        for panel, error in zip(self._panels, errors, strict=True):
            middle = panel.nodes[2]
            halves = [_Panel(panel.first, middle), _Panel(middle, panel.last)]
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

    def _error(self, panel: _Panel) -> float:
        means = [self.mean(node) for node in panel.nodes]
        change = panel.change
        difference = abs(float(change @ [m.value for m in means]))
        noise = float(np.sqrt((change**2) @ np.array([m.error**2 for m in means])))
        return 0.0 if difference <= noise else difference / (ROUGH if self._rough(panel) else SMOOTH)

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
