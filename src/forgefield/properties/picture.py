"""The picture of a property: one panel for each pair of axes, or, where there are only numbers, for each unit."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from forgefield.properties.base import Curve, PropertyResult, Quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["picture"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by colour-blind readers: M. Okabe and K. Ito (2008)."""
COLUMNS = 2
"""Panels side by side."""
PANEL = (5.0, 3.6)
"""Width and height of a panel [inch]."""
BAR = 0.28
"""Height of a bar with its name [inch]."""
SEEN = 1e-4
"""Relative errors below this are not written at bars."""


def picture(result: PropertyResult) -> bytes:
    """Return the picture of a result as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    if result.draw is not None:
        result.draw(figure)
    elif result.curves:
        _draw_curves(figure, result)
    else:
        _draw_quantities(figure, result)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _draw_curves(figure: Figure, result: PropertyResult) -> None:
    panels: dict[tuple[str, str], dict[str, Curve]] = {}
    for name, curve in result.curves.items():
        panels.setdefault((curve.x_label, curve.y_label), {})[name] = curve
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure.set_size_inches(PANEL[0] * columns, PANEL[1] * rows)
    for n, ((x_label, y_label), curves) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, n + 1)
        for colour, (name, curve) in zip(
            COLOURS * (1 + len(curves) // len(COLOURS)), curves.items(), strict=False
        ):
            _draw_curve(axes, name, curve, colour)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.ticklabel_format(useOffset=False)
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize="small")


def _draw_quantities(figure: Figure, result: PropertyResult) -> None:
    """Draw numbers of one unit as bars with their errors."""
    panels: dict[str, list[tuple[str, Quantity]]] = {}
    for name, quantity in result.quantities.items():
        if math.isfinite(quantity.value):
            panels.setdefault(quantity.unit, []).append((name, quantity))
    figure.set_size_inches(PANEL[0] * 1.3, sum(0.8 + BAR * len(rows) for rows in panels.values()))
    axes = figure.subplots(
        len(panels), 1, squeeze=False, height_ratios=[1.0 + len(rows) for rows in panels.values()]
    )
    figure.suptitle(result.name)
    for axis, (unit, rows), colour in zip(axes[:, 0], panels.items(), COLOURS * len(panels), strict=False):
        names = [name.replace("_", " ") for name, _ in rows]
        values = [quantity.value for _, quantity in rows]
        errors = [quantity.error or 0.0 for _, quantity in rows]
        bars = axis.barh(names, values, xerr=errors, color=colour, alpha=0.8)
        axis.bar_label(bars, [_label(quantity) for _, quantity in rows], padding=4, fontsize="small")
        axis.margins(x=0.5)
        axis.invert_yaxis()
        axis.axvline(0.0, color="black", linewidth=0.8)
        axis.set_xlabel(unit or "number")


def _label(quantity: Quantity) -> str:
    """Return what stands at a bar, whose unit is that of the axis: errors too small to be seen are left out."""
    error = quantity.error
    if error is not None and error < SEEN * abs(quantity.value):
        return f"{quantity.value:.5g}"
    return str(Quantity(quantity.value, "", error))


def _draw_curve(axes: Axes, name: str, curve: Curve, colour: str) -> None:
    if curve.points:
        axes.errorbar(curve.x, curve.y, curve.error, fmt="o", ms=4, color=colour, label=name, capsize=2)
        return
    axes.plot(curve.x, curve.y, color=colour, label=name)
    if curve.error is not None:
        axes.fill_between(
            curve.x, curve.y - curve.error, curve.y + curve.error, color=colour, alpha=0.25, linewidth=0
        )
