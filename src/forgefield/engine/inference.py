"""Energies, forces and virials from compiled kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from forgefield.engine.blocks import Block, BlockLayout
from forgefield.engine.kernel import Plan, value_kernel, value_signature
from forgefield.engine.parameters import KernelParameters
from forgefield.engine.points import Listing, Points
from forgefield.kernel_cache import foreign_sources
from forgefield.models.potential import Potential
from forgefield.parallel import get_num_threads, run_parts
from forgefield.tracer.cache import Native, aligned, host, native
from forgefield.tracer.trace import trace

__all__ = ["Engine", "Evaluated", "Precision"]

FloatArray = NDArray[np.float64]
Precision = Literal["float32", "float64"]

_TOGETHER = 64
"""Atoms whose strain gradients are added as one row."""


@dataclass(frozen=True)
class Evaluated:
    """What the kernel says of the atoms asked for, without reference energies.

    Attributes
    ----------
    energies : (n_atoms,) [eV]
    forces : (n_points, 4) [eV/Å]
        Images still hold what belongs to their atoms; see `Points.fold`.
    strain : (n_atoms, 6) [eV]
        ``sum_j r_ij g_ij`` of each atom, `keys.VOIGT` components; their sum is stress times volume.
    virials : (n_points, 3, 4) [eV] or None
        Atomic virials of kind I, row a holding ``-r_a g``.
    """

    energies: FloatArray
    forces: NDArray[np.floating]
    strain: FloatArray
    virials: NDArray[np.floating] | None

    @property
    def total_strain(self) -> FloatArray:
        """(6,) sum of `strain` over the atoms [eV]."""
        n = len(self.strain) // _TOGETHER * _TOGETHER
        if not n:
            return np.asarray(self.strain.sum(axis=0))
        # Sums of long rows: NumPy takes ten times as long for sums of short ones.
        rows = self.strain[:n].reshape(-1, _TOGETHER * 6).sum(axis=0).reshape(_TOGETHER, 6)
        total: FloatArray = rows.sum(axis=0) + self.strain[n:].sum(axis=0)
        return total


class Engine:
    """A potential compiled for the processor at hand.

    Parameters
    ----------
    potential : Potential
    dtype : {'float32', 'float64'}
        Of the kernels; positions, differences and sums over atoms are float64 anyway.
    threads : int, optional
        Default: `parallel.get_num_threads`.
    repulsion : bool
        Include the nuclear repulsion; training leaves this fixed part to the labels.
    """

    def __init__(
        self,
        potential: Potential,
        dtype: Precision = "float64",
        threads: int | None = None,
        *,
        repulsion: bool = True,
    ) -> None:
        self.potential, self.dtype = potential, np.dtype(dtype)
        self.bits = 8 * self.dtype.itemsize
        self.plan = Plan.of(potential, repulsion=repulsion)
        self.threads = threads
        self.lanes = host().lanes(self.bits)
        self.parameters = KernelParameters(potential, self.plan.layout, self.dtype)
        self.tables = [
            np.ascontiguousarray(self.plan.tables(n), dtype=self.dtype) for n in range(self.plan.n_lists)
        ]
        self.terms = self.plan.layout.memory.arrays(self.dtype)
        self._kernels: dict[tuple[bool, bool], Native] = {}
        self._memory: dict[Any, NDArray[Any]] = {}
        self._layout: tuple[NDArray[np.int64], BlockLayout | None] = np.empty(0, dtype=np.int64), None
        self._rows_per_edge = [self.plan.rows_per_edge(n) for n in range(len(self.plan.expansions))]

    def kernel(self, *, save: bool = False, virials: bool = False) -> Native:
        """Return the compiled kernel of one kind, built when first asked for."""
        key = (save, virials)
        if key not in self._kernels:
            signature = value_signature(self.plan, virials=virials)
            self._kernels[key] = native(
                "values",
                signature,
                self.bits,
                (self.describe(), key),
                lambda: trace(
                    "values", signature, self.bits, value_kernel(self.plan, save=save, virials=virials)
                ),
            )
        return self._kernels[key]

    def describe(self) -> str:
        """Return all that a kernel depends on beside the values of the parameters."""
        p = self.potential
        parts = [type(p.descriptor).__name__, p.descriptor.settings.model_dump_json()]
        parts += [type(p.model).__name__, p.model.settings.model_dump_json()]
        fields = [v for e in self.plan.expansions for v in vars(e).values()]
        own = foreign_sources(p.descriptor, p.model, *self.plan.expansions, *fields)
        parts += [repr(self.plan.expansions), str(len(p.species)), str(self.plan.repulsion), own]
        return " ".join(parts)

    def blocks(
        self, points: Points, lists: tuple[Listing, ...], order: NDArray[np.int64] | None = None
    ) -> Block:
        """Return the atoms of a structure in blocks."""
        atoms = np.arange(points.n_atoms) if order is None else order
        species = points.species[atoms]
        known, layout = self._layout
        if layout is None or order is not None or not np.array_equal(known, species):
            layout = BlockLayout.of(atoms, atoms, species, len(self.potential.species), self.lanes)
            if order is None:
                self._layout = species, layout
        return layout.block(lists, points.padding)

    def memory(self, name: Any, size: int, dtype: Any = None) -> NDArray[Any]:
        """Return memory to be reused by later calls: at least `size` numbers, contents as they were left."""
        have = self._memory.get(name)
        if have is None or have.size < size:
            have = self._memory[name] = aligned(size, dtype or self.dtype)
        return have

    def list_arguments(self, block: Block, lists: tuple[Listing, ...], planes: int) -> list[Any]:
        """Return the arguments of the kernels from ``fresh`` to ``scratch``, the last as the numbers it needs."""
        arguments: list[Any] = [int(not block.is_picked)]
        scratch = 1
        for listing, b, table in zip(lists, block.lists, self.tables, strict=True):
            arguments += [listing.neighbours, b.starts, b.ends, b.offsets, b.picked, table]
        for b, rows in zip(block.lists, self._rows_per_edge, strict=False):
            scratch += b.longest * planes * rows
        return [*arguments, self.parameters.flat, *self.terms, scratch * self.lanes]

    def evaluate(
        self, points: Points, lists: tuple[Listing, ...], block: Block, *, virials: bool = False
    ) -> Evaluated:
        """Return energies, forces and strain gradients of one structure.

        Parameters
        ----------
        points : Points
        lists : tuple of Listing
            One for each expansion.
        block : Block
        virials : bool
            Also compute atomic virials.
        """
        threads = self.threads_for(block)
        size = len(points.positions) * 4
        collected = [self.memory(("forces", t), size)[:size].reshape(-1, 4) for t in range(threads)]
        atomic = [
            [self.memory((axis, t), size)[:size].reshape(-1, 4) for axis in "xyz"] if virials else []
            for t in range(threads)
        ]
        for x in (*collected, *(y for of_thread in atomic for y in of_thread)):
            x[:] = 0.0
        energies, strain = self.values(points.positions, lists, block, collected, atomic=atomic)
        parts = [_total([a[c] for a in atomic]) for c in range(3)] if virials else None
        joined = None if parts is None else np.stack(parts, axis=1)
        return Evaluated(energies, _total(collected), strain, joined)

    def threads_for(self, block: Block) -> int:
        """Return the number of threads that share these blocks."""
        return max(1, min(self.threads or get_num_threads(), block.n_blocks))

    def values(
        self,
        positions: FloatArray,
        lists: tuple[Listing, ...],
        block: Block,
        forces: list[NDArray[Any]],
        *,
        atomic: list[list[NDArray[Any]]] | None = None,
        save: NDArray[Any] | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Run the kernel on all blocks and return energies (n_atoms,) and strain gradients (n_atoms, 6).

        Parameters
        ----------
        positions : (n_points, 4) float64
        lists : tuple of Listing
        block : Block
        forces : list of (n_points, 4) arrays
            One for each thread, added to.
        atomic : list of three (n_points, 4) arrays each, optional
            Likewise for atomic virials.
        save : array, optional
            Where the expansion coefficients are kept, ``coefficients * lanes`` numbers for each block.
        """
        virials = bool(atomic and atomic[0])
        kernel = self.kernel(save=save is not None, virials=virials)
        n, lanes = block.n_blocks, self.lanes
        energies, strain = self.memory("energies", n * lanes), self.memory("strain", n * 6 * lanes)
        layout, at_once = block.layout, block.layout.is_small(6)
        of_atoms = np.empty((0 if at_once else block.n_atoms, 6))

        def part(thread: int, first: int, last: int) -> None:
            *arguments, scratch = self.list_arguments(block, lists, 1)
            kernel(
                first,
                last,
                positions,
                block.centres,
                block.species,
                *arguments,
                self.memory(("work", thread), kernel.workspace * lanes),
                self.memory(("scratch", thread), scratch),
                energies if save is None else save,
                forces[thread],
                energies,
                strain,
                *(atomic[thread] if atomic else ()),
            )
            if not at_once:
                layout.give(strain, of_atoms, first, last)

        run_parts(n, len(forces), part)
        block.is_picked = True
        return (
            energies.take(block.slots).astype(np.float64),
            layout.by_atom(strain, 6) if at_once else of_atoms,
        )


def _total(parts: list[NDArray[np.floating]]) -> NDArray[np.floating]:
    total = parts[0]
    for x in parts[1:]:
        total = total + x
    return total
