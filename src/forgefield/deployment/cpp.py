"""The C++ compiler of this machine: found, asked for a plug-in or a shared library, its complaints passed on."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from forgefield.deployment.engines import EngineMissingError
from forgefield.errors import ForgefieldError

__all__ = ["CompilerError", "CompilerMissingError", "compile_shared", "compiler", "link_shared"]

TIME_LIMIT = 300.0
"""Seconds after which a compiler is taken for dead."""

KNOWN = ("c++", "g++", "clang++")


class CompilerError(ForgefieldError, RuntimeError):
    """The compiler refuses what it is given."""


class CompilerMissingError(EngineMissingError):
    """There is no C++ compiler."""


def compiler() -> list[str]:
    """Return the command of the C++ compiler: that in the variable ``CXX``, else the first of `KNOWN` on the path.

    Raises
    ------
    CompilerMissingError
        There is none.
    """
    own = shlex.split(os.environ.get("CXX", ""))
    for words in [own] if own else [[name] for name in KNOWN]:
        found = shutil.which(words[0])
        if found:
            return [found, *words[1:]]
    looked = f"the variable CXX names {own[0]!r}" if own else f"looked for {', '.join(KNOWN)}"
    raise CompilerMissingError(
        f"a C++ compiler is needed to make the plug-in for LAMMPS and there is none ({looked}); install one "
        "(apt install g++, dnf install gcc-c++, conda install -c conda-forge cxx-compiler, xcode-select --install), or set "
        "CXX to it. Without one: the engine ase (forgefield md --engine ase), or fix external with "
        "forgefield.deployment.lammps_python.PythonPotential"
    )


def link_shared(objects: Sequence[Path]) -> bytes:
    """Return the shared library of object files."""
    return compile_shared([], objects)


def compile_shared(flags: Sequence[str], sources: Sequence[Path]) -> bytes:
    """Return the shared library of C++ sources, or of object files.

    Raises
    ------
    CompilerMissingError
        There is no compiler.
    CompilerError
        It refuses the sources; the message holds the first of its own.
    """
    undefined = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    with tempfile.TemporaryDirectory(prefix="forgefield-cpp-") as scratch:
        target = Path(scratch, "library.so")
        command = [*compiler(), "-shared", "-fPIC", *flags, *map(str, sources), *undefined, "-o", str(target)]
        try:
            done = subprocess.run(  # noqa: S603 - the compiler of this machine, our own sources
                command, capture_output=True, text=True, errors="replace", timeout=TIME_LIMIT, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CompilerError(f"{command[0]} does not run: {error}; set CXX to another compiler") from None
        if done.returncode != 0 or not target.exists():
            said = [line for line in done.stderr.splitlines() if "error" in line.lower()] or [
                done.stderr.strip()
            ]
            raise CompilerError(
                f"{command[0]} cannot make the library: {said[0]}; set CXX to another compiler"
            )
        return target.read_bytes()
