"""Errors of a potential per split, per group and in all: the numbers of `metrics.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from rich.table import Table

from forgefield.errors import DataError, did_you_mean
from forgefield.evaluation.predict import Prediction
from forgefield.evaluation.residuals import QUANTITIES, Residuals, collect
from forgefield.evaluation.statistics import ForceVectors, Statistics, force_vectors, statistics
from forgefield.keys import PROPERTIES

__all__ = [
    "NO_LABELS",
    "SPLIT_ORDER",
    "MetricsEntry",
    "MetricsTable",
    "format_error",
    "format_r2",
    "metrics",
    "metrics_of",
    "split_rank",
]

SCHEMA_VERSION = 1

SPLIT_ORDER: tuple[str, ...] = ("train", "valid", "test")
"""The order in which splits are shown; others follow by name."""

NO_LABELS = "no labels"
"""What tables say in place of an error that cannot exist."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class MetricsEntry:
    """Errors over one set of structures.

    Parameters
    ----------
    n_structures, n_atoms : int
        Size of the set.
    energy, forces, stress : Statistics
        Errors in meV/atom, meV/Å and GPa.
    elements : dict
        Chemical symbol to the force errors on atoms of this element; only in totals and splits.
    force_vectors : ForceVectors or None
        Errors of magnitude and direction; only in totals and splits, None without force labels.
    """

    n_structures: int
    n_atoms: int
    energy: Statistics
    forces: Statistics
    stress: Statistics
    elements: dict[str, Statistics] = field(default_factory=dict)
    force_vectors: ForceVectors | None = None

    def of(self, key: str) -> Statistics:
        """Return the statistics of ``energy``, ``forces`` or ``stress``."""
        if key not in PROPERTIES:
            raise DataError(f"unknown property {key!r}: {did_you_mean(key, PROPERTIES)}")
        found: Statistics = getattr(self, key)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as nested dictionaries."""
        values: dict[str, Any] = {"n_structures": self.n_structures, "n_atoms": self.n_atoms}
        values |= {key: self.of(key).to_dict() for key in PROPERTIES}
        if self.elements:
            values["elements"] = {symbol: item.to_dict() for symbol, item in self.elements.items()}
        if self.force_vectors is not None:
            values["force_vectors"] = self.force_vectors.to_dict()
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MetricsEntry:
        """Return the entry written by `to_dict`."""
        try:
            vectors = values.get("force_vectors")
            return cls(
                n_structures=int(values["n_structures"]),
                n_atoms=int(values["n_atoms"]),
                energy=Statistics.from_dict(values["energy"]),
                forces=Statistics.from_dict(values["forces"]),
                stress=Statistics.from_dict(values["stress"]),
                elements={k: Statistics.from_dict(v) for k, v in values.get("elements", {}).items()},
                force_vectors=None if vectors is None else ForceVectors.from_dict(vectors),
            )
        except KeyError as error:
            raise DataError(f"metrics lack {error}; was this file written by forgefield?") from None


@dataclass(frozen=True)
class MetricsTable:
    """Errors in all, per split, per group and per group within each split.

    Parameters
    ----------
    total : MetricsEntry
        All structures.
    splits : dict
        Split to `MetricsEntry`, in the order train, valid, test, others.
    groups : dict
        Group to `MetricsEntry`, by name.
    split_groups : dict
        Split to (group to `MetricsEntry`).
    """

    total: MetricsEntry
    splits: dict[str, MetricsEntry]
    groups: dict[str, MetricsEntry]
    split_groups: dict[str, dict[str, MetricsEntry]]

    def entry(self, *, split: str | None = None, group: str | None = None) -> MetricsEntry:
        """Return the errors of one split, one group, both, or (neither given) of everything.

        Raises
        ------
        DataError
            There is no such split or group; those that exist are listed.
        """
        if split is None and group is None:
            return self.total
        if split is not None and split not in self.splits:
            raise DataError(f"no structures in split {split!r}: {did_you_mean(split, self.splits)}")
        if group is None:
            return self.splits[split or ""]
        groups = self.groups if split is None else self.split_groups[split]
        if group not in groups:
            raise DataError(f"no structures in group {group!r}: {did_you_mean(group, groups)}")
        return groups[group]

    def headline(self) -> tuple[str, MetricsEntry]:
        """Return the split that judges the potential and its errors: test, else valid, else everything."""
        for split in ("test", "valid"):
            entry = self.splits.get(split)
            if entry is not None and any(entry.of(key).labelled for key in PROPERTIES):
                return split, entry
        return ("train", self.splits["train"]) if set(self.splits) == {"train"} else ("all", self.total)

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat row per set and property: split, group, property, unit and every statistic.

        ``"all"`` stands for all splits or groups. Suits CSV files and data frames.
        """
        named = [("all", "all", self.total)]
        named += [(split, "all", entry) for split, entry in self.splits.items()]
        named += [("all", group, entry) for group, entry in self.groups.items()]
        named += [(s, g, entry) for s, groups in self.split_groups.items() for g, entry in groups.items()]
        return [
            {"split": split, "group": group, "property": key, "unit": QUANTITIES[key].error_unit}
            | entry.of(key).to_dict()
            for split, group, entry in named
            for key in PROPERTIES
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return nested dictionaries fit for JSON; the schema is in ``docs/report.md``."""
        return {
            "schema": SCHEMA_VERSION,
            "units": {key: QUANTITIES[key].error_unit for key in PROPERTIES},
            "total": self.total.to_dict(),
            "splits": {name: entry.to_dict() for name, entry in self.splits.items()},
            "groups": {name: entry.to_dict() for name, entry in self.groups.items()},
            "split_groups": {
                split: {name: entry.to_dict() for name, entry in groups.items()}
                for split, groups in self.split_groups.items()
            },
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MetricsTable:
        """Return the table written by `to_dict`.

        Raises
        ------
        DataError
            The schema is unknown or a field is missing.
        """
        version = values.get("schema")
        if version != SCHEMA_VERSION:
            raise DataError(
                f"metrics have schema {version!r}, this version reads {SCHEMA_VERSION}; evaluate again"
            )
        read = MetricsEntry.from_dict
        try:
            return cls(
                total=read(values["total"]),
                splits={name: read(entry) for name, entry in values["splits"].items()},
                groups={name: read(entry) for name, entry in values["groups"].items()},
                split_groups={
                    split: {name: read(entry) for name, entry in groups.items()}
                    for split, groups in values["split_groups"].items()
                },
            )
        except KeyError as error:
            raise DataError(f"metrics lack {error}; was this file written by forgefield?") from None

    def table(self, *, split: str | None = None, groups: bool = True) -> Table:
        """Return a table for the terminal: MAE, RMSE, largest error and R2 of each set.

        Parameters
        ----------
        split : str, optional
            Show only this split.
        groups : bool
            Show each group of each split too.
        """
        if split is not None:
            self.entry(split=split)
        table = Table(title="Errors (predicted minus reference)", title_justify="left")
        table.add_column("split")
        table.add_column("group")
        table.add_column("structures", justify="right")
        for key in PROPERTIES:
            quantity = QUANTITIES[key]
            heading = f"{quantity.title}\nMAE / RMSE / max\n{quantity.error_unit}"
            table.add_column(heading, justify="right")
            table.add_column("\n\nR²", justify="right")
        for name, entry in self.splits.items():
            if split is not None and name != split:
                continue
            _add_row(table, name, "all", entry)
            inner = self.split_groups.get(name, {})
            if groups and set(inner) != {"ungrouped"}:
                for group, item in inner.items():
                    _add_row(table, "", group, item)
            table.add_section()
        if split is None and len(self.splits) > 1:
            _add_row(table, "all", "all", self.total)
        return table


def _add_row(table: Table, split: str, group: str, entry: MetricsEntry) -> None:
    from rich.markup import escape

    cells: list[str] = []
    for key in PROPERTIES:
        item = entry.of(key)
        if item.mae is None or item.rmse is None or item.max is None:
            cells += [NO_LABELS, ""]
            continue
        cells.append(" / ".join(format_error(value) for value in (item.mae, item.rmse, item.max)))
        cells.append(format_r2(item.r2))
    table.add_row(escape(split), escape(group), str(entry.n_structures), *cells)


def format_error(value: float) -> str:
    """Return an error with three significant digits, without exponent where it can be read without."""
    size = abs(value)
    if size == 0.0:
        return "0"
    if not 1e-3 <= size < 1e6:
        return f"{value:.2e}"
    digits = max(0, 2 - int(np.floor(np.log10(size))))
    return f"{value:.{digits}f}"


def format_r2(value: float | None) -> str:
    """Return R2 with four decimals; what would round to 1 without being 1 is shown as above 0.9999."""
    if value is None:
        return "–"
    return "> 0.9999" if 0.99995 <= value < 1.0 else f"{value:.4f}"


def metrics(
    frames: Sequence[Atoms], predictions: Sequence[Prediction], *, split: str | None = None
) -> MetricsTable:
    """Compare predictions with the labels of the structures.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Labels in ``atoms.calc.results``; group and split in ``info["config_type"]`` and ``info["split"]``.
    predictions : sequence of Prediction
        One for each frame, in the same order.
    split : str, optional
        Use only the structures of this split.

    Raises
    ------
    DataError
        The lengths differ, or no structure is left.
    LabelError
        Not one structure has a label.
    PredictionError
        A prediction does not fit its structure.
    """
    residuals = collect(frames, predictions)
    if split is not None and split not in residuals.splits:
        raise DataError(f"no structures in split {split!r}: {did_you_mean(split, set(residuals.splits))}")
    return metrics_of(residuals, split=split)


def metrics_of(residuals: Residuals, *, split: str | None = None) -> MetricsTable:
    """Return the metrics of labels and predictions already paired by `collect`."""
    splits, groups = np.array(residuals.splits), np.array(residuals.groups)
    used = np.ones(len(splits), dtype=np.bool_) if split is None else splits == split
    split_names = sorted(set(splits[used].tolist()), key=split_rank)
    group_names = sorted(set(groups[used].tolist()))
    return MetricsTable(
        total=_entry(residuals, used, details=True),
        splits={name: _entry(residuals, used & (splits == name), details=True) for name in split_names},
        groups={name: _entry(residuals, used & (groups == name)) for name in group_names},
        split_groups={
            name: {
                group: _entry(residuals, mask)
                for group in group_names
                if (mask := used & (splits == name) & (groups == group)).any()
            }
            for name in split_names
        },
    )


def split_rank(name: str) -> tuple[int, str]:
    """Return the key that sorts splits: train, valid, test, then others by name."""
    return (SPLIT_ORDER.index(name) if name in SPLIT_ORDER else len(SPLIT_ORDER), name)


def _entry(residuals: Residuals, chosen: Mask, *, details: bool = False) -> MetricsEntry:
    n_structures = int(np.count_nonzero(chosen))
    selected = {key: pairs.select(chosen[pairs.structure]) for key, pairs in residuals.pairs.items()}
    forces = selected["forces"]
    elements: dict[str, Statistics] = {}
    if details:
        for number in np.unique(forces.atomic_numbers).tolist():
            of_element = forces.select(forces.atomic_numbers == number)
            here = len(np.unique(of_element.structure))
            elements[chemical_symbols[number]] = statistics(of_element, here)
    return MetricsEntry(
        n_structures=n_structures,
        n_atoms=int(residuals.n_atoms[chosen].sum()),
        energy=statistics(selected["energy"], n_structures),
        forces=statistics(forces, n_structures),
        stress=statistics(selected["stress"], n_structures),
        elements=elements,
        force_vectors=force_vectors(forces) if details else None,
    )
