"""``forgefield shard``."""

from __future__ import annotations

from pathlib import Path

import typer

from forgefield.cli.guard import guarded, print_json, stdout

__all__ = ["shard"]


@guarded
def shard(
    data: list[Path] = typer.Argument(
        ..., help="Data files or folders, or one configuration (.yaml) whose `data` section counts."
    ),
    output: Path = typer.Option(..., "-o", "--output", help="Folder for the shards."),
    megabytes: int = typer.Option(64, "--megabytes", min=1, help="About how much a shard holds."),
    json: bool = typer.Option(False, "--json", help="Print what was written as JSON."),
) -> None:
    """Write data files of any size into shards, from which training reads batch by batch."""
    from forgefield.data import DataSettings
    from forgefield.data.sharding import write_shards
    from forgefield.errors import counted

    if len(data) == 1 and data[0].suffix in (".yaml", ".yml"):
        from forgefield.cli.training import read_settings

        settings = read_settings(data[0], []).data
    else:
        settings = DataSettings(train=[str(path) for path in data])
    report = write_shards(settings, output, shard_bytes=megabytes * 2**20)
    if json:
        print_json({**vars(report), "folder": str(report.folder)})
        return
    console = stdout()
    console.print(
        f"{counted(report.structures, 'structure')}, {counted(report.atoms, 'atom')} in {counted(report.shards, 'shard')}; train on them with "
        f"--set data.train=[{output}]",
        markup=False,
    )
    for reason, names in report.dropped.items():
        console.print(f"left out ({reason}): {len(names)}", markup=False)
    for finding in report.findings:
        console.print(f"{finding['severity']}: {finding['message']}", markup=False)
