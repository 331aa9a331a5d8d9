"""The recommendation of the complexity study: the cheapest potential within the limits, written for other programs."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from forgefield.deployment.certificate import FILE_NAME, CertificateError
from forgefield.deployment.engines import EngineError, EngineMissingError
from forgefield.deployment.export import TARGETS, export
from forgefield.deployment.load import load
from forgefield.errors import ConfigError, did_you_mean
from forgefield.files import make_folder, write_text
from forgefield.models.potential import Potential
from forgefield.studies.base import CellResult
from forgefield.studies.summary import Groups, error, grouped, text

__all__ = [
    "NO_EXPORT",
    "Attempt",
    "attempts_of",
    "cost",
    "excesses",
    "export_chosen",
    "recommend",
    "recommendation",
    "ways",
    "with_common_cost",
    "worst",
]

NO_EXPORT = "none"
"""As `export_to`: write no recommendation."""
ORDERS: dict[str, tuple[str, ...]] = {
    "lammps": ("lammps-snap", "lammps-pod", "lammps-mliap", "lammps"),
    "gpumd": ("gpumd",),
    "metatomic": ("metatomic",),
}
"""What is tried first for a program: its own pair styles before compiled code."""
ANY = ("lammps-snap", "lammps-pod", "lammps-mliap", "gpumd", "lammps", "metatomic")
"""What is tried after that."""
USE = {
    "lammps": "`include` the file of the potential in an input script; `in.*` is one that runs",
    "gpumd": "`potential nep.txt` in run.in; the folders beside it are simulations that run",
    "metatomic": "a metatomic model, for all engines that load one",
}


@dataclass(frozen=True)
class Attempt:
    """One way to another program.

    Attributes
    ----------
    target : str
        Of `forgefield.deployment.export.TARGETS`.
    reason : str
        Why nothing was written; empty for the one that was.
    files : tuple of str
        Names in the folder of that name.
    proof : str
        What the certificate says.
    certificate : mapping
        The certificate itself, plain JSON values; empty where nothing was written.
    """

    target: str
    reason: str = ""
    files: tuple[str, ...] = ()
    proof: str = ""
    certificate: Mapping[str, Any] = field(default_factory=dict)


def cost(results: Sequence[CellResult]) -> float:
    """Return the time per atom and step [µs]."""
    return min(float(r.values["microseconds"]) for r in results if "microseconds" in r.values)


def with_common_cost(results: Sequence[CellResult]) -> list[CellResult]:
    """Return the results with the lowest time that was measured for their descriptor and model: one architecture."""
    lowest = {name: cost(group) for name, group in grouped(results, "descriptor", "model").items()}
    return [
        replace(r, values={**r.values, "microseconds": lowest[f"{p['descriptor']}, {p['model']}"]})
        for r in results
        for p in (r.cell.parameters,)
    ]


def worst(errors: Mapping[str, float]) -> float:
    """Return the largest error [%]; infinite where one could not be computed."""
    values = list(errors.values())
    return max(values) if values and all(math.isfinite(v) for v in values) else math.inf


def excesses(
    name: str,
    cases: Groups,
    errors: Mapping[str, Mapping[str, float]],
    transport: Mapping[str, Mapping[str, float]],
    limits: Mapping[str, float | None],
) -> dict[str, float]:
    """Return each error of a case over its limit; all are at most 1 for a case that is good enough.

    Errors of forces and energies are those of validation structures, so that those of test structures are left to report.
    """
    found = {
        key: error(cases[name], "valid", key)[0] / limit
        for key in ("forces", "energy")
        if (limit := limits.get(key)) is not None
    }
    for key, known in (("properties", errors), ("transport", transport)):
        limit = limits.get(key)
        if known and limit is not None:
            found[key] = worst(known.get(name, {})) / limit
    return {key: value if math.isfinite(value) else math.inf for key, value in found.items()}


def recommend(
    cases: Groups,
    errors: Mapping[str, Mapping[str, float]],
    limits: Mapping[str, float | None],
    transport: Mapping[str, Mapping[str, float]] | None = None,
) -> str | None:
    """Return the name of the cheapest case within all limits, or None.

    Parameters
    ----------
    cases : dict of str to list of CellResult
    errors : mapping of case to errors of properties [%]
        Empty where there is no reference.
    limits : mapping
        ``forces`` [meV/Å], ``energy`` [meV/atom], ``properties`` [%], ``transport`` [%]; None for no limit.
    transport : mapping of case to errors [%], optional
        Of the closed loop.
    """
    good = [n for n in cases if max(excesses(n, cases, errors, transport or {}, limits).values()) <= 1.0]
    return min(good, key=lambda name: cost(cases[name]), default=None)


def ways(target: str) -> list[str]:
    """Return the exports to try, in order; `target` is a program or one of `TARGETS`.

    Raises
    ------
    ConfigError
        Neither.
    """
    if target not in ORDERS and target not in TARGETS:
        known = [NO_EXPORT, *dict.fromkeys([*ORDERS, *TARGETS])]
        raise ConfigError(f"`export_to` is {target!r}: {did_you_mean(target, known)}")
    return list(dict.fromkeys([*ORDERS.get(target, (target,)), *ANY]))


def export_chosen(source: Path, target: str, folder: Path, name: str, cases: Groups) -> list[Attempt]:
    """Write the chosen potential, its configuration, the first export that can be proven, and a README.

    Parameters
    ----------
    source : Path
        Folder of the run, with potential.ff and config.yaml.
    target : str
        See `ways`.
    folder : Path
        An earlier recommendation there is replaced.
    name : str
        Of the case.
    cases : dict of str to list of CellResult

    Returns
    -------
    list of Attempt
        The last one succeeded if it has no reason.
    """
    order = ways(target)
    potential = load(source / "potential.ff")
    if not isinstance(potential, Potential):
        raise ConfigError(f"{source / 'potential.ff'} is a committee; only single potentials can be exported")
    if folder.exists():
        shutil.rmtree(folder)
    make_folder(folder)
    for file in ("potential.ff", "config.yaml"):
        if (source / file).exists():
            shutil.copyfile(source / file, folder / file)
    attempts = []
    for way in order:
        attempts.append(_attempt(potential, way, folder / way))
        if not attempts[-1].reason:
            break
    write_text(folder / "README.md", _readme(name, cases[name], attempts))
    return attempts


def _attempt(potential: Potential, way: str, folder: Path) -> Attempt:
    try:
        files = export(potential, way, folder)
    except EngineMissingError as missing:
        return Attempt(way, f"cannot be proven here: {_first(missing)}")
    except (CertificateError, EngineError) as refused:
        return Attempt(way, f"refused: {_first(refused)}")
    except ConfigError as unfit:
        return Attempt(way, f"cannot hold it: {_first(unfit)}")
    names = tuple(sorted(path.name for path in files))
    content = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    return Attempt(way, files=names, proof=_proof(content), certificate=content)


def _first(problem: Exception) -> str:
    return str(problem).splitlines()[0].split(". As it is, it can be exported")[0]


def _proof(content: Mapping[str, Any]) -> str:
    """Return what a certificate says, in one sentence."""
    engine = content["engine"]
    largest = max(entry["relative"] for entry in content["largest_differences"].values())
    return (
        f"{engine['name']} {engine['version']} says the same within {largest:.1e} relative "
        f"(allowed: {content['tolerance']:.0e})"
    )


def recommendation(
    chosen: str | None, attempts: Sequence[Attempt], cases: Groups, limits: Mapping[str, float | None]
) -> dict[str, Any]:
    """Return the recommendation for results.json: limits, case, errors and cost, exports and certificates.

    Parameters
    ----------
    chosen : str or None
        Name of the case.
    attempts : sequence of Attempt
    cases : dict of str to list of CellResult
    limits : mapping
        See `recommend`.
    """
    found: dict[str, Any] = {"case": chosen, "limits": dict(limits)}
    if chosen is not None:
        for key, unit in (("forces", "meV/Å"), ("energy", "meV/atom")):
            mean, spread = error(cases[chosen], "test", key)
            found[f"test_{key}"] = {"rmse": mean, "standard_error": spread, "unit": unit}
        found["microseconds_per_atom"] = cost(cases[chosen])
        found["exports"] = [asdict(attempt) for attempt in attempts]
    return {"recommendation": found}


def attempts_of(known: Mapping[str, Any], chosen: str | None) -> list[Attempt]:
    """Return the exports of a recommendation that was written before, none if it was of another case.

    Parameters
    ----------
    known : mapping
        As `recommendation` returns it.
    chosen : str or None
        Name of the case that is recommended now.
    """
    before = known.get("recommendation", {})
    if chosen is None or before.get("case") != chosen:
        return []
    return [Attempt(**{**one, "files": tuple(one["files"])}) for one in before.get("exports", ())]


def _readme(name: str, results: Sequence[CellResult], attempts: Sequence[Attempt]) -> str:
    lines = [
        f"# {name}",
        "",
        "The cheapest potential of the study within the limits that were given, on validation structures.",
        "",
        (
            f"- Errors on test structures, mean over splits: forces {text(error(results, 'test', 'forces'))} meV/Å, energy "
            f"{text(error(results, 'test', 'energy'))} meV/atom."
        ),
        f"- Cost on the machine of the study, one thread: {cost(results):.3g} µs per atom and step.",
        (
            "- `potential.ff`: the potential itself, trained on the first split. In Python: "
            "`forgefield.load('potential.ff').calculator()`."
        ),
        "- `config.yaml`: its training. Again: `forgefield train config.yaml -o run`.",
    ]
    for attempt in attempts:
        if attempt.reason:
            lines.append(f"- Not as {attempt.target}: {attempt.reason}.")
        else:
            use = USE[attempt.target.split("-")[0]]
            lines.append(
                f"- `{attempt.target}/`: {', '.join(attempt.files)}. {use}. Proof in `{FILE_NAME}`: {attempt.proof}."
            )
    if all(attempt.reason for attempt in attempts):
        lines.append("- No program was found that provably runs it; `forgefield export` writes files later.")
    return "\n".join(lines) + "\n"
