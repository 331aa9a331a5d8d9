"""``forgefield study``."""

from __future__ import annotations

from pathlib import Path

import typer

from forgefield.cli.guard import guarded, print_json, stdout

__all__ = ["study"]


@guarded
def study(
    name: str = typer.Argument(..., help="Which study, or FILE.py:Class for your own; `list` names all."),
    config: Path | None = typer.Argument(
        None, help="YAML file with the study's settings; default: its defaults."
    ),
    *,
    output: Path | None = typer.Option(None, "-o", "--output", help="Folder; default: study-NAME."),
    set_: list[str] = typer.Option([], "--set", help="Setting of the study, key=value; repeatable."),
    small: bool = typer.Option(False, "--small", help="The form that takes a minute."),
    workers: int = typer.Option(1, "-w", "--workers", help="Processes on this machine."),
    scheduler: str | None = typer.Option(
        None, "--scheduler", help="Address of a Dask scheduler, for a cluster."
    ),
    plan: bool = typer.Option(False, "--plan", help="Name the cells and do nothing."),
    names: bool = typer.Option(False, "--names", help="With `list`: names only, one a line."),
    json: bool = typer.Option(
        False, "--json", help="Print the path of the results as JSON and nothing else."
    ),
) -> None:
    """Run an experiment of the papers; started again it goes on where it stopped."""
    from forgefield.cli.show import facts_table
    from forgefield.config import apply_overrides, load_yaml
    from forgefield.studies import STUDIES, find_study, run_study

    if name == "list" and names:
        print("\n".join(STUDIES))
        return
    if name == "list":
        stdout().print(facts_table("", {n: find_study(n).summary for n in STUDIES}))
        return
    chosen = find_study(name)
    settings = apply_overrides({} if config is None else load_yaml(config), set_)
    if plan:
        base = dict(chosen.small) if small else {}
        for cell in chosen.cells(chosen.Settings.parse({**base, **settings}, where=name)):
            stdout().print(cell.name, markup=False)
        return

    def tell(done: int, total: int, cell: str) -> None:
        if not json:
            stdout().print(f"{done}/{total} {cell}".rstrip(), markup=False, highlight=False)

    folder = output or Path(f"study-{chosen.name}")
    run = run_study(name, settings, folder, small=small, workers=workers, scheduler=scheduler, progress=tell)
    if json:
        print_json({"folder": str(run.folder), "cells": len(run.results)})
        return
    stdout().print(f"wrote {run.folder / 'report.html'}", soft_wrap=True)
