"""One cell, in whatever process it is done; a failure is an answer as well."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forgefield.errors import ForgefieldError
from forgefield.files import make_folder, write_text
from forgefield.studies.keys import source_of
from forgefield.studies.registry import find_study

__all__ = ["FAILURES", "Job", "Outcome", "said", "work"]

FAILURES = (
    ForgefieldError,
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
)
"""Errors that end one cell and not the study: hours of other cells must not be lost to it. Those of linear algebra are
`ValueError` in NumPy and `RuntimeError` in torch."""


@dataclass(frozen=True)
class Job:
    """What a worker is told.

    Attributes
    ----------
    study : str
        Name by which any process finds it.
    source : str
        Hash of its code where the study was started; see `source_of`.
    cell : str
        Name of the cell.
    parameters : mapping
    folder : str
        For files of the cell, the whole path.
    """

    study: str
    source: str
    cell: str
    parameters: Mapping[str, Any]
    folder: str


@dataclass(frozen=True)
class Outcome:
    """What a worker answers.

    Attributes
    ----------
    cell : str
        Its name.
    values : mapping
        Plain JSON values; empty for a failure.
    seconds, cpu_seconds : float
        Wall time, and processor time of the process.
    error : str
        Why it failed, one line; empty otherwise.
    """

    cell: str
    values: Mapping[str, Any]
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    error: str = ""


def work(job: Job) -> Outcome:
    """Do one cell; the traceback of a failure is in ``error.txt`` of its folder."""
    start, cpu = time.perf_counter(), time.process_time()
    try:
        place = make_folder(job.folder)
        try:
            study = find_study(job.study)
            if source_of(study) != job.source:
                return Outcome(
                    job.cell, {}, error="the file of the study was changed while it ran; start again"
                )
            values = study.run(job.parameters, place)
        except FAILURES:
            write_text(place / "error.txt", traceback.format_exc())
            raise
    except FAILURES as error:
        return Outcome(job.cell, {}, error=said(error))
    return Outcome(job.cell, values, time.perf_counter() - start, time.process_time() - cpu)


def said(error: BaseException) -> str:
    """Return the first line of what an error says, with its class if it is none of ours."""
    lines = str(error).strip().splitlines()
    first = lines[0] if lines else ""
    if isinstance(error, ForgefieldError) and first:
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
