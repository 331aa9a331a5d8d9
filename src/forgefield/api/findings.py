"""Findings of the data checks: in the form of the report, and as a reason not to train."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from forgefield.data import Finding
from forgefield.errors import DataError

__all__ = ["refuse_errors", "report_form"]

MAX_NAMES = 5
"""Structures named in an error message."""


def report_form(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return findings as the report shows them: severity (error, warning, info), code, message, names."""
    return [
        {
            "severity": "info" if finding.severity == "note" else finding.severity,
            "code": finding.code,
            "message": finding.message,
            "names": list(finding.structures),
        }
        for finding in findings
    ]


def refuse_errors(findings: Iterable[Finding], accept: Collection[str] = ()) -> None:
    """Raise if the checks found what must not be trained on.

    Parameters
    ----------
    findings : iterable of Finding
    accept : collection of str
        Codes the user vouches for.

    Raises
    ------
    DataError
        One line per finding, with the setting that leaves the structures out.
    """
    lines = []
    for finding in findings:
        if finding.severity == "error" and finding.code not in accept:
            names = ", ".join(finding.structures[:MAX_NAMES])
            more = (
                f" and {len(finding.structures) - MAX_NAMES} more"
                if len(finding.structures) > MAX_NAMES
                else ""
            )
            lines.append(
                f"{finding.message} ({names}{more}); correct the data, or leave these structures out with "
                f"data.drop: [{finding.code}]; if they are right as they are, data.accept: [{finding.code}]"
            )
    if lines:
        raise DataError("\n".join(lines))
