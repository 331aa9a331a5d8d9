"""Errors by group as horizontal bars."""

from __future__ import annotations

from forgefield.evaluation.metrics import MetricsTable, format_error
from forgefield.evaluation.report.axes import Axis
from forgefield.evaluation.report.parity import Figure, split_style
from forgefield.evaluation.report.svg import Drawing, Frame
from forgefield.evaluation.residuals import QUANTITIES

__all__ = ["MAX_GROUPS", "group_bars", "group_order"]

MAX_GROUPS = 24
"""More groups than this are left to the table."""

_LABEL = 16
"""Characters of a group name beside its bars."""


def group_order(metrics: MetricsTable) -> list[str]:
    """Return the groups, the largest force error first (energy, then stress, where there are no forces)."""
    key = next((k for k in ("forces", "energy", "stress") if metrics.total.of(k).labelled), "energy")
    return sorted(metrics.groups, key=lambda name: (-(metrics.groups[name].of(key).rmse or 0.0), name))


def group_bars(metrics: MetricsTable, key: str) -> Figure | None:
    """Draw the RMSE of each group, one bar for each split; None without labels."""
    quantity = QUANTITIES[key]
    groups = group_order(metrics)[:MAX_GROUPS]
    splits = list(metrics.splits)
    values = {
        (group, split): entry.of(key).rmse
        for split in splits
        for group, entry in metrics.split_groups[split].items()
        if group in groups
    }
    known = [value for value in values.values() if value is not None]
    if not known or max(known) == 0.0:
        return None
    thick, gap = 9.0, 10.0
    row = thick * len(splits) + gap
    left, right, top = 118.0, 386.0, 8.0
    bottom = top + row * len(groups) + 4.0
    x = Axis(0.0, max(known) * 1.18, left, right)
    y = Axis(0.0, 1.0, bottom, top)
    words = ", ".join(f"{group}: {_spoken(values, group, splits)}" for group in groups)
    drawing = Drawing(
        400,
        bottom + 42,
        f"Bars of the {quantity.noun} RMSE in {quantity.error_unit} by group. {words}.",
    )
    for position, label in x.ticks(4):
        drawing.line(position, top, position, bottom, "grid")
        drawing.text(position, bottom + 15, label, "tick mid")
    drawing.text((left + right) / 2, bottom + 34, f"RMSE ({quantity.error_unit})", "axis mid")
    frame = Frame(x, y, "", "")
    for index, group in enumerate(groups):
        start = top + index * row + gap / 2 + 2.0
        short = group if len(group) <= _LABEL else group[: _LABEL - 1] + "…"
        drawing.text(left - 8, start + (row - gap) / 2 + 4, short, "tick end name", tip=group)
        for offset, split in enumerate(splits):
            value = values.get((group, split))
            if value is None:
                continue
            height = start + offset * thick
            width = frame.x.pixel(value) - left
            tip = f"{group}, {split}: {format_error(value)} {quantity.error_unit}"
            drawing.rectangle(left, height, max(width, 1.0), thick - 1.5, f"bar {split_style(split)}", tip)
    drawing.line(left, top, left, bottom, "spine")
    return Figure(drawing.render(), f"{quantity.noun.capitalize()} RMSE by group")


def _spoken(values: dict[tuple[str, str], float | None], group: str, splits: list[str]) -> str:
    found = [(split, values.get((group, split))) for split in splits]
    return (
        "; ".join(f"{split} {format_error(value)}" for split, value in found if value is not None)
        or "no labels"
    )
