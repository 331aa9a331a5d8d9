"""The experiments of the papers, one command each."""

from __future__ import annotations

from forgefield.studies.base import Cell, CellResult, Study, StudyError
from forgefield.studies.page import Page, Section
from forgefield.studies.progress import Progress
from forgefield.studies.registry import STUDIES, find_study
from forgefield.studies.runner import StudyRun, plan_study, redraw_study, run_study

__all__ = [
    "STUDIES",
    "Cell",
    "CellResult",
    "Page",
    "Progress",
    "Section",
    "Study",
    "StudyError",
    "StudyRun",
    "find_study",
    "plan_study",
    "redraw_study",
    "run_study",
]
