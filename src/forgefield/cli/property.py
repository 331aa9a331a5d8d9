"""``forgefield property``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from forgefield.cli.guard import guarded, print_json, stdout

if TYPE_CHECKING:
    from forgefield.properties.base import Progress, PropertyResult

__all__ = ["property_"]


@guarded
def property_(
    name: str = typer.Argument(..., help="Which property; `list` names all."),
    potential: str = typer.Argument(
        "", help="Potential file; or ase:NAME[:{key: value}]; or 'lammps:COMMAND;COMMAND'."
    ),
    structure: Path | None = typer.Argument(None, help="Structure, any format ASE reads; the last frame."),
    *,
    set_: list[str] = typer.Option([], "--set", help="Setting of the property, key=value; repeatable."),
    output: Path | None = typer.Option(
        None, "-o", "--output", help="Folder for the result, its picture and long runs' checkpoints."
    ),
    repeat: tuple[int, int, int] = typer.Option((1, 1, 1), "--repeat", help="Repeat the cell."),
    dtype: str = typer.Option("float64", help="float32 or float64."),
    threads: int | None = typer.Option(None, help="CPU threads; default: all cores."),
    json: bool = typer.Option(False, "--json", help="Print the result as JSON and nothing else."),
) -> None:
    """Compute a property of a structure, with its error; `forgefield property NAME` alone shows its settings."""
    if name == "list":
        _list()
        return
    from forgefield.config import apply_overrides
    from forgefield.errors import ConfigError
    from forgefield.properties.registry import find_property

    chosen = find_property(name)
    if not potential:
        _describe(name)
        return
    if structure is None:
        raise ConfigError(f"`forgefield property {name} POTENTIAL STRUCTURE` needs a structure")
    from forgefield.cli.structures import read_structure
    from forgefield.properties.calculators import find_calculator

    atoms = read_structure(structure, repeat)
    settings = apply_overrides({}, set_)
    chosen.settings.parse(settings, where=name)  # before anything is loaded
    calculator = find_calculator(
        potential,
        elements=list(dict.fromkeys(atoms.get_chemical_symbols())),
        dtype=dtype,  # type: ignore[arg-type]
        threads=threads,
    )
    with _progress(hidden=json) as progress:
        result = chosen(atoms, calculator, folder=output, progress=progress, **settings)
    if json:
        print_json(result.to_dict())
        return
    _show(result, output)


def _list() -> None:
    from forgefield.cli.show import facts_table
    from forgefield.properties.registry import PROPERTIES

    stdout().print(facts_table("", {name: entry.summary for name, entry in PROPERTIES.items()}))


def _describe(name: str) -> None:
    from forgefield.cli.show import facts_table
    from forgefield.properties.registry import find_property

    chosen = find_property(name)
    facts = {
        key: f"{field.description or ''} (default {field.default})"
        for key, field in chosen.settings.model_fields.items()
    }
    stdout().print(f"{chosen.name}: {chosen.summary}", markup=False)
    stdout().print(facts_table("", facts))


@contextmanager
def _progress(*, hidden: bool) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=hidden or not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=1.0)

        def tell(done: float, text: str = "") -> None:
            bar.update(task, completed=done, description=text)

        yield tell


def _show(result: PropertyResult, folder: Path | None) -> None:
    from rich.markup import escape

    from forgefield.cli.show import facts_table

    console = stdout()
    facts = {k: f"{q}  {q.note}".rstrip() for k, q in result.quantities.items()}
    console.print(facts_table(result.name, facts))
    for name, table in result.tables.items():
        console.print(f"{name} [{table.unit}]" if table.unit else name, markup=False)
        console.print(str(table.values.round(4)), markup=False)
    checks = result.conditions.get("checks", ())
    if checks:
        console.print(facts_table("", {c["name"]: f"{c['status']}: {c['reason']}" for c in checks}))
    rest = {k: v for k, v in result.conditions.items() if k != "checks"}
    console.print(facts_table("conditions", rest))
    for text in result.warnings:
        console.print(f"[yellow]warning[/]: {escape(text)}")
    if folder is not None:
        console.print(f"wrote {folder}", soft_wrap=True)
