"""Which recipe of training is recommended: candidates compared on structures held out of the training files.

    python benchmarks/recipe_selection.py run DATA [--sets Si Mo ...] [--candidates ...] [--seeds 0 1]
    python benchmarks/recipe_selection.py table

Protocol. Only training files are read (of the bundled silicon set the structures not marked as test; of NbMoTaW every
tenth structure of its training file). A fifth of the structures, the same for all candidates and stratified by group, is
held out; the rest is what a user would have: `forgefield init` suggests the descriptor, `train` splits off its own small
validation part to choose the epoch, and the errors on the fifth held out judge the candidate. Its score on a set is the
mean over energy, forces and stress of the logarithm of MAE and of RMSE, less that of the candidate `adamw`, and the
recommended recipe is the one with the lowest mean score; test files are opened once, by `accuracy_mlearn.py`, after that.

Every run leaves its predictions, so that committees of members that differ by the seed cost nothing more. All
candidates that were tried stay in ``results/recipe_selection.json``, whatever became of them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ase import Atoms
from ase.io import write
from common import RESULTS

from forgefield.api import train
from forgefield.api.init import suggest
from forgefield.config import apply_overrides
from forgefield.data import get_energy, get_forces, get_stress, read
from forgefield.datasets import path
from forgefield.engine.predictor import fastest
from forgefield.errors import TrainingError
from forgefield.training.settings import RunSettings
from forgefield.units import EV_PER_A3_TO_GPA, MILLI

HELD_OUT = 0.2
KEYS = ("energy", "forces", "stress")
EVERY_NBMOTAW = 10
ADAMW_STEPS = 16_000
STEPS = "steps="
"""Prefix of a number of steps, which gives the epochs: at least 16."""
KALMAN = ["training={kind: kalman}", "weights.early={}", "loss.energy=1"]
ONE = [*KALMAN, "training.blocks=all", "training.block_size=4096"]
SIX = [*ONE, "model.hidden=[24]", "descriptor.l_max=6"]
QUALITY = "quality="
"""Prefix of what `forgefield init` suggests as a whole, length included."""
CANDIDATES: dict[str, list[str]] = {
    "adamw": [],
    "kalman-1024": KALMAN,
    "kalman-one": ONE,
    "one, average 0.995": [*ONE, "training.average=0.995"],
    "one, average 0.998": [*ONE, "training.average=0.998"],
    "one, mean of the last half": [*ONE, "training.swa_start=0.5"],
    "one, 8 epochs": [*ONE, "training.epochs=8"],
    "one, 10 epochs, average 0.995": [*ONE, "training.epochs=10", "training.average=0.995"],
    "one, 32 epochs, average 0.995": [*ONE, "training.epochs=32", "training.average=0.995"],
    "one, 2 a step": [*ONE, "training.batch_size=2", "training.average=0.99"],
    "one, 8 a step": [*ONE, "training.batch_size=8", "training.average=0.96"],
    "one, 12 probes": [*ONE, "training.probes=12"],
    "one, variance 0.1": [*ONE, "training.variance=0.1"],
    "one, variance 0.01": [*ONE, "training.variance=0.01"],
    "one, memory 0.9995": [*ONE, "training.forget_memory=0.9995"],
    "one, memory 0.995": [*ONE, "training.forget_memory=0.995"],
    "one, no forgetting": [*ONE, "training.forget=1"],
    "one, no forgetting, variance 0.1": [*ONE, "training.forget=1", "training.variance=0.1"],
    "one, energy 3": [*ONE, "loss.energy=3"],
    "one, energy 0.3": [*ONE, "loss.energy=0.3"],
    "one, 24 neurons": [*ONE, "model.hidden=[24]"],
    "one, 30 neurons": [*ONE, "model.hidden=[30]"],
    "one, 60 neurons": [*ONE, "model.hidden=[60]", "training.block_size=8192"],
    "one, cutoff 5.5": [*ONE, "descriptor.cutoff_radial=5.5", "descriptor.cutoff_angular=5.5"],
    "one, l_max 6": [*ONE, "descriptor.l_max=6"],
    "one, 12 functions": [*ONE, "descriptor.basis_size_radial=12", "descriptor.basis_size_angular=12"],
    "one, fixed weights": [*ONE, "weights={kind: fixed}"],
    "one, 12 neurons": [*ONE, "model.hidden=[12]"],
    "one, 16 neurons": [*ONE, "model.hidden=[16]"],
    "one, 20 neurons": [*ONE, "model.hidden=[20]"],
    "one, 24 neurons, 2 probes": [*ONE, "model.hidden=[24]", "training.probes=2"],
    "one, 24 neurons, memory 0.995": [*ONE, "model.hidden=[24]", "training.forget_memory=0.995"],
    "one, 24 neurons, memory 0.9995": [*ONE, "model.hidden=[24]", "training.forget_memory=0.9995"],
    "one, 24 neurons, 32 epochs": [*ONE, "model.hidden=[24]", "training.epochs=32"],
    "one, 24 neurons, energy 3": [*ONE, "model.hidden=[24]", "loss.energy=3"],
    "one, 24 neurons, l_max 6": [*ONE, "model.hidden=[24]", "descriptor.l_max=6"],
    "one, 24 neurons, l_max 6, energy 3": [
        *ONE,
        "model.hidden=[24]",
        "descriptor.l_max=6",
        "loss.energy=3",
    ],
    "one, 24 neurons, l_max 6, 32 epochs": [*SIX, "training.epochs=32"],
    "one, 24 neurons, l_max 6, 48 epochs": [*SIX, "training.epochs=48"],
    "one, 24 neurons, l_max 6, 32 epochs, energy 2": [*SIX, "training.epochs=32", "loss.energy=2"],
    "one, 24 neurons, l_max 6, 32 epochs, memory 0.995": [
        *SIX,
        "training.epochs=32",
        "training.forget_memory=0.995",
    ],
    "one, 24 neurons, l_max 6, 32 epochs, memory 0.9995": [
        *SIX,
        "training.epochs=32",
        "training.forget_memory=0.9995",
    ],
    "standard": ["quality=standard"],
    "one, 24 neurons, 12 functions": [
        *ONE,
        "model.hidden=[24]",
        "descriptor.basis_size_radial=12",
        "descriptor.basis_size_angular=12",
    ],
    "one, 24 neurons, 5 channels": [*ONE, "model.hidden=[24]", "descriptor.n_max_angular=5"],
    "one, 24 neurons, cutoff 5.5": [
        *ONE,
        "model.hidden=[24]",
        "descriptor.cutoff_radial=5.5",
        "descriptor.cutoff_angular=5.5",
    ],
    "one, 24 neurons, 800 steps": [*ONE, "model.hidden=[24]", "steps=800"],
    "one, 24 neurons, 800 steps, energy 0.3": [*ONE, "model.hidden=[24]", "loss.energy=0.3", "steps=800"],
    "one, 12 neurons, 800 steps": [*ONE, "model.hidden=[12]", "steps=800"],
    "one, 24 neurons, 800 steps, variance 0.1": [
        *ONE,
        "model.hidden=[24]",
        "training.variance=0.1",
        "steps=800",
    ],
    "one, 24 neurons, 800 steps, memory 0.9995": [
        *ONE,
        "model.hidden=[24]",
        "training.forget_memory=0.9995",
        "steps=800",
    ],
    "one, 24 neurons, 1600 steps": [*ONE, "model.hidden=[24]", "steps=1600"],
    "one, 40 neurons, 800 steps": [*ONE, "steps=800"],
    "1024, 24 neurons, 800 steps": [*KALMAN, "model.hidden=[24]", "steps=800"],
    "1024, 24 neurons": [*KALMAN, "model.hidden=[24]"],
}
"""Overrides of what `forgefield init` suggests."""


def structures(name: str, data: Path) -> list[Atoms]:
    """Return what may be trained on."""
    if name == "bundled":
        return [a for a in read([path()]) if a.info.get("split") != "test"]
    if name == "NbMoTaW":
        return read([data / "NbMoTaW" / "train.xyz.xz"])[::EVERY_NBMOTAW]
    if name == "PbTe":
        return read([data / "PbTe" / "PbTe.xyz"])
    return read([data / f"mlearn_{name}" / "train.xyz"])


def held_out(frames: Sequence[Atoms], seed: int = 7) -> list[int]:
    """Return a fifth of the structures of every group, the same at every call."""
    rng = np.random.default_rng(seed)
    groups: dict[str, list[int]] = {}
    for n, atoms in enumerate(frames):
        groups.setdefault(str(atoms.info.get("config_type", "")), []).append(n)
    found: list[int] = []
    for members in groups.values():
        found += rng.permutation(members)[: round(HELD_OUT * len(members))].tolist()
    return sorted(found)


def labels(frames: Sequence[Atoms]) -> list[dict[str, Any]]:
    """Return energies per atom, forces and stresses, None where there are none."""
    rows = []
    for a in frames:
        e, f, s = get_energy(a), get_forces(a), get_stress(a)
        rows.append({"energy": None if e is None else e / len(a), "forces": f, "stress": s})
    return rows


def errors(found: Sequence[dict[str, Any]], true: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return MAE and RMSE in meV/atom, meV/Å and GPa."""
    result = {}
    for key, unit in zip(KEYS, (MILLI, MILLI, EV_PER_A3_TO_GPA), strict=True):
        d = [np.ravel(p[key] - t[key]) for p, t in zip(found, true, strict=True) if t[key] is not None]
        if d:
            x = np.concatenate(d) * unit
            result[f"{key}_mae"] = float(np.abs(x).mean())
            result[f"{key}_rmse"] = float(np.sqrt((x**2).mean()))
    return result


def mean(members: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the mean prediction of several potentials."""
    return [
        {k: np.mean([row[k] for row in rows], axis=0) for k in KEYS} for rows in zip(*members, strict=True)
    ]


def settings_of(fit: Path, candidate: str, seed: int) -> RunSettings:
    """Return the settings of a candidate: descriptor and step size as suggested, AdamW of 16 000 steps to begin with."""
    changes = CANDIDATES[candidate]
    if changes and changes[0].startswith(QUALITY):
        values = suggest([fit], quality=changes[0].removeprefix(QUALITY)).model_dump(mode="json")
        return RunSettings.parse(apply_overrides(values, [f"seed={seed}", *changes[1:]]))
    values = suggest([fit], quality="fast").model_dump(mode="json")
    how, n_train = values["training"], len(read([fit])) * (1.0 - values["data"]["split"]["valid"])
    how["epochs"] = min(max(round(ADAMW_STEPS / math.ceil(n_train / how["batch_size"])), 30), 1000)
    steps = [int(c.removeprefix(STEPS)) for c in changes if c.startswith(STEPS)]
    changes = [c for c in changes if not c.startswith(STEPS)]
    if steps:
        changes.append(f"training.epochs={max(round(steps[0] / math.ceil(n_train / how['batch_size'])), 16)}")
    if changes:
        changes = [changes[0], f"training.batch_size={how['batch_size']}", *changes[1:]]
    return RunSettings.parse(apply_overrides(values, [f"seed={seed}", *changes]))


def run(name: str, candidate: str, seed: int, data: Path, folder: Path) -> dict[str, Any]:
    """Train one candidate; leave its predictions in the folder and return its errors."""
    frames = structures(name, data)
    out = set(held_out(frames))
    folder.mkdir(parents=True, exist_ok=True)
    for part, chosen in (("fit", False), ("held", True)):
        rows = [a for n, a in enumerate(frames) if (n in out) == chosen]
        for a in rows:
            a.info.pop("split", None)
        write(folder / f"{name}_{part}.xyz", rows, format="extxyz")
    fit, held = folder / f"{name}_fit.xyz", read([folder / f"{name}_held.xyz"])
    settings = settings_of(fit, candidate, seed)
    where = folder / f"{name}_{candidate}_{seed}".replace(" ", "_").replace(",", "")
    start, cpu = time.perf_counter(), time.process_time()
    result = train(settings, output=where)
    used = time.process_time() - cpu
    predict = fastest(result.potential) or result.potential
    found = []
    for atoms in held:
        p = predict.predict(atoms)
        found.append({"energy": p.energy / len(atoms), "forces": p.forces, "stress": p.stress})
    np.savez(where / "held.npz", **{f"{k}_{n}": row[k] for n, row in enumerate(found) for k in KEYS})
    return {
        "set": name,
        "candidate": candidate,
        "seed": seed,
        "seconds": round(time.perf_counter() - start, 1),
        "cpu": round(used, 1),
        "parameters": sum(p.numel() for p in result.potential.parameters()),
        "epochs": len(result.history),
        **{k: round(v, 4) for k, v in errors(found, labels(held)).items()},
    }


def committee(name: str, candidate: str, seeds: Sequence[int], folder: Path) -> dict[str, Any]:
    """Return the errors of the mean of runs with several seeds."""
    held = read([folder / f"{name}_held.xyz"])
    members = []
    for seed in seeds:
        where = folder / f"{name}_{candidate}_{seed}".replace(" ", "_").replace(",", "")
        with np.load(where / "held.npz") as arrays:
            members.append([{k: arrays[f"{k}_{n}"] for k in KEYS} for n in range(len(held))])
    found = {k: round(v, 4) for k, v in errors(mean(members), labels(held)).items()}
    return {"set": name, "candidate": f"{candidate}; committee of {len(seeds)}", "seed": -1, **found}


def score(row: dict[str, Any], base: dict[str, float]) -> float:
    """Return the mean logarithm of the errors, less that of the yardstick."""
    keys = [k for k in base if k in row]
    return sum(math.log(row[k] / base[k]) for k in keys) / len(keys)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return all candidates, the means over the seeds, in Markdown."""
    names = [f"{k}_{m}" for k in KEYS for m in ("mae", "rmse")]
    lines = []
    summary: dict[str, dict[str, float]] = {}
    for data in dict.fromkeys(r["set"] for r in rows):
        own = [r for r in rows if r["set"] == data and "failed" not in r]
        yard = [r for r in own if r["candidate"] == "adamw"]
        base = {k: float(np.mean([r[k] for r in yard])) for k in names if yard and k in yard[0]}
        lines += [
            f"## {data}\n",
            "| candidate | seeds | E MAE | RMSE | F MAE | RMSE | S MAE | RMSE | score | CPU (s) |",
            f"|{'---|' * 10}",
        ]
        for candidate in dict.fromkeys(r["candidate"] for r in own):
            mine = [r for r in own if r["candidate"] == candidate]
            means = {k: float(np.mean([r[k] for r in mine])) for k in names if k in mine[0]}
            value = score(means, base) if base else math.nan
            summary.setdefault(candidate, {})[data] = value
            forms = ("2f", "2f", "1f", "1f", "3f", "3f")
            cells = [f"{means[k]:.{f}}" if k in means else "-" for k, f in zip(names, forms, strict=True)]
            cpu = [r["cpu"] for r in mine if "cpu" in r]
            seeds = str(len(mine)) if mine[0]["seed"] >= 0 else "-"
            lines.append(
                f"| {candidate} | {seeds} | {' | '.join(cells)} | {value:+.3f} | {np.mean(cpu) if cpu else 0:.0f} |"
            )
        lines.append("")
    return "\n".join([*_summary(summary), *lines])


def _summary(found: dict[str, dict[str, float]]) -> list[str]:
    sets = list(dict.fromkeys(s for row in found.values() for s in row))
    lines = [
        "Score: mean logarithm of the six errors on the structures held out, less that of `adamw`; lower is better.\n",
        f"| candidate | {' | '.join(sets)} | mean of Si and Mo |",
        f"|{'---|' * (len(sets) + 2)}",
    ]

    def both(row: dict[str, float]) -> float:
        return float(np.mean([row.get("Si", math.nan), row.get("Mo", math.nan)]))

    for candidate, row in sorted(found.items(), key=lambda item: (math.isnan(both(item[1])), both(item[1]))):
        cells = [f"{row[s]:+.3f}" if s in row else "" for s in sets]
        total = both(row)
        lines.append(
            f"| {candidate} | {' | '.join(cells)} | {'' if math.isnan(total) else f'{total:+.3f}'} |"
        )
    return [*lines, ""]


def save(rows: Sequence[dict[str, Any]]) -> None:
    """Write all rows and the table."""
    (RESULTS / "recipe_selection.json").write_text(
        "[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n", encoding="utf-8"
    )
    lost = [
        f"Failed: {r['set']}, {r['candidate']}, seed {r['seed']}: {r['failed']}."
        for r in rows
        if "failed" in r
    ]
    text = "\n".join([f"# Selection of the recommended recipe\n\n{table(rows)}", *lost])
    (RESULTS / "recipe_selection.md").write_text(text.rstrip() + "\n", encoding="utf-8")


def main() -> None:
    """Parse, run, save after every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "committee", "table"])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--sets", nargs="+", default=["Si", "Mo"])
    parser.add_argument("--candidates", nargs="+", default=list(CANDIDATES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--output", type=Path, default=Path("run") / "recipe_selection")
    chosen = parser.parse_args()
    file = RESULTS / "recipe_selection.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []

    def add(row: dict[str, Any]) -> None:
        key = ("set", "candidate", "seed")
        rows[:] = [r for r in rows if any(r[k] != row[k] for k in key)] + [row]
        save(rows)
        print(json.dumps(row), flush=True)

    for candidate in chosen.candidates if chosen.what != "table" else []:
        for name in chosen.sets:
            if chosen.what == "committee":
                add(committee(name, candidate, chosen.seeds, chosen.output))
                continue
            for seed in chosen.seeds:
                known = (name, candidate, seed)
                if any((r["set"], r["candidate"], r["seed"]) == known for r in rows):
                    continue
                try:
                    add(run(name, candidate, seed, chosen.data, chosen.output))
                except TrainingError as reason:
                    add({"set": name, "candidate": candidate, "seed": seed, "failed": str(reason)})
    save(rows)


if __name__ == "__main__":
    main()
