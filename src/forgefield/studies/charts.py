"""Charts of a study's page: lines and points with error bars, every point with a name."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.evaluation.report.axes import Axis, padded
from forgefield.evaluation.report.svg import Drawing, marker_path, number, polyline_path
from forgefield.studies.rounding import rounded
from forgefield.studies.styles import REFERENCE, Style, assign, swatch

__all__ = ["Chart", "Series", "styles_of"]

Array = NDArray[np.float64]

WIDTH, HEIGHT = 520.0, 368.0
"""Of a chart [pixels of its view box]."""
LEFT, RIGHT, TOP, BOTTOM = 46.0, 502.0, 36.0, 308.0
"""Of the plotting area; the left edge gives way to long labels."""
LETTER = 9.7
"""Width of a letter where the text is largest, on a phone."""
DENSE = 120
"""Points of a series from which markers are small and without outline."""


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Attributes
    ----------
    name : str
    x, y : sequence of float
        NaN leaves a gap.
    error : sequence of float, optional
        Standard errors of `y`; NaN draws none.
    labels : sequence of str, optional
        What is shown when a point is pointed at, which run it is; default: the name.
    line, points : bool
        What is drawn.
    thing : str
        What it is about, where the name says it in other words: one thing has one style through a page.
    reference : bool
        The others are compared with it; drawn in the colour of the text.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    error: Sequence[float] | None = None
    labels: Sequence[str] | None = None
    line: bool = True
    points: bool = True
    thing: str = ""
    reference: bool = False

    @property
    def key(self) -> str:
        """Name of its style."""
        return self.thing or self.name


@dataclass(frozen=True)
class Chart:
    """One picture.

    Attributes
    ----------
    title, caption : str
    series : tuple of Series
    x_title, y_title : str
        With units.
    x_log, y_log : bool
    categories : tuple of str
        Names of x = 0, 1, ...; empty for a numerical axis.
    diagonal : bool
        Draw y = x.
    level : float, optional
        Draw y = level.
    """

    title: str
    series: tuple[Series, ...]
    x_title: str
    y_title: str
    caption: str = ""
    x_log: bool = False
    y_log: bool = False
    categories: tuple[str, ...] = ()
    diagonal: bool = False
    level: float | None = None

    def svg(self, key: str, styles: Mapping[str, Style] | None = None) -> str:
        """Return the markup.

        Parameters
        ----------
        key : str
            Of the values behind it in the page's data.
        styles : mapping, optional
            From `styles_of` all charts of the page.
        """
        known = styles or styles_of([self])
        drawing = Drawing(WIDTH, HEIGHT, self._description(), key)
        x, y = self._axes()
        self._draw_axes(drawing, x, y)
        if self.diagonal:
            low, high = max(x.low, y.low), min(x.high, y.high)
            if low < high:
                drawing.line(x.pixel(low), y.pixel(low), x.pixel(high), y.pixel(high), "diagonal")
        if self.level is not None and y.low <= self.level <= y.high:
            drawing.line(x.start, y.pixel(self.level), x.end, y.pixel(self.level), "diagonal")
        for series in self.series:
            _draw(drawing, series, _style(series, known), x, y)
        return drawing.render()

    def legend(self, styles: Mapping[str, Style] | None = None) -> tuple[tuple[str, str], ...]:
        """Return picture and name of each series; empty where there is one only."""
        if len(self.series) < 2:
            return ()
        known = styles or styles_of([self])
        return tuple(
            (swatch(_style(s, known), line=s.line and len(s.x) > 1, points=s.points), s.name)
            for s in self.series
        )

    def values(self) -> dict[str, Any]:
        """Return what the page's script shows: the titles of the axes and each visible point.

        Returns
        -------
        dict
            ``titles``: of x and y; ``points``: (x [pixels], y [pixels], label, value of x, value of y) of each.
        """
        x, y = self._axes()
        found = []
        for series in self.series:
            labels = series.labels or [series.name] * len(series.x)
            errors = [math.nan] * len(series.x) if series.error is None else series.error
            for px, py, error, label in zip(series.x, series.y, errors, labels, strict=True):
                if not (_drawable(px, log=self.x_log) and _drawable(py, log=self.y_log)):
                    continue
                said = rounded(py, error) if math.isfinite(error) else f"{py:.5g}"
                where = self.categories[int(px)] if self.categories else f"{px:.5g}"
                found.append([round(x.pixel(px), 1), round(y.pixel(py), 1), label, where, said])
        return {"titles": [self.x_title, self.y_title], "points": found}

    def csv(self) -> str:
        """Return the values as comma-separated text."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["series", self.x_title, self.y_title, "standard error", "label"])
        for series in self.series:
            labels = series.labels or [""] * len(series.x)
            errors = [math.nan] * len(series.x) if series.error is None else series.error
            for px, py, error, label in zip(series.x, series.y, errors, labels, strict=True):
                where = self.categories[int(px)] if self.categories else px
                writer.writerow([series.name, where, py, "" if math.isnan(error) else error, label])
        return buffer.getvalue()

    def _axes(self) -> tuple[Axis, Axis]:
        xs = [v for s in self.series for v in s.x]
        ys = [v for s in self.series for v in s.y]
        for s in self.series:
            if s.error is not None:
                for value, error in zip(s.y, s.error, strict=True):
                    if math.isfinite(error):
                        ys += [value - error, value + error]
        y = _axis(ys, BOTTOM, TOP, log=self.y_log)
        widest = max((len(label) for _, label in y.ticks()), default=0)
        left = max(LEFT, 10.0 + LETTER * widest)
        if self.categories:
            return Axis(-0.5, len(self.categories) - 0.5, left, RIGHT), y
        return _axis(xs, left, RIGHT, log=self.x_log), y

    def _draw_axes(self, drawing: Drawing, x: Axis, y: Axis) -> None:
        """Draw grid, labels and titles; distances in heights of letters, for text is larger on a phone."""
        names = [(x.pixel(float(n)), name) for n, name in enumerate(self.categories)]
        for at, label in names or x.ticks():
            if not names:
                drawing.line(at, TOP, at, BOTTOM, "grid")
            drawing.text(at, BOTTOM + 10, label, "tick mid", down=1.0)
        for at, label in y.ticks():
            drawing.line(x.start, at, x.end, at, "grid")
            drawing.text(x.start - 6, at, label, "tick end", down=0.35)
        drawing.rectangle(x.start, TOP, x.end - x.start, BOTTOM - TOP, "box")
        drawing.text((x.start + x.end) / 2, HEIGHT - 9, self.x_title, "axis mid")
        drawing.text(2, TOP - 18, self.y_title, "axis")

    def _description(self) -> str:
        parts = []
        for series in self.series:
            known = [v for v in series.y if math.isfinite(v)]
            if known:
                parts.append(f"{series.name} from {min(known):.3g} to {max(known):.3g}")
        return f"{self.title}: {self.y_title} against {self.x_title or 'case'}; " + "; ".join(parts)


def styles_of(charts: Iterable[Chart]) -> dict[str, Style]:
    """Return the style of everything shown in charts of one page."""
    return assign([[s.key for s in chart.series if not s.reference] for chart in charts])


def _style(series: Series, styles: Mapping[str, Style]) -> Style:
    return REFERENCE if series.reference else styles[series.key]


def _drawable(value: float, *, log: bool) -> bool:
    return math.isfinite(value) and (value > 0 or not log)


def _axis(values: Iterable[float], start: float, end: float, *, log: bool) -> Axis:
    known = [v for v in values if _drawable(v, log=log)]
    if not known:
        return Axis(0.1, 1.0, start, end, log=log)
    low, high = min(known), max(known)
    if log:
        margin = max((high / low) ** 0.05, 1.05)
        return Axis(low / margin, high * margin, start, end, log=True)
    return Axis(*padded(low, high, 0.06), start, end)


def _draw(drawing: Drawing, series: Series, style: Style, x: Axis, y: Axis) -> None:
    xs, ys = np.asarray(series.x, dtype=np.float64), np.asarray(series.y, dtype=np.float64)
    good = np.array(
        [_drawable(a, log=x.log) and _drawable(b, log=y.log) for a, b in zip(xs, ys, strict=True)], dtype=bool
    )
    px, py = np.full(len(xs), np.nan), np.full(len(ys), np.nan)
    if good.any():
        px[good], py[good] = x.pixels(xs[good]), y.pixels(ys[good])
    if series.line and len(xs) > 1:
        drawing.path(polyline_path(px, py), f"curve {style.css}")
    if series.error is not None:
        for k in np.flatnonzero(good).tolist():
            _error_bar(drawing, float(px[k]), (float(ys[k]), float(series.error[k])), y, style)
    if series.points and good.any():
        dense = int(good.sum()) > DENSE
        shape = marker_path(px[good], py[good], style.marker, 2.4 if dense else 4.2)
        drawing.path(shape, f"marker {style.css}{' dense' if dense else ''}")


def _error_bar(drawing: Drawing, px: float, value: tuple[float, float], y: Axis, style: Style) -> None:
    middle, error = value
    if not math.isfinite(error) or error <= 0.0:
        return
    bottom = middle - error
    low = y.low if y.log and bottom <= 0 else bottom
    a, b = number(y.pixel(max(low, y.low))), number(y.pixel(middle + error))
    drawing.path(
        f"M{number(px)} {a}V{b}M{number(px - 3)} {a}h6M{number(px - 3)} {b}h6", f"whisker {style.css}"
    )
