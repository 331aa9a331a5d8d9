"""The tables of the closed loops on the pages of the properties are those of the committed results."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks" / "properties"


@pytest.fixture
def docs(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("closed_loop_docs")


def test_pages_have_the_tables_of_the_results(docs):
    marked = {
        page: text
        for page in sorted(docs.PAGES.glob("*.md"))
        if "<!-- closed loop:" in (text := page.read_text(encoding="utf-8"))
    }
    assert len(marked) >= 10
    stale = [page.name for page, text in marked.items() if docs.written(text) != text]
    assert not stale, "run: python benchmarks/properties/closed_loop_docs.py"


def test_tables_have_every_row_of_the_results(docs):
    """Nothing that was compared is missing from the pages: every row at rest and in motion is in one table."""
    pages = "\n".join(p.read_text(encoding="utf-8") for p in docs.PAGES.glob("*.md"))
    systems = docs.system_names()
    assert len(systems) >= 3
    missing = []
    for system in systems:
        title = docs.TITLES[system]
        names = docs.load("dynamics", system)["results"]
        missing += [what for what in names if not re.search(rf"\| {title} \| {re.escape(what)} \[", pages)]
        n_rows = len(docs.load("statics", system)["rows"])
        shown = sum(len(docs.at_rest(system, names)) for names in docs.REST.values())
        if shown != n_rows:
            missing.append(f"{system}: {shown} of {n_rows} rows at rest")
    assert not missing
