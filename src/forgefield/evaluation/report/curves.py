"""Learning curves from the rows of `log.csv`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.evaluation.report.axes import Axis, padded
from forgefield.evaluation.report.parity import Figure
from forgefield.evaluation.report.svg import Drawing, Frame, polyline_path

__all__ = ["best_epoch", "column", "learning_curves"]

Array = NDArray[np.float64]

MAX_POINTS = 400
"""Longer curves are thinned to the smallest and the largest value of each stretch."""

_PANELS: tuple[tuple[str, str, tuple[tuple[str, str, str], ...]], ...] = (
    ("Loss", "", (("loss_train", "train", "k0"), ("loss_valid", "valid", "k1"))),
    ("Energy RMSE", "meV/atom", (("energy_rmse_train", "train", "k0"), ("energy_rmse_valid", "valid", "k1"))),
    ("Force RMSE", "meV/Å", (("forces_rmse_train", "train", "k0"), ("forces_rmse_valid", "valid", "k1"))),
    ("Stress RMSE", "GPa", (("stress_rmse_train", "train", "k0"), ("stress_rmse_valid", "valid", "k1"))),
    ("Learning rate", "", (("learning_rate", "learning rate", "k4"),)),
    (
        "Loss weights",
        "",
        (
            ("weight_energy", "energy", "k4"),
            ("weight_forces", "forces", "k5"),
            ("weight_stress", "stress", "k6"),
        ),
    ),
)
"""Title, unit and (column, name, style) of each panel."""


def column(log: Sequence[Mapping[str, Any]], name: str) -> Array:
    """Return a column of the log, (n_rows,); NaN where it is empty, absent or not a number."""
    return np.array([_number(row.get(name)) for row in log], dtype=np.float64)


def _number(value: Any) -> float:
    if value is None or value == "":
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def best_epoch(log: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the epoch of the smallest validation loss, or None where there is none."""
    loss, epoch = column(log, "loss_valid"), column(log, "epoch")
    known = np.isfinite(loss) & np.isfinite(epoch)
    return float(epoch[known][np.argmin(loss[known])]) if known.any() else None


def learning_curves(log: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Draw loss, errors, learning rate and (where they change) loss weights against the epoch."""
    epochs = column(log, "epoch")
    known = np.isfinite(epochs)
    if np.count_nonzero(known) < 2:
        return []
    best = best_epoch(log)
    figures = []
    for title, unit, wanted in _PANELS:
        series = [(name, style, column(log, key)[known]) for key, name, style in wanted]
        series = [item for item in series if (item[2] > 0.0).any()]
        if title == "Loss weights" and not any(_changes(values) for _, _, values in series):
            continue
        if series:
            figures.append(_panel(title, unit, epochs[known], series, best))
    return figures


def _changes(values: Array) -> bool:
    finite = values[np.isfinite(values)]
    return len(finite) > 1 and float(np.ptp(finite)) > 1e-9 * float(np.abs(finite).max())


def _panel(
    title: str, unit: str, epochs: Array, series: list[tuple[str, str, Array]], best: float | None
) -> Figure:
    positive = np.concatenate([values[values > 0.0] for _, _, values in series])
    low, high = float(positive.min()), float(positive.max())
    if high / low < 1.0 + 1e-9:
        low, high = low / 3.0, high * 3.0
    margin = (high / low) ** 0.06
    x = Axis(*padded(float(epochs[0]), float(epochs[-1]), 0.0), 54.0, 390.0)
    y = Axis(low / margin, high * margin, 188.0, 10.0, log=True)
    last = "; ".join(
        f"{name} from {values[np.isfinite(values)][0]:.3g} to {values[np.isfinite(values)][-1]:.3g}"
        for name, _, values in series
    )
    key = "curve-" + title.lower().replace(" ", "-")
    drawing = Drawing(400, 230, f"{title} against the epoch, logarithmic: {last} {unit}".strip(), key)
    drawing.axes(Frame(x, y, "Epoch", ""))
    if best is not None and title != "Learning rate":
        drawing.line(x.pixel(best), 10.0, x.pixel(best), 188.0, "best")
    data = []
    for name, style, values in series:
        usable = np.where(values > 0.0, values, np.nan)
        picks = _thin(usable)
        drawing.path(polyline_path(x.pixels(epochs[picks]), y.pixels(usable[picks])), f"curve {style}")
        shown = picks[np.isfinite(usable[picks])]
        data.append(
            {
                "k": style,
                "name": name,
                "x": epochs[shown].tolist(),
                "y": [float(f"{value:.4g}") for value in usable[shown].tolist()],
            }
        )
    payload = {
        "kind": "lines",
        "axis": [x.low, x.high, 54.0, 390.0, 10.0, 188.0],
        "log": False,
        "xName": "epoch",
        "xUnit": "",
        "yUnit": unit,
        "series": data,
    }
    legend = tuple((style, name) for name, style, _ in series) if len(series) > 1 else ()
    return Figure(drawing.render(), title, "", key, payload, legend, unit)


def _thin(values: Array) -> NDArray[np.intp]:
    """Return the indices to draw: all, or the smallest and largest of each stretch, and both ends."""
    if len(values) <= MAX_POINTS:
        return np.arange(len(values), dtype=np.intp)
    picks: set[int] = {0, len(values) - 1}
    for stretch in np.array_split(np.arange(len(values)), MAX_POINTS // 2):
        finite = stretch[np.isfinite(values[stretch])]
        if len(finite):
            picks |= {int(finite[np.argmin(values[finite])]), int(finite[np.argmax(values[finite])])}
    return np.array(sorted(picks), dtype=np.intp)
