"""Machine code from programs: compiled once for each processor, kept on disk, called with NumPy arrays."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from forgefield.errors import ForgefieldError
from forgefield.kernel_cache import cached
from forgefield.tracer.llvm import assembly
from forgefield.tracer.trace import Program

__all__ = ["Machine", "Native", "address", "aligned", "cached", "host", "native", "object_code"]


_NEWER = {"avx512": (), "avx2": ("avx512",), "sse2": ("avx", "fma", "f16c", "xop", "vaes", "vpcl")}
"""What to leave out of a processor's features to stay at a level, by the beginning of the name."""


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
    limit = os.environ.get("FORGEFIELD_SIMD", "").lower() or "avx512"
    if limit not in _NEWER:
        raise ForgefieldError(f"FORGEFIELD_SIMD is {limit!r}; allowed: {', '.join(_NEWER)}")
    features = {name: on and not name.startswith(_NEWER[limit]) for name, on in features.items()}
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
    at : callable
        The kernel on integers and addresses alone, for callers that know where their arrays lie.
    """

    def __init__(
        self, name: str, signature: Mapping[str, str], lanes: int, workspace: int, code: bytes
    ) -> None:
        self.name, self.lanes, self.workspace = name, lanes, workspace
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target(host()))
        self._engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        kinds = [ctypes.c_int64 if kind == "int" else ctypes.c_void_p for kind in signature.values()]
        self.at = ctypes.CFUNCTYPE(None, *kinds)(self._engine.get_function_address(name))

    def __call__(self, *arguments: int | np.ndarray) -> None:
        """Run; other Python threads go on meanwhile. Arrays must be contiguous and of the kinds of the signature."""
        self.at(*[a if isinstance(a, int) else address(a) for a in arguments])


def address(array: np.ndarray) -> int:
    """Return where the numbers of an array begin: what a kernel is called with; whoever keeps it keeps the array."""
    try:
        # Eight times as fast as asking NumPy; the stubs know arrays as buffers from Python 3.12 on.
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type,unused-ignore]
    except (TypeError, ValueError):  # read-only, or empty
        return int(array.__array_interface__["data"][0])


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


def aligned(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return a zeroed array that starts on a 64-byte boundary, as kernels need."""
    size = (math.prod(shape) if isinstance(shape, tuple) else int(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -address(raw) % 64
    array: np.ndarray = raw[start : start + size].view(dtype).reshape(shape)
    return array
