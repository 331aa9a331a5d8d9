"""Progress of a simulation: a bar on a terminal, ten lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

__all__ = ["MDProgress"]

MILESTONES = 10
"""Lines printed where there is no terminal."""


class MDProgress:
    """Says how far a simulation is, how fast, and how hot.

    Parameters
    ----------
    console : rich.console.Console
    n_atoms, steps : int
    """

    def __init__(self, console: Console, n_atoms: int, steps: int) -> None:
        self.console, self.n_atoms, self.steps = console, n_atoms, steps
        self._start = time.perf_counter()
        self._said = 0
        self._bar: Progress | None = None

    @contextmanager
    def shown(self) -> Iterator[MDProgress]:
        """Show it for a while."""
        if not self.console.is_terminal:
            yield self
            return
        columns = (BarColumn(bar_width=40), TextColumn("{task.fields[note]}"))
        with Progress(*columns, console=self.console, transient=True) as self._bar:
            self._bar.add_task("", total=self.steps, note="")
            yield self

    def on_row(self, row: Mapping[str, Any]) -> None:
        """Hear of a row of the log."""
        step = int(row["step"])
        if step == 0:
            self._start = time.perf_counter()
        note = self.note(row, time.perf_counter() - self._start)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, note=note)
        elif step * MILESTONES // self.steps > self._said:
            self._said = step * MILESTONES // self.steps
            self.console.print(note, markup=False, highlight=False)

    def note(self, row: Mapping[str, Any], seconds: float) -> str:
        """Return step, temperature, speed and time left as a line."""
        step = int(row["step"])
        note = f"step {step} of {self.steps}, {float(row['temperature_K']):.0f} K"
        if step == 0 or seconds <= 0:
            return note
        speed, left = self.n_atoms * step / seconds, seconds / step * (self.steps - step)
        return f"{note}, {speed:.3g} atom steps/s, {timedelta(seconds=round(left))} left"
