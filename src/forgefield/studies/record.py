"""results.json and the report of a study, written after a run or again from a results.json."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgefield.config import Schema
from forgefield.errors import DataError
from forgefield.files import make_folder, read_text, write_json, write_text
from forgefield.studies.base import Cell, CellResult, Study
from forgefield.studies.markdown import render_markdown
from forgefield.studies.page import Page, render_page
from forgefield.studies.store import finite
from forgefield.studies.work import FAILURES, said

__all__ = ["REPORT", "Record", "read_record", "write_report"]

Conclude = Callable[[Page], Page]
REPORT = "the report"
"""Name of what fails when the page or its conclusion does."""


@dataclass(frozen=True)
class Record:
    """What results.json holds, the findings aside.

    Attributes
    ----------
    study : str
    n_cells : int
    settings : mapping
        All of them, plain JSON values.
    versions : mapping
        Of the software that computed the results, and the machine.
    failures : dict
        Message of each cell that failed.
    results : list of CellResult
    conclusion : mapping
        `Page.conclusion`.
    """

    study: str
    n_cells: int
    settings: Mapping[str, Any]
    versions: Mapping[str, Any]
    failures: dict[str, str]
    results: list[CellResult]
    conclusion: Mapping[str, Any]

    def content(self, page: Page | None) -> dict[str, Any]:
        """Return it as plain JSON values, with what the page says."""
        found: dict[str, Any] = {"study": self.study}
        if page is not None:
            found |= {
                "title": page.title,
                "question": page.question,
                "answer": page.answer,
                "claims": [dict(zip(("claim", "found", "verdict"), row, strict=True)) for row in page.claims],
                "questions": [
                    dict(zip(("statement", "found", "verdict"), row, strict=True)) for row in page.own
                ],
                "conclusion": finite(page.conclusion),
            }
        cpu = [r.cpu_seconds for r in self.results if r.cpu_seconds is not None]
        if len(cpu) == len(self.results):
            found["cpu_seconds"] = sum(cpu)
        return found | {
            "n_cells": self.n_cells,
            "n_done": len(self.results),
            "seconds": sum(r.seconds for r in self.results),
            "settings": dict(self.settings),
            "versions": dict(self.versions),
            "failures": dict(self.failures),
            "results": [_entry(result) for result in self.results],
        }


def _entry(result: CellResult) -> dict[str, Any]:
    entry = {
        "name": result.cell.name,
        "parameters": dict(result.cell.parameters),
        "values": result.values,
        "seconds": result.seconds,
    }
    return entry if result.cpu_seconds is None else {**entry, "cpu_seconds": result.cpu_seconds}


def read_record(file: Path) -> Record:
    """Return what a results.json holds.

    Raises
    ------
    DataError
        It cannot be read, or is none.
    """
    text = read_text(file)
    try:
        content = json.loads(text)
        results = [
            CellResult(
                Cell(str(one["name"]), dict(one["parameters"])),
                dict(one["values"]),
                float(one["seconds"]),
                one.get("cpu_seconds"),
            )
            for one in content["results"]
        ]
        return Record(
            str(content["study"]),
            int(content["n_cells"]),
            dict(content["settings"]),
            dict(content["versions"]),
            dict(content["failures"]),
            results,
            dict(content.get("conclusion", {})),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} is not the results.json of a study ({said(error)})") from None


def write_report(
    study: Study[Any], settings: Schema, folder: Path, record: Record, conclude: Conclude
) -> Page:
    """Write results.json, report.html, report.md and the values of every figure.

    The results are written first, without what they say: nothing that goes wrong on the page loses them. Where cells
    failed, what is left may be too little for a page, which then says so.

    Parameters
    ----------
    study : Study
    settings : Schema
    folder : Path
    record : Record
        A failure of the conclusion is added to its failures.
    conclude : callable
        From the page to the page with what follows from all results.
    """
    write_json(folder / "results.json", record.content(None))
    page = _page(study, settings, record)
    try:
        page = conclude(page)
    except FAILURES as error:
        record.failures[REPORT] = f"what follows from all results could not be written: {said(error)}"
    content = record.content(page)
    write_json(folder / "results.json", content)
    write_text(folder / "report.html", render_page(page, content))
    write_text(folder / "report.md", render_markdown(page))
    _write_values(page, folder / "figures")
    return page


def _page(study: Study[Any], settings: Schema, record: Record) -> Page:
    if not record.failures:
        page: Page = study.page(settings, record.results)
        return page
    reason = "none is finished"
    if record.results:
        try:
            return study.page(settings, record.results)
        except FAILURES as error:
            reason = said(error)
    answer = f"{len(record.failures)} of {record.n_cells} cells failed; the others are too few for a report ({reason})."
    return Page(study.name, study.summary, answer, ())


def _write_values(page: Page, folder: Path) -> None:
    """Write the values of every figure as CSV, named by what it shows; those of an earlier report go."""
    if folder.exists():
        shutil.rmtree(folder)
    if any(section.charts for section in page.sections):
        make_folder(folder)
    number = 0
    for section in page.sections:
        for chart in section.charts:
            number += 1
            write_text(folder / f"{number:02d}-{_slug(section.title, chart.title)}.csv", chart.csv())


def _slug(*titles: str) -> str:
    words = re.findall(r"[a-z0-9]+", " ".join(dict.fromkeys(titles)).lower())
    return "-".join(words)[:80].rstrip("-") or "figure"
