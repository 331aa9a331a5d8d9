"""How far a study is."""

from __future__ import annotations

import time
from dataclasses import dataclass

__all__ = ["Counter", "Progress", "duration"]


@dataclass(frozen=True)
class Progress:
    """What is told at the start and after every cell.

    Attributes
    ----------
    done, failed, total : int
        Cells; those kept from before are done.
    elapsed : float
        Time since the start [s].
    left : float or None
        Expected until the end [s], from the cells of this run; None before the first.
    name, error : str
        The cell that ended, and why it failed.
    note : str
        What else there is to know.
    """

    done: int
    failed: int
    total: int
    elapsed: float
    left: float | None = None
    name: str = ""
    error: str = ""
    note: str = ""

    def line(self) -> str:
        """Return it in one line."""
        said = [f"{self.done}/{self.total}"]
        if self.failed:
            said.append(f"{self.failed} failed")
        if self.name:
            said.append(duration(self.elapsed))
        if self.left:
            said.append(f"about {duration(self.left)} left")
        text = ", ".join(said)
        if self.error:
            return f"{text}: {self.name} failed: {self.error}"
        return f"{text}: {self.name or self.note}" if self.name or self.note else text


def duration(seconds: float) -> str:
    """Return a time in words: ``8 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


class Counter:
    """Counts cells and the time they take.

    Parameters
    ----------
    done, total : int
        Cells that were kept, and all.
    """

    def __init__(self, done: int, total: int) -> None:
        self.done, self.failed, self.total = done, 0, total
        self._kept, self._start = done, time.perf_counter()

    def note(self, text: str = "") -> Progress:
        """Return how far it is, with something to say about it."""
        return Progress(self.done, self.failed, self.total, self._elapsed, note=text)

    def ended(self, name: str, error: str = "") -> Progress:
        """Count a cell and return how far it is."""
        self.failed += bool(error)
        self.done += not error
        worked = self.done + self.failed - self._kept
        remaining = self.total - self.done - self.failed
        elapsed = self._elapsed
        left = elapsed / worked * remaining
        return Progress(self.done, self.failed, self.total, elapsed, left, name, error)

    @property
    def _elapsed(self) -> float:
        return time.perf_counter() - self._start
