"""The GPU target: a program as CUDA C, one atom per thread, one block of atoms per warp of 32 threads.

Every branch and loop of a program is the same for all lanes, so the threads of a warp stay together. Memory private to
a thread (``workspace``, and integers a program writes) lies in one piece per warp, lane after lane: neighbouring threads
touch neighbouring addresses. ``vectors`` are added to atomically; ``sums`` are one float64 number per row, to which a
warp adds the sum over its lanes, atomically.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from forgefield.tracer.functions import COMPOSITE
from forgefield.tracer.trace import Instruction, Kernel, Program, TraceError
from forgefield.tracer.values import Value, Vec

__all__ = ["LANES", "THREADS", "private_arguments", "source"]

LANES = 32
"""Atoms of a block: the threads of a warp."""

THREADS = 128
"""Threads of a block of the grid, at most."""

_PRELUDE = """
template <typename T> struct alignas(4 * sizeof(T)) Row { T at[4]; };

template <typename T> __device__ Row<T> difference(Row<double> j, Row<double> i)
{
    return {T(j.at[0] - i.at[0]), T(j.at[1] - i.at[1]), T(j.at[2] - i.at[2]), T(0)};
}

// Lanes without a neighbour add zeros, all to one row: skipped, since additions to one address wait for each other.
template <typename T> __device__ void add_row(Row<T> *row, T x, T y, T z)
{
    if (x == 0 && y == 0 && z == 0) return;
    atomicAdd(&row->at[0], x); atomicAdd(&row->at[1], y); atomicAdd(&row->at[2], z);
}

template <typename T> __device__ void add_sum(double *sum, T x)
{
    for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(0xffffffffu, x, d);
    if (threadIdx.x % 32 == 0) atomicAdd(sum, double(x));
}
"""

_KINDS = {
    "int": "int {}",
    "rows": "{t} *__restrict__ {}",
    "workspace": "{t} *__restrict__ {}",
    "sums": "double *__restrict__ {}",
    "scalars": "const {t} *__restrict__ {}",
    "doubles": "const double *__restrict__ {}",
    "indices": "int *__restrict__ {}",
    "points": "const Row<double> *__restrict__ {}",
    "vectors": "Row<{t}> *__restrict__ {}",
}

_SINE = ("sin", "cos")
"""CUDA's own branch to reduce large arguments, which costs registers where none is ever large."""

_NUMBERS = {"add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}", "get": "{0}"}
_NUMBERS |= {"where": "{0} ? {1} : {2}", "load": "{at}", "splat": "{t}({at})", "component": "{0}.at[{1}]"}
_NUMBERS |= {"contiguous": "{0}[{1} + lane]"} | {f: f"own_{f}({{0}})" for f in _SINE}
_NUMBERS |= {f: f + "{f}({0})" for f in ("sqrt", "rint", "exp", "log", "log1p", "tanh")}
_INTEGERS = {"iadd": "{0} + {1}", "isub": "{0} - {1}", "imul": "{0} * {1}", "idiv": "{0} / {1}"}
_INTEGERS |= {"imin": "min({0}, {1})", "imax": "max({0}, {1})", "get_int": "{0}", "argument": "{0}"}
_INTEGERS |= {"load_int": "{at}", "lanes": "{row}", "pick": "{0}[min({1} + {3}, {2})]"}
_ROWS = {"difference": "difference<{t}>({0}[{1}], {0}[{2}])", "gather": "{0}[{1}]"}

_STATEMENTS = {op: f"const {{t}} {{out}} = {code};" for op, code in _NUMBERS.items()}
_STATEMENTS |= {op: f"const int {{out}} = {code};" for op, code in _INTEGERS.items()}
_STATEMENTS |= {op: f"const Row<{{t}}> {{out}} = {code};" for op, code in _ROWS.items()}
_STATEMENTS |= {
    "lt": "const bool {out} = {0} < {1};",
    "le": "const bool {out} = {0} <= {1};",
    "slot": "{t} {out} = {0};",
    "slot_int": "int {out} = {0};",
    "set": "{0} = {1};",
    "set_int": "{0} = {1};",
    "store": "{at} = {2};",
    "store_int": "{at} = {2};",
    "store_lanes": "{row} = {2};",
    "accumulate": "{at} += {2};",
    "sum": "add_sum<{t}>({0} + {1}, {2});",
    "scatter": "add_row<{t}>({0} + {1}, {2}, {3}, {4});",
    "scatter_from": "add_row<{t}>({0} + {1} + {2}, {3}, {4}, {5});",
    "put_rows": "{0}[{1} + {2}] = Row<{t}>{{{3}, {4}, {5}, {6}}};",
}
"""Operations in C: arguments {0}, {1}, ...; {at} is element {1} of array {0}, {row} what this lane has in row {1}."""


def private_arguments(signature: Mapping[str, str], body: list[Instruction]) -> list[str]:
    """Return the arguments of which each warp has a piece of its own, but ``work``.

    The kernel takes the rows of a piece as further integers, in this order, after the arguments of the signature.
    """
    written = {s.args[0] for s in _walk(body) if s.op in ("store_lanes", "store_int")}
    return [a for a, kind in signature.items() if (kind == "workspace" and a != "work") or a in written]


def source(*programs: Program) -> str:
    """Return the CUDA C of programs that one file holds: a kernel of the same name for each.

    A kernel takes its arguments in the order of the signature, integers as int, then the rows of `private_arguments`.
    Threads in a block of the grid: a multiple of 32, at most `THREADS`; any number of blocks does all the work.
    """
    functions = [_function(op, bits) for bits in sorted({p.bits for p in programs}) for op in _SINE]
    return "\n".join([_PRELUDE, *functions, *(_Writer(p).text() for p in programs)])


def _function(op: str, bits: int) -> str:
    k = Kernel(bits)
    x: Vec = k.emit("parameter", Vec)
    result = COMPOSITE[op](x)
    writer = _Writer(Program(op, {}, bits, k.body[1:], 0))
    writer.body(k.body[1:], "    ")
    head = f"__device__ inline {writer.number} own_{op}({writer.number} v{x.id})"
    return "\n".join([head, "{", *writer.lines, f"    return v{result.id};", "}", ""])


def _needed(body: list[Instruction], used: set[int]) -> list[Instruction]:
    """Return the instructions that have an effect or whose result is used; `used` collects what they use."""
    kept = []
    for s in reversed(body):
        if s.op in ("loop", "parallel"):
            kept.append(Instruction(s.op, s.out, s.args, _needed(s.body, used)))
        elif s.out is None or s.out.id in used or s.op not in _STATEMENTS:
            kept.append(s)
        else:
            continue
        used.update(a.id for a in s.args if isinstance(a, Value))
    return kept[::-1]


def _walk(body: list[Instruction]) -> Iterator[Instruction]:
    for s in body:
        yield s
        yield from _walk(s.body)


class _Writer:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.number, self.suffix = ("float", "f") if program.bits == 32 else ("double", "")
        self.lines: list[str] = []

    def text(self) -> str:
        p, signature = self.program, self.program.signature
        private = private_arguments(signature, p.body)
        arguments = [_KINDS[kind].format(a, t=self.number) for a, kind in signature.items()]
        head = ", ".join(arguments + [f"int {a}_rows" for a in private])
        self.lines += [f'extern "C" __global__ void __launch_bounds__({THREADS}) {p.name}({head})', "{"]
        self.lines += [
            "    const int lane = threadIdx.x % 32, warps = gridDim.x * (blockDim.x / 32);",
            "    const int warp = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;",
        ]
        for a, kind in signature.items():
            if a in private or kind == "workspace":
                rows = f"{a}_rows" if a in private else p.workspace
                self.lines.append(f"    {a} += (long long)warp * {rows} * 32;")
            if kind in ("rows", "workspace"):
                self.lines.append(f"    {a} += lane;")
        self.body(_needed(p.body, set()), "    ")
        return "\n".join([*self.lines, "}", ""])

    def body(self, body: list[Instruction], indent: str) -> None:
        for s in body:
            if s.op not in ("loop", "parallel"):
                self.lines.append(indent + self.statement(s))
                continue
            lo, hi, step = map(self.show, s.args)
            if s.op == "parallel":
                lo, step = f"{lo} + warp", "warps"
            i = self.show(s.out)
            self.lines.append(f"{indent}#pragma unroll 1")
            self.lines.append(f"{indent}for (int {i} = {lo}; {i} < {hi}; {i} += {step}) {{")
            self.body(s.body, indent + "    ")
            self.lines.append(indent + "}")

    def statement(self, s: Instruction) -> str:
        args, places = [self.show(a) for a in s.args], {}
        kind = self.program.signature.get(args[0], "") if args else ""
        if kind and len(args) > 1:
            wide = (
                f"{args[0]}[(long long){args[1]} * 32"  # a row of lanes, the pointer moved to the lane or not
            )
            places["row"] = f"{wide} + lane]"
            places["at"] = f"{wide}]" if kind in ("rows", "workspace") else f"{args[0]}[{args[1]}]"
        op = "sum" if kind == "sums" and s.op == "accumulate" else s.op
        if op not in _STATEMENTS:
            raise TraceError(
                f"{self.program.name}: {op!r} cannot run on a GPU; build neighbour lists outside"
            )
        return _STATEMENTS[op].format(*args, out=self.show(s.out), t=self.number, f=self.suffix, **places)

    def show(self, x: Any) -> str:
        """Return an operand; numbers are written so that they are read back without rounding."""
        if isinstance(x, Value):
            return f"v{x.id}"
        if isinstance(x, float | np.floating):
            exact = float(np.float32(x)) if self.program.bits == 32 else float(x)
            return f"({exact!r}{self.suffix})"
        return str(x)
