"""``forgefield train``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from forgefield.cli.guard import INTERRUPTED, fail, guarded, print_json, stdout

if TYPE_CHECKING:
    from forgefield.training.settings import RunSettings

__all__ = ["train"]


@guarded
def train(
    config: Path = typer.Argument(..., help="Configuration; write one with `forgefield init`."),
    output: Path = typer.Option(Path("run"), "-o", "--output", help="Folder for the results."),
    resume: bool = typer.Option(False, "--resume", help="Continue from the checkpoint in that folder."),
    overrides: list[str] = typer.Option(
        [], "--set", metavar="KEY=VALUE", help="Change a setting, e.g. --set training.epochs=100."
    ),
    processes: int = typer.Option(
        1, "--processes", min=1, max=1024, help="Processes of this machine that share every batch."
    ),
    dry_run: bool = typer.Option(
        False,
        "--dry-run",
        help="Measure a few steps, say how much time and memory the training needs, and stop.",
    ),
    json: bool = typer.Option(False, "--json", help="Print the errors as JSON and nothing else."),
) -> None:
    """Train a potential and write it with its evidence into a folder."""
    from forgefield import api
    from forgefield.api.train import Silent
    from forgefield.training.distributed import join

    settings = read_settings(config, overrides)
    if dry_run:
        _print_dry_run(settings, json=json)
        return
    if processes > 1:
        from forgefield.cli.processes import launch

        raise typer.Exit(launch(_arguments(config, output, overrides, resume=resume, json=json), processes))
    leads = join().leads
    console = stdout()
    try:
        if json or not leads:
            run = api.train(settings, output=output, resume=resume, listener=Silent())
        else:
            from forgefield.cli.progress import make_listener

            listener = make_listener(console)
            try:
                run = api.train(settings, output=output, resume=resume, listener=listener)
            finally:
                listener.close()
    except KeyboardInterrupt:
        fail(_interrupted(config, output, overrides), INTERRUPTED)
    if not leads:
        return
    if json:
        print_json({"folder": str(run.folder), "metrics": run.metrics})
        return
    console.print(run.evaluation.metrics.table(groups=False))
    console.print(
        f"Potential: {run.folder / 'potential.ff'}\nReport:    {run.folder / 'report.html'}", markup=False
    )


def read_settings(config: Path, overrides: list[str]) -> RunSettings:
    """Return the settings of a file with ``--set`` applied; paths count from the folder of the file."""
    from forgefield.api.train import with_base
    from forgefield.config import load_yaml, parse
    from forgefield.training.overrides import override
    from forgefield.training.settings import RunSettings

    values: dict[str, Any] = override(load_yaml(config), overrides)
    return parse(RunSettings, with_base(values, config.resolve().parent))


def _print_dry_run(settings: RunSettings, *, json: bool) -> None:
    from forgefield.api.dry_run import dry_run

    found = dry_run(settings)
    if json:
        print_json(found.to_dict())
        return
    training = f"{found.epochs} epochs of {_time(found.epoch)}" if found.epochs else "one fit"
    judged = "".join(f"{what}, " for what in _judges(settings))
    times = (
        f"preparation {_time(found.prepare)}, {training}, {judged}evaluation and report {_time(found.finish)}"
    )
    several = f" for each of {found.members} members" if found.members > 1 else ""
    parts = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in found.parts.items())
    stdout().print(
        f"Time:   about {_time(found.seconds)}: {times}{several}\n"
        f"Memory: about {found.peak_memory / 1e6:.0f} MB at its peak, libraries included"
        + (f"; {parts}" if parts else ""),
        markup=False,
    )


def _judges(settings: RunSettings) -> list[str]:
    return ["last layer"] * settings.last_layer + ["extrapolation"] * settings.extrapolation


def _time(seconds: float) -> str:
    """Return a time with a unit one can picture."""
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _arguments(config: Path, output: Path, overrides: list[str], *, resume: bool, json: bool) -> list[str]:
    """Return what one of several processes is called with."""
    found = ["train", str(config), "-o", str(output)]
    for text in overrides:
        found += ["--set", text]
    return found + ["--resume"] * resume + ["--json"] * json


def _interrupted(config: Path, output: Path, overrides: list[str]) -> str:
    if not any((output / name).exists() for name in ("checkpoint.ff", "member_1/checkpoint.ff")):
        return "Interrupted before the first epoch was complete; nothing to resume."
    command = ["forgefield", "train", str(config), "-o", str(output), "--resume"]
    for text in overrides:
        command += ["--set", text]
    saved = "Checkpoint and best potential are" if (output / "potential.ff").exists() else "The checkpoint is"
    return f"Interrupted. {saved} saved in {output}; continue with:\n  {shlex.join(command)}"
