"""Numbers of the stress study: differences of melting curves and of conductivities to the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from forgefield.studies.base import CellResult, mean_and_error
from forgefield.studies.summary import Groups, number

__all__ = [
    "CRYSTAL",
    "LIQUID",
    "NO_TEST",
    "REFERENCE",
    "UNIT",
    "WAYS",
    "Heat",
    "known_mean",
    "melting_errors",
    "values_of",
]

REFERENCE, UNIT = "reference", "W/(m K)"
WAYS = ("heating", "cooling")
NO_TEST = (
    "There is no test set: errors are those of validation structures, which also say when a training is best. Everything else is "
    "simulated afresh."
)
LIQUID, CRYSTAL = "conductivity", "conductivity_crystal"
"""Of the values of a cell: conductivities of both phases."""


def values_of(results: Sequence[CellResult], *keys: str) -> list[float]:
    """Return a value of every result, by the keys that lead to it; NaN where it is missing."""
    found = []
    for result in results:
        value: Any = result.values
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        found.append(number(value))
    return found


def known_mean(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard error of what is known."""
    known = [v for v in values if math.isfinite(v)]
    return mean_and_error(known) if known else (math.nan, math.nan)


def melting_errors(found: Mapping[str, Any], truths: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return how far heating and cooling are from the mean of runs of the reference.

    Returns
    -------
    dict
        ``length``: RMS difference of the lattice constants [%]; ``g``: mean ``|dg|``. NaN where a simulation failed.
    """
    known = [t for t in truths if "lengths" in t]
    if "lengths" not in found or not known:
        return {"length": math.nan, "g": math.nan}
    ratios = [
        np.asarray(found["lengths"][way]) / np.mean([t["lengths"][way] for t in known], axis=0) - 1.0
        for way in WAYS
    ]
    profiles = [
        np.asarray(found["g"][name]) - np.mean([t["g"][name] for t in known], axis=0)
        for name in known[0]["g"]
        if name in found["g"]
    ]
    return {
        "length": float(100.0 * np.sqrt(np.mean(np.square(ratios)))),
        "g": float(np.mean(np.abs(profiles))),
    }


class Heat:
    """Conductivities of fits against the reference.

    Parameters
    ----------
    fits : dict of str to list of CellResult
    truths : sequence of CellResult
    phase : str
        `LIQUID` or `CRYSTAL`.
    """

    def __init__(self, fits: Groups, truths: Sequence[CellResult], phase: str = LIQUID) -> None:
        self.fits, self.phase, self.truths = fits, phase, truths
        own = [t.values[phase]["I"] for t in truths]
        known = [(number(o.get("value")), number(o.get("error"))) for o in own]
        known = [k for k in known if math.isfinite(k[0])]
        n = max(1, len(known))
        self.value = float(np.mean([k[0] for k in known])) if known else math.nan
        self.error = math.sqrt(sum(k[1] ** 2 for k in known)) / n if known else math.nan

    def of(self, fit: str, kind: str) -> list[float]:
        """Return the conductivity of every seed."""
        return values_of(self.fits[fit], self.phase, kind, "value")

    def errors(self, fit: str, kind: str) -> list[float]:
        """Return its standard error for every seed."""
        return values_of(self.fits[fit], self.phase, kind, "error")

    def difference(self, fit: str, kind: str) -> tuple[float, float]:
        """Return the mean difference to the reference and its standard error, that of the reference included."""
        mean, spread = known_mean([v - self.value for v in self.of(fit, kind)])
        return mean, math.hypot(spread, self.error)

    def change(self, fit: str, kind: str) -> tuple[float, float]:
        """Return by how much a kind of virial changes the conductivity against kind I, simulation by simulation."""
        return known_mean([b - a for a, b in zip(self.of(fit, "I"), self.of(fit, kind), strict=True)])

    def beyond(self, fit: str, kind: str) -> tuple[float, float]:
        """Return how far the reference lies on virial I's side of the middle between I and another kind.

        Positive: kind I is nearer to the reference; negative: the other one is. Only the middle and the reference have
        noise, for both kinds come from the same simulations: that decides which is nearer long before each difference to the
        reference is known.
        """
        ones, others = self.of(fit, "I"), self.of(fit, kind)
        middle, spread = known_mean([0.5 * (a + b) - self.value for a, b in zip(ones, others, strict=True)])
        return math.copysign(1.0, self.change(fit, kind)[0]) * middle, math.hypot(spread, self.error)

    def truths_have(self, kind: str) -> bool:
        """Return whether the reference was measured with a kind of virial too."""
        return bool(self.truths) and all(kind in t.values[self.phase] for t in self.truths)

    def of_truths(self, kind: str) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the conductivity of the reference with a kind of virial and its change against kind I, over runs."""
        values = values_of(self.truths, self.phase, kind, "value")
        ones = values_of(self.truths, self.phase, "I", "value")
        return known_mean(values), known_mean([b - a for a, b in zip(ones, values, strict=True)])
