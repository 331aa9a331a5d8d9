"""How series look: a colour, a marker and a dash pattern each, the same for one thing through a whole page.

The colours are ``--k0`` to ``--k8`` of ``evaluation/report/templates/style.css``, and the ink for references. All ten
differ from each other by at least `DISTANCE` (CIEDE2000), also with protanopia, deuteranopia and tritanopia (Machado,
Oliveira and Fernandes 2009, severity 1), on a light and on a dark page. What differs in colour differs in marker and dashes
too as long as there are no more than nine series, so that prints without colour can be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from forgefield.evaluation.report.svg import marker_path

__all__ = ["DASHES", "DISTANCE", "N_STYLES", "REFERENCE", "Style", "assign", "swatch"]

N_STYLES = 9
"""Series of one chart that differ in colour, marker and dashes."""
DISTANCE = 15.0
"""Smallest CIEDE2000 between two colours, for every kind of colour vision."""
DASHES = (
    "none",
    "9 4",
    "4 3",
    "10 3 2.5 3",
    "16 4",
    "10 3 2.5 3 2.5 3",
    "5 2 2 2",
    "16 3 4 3",
    "3 6",
    "1.5 3",
)
"""Pattern of each line in pixels; the last one is that of references."""


@dataclass(frozen=True)
class Style:
    """Look of a series.

    Attributes
    ----------
    colour : int
        0 to 8, or 9 for the ink of references.
    mark : int
        Of the marker and of the dashes, 0 to 9.
    """

    colour: int
    mark: int

    @property
    def marker(self) -> str:
        """Name of the marker."""
        return f"k{self.mark}"

    @property
    def css(self) -> str:
        """Classes of colour and dashes."""
        return f"k{self.colour} p{self.mark}"


REFERENCE = Style(N_STYLES, N_STYLES)
"""Of what the others are compared with."""


def assign(groups: Iterable[Sequence[str]]) -> dict[str, Style]:
    """Return a style for every name, no two of them the same.

    Parameters
    ----------
    groups : iterable of sequence of str
        Names that stand in one chart: they differ in colour and in marker as long as there are nine or fewer.
    """
    # The largest first: it needs all styles, smaller ones can do with what is left.
    every = sorted((list(dict.fromkeys(group)) for group in groups), key=len, reverse=True)
    beside: dict[str, set[str]] = {}
    for group in every:
        for name in group:
            beside.setdefault(name, set()).update(n for n in group if n != name)
    free = [Style(n % N_STYLES, (n + n // N_STYLES) % N_STYLES) for n in range(N_STYLES**2)]
    found: dict[str, Style] = {}
    for name, others in beside.items():
        near = [found[other] for other in others if other in found]
        colours, marks = {s.colour for s in near}, {s.mark for s in near}
        apart = [s for s in free if s.colour not in colours and s.mark not in marks]
        style = (apart or free or [Style(len(found) % N_STYLES, len(found) % N_STYLES)])[0]
        found[name] = style
        if style in free:
            free.remove(style)
    return found


def swatch(style: Style, *, line: bool, points: bool) -> str:
    """Return the picture of a style in a legend: what the chart draws of it."""
    parts = [f'<path class="curve {style.css}" d="M1 7H43"/>'] if line else []
    if points:
        d = marker_path(np.array([22.0]), np.array([7.0]), style.marker, 4.0)
        parts.append(f'<path class="marker {style.css}" d="{d}"/>')
    width = "wide" if line else "narrow"
    box = "0 0 44 14" if line else "14 0 16 14"
    return f'<svg class="swatch {width}" viewBox="{box}" aria-hidden="true">{"".join(parts)}</svg>'
