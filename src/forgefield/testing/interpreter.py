"""A program run by NumPy, instruction by instruction: slow, and easy to look into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from forgefield.tracer.trace import Instruction, Program
from forgefield.tracer.values import Value

__all__ = ["interpret"]

_ARITHMETIC = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "lt": np.less,
    "le": np.less_equal,
    "where": np.where,
    "sqrt": np.sqrt,
    "rint": np.rint,
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sin": np.sin,
    "cos": np.cos,
    "iadd": int.__add__,
    "isub": int.__sub__,
    "imul": int.__mul__,
    "idiv": int.__floordiv__,
    "imin": min,
    "imax": max,
}


def interpret(program: Program, lanes: int, arguments: Mapping[str, Any]) -> dict[int, Any]:
    """Run a program on NumPy arrays, which it changes in place, and return the last value of every instruction.

    Parameters
    ----------
    program : Program
    lanes : int
    arguments : mapping of argument name to int or array
        Arrays of any shape that hold their numbers contiguously; ``points`` float64, ``indices`` int32.
    """
    run = _Interpreter(program, lanes, arguments)
    run.body(program.body)
    return run.values


class _Interpreter:
    def __init__(self, program: Program, lanes: int, arguments: Mapping[str, Any]) -> None:
        self.lanes = lanes
        self.type = np.dtype(f"f{program.bits // 8}")
        self.values: dict[int, Any] = {}
        self.integers = {a: int(arguments[a]) for a, kind in program.signature.items() if kind == "int"}
        arrays = {a: arguments[a].reshape(-1) for a, kind in program.signature.items() if kind != "int"}
        self.flat = arrays
        sizes = {"points": 4, "vectors": 4}
        self.rows = {
            a: x[: len(x) // n * n].reshape(-1, n)
            for a, x in arrays.items()
            for n in (sizes.get(program.signature[a], lanes),)
        }

    def body(self, body: list[Instruction]) -> None:
        for s in body:
            if s.op in ("loop", "parallel"):
                lo, hi, step = map(self.value, s.args)
                for i in range(lo, hi, step):
                    self.values[s.out.id] = i  # type: ignore[union-attr]
                    self.body(s.body)
                continue
            if s.op in _ARITHMETIC:
                result = _ARITHMETIC[s.op](*map(self.value, s.args))  # type: ignore[operator]
            else:
                result = getattr(self, f"do_{s.op}")(*map(self.value, s.args))
            if s.out is not None:
                self.values[s.out.id] = result

    def value(self, x: Any) -> Any:
        if isinstance(x, Value):
            return self.values[x.id]
        return self.type.type(x) if isinstance(x, float) else x

    def full(self, x: Any) -> Any:
        return np.broadcast_to(np.asarray(x, self.type), self.lanes).copy()

    def do_argument(self, name: str) -> int:
        return self.integers[name]

    def do_slot(self, start: Any) -> list[Any]:
        return [self.full(start)]

    def do_slot_int(self, start: int) -> list[Any]:
        return [start]

    def do_get(self, slot: list[Any]) -> Any:
        return slot[0]

    def do_set(self, slot: list[Any], value: Any) -> None:
        slot[0] = value

    do_get_int, do_set_int = do_get, do_set

    def do_load(self, name: str, i: int) -> Any:
        return self.rows[name][i].copy()

    def do_store(self, name: str, i: int, value: Any) -> None:
        self.rows[name][i] = value

    def do_accumulate(self, name: str, i: int, value: Any) -> None:
        self.rows[name][i] += value

    def do_splat(self, name: str, i: int) -> Any:
        return self.full(self.flat[name][i])

    def do_contiguous(self, name: str, i: int) -> Any:
        return self.flat[name][i : i + self.lanes].copy()

    def do_add_sums(self, name: str, i: int, *values: Any) -> None:
        self.flat[name][i : i + len(values)] += [self.full(x).sum() for x in values]

    def do_load_int(self, name: str, i: int) -> int:
        return int(self.flat[name][i])

    def do_store_int(self, name: str, i: int, value: int) -> None:
        self.flat[name][i] = value

    def do_lanes(self, name: str, row: int) -> Any:
        return self.rows[name][row]

    def do_store_lanes(self, name: str, row: int, lanes: Any) -> None:
        self.rows[name][row] = lanes

    def do_store_whole(self, name: str, row: int, value: Any) -> None:
        self.rows[name][row] = self.full(value).astype(np.int32)

    def do_pick(self, name: str, starts: Any, ends: Any, e: int) -> Any:
        return self.flat[name][np.minimum(starts + e, ends)]

    def do_first_lanes(self, n: int) -> Any:
        return np.arange(self.lanes) < n

    def do_append(self, name: str, at: int, first: int, mask: Any, source: str | None) -> int:
        found = first + np.flatnonzero(mask)
        self.flat[name][at : at + len(found)] = found if source is None else self.flat[source][found]
        return at + len(found)

    def do_difference(self, name: str, j: Any, i: Any) -> Any:
        return (self.rows[name][j] - self.rows[name][i]).astype(self.type)

    def do_gather(self, name: str, j: Any) -> Any:
        return self.rows[name][j]

    def do_component(self, rows: Any, c: int) -> Any:
        return rows[:, c].copy()

    def do_scatter(self, name: str, j: Any, *xyz: Any) -> None:
        for c, x in enumerate(xyz):
            np.add.at(self.rows[name][:, c], j, x)

    def do_scatter_from(self, name: str, start: int, j: Any, *xyz: Any) -> None:
        self.do_scatter(name, j + start, *xyz)

    def do_put_rows(self, name: str, start: int, j: Any, *numbers: Any) -> None:
        for c, x in enumerate(numbers):
            self.rows[name][j + start, c] = x
