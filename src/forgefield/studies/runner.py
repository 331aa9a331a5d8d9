"""Running a study: finished cells are kept, the others are done here, by several processes or on a cluster."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgefield.api.run import versions
from forgefield.config import Schema
from forgefield.errors import ConfigError, ForgefieldError
from forgefield.files import make_folder, write_json, write_text
from forgefield.studies.base import Cell, CellResult, Study, StudyError
from forgefield.studies.markdown import render_markdown
from forgefield.studies.page import render_page
from forgefield.studies.registry import absolute_name, find_study

__all__ = ["StudyRun", "run_study"]


@dataclass(frozen=True)
class StudyRun:
    """A finished study.

    Attributes
    ----------
    folder : Path
        With report.html, results.json and one file for each cell.
    results : list of CellResult
    failures : dict
        Name of each cell that failed, with its message.
    """

    folder: Path
    results: list[CellResult]
    failures: dict[str, str]


def run_study(
    name: str,
    settings: Mapping[str, Any] | None = None,
    folder: str | Path = "study",
    *,
    small: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> StudyRun:
    """Run a study, or what is left of it, and write its report.

    Parameters
    ----------
    name : str
    settings : mapping, optional
    folder : path
        Finished cells found there are used again if everything they depend on is the same.
    small : bool
        Start from the settings of the small form instead of the defaults.
    workers : int
        Processes on this machine, each with one thread.
    scheduler : str, optional
        Address of a Dask scheduler to use instead, for a cluster.
    progress : callable, optional
        Told ``(done, total, name)`` after every cell.

    Raises
    ------
    ConfigError
        Unknown study or setting.
    StudyError
        Cells failed; the report and all others are written.
    """
    study = find_study(name)
    parsed: Schema = study.Settings.parse({**(study.small if small else {}), **(settings or {})}, where=name)
    if workers < 1:
        raise ConfigError(f"`workers` must be at least 1, got {workers}")
    place = make_folder(folder)
    cells = study.cells(parsed)
    _check_names(cells)
    store = _Store(make_folder(place / "cells"), study)
    missing = [cell for cell in cells if store.read(cell) is None]
    failures: dict[str, str] = {}
    done = len(cells) - len(missing)
    tell = progress or (lambda _done, _total, _name: None)
    tell(done, len(cells), "")
    with _executor(workers, scheduler) as execute:
        jobs = [
            (absolute_name(name), cell.name, dict(cell.parameters), str(store.folder_of(cell)))
            for cell in missing
        ]
        for cell_name, outcome in execute(jobs):
            cell = next(c for c in missing if c.name == cell_name)
            done += 1
            if "error" in outcome:
                failures[cell_name] = outcome["error"]
            else:
                store.write(cell, outcome["values"], outcome["seconds"])
            tell(done, len(cells), cell_name)
    results = [found for cell in cells if (found := store.read(cell)) is not None]
    _write(study, parsed, place, results, failures, len(cells))
    if failures:
        first = "; ".join(f"{k}: {v}" for k, v in list(failures.items())[:3])
        raise StudyError(
            f"{len(failures)} of {len(cells)} cells failed ({first}); the others are kept in {place}, "
            "start the same command again to repeat only these"
        )
    return StudyRun(place, results, failures)


def _check_names(cells: Sequence[Cell]) -> None:
    names = [cell.name for cell in cells]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ConfigError(f"settings give the same cell twice: {', '.join(twice[:3])}")


class _Store:
    """Results of cells as files, under the hash of what determines them."""

    def __init__(self, folder: Path, study: Study[Any]) -> None:
        self.folder, self.study = folder, study

    def path(self, cell: Cell) -> Path:
        return self.folder / f"{cell.key(self.study.name, self.study.version)}.json"

    def folder_of(self, cell: Cell) -> Path:
        return self.folder.parent / "runs" / cell.key(self.study.name, self.study.version)

    def read(self, cell: Cell) -> CellResult | None:
        path = self.path(cell)
        if not path.exists():
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        return CellResult(cell, content["values"], float(content["seconds"]))

    def write(self, cell: Cell, values: Mapping[str, Any], seconds: float) -> None:
        content = {
            "name": cell.name,
            "parameters": dict(cell.parameters),
            "values": _finite(values),
            "seconds": seconds,
        }
        write_json(self.path(cell), content)


def _finite(value: Any) -> Any:
    """Return plain values with None, which JSON has, for numbers that are not finite, which it has not."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def work(job: tuple[str, str, dict[str, Any], str]) -> tuple[str, dict[str, Any]]:
    """Do one cell, in whatever process this is; a failure is an answer as well."""
    study_name, cell_name, parameters, folder = job
    start = time.perf_counter()
    place = make_folder(folder)
    try:
        values = find_study(study_name).run(parameters, place)
    except ForgefieldError as error:
        write_text(place / "error.txt", traceback.format_exc())
        return cell_name, {"error": str(error).splitlines()[0]}
    return cell_name, {"values": values, "seconds": time.perf_counter() - start}


Executor = Callable[[Sequence[tuple[str, str, dict[str, Any], str]]], Iterator[tuple[str, dict[str, Any]]]]


@contextmanager
def _executor(workers: int, scheduler: str | None) -> Iterator[Executor]:
    if workers == 1 and scheduler is None:
        yield lambda jobs: map(work, jobs)
        return
    try:
        from dask.distributed import Client, LocalCluster, as_completed
    except ImportError:
        raise ConfigError("several workers need Dask: pip install 'forgefield[dist]'") from None
    cluster = None
    if scheduler is None:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=None,
            env={"OMP_NUM_THREADS": "1"},
        )
    try:
        client = Client(cluster if scheduler is None else scheduler)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {scheduler!r} ({error}); start one with `dask scheduler`, or leave --scheduler "
            "out to work on this machine"
        ) from error

    def spread(jobs: Sequence[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        futures = dict(zip(client.map(work, list(jobs), pure=False), [job[1] for job in jobs], strict=True))
        for future in as_completed(futures):
            yield _answer(future, futures[future])

    try:
        yield spread
    finally:
        client.close()
        if cluster is not None:
            cluster.close()


def _answer(future: Any, name: str) -> tuple[str, dict[str, Any]]:
    """Return what a worker answered, or that it died over this cell, for which memory is the usual reason."""
    from dask.distributed import KilledWorker

    try:
        answer: tuple[str, dict[str, Any]] = future.result()
    except KilledWorker as error:
        times = f"{error.allowed_failures + 1} workers died over it"
        return name, {"error": f"{times}; is there enough memory for so many? take fewer with -w"}
    return answer


def _write(
    study: Study[Any],
    settings: Schema,
    folder: Path,
    results: Sequence[CellResult],
    failures: Mapping[str, str],
    n_cells: int,
) -> None:
    record = {
        "study": study.name,
        "n_cells": n_cells,
        "n_done": len(results),
        "seconds": sum(r.seconds for r in results),
        "settings": settings.model_dump(mode="json"),
        "versions": versions(),
        "failures": dict(failures),
        "results": [
            {
                "name": r.cell.name,
                "parameters": dict(r.cell.parameters),
                "values": r.values,
                "seconds": r.seconds,
            }
            for r in results
        ],
    }
    write_json(folder / "results.json", record)
    if results:
        page = study.conclude(settings, results, study.page(settings, results), folder)
        write_text(folder / "report.html", render_page(page, record))
        write_text(folder / "report.md", render_markdown(page))
