"""Processor time of a training, epoch by epoch: what a busy machine does not stretch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from forgefield.api.run import Run
from forgefield.api.train import Silent
from forgefield.models.potential import Potential
from forgefield.training.gradient import Row
from forgefield.training.settings import RunSettings

__all__ = ["TIMES", "Clock", "training_seconds"]

TIMES = "cpu.txt"
"""File of a clock."""


class Clock(Silent):
    """Writes the processor time [s] of this process since the start of the training, after every epoch.

    Parameters
    ----------
    folder : Path
        For its file: a training that is interrupted goes on counting.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / TIMES
        self._before, self._start = 0.0, time.process_time()

    def on_start(self, settings: RunSettings, potential: Potential, memory: object) -> None:
        """Start counting."""
        del settings, potential, memory
        self._before = max(self.read().values(), default=0.0)
        self._start = time.process_time()

    def on_epoch(self, row: Row) -> None:
        """Note the time."""
        seconds = self._before + time.process_time() - self._start
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{row['epoch']} {seconds:.3f}\n")

    def read(self) -> dict[int, float]:
        """Return the time at the end of every epoch."""
        if not self.path.exists():
            return {}
        rows = [line.split() for line in self.path.read_text(encoding="utf-8").splitlines()]
        return {int(epoch): float(seconds) for epoch, seconds in (row for row in rows if len(row) == 2)}

    def of(self, history: Sequence[Mapping[str, float | int | None]]) -> list[dict[str, float | int | None]]:
        """Return the rows of a log with the time added as ``cpu_seconds``."""
        known = self.read()
        return [{**row, "cpu_seconds": known.get(int(row["epoch"] or 0))} for row in history]


def training_seconds(run: Run, clock: Clock) -> dict[str, float | None]:
    """Return wall and processor time of a training [s]; None for a fit that has no epochs."""
    if not run.history:
        return {"wall": None, "cpu": None}
    last = clock.of(run.history)[-1]
    return {"wall": last["seconds"], "cpu": last["cpu_seconds"]}
