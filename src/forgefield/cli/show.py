"""Tables and messages for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forgefield.keys import PROPERTIES

__all__ = ["STYLES", "audit_table", "facts_table", "print_findings"]

STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}
"""Style of each severity."""

MAX_NAMES = 4
"""Names of structures printed with a finding."""


def audit_table(audit: Mapping[str, Any]) -> Table:
    """Return the labels found, used and missing in each group.

    Parameters
    ----------
    audit : mapping
        ``{"rows": [{"group", "n_structures", "n_atoms", "energy": {"found", "used", "missing"}, ...}]}``.
    """
    table = Table(title="Labels: found / used / missing", title_justify="left")
    table.add_column("group")
    for name in ("structures", "atoms", *PROPERTIES):
        table.add_column(name, justify="right")
    rows = list(audit.get("rows", ()))
    for row in rows:
        table.add_row(*_audit_cells(row))
    if len(rows) > 1:
        table.add_section()
        total: dict[str, Any] = {"group": "all"}
        for key in ("n_structures", "n_atoms"):
            total[key] = sum(int(row[key]) for row in rows)
        for key in PROPERTIES:
            total[key] = {s: sum(int(row[key][s]) for row in rows) for s in ("found", "used", "missing")}
        table.add_row(*_audit_cells(total))
    return table


def _audit_cells(row: Mapping[str, Any]) -> list[str]:
    counts = [row[key] for key in PROPERTIES]
    return [
        escape(str(row["group"])),
        str(row["n_structures"]),
        str(row["n_atoms"]),
        *(f"{c['found']} / {c['used']} / {c['missing']}" for c in counts),
    ]


def print_findings(console: Console, findings: Iterable[Mapping[str, Any]]) -> None:
    """Print what a person should look at, the gravest first."""
    order = list(STYLES)
    for item in sorted(findings, key=lambda f: order.index(str(f["severity"]))):
        names = [str(n) for n in item.get("names") or ()]
        more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
        where = f" ({', '.join(names[:MAX_NAMES])}{more})" if names else ""
        severity = str(item["severity"])
        console.print(f"[{STYLES[severity]}]{severity}[/]: {escape(str(item['message']) + where)}")


def facts_table(title: str, facts: Mapping[str, Any]) -> Table:
    """Return names and values, without lines."""
    table = Table(title=title or None, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(escape(str(name)), escape(str(value)))
    return table
