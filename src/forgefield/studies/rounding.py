"""How many digits numbers are shown with: two significant digits of the error decide."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["aligned", "plain", "rounded"]

MOST = 7
"""Significant digits of a mean whose error is smaller than that."""


def rounded(mean: float, error: float = math.nan) -> str:
    """Return ``mean ± standard error``, both to the second significant digit of the error; a dash where there is no mean.

    Without an error three significant digits are shown, and as many as it takes (up to seven) of what has none because all
    runs are the same.
    """
    if not math.isfinite(mean):
        return "-"
    if not math.isfinite(error):
        return plain(mean)
    if error <= 0.0:
        return plain(mean, MOST)
    places = _places(error, 2)
    if mean != 0.0 and places > _places(mean, MOST):
        return f"{mean:.{MOST}g} ± {float(f'{error:.1g}'):g}"
    return f"{_fixed(mean, places)} ± {_fixed(error, places)}"


def plain(value: float, digits: int = 3) -> str:
    """Return a number to so many significant digits, never with an exponent between 1e-4 and 1e6; a dash for NaN."""
    return f"{float(f'{value:.{digits}g}'):g}" if math.isfinite(value) else "-"


def aligned(values: Sequence[tuple[float, float]]) -> list[str]:
    """Return numbers that are compared with each other, of one column.

    Those with an error as `rounded` gives them; those without one to as many places as the finest of the others; where none
    has an error, to as many significant digits (three to six) as it takes to tell different ones apart.
    """
    finite = [(m, e) for m, e in values if math.isfinite(m)]
    known = [e for m, e in finite if math.isfinite(e) and e > 1e-6 * abs(m)]
    if known:
        places = min(
            max(_places(e, 2) for e in known), max((_places(m, 6) for m, _ in finite if m), default=0)
        )
        return [rounded(m, e) if not _alone(m, e) else _fixed(m, places) for m, e in values]
    bare = {m for m, _ in finite}
    digits = next((d for d in range(3, 6) if len({plain(m, d) for m in bare}) == len(bare)), 6)
    return [rounded(m, e) if not _alone(m, e) else plain(m, digits) for m, e in values]


def _alone(mean: float, error: float) -> bool:
    return math.isfinite(mean) and not error > 0.0


def _places(value: float, digits: int) -> int:
    """Return the decimals that show so many significant digits of a number."""
    power = math.floor(math.log10(abs(value)))
    if round(abs(value) / 10.0**power, digits - 1) >= 10.0:
        power += 1
    return digits - 1 - power


def _fixed(value: float, places: int) -> str:
    text = f"{round(value, places):.{max(places, 0)}f}"
    return text.removeprefix("-") if float(text) == 0.0 else text
