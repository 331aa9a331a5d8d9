"""The page of a study: one HTML file with its figures, tables, text and the data behind them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from forgefield.evaluation.report.tables import Column, TableView
from forgefield.studies.charts import Chart

__all__ = ["Page", "Section", "render_page", "table"]


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it.

    Attributes
    ----------
    title : str
    paragraphs : tuple of str
        Plain text.
    charts : tuple of Chart
    tables : tuple of TableView
        Made by `table`.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[TableView, ...] = ()


@dataclass(frozen=True)
class Page:
    """What a study says.

    Attributes
    ----------
    title : str
    question : str
        What was asked, one or two sentences.
    answer : str
        What was found, with the numbers.
    sections : tuple of Section
    claims : tuple of (claim, finding, verdict)
        What a paper states, what these results say, and ``"agrees"``, ``"disagrees"`` or ``"undecided"``.
    """

    title: str
    question: str
    answer: str
    sections: tuple[Section, ...]
    claims: tuple[tuple[str, str, str], ...] = field(default=())

    def charts(self) -> dict[str, Chart]:
        """Return all charts by their key."""
        every = [chart for section in self.sections for chart in section.charts]
        return {f"chart-{n}": chart for n, chart in enumerate(every)}


def table(caption: str, heads: list[str], rows: list[list[str]], *, text_columns: int = 1) -> TableView:
    """Return a table; the first `text_columns` columns hold text, the others numbers."""
    columns = tuple(Column(head, numeric=n >= text_columns) for n, head in enumerate(heads))
    return TableView(caption, columns, rows)


def render_page(page: Page, record: Mapping[str, Any]) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    page : Page
    record : mapping
        Settings, versions, time, failures and the results themselves; offered for download.
    """
    charts = page.charts()
    keys = {id(chart): key for key, chart in charts.items()}
    environment = Environment(
        loader=ChoiceLoader(
            [
                PackageLoader("forgefield.studies", "templates"),
                PackageLoader("forgefield.evaluation.report", "templates"),
            ]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    points = {key: chart.points() for key, chart in charts.items()}
    return environment.get_template("study.html").render(
        page=page,
        record=record,
        key_of=lambda chart: keys[id(chart)],
        data_link=_data_link,
        payload=_script_safe(points),
        results=_data_link(json.dumps(record, indent=1, ensure_ascii=False), "application/json"),
    )


def _data_link(text: str, kind: str = "text/csv") -> str:
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def _script_safe(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
