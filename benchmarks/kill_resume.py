"""Every optimiser with every rule for loss weights: killed without warning at a random moment, resumed, compared.

Usage: python benchmarks/kill_resume.py [--seed N] [--kinds KIND ...] [--rules RULE ...]

Small trainings on eight structures of the bundled silicon set. Of each combination the uninterrupted run gives a
potential file; a second run is killed (SIGKILL) at a random moment after a random epoch, resumed and killed once more,
resumed again; its file has to be the same, byte for byte. What the configuration refuses is counted and named. The
helpers are those of tests/training/test_killed.py, which runs a part of the combinations.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase.io import write as write_frames
from machine import machine

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "training"))

from killed_run import TRAININGS, children, descend, settings

from forgefield import datasets
from forgefield.errors import ConfigError
from forgefield.training.optimisers import OPTIMISERS
from forgefield.training.weighting import WEIGHTINGS

RESULTS = Path(__file__).parent / "results" / "kill_resume.json"
LARGEST = 8
"""Atoms of a structure."""
STRUCTURES = 8
KILLS = 2
ATTEMPTS = 12
"""How often a run that was done before it was killed is started again, with half the delay."""


def data(folder: Path) -> Path:
    """Write the structures and return their file."""
    small = [a for a in datasets.load("silicon") if 1 < len(a) <= LARGEST]
    some = small[:: max(1, len(small) // STRUCTURES)][:STRUCTURES]
    path = folder / "silicon.xyz"
    write_frames(path, some, format="extxyz")
    return path


def epochs_in(output: Path) -> int:
    """Return the epochs that a run has logged."""
    log = output / "log.csv"
    return max(len(log.read_text(encoding="utf-8").splitlines()) - 1, 0) if log.exists() else 0


def kill(
    context: Any, config: dict[str, Any], output: Path, moment: tuple[int, float], *, resume: bool
) -> bool:
    """Start a run, kill it some seconds after another epoch is in its log; return whether it was still running."""
    (after, delay), had = moment, epochs_in(output)
    after = min(max(after, had + 1), TRAININGS[config["training"]["kind"]]["epochs"] - 1)
    child = context.Process(target=descend, args=(config, output), kwargs={"resume": resume})
    child.start()
    while child.is_alive() and (epochs_in(output) < after or not (output / "checkpoint.ff").exists()):
        time.sleep(0.001)
    time.sleep(delay)
    child.kill()
    child.join()
    return bool(child.exitcode == -signal.SIGKILL)


def killed(
    context: Any, config: dict[str, Any], folder: Path, moments: list[tuple[int, float]]
) -> tuple[Path, list[int]]:
    """Kill a run at moments (epoch, seconds after it); return its folder and the epochs it had logged each time."""
    for attempt in range(ATTEMPTS):
        output, epochs = folder / f"killed_{attempt}", list[int]()
        for n, (after, delay) in enumerate(moments):
            if not kill(context, config, output, (after, delay * 0.5**attempt), resume=n > 0):
                break
            epochs.append(epochs_in(output))
        if len(epochs) == len(moments):
            return output, epochs
    raise SystemExit(f"a run ended before it could be killed, {ATTEMPTS} times: {config['training']['kind']}")


def measure(context: Any, path: Path, kind: str, rule: str, seed: int) -> dict[str, Any]:
    """Return what became of one combination."""
    config = settings(path, kind, rule)
    own: dict[str, Any] = {"optimiser": kind, "rule": rule, "epochs": TRAININGS[kind]["epochs"]}
    with tempfile.TemporaryDirectory() as name:
        folder, start = Path(name), time.monotonic()
        try:
            expected = descend(config, folder / "whole")
        except ConfigError as error:
            return own | {"refused": str(error)}
        took = time.monotonic() - start
        random = np.random.default_rng([seed, list(OPTIMISERS).index(kind), list(WEIGHTINGS).index(rule)])
        after = np.sort(random.integers(1, own["epochs"] - 1, size=KILLS)).tolist()
        delays = (0.25 * took / own["epochs"] * random.random(KILLS)).tolist()
        moments = list(zip(after, delays, strict=True))
        output, epochs = killed(context, config, folder, moments)
        same = descend(config, output, resume=True) == expected
    return own | {"killed_after": epochs, "same": same}


def table(rows: list[dict[str, Any]], seed: int) -> str:
    """Return a table of the combinations."""
    kinds, rules = (list(dict.fromkeys(r[key] for r in rows)) for key in ("optimiser", "rule"))
    found = {(r["optimiser"], r["rule"]): r for r in rows}

    def cell(r: dict[str, Any]) -> str:
        if "refused" in r:
            return "refused"
        return f"{'same' if r['same'] else '**differs**'} ({', '.join(map(str, r['killed_after']))})"

    run = [r for r in rows if "refused" not in r]
    lines = [
        "# Killed and resumed",
        "",
        (
            f"{len(rows)} combinations of an optimiser (epochs) and a rule for loss weights: {len(run)} run, "
            f"{sum(r['same'] for r in run)} of them with the file of the uninterrupted run, byte for byte, after being killed "
            f"{KILLS} times; {len(rows) - len(run)} refused by the configuration. In brackets the epochs that were complete "
            "when the process was killed."
        ),
        "",
        f"| | {' | '.join(rules)} |",
        f"|---|{'---|' * len(rules)}",
        *(
            f"| {k} ({TRAININGS[k]['epochs']}) | {' | '.join(cell(found[k, r]) for r in rules)} |"
            for k in kinds
        ),
        "",
        *(f"- {r['optimiser']}, {r['rule']}: {r['refused']}" for r in rows if "refused" in r),
        f"- Seed {seed}; {time.strftime('%Y-%m-%d')}; {machine()['cpu']}",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Go through all combinations and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--kinds", nargs="+", choices=OPTIMISERS, default=list(OPTIMISERS))
    parser.add_argument("--rules", nargs="+", choices=WEIGHTINGS, default=list(WEIGHTINGS))
    given = parser.parse_args()
    context, rows = children(), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as name:
        path = data(Path(name))
        for kind in given.kinds:
            for rule in given.rules:
                rows.append(measure(context, path, kind, rule, given.seed))
                print(json.dumps(rows[-1]), flush=True)
    text = table(rows, given.seed)
    print("\n" + text)
    whole = len(rows) == len(OPTIMISERS) * len(WEIGHTINGS)
    if whole:
        RESULTS.write_text(json.dumps({"seed": given.seed, "rows": rows}, indent=1) + "\n", encoding="utf-8")
        RESULTS.with_suffix(".md").write_text(text, encoding="utf-8")
    if not all(r.get("same", True) for r in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
