"""The picture of a property: one panel for each pair of axes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from forgefield.properties.base import Curve, PropertyResult

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


def picture(result: PropertyResult) -> bytes:
    """Return the picture of a result as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    if result.draw is not None:
        result.draw(figure)
    else:
        _draw_curves(figure, result)
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
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize="small")


def _draw_curve(axes: Axes, name: str, curve: Curve, colour: str) -> None:
    if curve.points:
        axes.errorbar(curve.x, curve.y, curve.error, fmt="o", ms=4, color=colour, label=name, capsize=2)
        return
    axes.plot(curve.x, curve.y, color=colour, label=name)
    if curve.error is not None:
        axes.fill_between(
            curve.x, curve.y - curve.error, curve.y + curve.error, color=colour, alpha=0.25, linewidth=0
        )
