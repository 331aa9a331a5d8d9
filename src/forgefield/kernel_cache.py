"""Compiled kernels on disk: built once for each processor, found again by everything they depend on.

Safe for several processes: files are written atomically and verified when read. The folder is ``$FORGEFIELD_CACHE``,
else ``$XDG_CACHE_HOME/forgefield``, else ``~/.cache/forgefield``; where none of these can be made, kernels are built
anew in every process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite

from forgefield.errors import ForgefieldError
from forgefield.files import write_bytes

__all__ = [
    "LARGEST_CACHE",
    "cache_folder",
    "cached",
    "cached_files",
    "clear_cache",
    "foreign_sources",
    "seconds_building",
]

LARGEST_CACHE = 256 * 2**20
"""Bytes; the files used longest ago go first."""

_PACKAGE = Path(__file__).parent
_building: list[float] = []


@lru_cache(maxsize=1)
def _sources() -> str:
    """Hash of every file that may change what a kernel computes."""
    digest = hashlib.sha256(llvmlite.__version__.encode())
    for folder in ("formulas", "tracer", "expansions", "stages", "descriptors", "models", "engine"):
        for path in sorted((_PACKAGE / folder).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def foreign_sources(*objects: Any) -> str:
    """Return a hash of the files that define objects from outside this package, to be part of a key."""
    digest = hashlib.sha256()
    modules = {type(x).__module__ for x in objects} - {"builtins"}
    for module in sorted(m for m in modules if not m.startswith("forgefield.")):
        path = getattr(sys.modules.get(module), "__file__", None)
        # What was typed at a prompt has no file: its kernels are for this process alone.
        digest.update(Path(path).read_bytes() if path else f"{os.getpid()} {time.time()}".encode())
    return digest.hexdigest()


def cached(name: str, key: Any, build: Callable[[], tuple[int, bytes]]) -> tuple[int, bytes]:
    """Return rows of workspace and machine code of a kernel, from the cache where `key` was built before."""
    text = repr((name, key, _sources()))
    folder = cache_folder()
    path = folder and folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.kernel"
    found = _read(path) if path else None
    if found is None:
        start = time.process_time()
        found = build()
        if path:
            _write(path, *found)
            _building.append(time.process_time() - start)
    return found


def seconds_building() -> float:
    """Return the processor time that this process has spent on kernels which the next one will find."""
    return sum(_building)


def cache_folder() -> Path | None:
    """Return the folder of the cache, created where needed; None where there can be none."""
    own, base = os.environ.get("FORGEFIELD_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(own) if own else (Path(base) if base else Path.home() / ".cache") / "forgefield"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # read-only, or nobody knows where home is
        return None
    return folder


def cached_files() -> list[tuple[float, int, Path]]:
    """Return (time of last use, bytes, path) of every kernel in the cache, the one used longest ago first."""
    files, folder = [], cache_folder()
    for path in folder.glob("*.kernel") if folder else ():
        with contextlib.suppress(OSError):  # another process may have removed it
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    return sorted(files)


def clear_cache() -> int:
    """Remove every kernel from the cache and return how many there were."""
    return _trim(0)


def _read(path: Path) -> tuple[int, bytes] | None:
    try:
        head, _, code = path.read_bytes().partition(b"\n")
        header = json.loads(head)
        workspace = int(header["workspace"])
        if header["sha256"] != hashlib.sha256(code).hexdigest():
            return None
    except (OSError, ValueError, KeyError, TypeError):  # absent or damaged
        return None
    with contextlib.suppress(OSError):  # the folder may be read-only
        os.utime(path)
    return workspace, code


def _write(path: Path, workspace: int, code: bytes) -> None:
    header = {"workspace": workspace, "sha256": hashlib.sha256(code).hexdigest()}
    with contextlib.suppress(ForgefieldError):  # without a cache everything works, slower
        write_bytes(path, json.dumps(header).encode() + b"\n" + code)
        _trim(LARGEST_CACHE)


def _trim(limit: int) -> int:
    """Remove what was used longest ago until at most `limit` bytes are left; return how many files went."""
    files = cached_files()
    total, removed = sum(size for _, size, _ in files), 0
    for _, size, path in files:
        if total <= limit:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        total, removed = total - size, removed + 1
    return removed
