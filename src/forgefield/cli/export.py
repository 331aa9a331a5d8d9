"""``forgefield export``: a potential for another program."""

from __future__ import annotations

import json as json_module
import warnings
from pathlib import Path

import typer

from forgefield.cli.guard import guarded, print_json, stdout

__all__ = ["export"]


@guarded
def export(
    potential: Path = typer.Argument(
        ..., help="File of a potential (potential.ff, nep.txt, .snapcoeff, ...)."
    ),
    to: str = typer.Option(
        ...,
        "--to",
        help="The program: gpumd, lammps (any potential), lammps-float32, lammps-snap, lammps-mliap, lammps-pod, metatomic.",
    ),
    output: Path = typer.Option(Path(), "-o", "--output", help="Folder to write into."),
    verify: bool = typer.Option(
        True, "--verify/--no-verify", help="Let the program itself prove the files, or trust them unproven."
    ),
    structure: Path | None = typer.Option(
        None, "--structure", help="What the input scripts are about, any format ASE reads; the last frame."
    ),
    json: bool = typer.Option(False, "--json", help="Print the names of the files as JSON and nothing else."),
) -> None:
    """Write the files with which another program runs a potential, an input script and a certificate.

    The program itself evaluates several structures with the files; only where it says what the potential says is
    anything written.
    """
    from forgefield.cli.structures import read_structure
    from forgefield.deployment.export import UnverifiedExportWarning
    from forgefield.deployment.export import export as write
    from forgefield.deployment.load import load

    loaded = load(potential)
    atoms = None if structure is None else read_structure(structure, (1, 1, 1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnverifiedExportWarning)
        files = write(loaded, to, output, verify=verify, structure=atoms)
    for warning in caught:
        typer.secho(f"WARNING: {warning.message}", fg=typer.colors.RED, bold=True, err=True)
    if json:
        print_json({"files": [str(path) for path in files], "verified": verify})
        return
    for path in files:
        stdout().print(f"wrote {path}", soft_wrap=True)
    if verify:
        certificate = json_module.loads(files[-1].read_text(encoding="utf-8"))
        worst = max(certificate["largest_differences"].values(), key=lambda d: float(d["relative"]))
        engine = certificate["engine"]
        stdout().print(
            f"verified with {engine['name']} {engine['version']} on {len(certificate['structures'])} structures: "
            f"largest relative difference {worst['relative']:.1e}, allowed {certificate['tolerance']:.0e}",
            soft_wrap=True,
        )
