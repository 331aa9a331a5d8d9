"""How many digits numbers are shown with: two significant digits of the error decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

__all__ = ["aligned", "plain", "rounded"]

MOST = 7
"""Significant digits of a mean whose error is nothing but rounding."""
NOTHING = 1e-8
"""Relative error that is."""


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
    if error < NOTHING * abs(mean):
        return f"{plain(mean, MOST)} ± {float(f'{error:.1g}'):g}"
    return f"{_fixed(mean, places)} ± {_fixed(error, places)}"


def plain(value: float, digits: int = 3) -> str:
    """Return a number to so many significant digits, never with an exponent between 1e-4 and 1e6; a dash for NaN."""
    return f"{float(f'{value:.{digits}g}'):.{max(digits, 6)}g}" if math.isfinite(value) else "-"


def aligned(values: Sequence[tuple[float, float]]) -> list[str]:
    """Return numbers that are compared with each other, of one column.

    Those with an error as `rounded` gives them; those without one to as many places as the finest of the others; where none
    has an error, to three significant digits, and to five at most where it takes more to show how they differ.
    """
    finite = [(m, e) for m, e in values if math.isfinite(m)]
    known = [e for m, e in finite if math.isfinite(e) and e > 1e-6 * abs(m)]
    if known:
        places = min(
            max(_places(e, 2) for e in known), max((_places(m, 6) for m, _ in finite if m), default=0)
        )
        return [rounded(m, e) if not _alone(m, e) else _fixed(m, places) if m else "0" for m, e in values]
    bare = sorted({m for m, _ in finite})
    gap = min((b - a for a, b in pairwise(bare)), default=math.inf)
    least = _places(gap, 1) if math.isfinite(gap) else -MOST
    return [plain(m, _digits(m, least)) for m, _ in values]


def _digits(value: float, places: int) -> int:
    """Return the significant digits down to a decimal place, three to five."""
    if not math.isfinite(value) or value == 0.0:
        return 3
    return min(5, max(3, math.floor(math.log10(abs(value))) + 1 + places))


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
