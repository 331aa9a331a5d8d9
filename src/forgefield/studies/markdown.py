"""The words and tables of a study's page as Markdown, for notes and documentation."""

from __future__ import annotations

from forgefield.evaluation.report.tables import TableView
from forgefield.studies.page import Page

__all__ = ["render_markdown"]


def render_markdown(page: Page) -> str:
    """Return question, answer, claims, text and tables; figures are named by their title only."""
    parts = [f"**Question.** {page.question}", f"**Answer.** {page.answer}"]
    for head, statements in (("what the paper states", page.claims), ("our own questions", page.own)):
        if statements:
            rows = [[statement, found, verdict] for statement, found, verdict in statements]
            parts.append(_table([head, "found here", "verdict"], rows))
    for section in page.sections:
        parts.append(f"### {section.title}")
        parts += section.paragraphs
        parts += [f"{view.caption}:\n\n{_view(view)}" for view in section.tables]
    return "\n\n".join(parts) + "\n"


def _view(view: TableView) -> str:
    return _table([column.text for column in view.columns], view.rows)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(heads), line(["---"] * len(heads)), *(line(row) for row in rows)])
