"""Progress of training: a live table on a terminal, a few lines elsewhere."""

from __future__ import annotations

from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from forgefield.api.estimate import MemoryEstimate
from forgefield.api.findings import report_form
from forgefield.cli.show import STYLES, print_findings
from forgefield.data import Dataset
from forgefield.errors import counted
from forgefield.models.potential import Potential
from forgefield.training.gradient import GradientSettings, Row
from forgefield.training.settings import RunSettings

__all__ = ["Listener", "LiveListener", "PlainListener", "make_listener"]

MANY_NEIGHBOURS = 200.0
"""Mean number of neighbours from which a warning is printed."""
MILESTONES = 10
"""Rows kept on the screen over a whole run."""

COLUMNS = {
    "epoch": "epoch",
    "energy_rmse_train": "E train",
    "energy_rmse_valid": "E valid",
    "forces_rmse_train": "F train",
    "forces_rmse_valid": "F valid",
    "stress_rmse_train": "S train",
    "stress_rmse_valid": "S valid",
    "learning_rate": "rate",
}
UNITS = "RMSE: E meV/atom, F meV/Å, S GPa"


class PlainListener:
    """Prints what is fitted, then one line about every tenth of the run."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.epochs = 0
        self.first: Row | None = None
        self._header = False

    def on_data(self, dataset: Dataset) -> None:
        """Print the audit and the findings."""
        self.console.print(dataset.audit.table())
        print_findings(self.console, report_form(dataset.findings))
        self.console.print(f"Split: {dataset.split.note}", markup=False)

    def on_start(self, settings: RunSettings, potential: Potential, memory: MemoryEstimate) -> None:
        """Print the model and the memory it will need."""
        self.console.print(
            f"Model: {settings.descriptor.kind} + {settings.model.kind}, elements "
            f"{', '.join(potential.elements)}, {potential.descriptor.n_features} features, "
            f"{potential.n_parameters} parameters, {settings.dtype}; memory about {memory}",
            markup=False,
        )
        if memory.neighbours > MANY_NEIGHBOURS:
            self.console.print(
                f"[{STYLES['warning']}]warning[/]: {memory.neighbours:.0f} neighbours per atom; 20 to 100 are usual, and "
                "time grows with their number: is the cutoff meant?"
            )
        if isinstance(settings.training, GradientSettings):
            self.epochs = settings.training.epochs

    def on_epoch(self, row: Row) -> None:
        """Print a line about every tenth of the run."""
        if self.milestone(row):
            if not self._header:
                self.console.print(UNITS, markup=False)
                self.console.print("".join(f"{c:>10}" for c in (*COLUMNS.values(), "left")))
                self._header = True
            self.console.print("".join(f"{c:>10}" for c in (*cells(row), self.time_left(row))))

    def milestone(self, row: Row) -> bool:
        """Tell whether this epoch is to be kept on the screen."""
        if self.first is None:
            self.first = row
            return True
        epoch = int(row["epoch"] or 0)
        step = max(self.epochs // MILESTONES, 1)
        return epoch % step == 0 or epoch == self.epochs

    def time_left(self, row: Row) -> str:
        """Return the time the remaining epochs will take."""
        epoch = int(row["epoch"] or 1)
        return duration(float(row["seconds"] or 0.0) / epoch * (self.epochs - epoch))

    def on_fit(self, done: int, total: int) -> None:
        """Print a line about every tenth of the structures."""
        step = max(total // MILESTONES, 1)
        if done % step == 0 or done == total:
            self.console.print(f"least squares: {done} of {counted(total, 'structure')}")

    def close(self) -> None:
        """Nothing is open."""


class LiveListener(PlainListener):
    """Draws a table that grows by a row about every tenth of the run, and a progress bar."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.kept: list[Row] = []
        self.progress = Progress(
            BarColumn(bar_width=40), MofNCompleteColumn(), TextColumn("{task.fields[note]}"), console=console
        )
        self.task = self.progress.add_task("", total=1, note="")
        self.live: Live | None = None

    def on_epoch(self, row: Row) -> None:
        """Redraw."""
        if self.milestone(row):
            self.kept.append(row)
        epoch = int(row["epoch"] or 0)
        self.progress.update(
            self.task, total=self.epochs, completed=epoch, note=f"{self.time_left(row)} left"
        )
        shown = self.kept if self.kept and self.kept[-1] is row else [*self.kept, row]
        self._draw(Group(self._table(shown), self.progress))

    def on_fit(self, done: int, total: int) -> None:
        """Redraw."""
        self.progress.update(self.task, total=total, completed=done, note="structures")
        self._draw(self.progress)

    def _table(self, rows: list[Row]) -> Table:
        table = Table(title=UNITS, title_justify="left")
        for name in COLUMNS.values():
            table.add_column(name, justify="right")
        for row in rows:
            table.add_row(*cells(row))
        return table

    def _draw(self, what: Any) -> None:
        if self.live is None:
            self.live = Live(what, console=self.console, refresh_per_second=4)
            self.live.start()
        else:
            self.live.update(what)

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self.live is not None:
            self.live.stop()
            self.live = None


class Listener(Protocol):
    """What the training command needs of either."""

    def on_data(self, dataset: Dataset) -> None:
        """Hear that data are read."""

    def on_start(self, settings: RunSettings, potential: Potential, memory: MemoryEstimate) -> None:
        """Hear what is about to be fitted."""

    def on_epoch(self, row: Row) -> None:
        """Hear of an epoch."""

    def on_fit(self, done: int, total: int) -> None:
        """Hear of a structure."""

    def close(self) -> None:
        """End the drawing."""


def make_listener(console: Console) -> Listener:
    """Return the live one for a terminal, else the plain one."""
    return LiveListener(console) if console.is_terminal else PlainListener(console)


def cells(row: Row) -> list[str]:
    """Return the columns of a row as text."""
    result = []
    for key in COLUMNS:
        value = row.get(key)
        if value is None:
            result.append("-")
        elif key == "epoch":
            result.append(str(value))
        else:
            result.append(f"{value:.1e}" if key == "learning_rate" else f"{value:.3g}")
    return result


def duration(seconds: float) -> str:
    """Return a time as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
