"""NEP energy, forces and virial of 64,000 silicon atoms on one thread and on more.

    python benchmarks/threads.py DATA [--threads 2] [--short]

DATA is a folder with ``nep/Si_2022_NEP4_5body.txt``, as published. Wall time counts here; the ratio of processor times
shows what the threads cost beyond one. The table is saved after every comparison; the whole takes 80 s.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from common import Report, alternate, options
from nep_cases import SILICON, Listing, Reused, data_argument, silicon

from forgefield.deployment.load import load
from forgefield.engine.inference import Precision
from forgefield.parallel import set_num_threads

GOAL_OF_TWO = 1.8


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this script."""
    data_argument(parser)
    parser.add_argument("--threads", type=int, default=2, help="to compare with one (default 2)")


def main() -> None:
    """Measure, print and save."""
    chosen = options(__doc__, add, seconds=8.0)
    threads = chosen.values.threads
    potential = load(chosen.values.data / "nep" / SILICON)
    report = Report("threads", f"NEP inference, {threads} threads", "the same on one thread", chosen)
    precisions: tuple[Precision, ...] = ("float32",) if chosen.short else ("float32", "float64")
    goal = GOAL_OF_TWO if threads == 2 else None
    for n_cells in (20,) if chosen.short else (20, 5):
        atoms = silicon(n_cells)
        for dtype in precisions:
            for words, call in (
                ("list kept", Reused(potential, atoms, dtype)),
                ("list at every call", Listing(potential, atoms, dtype, 0.0)),
            ):
                sides = {str(n): _on(n, call) for n in (threads, 1)}
                times = alternate(sides, chosen.seconds)
                wanted = goal if n_cells == 20 and words == "list kept" else None
                report.speed(
                    f"{len(atoms)} atoms, {words}, {dtype}", times[str(threads)], times["1"], goal=wanted
                )
                report.save()
    report.finish()


def _on(threads: int, call: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        set_num_threads(threads)
        return call()

    return run


if __name__ == "__main__":
    main()
