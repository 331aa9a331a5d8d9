"""Predicted against reference, and how the errors are distributed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.evaluation.metrics import SPLIT_ORDER, format_error
from forgefield.evaluation.report.axes import Axis, padded
from forgefield.evaluation.report.density import N_LEVELS, Hexagons, hexagon_path, hexagons, levels
from forgefield.evaluation.report.svg import Drawing, Frame, marker_path, number, polyline_path
from forgefield.evaluation.residuals import Pairs, Residuals

__all__ = ["MAX_POINTS", "Figure", "distribution", "parity", "split_style"]

Array = NDArray[np.float64]

MAX_POINTS = 4000
"""With more values than this a parity plot shows their density."""

HEXAGON = 5.0
"""Width of a density bin [pixels]."""

_DECIMALS = {"energy": 5, "forces": 4, "stress": 3}


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption.

    Parameters
    ----------
    svg : str
        Markup.
    caption : str
        Below the drawing.
    title : str
        Above the drawing.
    data : dict
        Values behind the plot, for the page's script.
    key : str
        Name of `data`.
    legend : tuple of (style class, name)
        What the lines are, beside the title.
    unit : str
        Beside the title.
    """

    svg: str
    title: str
    caption: str = ""
    key: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    legend: tuple[tuple[str, str], ...] = ()
    unit: str = ""


def split_style(split: str) -> str:
    """Return the style class of a split: k0 train, k1 valid, k2 test, k3 any other."""
    return f"k{SPLIT_ORDER.index(split)}" if split in SPLIT_ORDER else "k3"


def parity(residuals: Residuals, key: str, offsets: Array | None = None) -> Figure | None:
    """Draw predicted against reference values.

    Parameters
    ----------
    residuals : Residuals
    key : str
        ``energy``, ``forces`` or ``stress``.
    offsets : (n_structures,), optional [unit of the values]
        Subtracted from both values of each structure (reference energies per atom).

    Returns
    -------
    Figure or None
        None without labels.
    """
    pairs = residuals.pairs[key]
    if len(pairs.reference) == 0:
        return None
    shift = 0.0 if offsets is None else offsets[pairs.structure]
    reference, predicted = pairs.reference - shift, pairs.predicted - shift
    both = np.concatenate([reference, predicted])
    low, high = padded(float(both.min()), float(both.max()))
    left, right, top, bottom = 62.0, 390.0, 10.0, 338.0
    x, y = Axis(low, high, left, right), Axis(low, high, bottom, top)
    quantity = pairs.quantity
    what = f"{quantity.noun}{'' if offsets is None else ' − E₀'} ({quantity.value_unit})"
    frame = Frame(x, y, f"Reference {what}", f"Predicted {what}")
    styles = np.array([split_style(split) for split in residuals.splits])[pairs.structure]
    drawing = Drawing(400, 380, _describe(pairs, reference), f"parity-{key}")
    drawing.axes(frame)
    drawing.line(x.start, y.start, x.end, y.end, "diagonal")
    data: dict[str, Any] = {
        "kind": "points",
        "unit": quantity.value_unit,
        "errorUnit": quantity.error_unit,
        "scale": quantity.error_scale,
        "axis": [low, high, left, right, top, bottom],
        "components": list(quantity.components),
    }
    if len(reference) > MAX_POINTS:
        bins = hexagons(x.pixels(reference), y.pixels(predicted), HEXAGON)
        largest = _draw_density(drawing, bins, styles)
        data |= {"kind": "density"} | _density_data(bins, styles, pairs)
        caption = (
            f"Each hexagon is coloured by how many of the {len(reference):,} values fall in it"
            f" (1 to {largest:,}, logarithmic)."
        )
        _draw_scale(drawing, bins, largest)
    else:
        size = 3.2 if len(reference) < 500 else 2.9 if len(reference) < 2000 else 2.4
        for style in ("k0", "k1", "k2", "k3"):
            mask = styles == style
            d = marker_path(x.pixels(reference[mask]), y.pixels(predicted[mask]), style, size)
            drawing.path(d, f"marker {style}")
        data["series"] = _series(pairs, reference, predicted, styles, _DECIMALS[key])
        caption = f"Every one of the {len(reference):,} values is drawn."
    if offsets is not None:
        caption += " E₀: reference energies of the elements."
    return Figure(drawing.render(), quantity.title, caption, drawing.key, data)


def _describe(pairs: Pairs, reference: Array) -> str:
    quantity = pairs.quantity
    rmse = format_error(float(np.sqrt(np.mean(pairs.errors**2))))
    return (
        f"Parity plot of the {quantity.noun}: predicted against reference for {len(reference)} values from"
        f" {reference.min():.4g} to {reference.max():.4g} {quantity.value_unit}; root-mean-square error {rmse}"
        f" {quantity.error_unit}. Points on the diagonal are exact."
    )


def _series(
    pairs: Pairs, reference: Array, predicted: Array, styles: NDArray[np.str_], decimals: int
) -> list[dict[str, Any]]:
    series = []
    for style in sorted(set(styles.tolist())):
        mask = styles == style
        item: dict[str, Any] = {
            "k": style,
            "i": pairs.structure[mask].tolist(),
            "r": np.round(reference[mask], decimals).tolist(),
            "p": np.round(predicted[mask], decimals).tolist(),
        }
        if pairs.quantity.components:
            item["c"] = pairs.component[mask].tolist()
        series.append(item)
    return series


def _draw_density(drawing: Drawing, bins: Hexagons, styles: NDArray[np.str_]) -> int:
    """Draw one layer for all values and one for each split; return the largest count of all values."""
    everything = bins.counts(np.ones(len(styles), dtype=np.bool_))
    largest = int(everything.max())
    layers = [("all", everything)]
    present = sorted(set(styles.tolist()))
    if len(present) > 1:
        layers += [(style, bins.counts(styles == style)) for style in present]
    for name, counts in layers:
        colours = levels(counts, largest)
        drawing.add(f'<g class="layer layer-{name}">')
        for level in range(N_LEVELS):
            mask = colours == level
            drawing.path(hexagon_path(bins.x[mask], bins.y[mask], bins.width), f"d{level}")
        drawing.add("</g>")
    return largest


def _draw_scale(drawing: Drawing, bins: Hexagons, largest: int) -> None:
    """Explain the colours in the lower right corner, or in the upper left one where bins are in the way."""
    left, top, step = 262.0, 303.0, 14.5
    covered = (bins.x > left - 10) & (bins.y > top - 24)
    if covered.any():
        left, top = 74.0, 30.0
    drawing.rectangle(left, top, N_LEVELS * step, 8, "box")
    for level in range(N_LEVELS):
        drawing.rectangle(left + level * step, top, step, 8, f"d{level}")
    drawing.text(left, top + 20, "1", "tick")
    drawing.text(left + N_LEVELS * step, top - 5, "values per bin", "tick end")
    drawing.text(left + N_LEVELS * step, top + 20, f"{largest:,}", "tick end")


def _density_data(bins: Hexagons, styles: NDArray[np.str_], pairs: Pairs) -> dict[str, Any]:
    """Return centres, counts for each split and, of each bin, the structure with the largest error."""
    present = sorted(set(styles.tolist()))
    order = np.lexsort((-np.abs(pairs.errors), bins.bin_of))
    first = np.flatnonzero(np.diff(bins.bin_of[order], prepend=-1))
    return {
        "width": bins.width,
        "x": [float(number(value)) for value in bins.x.tolist()],
        "y": [float(number(value)) for value in bins.y.tolist()],
        "n": {style: bins.counts(styles == style).tolist() for style in present},
        "worst": pairs.structure[order[first]].tolist(),
    }


def distribution(residuals: Residuals, key: str) -> Figure | None:
    """Draw which share of the values has an error below each size, one line for each split."""
    pairs = residuals.pairs[key]
    errors = np.abs(pairs.errors)
    positive = errors[errors > 0.0]
    if len(positive) == 0:
        return None
    low = max(float(np.quantile(positive, 0.01)), float(positive.max()) * 1e-6)
    high = float(positive.max()) * 1.15
    low = min(low, high / 10.0)
    x, y = Axis(low, high, 62.0, 390.0, log=True), Axis(0.0, 100.0, 148.0, 10.0)
    quantity = pairs.quantity
    styles = np.array([split_style(split) for split in residuals.splits])[pairs.structure]
    words: list[str] = []
    data: list[dict[str, Any]] = []
    lines: list[tuple[str, str]] = []
    for style in sorted(set(styles.tolist())):
        ordered = np.sort(errors[styles == style])
        n_values = len(ordered)
        picks = np.unique(np.round(np.linspace(0, n_values - 1, min(n_values, 160))).astype(np.intp))
        value = np.clip(ordered[picks], low, None)
        share = 100.0 * (picks + 1) / n_values
        lines.append((polyline_path(x.pixels(value), y.pixels(share)), style))
        middle, most = np.quantile(ordered, [0.5, 0.95]).tolist()
        words.append(f"half below {format_error(middle)}, 95 % below {format_error(most)}")
        data.append({"k": style, "x": _rounded(value), "y": np.round(share, 1).tolist()})
    description = (
        f"Cumulative distribution of the absolute {quantity.noun} error, in"
        f" {quantity.error_unit}: {'; '.join(words)}."
    )
    drawing = Drawing(400, 190, description, f"errors-{key}")
    drawing.axes(Frame(x, y, f"|error| ({quantity.error_unit})", "Share below (%)"), ticks=(6, 4))
    for d, style in lines:
        drawing.path(d, f"curve {style}")
    payload = {
        "kind": "lines",
        "axis": [low, high, 62.0, 390.0, 10.0, 148.0],
        "log": True,
        "xName": "|error|",
        "xUnit": quantity.error_unit,
        "yUnit": "%",
        "series": data,
    }
    return Figure(drawing.render(), f"{quantity.title} errors", "", drawing.key, payload)


def _rounded(values: Array) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]
