"""The spherical expansion compiled for the processor at hand; `torch_backend` says what the functions are.

Rows of neighbours are packed into blocks of one atom per lane, the neighbours of each species together, and three
kernels made from `kernels.TracedExpansion` do the sums. What is packed once serves the sums, their transpose and
their directional derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forgefield.expansions.kernels import TracedExpansion
from forgefield.expansions.spherical import SphericalExpansion
from forgefield.kernel_cache import foreign_sources
from forgefield.parallel import get_num_threads, run_parts
from forgefield.tracer.cache import Native, aligned, host, native
from forgefield.tracer.memory import Indices, Rows
from forgefield.tracer.trace import Int, Kernel, trace
from forgefield.tracer.values import Vec

__all__ = ["Packed", "forward", "geometry", "jvp", "supports", "vjp"]

Floats = NDArray[np.floating]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Packed:
    """Neighbours of blocks of atoms in rows of one per lane.

    Attributes
    ----------
    shape : (n_atoms, width)
        Of the padded rows these come from.
    vectors : (n_rows, 3, lanes) [Å]
        Where a lane has no further neighbour of a species, a point beyond the cutoff.
    offsets : (n_blocks, n_species + 1) int32
        First row of the neighbours of each species of each block.
    source : (n_rows * lanes,) int
        Which pair (atom * width + column) is where; n_atoms * width where there is none.
    stretch : (n_blocks, n_species, lanes)
        Factor on the distance of the neighbours of each species; empty where cutoffs are all the same.
    """

    shape: tuple[int, int]
    vectors: Floats
    offsets: NDArray[np.int32]
    source: IntArray
    stretch: Floats

    @property
    def lanes(self) -> int:
        """Atoms of a block."""
        return int(self.vectors.shape[2])


def supports(expansion: object, vectors: Tensor) -> bool:
    """Whether there is a kernel for these vectors: a spherical expansion, on a processor, in its number types."""
    return (
        isinstance(expansion, SphericalExpansion)
        and vectors.device.type == "cpu"
        and vectors.dtype in (torch.float32, torch.float64)
    )


def geometry(
    expansion: SphericalExpansion, vectors: Tensor, neighbour_species: Tensor, centre_species: Tensor
) -> Packed:
    """Pack the neighbours within the cutoff; arguments as in `torch_backend.geometry`."""
    x, species = vectors.detach().numpy(), neighbour_species.numpy()
    n, width = species.shape
    n_species, lanes = expansion.n_species, host().lanes(8 * x.itemsize)
    blocks = -(-n // lanes)
    near = np.einsum("iwc,iwc->iw", x, x) < expansion.cutoff**2
    key = np.where(near, species, n_species).astype(np.int16)
    order = np.argsort(key, axis=1, kind="stable")  # of so short integers: no comparisons
    key = np.take_along_axis(key, order, axis=1)
    atoms = np.arange(n)[:, None]
    counts = np.bincount((atoms * (n_species + 1) + key).ravel(), minlength=n * (n_species + 1))
    counts = counts.reshape(n, n_species + 1)
    first = np.cumsum(counts, axis=1) - counts
    per_lane = np.zeros((blocks * lanes, n_species), dtype=np.int64)
    per_lane[:n] = counts[:, :n_species]
    longest = per_lane.reshape(blocks, lanes, n_species).max(axis=1)
    ends = np.cumsum(longest).reshape(blocks, n_species)
    offsets = np.concatenate([(ends - longest)[:, :1], ends], axis=1)
    rows = int(ends[-1, -1]) if blocks else 0
    row = offsets[atoms // lanes, key] + np.arange(width) - first[atoms, key]
    kept = key < n_species
    source = np.full(rows * lanes, n * width)
    source[(row * lanes + atoms % lanes)[kept]] = (atoms * width + order)[kept]
    stretch = np.zeros((0, n_species, lanes), x.dtype)
    if expansion.stretch_factors is not None:
        stretch = aligned((blocks, n_species, lanes), x.dtype)
        per_atom = np.ones((blocks * lanes, n_species))
        per_atom[:n] = expansion.stretch_factors[centre_species.numpy()]
        stretch[...] = per_atom.reshape(blocks, lanes, n_species).transpose(0, 2, 1)
    packed = _to_rows(x, source, lanes, 2.0 * expansion.cutoff)
    return Packed((n, width), packed, offsets.astype(np.int32), source, stretch)


def _to_rows(x: Floats, source: IntArray, lanes: int, filler: float) -> Floats:
    """Return (n_atoms, width, 3) as (n_rows, 3, lanes), (filler, 0, 0) where there is none."""
    with_filler = np.concatenate([x.reshape(-1, 3), np.array([[filler, 0, 0]], x.dtype)])
    rows = aligned((len(source) // lanes, 3, lanes), x.dtype)
    rows[...] = with_filler.take(source, axis=0).reshape(-1, lanes, 3).transpose(0, 2, 1)
    return rows


# ---- the kernels ---------------------------------------------------------------------------------------------------


class _Edges:
    """Neighbours of a block from packed rows."""

    def __init__(self, vectors: Rows, offsets: Indices) -> None:
        self.vectors, self.offsets = vectors, offsets

    def rows(self, species: Int | int, count: int) -> tuple[Int, Int]:
        return self.offsets[species], self.offsets[species + count]

    def vector(self, row: Int) -> list[Vec]:
        return [self.vectors[row * 3 + c] for c in range(3)]


_SIGNATURE = {
    "b0": "int",
    "b1": "int",
    "vectors": "rows",
    "offsets": "indices",
    "stretch": "rows",
    "channels": "scalars",
    "a": "rows",
    "other": "rows",
    "work": "workspace",
    "scratch": "workspace",
}
"""`a`: coefficients or their adjoints. `other`: what the transpose gives, or the direction, like `vectors`."""


def _kernel(expansion: SphericalExpansion, name: str) -> Callable[..., None]:
    n_harmonics = expansion.n_harmonics
    size, n = int(np.prod(expansion.shape)), expansion.n_species

    def kernel(k: Kernel, b0: Int, b1: Int, **arguments: Any) -> None:
        with k.range(b0, b1, parallel=True) as block:
            edges = _Edges(arguments["vectors"], arguments["offsets"] + block * (n + 1))
            factors: Rows = arguments["stretch"] + block * n
            stretch = None if expansion.stretch is None else factors.__getitem__
            traced = TracedExpansion(
                k, expansion, edges, arguments["scratch"], arguments["channels"], stretch
            )
            a: Rows = arguments["a"] + block * size
            other: Rows = arguments["other"]

            def store(i: Any, m: Any, value: Any) -> None:
                a[i * n_harmonics + m] = value

            def add(i: Any, m: Any, value: Any) -> None:
                a.add(i * n_harmonics + m, value)

            def use(row: Int, r: list[Vec], g: list[Any]) -> None:  # noqa: ARG001
                for c in range(3):
                    other[row * 3 + c] = g[c]

            if name == "forward":
                traced.forward(store, add)
            elif name == "jvp":
                traced.tangent(store, add, lambda row: [other[row * 3 + c] for c in range(3)])
            else:
                traced.reverse(lambda i, m: a[i * n_harmonics + m], use)

    return kernel


@lru_cache(maxsize=256)
def _native(expansion: SphericalExpansion, name: str, bits: int) -> Native:
    key = (repr(expansion), foreign_sources(expansion.radial))
    return native(
        f"expansion_{name}",
        _SIGNATURE,
        bits,
        key,
        lambda: trace(f"expansion_{name}", _SIGNATURE, bits, _kernel(expansion, name)),
    )


def _run(expansion: SphericalExpansion, g: Packed, name: str, a: Floats, other: Floats) -> None:
    dtype = g.vectors.dtype
    kernel = _native(expansion, name, 8 * dtype.itemsize)
    longest = int((g.offsets[:, -1] - g.offsets[:, 0]).max(initial=1))
    rows = longest * TracedExpansion.rows_per_edge(expansion) * (2 if name == "jvp" else 1)
    channels = np.ascontiguousarray(expansion.channel_weights, dtype=dtype)

    def part(thread: int, first: int, last: int) -> None:  # noqa: ARG001
        work = aligned(max(1, kernel.workspace) * g.lanes, dtype)
        scratch = aligned(max(1, rows) * g.lanes, dtype)
        kernel(first, last, g.vectors, g.offsets, g.stretch, channels, a, other, work, scratch)

    run_parts(len(g.offsets), get_num_threads(), part)


def _coefficients(expansion: SphericalExpansion, g: Packed, a: Floats) -> Tensor:
    flat = np.ascontiguousarray(a.transpose(0, 2, 1)).reshape(-1, a.shape[1])[: g.shape[0]]
    return torch.from_numpy(flat).reshape(g.shape[0], *expansion.shape)


def _room(expansion: SphericalExpansion, g: Packed) -> Floats:
    return aligned((len(g.offsets), int(np.prod(expansion.shape)), g.lanes), g.vectors.dtype)


def forward(expansion: SphericalExpansion, g: Packed) -> Tensor:
    """Return A; see `torch_backend.forward`."""
    a = _room(expansion, g)
    _run(expansion, g, "forward", a, g.vectors)
    return _coefficients(expansion, g, a)


def vjp(expansion: SphericalExpansion, g: Packed, a_bar: Tensor) -> Tensor:
    """Return the edge gradients; see `torch_backend.vjp`."""
    n, width = g.shape
    rows = _room(expansion, g)
    padded = np.zeros((len(g.offsets) * g.lanes, rows.shape[1]), rows.dtype)
    padded[:n] = a_bar.detach().reshape(n, rows.shape[1]).numpy()
    rows[...] = padded.reshape(-1, g.lanes, rows.shape[1]).transpose(0, 2, 1)
    gradients = aligned(g.vectors.shape, rows.dtype)
    _run(expansion, g, "vjp", rows, gradients)
    result = np.zeros((n * width + 1, 3), rows.dtype)
    result[g.source] = gradients.transpose(0, 2, 1).reshape(-1, 3)
    return torch.from_numpy(result[:-1]).reshape(n, width, 3)


def jvp(expansion: SphericalExpansion, g: Packed, tangent: Tensor) -> Tensor:
    """Return the change of A; see `torch_backend.jvp`."""
    a = _room(expansion, g)
    change = _to_rows(tangent.detach().numpy(), g.source, g.lanes, 0.0)
    _run(expansion, g, "jvp", a, change)
    return _coefficients(expansion, g, a)
