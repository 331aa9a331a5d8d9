"""What committee, last layer and extrapolation grade say of errors, on the bundled silicon set; `docs/uncertainty.md`.

Usage: python benchmarks/uncertainty.py [--work FOLDER] [--short]

Trains the committee that `forgefield init --quality best` suggests for the bundled file (training and validation structures of
its own split), then asks of the untouched test structures: errors of members and mean, order and size of the spreads, the
same for the last layer of the first member and for the extrapolation grade; grades of perturbed crystals; and the spread
while a crystal is heated until it melts. With `--work` trained potentials are kept and found again. About two minutes of one
core.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.md.langevin import Langevin
from machine import machine

import forgefield as ff
from forgefield import api, datasets
from forgefield.api.init import suggest
from forgefield.engine.predictor import fastest
from forgefield.evaluation import evaluate
from forgefield.models.committee import Committee
from forgefield.models.extrapolation import Grader
from forgefield.models.potential import Potential
from forgefield.parallel import set_num_threads
from forgefield.training.maxvol import fit_extrapolation

RESULTS = Path(__file__).parent / "results" / "uncertainty.json"
PROPERTIES = ("energy", "forces", "stress")
SCALED, DISPLACED = (0.95, 0.90, 0.85), (0.3, 0.5)
TEMPERATURE = 2500.0
TIMES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""When the spread is read [ps]."""
STEP = 2.0
"""Of the simulation [fs]."""


def committee(folder: Path, *, short: bool) -> Committee:
    """Return the committee that is suggested for the bundled file, trained unless it lies in the folder."""
    path = folder / "run" / "potential.ff"
    if not path.exists():
        settings = suggest(str(datasets.path()), quality="best")
        config = settings.model_dump(mode="json") | {"threads": 1}
        if short:
            config["training"]["epochs"] = 3
        ff.train(config, output=folder / "run")
    found = ff.load(path)
    assert isinstance(found, Committee)
    return found


def mean_errors(potential: Potential | Committee, frames: Sequence[Atoms]) -> list[float]:
    """Return mean absolute errors of energy [meV/atom], forces [meV/Å] and stress [GPa]."""
    entry = evaluate(fastest(potential) or potential, frames).metrics.entry()
    return [float(entry.of(key).mae or 0.0) for key in PROPERTIES]


def calibration(found: api.Uncertainty, name: str) -> dict[str, float]:
    """Return rank correlation, factor to multiply with, and how far ten bins are off after that."""
    c = found.calibrations[name]
    return {
        "correlation": c.correlation,
        "scale": c.scale,
        "miscalibration": c.miscalibration,
        "n": len(c.error),
    }


def perturbed(seed: int = 0) -> dict[str, Atoms]:
    """Return crystals of 216 atoms, compressed or with displaced atoms."""
    crystal, found = bulk("Si", cubic=True).repeat(3), {}
    for factor in SCALED:
        atoms = crystal.copy()
        atoms.set_cell(factor * crystal.cell.array, scale_atoms=True)
        found[f"scaled by {factor:g}"] = atoms
    rng = np.random.default_rng(seed)
    for size in DISPLACED:
        atoms = crystal.copy()
        atoms.positions += rng.normal(scale=size, size=atoms.positions.shape)
        found[f"displaced by {size:g} Å"] = atoms
    return found


def heated(potential: Committee, seed: int = 0) -> dict[str, list[float]]:
    """Return temperature [K] and largest spread of a force [eV/Å] while a crystal is heated."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Si", cubic=True).repeat(3)
    atoms.calc = potential.calculator(dtype="float32", threads=1)
    widths = np.sqrt(
        2.0 * TEMPERATURE * units.kB * atoms.get_masses()
    )  # half of it goes into the potential energy
    atoms.set_momenta(rng.normal(size=(len(atoms), 3)) * widths[:, None])
    dynamics = Langevin(
        atoms, STEP * units.fs, temperature_K=TEMPERATURE, friction=0.02 / units.fs, fixcm=False, rng=rng
    )
    spreads, temperatures, last = list[float](), list[float](), 0.0
    for t in TIMES:
        dynamics.run(round((t - last) * 1000.0 / STEP))
        last = t
        spreads.append(float(atoms.calc.get_property("forces_spread", atoms).max()))
        temperatures.append(float(atoms.get_temperature()))
    return {"times": list(TIMES), "spreads": spreads, "temperatures": temperatures}


def measure(work: Path, *, short: bool) -> dict[str, Any]:
    """Return all numbers."""
    start = time.process_time()
    both = committee(work, short=short)
    seconds = {"training": time.process_time() - start}
    train, test = (datasets.load("silicon", split) for split in ("train", "test"))
    first = both.members[0]
    result: dict[str, Any] = {
        "structures": [len(train), len(test)],
        "atoms": [sum(map(len, x)) for x in (train, test)],
    }
    result["members"] = [mean_errors(m, test) for m in both.members]
    result["committee"] = mean_errors(both, test)
    start = time.process_time()
    first.extrapolation = fit_extrapolation(first, train)
    seconds["MaxVol"] = time.process_time() - start
    result["matrix"] = sum(8 * m.numel() for m in first.extrapolation.matrices)
    spread = api.uncertainty(both, test)
    start = time.process_time()
    layer = api.uncertainty(first, test, train=train)
    seconds["last layer"] = time.process_time() - start
    result["calibration"] = {
        "committee": calibration(spread, "forces_spread"),
        "last layer": calibration(layer, "last_layer_spread"),
        "grade": calibration(layer, "extrapolation"),
    }
    result["outside"] = outside(layer)
    grader = Grader(first)
    result["grades"] = {name: float(grader.grades(a).max()) for name, a in perturbed().items()}
    start = time.process_time()
    result["heated"] = heated(both)
    seconds["heated"] = time.process_time() - start
    return result | {"seconds": seconds}


def outside(found: api.Uncertainty) -> dict[str, float]:
    """Return how many test atoms have a grade above 1, and their force errors in units of the mean error."""
    c = found.calibrations["extrapolation"]
    beyond = c.uncertainty > 1.0
    error = float(c.error[beyond].mean() / c.error.mean()) if beyond.any() else 0.0
    return {"atoms": int(beyond.sum()), "of": len(c.error), "error": error}


def table(r: dict[str, Any]) -> str:
    """Return the numbers as Markdown."""

    def row(name: str, values: Sequence[float]) -> str:
        return f"| {name} | {values[0]:.2f} | {values[1]:.1f} | {values[2]:.3f} |"

    mean = np.mean(r["members"], axis=0)
    gain = 100.0 * (1.0 - np.array(r["committee"]) / mean)
    heated_, seconds = r["heated"], r["seconds"]
    lines = [
        "# Uncertainty",
        "",
        (
            f"Bundled silicon, suggested committee; {r['structures'][1]} test structures of {r['atoms'][1]} atoms. Mean absolute "
            "errors:"
        ),
        "",
        "| | energy [meV/atom] | forces [meV/Å] | stress [GPa] |",
        "|---|---|---|---|",
        *(row(f"member {n + 1}", values) for n, values in enumerate(r["members"])),
        row("mean of the members' errors", mean.tolist()),
        row("committee", r["committee"]),
        f"| lower by | {gain[0]:.0f} % | {gain[1]:.0f} % | {gain[2]:.0f} % |",
        "",
        "Against the true force errors of the atoms:",
        "",
        "| | rank correlation | errors over what is said | ten bins off by, once scaled |",
        "|---|---|---|---|",
    ]
    for name, c in r["calibration"].items():
        lines.append(f"| {name} | {c['correlation']:.2f} | {c['scale']:.3g} | {c['miscalibration']:.2f} |")
    out = r["outside"]
    lines += [
        "",
        f"- Test atoms with a grade above 1: {out['atoms']} of {out['of']}, force errors {out['error']:.2g} times the mean.",
        "",
        "Largest grade of perturbed crystals of 216 atoms:",
        "",
        f"| {' | '.join(r['grades'])} |",
        f"|{'---|' * len(r['grades'])}",
        f"| {' | '.join(f'{g:.3g}' for g in r['grades'].values())} |",
        "",
        f"A crystal of 216 atoms heated to {TEMPERATURE:.0f} K by the committee:",
        "",
        f"| time [ps] | {' | '.join(f'{t:g}' for t in heated_['times'])} |",
        f"|---|{'---|' * len(heated_['times'])}",
        f"| largest spread [eV/Å] | {' | '.join(f'{x:.2f}' for x in heated_['spreads'])} |",
        f"| temperature [K] | {' | '.join(f'{x:.0f}' for x in heated_['temperatures'])} |",
        "",
        (
            f"- Seconds of processor time: {', '.join(f'{k} {v:.1f}' for k, v in seconds.items())}; matrix of the grade "
            f"{r['matrix'] / 1000:.0f} kB"
        ),
        f"- {time.strftime('%Y-%m-%d')}; {machine()['cpu']}",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, help="where trained potentials are kept")
    parser.add_argument("--short", action="store_true", help="three epochs; nothing is written")
    given = parser.parse_args()
    torch.set_num_threads(1)
    set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        found = measure(given.work or Path(name), short=given.short)
    text = table(found)
    print(text)
    if not given.short:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        RESULTS.with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
