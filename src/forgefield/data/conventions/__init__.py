"""Sign, unit and component order of stress labels, inferred from the data themselves."""

from __future__ import annotations

from forgefield.data.conventions.detect import apply_convention, check_claims, detect_conventions
from forgefield.data.conventions.report import ConventionReport, GroupVerdict

__all__ = ["ConventionReport", "GroupVerdict", "apply_convention", "check_claims", "detect_conventions"]
