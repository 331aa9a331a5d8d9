"""The processor target: a program as LLVM assembly, one lane per atom.

A number per lane is ``<lanes x float>`` or ``<lanes x double>``. Text is written directly: it is shorter than building
it through objects, and it is what a reader of the dump wants to see.
"""

from __future__ import annotations

import struct
from typing import Any

from forgefield.tracer.functions import COMPOSITE
from forgefield.tracer.trace import Instruction, Kernel, Program
from forgefield.tracer.values import Value, Vec

__all__ = ["assembly"]

_BINARY = {name: f"f{name} {{}}" for name in ("add", "sub", "mul", "div")}
_BINARY |= {"lt": "fcmp {} olt", "le": "fcmp {} ole"}
_INTEGER = {"iadd": "add nsw", "isub": "sub nsw", "imul": "mul nsw", "idiv": "udiv"}
_CHOICE = {"imin": "llvm.smin.i64", "imax": "llvm.smax.i64"}
_INTRINSIC = {"sqrt": "sqrt", "rint": "nearbyint"}


def assembly(program: Program, lanes: int) -> str:
    """Return the LLVM assembly of a program.

    Parameters
    ----------
    program : Program
    lanes : int
        Atoms at a time, a multiple of four; blocks of atoms have this size.
    """
    return _Writer(program, lanes).text()


class _Writer:
    def __init__(self, program: Program, lanes: int) -> None:
        self.program, self.lanes, self.bits = program, lanes, program.bits
        self.number = "float" if self.bits == 32 else "double"
        self.vector = f"<{lanes} x {self.number}>"
        self.integers = f"<{lanes} x i{self.bits}>"
        self.align = lanes * self.bits // 8
        self.entry: list[str] = []
        self.lines: list[str] = []
        self.declarations: set[str] = set()
        self.names: dict[int, Any] = {}
        self.flags = "fast"
        self.count = 0
        self.label = "start"

    def text(self) -> str:
        for s in self.program.body:
            self.instruction(s)
        arguments = ", ".join(
            f"i64 %{a}" if kind == "int" else f"ptr noalias %{a}"
            for a, kind in self.program.signature.items()
        )
        head = [f"define void @{self.program.name}({arguments}) nounwind {{", "entry:"]
        body = [*head, *self.entry, "br label %start", "start:", *self.lines, "ret void", "}"]
        return "\n".join([*sorted(self.declarations), *body]) + "\n"

    # ---- operands ------------------------------------------------------------------------------------------

    def new(self, code: str) -> str:
        """Write an instruction and return the name of its result."""
        self.count += 1
        self.lines.append(f"%t{self.count} = {code}")
        return f"%t{self.count}"

    def v(self, x: Any) -> str:
        """Return a number per lane as an operand."""
        return str(self.names[x.id]) if isinstance(x, Value) else f"splat ({self.number} {self.constant(x)})"

    def i(self, x: Any) -> str:
        """Return an integer as an operand."""
        return str(self.names[x.id]) if isinstance(x, Value) else str(x)

    def constant(self, x: float) -> str:
        if self.bits == 32:
            x = struct.unpack("f", struct.pack("f", x))[0]
        return f"0x{struct.unpack('<Q', struct.pack('<d', x))[0]:016X}"

    def at(self, name: str, i: Any, element: str) -> str:
        return self.new(f"getelementptr inbounds {element}, ptr %{name}, i64 {self.i(i)}")

    def call(self, result: str, intrinsic: str, *arguments: str, flags: str = "") -> str:
        types = ", ".join(a.rpartition(" ")[0] for a in arguments)
        self.declarations.add(f"declare {result} @{intrinsic}({types})")
        return self.new(f"call {flags} {result} @{intrinsic}({', '.join(arguments)})")

    # ---- instructions --------------------------------------------------------------------------------------

    def instruction(self, s: Instruction) -> None:
        if s.op in ("loop", "parallel"):
            self.loop(s)
            return
        if s.op in COMPOSITE:
            result: Any = self.composite(s.op, s.args[0])
        elif s.op in _BINARY:
            a, b = map(self.v, s.args)
            result = self.new(f"{_BINARY[s.op].format(self.flags)} {self.vector} {a}, {b}")
        elif s.op in _INTEGER:
            result = self.new(f"{_INTEGER[s.op]} i64 {self.i(s.args[0])}, {self.i(s.args[1])}")
        elif s.op in _CHOICE:
            result = self.call("i64", _CHOICE[s.op], *(f"i64 {self.i(a)}" for a in s.args))
        elif s.op in _INTRINSIC:
            name = f"llvm.{_INTRINSIC[s.op]}.v{self.lanes}f{self.bits}"
            result = self.call(self.vector, name, f"{self.vector} {self.v(s.args[0])}", flags=self.flags)
        else:
            result = getattr(self, f"do_{s.op}")(*s.args)
        if s.out is not None:
            self.names[s.out.id] = result

    def composite(self, op: str, x: Any) -> str:
        """Inline a function; without reassociation, which would undo its exact range reductions."""
        k = Kernel(self.bits)
        parameter: Vec = k.emit("parameter", Vec)
        result = COMPOSITE[op](parameter)
        outer, flags = self.names, self.flags
        self.names, self.flags = {parameter.id: self.v(x)}, "nnan ninf nsz contract"
        for s in k.body[1:]:
            self.instruction(s)
        name = self.v(result)
        self.names, self.flags = outer, flags
        return name

    def loop(self, s: Instruction) -> None:
        lo, hi, step = (self.i(x) for x in s.args)
        self.count += 1
        n = self.count
        i, before = f"%i{n}", self.label
        self.lines += [f"br label %head{n}", f"head{n}:"]
        phi = len(self.lines)
        self.lines += ["", f"%c{n} = icmp slt i64 {i}, {hi}", f"br i1 %c{n}, label %body{n}, label %done{n}"]
        self.lines.append(f"body{n}:")
        self.label = f"body{n}"
        assert s.out is not None  # noqa: S101 - a loop has a counter
        self.names[s.out.id] = i
        for inner in s.body:
            self.instruction(inner)
        self.lines += [f"%n{n} = add nsw i64 {i}, {step}", f"br label %head{n}", f"done{n}:"]
        self.lines[phi] = f"{i} = phi i64 [ {lo}, %{before} ], [ %n{n}, %{self.label} ]"
        self.label = f"done{n}"

    def do_argument(self, name: str) -> str:
        return f"%{name}"

    def do_where(self, mask: Value, a: Any, b: Any) -> str:
        condition = f"<{self.lanes} x i1> {self.names[mask.id]}"
        return self.new(f"select {condition}, {self.vector} {self.v(a)}, {self.vector} {self.v(b)}")

    # ---- the bits of a number ------------------------------------------------------------------------------

    @property
    def _layout(self) -> tuple[int, int, int]:
        """Bits of the mantissa, bias of the exponent, bits of sqrt(1/2)."""
        return (23, 127, 0x3F3504F3) if self.bits == 32 else (52, 1023, 0x3FE6A09E667F3BCD)

    def _splat(self, x: int) -> str:
        return f"splat (i{self.bits} {x})"

    def do_power_of_two(self, n: Any) -> str:
        shift, bias, _ = self._layout
        whole = self.new(f"fptosi {self.vector} {self.v(n)} to {self.integers}")
        biased = self.new(f"add {self.integers} {whole}, {self._splat(bias)}")
        bits = self.new(f"shl {self.integers} {biased}, {self._splat(shift)}")
        return self.new(f"bitcast {self.integers} {bits} to {self.vector}")

    def _exponent(self, x: Any) -> tuple[str, str]:
        shift, _, root = self._layout
        bits = self.new(f"bitcast {self.vector} {self.v(x)} to {self.integers}")
        above = self.new(f"sub {self.integers} {bits}, {self._splat(root)}")
        return bits, self.new(f"ashr {self.integers} {above}, {self._splat(shift)}")

    def do_exponent(self, x: Any) -> str:
        return self.new(f"sitofp {self.integers} {self._exponent(x)[1]} to {self.vector}")

    def do_mantissa(self, x: Any) -> str:
        bits, exponent = self._exponent(x)
        moved = self.new(f"shl {self.integers} {exponent}, {self._splat(self._layout[0])}")
        rest = self.new(f"sub {self.integers} {bits}, {moved}")
        return self.new(f"bitcast {self.integers} {rest} to {self.vector}")

    # ---- memory --------------------------------------------------------------------------------------------

    def slot(self, kind: str, start: str) -> str:
        self.count += 1
        self.entry.append(f"%s{self.count} = alloca {kind}")
        self.lines.append(f"store {kind} {start}, ptr %s{self.count}")
        return f"%s{self.count}"

    def do_slot(self, start: Any) -> str:
        return self.slot(self.vector, self.v(start))

    def do_get(self, slot: Value) -> str:
        return self.new(f"load {self.vector}, ptr {self.names[slot.id]}")

    def do_set(self, slot: Value, value: Any) -> None:
        self.lines.append(f"store {self.vector} {self.v(value)}, ptr {self.names[slot.id]}")

    def do_slot_int(self, start: Any) -> str:
        return self.slot("i64", self.i(start))

    def do_get_int(self, slot: Value) -> str:
        return self.new(f"load i64, ptr {self.names[slot.id]}")

    def do_set_int(self, slot: Value, value: Any) -> None:
        self.lines.append(f"store i64 {self.i(value)}, ptr {self.names[slot.id]}")

    def do_load(self, name: str, i: Any) -> str:
        return self.new(f"load {self.vector}, ptr {self.at(name, i, self.vector)}, align {self.align}")

    def do_store(self, name: str, i: Any, value: Any) -> None:
        at = self.at(name, i, self.vector)
        self.lines.append(f"store {self.vector} {self.v(value)}, ptr {at}, align {self.align}")

    def do_accumulate(self, name: str, i: Any, value: Any) -> None:
        self.increase(self.vector, self.at(name, i, self.vector), self.align, self.v(value))

    def increase(self, kind: str, at: str, align: int, value: str) -> None:
        old = self.new(f"load {kind}, ptr {at}, align {align}")
        total = self.new(f"fadd {self.flags} {kind} {old}, {value}")
        self.lines.append(f"store {kind} {total}, ptr {at}, align {align}")

    def do_splat(self, name: str, i: Any) -> str:
        kind = "double" if self.program.signature[name] == "doubles" else self.number
        x = self.new(f"load {kind}, ptr {self.at(name, i, kind)}")
        if kind != self.number:
            x = self.new(f"fptrunc double {x} to float")
        first = self.new(f"insertelement {self.vector} poison, {self.number} {x}, i32 0")
        zeros = f"<{self.lanes} x i32> zeroinitializer"
        return self.new(f"shufflevector {self.vector} {first}, {self.vector} poison, {zeros}")

    def do_contiguous(self, name: str, i: Any) -> str:
        return self.new(f"load {self.vector}, ptr {self.at(name, i, self.number)}, align {self.bits // 8}")

    def do_add_sums(self, name: str, i: Any, *values: Any) -> None:
        """Fold 1, 2, 4, ... vectors, at most as many as there are lanes, into one vector of their sums."""
        parts, width = [self.v(x) for x in values], self.lanes
        while len(parts) > 1:
            parts = [
                self.neighbours(a, b, width, 2 * width) for a, b in zip(parts[::2], parts[1::2], strict=True)
            ]
        while width > len(values):
            parts, width = [self.neighbours(parts[0], "poison", width, width)], width // 2
        self.increase(f"<{width} x {self.number}>", self.at(name, i, self.number), self.bits // 8, parts[0])

    def neighbours(self, a: str, b: str, width: int, last: int) -> str:
        """Return the sums of numbers 0 and 1, 2 and 3, ... of two vectors, one behind the other."""
        even, odd = (self.shuffle(a, b, width, list(range(s, last, 2))) for s in (0, 1))
        return self.new(f"fadd {self.flags} <{last // 2} x {self.number}> {even}, {odd}")

    def small(self, start: str, i: Any) -> str:
        """Return integer i of 32 bits from an address on."""
        at = self.new(f"getelementptr inbounds i32, ptr {start}, i64 {i}")
        return self.new(f"sext i32 {self.new(f'load i32, ptr {at}')} to i64")

    def put_small(self, start: str, i: Any, value: str) -> None:
        at = self.new(f"getelementptr inbounds i32, ptr {start}, i64 {i}")
        self.lines.append(f"store i32 {self.new(f'trunc i64 {value} to i32')}, ptr {at}")

    def do_load_int(self, name: str, i: Any) -> str:
        return self.small(f"%{name}", self.i(i))

    def do_store_int(self, name: str, i: Any, value: Any) -> None:
        self.put_small(f"%{name}", self.i(i), self.i(value))

    def do_lanes(self, name: str, row: Any) -> list[str]:
        start = self.at(name, row, f"[{self.lanes} x i32]")
        return [self.small(start, lane) for lane in range(self.lanes)]

    def do_store_lanes(self, name: str, row: Any, lanes: Value) -> None:
        start = self.at(name, row, f"[{self.lanes} x i32]")
        for lane, x in enumerate(self.names[lanes.id]):
            self.put_small(start, lane, x)

    def do_store_whole(self, name: str, row: Any, value: Any) -> None:
        kind = f"<{self.lanes} x i32>"
        whole = self.new(f"fptosi {self.vector} {self.v(value)} to {kind}")
        self.lines.append(f"store {kind} {whole}, ptr {self.at(name, row, kind)}, align 4")

    def do_pick(self, name: str, starts: Value, ends: Value, e: Any) -> list[str]:
        result = []
        for start, end in zip(self.names[starts.id], self.names[ends.id], strict=True):
            wanted = self.new(f"add nsw i64 {start}, {self.i(e)}")
            index = self.call("i64", "llvm.smin.i64", f"i64 {wanted}", f"i64 {end}")
            result.append(self.small(f"%{name}", index))
        return result

    def _same(self, x: Any) -> str:
        """Return an integer as int32 in every lane."""
        kind = f"<{self.lanes} x i32>"
        small = self.new(f"trunc i64 {self.i(x)} to i32")
        one = self.new(f"insertelement {kind} poison, i32 {small}, i32 0")
        return self.new(f"shufflevector {kind} {one}, {kind} poison, {kind} zeroinitializer")

    def _counting(self) -> str:
        return f"<{', '.join(f'i32 {lane}' for lane in range(self.lanes))}>"

    def do_first_lanes(self, n: Any) -> str:
        return self.new(f"icmp sgt <{self.lanes} x i32> {self._same(n)}, {self._counting()}")

    def do_append(self, name: str, at: Any, first: Any, mask: Value, source: str | None) -> str:
        n, m = self.lanes, f"<{self.lanes} x i1> {self.names[mask.id]}"
        kind, bits = f"<{n} x i32>", f"i{n}"
        if source is None:
            values = self.new(f"add {kind} {self._same(first)}, {self._counting()}")
        else:
            values = self.new(f"load {kind}, ptr {self.at(source, first, 'i32')}, align 4")
        # Packed in a register and stored whole: packing into memory takes some processors a hundred cycles.
        packing = f"llvm.experimental.vector.compress.v{n}i32"
        packed = self.call(kind, packing, f"{kind} {values}", m, f"{kind} poison")
        self.lines.append(f"store {kind} {packed}, ptr {self.at(name, at, 'i32')}, align 4")
        count = self.call(bits, f"llvm.ctpop.{bits}", f"{bits} {self.new(f'bitcast {m} to {bits}')}")
        return self.new(f"add nsw i64 {self.i(at)}, {self.new(f'zext {bits} {count} to i64')}")

    # ---- atoms: rows of four <-> one vector per component ----------------------------------------------------

    def shuffle(self, a: str, b: str, width: int, mask: list[int]) -> str:
        kind, picks = f"<{width} x {self.number}>", ", ".join(f"i32 {m}" for m in mask)
        return self.new(f"shufflevector {kind} {a}, {kind} {b}, <{len(mask)} x i32> <{picks}>")

    def transpose(self, v: list[str]) -> list[str]:
        """Transpose 4 x 4 inside every group of four lanes; its own inverse."""
        n, groups = self.lanes, range(0, self.lanes, 4)
        low = [x for s in groups for x in (s, s + n, s + 1, s + 1 + n)]
        left = [x for s in groups for x in (s, s + 1, s + n, s + 1 + n)]
        t = [self.shuffle(v[a], v[a + 1], n, [x + h for x in low]) for a in (0, 2) for h in (0, 2)]
        pairs = ((t[0], t[2]), (t[1], t[3]))
        return [self.shuffle(a, b, n, [x + h for x in left]) for a, b in pairs for h in (0, 2)]

    def row(self, name: str, j: str, kind: str) -> str:
        at = self.new(f"getelementptr inbounds [4 x {kind}], ptr %{name}, i64 {j}")
        return self.new(f"load <4 x {kind}>, ptr {at}, align {32 if kind == 'double' else 16}")

    def components(self, rows: list[str]) -> list[str]:
        """Return the four components of `lanes` rows of four."""
        columns = []
        for c in range(4):
            parts, width = rows[c::4], 4
            while len(parts) > 1:
                both = list(range(2 * width))
                pairs = zip(parts[::2], parts[1::2], strict=True)
                parts = [self.shuffle(a, b, width, both) for a, b in pairs]
                width *= 2
            columns.append(parts[0])
        return self.transpose(columns)

    def do_difference(self, name: str, j: Value, i: Value) -> list[str]:
        rows = []
        for a, b in zip(self.names[j.id], self.names[i.id], strict=True):
            d = self.new(f"fsub <4 x double> {self.row(name, a, 'double')}, {self.row(name, b, 'double')}")
            rows.append(self.new(f"fptrunc <4 x double> {d} to <4 x float>") if self.bits == 32 else d)
        return self.components(rows)

    def do_gather(self, name: str, j: Value) -> list[str]:
        return self.components([self.row(name, a, self.number) for a in self.names[j.id]])

    def do_component(self, rows: Value, c: int) -> str:
        return str(self.names[rows.id][c])

    def do_scatter(self, name: str, j: Value, *xyz: Any) -> None:
        self.scatter(f"%{name}", j, *xyz)

    def do_scatter_from(self, name: str, start: Any, j: Value, *xyz: Any) -> None:
        self.scatter(self.at(name, start, f"[4 x {self.number}]"), j, *xyz)

    def do_put_rows(self, name: str, start: Any, j: Value, *numbers: Any) -> None:
        self.scatter(self.at(name, start, f"[4 x {self.number}]"), j, *numbers, add=False)

    def scatter(self, start: str, j: Value, *numbers: Any, add: bool = True) -> None:
        rows = self.transpose([self.v(x) for x in (*numbers, 0.0)[:4]])
        kind, align = f"<4 x {self.number}>", 4 * self.bits // 8
        for lane, a in enumerate(self.names[j.id]):
            r = rows[lane % 4]
            part = self.shuffle(r, "poison", self.lanes, [lane // 4 * 4 + c for c in range(4)])
            at = self.new(f"getelementptr inbounds [4 x {self.number}], ptr {start}, i64 {a}")
            if add:
                self.increase(kind, at, align, part)
            else:
                self.lines.append(f"store {kind} {part}, ptr {at}, align {align}")
