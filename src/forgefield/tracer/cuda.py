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
template <typename T> struct alignas(4 * sizeof(T)) Row { T x, y, z, w; };

// Lanes without a neighbour add zeros, all to one row: skipped, since additions to one address wait for each other.
template <typename T> __device__ void add_row(Row<T> *row, T x, T y, T z)
{
    if (x != 0 || y != 0 || z != 0) { atomicAdd(&row->x, x); atomicAdd(&row->y, y); atomicAdd(&row->z, z); }
}

template <typename T> __device__ void add_sum(double *sum, T x)
{
    for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(0xffffffffu, x, d);
    if (threadIdx.x % 32 == 0) atomicAdd(sum, double(x));
}
"""

_KINDS = {
    "int": "int {}",
    "rows": "T *__restrict__ {}",
    "workspace": "T *__restrict__ {}",
    "sums": "double *__restrict__ {}",
    "scalars": "const T *__restrict__ {}",
    "doubles": "const double *__restrict__ {}",
    "indices": "int *__restrict__ {}",
    "points": "const Row<double> *__restrict__ {}",
    "vectors": "Row<T> *__restrict__ {}",
}
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<="}
_INTEGER = {"iadd": "{} + {}", "isub": "{} - {}", "imul": "{} * {}", "idiv": "{} / {}"}
_INTEGER |= {"imin": "min({}, {})", "imax": "max({}, {})"}
_CALL = ("sqrt", "rint", "exp", "log", "log1p", "tanh")
_OWN = ("sin", "cos")  # CUDA's branch for large arguments, which costs registers where none is ever large
_LAID_OUT = {"rows": "{} + lane", "workspace": "{0} + {0}_base + lane"}


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
    functions = [_function(op, bits) for bits in sorted({p.bits for p in programs}) for op in _OWN]
    return "\n".join([_PRELUDE, *functions, *(_Writer(p).text() for p in programs)])


def _function(op: str, bits: int) -> str:
    k = Kernel(bits)
    x: Vec = k.emit("parameter", Vec)
    result = COMPOSITE[op](x)
    writer = _Writer(Program(op, {}, bits, k.body[1:], 0))
    for s in k.body[1:]:
        writer.instruction(s)
    head = f"__device__ inline {writer.number} own_{op}({writer.number} v{x.id})"
    return "\n".join([head, "{", *writer.lines, f"    return v{result.id};", "}", ""])


def _needed(body: list[Instruction], used: set[int]) -> list[Instruction]:
    """Return the instructions that have an effect or whose result is used; `used` collects what they use."""
    kept = []
    for s in reversed(body):
        if s.op in ("loop", "parallel"):
            kept.append(Instruction(s.op, s.out, s.args, _needed(s.body, used)))
        elif s.out is None or s.out.id in used or s.op == "append":
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
        self.private = private_arguments(program.signature, program.body)
        self.lines: list[str] = []
        self.indent, self.out = "    ", ""

    def text(self) -> str:
        p, signature = self.program, self.program.signature
        arguments = [_KINDS[kind].format(a).replace("T ", f"{self.number} ") for a, kind in signature.items()]
        arguments = [a.replace("<T>", f"<{self.number}>") for a in arguments]
        arguments += [f"int {a}_rows" for a in self.private]
        self.line(
            f'extern "C" __global__ void __launch_bounds__({THREADS}) {p.name}({", ".join(arguments)})', ""
        )
        self.line("{", "")
        self.line("const int lane = threadIdx.x % 32, warps = gridDim.x * (blockDim.x / 32);")
        self.line("const int warp = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;")
        for a, kind in signature.items():
            if a in self.private or kind == "workspace":
                rows = f"{a}_rows" if a in self.private else str(p.workspace)
                self.line(f"{a} += (long long)warp * {rows} * 32;")
            if kind in ("rows", "workspace"):
                self.line(f"{a} += lane;")
        for s in _needed(p.body, set()):
            self.instruction(s)
        return "\n".join([*self.lines, "}", ""])

    def line(self, code: str, indent: str | None = None) -> None:
        self.lines.append((self.indent if indent is None else indent) + code)

    def v(self, x: Any) -> str:
        """Return a number as an operand; a plain one is written so that it is read back without rounding."""
        if isinstance(x, Value):
            return f"v{x.id}"
        exact = float(np.float32(x)) if self.program.bits == 32 else float(x)
        return f"({exact!r}{self.suffix})"

    @staticmethod
    def i(x: Any) -> str:
        return f"v{x.id}" if isinstance(x, Value) else str(x)

    def at(self, name: str, i: Any, *, lane: bool = False) -> str:
        """Return an element: one per row and lane where the pointer has been moved to the lane, or with `lane`."""
        wide = lane or self.program.signature[name] in ("rows", "workspace")
        return f"{name}[{f'(long long){self.i(i)} * 32' if wide else self.i(i)}{' + lane' if lane else ''}]"

    def instruction(self, s: Instruction) -> None:
        self.out = self.i(s.out)
        if s.op in ("loop", "parallel"):
            self.loop(s)
        elif s.op in _INFIX:
            a, b = map(self.v, s.args)
            self.let(f"{a} {_INFIX[s.op]} {b}", "bool" if s.op in ("lt", "le") else self.number)
        elif s.op in _INTEGER:
            self.let(_INTEGER[s.op].format(*map(self.i, s.args)), "int")
        elif s.op in _OWN:
            self.let(f"own_{s.op}({self.v(s.args[0])})")
        elif s.op in _CALL:
            self.let(f"{s.op}{self.suffix}({self.v(s.args[0])})")
        else:
            method = getattr(self, f"do_{s.op}", None)
            if method is None:
                raise TraceError(
                    f"{self.program.name}: {s.op!r} cannot run on a GPU; build neighbour lists outside"
                )
            method(*s.args)

    def let(self, code: str, kind: str | None = None) -> None:
        """Write an instruction with a result."""
        self.line(f"const {kind or self.number} {self.out} = {code};")

    def loop(self, s: Instruction) -> None:
        lo, hi, step = map(self.i, s.args)
        if s.op == "parallel":
            lo, step = f"{lo} + warp", "warps"
        i, outer = self.out, self.indent
        self.line("#pragma unroll 1")
        self.line(f"for (int {i} = {lo}; {i} < {hi}; {i} += {step}) {{")
        self.indent += "    "
        for inner in s.body:
            self.instruction(inner)
        self.indent = outer
        self.line("}")

    def do_argument(self, name: str) -> None:
        self.let(name, "int")

    def do_where(self, mask: Value, a: Any, b: Any) -> None:
        self.let(f"v{mask.id} ? {self.v(a)} : {self.v(b)}")

    # ---- memory --------------------------------------------------------------------------------------------

    def do_slot(self, start: Any) -> None:
        self.line(f"{self.number} {self.out} = {self.v(start)};")

    def do_slot_int(self, start: Any) -> None:
        self.line(f"int {self.out} = {self.i(start)};")

    def do_get(self, slot: Value) -> None:
        self.let(f"v{slot.id}")

    def do_get_int(self, slot: Value) -> None:
        self.let(f"v{slot.id}", "int")

    def do_set(self, slot: Value, value: Any) -> None:
        self.line(f"v{slot.id} = {self.v(value)};")

    def do_set_int(self, slot: Value, value: Any) -> None:
        self.line(f"v{slot.id} = {self.i(value)};")

    def do_load(self, name: str, i: Any) -> None:
        self.let(self.at(name, i))

    def do_store(self, name: str, i: Any, value: Any) -> None:
        self.line(f"{self.at(name, i)} = {self.v(value)};")

    def do_accumulate(self, name: str, i: Any, value: Any) -> None:
        if self.program.signature[name] == "sums":
            self.line(f"add_sum({name} + {self.i(i)}, {self.v(value)});")
        else:
            self.line(f"{self.at(name, i)} += {self.v(value)};")

    def do_splat(self, name: str, i: Any) -> None:
        self.let(f"{self.number}({self.at(name, i)})")

    def do_contiguous(self, name: str, i: Any) -> None:
        self.let(f"{name}[{self.i(i)} + lane]")

    def do_load_int(self, name: str, i: Any) -> None:
        self.let(self.at(name, i), "int")

    def do_store_int(self, name: str, i: Any, value: Any) -> None:
        self.line(f"{self.at(name, i)} = {self.i(value)};")

    def do_lanes(self, name: str, row: Any) -> None:
        self.let(self.at(name, row, lane=True), "int")

    def do_store_lanes(self, name: str, row: Any, lanes: Value) -> None:
        self.line(f"{self.at(name, row, lane=True)} = v{lanes.id};")

    def do_pick(self, name: str, starts: Value, ends: Value, e: Any) -> None:
        self.let(f"{name}[min(v{starts.id} + {self.i(e)}, v{ends.id})]", "int")

    # ---- atoms ---------------------------------------------------------------------------------------------

    def do_difference(self, name: str, j: Value, i: Value) -> None:
        out, t = self.out, self.number
        self.line(f"const Row<double> {out}j = {name}[v{j.id}], {out}i = {name}[v{i.id}];")
        parts = ", ".join(f"{t}({out}j.{c} - {out}i.{c})" for c in "xyz")
        self.line(f"const Row<{t}> {out} = {{{parts}, 0}};")

    def do_gather(self, name: str, j: Value) -> None:
        self.let(f"{name}[v{j.id}]", f"Row<{self.number}>")

    def do_component(self, rows: Value, c: int) -> None:
        self.let(f"v{rows.id}.{'xyz'[c]}")

    def do_scatter(self, name: str, j: Value, *xyz: Any) -> None:
        self.line(f"add_row({name} + v{j.id}, {', '.join(map(self.v, xyz))});")
