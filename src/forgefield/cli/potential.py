"""``forgefield evaluate`` and ``info``: what a potential is and how good it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from forgefield.cli.cache import show_cache
from forgefield.cli.guard import guarded, print_json, stdout
from forgefield.errors import ConfigError

__all__ = ["evaluate", "info"]


@guarded
def evaluate(
    potential: Path = typer.Argument(..., help="File of a potential (potential.ff)."),
    data: list[Path] = typer.Argument(..., help="Labelled structures: files, folders, patterns."),
    *,
    json: Path | None = typer.Option(
        None, "--json", metavar="FILE", help="Write the errors as JSON; - prints them and nothing else."
    ),
    split: str | None = typer.Option(None, "--split", help="Only structures of this set, e.g. test."),
    stress_convention: str = typer.Option(
        "auto", "--stress-convention", help="auto, detect, trust, or a convention, as data.stress_convention."
    ),
    groups: bool = typer.Option(True, "--groups/--no-groups", help="Show every group."),
    uncertainty: Path | None = typer.Option(
        None,
        "--uncertainty",
        metavar="DIR",
        help="Write spread or extrapolation grade of every atom and how they compare with the true errors.",
    ),
    train: list[Path] = typer.Option(
        [], "--train", help="With --uncertainty: the training data, for the spread by the last layer."
    ),
) -> None:
    """Compare a potential with labelled structures: MAE, RMSE, largest error."""
    from forgefield import api
    from forgefield.api.evaluate import read_labelled
    from forgefield.data import read
    from forgefield.deployment.load import load
    from forgefield.errors import DataError
    from forgefield.files import write_json

    loaded = load(potential)
    frames, warning = read_labelled(data, stress_convention)
    if warning:
        typer.secho(f"WARNING: {warning}", fg=typer.colors.YELLOW, err=True)
    if split is not None:
        found = sorted({str(a.info.get("split", "none")) for a in frames})
        frames = [a for a in frames if a.info.get("split") == split]
        if not frames:
            raise DataError(f"no structure belongs to the set {split!r}; sets found: {', '.join(found)}")
    known = read([str(path) for path in train]) if train else None
    judged = None if uncertainty is None else api.uncertainty(loaded, frames, train=known)
    metrics = api.evaluate(loaded, frames) if judged is None else judged.evaluation.metrics
    content = metrics.to_dict() | ({} if judged is None else {"uncertainty": judged.to_dict()})
    written = [] if judged is None or uncertainty is None else judged.write(uncertainty)
    if json is not None and str(json) == "-":
        print_json(content)
        return
    if json is not None:
        write_json(json, content)
    stdout().print(metrics.table(groups=groups))
    for name, item in judged.calibrations.items() if judged is not None else ():
        stdout().print(
            f"{name}: rank correlation with the force errors {item.correlation:.2f}, scale {item.scale:.3g}"
        )
    for path in written:
        stdout().print(f"wrote {path}", soft_wrap=True)


@guarded
def info(
    potential: Path | None = typer.Argument(None, help="File of a potential (potential.ff)."),
    json: bool = typer.Option(False, "--json", help="Print everything the file says of itself as JSON."),
    verify: bool = typer.Option(True, "--verify/--no-verify", help="Recompute the stored self-test."),
    cache: bool = typer.Option(False, "--cache", help="Show the compiled kernels kept on disk instead."),
    clear_cache: bool = typer.Option(False, "--clear-cache", help="Remove them."),
) -> None:
    """Show what a potential is, where it comes from and how good it is; or what is in the cache of kernels."""
    if cache or clear_cache:
        if potential is not None:
            raise ConfigError(f"the cache holds kernels of all potentials; leave {potential} out")
        show_cache(clear=clear_cache, json=json)
        return
    if potential is None:
        raise ConfigError("name the file of a potential, or ask for --cache")
    from forgefield.deployment.load import describe, load

    about = describe(potential)
    if verify:
        load(potential)
    about["verified"] = verify
    if json:
        print_json(about)
        return
    from forgefield.cli.show import facts_table

    console = stdout()
    console.print(facts_table("", _facts(about)))
    metrics = about["provenance"]["metrics"]
    if metrics:
        from forgefield.evaluation import MetricsTable

        console.print(MetricsTable.from_dict(metrics).table(groups=False))


def _facts(about: dict[str, Any]) -> dict[str, str]:
    def settings(values: dict[str, Any]) -> str:
        rest = ", ".join(f"{k} {v}" for k, v in values.items() if k != "kind")
        return f"{values['kind']} ({rest})" if rest else str(values["kind"])

    provenance = about["provenance"]
    notes = provenance["notes"]
    facts = {
        "title": notes.get("title") or "-",
        "elements": ", ".join(about["species"]),
        "descriptor": settings(about["descriptor"]),
        "model": settings(about["model"]),
        "cutoffs": ", ".join(f"{c:g} Å" for c in about["cutoffs"]),
        "features, parameters": f"{about['n_features']}, {about['n_parameters']}",
        "number type": about["dtype"],
        "reference energies": ", ".join(f"{e} {r:.6f} eV" for e, r in about["references"].items()),
        "training data": provenance["data_hash"] or "-",
        "written by": f"forgefield {about['package_version']}, format {about['version']}",
        "size": f"{about['bytes'] / 1000:.0f} kB",
    }
    if "members" in about:
        facts["committee"] = f"{len(about['members'])} members; descriptor and model are those of the first"
    if "last_layer" in about:
        units = {"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/Å^3"}
        noise = ", ".join(f"{k} {v:.3g} {units[k]}" for k, v in about["last_layer"]["noise"].items())
        facts["uncertainty"] = f"posterior of the last layer; labels scatter by {noise}"
    if about["verified"]:
        facts["self-test"] = "passed"
    return facts
