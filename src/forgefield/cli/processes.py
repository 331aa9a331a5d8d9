"""``--processes N``: the same command on several processes of this machine, which share the work."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

__all__ = ["launch"]

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
"""What is left of the others after one has failed may take this long to leave."""


def launch(arguments: Sequence[str], n: int) -> int:
    """Run ``python -m forgefield ARGUMENTS`` n times with what `torch.distributed` wants to know.

    The first process speaks; of the others only messages of errors are shown. When one fails, the others are stopped.

    Returns
    -------
    int
        Exit code: that of the first process that failed, or 0.
    """
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(n)}
    running: list[subprocess.Popen[bytes]] = []
    with _all_stopped(running):
        for rank in range(n):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            quiet = None if rank == 0 else subprocess.DEVNULL
            running.append(
                subprocess.Popen(  # noqa: S603 - this very program
                    [sys.executable, "-m", "forgefield", *arguments],
                    env={**os.environ, **address, **own},
                    stdout=quiet,
                    stdin=subprocess.DEVNULL,
                )
            )
        return _first_failure(running)


def _first_failure(running: Sequence[subprocess.Popen[bytes]]) -> int:
    while True:
        try:
            codes = [p.poll() for p in running]
            failed = [c for c in codes if c]
            if failed:
                return failed[0] if failed[0] > 0 else 128 - failed[0]
            if all(c == 0 for c in codes):
                return 0
            time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:  # the terminal tells the others as well; the first one saves a checkpoint
            return running[0].wait()


@contextlib.contextmanager
def _all_stopped(running: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    try:
        yield
    finally:
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port
