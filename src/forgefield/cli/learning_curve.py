"""``forgefield learning-curve``."""

from __future__ import annotations

from pathlib import Path

import typer

from forgefield.cli.guard import fail, guarded, print_json, stdout

__all__ = ["learning_curve"]


@guarded
def learning_curve(
    config: Path = typer.Argument(..., help="Configuration of the training."),
    output: Path = typer.Option(Path("learning_curve"), "-o", "--output", help="Folder for runs and table."),
    fractions: str = typer.Option(
        "0.1,0.2,0.5,1", "--fractions", help="Shares of the training structures, with commas."
    ),
    seeds: int = typer.Option(3, "--seeds", min=1, max=1000, help="Runs of each share."),
    resume: bool = typer.Option(False, "--resume", help="Continue runs that were interrupted."),
    overrides: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="Change a setting."),
    json: bool = typer.Option(False, "--json", help="Print the table as JSON and nothing else."),
) -> None:
    """Train on growing parts of the data, several times each: errors against the number of structures."""
    from forgefield.api.learning_curve import learning_curve as compute
    from forgefield.cli.training import read_settings
    from forgefield.evaluation.metrics import format_error
    from forgefield.evaluation.residuals import QUANTITIES

    settings = read_settings(config, overrides)
    try:
        shares = [float(x) for x in fractions.split(",")]
    except ValueError:
        fail(f"`--fractions` must be numbers with commas between them, got {fractions!r}")
    curve = compute(settings, shares, range(seeds), output=output, resume=resume)
    if json:
        print_json(curve.to_dict())
        return
    from rich.table import Table

    table = Table(title=f"RMSE on {curve.split}, mean and standard deviation of {seeds} runs")
    table.add_column("structures", justify="right")
    for name in curve.properties:
        table.add_column(f"{name} [{QUANTITIES[name].error_unit}]", justify="right")
    for point in curve.points:
        cells = []
        for name in curve.properties:
            spread = point.spread(name)
            bar = "" if spread is None else f" ± {format_error(spread)}"
            cells.append(f"{format_error(point.mean(name))}{bar}")
        table.add_row(str(point.structures), *cells)
    console = stdout()
    console.print(table)
    for name in curve.properties:
        exponent = curve.exponent(name)
        if exponent is not None:
            console.print(f"{name}: RMSE {trend(exponent)}", markup=False)
    console.print(f"Table: {output / 'learning_curve.csv'}", markup=False)


def trend(exponent: float) -> str:
    """Return what the exponent b of ``RMSE ~ structures^-b`` says."""
    if round(exponent, 2) == 0.0:
        return "does not change with the number of structures"
    if exponent < 0.0:
        return f"grows as structures^{-exponent:.2f}: more structures did not help"
    return f"falls as structures^-{exponent:.2f}"
