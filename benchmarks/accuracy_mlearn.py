"""Accuracy on the mlearn silicon and molybdenum sets, with the settings that `forgefield init` suggests.

    python benchmarks/accuracy_mlearn.py DATA [--elements Si Mo] [--qualities standard best] [--seeds 0 ...]
        [--output FOLDER]

DATA is a folder with ``mlearn_Si/train.xyz``, ``mlearn_Si/test.xyz`` and the same for Mo (Zuo et al., J. Phys. Chem. A
124 (2020) 731). The settings are read off the training file alone; the test file is read once, after training. The
table sets the errors beside published potentials evaluated on the same test files; a second one has the spread over
seeds, where there are some besides 0, the one of `init` (members of a committee take four in a row). How the settings were chosen:
``recipe_selection.py``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from itertools import product
from pathlib import Path
from typing import Any

from common import RESULTS

from forgefield.api import train
from forgefield.api.init import suggest
from forgefield.api.recipe import QUALITIES
from forgefield.data import read
from forgefield.evaluation import evaluate

PUBLISHED = {
    "Si": {
        "SNAP": (6.44, 132.7, None),
        "qSNAP": (3.81, 115.7, None),
        "NNP (ACSF)": (5.63, 108.6, None),
        "TorchNEP 1.0.7, 200 epochs": (3.2, 66.0, 0.149),
        "MTP": (2.31, 56.0, 0.231),
    },
    "Mo": {
        "SNAP": (5.49, 206.5, None),
        "qSNAP": (2.77, 183.8, None),
        "NNP (ACSF)": (3.65, 125.1, None),
        "TorchNEP 1.0.7, 200 epochs": (4.4, 107.0, 0.298),
        "MTP": (2.94, 90.1, 0.51),
    },
}
"""Test MAE of others: meV/atom, meV/Å, GPa; None where not measured."""

KEYS = ("energy", "forces", "stress")


def run(element: str, quality: str, seed: int, data: Path, output: Path) -> dict[str, Any]:
    """Train with the suggested settings, from a seed, and return the test errors."""
    folder = data / f"mlearn_{element}"
    settings = suggest([folder / "train.xyz"], quality=quality)
    settings = settings.model_copy(update={"seed": settings.seed + seed})
    start, cpu = time.perf_counter(), time.process_time()
    result = train(settings, output=output / f"{element}_{quality}_{seed}")
    minutes, used = (time.perf_counter() - start) / 60, (time.process_time() - cpu) / 60
    test = evaluate(result.potential, read([folder / "test.xyz"])).metrics
    _, entry = test.headline()
    return {
        "element": element,
        "quality": quality,
        "seed": seed,
        "members": 1 if settings.committee is None else settings.committee.members,
        "minutes": round(minutes, 2),
        "cpu_minutes": round(used, 2),
        "epochs": len(result.history),
        "mae": {k: entry.of(k).mae for k in KEYS},
        "rmse": {k: entry.of(k).rmse for k in KEYS},
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return the comparison as a Markdown table."""
    lines = [
        "| set | potential | E MAE (meV/atom) | F MAE (meV/Å) | S MAE (GPa) | CPU (min) |",
        "|---|---|---|---|---|---|",
    ]
    for element in dict.fromkeys(r["element"] for r in results):
        for r in [r for r in results if r["element"] == element and r.get("seed", 0) == 0]:
            mae, what = r["mae"], r["quality"] + (f", {r['members']} members" if r["members"] > 1 else "")
            lines.append(
                f"| {element} | **Forgefield, {what}** | **{mae['energy']:.2f}** | **{mae['forces']:.1f}** | "
                f"**{mae['stress']:.3f}** | {r['cpu_minutes']:.1f} |"
            )
        for name, (energy, forces, stress) in PUBLISHED[element].items():
            shown = "-" if stress is None else f"{stress:.3f}"
            lines.append(f"| {element} | {name} | {energy:.2f} | {forces:.1f} | {shown} | |")
    return "\n".join(lines)


def spread(results: list[dict[str, Any]]) -> str:
    """Return mean and standard deviation over seeds as a Markdown table; empty where there is one seed each."""
    lines = []
    for element, quality in dict.fromkeys((r["element"], r["quality"]) for r in results):
        of = [r for r in results if (r["element"], r["quality"]) == (element, quality)]
        if len(of) < 2:
            continue
        cells = []
        for kind in ("mae", "rmse"):
            for key, digits in zip(KEYS, (2, 1, 3), strict=True):
                values = [r[kind][key] for r in of]
                mean, deviation = statistics.mean(values), statistics.stdev(values)
                cells.append(f"{mean:.{digits}f} ± {deviation:.{digits}f}")
        lines.append(f"| {element} | {quality} | {len(of)} | {' | '.join(cells)} |")
    if not lines:
        return ""
    head = (
        "\n\nMean and standard deviation over seeds (meV/atom, meV/Å, GPa):\n\n"
        "| set | recipe | seeds | E MAE | F MAE | S MAE | E RMSE | F RMSE | S RMSE |\n|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(lines)


def main() -> None:
    """Parse, run, print and save after every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--elements", nargs="+", default=["Si", "Mo"], choices=sorted(PUBLISHED))
    parser.add_argument("--qualities", nargs="+", default=["standard", "best"], choices=QUALITIES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--output", type=Path, default=Path("run") / "accuracy")
    arguments = parser.parse_args()
    file = RESULTS / "accuracy_mlearn.json"
    results: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    results = [{"seed": 0} | r for r in results]
    for seed, quality, element in product(arguments.seeds, arguments.qualities, arguments.elements):
        row = run(element, quality, seed, arguments.data, arguments.output)
        key = ("element", "quality", "seed")
        results = [r for r in results if any(r[k] != row[k] for k in key)] + [row]
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        text = f"# Accuracy on mlearn\n\n{table(results)}{spread(results)}\n"
        file.with_suffix(".md").write_text(text, encoding="utf-8")
    print(table(results) + spread(results))


if __name__ == "__main__":
    main()
