"""``forgefield export``: a potential for another program."""

from __future__ import annotations

from pathlib import Path

import typer

from forgefield.cli.guard import guarded, print_json, stdout

__all__ = ["export"]


@guarded
def export(
    potential: Path = typer.Argument(..., help="File of a potential (potential.ff, nep.txt)."),
    to: str = typer.Option(..., "--to", help="The program: gpumd."),
    output: Path = typer.Option(Path(), "-o", "--output", help="Folder to write into."),
    json: bool = typer.Option(False, "--json", help="Print the names of the files as JSON and nothing else."),
) -> None:
    """Write the files with which another program runs a potential."""
    from forgefield.deployment.export import export as write
    from forgefield.deployment.load import load

    files = [str(path) for path in write(load(potential), to, output)]
    if json:
        print_json({"files": files})
        return
    for name in files:
        stdout().print(f"wrote {name}", soft_wrap=True)
