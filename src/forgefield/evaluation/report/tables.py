"""Tables of the report, as headings and cells ready to print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from forgefield.evaluation.metrics import NO_LABELS, MetricsEntry, MetricsTable, format_error, format_r2
from forgefield.evaluation.report.bars import group_order
from forgefield.evaluation.residuals import QUANTITIES, Residuals
from forgefield.evaluation.statistics import Statistics
from forgefield.keys import PROPERTIES

__all__ = [
    "Column",
    "TableView",
    "audit_table",
    "element_table",
    "group_table",
    "property_table",
    "split_table",
    "worst_tables",
]

N_WORST = 10
"""Structures in each list of the worst."""


@dataclass(frozen=True)
class Column:
    """Heading of a column; columns of one `group` stand under a common heading."""

    text: str
    numeric: bool = True
    group: str = ""


@dataclass(frozen=True)
class TableView:
    """A table: caption, columns and rows of text; the first cell of a row is its heading.

    What follows a line break in a cell is printed small below it; with `merge` equal headings of rows that
    follow each other are printed once.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: list[list[str]]
    merge: bool = False

    @property
    def repeats(self) -> list[int]:
        """For each row how many rows its first cell stands for; 0 where the cell above does."""
        counts = [1] * len(self.rows)
        for index in range(len(self.rows) - 1, 0, -1):
            if self.merge and self.rows[index][0] == self.rows[index - 1][0]:
                counts[index - 1] += counts[index]
                counts[index] = 0
        return counts

    @property
    def spans(self) -> list[tuple[str, int]]:
        """Common headings and how many columns each spans; empty where no column has one."""
        if not any(column.group for column in self.columns):
            return []
        spans: list[tuple[str, int]] = []
        for column in self.columns:
            if spans and spans[-1][0] == column.group:
                spans[-1] = (column.group, spans[-1][1] + 1)
            else:
                spans.append((column.group, 1))
        return spans


def _heading(key: str) -> str:
    return f"{QUANTITIES[key].title} ({QUANTITIES[key].error_unit})"


def _numbers(item: Statistics, names: Sequence[str]) -> list[str]:
    if not item.labelled:
        place = next((index for index, name in enumerate(names) if name == "mae"), 0)
        return [NO_LABELS if index == place else "" for index in range(len(names))]
    cells = []
    for name in names:
        value = getattr(item, name)
        if value is None:
            cells.append("–")
        elif name == "r2":
            cells.append(format_r2(value).replace("-", "−"))
        else:
            cells.append(f"{value:,}" if name.startswith("n_") else format_error(value).replace("-", "−"))
    return cells


def split_table(metrics: MetricsTable) -> TableView:
    """Return every statistic of each property and split."""
    names = ("mae", "rmse", "max", "bias", "r2", "n_values", "n_structures", "n_missing")
    titles = ("MAE", "RMSE", "Largest", "Mean", "R²", "Values", "Structures", "Unlabelled")
    columns = (Column("Property", numeric=False), Column("Split", numeric=False), *map(Column, titles))
    entries = dict(metrics.splits) | ({"all": metrics.total} if len(metrics.splits) > 1 else {})
    rows = [
        [_heading(key), split, *_numbers(entry.of(key), names)]
        for key in PROPERTIES
        for split, entry in entries.items()
    ]
    caption = "Errors by split: predicted minus reference. “Mean” keeps the sign; unlabelled structures are left out."
    return TableView(caption, columns, rows, merge=True)


def group_table(metrics: MetricsTable) -> TableView:
    """Return the errors of each group in each split, the largest force error first."""
    names, titles = ("mae", "rmse", "max"), ("MAE", "RMSE", "Largest")
    columns = [Column("Group", numeric=False), Column("Split", numeric=False), Column("Structures")]
    columns += [Column(title, group=_heading(key)) for key in PROPERTIES for title in titles]
    rows = []
    for group in group_order(metrics):
        for split, groups in metrics.split_groups.items():
            entry = groups.get(group)
            if entry is not None:
                cells = [cell for key in PROPERTIES for cell in _numbers(entry.of(key), names)]
                rows.append([group, split, f"{entry.n_structures:,}", *cells])
    return TableView("Errors by group and split.", tuple(columns), rows, merge=True)


def element_table(metrics: MetricsTable) -> TableView | None:
    """Return the force errors on the atoms of each element; None for a single element."""
    elements = list(metrics.total.elements)
    if len(elements) < 2:
        return None
    entries: dict[str, MetricsEntry] = dict(metrics.splits)
    columns = [Column("Element", numeric=False)]
    for split in entries:
        columns += [Column(title, group=f"{split} (meV/Å)") for title in ("MAE", "RMSE", "Largest")]
    rows = []
    for symbol in elements:
        cells = [symbol]
        for entry in entries.values():
            item = entry.elements.get(symbol, Statistics(0, 0, 0))
            cells += _numbers(item, ("mae", "rmse", "max"))
        rows.append(cells)
    return TableView("Force errors on the atoms of each element.", tuple(columns), rows)


def worst_tables(residuals: Residuals) -> list[TableView]:
    """Return, for each property, the structures with the largest error within the structure."""
    tables = []
    for key in PROPERTIES:
        pairs = residuals.pairs[key]
        if len(pairs.reference) == 0:
            continue
        unit = QUANTITIES[key].error_unit
        rmse = pairs.structure_rmse(residuals.n_structures)
        largest = pairs.structure_max(residuals.n_structures)
        known = np.flatnonzero(np.isfinite(rmse))
        order = known[np.argsort(-rmse[known], kind="stable")][:N_WORST].tolist()
        if key == "energy":
            caption = f"Energy: the {len(order)} largest errors ({unit})"
            columns: tuple[Column, ...] = (Column("Structure", numeric=False), Column("Error"))
        else:
            caption = f"{QUANTITIES[key].title}: the {len(order)} largest RMSE in a structure ({unit})"
            columns = (Column("Structure", numeric=False), Column("RMSE"), Column("Largest"))
        signed = (
            dict(zip(pairs.structure.tolist(), pairs.errors.tolist(), strict=True)) if key == "energy" else {}
        )
        rows = []
        for index in order:
            where = (
                f"{residuals.groups[index]} · {residuals.splits[index]} · {residuals.n_atoms[index]} atoms"
            )
            row = [f"{_one_line(residuals.names[index])}\n{_one_line(where)}"]
            if key == "energy":
                sign = "+" if signed[index] > 0 else "−"
                row.append(sign + format_error(abs(signed[index])))
            else:
                row += [format_error(float(rmse[index])), format_error(float(largest[index]))]
            rows.append(row)
        tables.append(TableView(caption, columns, rows))
    return tables


def _one_line(text: str) -> str:
    return " ".join(text.split())


def audit_table(audit: Mapping[str, Any] | None) -> TableView | None:
    """Return the labels found, used and missing in each group; None where there is no audit."""
    rows_in = [row for row in (audit or {}).get("rows", ()) if isinstance(row, Mapping)]
    if not rows_in:
        return None
    states = ("found", "used", "missing")
    columns = [Column("Group", numeric=False), Column("Structures"), Column("Atoms")]
    columns += [
        Column(state.capitalize(), group=f"{QUANTITIES[k].title} labels")
        for k in PROPERTIES
        for state in states
    ]
    rows = []
    for row in rows_in:
        cells = [_text(row.get("group")), _text(row.get("n_structures")), _text(row.get("n_atoms"))]
        for key in PROPERTIES:
            counts = row.get(key)
            cells += [_text(counts.get(s)) if isinstance(counts, Mapping) else "–" for s in states]
        rows.append(cells)
    return TableView("Structures and labels by group.", tuple(columns), rows)


def property_table(properties: Mapping[str, Any] | None) -> TableView | None:
    """Return physical properties beside their reference, with the deviation in percent."""
    rows_in = [row for row in (properties or {}).get("rows", ()) if isinstance(row, Mapping)]
    if not rows_in:
        return None
    columns = (
        Column("Property", numeric=False),
        Column("Unit", numeric=False),
        Column("DFT"),
        Column("Potential"),
        Column("Deviation"),
    )
    rows = []
    for row in rows_in:
        lowered = {str(key).lower(): value for key, value in row.items()}
        dft, potential = lowered.get("dft"), lowered.get("potential")
        rows.append(
            [
                _text(lowered.get("property")),
                _text(lowered.get("unit", "")),
                _text(dft),
                _text(potential),
                _deviation(dft, potential),
            ]
        )
    return TableView("Deviation: (potential − DFT) / |DFT|.", columns, rows)


def _deviation(dft: Any, potential: Any) -> str:
    if not isinstance(dft, int | float) or not isinstance(potential, int | float) or dft == 0:
        return "–"
    return f"{100.0 * (potential - dft) / abs(dft):+.2g} %".replace("-", "−")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    return f"{value:.5g}".replace("-", "−") if isinstance(value, float) else str(value)
