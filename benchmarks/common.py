"""Timing of two sides in turns within one run, and the tables that come of it.

Every script measures ours and the other side alternately, so that whatever else the machine does hits both. Beside
wall time stands the processor time of this process, which a busy machine disturbs less. Tables are printed and saved
as Markdown and JSON with versions and machine in ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from machine import machine, version_of

from forgefield.parallel import set_num_threads

__all__ = ["RESULTS", "Options", "Report", "Timing", "alternate", "options"]

RESULTS = Path(__file__).resolve().parent / "results"
"""Where tables are saved; those of short runs in a folder of their own, which is not kept."""

FEWEST_TURNS = 5
PACKAGES = ("forgefield", "numpy", "torch", "llvmlite", "ase")


# ---- timing ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timing:
    """Times of one side: one entry for each turn.

    Attributes
    ----------
    wall, cpu : tuple of float [s]
        Per call; `cpu` is the processor time of the whole process, all threads.
    """

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median wall time of a call [s]."""
        return statistics.median(self.wall)

    @property
    def least(self) -> float:
        """Shortest wall time of a call [s]."""
        return min(self.wall)

    @property
    def cpu_median(self) -> float:
        """Median processor time of a call [s]."""
        return statistics.median(self.cpu)


class Clock:
    """Collects the times of one side."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def turn(self, call: Callable[[], object], times: int = 1) -> None:
        """Time `times` calls together, as one turn."""
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            call()
        self.add(time.perf_counter() - wall, time.process_time() - cpu, times)

    def add(self, wall: float, cpu: float, times: int = 1) -> None:
        """Add a turn that took `wall` and `cpu` seconds for `times` calls."""
        self.wall.append(wall / times)
        self.cpu.append(cpu / times)

    @property
    def timing(self) -> Timing:
        """What was collected."""
        return Timing(tuple(self.wall), tuple(self.cpu))


def alternate(
    sides: Mapping[str, Callable[[], object]], seconds: float, turn: float = 0.05
) -> dict[str, Timing]:
    """Time the sides in turns: A, B, A, B, ...

    Parameters
    ----------
    sides : mapping of name to callable
        Each is called once before, which is not counted: kernels are built, caches filled.
    seconds : float
        How long to go on; every side has at least five turns in any case.
    turn : float [s]
        Calls shorter than this are repeated to fill a turn.
    """
    repeats = {}
    for name, call in sides.items():
        call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, math.ceil(turn / max(time.perf_counter() - start, 1e-7)))
    clocks = {name: Clock() for name in sides}
    start, turns = time.perf_counter(), 0
    while turns < FEWEST_TURNS or time.perf_counter() - start < seconds:
        for name, call in sides.items():
            clocks[name].turn(call, repeats[name])
        turns += 1
    return {name: clock.timing for name, clock in clocks.items()}


# ---- tables ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One line of a table: both sides in one unit; medians, least values and medians of processor time."""

    what: str
    unit: str
    ours: float
    peer: float | None = None
    ours_least: float | None = None
    peer_least: float | None = None
    ours_cpu: float | None = None
    peer_cpu: float | None = None
    ratio: float | None = None
    ratio_cpu: float | None = None
    goal: str = ""
    met: bool | None = None


@dataclass
class Report:
    """A table that is printed and saved.

    Attributes
    ----------
    name : str
        Of the files in `RESULTS`.
    title, peer : str
        What is compared, and with whom.
    options : Options
    packages : tuple of str
        Whose versions matter beside ours.
    done : list of str
        Parts measured so far, of a table made by `parts`.
    """

    name: str
    title: str
    peer: str
    options: Options
    packages: tuple[str, ...] = ()
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    load: tuple[float, ...] = field(default_factory=os.getloadavg)
    done: list[str] = field(default_factory=list)

    def parts(self, todo: Mapping[str, Callable[[], None]], *, resume: bool) -> None:
        """Measure the parts of a long table one by one and save it after each.

        Parameters
        ----------
        todo : mapping of name to callable
            Each adds rows and notes.
        resume : bool
            Keep what the saved table has and measure only the parts it lacks.
        """
        if resume:
            self._take_saved(todo)
        for name, measure in todo.items():
            if name in self.done:
                continue
            measure()
            self.done.append(name)
            missing = [other for other in todo if other not in self.done]
            self.save(f"unfinished, still to do with --resume: {', '.join(missing)}" if missing else "")
        print("\n" + (self._folder() / f"{self.name}.md").read_text(encoding="utf-8"))

    def _take_saved(self, todo: Mapping[str, Callable[[], None]]) -> None:
        path = self._folder() / f"{self.name}.json"
        if not path.exists():
            return
        saved = json.loads(path.read_text(encoding="utf-8"))
        done = [name for name in todo if name in saved.get("parts", [])]
        if len(done) == len(todo):  # a whole table is renewed, not resumed
            return
        self.done = done
        self.rows = [Row(**row) for row in saved["rows"]]
        self.notes = saved["notes"]
        self.load = tuple(saved["machine"]["load_before"])

    def speed(
        self,
        what: str,
        ours: Timing,
        peer: Timing,
        *,
        unit: str = "ms",
        factor: float = 1e3,
        goal: float | None = None,
    ) -> None:
        """Add times in `unit`, which are seconds times `factor`, and their ratio, which has to reach `goal`."""
        ratio = peer.median / ours.median
        self._add(
            Row(
                what=what,
                unit=unit,
                ours=ours.median * factor,
                peer=peer.median * factor,
                ours_least=ours.least * factor,
                peer_least=peer.least * factor,
                ours_cpu=ours.cpu_median * factor,
                peer_cpu=peer.cpu_median * factor,
                ratio=ratio,
                ratio_cpu=peer.cpu_median / ours.cpu_median if ours.cpu_median > 0 else None,
                goal="" if goal is None else f">= {goal:g}x",
                met=None if goal is None else ratio >= goal,
            )
        )

    def less(self, what: str, ours: float, peer: float, unit: str, goal: float | None = None) -> None:
        """Add an amount of which the other side has `ratio` times as much."""
        ratio = peer / ours if ours > 0 else math.inf
        self._add(
            Row(
                what,
                unit,
                ours,
                peer,
                ratio=ratio,
                goal="" if goal is None else f">= {goal:g}x",
                met=None if goal is None else ratio >= goal,
            )
        )

    def limit(
        self, what: str, value: float, unit: str, most: float | None = None, cpu: float | None = None
    ) -> None:
        """Add a value of ours that may not exceed `most`; `cpu` is the processor time, if it is a time."""
        text = "" if most is None else f"<= {most:g} {unit}"
        met = None if most is None else value <= most
        self._add(Row(what, unit, value, ours_cpu=cpu, goal=text, met=met))

    def note(self, text: str) -> None:
        """Add a line below the table."""
        self.notes.append(text)
        print(text, flush=True)

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        print(_line(row), flush=True)

    def finish(self) -> None:
        """Print the whole table and save it."""
        print("\n" + self.save())

    def _folder(self) -> Path:
        return RESULTS / "short" if self.options.short else RESULTS

    def save(self, remark: str = "") -> str:
        """Save the table as it is, with a remark as its last note, and return it as Markdown."""
        values = {
            "name": self.name,
            "title": self.title,
            "peer": self.peer,
            "date": time.strftime("%Y-%m-%d %H:%M"),
            "machine": {**machine(), "load_before": self.load, "load_after": os.getloadavg()},
            "versions": {p: v for p in (*PACKAGES, *self.packages) if (v := version_of(p)) is not None},
            "rows": [asdict(r) for r in self.rows],
            "notes": self.notes,
            "parts": self.done,
        }
        folder = self._folder()
        folder.mkdir(parents=True, exist_ok=True)
        text = markdown({**values, "notes": [*self.notes, remark] if remark else self.notes})
        (folder / f"{self.name}.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        (folder / f"{self.name}.md").write_text(text, encoding="utf-8")
        return text


COLUMNS = ("what", "ours", "other", "unit", "ratio", "CPU, ours", "CPU, other", "ratio", "goal", "met")
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def _line(row: Row | Mapping[str, Any]) -> str:
    r = asdict(row) if isinstance(row, Row) else row
    cells = [
        r["what"],
        _times(r["ours"], r["ours_least"]),
        _times(r["peer"], r["peer_least"]),
        r["unit"],
        *(_number(r[k]) for k in ("ratio", "ours_cpu", "peer_cpu", "ratio_cpu")),
        r["goal"],
        {None: "", True: "yes", False: "no"}[r["met"]],
    ]
    return f"| {' | '.join(cells)} |"


def _number(x: float | None) -> str:
    return "" if x is None else f"{x:.3g}" if abs(x) < 1000 else f"{x:.0f}"


def _times(median: float | None, least: float | None) -> str:
    return _number(median) + ("" if least is None else f" ({_number(least)})")


def markdown(values: Mapping[str, Any]) -> str:
    """Return a saved table as Markdown."""
    m = values["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in values["versions"].items())
    before, after = (", ".join(f"{x:.1f}" for x in m[k][:2]) for k in ("load_before", "load_after"))
    lines = [
        f"# {values['title']}",
        "",
        f"Other: {values['peer']}. Medians of wall time, in brackets the least, then medians of processor time.",
        "",
        HEAD,
        *map(_line, values["rows"]),
        "",
        *(f"- {note}" for note in values["notes"]),
        f"- {values['date']}; {m['cpu']}, {m['features']}, {m['cores']} cores, {m['system']}",
        f"- load average {before} before, {after} after",
        f"- {versions}, Python {m['python']}",
    ]
    return "\n".join(lines) + "\n"


# ---- command line ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """What every script understands.

    Attributes
    ----------
    short : bool
        Some seconds instead of a measurement to be quoted.
    seconds : float
        For each comparison.
    values : argparse.Namespace
        All arguments, those of the script too.
    """

    short: bool
    seconds: float
    values: argparse.Namespace


def options(
    doc: str | None,
    add: Callable[[argparse.ArgumentParser], None] | None = None,
    *,
    seconds: float = 20.0,
    arguments: Sequence[str] | None = None,
) -> Options:
    """Parse the command line of a script and settle on one thread for all libraries.

    Parameters
    ----------
    doc : str
        Its first line describes the script.
    add : callable, optional
        Adds arguments of the script.
    seconds : float
        Default time for each comparison; a tenth of it in short runs.
    arguments : sequence of str, optional
        In place of the command line.
    """
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    if add is not None:
        add(parser)
    parser.add_argument("--short", action="store_true", help="a quick look; nothing to quote")
    parser.add_argument("--seconds", type=float, help=f"for each comparison (default {seconds:g})")
    values = parser.parse_args(arguments)
    if arguments is None and os.environ.get("OMP_NUM_THREADS") != "1":
        # Libraries read this when they are loaded, which has happened: start again.
        os.environ["OMP_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - ourselves
    torch.set_num_threads(1)
    set_num_threads(1)
    chosen = values.seconds if values.seconds is not None else seconds / (10 if values.short else 1)
    return Options(values.short, chosen, values)
