"""CUDA C compiled at run time (NVRTC) and launched on torch's stream (the driver), both through ctypes.

torch brings NVRTC along, and the driver belongs to the GPU, so nothing is to be installed: no nvcc, no headers.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator, Sequence
from ctypes import byref, c_char_p, c_int, c_size_t, c_void_p
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from forgefield.errors import ForgefieldError

__all__ = ["CompilerMissingError", "CudaModule", "Module", "compile_cuda", "pack"]


class CompilerMissingError(ForgefieldError):
    """There is no NVRTC on this machine."""


class Module(Protocol):
    """Kernels ready to run."""

    def launch(self, name: str, blocks: int, threads: int, arguments: Sequence[int | Tensor]) -> None:
        """Start a kernel with this grid; it runs after what was started before."""
        ...


def pack(arguments: Sequence[int | Tensor]) -> tuple[Any, list[Any]]:
    """Return the addresses of a kernel's arguments as an array, and what must be kept alive until the launch."""
    values = [c_int(a) if isinstance(a, int) else c_void_p(a.data_ptr()) for a in arguments]
    return (c_void_p * len(values))(*(ctypes.addressof(v) for v in values)), values


# ---- compile ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _nvrtc() -> ctypes.CDLL:
    versions = [torch.version.cuda.partition(".")[0]] if torch.version.cuda else []
    names = [f"libnvrtc.so.{v}" for v in [*versions, "13", "12"]]
    folders = [Path(p) / "nvidia" for p in sys.path if (Path(p) / "nvidia").is_dir()]
    names += [str(f) for n in names for folder in folders for f in sorted(folder.glob(f"*/lib/{n}"))]
    names += ["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"] if sys.platform == "win32" else ["libnvrtc.so"]
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise CompilerMissingError(
        "NVRTC was not found, so no kernel can be compiled for the GPU; it comes with a CUDA build of torch "
        f"(this one: {torch.__version__}) or with `pip install nvidia-cuda-nvrtc`"
    )


def _architecture(library: ctypes.CDLL, capability: tuple[int, int]) -> tuple[str, bool]:
    """Return the newest architecture that NVRTC knows and the device runs; whether it is the device's own."""
    count = c_int()
    _check_compiler(library, library.nvrtcGetNumSupportedArchs(byref(count)))
    known = (c_int * count.value)()
    _check_compiler(library, library.nvrtcGetSupportedArchs(known))
    wanted = 10 * capability[0] + capability[1]
    usable = [a for a in known if a <= wanted]
    if not usable:
        raise ForgefieldError(
            f"the GPU has compute capability {capability[0]}.{capability[1]}, and NVRTC compiles for "
            f"{min(known) / 10} and above; install an older CUDA build of torch, or use the CPU"
        )
    return f"{max(usable)}", max(usable) == wanted


def compile_cuda(source: str, capability: tuple[int, int]) -> bytes:
    """Compile CUDA C for a device.

    Parameters
    ----------
    source : str
    capability : (int, int)
        Compute capability of the device.

    Returns
    -------
    bytes
        Machine code of the device; for a device newer than NVRTC, PTX that its driver compiles.

    Raises
    ------
    CompilerMissingError
        There is no NVRTC.
    ForgefieldError
        NVRTC rejects the source or knows no architecture that the device runs.
    """
    library = _nvrtc()
    number, native = _architecture(library, capability)
    options = [f"--gpu-architecture={'sm' if native else 'compute'}_{number}", "--std=c++17"]
    program = c_void_p()
    text = source.encode()
    code = library.nvrtcCreateProgram(byref(program), c_char_p(text), c_char_p(b"kernels.cu"), 0, None, None)
    _check_compiler(library, code)
    try:
        array = (c_char_p * len(options))(*(o.encode() for o in options))
        if library.nvrtcCompileProgram(program, len(options), array):
            log = _text(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program)
            raise ForgefieldError(
                f"NVRTC rejects a kernel: {log.decode(errors='replace')[:2000]}; this is an error of forgefield, "
                "please report it; until it is repaired, use the CPU"
            )
        if native:
            return _text(library.nvrtcGetCUBINSize, library.nvrtcGetCUBIN, program)
        return _text(library.nvrtcGetPTXSize, library.nvrtcGetPTX, program)
    finally:
        library.nvrtcDestroyProgram(byref(program))


def _text(size_of: Any, get: Any, program: c_void_p) -> bytes:
    size = c_size_t()
    size_of(program, byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    get(program, buffer)
    return buffer.raw


def _check_compiler(library: ctypes.CDLL, code: int) -> None:
    if code:
        library.nvrtcGetErrorString.restype = c_char_p
        raise ForgefieldError(
            f"NVRTC fails: {library.nvrtcGetErrorString(code).decode()}; use the CPU instead"
        )


# ---- launch ----------------------------------------------------------------------------------------------------


class CudaModule:
    """Compiled kernels on a device.

    Parameters
    ----------
    image : bytes
        From `compile_cuda`.
    device : torch.device
        Of type cuda; any other with a stand-in for the driver.
    library : ctypes.CDLL, optional
        In place of the CUDA driver.
    """

    def __init__(self, image: bytes, device: torch.device, library: ctypes.CDLL | None = None) -> None:
        self.device = device
        self._driver = library or ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        self._functions: dict[str, c_void_p] = {}
        self._module = c_void_p()
        torch.zeros(1, device=device)  # torch creates the context
        with self._current():
            self._check(self._driver.cuModuleLoadData(byref(self._module), c_char_p(image)), "load")

    def launch(self, name: str, blocks: int, threads: int, arguments: Sequence[int | Tensor]) -> None:
        """Start a kernel on torch's current stream."""
        function = self._functions.get(name)
        addresses, kept = pack(arguments)
        with self._current() as stream:
            if function is None:
                function = self._functions[name] = c_void_p()
                found = self._driver.cuModuleGetFunction(byref(function), self._module, name.encode())
                self._check(found, f"find {name!r} in")
            grid = (blocks, 1, 1, threads, 1, 1, 0)
            self._check(
                self._driver.cuLaunchKernel(function, *grid, stream, addresses, None), f"launch {name!r} of"
            )
        del kept

    @contextlib.contextmanager
    def _current(self) -> Iterator[c_void_p]:
        """Make the device's context the current one; yield torch's stream."""
        if self.device.type != "cuda":
            yield c_void_p()
            return
        with torch.cuda.device(self.device):
            yield c_void_p(torch.cuda.current_stream().cuda_stream)

    def _check(self, code: int, what: str) -> None:
        if code:
            message = c_char_p()
            self._driver.cuGetErrorString(code, byref(message))
            reason = (message.value or b"unknown").decode()
            raise ForgefieldError(
                f"the CUDA driver cannot {what} the kernels ({reason}); use the CPU instead"
            )
