"""CUDA C run on the processor, a warp at a time in lockstep: what a GPU is told to do can be checked without one.

The text given to NVRTC is compiled by g++ behind a page of definitions. The 32 threads of a warp are contexts that
take turns at every exchange between lanes, so shuffles do what they do on a GPU. The library also stands in for the
CUDA driver: kernels are launched through the same calls, with arguments passed the same way.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from forgefield.engine.nvrtc import CudaModule
from forgefield.errors import ForgefieldError

__all__ = ["host_compiler", "host_module"]

_SHIM = r"""
#include <cmath>
#include <cstring>
#include <cstddef>
#include <utility>
#include <ucontext.h>
#define __global__
#define __device__ static
#define __launch_bounds__(...)
template <typename T> static T min(T a, T b) { return b < a ? b : a; }
template <typename T> static T max(T a, T b) { return a < b ? b : a; }

struct Dimension { unsigned x; };
static Dimension threadIdx, blockIdx, blockDim, gridDim;
static ucontext_t scheduler, lanes[32];
static char stacks[32][1 << 18];
static bool finished[32], waiting[32];
static double slots[32];
static int current;
static bool diverged;

static void yield_lane() { swapcontext(&lanes[current], &scheduler); }

template <typename T> static T __shfl_xor_sync(unsigned mask, T x, int d)
{
    if (mask != 0xffffffffu) diverged = true;
    slots[current] = x;
    waiting[current] = true;
    yield_lane();
    const T other = T(slots[current ^ d]);
    yield_lane();
    waiting[current] = false;
    return other;
}

template <typename T> static T atomicAdd(T *at, T x) { const T old = *at; *at += x; return old; }

template <typename... A, size_t... I> static void call(void (*f)(A...), void **p, std::index_sequence<I...>)
{
    f(*static_cast<A *>(p[I])...);
}

struct Launch { virtual void body() = 0; };
static Launch *launch;
static void lane_body() { launch->body(); finished[current] = true; }

static void run_warp(int first)
{
    for (int lane = 0; lane < 32; ++lane) {
        finished[lane] = waiting[lane] = false;
        getcontext(&lanes[lane]);
        lanes[lane].uc_stack.ss_sp = stacks[lane];
        lanes[lane].uc_stack.ss_size = sizeof stacks[lane];
        lanes[lane].uc_link = &scheduler;
        makecontext(&lanes[lane], lane_body, 0);
    }
    for (int left = 32; left > 0;) {
        left = 0;
        for (int lane = 0; lane < 32; ++lane) {
            if (finished[lane]) continue;
            current = lane;
            threadIdx.x = first + lane;
            swapcontext(&scheduler, &lanes[lane]);
            left += !finished[lane];
        }
        if (left % 32) diverged = true;
    }
}

template <typename... A> static int run(void (*f)(A...), unsigned blocks, unsigned threads, void **p)
{
    struct Of : Launch {
        void (*f)(A...); void **p;
        void body() override { call(f, p, std::index_sequence_for<A...>()); }
    } of;
    of.f = f; of.p = p; launch = &of; diverged = false;
    gridDim.x = blocks; blockDim.x = threads;
    for (unsigned b = 0; b < blocks; ++b)
        for (unsigned first = 0; first < threads; first += 32) { blockIdx.x = b; run_warp(first); }
    return diverged ? 700 : 0;
}
"""

_DRIVER = r"""
typedef int (*Runner)(unsigned, unsigned, void **);
static struct { const char *name; Runner run; } table[] = { TABLE };

extern "C" int cuModuleLoadData(void **, const void *) { return 0; }
extern "C" int cuGetErrorString(int, const char **text) { *text = "lanes of a warp went different ways"; return 0; }
extern "C" int cuModuleGetFunction(void **function, void *, const char *name)
{
    for (auto &entry : table) if (!strcmp(entry.name, name)) { *function = (void *)entry.run; return 0; }
    return 500;
}
extern "C" int cuLaunchKernel(void *function, unsigned gx, unsigned, unsigned, unsigned bx, unsigned, unsigned,
                              unsigned, void *, void **arguments, void **)
{
    return ((Runner)function)(gx, bx, arguments);
}
"""


def host_compiler() -> str | None:
    """Return the path of g++, or None."""
    return shutil.which("g++")


def host_module(source: str) -> CudaModule:
    """Return kernels in CUDA C as a module that runs on tensors of the processor.

    Parameters
    ----------
    source : str
        From `tracer.cuda.source`.

    Raises
    ------
    ForgefieldError
        There is no g++, or it rejects the source.
    """
    compiler = host_compiler()
    if compiler is None:
        raise ForgefieldError("running CUDA C on the processor needs g++, which is not installed")
    names = re.findall(r'^extern "C" __global__ void __launch_bounds__\(\d+\) (\w+)\(', source, re.MULTILINE)
    runner = '{{"{0}", [](unsigned b, unsigned t, void **p) {{ return run({0}, b, t, p); }}}}'
    driver = _DRIVER.replace("TABLE", ", ".join(runner.format(name) for name in names))
    with tempfile.TemporaryDirectory() as folder:
        text, library = Path(folder) / "kernels.cpp", Path(folder) / "kernels.so"
        text.write_text(f"{_SHIM}\n{source}\n{driver}")
        command = [compiler, "-std=c++17", "-O1", "-fPIC", "-shared", "-w", "-o", str(library), str(text)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - g++ on our own text
        if done.returncode:
            raise ForgefieldError(f"g++ rejects the kernels: {done.stderr[:2000]}")
        return CudaModule(b"", torch.device("cpu"), ctypes.CDLL(str(library)))
