"""Which labels the data have, which are used and which are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ase import Atoms
from rich.table import Table

from forgefield.data.frames import get_energy, get_forces, get_stress, group_of
from forgefield.errors import LabelError, counted, did_you_mean
from forgefield.keys import PROPERTIES

__all__ = ["GroupAudit", "LabelAudit", "audit"]

DEFAULT_WEIGHTS: Mapping[str, float] = {"energy": 1.0, "forces": 1.0, "stress": 0.1}
_GETTERS = {"energy": get_energy, "forces": get_forces, "stress": get_stress}
_FIXES = {
    "energy": "read with energy_key if the label has another name",
    "forces": "read with forces_key if the label has another name",
    "stress": "read with stress_key or virial_key if the label has another name",
}


@dataclass
class GroupAudit:
    """Counts of one group; each property counts structures.

    Parameters
    ----------
    structures, atoms : int
    found : dict
        Property -> structures that have the label.
    used : dict
        Property -> structures whose label enters the loss (found, and every weight above zero).
    missing : dict
        Property -> structures without the label although it is asked for; they are masked.
    """

    structures: int = 0
    atoms: int = 0
    found: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PROPERTIES, 0))
    used: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PROPERTIES, 0))
    missing: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PROPERTIES, 0))

    def add(self, other: GroupAudit) -> None:
        """Add the counts of another group."""
        self.structures += other.structures
        self.atoms += other.atoms
        for mine, theirs in (
            (self.found, other.found),
            (self.used, other.used),
            (self.missing, other.missing),
        ):
            for name in PROPERTIES:
                mine[name] += theirs[name]

    def to_dict(self) -> dict[str, Any]:
        """Return the counts for JSON."""
        return {
            "structures": self.structures,
            "atoms": self.atoms,
            "found": dict(self.found),
            "used": dict(self.used),
            "missing": dict(self.missing),
        }


@dataclass(frozen=True)
class LabelAudit:
    """Result of `audit`.

    Parameters
    ----------
    groups : dict
        Group -> counts, in order of first appearance.
    total : GroupAudit
        Sum over the groups.
    weights : dict
        Weight of each property the audit was made for.
    remarks : tuple of str
        Labels found but not used, labels missing.
    """

    groups: dict[str, GroupAudit]
    total: GroupAudit
    weights: dict[str, float]
    remarks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {
            "groups": {name: group.to_dict() for name, group in self.groups.items()},
            "total": self.total.to_dict(),
            "weights": dict(self.weights),
            "remarks": list(self.remarks),
        }

    def table(self) -> Table:
        """Return a table for the terminal: structures with each label, used and missing."""
        table = Table(title="Labels (structures; E energy, F forces, S stress)")
        table.add_column("group")
        for name in ("structures", "atoms", "found E F S", "used E F S", "missing E F S"):
            table.add_column(name, justify="right")
        for name, group in self.groups.items():
            table.add_row(name, *_cells(group))
        table.add_section()
        table.add_row("total", *_cells(self.total))
        table.caption = "\n".join(self.remarks) or None
        return table


def _cells(group: GroupAudit) -> list[str]:
    counts = [" ".join(str(part[p]) for p in PROPERTIES) for part in (group.found, group.used, group.missing)]
    return [str(group.structures), str(group.atoms), *counts]


def audit(frames: Sequence[Atoms], weights: Mapping[str, float] | None = None) -> LabelAudit:
    """Count labels per group and compare them with what the loss asks for.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Structure weights (``info["weight"]``, ``info["forces_weight"]``, ...) of zero take labels out of use.
    weights : mapping or None
        Weight of ``energy``, ``forces`` and ``stress`` in the loss; None: 1, 1, 0.1. Absent means zero.

    Returns
    -------
    LabelAudit

    Raises
    ------
    LabelError
        A weight above zero for a property that no structure has; a weight below zero or of an unknown name.
    """
    checked = _weights(DEFAULT_WEIGHTS if weights is None else weights)
    groups: dict[str, GroupAudit] = {}
    for atoms in frames:
        group = groups.setdefault(group_of(atoms), GroupAudit())
        group.add(_one(atoms, checked))
    total = GroupAudit()
    for group in groups.values():
        total.add(group)
    if frames:
        _require_labels(total, checked)
    return LabelAudit(groups, total, checked, tuple(_remarks(groups, total, checked)))


def _weights(weights: Mapping[str, float]) -> dict[str, float]:
    for name, value in weights.items():
        if name not in PROPERTIES:
            raise LabelError(f"unknown property {name!r} in the weights; {did_you_mean(name, PROPERTIES)}")
        if not value >= 0.0:
            raise LabelError(f"the weight of {name} must be >= 0, got {value!r}")
    return {name: float(weights.get(name, 0.0)) for name in PROPERTIES}


def _one(atoms: Atoms, weights: Mapping[str, float]) -> GroupAudit:
    counts = GroupAudit(structures=1, atoms=len(atoms))
    for name in PROPERTIES:
        has = _GETTERS[name](atoms) is not None
        own = atoms.info.get("weight", 1.0) * atoms.info.get(f"{name}_weight", 1.0)
        wanted = weights[name] > 0.0 and own > 0.0
        counts.found[name] = int(has)
        counts.used[name] = int(has and wanted)
        counts.missing[name] = int(wanted and not has)
    return counts


def _require_labels(total: GroupAudit, weights: Mapping[str, float]) -> None:
    for name in PROPERTIES:
        if weights[name] > 0.0 and total.found[name] == 0:
            raise LabelError(
                f"the loss has weight {weights[name]:g} on {name}, but none of the {total.structures} structures "
                f"has a {name} label; set the weight of {name} to 0, or {_FIXES[name]}"
            )


def _remarks(groups: Mapping[str, GroupAudit], total: GroupAudit, weights: Mapping[str, float]) -> list[str]:
    remarks = []
    for name in PROPERTIES:
        found, used, missing = total.found[name], total.used[name], total.missing[name]
        if weights[name] == 0.0 and found:
            remarks.append(f"{name}: found in {counted(found, 'structure')} but not used (weight 0)")
        elif found > used:
            remarks.append(
                f"{name}: {counted(found - used, 'label')} found but not used (structure weight 0)"
            )
        if missing:
            where = [group for group, counts in groups.items() if counts.missing[name]]
            listed = ", ".join(where[:5]) + (", ..." if len(where) > 5 else "")
            remarks.append(f"{name}: missing in {counted(missing, 'structure')}, masked ({listed})")
    return remarks
