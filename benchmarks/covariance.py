"""A step of the Kalman filter's covariance: one compiled pass against BLAS, as it was done before.

    python benchmarks/covariance.py [--sizes 300 1000 2587 4300 7000]

Each step multiplies the covariance with five vectors and takes five rank-one matrices away. BLAS (OpenBLAS of SciPy)
reads half of the matrix five times (``dsymv``, faster than ``dsymm`` for so few) and once more to change it (``dsyrk``);
`training.optimisers.covariance` reads and writes it once. Both take turns; times are medians of processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from common import RESULTS, machine
from scipy.linalg import blas

from forgefield.training.optimisers.covariance import Covariance

VECTORS = 5
TURNS = 21


def compare(size: int) -> dict[str, Any]:
    """Return the seconds of a step of both, and by how much their products differ."""
    rng = np.random.default_rng(size)
    change = rng.normal(size=(VECTORS, size)) / (10.0 * size)
    vectors = rng.normal(size=(VECTORS, size))
    ours = Covariance(size, 1.0)
    theirs = np.asfortranarray(np.eye(size))
    half = np.asfortranarray(change.T)
    scale = 1.0 + 1e-4

    def blas_step() -> np.ndarray:
        blas.dsyrk(-1.0, half, beta=scale, c=theirs, overwrite_c=1)
        return np.stack([blas.dsymv(1.0, theirs, v) for v in vectors])

    def own_step() -> np.ndarray:
        ours.shrink(change, scale)
        return ours.product(vectors)

    times: dict[str, list[float]] = {"BLAS": [], "one pass": []}
    difference = 0.0
    for _ in range(TURNS):
        found = {name: _timed(f, times[name]) for name, f in (("BLAS", blas_step), ("one pass", own_step))}
        difference = max(difference, float(np.abs(found["BLAS"] - found["one pass"]).max()))
    medians = {name: float(np.median(t)) for name, t in times.items()}
    return {"size": size, **medians, "difference": difference}


def _timed(function: Callable[[], np.ndarray], times: list[float]) -> np.ndarray:
    start = time.process_time()
    found = function()
    times.append(time.process_time() - start)
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows in Markdown."""
    lines = [
        "| parameters | BLAS (ms) | one pass (ms) | ratio | ns per entry | largest difference of a product |",
        f"|{'---|' * 6}",
    ]
    for r in rows:
        b, o = 1e3 * r["BLAS"], 1e3 * r["one pass"]
        entry = 1e9 * r["one pass"] / r["size"] ** 2
        lines.append(
            f"| {r['size']} | {b:.2f} | {o:.2f} | {b / o:.1f} | {entry:.2f} | {r['difference']:.0e} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[300, 1000, 2587, 4300, 7000])
    rows = [compare(size) for size in parser.parse_args().sizes]
    print(table(rows))
    values = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {**machine(), "load": os.getloadavg()},
        "rows": rows,
    }
    (RESULTS / "covariance.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    text = f"# A step of the Kalman filter's covariance\n\n{table(rows)}\n\n{values['date']}; load average {os.getloadavg()[0]:.1f}\n"
    (RESULTS / "covariance.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
