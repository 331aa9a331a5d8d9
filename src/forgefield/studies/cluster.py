"""Where cells are done: in this process, in several of this machine, or on a cluster by Dask."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import Field

from forgefield.config import Schema
from forgefield.errors import ConfigError
from forgefield.studies.work import FAILURES, Job, Outcome, said, work

__all__ = ["ClusterSettings", "Executor", "cluster_of", "executor"]

Executor = Callable[[Sequence[Job]], Iterator[Outcome]]
Tell = Callable[[str], None]
JOBQUEUE = "dask_jobqueue"


class ClusterSettings(Schema):
    """A cluster that is started for the study and ended with it."""

    kind: str = Field(
        description="class of dask_jobqueue (SLURMCluster, PBSCluster, ...), or MODULE:CLASS of another Dask cluster"
    )
    workers: int = Field(1, ge=1, description="how many workers it is asked for")
    options: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of the class")


def cluster_of(value: Any) -> str | ClusterSettings | None:
    """Return the setting ``cluster``: the address of a scheduler or its file, a cluster to start, or None.

    Raises
    ------
    ConfigError
        None of them.
    """
    if value is None or isinstance(value, ClusterSettings):
        return value
    if isinstance(value, str) and value:
        return value
    if isinstance(value, Mapping):
        return ClusterSettings.parse(value, where="cluster")
    raise ConfigError(
        f"`cluster` is {value!r}: give the address of a Dask scheduler (tcp://HOST:8786), its scheduler file, or a mapping "
        "of `kind`, `workers` and `options`"
    )


@contextmanager
def executor(workers: int, cluster: str | ClusterSettings | None, tell: Tell) -> Iterator[Executor]:
    """Yield what does cells and yields what they gave, in the order in which they end.

    Parameters
    ----------
    workers : int
        Processes of this machine, where there is no cluster; one is this process.
    cluster : str or ClusterSettings, optional
    tell : callable
        For what a user should know about the cluster.

    Raises
    ------
    ConfigError
        Dask is missing, nothing answers, or the cluster cannot be started.
    """
    if workers == 1 and cluster is None:
        yield lambda jobs: map(work, jobs)
        return
    try:
        from dask.distributed import Client, LocalCluster, as_completed
    except ImportError:
        raise ConfigError("several workers need Dask: pip install 'forgefield[dist]'") from None
    own: Any = None
    if cluster is None:
        own = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=None,
            env={"OMP_NUM_THREADS": "1"},
        )
    elif isinstance(cluster, ClusterSettings):
        own = _started(cluster)
    client: Any = None

    def spread(jobs: Sequence[Job]) -> Iterator[Outcome]:
        futures = dict(zip(client.map(work, list(jobs), pure=False), [job.cell for job in jobs], strict=True))
        for future in as_completed(futures):
            yield _answer(future, futures[future])

    try:
        client = Client(own) if own is not None else _client(Client, str(cluster))
        if cluster is not None:
            tell(_described(client, cluster))
        yield spread
    finally:
        if client is not None:
            client.close()
        if own is not None:
            own.close()


def _client(make: Callable[..., Any], address: str) -> Any:
    try:
        return make(scheduler_file=address) if Path(address).is_file() else make(address)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {address!r} ({said(error)}); start one with `dask scheduler`, or leave the "
            "cluster out to work on this machine"
        ) from error


def _started(settings: ClusterSettings) -> Any:
    module, _, attribute = settings.kind.rpartition(":")
    module = module or JOBQUEUE
    try:
        kind = getattr(import_module(module), attribute)
    except ImportError as error:
        fix = "pip install dask-jobqueue" if module == JOBQUEUE else "install what it is part of"
        raise ConfigError(f"`cluster.kind` {settings.kind!r} needs {module} ({error}): {fix}") from None
    except AttributeError:
        raise ConfigError(
            f"`cluster.kind`: {module} has no {attribute!r}; with SLURM it is SLURMCluster, with PBS PBSCluster"
        ) from None
    submit = str(getattr(getattr(kind, "job_cls", None), "submit_command", "")).split()
    if submit and shutil.which(submit[0]) is None:
        raise ConfigError(
            f"`cluster.kind` {settings.kind!r} needs `{submit[0]}`, which is not here: start the study where jobs are submitted"
        )
    try:
        made = kind(**settings.options)
        made.scale(settings.workers)
    except FAILURES as error:
        raise ConfigError(f"cluster {settings.kind!r} cannot be started: {said(error)}") from error
    return made


def _described(client: Any, cluster: str | ClusterSettings) -> str:
    """Return how many workers there are, and what to do where there are none or where cells would share a process."""
    threads: Mapping[str, int] = client.nthreads()
    if not threads:
        if isinstance(cluster, ClusterSettings):
            return f"waiting for {cluster.workers} worker(s) of {cluster.kind}"
        return f"no worker yet at {cluster}: waiting; start some with `dask worker {cluster} --nthreads 1`"
    several = max(threads.values())
    warning = f", up to {several} cells at once in one process: better --nthreads 1" if several > 1 else ""
    return f"{len(threads)} worker(s){warning}"


def _answer(future: Any, name: str) -> Outcome:
    """Return what a worker answered, or that it died over this cell, for which memory is the usual reason."""
    from concurrent.futures import CancelledError

    from dask.distributed import KilledWorker

    try:
        answer: Outcome = future.result()
    except KilledWorker as error:
        times = f"{error.allowed_failures + 1} workers died over it"
        return Outcome(name, {}, error=f"{times}; is there enough memory for so many? take fewer with -w")
    except CancelledError:
        return Outcome(name, {}, error="the scheduler was lost; start the same command again")
    except FAILURES as error:  # the worker has no forgefield, or another one
        return Outcome(name, {}, error=f"the worker could not take it: {said(error)}")
    return answer
