"""What ``forgefield inspect`` prints."""

from __future__ import annotations

import shlex

import numpy as np
from rich.console import Console
from rich.table import Table

from forgefield.api.inspect import Inspection
from forgefield.api.survey import BIN, FARTHEST, Survey
from forgefield.cli.show import facts_table, print_findings
from forgefield.units import MILLI

__all__ = ["print_inspection", "sparkline"]

BLOCKS = " ▁▂▃▄▅▆▇█"
MAX_COMPOSITIONS = 6
CUTOFFS = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0)


def print_inspection(console: Console, found: Inspection) -> None:
    """Print labels, numbers, distances and findings, and the command that comes next."""
    console.print(found.audit.table())
    console.print(facts_table("Structures", _facts(found.survey)))
    console.print()
    _print_distances(console, found.survey)
    console.print()
    if found.conventions is not None:
        console.print(found.conventions.table())
    print_findings(console, found.findings)
    if not found.findings:
        console.print("[green]Nothing suspicious found.[/]")
    command = ["forgefield", "init", *found.paths, "-o", "train.yaml"]
    console.print(f"\nNext: {shlex.join(command)}", markup=False)


def _facts(survey: Survey) -> dict[str, str]:
    shown = list(survey.compositions.items())[:MAX_COMPOSITIONS]
    more = len(survey.compositions) - len(shown)
    compositions = ", ".join(f"{name} ({count})" for name, count in shown) + (
        f", {more} more" if more else ""
    )
    facts = {
        "structures": f"{survey.n_structures} with {survey.smallest} to {survey.largest} atoms, {survey.n_atoms} in all",
        "periodic in 3 directions": f"{survey.n_periodic}",
        "elements": ", ".join(f"{name} ({count} atoms)" for name, count in survey.atoms_of.items()),
        "compositions": compositions,
    }
    if survey.energy_range is not None:
        low, high = survey.energy_range
        facts["energy"] = f"{low:.4f} to {high:.4f} eV/atom, a range of {(high - low) * MILLI:.0f} meV/atom"
    if survey.force_rms is not None:
        facts["forces"] = f"RMS {survey.force_rms:.3f} eV/Å, largest component {survey.force_max:.3f} eV/Å"
    if survey.pressure_range is not None:
        low, high = survey.pressure_range
        facts["pressure"] = f"{low:.2f} to {high:.2f} GPa (positive when compressed)"
    return facts


def _print_distances(console: Console, survey: Survey) -> None:
    if survey.nearest is not None:
        peak = survey.first_peak
        first = "" if peak is None else f"; first peak of the RDF at {peak:.2f} Å"
        console.print(
            f"Smallest distance: {survey.nearest:.3f} Å in {survey.nearest_name}{first}", markup=False
        )
    if survey.rdf.any():
        console.print(f"RDF, 0 to {FARTHEST:g} Å in steps of {BIN:g} Å (highest {survey.rdf.max():.1f}):")
        console.print(f"  |{sparkline(survey.rdf)}|", markup=False)
        marks = "".join(f"{k:<{round(1 / BIN)}}" for k in range(round(FARTHEST)))
        console.print(f"   {marks}{FARTHEST:g}", markup=False)
    table = Table(show_header=False, box=None, pad_edge=False)
    for _ in range(len(CUTOFFS) + 1):
        table.add_column(justify="right")
    table.add_row("cutoff [Å]", *(f"{c:g}" for c in CUTOFFS))
    table.add_row("mean neighbours", *(f"{survey.neighbours(c):.1f}" for c in CUTOFFS))
    console.print(table)


def sparkline(values: np.ndarray) -> str:
    """Return one character per value, as high as the value."""
    top = float(values.max()) or 1.0
    levels = np.ceil(np.clip(values / top, 0.0, 1.0) * (len(BLOCKS) - 1)).astype(int)
    return "".join(BLOCKS[level] for level in levels)
