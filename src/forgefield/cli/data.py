"""``forgefield inspect`` and ``init``: commands that look at data."""

from __future__ import annotations

from pathlib import Path

import typer

from forgefield.cli.guard import guarded, print_json, stdout

__all__ = ["init", "inspect"]


@guarded
def inspect(
    data: list[Path] = typer.Argument(..., help="Data files, folders or patterns, in any known format."),
    json: bool = typer.Option(False, "--json", help="Print everything as JSON and nothing else."),
) -> None:
    """Show what data hold: labels, units and signs, duplicates, outliers, distances, neighbours."""
    from forgefield.api.inspect import inspect as look

    found = look([str(path) for path in data])
    if json:
        print_json(found.to_dict())
        return
    from forgefield.cli.inspection import print_inspection

    print_inspection(stdout(), found)


@guarded
def init(
    data: list[Path] = typer.Argument(..., help="Data files, folders or patterns, in any known format."),
    output: Path = typer.Option(Path("train.yaml"), "-o", "--output", help="Configuration to write."),
    quality: str = typer.Option(
        "standard",
        "--quality",
        help="fast: a first look; standard: one potential; best: a committee, several times the cost in training and "
        "use.",
    ),
    force: bool = typer.Option(False, "--force", help="Replace an existing file."),
) -> None:
    """Write a commented configuration with defaults read off the data."""
    from forgefield.api.init import commented_yaml, suggest
    from forgefield.data import read
    from forgefield.errors import ConfigError, counted
    from forgefield.files import write_text

    if output.exists() and not force:
        raise ConfigError(f"{output} exists; choose another name with -o, or replace it with --force")
    frames = read([str(path) for path in data])
    base = output.resolve().parent
    settings = suggest(frames, paths=[relative_to(path, base) for path in data], quality=quality)
    write_text(output, commented_yaml(settings))
    if settings.data.stress_convention == "detect":
        stdout().print(
            "Stress labels contradict the energies, forces or symmetry of their own structures in some groups; "
            "data.stress_convention is set to detect, which corrects them. See: forgefield inspect",
            markup=False,
        )
    stdout().print(
        f"Wrote {output} for {counted(len(frames), 'structure')}. Read it, then: forgefield train {output} -o run",
        markup=False,
    )


def relative_to(path: Path, folder: Path) -> str:
    """Return a path as seen from the folder of the configuration, or absolute where they share no parent."""
    import os

    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - patterns such as run*/OUTCAR stay as they are
    if absolute.is_relative_to(folder):
        return str(absolute.relative_to(folder))
    return (
        os.path.relpath(absolute, folder)
        if len(os.path.commonpath([absolute, folder])) > 1
        else str(absolute)
    )
