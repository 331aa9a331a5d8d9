"""``forgefield md``: molecular dynamics with a potential."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from forgefield.cli.guard import guarded, print_json, stdout

__all__ = ["md"]


@guarded
def md(
    potential: Path = typer.Argument(..., help="File of a potential (potential.ff)."),
    structure: Path = typer.Argument(..., help="Starting structure, any format ASE reads; the last frame."),
    *,
    ensemble: str = typer.Option("nvt", help="nve, nvt or npt."),
    temperature: float = typer.Option(300.0, "-T", "--temperature", help="[K]"),
    pressure: float = typer.Option(0.0, "-p", "--pressure", help="npt: [GPa]"),
    steps: int = typer.Option(1000, "-n", "--steps", help="Time steps."),
    timestep: float = typer.Option(1.0, "--timestep", help="[fs]"),
    repeat: tuple[int, int, int] = typer.Option((1, 1, 1), "--repeat", help="Repeat the cell."),
    log_interval: int = typer.Option(10, "--log-interval", help="Steps between rows and frames."),
    trajectory: Path | None = typer.Option(None, "-o", "--trajectory", help="*.traj or extended XYZ."),
    log: Path | None = typer.Option(None, "--log", help="CSV with one row every log interval."),
    picture: Path | None = typer.Option(
        None, "--picture", help="Temperature, energy, pressure and g(r): *.png, *.svg, *.pdf."
    ),
    movie: Path | None = typer.Option(None, "--movie", help="Film of the atoms: *.gif."),
    spread_limit: float | None = typer.Option(
        None, "--spread-limit", help="Committees: stop when members disagree by more on a force [eV/Å]."
    ),
    set_: list[str] = typer.Option([], "--set", help="Another setting, key=value, such as barostat=full."),
    seed: int = typer.Option(0, help="Of velocities and thermostat."),
    dtype: str = typer.Option("float32", help="float32 or float64."),
    threads: int | None = typer.Option(None, help="ase: CPU threads; default: all cores."),
    engine: str = typer.Option("ase", help="ase or lammps."),
    processes: int = typer.Option(1, "--processes", help="lammps: MPI processes."),
    json: bool = typer.Option(False, "--json", help="Print the summary as JSON and nothing else."),
) -> None:
    """Run molecular dynamics, to see whether a potential holds; stops when it breaks down."""
    from dataclasses import asdict

    from rich.console import Console

    from forgefield.cli.md_progress import MDProgress
    from forgefield.cli.structures import read_structure
    from forgefield.config import apply_overrides
    from forgefield.deployment.lammps_md import simulate
    from forgefield.deployment.md import MDSettings
    from forgefield.deployment.md_picture import recorded

    state = {
        "ensemble": ensemble,
        "temperature": temperature,
        "pressure": pressure,
        "spread_limit": spread_limit,
    }
    length = {"steps": steps, "timestep": timestep, "log_interval": log_interval, "seed": seed}
    settings = MDSettings.parse(apply_overrides({**length, **state}, set_))
    atoms = read_structure(structure, repeat)
    progress = MDProgress(Console(stderr=True, quiet=json), len(atoms), steps)
    with recorded(trajectory, log, picture, movie) as files, progress.shown():
        options: dict[str, Any] = {"dtype": dtype, "threads": threads, "processes": processes}
        options |= zip(("trajectory", "log"), files(), strict=True)
        summary = simulate(engine, potential, atoms, settings, on_row=progress.on_row, **options)
    content = asdict(summary) | {"trajectory": trajectory, "log": log, "picture": picture, "movie": movie}
    if json:
        print_json(content)
        return
    from forgefield.cli.show import facts_table

    stdout().print(facts_table("", _summary_facts(content)))


def _summary_facts(summary: dict[str, Any]) -> dict[str, str]:
    def number(key: str, unit: str) -> str:
        value = summary[key]
        return "-" if value is None else f"{value:.5g} {unit}"

    facts = {
        "atoms, steps": f"{summary['n_atoms']}, {summary['n_steps']}",
        "time": number("time", "ps"),
        "temperature": f"{summary['temperature']:.1f} ± {summary['temperature_std']:.1f} K",
        "pressure": number("pressure", "GPa"),
        "volume": number("volume", "Å^3"),
        "energy drift": number("energy_drift", "eV/atom/ps"),
        "speed": number("atom_steps_per_second", "atom steps/s"),
    }
    facts |= {
        key: str(summary[key])
        for key in ("trajectory", "log", "picture", "movie")
        if summary[key] is not None
    }
    return facts
