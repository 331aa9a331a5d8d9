"""Running a study: finished cells are kept, the others are done here, by several processes or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from forgefield.api.run import versions
from forgefield.config import Schema
from forgefield.errors import ConfigError
from forgefield.files import make_folder
from forgefield.studies.base import Cell, CellResult, Study, StudyError
from forgefield.studies.cluster import cluster_of, executor
from forgefield.studies.progress import Counter, Progress
from forgefield.studies.record import REPORT, Record, read_record, write_report
from forgefield.studies.registry import absolute_name, find_study
from forgefield.studies.store import Store, claim
from forgefield.studies.work import Job

__all__ = ["StudyRun", "plan_study", "redraw_study", "run_study"]

Settings = Mapping[str, Any] | None


@dataclass(frozen=True)
class StudyRun:
    """A finished study.

    Attributes
    ----------
    folder : Path
        With report.html, report.md, results.json, the values of every figure, and one file for each cell.
    results : list of CellResult
    failures : dict
        Name of each cell that failed, with its message.
    """

    folder: Path
    results: list[CellResult]
    failures: dict[str, str]


def plan_study(name: str, settings: Settings = None, *, small: bool = False) -> list[Cell]:
    """Return the cells a study would compute.

    Raises
    ------
    ConfigError
        Unknown study or setting; two cells of one name.
    """
    study, parsed, _ = _prepared(name, settings, small=small)
    return _cells(study, parsed)


def run_study(
    name: str,
    settings: Settings = None,
    folder: str | Path = "study",
    *,
    small: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> StudyRun:
    """Run a study, or what is left of it, and write its report.

    Parameters
    ----------
    name : str
    settings : mapping, optional
        Of the study, and under ``cluster`` the address of a Dask scheduler or a cluster to start: see `ClusterSettings`.
    folder : path
        Finished cells found there are used again if everything they depend on is the same.
    small : bool
        Start from the settings of the small form instead of the defaults.
    workers : int
        Processes on this machine, each with one thread.
    scheduler : str, optional
        Address of a Dask scheduler to use instead, for a cluster.
    progress : callable, optional
        Told at the start and after every cell.

    Raises
    ------
    ConfigError
        Unknown study or setting; a folder with another study.
    StudyError
        Cells failed; the report and all others are written.
    """
    study, parsed, named = _prepared(name, settings, small=small)
    if workers < 1:
        raise ConfigError(f"`workers` must be at least 1, got {workers}")
    cluster = cluster_of(named if scheduler is None else scheduler)
    if cluster is not None and workers != 1:
        raise ConfigError(
            f"`workers` is {workers}, which counts processes of this machine, and there is a cluster ({cluster}): give one of "
            "them (workers of a cluster: `cluster.workers`, or how many were started)"
        )
    cells = _cells(study, parsed)
    place = make_folder(folder)
    store = Store(place.resolve(), study)
    missing = {cell.name: cell for cell in cells if store.read(cell) is None}
    count = Counter(len(cells) - len(missing), len(cells))
    tell = progress or (lambda _event: None)
    tell(count.note())
    for path in store.damaged:
        tell(count.note(f"{path} is damaged: its cell is computed again"))
    failures: dict[str, str] = {}
    if missing:
        with executor(workers, cluster, lambda text: tell(count.note(text))) as execute:
            known = absolute_name(name)
            jobs = [
                Job(known, store.source, cell.name, dict(cell.parameters), str(store.folder_of(cell)))
                for cell in missing.values()
            ]
            for outcome in execute(jobs):
                if outcome.error:
                    failures[outcome.cell] = outcome.error
                else:
                    store.write(missing[outcome.cell], outcome.values, outcome.seconds, outcome.cpu_seconds)
                tell(count.ended(outcome.cell, outcome.error))
    results = [found for cell in cells if (found := store.read(cell)) is not None]
    record = Record(study.name, len(cells), parsed.model_dump(mode="json"), versions(), failures, results, {})
    write_report(study, parsed, place, record, lambda page: study.conclude(parsed, results, page, place))
    return _finished(place, record)


def redraw_study(
    name: str, file: str | Path, folder: str | Path = "report", settings: Settings = None
) -> StudyRun:
    """Write the report again from a results.json, without computing anything.

    Parameters
    ----------
    name : str
        Of the study.
    file : path
        A results.json.
    folder : path
        For report.html, report.md, results.json and the values of every figure.
    settings : mapping, optional
        Changes of those it was computed with, for what the page makes of the results (limits of a recommendation).

    Raises
    ------
    ConfigError
        Unknown study or setting; results of another study.
    DataError
        No results.json.
    StudyError
        What follows from all results could not be written.
    """
    study, record = find_study(name), read_record(Path(file))
    if record.study != study.name:
        raise ConfigError(f"{file} holds the study {record.study!r}, not {study.name!r}")
    record = replace(record, settings={**record.settings, **(settings or {})})
    parsed: Schema = study.Settings.parse(record.settings, where=name)
    record.failures.pop(REPORT, None)
    place = make_folder(folder)
    claim(place, study.name)
    write_report(
        study,
        parsed,
        place,
        record,
        lambda page: study.recall(parsed, record.results, page, record.conclusion),
    )
    if REPORT in record.failures:
        raise StudyError(record.failures[REPORT])
    return StudyRun(place, record.results, record.failures)


def _prepared(name: str, settings: Settings, *, small: bool) -> tuple[Study[Any], Schema, Any]:
    """Return the study, its settings, and what `cluster` is."""
    study, given = find_study(name), dict(settings or {})
    cluster = None if "cluster" in study.Settings.model_fields else given.pop("cluster", None)
    parsed: Schema = study.Settings.parse({**(study.small if small else {}), **given}, where=name)
    return study, parsed, cluster


def _cells(study: Study[Any], settings: Schema) -> list[Cell]:
    cells = study.cells(settings)
    _check_names(cells)
    return cells


def _check_names(cells: Sequence[Cell]) -> None:
    if not cells:
        raise ConfigError("settings give no cell: nothing is left to compute")
    names = [cell.name for cell in cells]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ConfigError(f"settings give the same cell twice: {', '.join(twice[:3])}")


def _finished(place: Path, record: Record) -> StudyRun:
    """Return the run.

    Raises
    ------
    StudyError
        Something failed.
    """
    failures = record.failures
    if failures:
        first = "; ".join(f"{k}: {v}" for k, v in list(failures.items())[:3])
        if set(failures) == {REPORT}:
            raise StudyError(
                f"all cells are finished, but {failures[REPORT]}; the report without it is in {place}"
            )
        n = len(failures) - (REPORT in failures)
        raise StudyError(
            f"{n} of {record.n_cells} cells failed ({first}); the others and a report of them are kept in {place}, "
            "start the same command again to repeat only these"
        )
    return StudyRun(place, record.results, failures)
