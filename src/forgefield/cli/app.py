"""The commands and their options."""

from __future__ import annotations

import typer

import forgefield
from forgefield.cli import (
    data,
    export,
    learning_curve,
    md,
    potential,
    property,  # noqa: A004 - named like its command
    select,
    shard,
    study,
    training,
)
from forgefield.cli.guard import State

__all__ = ["app"]

app = typer.Typer(
    name="forgefield",
    help="Machine-learned interatomic potentials from first-principles data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"forgefield {forgefield.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(  # noqa: ARG001 - its callback does the work
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
    ),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of errors."),
) -> None:
    """Set what holds for every command."""
    State.debug = debug


app.command("inspect")(data.inspect)
app.command("init")(data.init)
app.command("train")(training.train)
app.command("learning-curve")(learning_curve.learning_curve)
app.command("shard")(shard.shard)
app.command("evaluate")(potential.evaluate)
app.command("select")(select.select)
app.command("info")(potential.info)
app.command("export")(export.export)
app.command("md")(md.md)
app.command("property")(property.property_)
app.command("study")(study.study)
