"""Accuracy on the mlearn silicon and molybdenum sets, with the settings that `forgefield init` suggests.

    python benchmarks/accuracy_mlearn.py DATA [--elements Si Mo] [--output FOLDER]

DATA is a folder with ``mlearn_Si/train.xyz``, ``mlearn_Si/test.xyz`` and the same for Mo (Zuo et al., J. Phys. Chem. A
124 (2020) 731). The settings are read off the training file alone; the test file is read once, after training. The
table sets the errors beside published potentials evaluated on the same test files.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from forgefield.api import train
from forgefield.api.init import suggest
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


def run(element: str, data: Path, output: Path) -> dict[str, object]:
    """Train with the suggested settings and return the test errors."""
    folder = data / f"mlearn_{element}"
    settings = suggest([folder / "train.xyz"])
    start = time.perf_counter()
    result = train(settings, output=output / element)
    minutes = (time.perf_counter() - start) / 60
    test = evaluate(result.potential, read([folder / "test.xyz"])).metrics
    _, entry = test.headline()
    return {
        "element": element,
        "minutes": round(minutes, 2),
        "epochs": len(result.history),
        "mae": {k: entry.of(k).mae for k in KEYS},
        "rmse": {k: entry.of(k).rmse for k in KEYS},
    }


def table(results: list[dict[str, object]]) -> str:
    """Return the comparison as a Markdown table."""
    lines = [
        "| set | potential | E MAE (meV/atom) | F MAE (meV/Å) | S MAE (GPa) |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        element = str(result["element"])
        mae = result["mae"]
        lines.append(
            f"| {element} | **Forgefield, defaults, {result['minutes']} min** | **{mae['energy']:.2f}** "
            f"| **{mae['forces']:.1f}** | **{mae['stress']:.3f}** |"
        )
        for name, (energy, forces, stress) in PUBLISHED[element].items():
            shown = "-" if stress is None else f"{stress:.3f}"
            lines.append(f"| {element} | {name} | {energy:.2f} | {forces:.1f} | {shown} |")
    return "\n".join(lines)


def main() -> None:
    """Parse, run, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--elements", nargs="+", default=["Si", "Mo"], choices=sorted(PUBLISHED))
    parser.add_argument("--output", type=Path, default=Path("run") / "accuracy")
    arguments = parser.parse_args()
    results = [run(e, arguments.data, arguments.output) for e in arguments.elements]
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "accuracy.json").write_text(json.dumps(results, indent=1))
    print(table(results))


if __name__ == "__main__":
    main()
