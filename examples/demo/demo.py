"""Train a silicon potential on the bundled DFT data and compare it with DFT.

``make demo`` runs this and writes the folder demo/ with the potential and report.html; ``make demo-short`` trains
half a minute only, to see that everything works.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ase.build import bulk
from rich.console import Console
from rich.table import Table

import forgefield as ff
from forgefield.api.run import Run
from forgefield.api.train import resolve
from forgefield.cli.progress import make_listener
from forgefield.errors import ForgefieldError
from forgefield.files import write_text
from forgefield.models.potential import Potential
from forgefield.properties import elastic_constants, equation_of_state

HERE = Path(__file__).resolve().parent
SHORT_EPOCHS = 6
CUBE = 8
"""Atoms in the cubic cell of diamond."""


def compare(potential: Potential) -> dict[str, Any]:
    """Return properties of diamond silicon, DFT beside the potential; both from the same formulas."""
    reference = ff.datasets.reference("silicon")["diamond"]
    calculator = potential.calculator(dtype="float64")
    try:
        eos = equation_of_state(bulk("Si", "diamond", a=reference["a0"]), calculator)
        crystal = bulk("Si", "diamond", a=eos.length(CUBE))
        elastic = elastic_constants(crystal, calculator).cubic
    except ForgefieldError as error:
        print(f"properties could not be computed: {error}")
        return {"rows": []}
    expected = reference["elastic"]
    rows = [
        ("lattice constant a0", "Å", reference["a0"], eos.length(CUBE)),
        ("bulk modulus B0", "GPa", reference["eos"]["bulk_modulus"], eos.bulk_modulus),
        (
            "its pressure derivative B0'",
            "",
            reference["eos"]["bulk_modulus_derivative"],
            eos.bulk_modulus_derivative,
        ),
        ("C11", "GPa", expected["c11"], elastic.c11),
        ("C12", "GPa", expected["c12"], elastic.c12),
        ("C44 (relaxed ions)", "GPa", expected["c44"], elastic.c44),
    ]
    return {
        "rows": [
            {"property": name, "unit": unit, "dft": float(dft), "potential": float(own)}
            for name, unit, dft, own in rows
        ]
    }


def property_table(properties: dict[str, Any]) -> Table:
    """Return the comparison for the terminal."""
    table = Table(title="Diamond silicon", title_justify="left")
    table.add_column("property")
    for name in ("DFT", "potential", "difference"):
        table.add_column(name, justify="right")
    for row in properties["rows"]:
        difference = 100.0 * (row["potential"] - row["dft"]) / row["dft"]
        cells = [f"{row[key]:.4g} {row['unit']}" for key in ("dft", "potential")]
        table.add_row(row["property"], *cells, f"{difference:+.1f} %")
    return table


def summary(run: Run, properties: dict[str, Any]) -> str:
    """Return errors and properties as two Markdown tables."""
    lines = [
        "| RMSE | energy, meV/atom | forces, meV/Å | stress, GPa | structures |",
        "|---|---|---|---|---|",
    ]
    for split, entry in run.evaluation.metrics.splits.items():
        errors = [getattr(entry, key).rmse for key in ("energy", "forces", "stress")]
        cells = ["-" if error is None else f"{error:.3g}" for error in errors]
        lines.append(f"| {split} | {' | '.join(cells)} | {entry.n_structures} |")
    lines += ["", "| diamond silicon | DFT | potential |", "|---|---|---|"]
    for row in properties["rows"]:
        unit = f", {row['unit']}" if row["unit"] else ""
        lines.append(f"| {row['property']}{unit} | {row['dft']:.4g} | {row['potential']:.4g} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train, compare, print."""
    start = time.perf_counter()
    settings = resolve(HERE / "train.yaml")
    if os.environ.get("DEMO_SHORT"):
        training = settings.training.model_copy(update={"epochs": SHORT_EPOCHS})
        settings = settings.model_copy(update={"training": training, "title": f"{settings.title} (short)"})
    console = Console(width=None if Console().is_terminal else 140)
    listener = make_listener(console)
    found: dict[str, Any] = {}

    def properties(potential: Potential) -> dict[str, Any]:
        found.update(compare(potential))
        return found

    try:
        run = ff.train(settings, output="demo", listener=listener, properties=properties)
    finally:
        listener.close()
    console.print(run.evaluation.metrics.table(groups=False))
    console.print(property_table(found))
    write_text(run.folder / "summary.md", summary(run, found))
    console.print(f"Report: {run.folder / 'report.html'} ({time.perf_counter() - start:.0f} s in all)")


if __name__ == "__main__":
    main()
