"""Threads: how many, and how work is shared among them."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from forgefield.errors import ConfigError

__all__ = ["get_num_threads", "run_parts", "set_num_threads"]

_state: dict[str, int] = {}
_pools: dict[int, ThreadPoolExecutor] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # threads do not survive a fork


def _available() -> int:
    count = getattr(os, "sched_getaffinity", None)
    return len(count(0)) if count is not None else os.cpu_count() or 1


def get_num_threads() -> int:
    """Return the number of threads of compiled kernels: as set, else ``OMP_NUM_THREADS``, else all cores."""
    if "threads" in _state:
        return _state["threads"]
    text = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(text) if text.isdigit() and int(text) > 0 else _available()


def set_num_threads(n: int) -> None:
    """Set the number of threads of compiled kernels.

    Results are the same, bit for bit, for the same number of threads.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= 1024:
        raise ConfigError(f"the number of threads must be an integer from 1 to 1024, got {n!r}")
    _state["threads"] = n


def run_parts(n: int, threads: int, task: Callable[[int, int, int], None]) -> None:
    """Call ``task(thread, first, last)`` for equal parts of 0 ... n - 1, one thread each.

    The parts depend on `n` and `threads` only, so sums over them are reproducible.
    """
    threads = max(1, min(threads, n))
    if threads == 1:
        task(0, 0, n)
        return
    cuts = [n * t // threads for t in range(threads + 1)]
    pool = _pools.get(threads)
    if pool is None:
        pool = _pools[threads] = ThreadPoolExecutor(threads - 1, thread_name_prefix="forgefield")
    jobs = [pool.submit(task, t, cuts[t], cuts[t + 1]) for t in range(1, threads)]
    try:
        task(0, cuts[0], cuts[1])
    finally:
        wait(jobs)  # nobody may write to the caller's arrays once it has gone on, even with an error
    for job in jobs:
        job.result()
