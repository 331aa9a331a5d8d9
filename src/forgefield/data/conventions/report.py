"""Verdicts of the convention detector, per group, with their evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from forgefield.data.stress import (
    ASE,
    ORDERS,
    STRESS_UNITS,
    StressConvention,
    order_indices,
    parse_convention,
)
from forgefield.errors import ConfigError

__all__ = ["ConventionReport", "GroupVerdict"]

_CLEAR_R2 = 0.98
_CLEAR_FACTOR = 0.7


@dataclass(frozen=True)
class GroupVerdict:
    """What the data of one group say about its stress labels.

    Everything describes the labels *as stored in the frames*; labels that are right are in ASE's convention:
    tension, eV/A3, yz xz xy.

    Parameters
    ----------
    group : str
    n_structures : int
        Structures with a stress label.
    claim : str
        Convention from which the reader converted.
    sign : "tension", "compression" or None
        None: undecidable.
    unit : one of `STRESS_UNITS` or None
        None: undecidable.
    orders : tuple of str
        Orders of the off-diagonal components that the data allow; all six: undecidable.
    offset : float or None [GPa]
        Constant pressure in the label that is not in the energy (finite basis set, positive: tension).
    n_pairs, n_sheared : int
        Pairs of like structures with different cells; those with shear.
    slope, r2 : float or None
        Of the work test: energy difference against the work of the labels (1 and 1 when all is right).
    sign_source : str
        Which test gave sign and unit: ``work``, ``pressure``, ``surrogate``, ``other groups``, or empty.
    order_source : str
        Which tests excluded orders.
    evidence : tuple of str
        One sentence per test.
    """

    group: str
    n_structures: int
    claim: str = "ase"
    sign: str | None = None
    unit: str | None = None
    orders: tuple[str, ...] = ORDERS
    offset: float | None = None
    n_pairs: int = 0
    n_sheared: int = 0
    slope: float | None = None
    r2: float | None = None
    sign_source: str = ""
    order_source: str = ""
    evidence: tuple[str, ...] = ()

    @property
    def order(self) -> str | None:
        """The order of the off-diagonal components, None where the data do not decide it."""
        return self.orders[0] if len(self.orders) == 1 else None

    @property
    def confidence(self) -> str:
        """Return "proven", "likely" (the order rests on a fitted model), "partial" or "undecidable"."""
        if self.order is None and self.sign is None:
            return "undecidable"
        if self.order is None or self.sign is None:
            return "partial"
        return "likely" if self.order_source == "surrogate" or self.sign_source == "surrogate" else "proven"

    @property
    def contradictions(self) -> tuple[str, ...]:
        """What contradicts the claim: sign, unit, order; empty where nothing does."""
        found = []
        if self.sign is not None and self.sign != ASE.sign:
            found.append("the sign is opposite")
        if self.unit is not None and self.unit != ASE.unit:
            found.append(f"the unit looks like {self.unit} instead of eV/A3")
        if self._off_scale:
            found.append(
                f"the scale is off: energies change {abs(self.slope or 0.0):.3g} times the work of the labels"
            )
        if ASE.order not in self.orders:
            known = self.order or "one of " + " / ".join(self.orders)
            found.append(f"the off-diagonal components as read are {known} instead of {ASE.order}")
        return tuple(found)

    @property
    def correctable(self) -> bool:
        """Tell whether the labels can be brought to ASE's convention (or are in it already)."""
        return (self.order is not None or ASE.order in self.orders) and not self._off_scale

    @property
    def _off_scale(self) -> bool:
        """Tell whether the work test is clear and its slope fits no unit."""
        if self.sign_source != "work" or self.unit is not None or not self.slope or self.r2 is None:
            return False
        return self.r2 > _CLEAR_R2 and abs(math.log(abs(self.slope))) > _CLEAR_FACTOR

    @property
    def stored(self) -> StressConvention:
        """The convention the stored labels are in, ASE's where nothing is known."""
        order = self.order or (ASE.order if ASE.order in self.orders else self.orders[0])
        return StressConvention.parse(
            {"sign": self.sign or ASE.sign, "unit": self.unit or ASE.unit, "order": order}, where="stress"
        )

    @property
    def suggestion(self) -> str:
        """The value of ``stress_convention`` that would have read this group right."""
        try:
            claim = parse_convention(self.claim)
        except ConfigError:
            return self.stored.label
        combined = order_indices(claim.order)[order_indices(self.stored.order)]
        order = next(o for o in ORDERS if (order_indices(o) == combined).all())
        sign = "tension" if claim.sign == self.stored.sign else "compression"
        unit: str = claim.unit
        if self.stored.unit == "eV":
            unit = "eV"
        elif self.stored.unit != ASE.unit:
            factor = STRESS_UNITS[claim.unit] * STRESS_UNITS[self.stored.unit]
            unit = min(STRESS_UNITS, key=lambda name: abs(STRESS_UNITS[name] / factor - 1.0))
        elif self._off_scale:
            factor = STRESS_UNITS[claim.unit] * abs(self.slope or 1.0)
            unit = min(STRESS_UNITS, key=lambda name: abs(STRESS_UNITS[name] / factor - 1.0))
        return StressConvention.parse({"sign": sign, "unit": unit, "order": order}, where="stress").label

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict for JSON."""
        return {
            "group": self.group,
            "structures": self.n_structures,
            "claim": self.claim,
            "sign": self.sign,
            "unit": self.unit,
            "order": self.order,
            "orders": list(self.orders),
            "offset_gpa": self.offset,
            "pairs": self.n_pairs,
            "sheared_pairs": self.n_sheared,
            "slope": self.slope,
            "r2": self.r2,
            "sign_source": self.sign_source,
            "order_source": self.order_source,
            "confidence": self.confidence,
            "contradictions": list(self.contradictions),
            "evidence": list(self.evidence),
        }


@dataclass(frozen=True)
class ConventionReport:
    """Verdicts of all groups that have stress labels.

    Parameters
    ----------
    groups : dict
        Group -> verdict.
    """

    groups: dict[str, GroupVerdict]

    @property
    def contradictions(self) -> list[GroupVerdict]:
        """The groups whose data contradict what the file claims."""
        return [verdict for verdict in self.groups.values() if verdict.contradictions]

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {name: verdict.to_dict() for name, verdict in self.groups.items()}

    def table(self) -> Table:
        """Return a table for the terminal."""
        table = Table(title="Stress labels as stored, judged from the data (right: tension, eV/A3, yz xz xy)")
        for name in (
            "group",
            "n",
            "pairs (sheared)",
            "slope",
            "R2",
            "offset GPa",
            "sign",
            "unit",
            "order",
            "from",
        ):
            table.add_column(name, justify="left" if name in ("group", "order", "from") else "right")
        for verdict in self.groups.values():
            table.add_row(*_cells(verdict), style="red" if verdict.contradictions else None)
        return table


def _number(value: float | None, text: str) -> str:
    return "-" if value is None else format(value, text)


def _cells(verdict: GroupVerdict) -> Sequence[str]:
    sources = [s for part in (verdict.sign_source, verdict.order_source) for s in part.split(", ") if s]
    if verdict.order is not None:
        order = verdict.order
    else:
        order = "undecidable" if len(verdict.orders) == len(ORDERS) else " / ".join(verdict.orders)
    return (
        verdict.group,
        str(verdict.n_structures),
        f"{verdict.n_pairs} ({verdict.n_sheared})",
        _number(verdict.slope, "+.3f"),
        _number(verdict.r2, ".4f"),
        _number(verdict.offset, "+.2f"),
        verdict.sign or "-",
        verdict.unit or "-",
        order,
        ", ".join(dict.fromkeys(sources)) or "-",
    )
