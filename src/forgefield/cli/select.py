"""``forgefield select``."""

from __future__ import annotations

from pathlib import Path

import typer

from forgefield.cli.guard import guarded, print_json, stdout

__all__ = ["select"]

SHOWN = 20
"""Rows of the table on the screen; the file has all."""


@guarded
def select(
    candidates: list[Path] = typer.Argument(..., help="Structures to choose from: files, folders, patterns."),
    potential: Path = typer.Option(..., "-p", "--potential", help="Potential or committee (potential.ff)."),
    n: int = typer.Option(20, "-n", "--number", help="How many structures."),
    by: str = typer.Option(
        "auto", "--by", help="grade, spread (of a committee, or by the last layer) or auto."
    ),
    train: list[Path] = typer.Option(
        [], "--train", help="Training data of a potential that was saved without extrapolation grades."
    ),
    output: Path = typer.Option(
        Path("selected.extxyz"), "-o", "--output", help="Structures; the table is written beside them as CSV."
    ),
    json: bool = typer.Option(False, "--json", help="Print the table as JSON and nothing else."),
) -> None:
    """Pick the structures to label next: those a potential is least sure of, no two of a kind."""
    from forgefield import api
    from forgefield.cli.structures import read_structures
    from forgefield.data import read

    known = read([str(path) for path in train]) if train else None
    found = api.select(potential, read_structures(candidates), n, by=by, train=known)  # type: ignore[arg-type]
    written = found.write(output)
    if json:
        print_json({"by": found.by, "rows": found.rows, "files": [str(path) for path in written]})
        return
    from rich.table import Table

    unit = "max grade" if found.by == "grade" else "max spread\neV/Å"
    table = Table(title=f"Selected by {found.by}: {len(found.rows)}", title_justify="left")
    for heading in ("", "structure", "atoms", unit, "mean", "distance"):
        table.add_column(heading, justify="left" if heading == "structure" else "right")
    for row in found.rows[:SHOWN]:
        distance = "" if row["distance"] is None else f"{row['distance']:.3g}"
        cells = [str(row["rank"]), row["name"], str(row["n_atoms"])]
        table.add_row(*cells, f"{row['score']:.3g}", f"{row['mean']:.3g}", distance)
    stdout().print(table)
    for path in written:
        stdout().print(f"wrote {path}", soft_wrap=True)
