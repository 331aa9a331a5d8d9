"""What data hold and what looks wrong with them, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgefield.api.findings import report_form
from forgefield.api.survey import Survey, survey
from forgefield.data import ConventionReport, LabelAudit, audit, check_frames, detect_conventions, read

__all__ = ["Inspection", "inspect"]


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found.

    Attributes
    ----------
    paths : list of str
        The data, as given.
    survey : Survey
        Sizes, distances, neighbours, ranges of labels.
    audit : LabelAudit
        Labels by group.
    findings : list of dict
        ``severity`` (error, warning, info), ``code``, ``message``, ``names`` of structures.
    conventions : ConventionReport or None
        Sign, unit and order of the stress labels with evidence; None without stress labels.
    """

    paths: list[str]
    survey: Survey
    audit: LabelAudit
    findings: list[dict[str, Any]]
    conventions: ConventionReport | None

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {
            "paths": self.paths,
            "survey": self.survey.to_dict(),
            "labels": self.audit.to_dict(),
            "conventions": None if self.conventions is None else self.conventions.to_dict(),
            "findings": self.findings,
        }


def inspect(paths: str | Path | Sequence[str | Path]) -> Inspection:
    """Look at data.

    Parameters
    ----------
    paths : path(s) of data files, folders or patterns

    Raises
    ------
    DataError, LabelError, StructureError
        The data cannot be read or hold something no number can be computed from.
    """
    listed = [str(paths)] if isinstance(paths, str | Path) else [str(path) for path in paths]
    frames = read(listed)
    found = survey(frames)
    weights = {name: float(count > 0) for name, count in found.n_with.items()}
    conventions = detect_conventions(frames) if found.n_with["stress"] else None
    findings = _contradictions(conventions) + report_form(check_frames(frames))
    return Inspection(listed, found, audit(frames, weights), findings, conventions)


def _contradictions(conventions: ConventionReport | None) -> list[dict[str, Any]]:
    findings: list[dict[str, Any]] = []
    for verdict in conventions.contradictions if conventions is not None else ():
        message = (
            f"stress of group {verdict.group!r}: {'; '.join(verdict.contradictions)}; the data fit "
            f"data.stress_convention: {verdict.suggestion}"
        )
        findings.append({"severity": "error", "code": "stress-convention", "message": message, "names": []})
    return findings
