"""Machine code from programs: compiled once for each processor, kept on disk, called with NumPy arrays.

The cache is safe for several processes: files are written atomically and verified when read. It lives in
``$FORGEFIELD_CACHE``, else ``$XDG_CACHE_HOME/forgefield``, else ``~/.cache/forgefield``; where none of these can be
made, kernels are built anew in every process.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from forgefield.errors import ForgefieldError
from forgefield.files import write_bytes
from forgefield.tracer.llvm import assembly
from forgefield.tracer.trace import Program

__all__ = [
    "Machine",
    "Native",
    "aligned",
    "cache_folder",
    "cached",
    "cached_files",
    "clear_cache",
    "foreign_sources",
    "host",
    "native",
    "object_code",
]

LARGEST_CACHE = 256 * 2**20
"""Bytes; the files used longest ago go first."""

_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Machine:
    """A processor to compile for.

    Attributes
    ----------
    triple, cpu, features : str
        As LLVM names them.
    width : int
        Bits of its vector registers.
    """

    triple: str
    cpu: str
    features: str
    width: int

    def lanes(self, bits: int) -> int:
        """Atoms at a time in the working type; at least four, which narrower registers hold in pairs."""
        return max(4, self.width // bits)


@lru_cache(maxsize=1)
def host() -> Machine:
    """Return the processor at hand; ``FORGEFIELD_SIMD=avx2`` (or sse2) makes it pretend to be a lesser one."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features: dict[str, bool] = llvm.get_host_cpu_features()
    limit = os.environ.get("FORGEFIELD_SIMD", "").lower()
    if limit not in ("", "avx512", "avx2", "sse2"):
        raise ForgefieldError(f"FORGEFIELD_SIMD is {limit!r}; allowed: avx512, avx2, sse2")
    if limit in ("avx2", "sse2"):
        features = {k: v and not k.startswith("avx512") for k, v in features.items()}
    if limit == "sse2":
        features = {
            k: v and not k.startswith(("avx", "fma", "f16c", "xop", "vaes", "vpcl"))
            for k, v in features.items()
        }
    width = 512 if features.get("avx512f") else 256 if features.get("avx2") else 128
    wide = ",-prefer-256-bit" if width == 512 else ""
    flags = ",".join(f"{'+' if on else '-'}{name}" for name, on in sorted(features.items())) + wide
    return Machine(llvm.get_process_triple(), llvm.get_host_cpu_name(), flags, width)


def _target(machine: Machine) -> Any:
    target = llvm.Target.from_triple(machine.triple)
    return target.create_target_machine(
        cpu=machine.cpu, features=machine.features, opt=2, reloc="pic", codemodel="small"
    )


def object_code(program: Program, machine: Machine) -> bytes:
    """Compile a program to an object file for any processor that LLVM knows."""
    target = _target(machine)
    module = llvm.parse_assembly(assembly(program, machine.lanes(program.bits)))
    module.triple = machine.triple
    module.data_layout = str(target.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    # The kernels are vectors already; unrolling and vectorising their loops only makes them larger.
    options.loop_unrolling = options.loop_vectorization = options.slp_vectorization = False
    builder = llvm.create_pass_builder(target, options)
    builder.getModulePassManager().run(module, builder)
    code: bytes = target.emit_object(module)
    return code


class Native:
    """Machine code that takes integers and NumPy arrays.

    Attributes
    ----------
    workspace : int
        Rows of memory each thread needs in the argument ``work``.
    lanes : int
        Atoms at a time.
    """

    def __init__(
        self, name: str, signature: Mapping[str, str], lanes: int, workspace: int, code: bytes
    ) -> None:
        self.name, self.lanes, self.workspace = name, lanes, workspace
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target(host()))
        self._engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        kinds = [ctypes.c_int64 if kind == "int" else ctypes.c_void_p for kind in signature.values()]
        self._call = ctypes.CFUNCTYPE(None, *kinds)(self._engine.get_function_address(name))

    def __call__(self, *arguments: int | np.ndarray) -> None:
        """Run; other Python threads go on meanwhile. Arrays must be contiguous and of the kinds of the signature."""
        self._call(*(a if isinstance(a, int) else a.__array_interface__["data"][0] for a in arguments))


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
    modules = {type(x).__module__ for x in objects}
    for module in sorted(m for m in modules if not m.startswith("forgefield.")):
        path = getattr(sys.modules.get(module), "__file__", None)
        # What was typed at a prompt has no file: its kernels are for this process alone.
        digest.update(Path(path).read_bytes() if path else f"{os.getpid()} {time.time()}".encode())
    return digest.hexdigest()


def native(
    name: str, signature: Mapping[str, str], bits: int, key: Any, build: Callable[[], Program]
) -> Native:
    """Return machine code for the processor at hand, from the cache where `key` was built before.

    Parameters
    ----------
    name : str
        Name of the kernel function.
    signature : mapping
    bits : int
    key : anything whose `repr` says all that the program depends on, beside the sources of this package
    build : callable
        Traces the program; called only where the cache has none.
    """
    machine = host()

    def compiled() -> tuple[int, bytes]:
        program = build()
        return program.workspace, object_code(program, machine)

    found = cached(name, (tuple(signature.items()), bits, key, machine), compiled)
    return Native(name, signature, machine.lanes(bits), *found)


def cached(name: str, key: Any, build: Callable[[], tuple[int, bytes]]) -> tuple[int, bytes]:
    """Return rows of workspace and machine code of a kernel, from the cache where `key` was built before."""
    text = repr((name, key, _sources()))
    folder = cache_folder()
    path = folder and folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.kernel"
    found = _read(path) if path else None
    if found is None:
        found = build()
        if path:
            _write(path, *found)
    return found


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


def aligned(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return a zeroed array that starts on a 64-byte boundary, as kernels need."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    array: np.ndarray = raw[start : start + size].view(dtype).reshape(shape)
    return array
