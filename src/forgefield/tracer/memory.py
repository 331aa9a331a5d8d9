"""The arguments of a kernel as a kernel function sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from forgefield.tracer.values import Int, Lanes, Mask, Vec

if TYPE_CHECKING:
    from forgefield.tracer.trace import Kernel

__all__ = ["KINDS", "Accumulators", "Cursor", "Indices", "Points", "Rows", "Scalars", "Sums", "Totals"]

Index = Int | int


class Memory:
    """An array argument, from element (or row) `start` on."""

    def __init__(self, k: Kernel, name: str, start: Index = 0) -> None:
        self.k, self.name, self.start = k, name, start

    def at(self, i: Index) -> Index:
        """Return the index into the whole argument."""
        return i + self.start

    def __add__(self, offset: Index) -> Any:
        return type(self)(self.k, self.name, self.at(offset))


class Rows(Memory):
    """Rows of one number per lane."""

    def __getitem__(self, i: Index) -> Vec:
        return self.k.emit("load", Vec, self.name, self.at(i))  # type: ignore[no-any-return]

    def __setitem__(self, i: Index, value: Any) -> None:
        self.k.emit("store", None, self.name, self.at(i), value)

    def add(self, i: Index, value: Any) -> None:
        """Add to a row. Other blocks of other threads may add to the same row only where the target says so."""
        self.k.emit("accumulate", None, self.name, self.at(i), value)


class Workspace(Rows):
    """Rows private to a thread."""


class Sums(Rows):
    """Rows that every block adds to: private to a thread on a processor, atomic on a GPU."""

    def add_all(self, i: Index, values: Sequence[Any]) -> None:
        """Add to rows i, i + 1, ..."""
        for n, value in enumerate(values):
            self.add(i + n, value)


class Totals(Memory):
    """Numbers that every block adds the sums over its lanes to: private to a thread; on processors only."""

    def add(self, i: Index, value: Any) -> None:
        """Add the sum over the lanes to number i."""
        self.k.emit("add_sums", None, self.name, self.at(i), value)

    def add_all(self, i: Index, values: Sequence[Any]) -> None:
        """Add the sums over the lanes of some values to numbers i, i + 1, ..."""
        done = 0
        while done < len(values):  # powers of two are added up together
            size = min(4, 1 << ((len(values) - done).bit_length() - 1))
            self.k.emit("add_sums", None, self.name, self.at(i + done), *values[done : done + size])
            done += size


class Scalars(Memory):
    """Numbers shared by all lanes."""

    def __getitem__(self, i: Index) -> Vec:
        return self.k.emit("splat", Vec, self.name, self.at(i))  # type: ignore[no-any-return]

    def contiguous(self, i: Index) -> Vec:
        """Return numbers i, i + 1, ... one per lane, at any alignment."""
        return self.k.emit("contiguous", Vec, self.name, self.at(i))  # type: ignore[no-any-return]


class Indices(Memory):
    """int32 numbers."""

    def __getitem__(self, i: Index) -> Int:
        return self.k.emit("load_int", Int, self.name, self.at(i))  # type: ignore[no-any-return]

    def __setitem__(self, i: Index, value: Index) -> None:
        self.k.emit("store_int", None, self.name, self.at(i), value)

    def lanes(self, row: Index) -> Lanes:
        """Return row `row` of one integer per lane."""
        return self.k.emit("lanes", Lanes, self.name, self.at(row))  # type: ignore[no-any-return]

    def set_lanes(self, row: Index, lanes: Lanes) -> None:
        """Write row `row` of one integer per lane."""
        self.k.emit("store_lanes", None, self.name, self.at(row), lanes)

    def set_numbers(self, row: Index, values: Vec) -> None:
        """Write row `row` of one integer per lane, given as whole numbers."""
        self.k.emit("store_whole", None, self.name, self.at(row), values)

    def pick(self, starts: Lanes, ends: Lanes, e: Index) -> Lanes:
        """Return element ``min(start + e, end)`` of each lane."""
        return self.k.emit("pick", Lanes, self.name, starts, ends, e)  # type: ignore[no-any-return]

    def append(self, at: Index, first: Index, mask: Mask, source: Indices | None = None) -> Int:
        """Write ``first + lane`` for the lanes of the mask from element `at` on; return where they end.

        With a `source`, write its elements ``first + lane`` instead. Up to `lanes` elements from `at` on may be
        overwritten.
        """
        name, start = (None, first) if source is None else (source.name, source.at(first))
        return self.k.emit("append", Int, self.name, self.at(at), start, mask, name)  # type: ignore[no-any-return]


class Points(Memory):
    """Rows of four numbers (x, y, z, unused) per atom."""

    def difference(self, j: Lanes, i: Lanes) -> list[Vec]:
        """Return x, y, z of float64 points j minus those of points i, rounded to the working type."""
        return self._components("difference", j, i)

    def gather(self, j: Lanes) -> list[Vec]:
        """Return x, y, z of rows j of the working type."""
        return self._components("gather", j)

    def add(self, j: Lanes, xyz: Sequence[Any]) -> None:
        """Add to x, y, z of rows j, lane after lane."""
        if isinstance(self.start, int) and self.start == 0:
            self.k.emit("scatter", None, self.name, j, *xyz)
        else:
            self.k.emit("scatter_from", None, self.name, self.start, j, *xyz)

    def put(self, j: Lanes, numbers: Sequence[Any]) -> None:
        """Set the four numbers of rows j, lane after lane."""
        self.k.emit("put_rows", None, self.name, self.start, j, *numbers)

    def _components(self, op: str, *lanes: Lanes) -> list[Vec]:
        rows = self.k.emit(op, Vec, self.name, *lanes)
        return [self.k.emit("component", Vec, rows, c) for c in range(3)]


KINDS: dict[str, type[Memory]] = {"rows": Rows, "workspace": Workspace, "sums": Sums, "totals": Totals}
KINDS |= {"scalars": Scalars, "doubles": Scalars, "indices": Indices, "points": Points, "vectors": Points}
"""Kinds of arguments: ``points`` are float64, ``vectors`` of the working type, ``indices`` int32."""


class Accumulators:
    """Mutable numbers per lane that live in registers across loops at run time."""

    def __init__(self, k: Kernel, start: Sequence[Any]) -> None:
        self.k = k
        self.slots = [k.emit("slot", Vec, s) for s in start]

    def __len__(self) -> int:
        return len(self.slots)

    def __getitem__(self, i: int) -> Vec:
        return self.k.emit("get", Vec, self.slots[i])  # type: ignore[no-any-return]

    def __setitem__(self, i: int, value: Any) -> None:
        self.k.emit("set", None, self.slots[i], value)

    def values(self) -> list[Vec]:
        """Return all of them."""
        return [self[i] for i in range(len(self.slots))]


class Cursor:
    """A mutable integer across loops at run time."""

    def __init__(self, k: Kernel, start: Index) -> None:
        self.k = k
        self.slot = k.emit("slot_int", Int, start)

    @property
    def value(self) -> Int:
        """Where it stands."""
        return self.k.emit("get_int", Int, self.slot)  # type: ignore[no-any-return]

    @value.setter
    def value(self, value: Index) -> None:
        self.k.emit("set_int", None, self.slot, value)
