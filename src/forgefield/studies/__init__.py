"""The experiments of the papers, one command each."""

from __future__ import annotations

from forgefield.studies.base import Cell, CellResult, Study, StudyError
from forgefield.studies.page import Page, Section
from forgefield.studies.registry import STUDIES, find_study
from forgefield.studies.runner import StudyRun, run_study

__all__ = [
    "STUDIES",
    "Cell",
    "CellResult",
    "Page",
    "Section",
    "Study",
    "StudyError",
    "StudyRun",
    "find_study",
    "run_study",
]
