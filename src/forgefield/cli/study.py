"""``forgefield study``."""

from __future__ import annotations

from pathlib import Path

import typer

from forgefield.cli.guard import guarded, print_json, stdout
from forgefield.errors import ConfigError

__all__ = ["study"]


@guarded
def study(
    name: str = typer.Argument(..., help="Which study, or FILE.py:Class for your own; `list` names all."),
    config: Path | None = typer.Argument(
        None, help="YAML file with the study's settings, and `cluster`; default: its defaults."
    ),
    *,
    output: Path | None = typer.Option(
        None, "-o", "--output", help="Folder; default: study-NAME, with --from report-NAME."
    ),
    set_: list[str] = typer.Option([], "--set", help="Setting of the study, key=value; repeatable."),
    small: bool = typer.Option(False, "--small", help="The form that takes a minute."),
    workers: int = typer.Option(1, "-w", "--workers", help="Processes on this machine."),
    scheduler: str | None = typer.Option(
        None, "--scheduler", help="Address of a Dask scheduler, for a cluster; as `cluster` in CONFIG."
    ),
    from_: Path | None = typer.Option(
        None, "--from", help="A results.json: write its report again and compute nothing."
    ),
    plan: bool = typer.Option(False, "--plan", help="Name the cells and do nothing."),
    names: bool = typer.Option(False, "--names", help="With `list`: names only, one a line."),
    json: bool = typer.Option(
        False, "--json", help="Print the path of the results, or the list, as JSON and nothing else."
    ),
) -> None:
    """Run an experiment of the papers; started again it goes on where it stopped."""
    from forgefield.config import apply_overrides, load_yaml
    from forgefield.studies import Progress, find_study, plan_study, redraw_study, run_study

    if name == "list":
        _list(names=names, json=json)
        return
    chosen = find_study(name)
    settings = apply_overrides({} if config is None else load_yaml(config), set_)
    if plan:
        for cell in plan_study(name, settings, small=small):
            stdout().print(cell.name, markup=False)
        return

    def tell(event: Progress) -> None:
        if not json:
            stdout().print(event.line(), markup=False, highlight=False, soft_wrap=True)

    if from_ is not None:
        if small or scheduler is not None or workers != 1:
            raise ConfigError("--from computes nothing: leave --small, --workers and --scheduler out")
        run = redraw_study(name, from_, output or Path(f"report-{chosen.name}"), settings)
    else:
        folder = output or Path(f"study-{chosen.name}")
        run = run_study(
            name, settings, folder, small=small, workers=workers, scheduler=scheduler, progress=tell
        )
    if json:
        print_json({"folder": str(run.folder), "cells": len(run.results)})
        return
    stdout().print(f"wrote {run.folder / 'report.html'}", soft_wrap=True)


def _list(*, names: bool, json: bool) -> None:
    """Print all studies."""
    from forgefield.cli.show import facts_table
    from forgefield.studies import STUDIES, find_study

    if names and not json:
        print("\n".join(STUDIES))
        return
    known = {name: find_study(name).summary for name in STUDIES}
    if json:
        print_json(known)
    else:
        stdout().print(facts_table("", known))
