"""Put a report together: one HTML file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from forgefield.evaluation.metrics import split_rank
from forgefield.evaluation.report.bars import MAX_GROUPS, group_bars
from forgefield.evaluation.report.curves import MAX_POINTS, best_epoch, column, learning_curves
from forgefield.evaluation.report.data import ReportData
from forgefield.evaluation.report.parity import Figure, distribution, parity, split_style
from forgefield.evaluation.report.tables import (
    audit_table,
    element_table,
    group_table,
    property_table,
    split_table,
    worst_tables,
)
from forgefield.evaluation.report.verdict import Check, cards, checks, verdict
from forgefield.evaluation.residuals import Residuals, collect
from forgefield.files import write_text
from forgefield.keys import PROPERTIES

__all__ = ["render_report", "write_report"]

_SEVERITIES = ("error", "warning", "info")


def write_report(path: str | Path, data: ReportData) -> Path:
    """Write the report as one self-contained HTML file, atomically.

    Parameters
    ----------
    path : path
        Usually ``report.html``.
    data : ReportData
        What to show.

    Raises
    ------
    DataError, LabelError, PredictionError
        Structures and predictions do not fit each other, or there is no label.
    ForgefieldError
        The file cannot be written.
    """
    return write_text(path, render_report(data))


def render_report(data: ReportData) -> str:
    """Return the report as HTML. The same data give the same text."""
    residuals = collect(data.frames, data.predictions)
    figures = [_property_figures(residuals, key, data) for key in PROPERTIES]
    curves = learning_curves(data.log)
    bars = [figure for key in PROPERTIES if (figure := group_bars(data.metrics, key)) is not None]
    context = {
        "data": data,
        "elements": _elements(data),
        "n_structures": len(data.frames),
        "n_atoms": int(residuals.n_atoms.sum()),
        "headline": data.metrics.headline()[0],
        "vectors": data.metrics.headline()[1].force_vectors,
        "verdict": verdict(data.metrics),
        "cards": cards(data.metrics),
        "findings": _findings(data),
        "splits": [(split, split_style(split)) for split in data.metrics.splits],
        "parity": [pair for pair in figures if pair[0] is not None],
        "unlabelled": [key for key, pair in zip(PROPERTIES, figures, strict=True) if pair[0] is None],
        "curves": curves,
        "curve_note": _curve_note(data),
        "bars": bars,
        "n_more_groups": max(0, len(data.metrics.groups) - MAX_GROUPS),
        "has_groups": set(data.metrics.groups) != {"ungrouped"},
        "split_table": split_table(data.metrics),
        "element_table": element_table(data.metrics),
        "group_table": group_table(data.metrics),
        "worst_tables": worst_tables(residuals),
        "audit_table": audit_table(data.audit),
        "property_table": property_table(data.properties),
        "references": {
            symbol: f"{value:.6f}".replace("-", "−") for symbol, value in data.reference_energies.items()
        },
        "run": _flat(data.run),
        "versions": _flat(data.versions),
        "payload": _payload(residuals, [f for pair in figures for f in pair if f is not None] + curves),
    }
    environment = Environment(
        loader=PackageLoader("forgefield.evaluation.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(context)


def _property_figures(
    residuals: Residuals, key: str, data: ReportData
) -> tuple[Figure | None, Figure | None]:
    offsets = _offsets(data) if key == "energy" else None
    return parity(residuals, key, offsets), distribution(residuals, key)


def _offsets(data: ReportData) -> NDArray[np.float64] | None:
    """Return the mean reference energy of each structure, (n_structures,) [eV/atom], where all are known."""
    references = data.reference_energies
    symbols = [atoms.get_chemical_symbols() for atoms in data.frames]
    if not references or any(symbol not in references for names in symbols for symbol in names):
        return None
    return np.array([float(np.mean([references[symbol] for symbol in names])) for names in symbols])


def _elements(data: ReportData) -> list[str]:
    numbers: dict[int, str] = {}
    for atoms in data.frames:
        numbers.update(zip(atoms.numbers.tolist(), atoms.get_chemical_symbols(), strict=True))
    return [numbers[number] for number in sorted(numbers)]


def _findings(data: ReportData) -> list[Check]:
    """Return the findings given and those the errors give reason to, the gravest first."""
    given = [
        Check(
            severity=severity
            if (severity := str(item.get("severity", "info")).lower()) in _SEVERITIES
            else "info",
            code=str(item.get("code", "")),
            message=str(item.get("message", "")),
            names=tuple(str(name) for name in item.get("names") or ()),
        )
        for item in data.findings
    ]
    return sorted([*given, *checks(data.metrics)], key=lambda item: _SEVERITIES.index(item.severity))


def _curve_note(data: ReportData) -> str:
    notes = []
    best = best_epoch(data.log)
    if best is not None:
        notes.append(f"The dashed line marks the smallest validation loss, epoch {best:g}.")
    epochs = column(data.log, "epoch")
    if len(epochs) <= MAX_POINTS:
        notes.append(f"All {len(epochs):,} epochs are drawn.")
    else:
        notes.append(
            f"Of {len(epochs):,} epochs the smallest and the largest value in each of"
            f" {MAX_POINTS // 2} stretches are drawn."
        )
    return " ".join(notes)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested mappings as one level of text."""
    result: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            result |= _flat(value, f"{prefix}{key} ")
        elif isinstance(value, float):
            result[f"{prefix}{key}"] = f"{value:.6g}"
        else:
            result[f"{prefix}{key}"] = str(value)
    return result


def _payload(residuals: Residuals, figures: list[Figure]) -> str:
    """Return the values behind the plots as JSON that is safe inside a script element."""
    groups = sorted(set(residuals.groups))
    splits = sorted(set(residuals.splits), key=split_rank)
    content = {
        "names": residuals.names,
        "groups": groups,
        "group": [groups.index(group) for group in residuals.groups],
        "splits": splits,
        "split": [splits.index(split) for split in residuals.splits],
        "styles": [split_style(split) for split in splits],
        "plots": {figure.key: figure.data for figure in figures if figure.key},
    }
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
