"""The report: one self-contained HTML file about a potential and its errors."""

from __future__ import annotations

from forgefield.evaluation.report.data import ReportData
from forgefield.evaluation.report.render import render_report, write_report

__all__ = ["ReportData", "render_report", "write_report"]
