"""Tracing: a Python function becomes a program, and a tape of what it did gives the derivatives.

The function runs once. Python loops unroll, ``with k.range(lo, hi) as i`` is a loop at run time, and formulas written
for NumPy or torch arrays accept a `Vec` unchanged.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forgefield.tracer.derivatives import LINEAR
from forgefield.tracer.memory import KINDS, Accumulators, Rows, Workspace
from forgefield.tracer.values import Int, Lanes, Mask, TraceError, Value, Vec, blame

__all__ = ["Instruction", "Int", "Kernel", "Lanes", "Mask", "Program", "TraceError", "Vec", "trace"]

Tape = list[tuple[str, Vec, tuple[Any, ...]]]

_FOLD: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "where": lambda m, a, b: a,  # noqa: ARG005 - both constants are equal, see `op`
}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One step: `out` = `op` (`args`); a loop has a `body`. Arguments are values, plain numbers or names."""

    op: str
    out: Value | None
    args: tuple[Any, ...]
    body: list[Instruction] = field(default_factory=list)


@dataclass(frozen=True)
class Program:
    """What a kernel function left behind.

    Attributes
    ----------
    name : str
    signature : mapping of argument to kind
        See `memory.KINDS`; ``int`` for integers.
    bits : int
        32 or 64: the working type.
    body : list of Instruction
    workspace : int
        Rows of memory that each thread needs in the argument of kind ``workspace`` named ``work``.
    """

    name: str
    signature: Mapping[str, str]
    bits: int
    body: list[Instruction]
    workspace: int

    def dump(self) -> str:
        """Return the program as text, one instruction a line."""
        lines: list[str] = []

        def show(x: Any) -> str:
            return f"{type(x).__name__[0].lower()}{x.id}" if isinstance(x, Value) else str(x)

        def walk(body: list[Instruction], indent: str) -> None:
            for s in body:
                left = "" if s.out is None else f"{show(s.out)} = "
                lines.append(f"{indent}{left}{s.op} {', '.join(map(show, s.args))}")
                walk(s.body, indent + "    ")

        walk(self.body, "")
        return "\n".join(lines)


class Kernel:
    """What a kernel function sees: values, loops, memory, derivatives.

    Parameters
    ----------
    bits : int
        32 or 64. Formulas may look at it to choose how many terms they need.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.body: list[Instruction] = []
        self.tapes: list[Tape] = []
        self.count = 0
        self.workspace = 0

    # ---- instructions --------------------------------------------------------------------------------------

    def emit(self, op: str, kind: type[Any] | None, *args: Any) -> Any:
        """Append an instruction and return its result, a value of class `kind`."""
        out = None
        if kind is not None:
            self.count += 1
            out = kind(self, self.count)
        self.body.append(Instruction(op, out, args))
        return out

    def op(self, name: str, *args: Any) -> Any:
        """Append an operation on numbers, simplified where an argument is a plain number that allows it."""
        args = tuple(a if isinstance(a, Value) else self.number(a) for a in args)
        plain = [not isinstance(a, Value) for a in args]
        if all(plain):
            return _FOLD[name](*args)
        if name in ("add", "sub") and plain[1] and args[1] == 0:
            return args[0]
        if name == "add" and plain[0] and args[0] == 0:
            return args[1]
        if name == "mul" and plain[1]:
            args, plain = args[::-1], plain[::-1]
        if name == "mul" and plain[0] and args[0] in (0, 1):
            return args[1] if args[0] else 0.0
        if name == "div" and plain[0] and args[0] == 0:
            return 0.0
        if name == "div" and plain[1]:
            return self.op("mul", 1.0 / args[1], args[0])
        if name == "where" and all(plain[1:]) and args[1] == args[2]:
            return args[1]
        out: Vec = self.emit(name, Vec, *args)
        for tape in self.tapes:
            tape.append((name, out, args))
        return out

    @staticmethod
    def number(x: Any) -> float:
        """Return a plain number; anything else cannot meet a traced value."""
        try:
            return math.fsum((x,))  # unlike float, it takes no text
        except (TypeError, ValueError):
            raise blame(f"arithmetic between a traced value and {type(x).__name__}") from None

    def compare(self, name: str, a: Any, b: Any) -> Mask:
        """Return the mask a < b (``lt``) or a <= b (``le``)."""
        sides = [x if isinstance(x, Vec) else self.number(x) for x in (a, b)]
        return self.emit(name, Mask, *sides)  # type: ignore[no-any-return]

    def first_lanes(self, n: Int | int) -> Mask:
        """Return the mask of the first `n` lanes; of all where there are fewer."""
        return self.emit("first_lanes", Mask, n)  # type: ignore[no-any-return]

    def integer(self, name: str, a: Int | int, b: Int | int) -> Int:
        """Return the sum, difference, product, quotient, minimum or maximum of integers."""
        for x in (a, b):
            if not isinstance(x, Int | int):
                raise blame(f"integer arithmetic with {type(x).__name__}; addresses are integers")
        return self.emit(f"i{name}", Int, a, b)  # type: ignore[no-any-return]

    # ---- loops and memory ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def range(self, *bounds: Int | int, parallel: bool = False) -> Iterator[Any]:
        """Loop at run time over ``lo, lo + step, ...`` below `hi`; arguments as of Python's range.

        `parallel` marks the loop over blocks of atoms, whose trips are independent.
        """
        lo, hi, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
        if isinstance(lo, int) and isinstance(hi, int) and isinstance(step, int) and not parallel:
            if lo >= hi:
                raise blame(f"an empty loop from {lo} to {hi}: its body cannot be skipped while tracing")
            if lo + step >= hi:  # a single trip needs no loop
                yield lo
                return
        if self.tapes:
            raise blame("a loop at run time inside a tape; derivatives are taken of straight-line code")
        self.count += 1
        counter, outer, inner = Int(self, self.count), self.body, list[Instruction]()
        self.body = inner
        try:
            yield counter
        finally:
            self.body = outer
        outer.append(Instruction("parallel" if parallel else "loop", counter, (lo, hi, step), inner))

    def accumulators(self, n: int, start: float = 0.0) -> Accumulators:
        """Return n mutable numbers per lane that live in registers across loops."""
        return Accumulators(self, [start] * n)

    def buffer(self, rows: int) -> Rows:
        """Return memory of this thread, `rows` numbers per lane."""
        self.workspace += rows
        return Workspace(self, "work", self.workspace - rows)

    # ---- derivatives of straight-line code -----------------------------------------------------------------

    @contextlib.contextmanager
    def tape(self) -> Iterator[Tape]:
        """Note what happens inside, for `vjp` and `jvp`; these may themselves run inside another tape."""
        tape: Tape = []
        self.tapes.append(tape)
        try:
            yield tape
        finally:
            self.tapes.pop()

    def vjp(
        self,
        tape: Tape,
        outputs: Sequence[Any],
        seeds: Sequence[Any],
        inputs: Sequence[Vec],
        known: Mapping[Vec, Vec] | None = None,
    ) -> list[Any]:
        """Reverse sweep: ``sum_o seed_o d(output_o)/d(input)`` for every input.

        What is `known` of the tape's values, from memory, need not be computed anew.
        """
        known = known or {}
        steps, active = list(tape), set(inputs)
        for _, out, args in steps:
            if not active.isdisjoint(a for a in args if isinstance(a, Vec)):
                active.add(out)
        bar: dict[Vec, Any] = {}
        for output, seed in zip(outputs, seeds, strict=True):
            if output in active:
                bar[output] = bar.get(output, 0.0) + seed
        for name, out, args in reversed(steps):
            if out not in bar:
                continue
            for a, rule in zip(args, LINEAR[name], strict=True):
                if isinstance(a, Vec) and a in active and rule is not None:
                    values = (known.get(v, v) for v in (out, *args))
                    bar[a] = bar.get(a, 0.0) + rule(bar[out], *values)
        return [bar.get(x, 0.0) for x in inputs]

    def jvp(
        self, tape: Tape, inputs: Sequence[Vec], tangents: Sequence[Any], outputs: Sequence[Any]
    ) -> list[Any]:
        """Forward sweep: ``sum_i d(output)/d(input_i) tangent_i`` for every output."""
        dot: dict[Any, Any] = dict(zip(inputs, tangents, strict=True))
        for name, out, args in list(tape):
            rules = zip(args, LINEAR[name], strict=True)
            terms = [
                rule(dot[a], out, *args)
                for a, rule in rules
                if isinstance(a, Vec) and a in dot and rule is not None
            ]
            if terms:
                dot[out] = sum(terms)
        return [dot.get(x, 0.0) if isinstance(x, Vec) else 0.0 for x in outputs]


def trace(name: str, signature: Mapping[str, str], bits: int, function: Callable[..., None]) -> Program:
    """Run ``function(k, **arguments)`` and return the program.

    Parameters
    ----------
    name : str
    signature : mapping of argument name to kind
        A key of `memory.KINDS`, or ``int``.
    bits : int
    function : callable
    """
    k = Kernel(bits)
    arguments = {}
    for argument, kind in signature.items():
        if kind == "int":
            arguments[argument] = k.emit("argument", Int, argument)
        else:
            arguments[argument] = KINDS[kind](k, argument)
    function(k, **arguments)
    return Program(name, dict(signature), bits, k.body, k.workspace)
