"""A small SVG writer: text is escaped, colours come from style classes, numbers are short.

Colours, line widths and dashes live in ``templates/style.css``, so one drawing serves light, dark and print.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from html import escape

import numpy as np
from numpy.typing import NDArray

from forgefield.evaluation.report.axes import Axis

__all__ = ["Drawing", "Frame", "marker_path", "number", "polyline_path"]

Array = NDArray[np.float64]

_MARKERS = {
    "k0": "m-{r} 0a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0",
    "k1": "m0 -{t}l{t} {u}h-{v}z",
    "k2": "m0 -{t}l{t} {t}l-{t} {t}l-{t} -{t}z",
    "k3": "m-{r} -{r}h{d}v{d}h-{d}z",
}
"""Marker of each split as relative path: circle, triangle, diamond, square."""
_ARM, _REACH = 0.4, 1.35
_PLUS = [
    (_ARM, -_REACH), (_ARM, -_ARM), (_REACH, -_ARM), (_REACH, _ARM), (_ARM, _ARM), (_ARM, _REACH),
    (-_ARM, _REACH), (-_ARM, _ARM), (-_REACH, _ARM), (-_REACH, -_ARM), (-_ARM, -_ARM), (-_ARM, -_REACH),
]  # fmt: skip
_POLYGONS = {
    "k4": [(0.0, 1.25), (1.25, -1.1), (-1.25, -1.1)],
    "k5": [((x - y) / math.sqrt(2.0), (x + y) / math.sqrt(2.0)) for x, y in _PLUS],
    "k6": _PLUS,
    "k7": [
        (r * math.sin(math.pi * k / 5), -r * math.cos(math.pi * k / 5))
        for k in range(10)
        for r in ((1.55, 0.65)[k % 2],)
    ],
    "k8": [(-1.15, -1.25), (1.15, -1.25), (-1.15, 1.25), (1.15, 1.25)],
}
"""Markers of further series, corners in units of the size: triangle downwards, cross, plus, star, hourglass."""
_RING = (
    "m-{a} 0a{a} {a} 0 1 0 {aa} 0a{a} {a} 0 1 0 -{aa} 0zm{w} 0a{b} {b} 0 1 1 {bb} 0a{b} {b} 0 1 1 -{bb} 0z"
)


@dataclass(frozen=True)
class Frame:
    """The plotting area: its two axes and their titles."""

    x: Axis
    y: Axis
    x_title: str
    y_title: str


@dataclass
class Drawing:
    """An SVG image in the making.

    Parameters
    ----------
    width, height : float
        Size of the view box; the image scales to its column.
    description : str
        Says in words what the plot shows; read aloud by screen readers.
    key : str
        Name under which the page's data holds the values behind the plot; empty where there are none.
    """

    width: float
    height: float
    description: str
    key: str = ""
    parts: list[str] = field(default_factory=list)

    def add(self, part: str) -> None:
        """Append markup."""
        self.parts.append(part)

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        """Draw a straight line."""
        self.add(
            f'<line class="{style}" x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"/>'
        )

    def rectangle(self, x: float, y: float, width: float, height: float, style: str, tip: str = "") -> None:
        """Draw a rectangle; `tip` is shown when the pointer rests on it."""
        title = f"<title>{escape(tip)}</title>" if tip else ""
        self.add(
            f'<rect class="{style}" x="{number(x)}" y="{number(y)}" width="{number(width)}"'
            f' height="{number(height)}">{title}</rect>'
        )

    def path(self, d: str, style: str) -> None:
        """Draw a path."""
        if d:
            self.add(f'<path class="{style}" d="{d}"/>')

    def text(
        self,
        x: float,
        y: float,
        text: str,
        style: str = "",
        *,
        turn: bool = False,
        tip: str = "",
        down: float = 0.0,
    ) -> None:
        """Write text `down` heights of a letter below y; `turn` rotates it upwards, `tip` is shown when the pointer rests on it."""
        place = f'x="{number(x)}" y="{number(y)}"' + (f' dy="{down:g}em"' if down else "")
        if turn:
            place = f'transform="translate({number(x)} {number(y)}) rotate(-90)"'
        title = f"<title>{escape(tip)}</title>" if tip else ""
        self.add(f'<text class="{style}" {place}>{escape(text)}{title}</text>')

    def axes(self, frame: Frame, *, ticks: tuple[int, int] = (5, 5)) -> None:
        """Draw grid, tick labels, titles and the outline of a plotting area."""
        left, right = sorted((frame.x.start, frame.x.end))
        top, bottom = sorted((frame.y.start, frame.y.end))
        for x, label in frame.x.ticks(ticks[0]):
            self.line(x, top, x, bottom, "grid")
            self.text(x, bottom + 15, label, "tick mid")
        for y, label in frame.y.ticks(ticks[1]):
            self.line(left, y, right, y, "grid")
            self.text(left - 6, y + 4, label, "tick end")
        self.rectangle(left, top, right - left, bottom - top, "box")
        if frame.x_title:
            self.text((left + right) / 2, bottom + 34, frame.x_title, "axis mid")
        if frame.y_title:
            self.text(11, (top + bottom) / 2, frame.y_title, "axis mid", turn=True)

    def render(self) -> str:
        """Return the markup of the image."""
        interactive = f' data-key="{escape(self.key)}" tabindex="0"' if self.key else ""
        return (
            f'<svg class="plot" viewBox="0 0 {number(self.width)} {number(self.height)}" role="img"'
            f' aria-label="{escape(self.description)}"{interactive}>{"".join(self.parts)}</svg>'
        )


def number(value: float) -> str:
    """Return a coordinate with one decimal, none where it is whole."""
    return f"{value:.1f}".removesuffix(".0")


def polyline_path(x: Array, y: Array) -> str:
    """Return the path through points; it breaks at NaN."""
    steps: list[str] = []
    pen = "M"
    for px, py in zip(x.tolist(), y.tolist(), strict=True):
        if not (np.isfinite(px) and np.isfinite(py)):
            pen = "M"
            continue
        steps.append(f"{pen}{number(px)} {number(py)}")
        pen = "L"
    return "".join(steps)


def marker_path(x: Array, y: Array, style: str, size: float) -> str:
    """Return one path with a marker at each point.

    Parameters
    ----------
    x, y : (n,) [pixels]
    style : str
        ``k0`` circle, ``k1`` triangle, ``k2`` diamond, ``k3`` square, ``k4`` triangle downwards, ``k5`` cross, ``k6``
        plus, ``k7`` star, ``k8`` hourglass, ``k9`` ring.
    size : float [pixels]
        About the radius.
    """
    shape = _shape(style, size)
    return "".join(f"M{number(a)} {number(b)}{shape}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def _shape(style: str, size: float) -> str:
    """Return a marker as relative path."""
    if style in _MARKERS:
        wide = 1.25 * size
        return _MARKERS[style].format(
            r=number(size), d=number(2 * size), t=number(wide), u=number(1.9 * wide), v=number(2 * wide)
        )
    if style == "k9":
        outer, inner = 1.2 * size, 0.6 * size
        a, b = number(outer), number(inner)
        return _RING.format(a=a, aa=number(2 * outer), b=b, bb=number(2 * inner), w=number(outer - inner))
    corners = [(size * x, size * y) for x, y in _POLYGONS[style]]
    steps = [f"m{number(corners[0][0])} {number(corners[0][1])}"]
    for (x0, y0), (x1, y1) in itertools.pairwise(corners):
        steps.append(f"l{number(x1 - x0)} {number(y1 - y0)}")
    return "".join([*steps, "z"])
