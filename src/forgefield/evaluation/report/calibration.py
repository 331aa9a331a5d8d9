"""The picture of a calibration: true error against uncertainty, as an SVG file that needs nothing else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forgefield.errors import DataError
from forgefield.evaluation.calibration import Calibration
from forgefield.evaluation.metrics import format_error
from forgefield.evaluation.report.axes import Axis
from forgefield.evaluation.report.svg import Drawing, Frame, marker_path, polyline_path

__all__ = ["calibration_picture"]

Array = NDArray[np.float64]

MOST_POINTS = 4000
SHOWN = (0.002, 0.998)
"""Quantiles between which the axes lie; what is farther out is drawn at their ends."""

WIDTH, HEIGHT = 560.0, 470.0
STYLE = """
svg { background: #ffffff; font: 12px system-ui, "Liberation Sans", Arial, sans-serif; }
text { fill: #3c434b; } .mid { text-anchor: middle; } .end { text-anchor: end; } .title { font-size: 14px; fill: #16191d; }
.grid { stroke: #e9ecef; } .box { fill: none; stroke: #98a2ad; } .point { fill: #0072b2; fill-opacity: 0.25; }
.ideal { stroke: #5c656f; stroke-dasharray: 5 4; fill: none; } .bins { stroke: #d55e00; stroke-width: 2; fill: none; }
.bin { fill: #d55e00; }
"""


def calibration_picture(found: Calibration, name: str = "Spread", unit: str = "eV/Å") -> str:
    """Return the picture as SVG.

    Points are single values, the line joins the root mean squares of the bins. For an uncertainty with a unit the
    dashed line is where the error is `Calibration.scale` times it.

    Parameters
    ----------
    found : Calibration
    name : str
        Of the uncertainty.
    unit : str
        Of both; empty for an uncertainty that only orders, such as the extrapolation grade.

    Raises
    ------
    DataError
        No value has both an error and an uncertainty above zero.
    """
    keep = (found.uncertainty > 0.0) & (found.error > 0.0)
    if not keep.any():
        raise DataError("there is nothing to draw: all errors or all uncertainties are zero")
    u, e = found.uncertainty[keep], found.error[keep]
    x, y = _axis(u, found.bin_uncertainty, 70.0, WIDTH - 20.0), _axis(e, found.bin_error, HEIGHT - 55.0, 60.0)
    drawing = Drawing(WIDTH, HEIGHT, f"True error against {name}: {_summary(found, unit)}")
    drawing.axes(Frame(x, y, f"{name} [{unit}]" if unit else name, "True error of the force [eV/Å]"))
    chosen = np.unique(np.linspace(0, len(u) - 1, min(len(u), MOST_POINTS)).astype(int))
    drawing.path(marker_path(_inside(x, u[chosen]), _inside(y, e[chosen]), "k0", 1.5), "point")
    if unit:
        ends = np.array([max(x.low, y.low / found.scale), min(x.high, y.high / found.scale)])
        if ends[1] > ends[0]:
            drawing.path(polyline_path(x.pixels(ends), y.pixels(found.scale * ends)), "ideal")
    filled = (found.bin_uncertainty > 0.0) & (found.bin_error > 0.0)
    bins = _inside(x, found.bin_uncertainty[filled]), _inside(y, found.bin_error[filled])
    drawing.path(polyline_path(*bins), "bins")
    drawing.path(marker_path(*bins, "k0", 4.0), "bin")
    drawing.text(70.0, 22.0, f"True error against {name[0].lower()}{name[1:]}", "title")
    drawing.text(70.0, 42.0, _summary(found, unit))
    head = '<svg xmlns="http://www.w3.org/2000/svg" '
    return drawing.render().replace("<svg ", head, 1).replace(">", f"><style>{STYLE}</style>", 1)


def _axis(values: Array, bins: Array, start: float, end: float) -> Axis:
    low, high = np.quantile(values, SHOWN).tolist()
    positive = bins[bins > 0.0]
    low, high = min(low, float(positive.min(initial=low))), max(high, float(positive.max(initial=high)))
    return Axis(low / 1.1, high * 1.1, start, end, log=True)


def _inside(axis: Axis, values: Array) -> Array:
    return axis.pixels(np.clip(values, axis.low, axis.high))


def _summary(found: Calibration, unit: str) -> str:
    text = f"{len(found.error):,} atoms, rank correlation {found.correlation:.2f}"
    if unit:
        text += f", error = {format_error(found.scale)} × uncertainty, bins off by {found.miscalibration:.2f}"
    return text
