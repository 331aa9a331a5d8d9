"""A small tracing compiler: ordinary Python formulas in, SIMD machine code or CUDA C out.

A kernel is a Python function that runs once, on a `Kernel`, and leaves a `Program`: a list of instructions with nested
loops. `llvm` writes it as assembly for the processor, which `cache` compiles and keeps; `cuda` writes it as source for
a GPU; `testing.interpreter` runs it in NumPy. Derivatives are instructions like any other, put there by the tape of
`trace`. See docs/tracer.md.
"""

from __future__ import annotations

from forgefield.tracer.trace import Int, Kernel, Lanes, Mask, Program, TraceError, Vec, trace

__all__ = ["Int", "Kernel", "Lanes", "Mask", "Program", "TraceError", "Vec", "trace"]
