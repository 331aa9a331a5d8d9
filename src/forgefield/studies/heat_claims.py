"""What paper 5 states of conductivities (figure 3), and what was found, with the noise of the reference in every interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from forgefield.studies.stress_training_numbers import UNIT, Heat, values_of
from forgefield.studies.summary import text
from forgefield.studies.verdicts import Claim, Interval, Known, known_of, permutation

__all__ = ["heat_claims", "own_heat_claims"]

NEAR = 10.0
"""How near to the reference a conductivity must be to be right [%]; the paper's are within 2 %."""


def _reference(heat: Heat) -> Known:
    """Return what is known of the reference: its error is that over simulations, of which every run has several."""
    each = [int(t.cell.parameters.get("replicas", 2)) - 1 for t in heat.truths]
    return Known(heat.value, heat.error, sum(each))


def _noise(heat: Heat) -> Known:
    known = _reference(heat)
    return Known(0.0, known.error, known.freedom)


def _said(known: Known) -> str:
    return known.interval.said(".3f", UNIT)


def _changed(ones: Sequence[float], others: Sequence[float]) -> Known:
    """Return by how much a kind of virial changes the conductivity, simulation by simulation."""
    return known_of(b - a for a, b in zip(ones, others, strict=True))


def _another(change: Known) -> str:
    """Return whether a change is not zero, in which direction so ever."""
    return "undecided" if change.interval.above() == "undecided" else "agrees"


def heat_claims(heat: Heat, phase: str, kinds: Sequence[str]) -> Iterator[Claim]:
    """Yield the rows of figure 3 for one phase."""
    off = {k: known_of(abs(v - heat.value) for v in heat.of(k, "I")) - _noise(heat) for k in ("EFP", "EF")}
    i = (off["EFP"] - off["EF"]).interval
    found = f"|Δκ| {text((off['EFP'].mean, off['EFP'].error))} against {text((off['EF'].mean, off['EF'].error))} {UNIT}"
    found += f"; difference {i.said('.3f')}"
    yield f"Stress labels lower the error of the conductivity of the {phase}", found, i.below()
    yield from _of_ef(heat, phase)
    right = known_of(heat.of("EFP", "I")) - _reference(heat)
    parts = [100.0 * v / heat.value for v in (right.mean, right.interval.low, right.interval.high)]
    relative = Interval(*parts)
    found = relative.said("+.1f", "%")
    statement = f"EFP-fits with virial I have the conductivity of the {phase} right (within {NEAR:g} %)"
    yield statement, found, relative.inside(-NEAR, NEAR)
    for kind in kinds[1:]:
        change = _changed(heat.of("EFP", "I"), heat.of("EFP", kind))
        claim = f"EFP-fit, {phase}: virial {kind} gives another conductivity than virial I"
        yield claim, f"κ changes by {_said(change)}", _another(change)
        found, verdict = _nearer(heat, kind, change)
        yield f"In the {phase} virial I is nearer to the reference than virial {kind}", found, verdict


def _of_ef(heat: Heat, phase: str) -> Iterator[Claim]:
    """Yield whether fits without stress are the worse the larger their stress error is."""
    stress = values_of(heat.fits["EF"], "errors", "valid", "stress")
    pairs = [
        (s, abs(v - heat.value)) for s, v in zip(stress, heat.of("EF", "I"), strict=True) if math.isfinite(v)
    ]
    if len(pairs) < 4:
        return
    r, p = permutation(*zip(*pairs, strict=True))
    if math.isnan(r):
        return
    verdict = "undecided" if p > 0.05 else "agrees" if r > 0 else "disagrees"
    statement = f"EF-fits with a larger stress error have a larger error of the conductivity of the {phase}"
    yield statement, f"rank correlation {r:.2f}, {len(pairs)} fits, p = {p:.2g}", verdict


def _nearer(heat: Heat, kind: str, change: Known) -> tuple[str, str]:
    """Return by where the reference lies from the middle between both virials which of them is nearer."""
    middles = [0.5 * (a + b) for a, b in zip(heat.of("EFP", "I"), heat.of("EFP", kind), strict=True)]
    beyond = known_of(middles) - _reference(heat)
    i = beyond.interval
    side = math.copysign(1.0, change.mean)
    low, high = sorted((side * i.low, side * i.high)) if math.isfinite(i.low) else (math.nan, math.nan)
    own = Interval(side * i.value, low, high)
    found = f"the reference is {own.said('.3f', UNIT)} on virial I's side of the middle of both"
    return found, own.above() if _another(change) == "agrees" else "undecided"


def own_heat_claims(heat: Heat, phase: str, kinds: Sequence[str]) -> Iterator[Claim]:
    """Yield whether virials differ in the reference itself, where nothing is fitted."""
    for kind in kinds[1:]:
        if heat.truths_have(kind):
            ones, others = (values_of(heat.truths, heat.phase, k, "value") for k in ("I", kind))
            change = _changed(ones, others)
            found = f"{text((known_of(others).mean, known_of(others).error))} against {text((heat.value, heat.error))} {UNIT}: "
            statement = (
                f"In the {phase} of the truth itself virial {kind} gives another conductivity than virial I"
            )
            yield statement, f"{found}changed by {_said(change)}", _another(change)
