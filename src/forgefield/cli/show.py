"""Tables and messages for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["STYLES", "facts_table", "print_findings"]

STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}
"""Style of each severity."""

MAX_NAMES = 4
"""Names of structures printed with a finding."""


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
