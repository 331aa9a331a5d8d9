"""Which settings of the Kalman filter are recommended: candidates compared on blocks held out of training files.

    python benchmarks/recipe_selection.py run DATA --candidates NAME ... --sets Mo Si ... [--seeds 0] [--folds 0]
    python benchmarks/recipe_selection.py committee --candidates NAME --sets Mo Si --seeds 0 1 2 3
    python benchmarks/recipe_selection.py table

Protocol. Only training files are read: of mlearn the two training files, of NbMoTaW every second structure of single
elements of its training file, of the bundled silicon set the structures not marked as test. In each group (config_type) a
quarter of the blocks of three neighbours in the file is held out, the same for all candidates: neighbours on a trajectory
or a strain path stay on one side, and what is held out is a little farther from training than a random draw. The rest is
what a user would have: `forgefield init` suggests descriptor and step size, training splits off its own validation part,
and the errors on what was held out judge the candidate, twice: with the epoch that validates best, and with the last.

Score. For each set and property the error is the geometric mean of MAE and RMSE, over seeds too, relative to that of
`present`, the recipe that was recommended before (best epoch). The score is the geometric mean over properties and sets; beside it
stand the means of each property and the worst single ratio, so that no error hides behind another. Test files are
opened after the choice, once per recipe, by `accuracy_mlearn.py`.

Every run leaves its predictions, so that committees of members that differ by the seed cost nothing more. All
candidates that were tried stay in ``results/recipe_selection.json``, whatever became of them; the first selection, of the
method and the network, is in ``results/recipe_selection_first.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ase import Atoms
from ase.io import write
from common import RESULTS
from recipe_candidates import BATCH, CANDIDATES, EPOCHS, PRESENT, STEPS

from forgefield.api.init import suggest
from forgefield.api.train import Silent, make_trainer, prepare
from forgefield.config import apply_overrides
from forgefield.data import get_energy, get_forces, get_stress, read
from forgefield.datasets import path
from forgefield.engine.predictor import fastest
from forgefield.errors import TrainingError
from forgefield.models.potential import Potential
from forgefield.training.gradient import GradientSettings
from forgefield.training.settings import RunSettings
from forgefield.units import EV_PER_A3_TO_GPA, MILLI

HELD_OUT = 0.25
BLOCK = 3
"""Neighbours in the file that stay together."""
FIRST_SEED = 100
KEYS = ("energy", "forces", "stress")
SHORT = {"energy": "E", "forces": "F", "stress": "S"}
WHICH = ("best", "last")
"""The epoch with the best validation errors, and the last one."""


def structures(name: str, data: Path) -> list[Atoms]:
    """Return what may be trained on."""
    if name == "bundled":
        return [a for a in read([path()]) if a.info.get("split") != "test"]
    if name in ("Si", "Mo"):
        return read([data / f"mlearn_{name}" / "train.xyz"])
    if name == "PbTe":
        return read([data / "PbTe" / "PbTe.xyz"])
    return list(_single_element(name, read([data / "NbMoTaW" / "train.xyz.xz"])))


def _single_element(element: str, frames: Iterable[Atoms]) -> Iterable[Atoms]:
    """Yield the surfaces of an element, and every second structure of its other groups."""
    count: dict[str, int] = {}
    for atoms in frames:
        group = str(atoms.info.get("config_type"))
        if group.split("_", maxsplit=1)[0] == element:
            count[group] = count.get(group, -1) + 1
            if "Surface" in group or count[group] % 2 == 0:
                yield atoms


def held_out(frames: Sequence[Atoms], fold: int) -> set[int]:
    """Return a quarter of the blocks of every group, the same at every call; of few blocks one or none, by chance."""
    rng = np.random.default_rng(FIRST_SEED + fold)
    groups: dict[str, list[int]] = {}
    for n, atoms in enumerate(frames):
        groups.setdefault(str(atoms.info.get("config_type", "")), []).append(n)
    found: list[int] = []
    for members in groups.values():
        blocks = [members[k : k + BLOCK] for k in range(0, len(members), BLOCK)]
        chance = (rng.random() - 0.5) * 0.999 * (len(blocks) < 1 / HELD_OUT)
        for block in rng.permutation(len(blocks))[: round(HELD_OUT * len(blocks) + chance)]:
            found += blocks[block]
    return set(found)


def labels(frames: Sequence[Atoms]) -> list[dict[str, Any]]:
    """Return energies per atom, forces and stresses, None where there are none."""
    rows = []
    for a in frames:
        e, f, s = get_energy(a), get_forces(a), get_stress(a)
        rows.append({"energy": None if e is None else e / len(a), "forces": f, "stress": s})
    return rows


def errors(found: Sequence[dict[str, Any]], true: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """Return MAE, RMSE and the largest error, in meV/atom, meV/Å and GPa."""
    result = {}
    for key, unit in zip(KEYS, (MILLI, MILLI, EV_PER_A3_TO_GPA), strict=True):
        d = [np.ravel(p[key] - t[key]) for p, t in zip(found, true, strict=True) if t[key] is not None]
        if d:
            x = np.abs(np.concatenate(d)) * unit
            values = x.mean(), np.sqrt((x**2).mean()), x.max()
            result[key] = [round(float(v), 4) for v in values]
    return result


def settings_of(fit: Path, candidate: str, seed: int) -> RunSettings:
    """Return the settings of a candidate: descriptor and step size as suggested, the rest of `PRESENT` with its changes."""
    values = suggest([fit], quality="fast").model_dump(mode="json")
    least = {STEPS: 800.0, EPOCHS: 16.0, BATCH: 1.0}
    changes = []
    for change in CANDIDATES[candidate]:
        prefix = next((p for p in least if change.startswith(p)), None)
        if prefix is None:
            changes.append(change)
        else:
            least[prefix] = float(change.removeprefix(prefix))
    batch = values["training"]["batch_size"]
    n_train = len(read([fit])) * (1.0 - values["data"]["split"]["valid"])
    epochs = max(round(least[EPOCHS]), math.ceil(least[STEPS] / math.ceil(n_train / batch)))
    batch = max(1, round(least[BATCH] * batch))
    given = [PRESENT[0], f"training.batch_size={batch}", f"training.epochs={epochs}", *PRESENT[1:], *changes]
    unlabelled = [f"loss.{k}=0" for k, w in values["loss"].items() if k in KEYS and w == 0]
    return RunSettings.parse(apply_overrides(values, [*given, *unlabelled, f"seed={seed}"]))


def run(name: str, candidate: str, seed: int, fold: int, data: Path, folder: Path) -> dict[str, Any]:
    """Train one candidate; leave its predictions in the folder and return its errors."""
    folder.mkdir(parents=True, exist_ok=True)
    fit, held = folder / f"{name}_{fold}_fit.xyz", folder / f"{name}_{fold}_held.xyz"
    if not held.exists():
        frames = structures(name, data)
        out = held_out(frames, fold)
        for atoms in frames:
            atoms.info.pop("split", None)
        write(fit, [a for n, a in enumerate(frames) if n not in out], format="extxyz")
        write(held, [a for n, a in enumerate(frames) if n in out], format="extxyz")
    settings = settings_of(fit, candidate, seed)
    if not isinstance(settings.training, GradientSettings):
        raise TrainingError(f"candidate {candidate!r} has no epochs")
    prepared = prepare(settings, Silent())
    trainer = make_trainer(settings, settings.training, prepared)
    cpu = time.process_time()
    while not trainer.finished:
        trainer.epoch()
    used = time.process_time() - cpu
    frames = read([held])
    with trainer.average.in_place():
        found = {"last": predictions(prepared.potential, frames)}
    trainer.use_best()
    found["best"] = predictions(prepared.potential, frames)
    for which, rows in found.items():
        file = _file(folder, name, candidate, seed, fold, which)
        np.savez(file, **{f"{k}_{n}": row[k] for n, row in enumerate(rows) for k in KEYS})
    scores = [row["score"] for row in trainer.progress.history]
    return {
        "set": name,
        "candidate": candidate,
        "seed": seed,
        "fold": fold,
        "cpu": round(used, 1),
        "parameters": trainer.flat.numel(),
        "epochs": len(trainer.progress.history),
        "best_epoch": trainer.progress.best_epoch,
        "gap": round(scores[-1] - min(scores), 3),
        **{which: errors(rows, labels(frames)) for which, rows in found.items()},
    }


def predictions(potential: Potential, frames: Sequence[Atoms]) -> list[dict[str, Any]]:
    """Return energies per atom, forces and stresses of a potential."""
    predict, rows = fastest(potential) or potential, []
    for atoms in frames:
        p = predict.predict(atoms)
        rows.append({"energy": p.energy / len(atoms), "forces": p.forces, "stress": p.stress})
    return rows


def _file(folder: Path, name: str, candidate: str, seed: int, fold: int, which: str) -> Path:
    return folder / f"{name}_{candidate}_{seed}_{fold}_{which}.npz".replace(" ", "_").replace(",", "")


def committee(name: str, candidate: str, seeds: Sequence[int], fold: int, folder: Path) -> dict[str, Any]:
    """Return the errors of the mean of runs with several seeds."""
    frames, found = read([folder / f"{name}_{fold}_held.xyz"]), {}
    for which in WHICH:
        members = []
        for seed in seeds:
            with np.load(_file(folder, name, candidate, seed, fold, which)) as arrays:
                members.append({k: arrays[k] for k in arrays.files})
        rows = range(len(frames))
        mean = [{k: np.mean([m[f"{k}_{n}"] for m in members], axis=0) for k in KEYS} for n in rows]
        found[which] = errors(mean, labels(frames))
    what = f"{candidate}; committee of {len(seeds)}"
    return {"set": name, "candidate": what, "seed": -1, "fold": fold, **found}


def ratios(rows: Sequence[dict[str, Any]], candidate: str, which: str) -> dict[tuple[str, str], float]:
    """Return error over that of `present` by set and property, on the folds that both have."""
    result: dict[tuple[str, str], list[float]] = {}
    for name, fold in dict.fromkeys((r["set"], r["fold"]) for r in rows):
        here = [r for r in rows if (r["set"], r["fold"]) == (name, fold)]
        for key in KEYS:
            sizes = [
                [
                    0.5 * math.log(r[w][key][0] * r[w][key][1])
                    for r in here
                    if r["candidate"] == c and key in r[w]
                ]
                for c, w in ((candidate, which), ("present", "best"))
            ]
            if all(sizes):
                result.setdefault((name, key), []).append(float(np.mean(sizes[0]) - np.mean(sizes[1])))
    return {k: math.exp(float(np.mean(v))) for k, v in result.items()}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the ratios of all candidates, then every run, in Markdown."""
    sets = list(dict.fromkeys(r["set"] for r in rows))
    what = (
        "Errors on what was held out (geometric mean of MAE and RMSE, of seeds and folds) relative to `present`: "
        "energy / forces / stress.\n"
    )
    lines = [
        what,
        f"| candidate | epoch | {' | '.join(sets)} | E | F | S | score | worst |",
        f"|{'---|' * (len(sets) + 7)}",
    ]
    for candidate, which in [(c, w) for c in dict.fromkeys(r["candidate"] for r in rows) for w in WHICH]:
        found = ratios(rows, candidate, which)
        if not found:
            continue
        cells = [
            " / ".join(f"{found[s, k]:.2f}" if (s, k) in found else "-" for k in KEYS)
            if any(s == name for name, _ in found)
            else ""
            for s in sets
        ]
        means = [_mean(v for (_, key), v in found.items() if key == k) for k in KEYS]
        worst = max(found, key=lambda place: found[place])
        lines.append(
            f"| {candidate} | {which} | {' | '.join(cells)} | {' | '.join(f'{m:.2f}' for m in means)} | {_mean(found.values()):.3f} | "
            f"{found[worst]:.2f} ({worst[0]}, {SHORT[worst[1]]}) |"
        )
    lines += [
        "\nEvery run: MAE, RMSE and largest error of the last epoch in meV/atom, meV/Å and GPa.\n",
        "| set | candidate | seed | fold | best epoch | E | F | S | CPU (s) |",
        f"|{'---|' * 9}",
    ]
    for r in sorted(rows, key=lambda r: (sets.index(r["set"]), r["fold"])):
        cells = [
            ", ".join(f"{v:.{d}f}" for v in r["last"][k]) if k in r["last"] else "-"
            for k, d in zip(KEYS, (2, 1, 3), strict=True)
        ]
        kept = f"{r['best_epoch']} of {r['epochs']}" if "epochs" in r else ""
        seed = str(r["seed"]) if r["seed"] >= 0 else ""
        lines.append(
            f"| {r['set']} | {r['candidate']} | {seed} | {r['fold']} | {kept} | {' | '.join(cells)} | {r.get('cpu', '')} |"
        )
    return "\n".join(lines)


def _mean(values: Iterable[float]) -> float:
    logs = [math.log(v) for v in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def save(rows: Sequence[dict[str, Any]]) -> None:
    """Write all rows and the table."""
    (RESULTS / "recipe_selection.json").write_text(
        "[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n", encoding="utf-8"
    )
    done = [r for r in rows if "failed" not in r]
    lost = [
        f"Failed: {r['set']}, {r['candidate']}, seed {r['seed']}: {r['failed']}."
        for r in rows
        if "failed" in r
    ]
    text = "\n".join([f"# Selection of the recommended recipe\n\n{table(done)}\n", *lost])
    (RESULTS / "recipe_selection.md").write_text(text.rstrip() + "\n", encoding="utf-8")


def main() -> None:
    """Parse, run, save after every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "committee", "table"])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--sets", nargs="+", default=["Mo", "Si"])
    parser.add_argument("--candidates", nargs="+", default=list(CANDIDATES), choices=list(CANDIDATES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--folds", nargs="+", type=int, default=[0])
    parser.add_argument("--output", type=Path, default=Path("run") / "recipe_selection")
    chosen = parser.parse_args()
    file = RESULTS / "recipe_selection.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []

    def add(row: dict[str, Any]) -> None:
        key = ("set", "candidate", "seed", "fold")
        rows[:] = [r for r in rows if any(r[k] != row[k] for k in key)] + [row]
        save(rows)
        print(json.dumps(row), flush=True)

    todo = [(c, s, f) for c in chosen.candidates for s in chosen.sets for f in chosen.folds]
    for candidate, name, fold in todo if chosen.what != "table" else []:
        if chosen.what == "committee":
            add(committee(name, candidate, chosen.seeds, fold, chosen.output))
            continue
        for seed in chosen.seeds:
            known = (name, candidate, seed, fold)
            if any((r["set"], r["candidate"], r["seed"], r["fold"]) == known for r in rows):
                continue
            try:
                add(run(name, candidate, seed, fold, chosen.data, chosen.output))
            except TrainingError as reason:
                add(dict(zip(("set", "candidate", "seed", "fold"), known, strict=True), failed=str(reason)))
    save(rows)


if __name__ == "__main__":
    main()
