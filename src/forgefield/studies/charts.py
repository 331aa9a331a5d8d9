"""Charts of a study's page: lines and points with error bars, every point with a name."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.evaluation.report.axes import Axis, padded
from forgefield.evaluation.report.svg import Drawing, Frame, marker_path, number, polyline_path

__all__ = ["Chart", "Series"]

Array = NDArray[np.float64]

WIDTH, HEIGHT = 520.0, 340.0
"""Of a chart [pixels of its view box]."""
LEFT, RIGHT, TOP, BOTTOM = 62.0, 508.0, 12.0, 290.0
"""Of the plotting area."""
STYLES = ("k0", "k2", "k1", "k3", "k4", "k5", "k6")
"""Colour and dash of each series, in order."""
MARKERS = ("k0", "k2", "k1", "k3")
"""Shapes of the markers, in order."""


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
        What is shown when a point is pointed at; default: the name.
    line, points : bool
        What is drawn.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    error: Sequence[float] | None = None
    labels: Sequence[str] | None = None
    line: bool = True
    points: bool = True


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

    def svg(self, key: str) -> str:
        """Return the markup; `key` names the values behind it in the page's data."""
        drawing = Drawing(WIDTH, HEIGHT, self._description(), key)
        x, y = self._axes()
        drawing.axes(Frame(x, y, self.x_title, self.y_title), ticks=(0 if self.categories else 5, 5))
        for n, name in enumerate(self.categories):
            drawing.text(x.pixel(float(n)), BOTTOM + 15, name, "tick mid")
        if self.diagonal:
            low, high = max(x.low, y.low), min(x.high, y.high)
            if low < high:
                drawing.line(x.pixel(low), y.pixel(low), x.pixel(high), y.pixel(high), "diagonal")
        for n, series in enumerate(self.series):
            _draw(drawing, series, n, x, y)
        return drawing.render()

    def legend(self) -> tuple[tuple[str, str], ...]:
        """Return style and name of each series; empty where there is one only."""
        if len(self.series) < 2:
            return ()
        return tuple((STYLES[n % len(STYLES)], s.name) for n, s in enumerate(self.series))

    def points(self) -> list[dict[str, Any]]:
        """Return each visible point for the page's script: pixels and the lines of its label."""
        x, y = self._axes()
        found = []
        for series in self.series:
            labels = series.labels or [series.name] * len(series.x)
            errors = [math.nan] * len(series.x) if series.error is None else series.error
            for px, py, error, label in zip(series.x, series.y, errors, labels, strict=True):
                if not (_drawable(px, log=self.x_log) and _drawable(py, log=self.y_log)):
                    continue
                spread = f" ± {error:.2g}" if math.isfinite(error) else ""
                where = self.categories[int(px)] if self.categories else f"{px:.5g}"
                lines = [label, f"{self.x_title}: {where}", f"{self.y_title}: {py:.5g}{spread}"]
                found.append({"x": round(x.pixel(px), 1), "y": round(y.pixel(py), 1), "lines": lines})
        return found

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
        if self.categories:
            x = Axis(-0.5, len(self.categories) - 0.5, LEFT, RIGHT)
        else:
            x = _axis(xs, LEFT, RIGHT, log=self.x_log)
        return x, _axis(ys, BOTTOM, TOP, log=self.y_log)

    def _description(self) -> str:
        parts = []
        for series in self.series:
            known = [v for v in series.y if math.isfinite(v)]
            if known:
                parts.append(f"{series.name} from {min(known):.3g} to {max(known):.3g}")
        return f"{self.title}: {self.y_title} against {self.x_title or 'case'}; " + "; ".join(parts)


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


def _draw(drawing: Drawing, series: Series, n: int, x: Axis, y: Axis) -> None:
    style = STYLES[n % len(STYLES)]
    xs, ys = np.asarray(series.x, dtype=np.float64), np.asarray(series.y, dtype=np.float64)
    good = np.array(
        [_drawable(a, log=x.log) and _drawable(b, log=y.log) for a, b in zip(xs, ys, strict=True)], dtype=bool
    )
    px, py = np.full(len(xs), np.nan), np.full(len(ys), np.nan)
    if good.any():
        px[good], py[good] = x.pixels(xs[good]), y.pixels(ys[good])
    if series.line and len(xs) > 1:
        drawing.path(polyline_path(px, py), f"curve {style}")
    if series.error is not None:
        for k in np.flatnonzero(good).tolist():
            _error_bar(drawing, float(px[k]), (float(ys[k]), float(series.error[k])), y, style)
    if series.points and good.any():
        shape = marker_path(px[good], py[good], MARKERS[n % len(MARKERS)], 4.0)
        drawing.path(shape, f"marker {style}")


def _error_bar(drawing: Drawing, px: float, value: tuple[float, float], y: Axis, style: str) -> None:
    middle, error = value
    if not math.isfinite(error) or error <= 0.0:
        return
    bottom = middle - error
    low = y.low if y.log and bottom <= 0 else bottom
    a, b = number(y.pixel(max(low, y.low))), number(y.pixel(middle + error))
    drawing.path(f"M{number(px)} {a}V{b}M{number(px - 3)} {a}h6M{number(px - 3)} {b}h6", f"whisker {style}")
