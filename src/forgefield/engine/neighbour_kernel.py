"""Kernels of the neighbour list: periodic images, points into bins, and for every atom the points near it.

Distances are compared in float64, as many candidates at a time as a register holds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from forgefield.formulas.namespace import functions_of
from forgefield.graph import CLOSEST_PAIR
from forgefield.tracer.cache import Machine, Native, host, native
from forgefield.tracer.memory import Cursor, Indices
from forgefield.tracer.trace import Int, Kernel, trace
from forgefield.tracer.values import Vec

__all__ = [
    "BITS",
    "IMAGE_SIGNATURE",
    "SORT_SIGNATURE",
    "image_kernel",
    "list_kernel",
    "list_points",
    "list_signature",
    "sort_kernel",
    "sort_points",
    "write_images",
]

BITS = 64
"""Working type of the kernels."""

SORT_SIGNATURE = {"n": "int", "n_chunks": "int", "n_bins": "int", "points": "vectors", "every": "indices"} | {
    "grid": "scalars",
    "keys": "indices",
    "ranks": "indices",
    "order": "indices",
    "ranked": "rows",
}

IMAGE_SIGNATURE = {"n_atoms": "int", "bounds": "indices", "owner": "indices", "shifts": "indices"}

_BEYOND = 1.0e300
"""A squared distance that is never near."""


def image_kernel() -> Native:
    """Return the kernel that writes down periodic images, atom after atom.

    Arguments: ``n_atoms, bounds (2, 3, n_atoms), owner (n_images + 1,), shifts (n_images + 1, 3)``. The images of an
    atom are shifted along each direction from the first bound up to the one before the second; the atom itself, shifted
    by zero, is left out. The last places of ``owner`` and ``shifts`` are scratch.
    """
    return _image_kernel(host())


@lru_cache(maxsize=4)
def _image_kernel(_: Machine) -> Native:
    return native(
        "images", IMAGE_SIGNATURE, BITS, "", lambda: trace("images", IMAGE_SIGNATURE, BITS, write_images)
    )


def write_images(k: Kernel, n_atoms: Int, bounds: Indices, owner: Indices, shifts: Indices) -> None:
    """Write down periodic images; see `image_kernel`."""
    at = Cursor(k, 0)
    with k.range(n_atoms) as i:
        low = [bounds[n_atoms * d + i] for d in range(3)]
        high = [bounds[n_atoms * (3 + d) + i] for d in range(3)]
        with (
            k.range(low[0], high[0]) as x,
            k.range(low[1], high[1]) as y,
            k.range(low[2], high[2]) as z,
        ):
            place = at.value
            owner[place] = i
            for d, s in enumerate((x, y, z)):
                shifts[place * 3 + d] = s
            at.value = place + k.integer("min", x * x + y * y + z * z, 1)


def sort_kernel() -> Native:
    """Return the kernel that sorts points by bin, keeping the order within a bin.

    Arguments
    ---------
    n, n_chunks, n_bins : int
        ``n_chunks * lanes`` is at least `n`; with one chunk more it is called the stride.
    points : (n, 4) float64 [Å]
    every : (stride,) int32
        0, 1, ... n - 1, then 0.
    grid : (11,) float64
        Middle of the first bin, one over the edges and highest index, along x, y and z; bins along y and z.
    keys : (stride,) int32, out
        Bin of every point.
    ranks : (n_bins + 1,) int32, out
        First rank of every bin; zeros before.
    order : (stride,) int32, out
        Point of every rank; zeros before.
    ranked : (3, stride) float64, out
        x, y and z of the point of every rank.
    """
    return _sort_kernel(host())


@lru_cache(maxsize=4)
def _sort_kernel(_: Machine) -> Native:
    return native("sort", SORT_SIGNATURE, BITS, "", lambda: trace("sort", SORT_SIGNATURE, BITS, sort_points))


def sort_points(k: Kernel, n: Int, n_chunks: Int, n_bins: Int, **a: Any) -> None:
    """Sort points by bin; see `sort_kernel`."""
    points, grid, keys, ranks, order = (a[x] for x in ("points", "grid", "keys", "ranks", "order"))
    with k.range(n_chunks) as c:
        cell = []
        for d, x in enumerate(points.gather(a["every"].lanes(c))):
            at = k.op("rint", (x - grid[d]) * grid[3 + d])
            where = functions_of(at).where
            at = where(at < 0.0, 0.0, at)
            cell.append(where(at < grid[6 + d], at, grid[6 + d]))
        keys.set_numbers(c, (cell[0] * grid[9] + cell[1]) * grid[10] + cell[2])
    with k.range(n) as i:
        key = keys[i]
        ranks[key] = ranks[key] + 1
    total = Cursor(k, 0)
    with k.range(n_bins + 1) as b:
        total.value = total.value + ranks[b]
        ranks[b] = total.value
    with k.range(n) as i:
        last = n - 1 - i
        rank = ranks[keys[last]] - 1
        ranks[keys[last]] = rank
        order[rank] = last
    with k.range(n_chunks + 1) as c:
        for d, x in enumerate(points.gather(order.lanes(c))):
            a["ranked"][(n_chunks + 1) * d + c] = x


def list_kernel(n_lists: int, n_species: int) -> Native:
    """Return the kernel that lists the points near every atom.

    Arguments
    ---------
    b0, b1 : int
        The atoms, from `b0` up to the one before `b1`.
    padding : int
        The point that ends every run.
    positions : (n_atoms, 4) float64
    keys : (n_atoms,) int32
        Bin of each.
    ranks : (n_bins + 1,) int32
        First rank of every bin.
    n_columns : int
    low, high : (n_columns,) int32
        Runs of bins to be looked through: from ``key + low`` up to the one before ``key + high``.
    stride : int
    ranked : (3, stride) float64
        x, y and z of the point of every rank, and of `lanes` more points anywhere.
    points : (stride,) int32
        Point of every rank.
    kinds : (stride,) int32
        Element of every rank; not looked at where there is only one.
    limits : (n_lists,) float64
        Squares of the cutoffs.
    counts : (n_species,) int32
        Scratch.
    close : (lanes,) float64
        Pairs of a point with an atom at the same place, itself among them, are added up here.
    For every list: room : int, listed : (room + lanes,) int32, first : ((b1 - b0) * n_species + 2,) int32, found :
        (stride,) int32, scratch. The last number in `first` is the room that it takes; the list is incomplete where
        that exceeds `room`.
    """
    return _list_kernel(host(), n_lists, n_species)


@lru_cache(maxsize=16)
def _list_kernel(machine: Machine, n_lists: int, n_species: int) -> Native:
    signature, function = list_signature(n_lists), list_points(n_lists, n_species, machine.lanes(BITS))
    key = (n_lists, n_species)
    return native("list", signature, BITS, key, lambda: trace("list", signature, BITS, function))


def list_signature(n_lists: int) -> dict[str, str]:
    """Return the arguments of `list_points`."""
    signature = {"b0": "int", "b1": "int", "padding": "int", "positions": "scalars", "keys": "indices"}
    signature |= {"ranks": "indices", "n_columns": "int", "low": "indices", "high": "indices"}
    signature |= {"stride": "int", "ranked": "scalars", "points": "indices", "kinds": "indices"}
    signature |= {"limits": "scalars", "counts": "indices", "close": "rows"}
    for n in range(n_lists):
        signature |= {f"room{n}": "int"} | {f"{x}{n}": "indices" for x in ("listed", "first", "found")}
    return signature


def list_points(n_lists: int, n_species: int, lanes: int) -> Callable[..., None]:
    """Return the kernel function behind `list_kernel`."""
    many = n_species > 1

    def kernel(k: Kernel, b0: Int, b1: Int, **a: Any) -> None:
        lists = [_List(k, n, n_species, a) for n in range(n_lists)]
        close = k.accumulators(1)
        with k.range(b0, b1) as i:
            centre = [a["positions"][i * 4 + c] for c in range(3)]
            key = a["keys"][i]
            for x in lists:
                x.begin(i - b0)
            with k.range(a["n_columns"]) as column:
                lo, hi = a["ranks"][key + a["low"][column]], a["ranks"][key + a["high"][column]]
                for x in lists:
                    hi = x.limited(lo, hi)
                with k.range(lo, hi, lanes) as c:
                    d2 = _distances(a, c, centre)
                    where = functions_of(d2).where
                    d2 = where(k.first_lanes(hi - c), d2, _BEYOND)
                    same = d2 < CLOSEST_PAIR**2
                    close[0] += where(same, 1.0, 0.0)
                    d2 = where(same, _BEYOND, d2)
                    for n, x in enumerate(lists):
                        source = None if many else a["points"]
                        x.end.value = x.found.append(x.end.value, c, d2 < a["limits"][n], source)
            for x in lists:
                x.finish(i - b0)
        for x in lists:
            x.first[(b1 - b0) * n_species] = x.end.value
            x.first[(b1 - b0) * n_species + 1] = k.integer("max", x.end.value, x.needed.value)
        a["close"].add(0, close[0])

    return kernel


def _distances(a: dict[str, Any], c: Int, centre: list[Vec]) -> Any:
    """Return the squared distances of the points of rank c, c + 1, ..."""
    d = [a["ranked"].contiguous(a["stride"] * axis + c) - centre[axis] for axis in range(3)]
    return d[0] * d[0] + d[1] * d[1] + d[2] * d[2]


class _List:
    """One list being written.

    With one species, points go straight to their place. With several, ranks are found first, then their points are
    sorted by element.
    """

    def __init__(self, k: Kernel, n: int, n_species: int, a: dict[str, Any]) -> None:
        self.k, self.n_species, self.a = k, n_species, a
        self.room, self.listed, self.first = a[f"room{n}"], a[f"listed{n}"], a[f"first{n}"]
        self.found: Indices = a[f"found{n}"] if n_species > 1 else self.listed
        self.end, self.needed, self.total = Cursor(k, 0), Cursor(k, 0), Cursor(k, 0)

    def begin(self, i: Int) -> None:
        """Note where the neighbours of atom i begin."""
        if self.n_species == 1:
            self.first[i] = self.end.value
        else:
            self.end.value = 0

    def limited(self, lo: Int, hi: Int) -> Int:
        """Return the end of a run of candidates, cut where there is no room for all of them."""
        if self.n_species > 1:
            return hi
        k, end = self.k, self.end.value
        self.needed.value = k.integer("max", self.needed.value, end + (hi - lo))
        return k.integer("min", hi, lo + k.integer("max", self.room - end, 0))

    def finish(self, i: Int) -> None:
        """Close the runs of atom i."""
        k, end = self.k, self.end.value
        if self.n_species == 1:
            self.listed[k.integer("min", end, self.room)] = self.a["padding"]
            self.end.value = end + 1
        else:
            self._by_species(end, self.first + i * self.n_species)

    def _by_species(self, n_found: Int, first: Indices) -> None:
        k, counts, kinds, points = self.k, self.a["counts"], self.a["kinds"], self.a["points"]
        begin, most = self.total.value, self.room - self.n_species
        fits = k.integer("min", n_found, k.integer("max", most - begin, 0))
        run = Cursor(k, k.integer("min", begin, most))
        with k.range(self.n_species) as s:
            counts[s] = 0
        with k.range(fits) as e:
            kind = kinds[self.found[e]]
            counts[kind] = counts[kind] + 1
        with k.range(self.n_species) as s:
            first[s] = run.value
            end = run.value + counts[s]
            counts[s] = run.value
            self.listed[end] = self.a["padding"]
            run.value = end + 1
        with k.range(fits) as e:
            rank = self.found[e]
            kind = kinds[rank]
            where = counts[kind]
            self.listed[where] = points[rank]
            counts[kind] = where + 1
        self.total.value = begin + n_found + self.n_species
        self.end.value = self.total.value
