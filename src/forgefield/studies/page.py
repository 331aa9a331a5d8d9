"""The page of a study: one HTML file with its figures, tables, text and the data behind them."""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from forgefield.evaluation.report.tables import Column, TableView
from forgefield.studies.charts import Chart, styles_of
from forgefield.studies.styles import DASHES

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
        What a paper states, what these results say, and ``"agrees"``, ``"disagrees"``, ``"undecided"`` or ``"not run"``.
    own : tuple of (statement, finding, verdict)
        What no paper states but this study asks; ``"yes"``, ``"no"`` or ``"undecided"``.
    conclusion : mapping
        What follows from all results, for results.json: plain JSON values.
    """

    title: str
    question: str
    answer: str
    sections: tuple[Section, ...]
    claims: tuple[tuple[str, str, str], ...] = field(default=())
    own: tuple[tuple[str, str, str], ...] = field(default=())
    conclusion: Mapping[str, Any] = field(default_factory=dict)

    def charts(self) -> dict[str, Chart]:
        """Return all charts by their key."""
        every = [chart for section in self.sections for chart in section.charts]
        return {f"chart-{n}": chart for n, chart in enumerate(every)}

    def files(self) -> dict[str, str]:
        """Return the name of the file with the data of every chart, by its key."""
        names: dict[str, str] = {}
        keys = iter(self.charts())
        for section in self.sections:
            for chart in section.charts:
                title = chart.title if section.title in chart.title else f"{section.title} {chart.title}"
                name, n = _slug(title), 1
                while f"{name}.csv" in names.values():
                    n += 1
                    name = f"{_slug(title)}-{n}"
                names[next(keys)] = f"{name}.csv"
        return names


def table(caption: str, heads: list[str], rows: list[list[str]], *, text_columns: int = 1) -> TableView:
    """Return a table; the first `text_columns` columns and one headed ``note`` hold text, the others numbers.

    The last column is left out where it is a note and no row has one.
    """
    if heads[-1] == "note" and not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    columns = tuple(
        Column(head, numeric=n >= text_columns and head != "note") for n, head in enumerate(heads)
    )
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
    points = {key: chart.values() for key, chart in charts.items()}
    files = page.files()
    return environment.get_template("study.html").render(
        page=page,
        record=record,
        key_of=lambda chart: keys[id(chart)],
        file_of=lambda chart: files[keys[id(chart)]],
        settings={key: _told(value) for key, value in record["settings"].items()},
        styles=styles_of(charts.values()),
        dash_patterns=DASHES,
        data_link=_data_link,
        payload=_script_safe(points),
        results=_data_link(json.dumps(record, indent=1, ensure_ascii=False), "application/json"),
    )


def _told(value: Any) -> str:
    """Return a setting as it is written in a configuration."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _slug(title: str) -> str:
    """Return a title as the name of a file."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "figure"


def _data_link(text: str, kind: str = "text/csv") -> str:
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"


def _script_safe(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
