"""The compiled neighbour list against vesin, in one run on one thread.

    python benchmarks/neighbours.py [--sizes 2 5 10 23] [--cutoff 5.0] [--output FILE]

Silicon with SIZE^3 cubic cells, thermally displaced. All are timed in turn, several times over, and the best of each
counts: a machine that others use slows all of them alike. "vesin" makes pairs and shifts (i, j, S), sorted;
"as points" also turns them into what the kernels read; "ours" makes that directly; "blocks" groups the atoms for the
kernels; "move" is what a step costs while a list with a skin is kept.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from vesin import NeighborList

from forgefield.engine.blocks import make_blocks
from forgefield.engine.neighbours import SkinnedList, list_neighbours
from forgefield.engine.points import Listing
from forgefield.graph import neighbour_pairs
from forgefield.parallel import set_num_threads
from forgefield.tracer.cache import host

COLUMNS = ("vesin", "as points", "ours", "blocks", "move")


def as_points(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, Listing]:
    """Return points and their list from vesin's pairs."""
    i, j, shifts, _ = neighbour_pairs(atoms, cutoff)
    n = len(atoms)
    reach = int(np.abs(shifts).max(initial=0))
    width = 2 * reach + 1
    code = (((shifts + reach) @ [width * width, width, 1]) * n + j)[shifts.any(axis=1)]
    images, where = np.unique(code, return_inverse=True)
    target = j.copy()
    target[shifts.any(axis=1)] = n + where
    cells, owner = np.divmod(images, n)
    moves = np.stack(np.unravel_index(cells, (width,) * 3), axis=1) - reach
    positions = np.concatenate([atoms.positions, atoms.positions[owner] + moves @ atoms.cell.array])
    counts = np.bincount(i, minlength=n)
    first = np.concatenate([[0], np.cumsum(counts + 1)])
    neighbours = np.full(int(first[-1]), len(positions), dtype=np.int32)
    neighbours[first[i] + np.arange(len(i)) - (np.cumsum(counts) - counts)[i]] = target
    return positions, Listing(neighbours, first)


def tasks(atoms: Atoms, cutoff: float, skin: float = 1.0) -> dict[str, Callable[[], object]]:
    """Return what is timed."""
    vesin = NeighborList(cutoff=cutoff, full_list=True, sorted=True, n_threads=1)
    points, lists = list_neighbours(atoms, (14,), (cutoff,))
    every = np.arange(len(atoms))
    skinned = SkinnedList((14,), (cutoff,), skin)
    skinned.update(atoms)
    moved = atoms.copy()
    moved.rattle(0.02, seed=2)
    _, shadow = as_points(atoms, cutoff)
    assert len(shadow.neighbours) == len(lists[0].neighbours), "the two lists differ"
    return {
        "vesin": lambda: vesin.compute(
            points=atoms.positions, box=atoms.cell.array, periodic=True, quantities="ijS"
        ),
        "as points": lambda: as_points(atoms, cutoff),
        "ours": lambda: list_neighbours(atoms, (14,), (cutoff,)),
        "blocks": lambda: make_blocks(
            every, every, points.species, lists, n_species=1, lanes=host().lanes(32), padding=points.padding
        ),
        "move": lambda: skinned.update(moved),
    }


def measure(work: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the shortest time of each [s]."""
    best = dict.fromkeys(work, np.inf)
    for _ in range(repeats):
        for name, task in work.items():
            for _ in range(3):  # the first finds the caches and the memory as another left them
                start = time.perf_counter()
                task()
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 3, 5, 10, 23])
    parser.add_argument("--cutoff", type=float, default=5.0)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "neighbours.json")
    options = parser.parse_args()
    set_num_threads(1)
    rows = []
    print(f"{'atoms':>8} {'pairs':>6} " + "".join(f"{c:>11}" for c in COLUMNS) + f"{'vesin/ours':>12}")
    for size in options.sizes:
        atoms = bulk("Si", cubic=True) * size
        atoms.rattle(0.08, seed=1)
        n = len(atoms)
        work = tasks(atoms, options.cutoff)
        best = measure(work, max(6, min(100, 100_000 // n)))
        pairs = len(neighbour_pairs(atoms, options.cutoff)[0]) / n
        each = {c: best[c] / n * 1e6 for c in COLUMNS}
        ratio = best["vesin"] / best["ours"]
        print(f"{n:8d} {pairs:6.1f} " + "".join(f"{each[c]:11.3f}" for c in COLUMNS) + f"{ratio:12.2f}")
        rows.append({"atoms": n, "pairs_per_atom": pairs, "us_per_atom": each, "vesin_over_ours": ratio})
    print("microseconds per atom, one thread")
    machine = host()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(
        json.dumps({"cutoff": options.cutoff, "processor": machine.cpu, "rows": rows}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
