"""Rows of linear and quadratic models from compiled kernels, many structures at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.engine.inference import Engine
from forgefield.engine.kernel import NotCompiledError
from forgefield.engine.many import list_together
from forgefield.engine.points import Listing, Points
from forgefield.engine.row_kernel import row_kernel, row_signature
from forgefield.engine.row_tables import JacobianTerms, RowTables
from forgefield.engine.row_vectors import distinct_features
from forgefield.expansions.triplets import FactoredBasis, TripletExpansion
from forgefield.models.potential import Potential
from forgefield.parallel import get_num_threads, run_parts
from forgefield.stages.parameters import Shape, ShapeStage
from forgefield.tracer.cache import Native, aligned, native
from forgefield.tracer.trace import trace

__all__ = ["FeatureRows", "Repulsion", "RowEngine"]

FloatArray = NDArray[np.float64]

DIRECTIONS = np.concatenate([np.eye(3).ravel(), np.zeros(9)])
"""Along which a row of neighbours moves; one that is there to fill up does not."""

WINDOW = 64
"""Atoms that may change places for blocks of atoms with equally many neighbours."""


@dataclass(frozen=True)
class Repulsion:
    """The nuclear repulsion of some structures.

    Attributes
    ----------
    energies : (n_atoms,) [eV]
    forces : (n_atoms, 3) [eV/Å]
    strain : (n_atoms, 6) [eV]
    """

    energies: FloatArray
    forces: FloatArray
    strain: FloatArray


@dataclass(frozen=True)
class FeatureRows:
    """Features of atoms, scaled but not mixed, and the derivatives of their sums over a structure.

    Columns are the wanted features and, for a quadratic model, their products ``q_a q_b`` for a <= b, halved where
    a = b.

    Attributes
    ----------
    species : (n_atoms,) int
        Index of each atom's element.
    features : (n_atoms, n_wanted)
        Without products.
    forces : (n_atoms, n_species, n_columns, 3) [1/Å]
        Minus the derivatives of the sum over the atoms of each element with respect to positions.
    strain : (n_structures, n_species, n_columns, 6)
        Derivatives of the same sums with respect to strain, `keys.VOIGT` components.
    repulsion : Repulsion, or None
    """

    species: NDArray[np.int64]
    features: FloatArray
    forces: FloatArray
    strain: FloatArray
    repulsion: Repulsion | None


class RowEngine:
    """Rows of one potential, compiled for the processor at hand.

    Parameters
    ----------
    potential : Potential
        Its model is not looked at; scale and shift of its scaling are.
    products : bool
        Rows of products of features too.
    threads : int, optional
        Default: `parallel.get_num_threads`.

    Attributes
    ----------
    wanted : (n_wanted,) int
        Features that have rows: of equal ones, as invariants of several densities have them, only the first, unless
        products are asked for.
    sources : (n_features,) int
        Which of them each feature is equal to.
    n_columns : int

    Raises
    ------
    NotCompiledError
        A part of the descriptor has no kernel, or its coefficients are not sums over single neighbours.
    """

    def __init__(self, potential: Potential, *, products: bool = False, threads: int | None = None) -> None:
        for e in potential.descriptor.expansions:
            if isinstance(e, TripletExpansion) and not isinstance(e.basis, FactoredBasis):
                raise NotCompiledError(
                    "rows of triplets of neighbours whose functions are no products have no kernel"
                )
        self.potential, self.threads = potential, threads
        self.engine = Engine(potential, "float64", threads)
        scaler, n = potential.scaler, potential.descriptor.n_features
        scale, shift = (x.double().cpu().numpy() for x in (scaler.scale, scaler.shift))
        self.wanted, self.sources = np.arange(n), np.arange(n)
        if not products:
            first = distinct_features(potential.descriptor)
            alike = (scale == scale[first]) & (shift == shift[first])
            self.wanted, self.sources = np.unique(np.where(alike, first, np.arange(n)), return_inverse=True)
        a, b = np.triu_indices(n)
        if not products:
            a, b = a[:0], b[:0]
        self._pairs = np.stack([a, b], axis=1).astype(np.int32).ravel()
        self._halves = np.where(a == b, 0.5, 1.0)
        self.n_columns = len(self.wanted) + len(a)
        self._scales, self._wanted = np.concatenate([scale, shift]), self.wanted.astype(np.int32)
        self._lay_out()
        self._factors = np.append(self.tables.factors * scale[self.tables.features], 0.0)
        self._kernel: Native | None = None

    def _lay_out(self) -> None:
        """Make the tables; put the Jacobian of the descriptor into the memory of the kernel, if it knows it."""
        plan = self.engine.plan
        stage = ShapeStage(self.n_species)
        stage.layout = plan.layout
        shapes = [Shape((e.shape[0] * e.shape[1], e.shape[2])) for e in plan.expansions]
        jacobian = self.potential.descriptor.jacobian(stage, shapes)
        self.tables = RowTables.of(self.potential.descriptor, self.wanted, jacobian)
        self._terms: JacobianTerms | None = None
        if jacobian is not None:
            (places,), (n_places,), memory = self.tables.places, self.tables.n_places, plan.layout.memory
            self._terms = JacobianTerms.of(jacobian, places, n_places, memory)
            self.engine.terms = memory.arrays(self.engine.dtype)

    @property
    def n_species(self) -> int:
        """Elements of the potential."""
        return len(self.potential.species)

    def numbers(self, n_atoms: int) -> int:
        """Return how many numbers the rows of so many atoms take."""
        return n_atoms * self.n_columns * 4 * self.n_species

    def compute(self, frames: Sequence[Atoms]) -> FeatureRows:
        """Return the rows of some structures, their atoms one after the other.

        Forces and strain are kept in memory that the next call uses again.

        Parameters
        ----------
        frames : sequence of ase.Atoms
            Together at most `many.LONGEST` long, see `many.length_of`.

        Raises
        ------
        UnknownSpeciesError, StructureError
            Elements that the potential does not know; overlapping atoms, no atoms, flat cell.
        """
        together = list_together(frames, self.potential.species, self.potential.cutoffs)
        points, lists = together.points, together.lists
        engine, kernel, n, n_structures = self.engine, self._native(), points.n_atoms, len(frames)
        block = engine.blocks(points, lists, order := _alike(lists[0], n, self.n_species))
        of_lanes = np.append(order, n).take(block.atoms)
        lanes, n_blocks, n_wanted = engine.lanes, block.n_blocks, len(self.wanted)
        width = self.n_species * self.n_columns
        threads = max(1, min(self.threads or get_num_threads(), n_blocks))
        forces = [self._zeroed(("forces", t), (n + 1) * width) for t in range(threads)]
        strain = [self._zeroed(("strain", t), (n_structures + 1) * width * 2) for t in range(threads)]
        pushed = [aligned((n + 1, 4), np.float64) for _ in range(threads)]
        features = engine.memory("rows", n_blocks * n_wanted * lanes)
        energies = engine.memory("repulsion", n_blocks * lanes)
        pulled = engine.memory("repulsion_strain", n_blocks * 6 * lanes)
        atoms, owners = self._owners(points, of_lanes, together.n_atoms)
        plain = [atoms.astype(np.int32), of_lanes.astype(np.int32)] if engine.plan.repulsion else []

        def part(thread: int, first: int, last: int) -> None:
            *arguments, scratch = engine.list_arguments(block, lists, 2)
            kernel(
                first,
                last,
                points.positions,
                block.centres,
                block.species,
                *arguments,
                engine.memory(("work", thread), kernel.workspace * lanes),
                engine.memory(("scratch", thread), scratch),
                features,
                *owners,
                self.tables.integers,
                DIRECTIONS,
                self._wanted,
                self._scales,
                self._factors,
                self._pairs,
                self._halves,
                forces[thread],
                features,
                strain[thread],
                *((*plain, pushed[thread], energies, pulled) if plain else ()),
            )

        run_parts(n_blocks, threads, part)
        slots = np.empty(n, dtype=np.int64)
        slots[order] = block.slots
        extra = None
        if engine.plan.repulsion:
            one, six = self._by_atom(slots, energies, 1), self._by_atom(slots, pulled, 6)
            extra = Repulsion(one[:, 0], np.sum(pushed, axis=0)[:n, :3], six)
        values = self._by_atom(slots, features, n_wanted)
        of_structures = _total(strain).reshape(n_structures + 1, self.n_species, self.n_columns, 2, 4)
        return FeatureRows(
            points.species,
            values,
            _total(forces).reshape(n + 1, self.n_species, self.n_columns, 4)[:n, ..., :3],
            of_structures[:-1, ..., :3].reshape(n_structures, self.n_species, self.n_columns, 6),
            extra,
        )

    def _owners(
        self, points: Points, of_lanes: NDArray[np.int64], n_atoms: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], list[NDArray[np.int32]]]:
        """Return the atom of each point; and where forces of points, of lanes, and strain of lanes are added."""
        n, width = points.n_atoms, self.n_species * self.n_columns
        atoms = np.concatenate([np.arange(n), points.owner, [n, n]])
        structures = np.append(np.repeat(np.arange(len(n_atoms)), n_atoms), len(n_atoms))
        places = (atoms * width, of_lanes * width, structures[of_lanes] * (2 * width))
        return atoms, [x.astype(np.int32) for x in places]

    def _zeroed(self, name: tuple[str, int], rows: int) -> FloatArray:
        """Return memory for rows of four numbers, all zero."""
        memory: FloatArray = self.engine.memory(name, 4 * rows)[: 4 * rows]
        memory[:] = 0.0
        return memory

    def _by_atom(self, slots: NDArray[np.int64], rows: NDArray[Any], width: int) -> FloatArray:
        """Return (n_atoms, width) numbers of the lanes `slots` from `width` rows for each block."""
        lanes = self.engine.lanes
        n_blocks = int(slots.max()) // lanes + 1
        per_lane = rows[: n_blocks * width * lanes].reshape(n_blocks, width, lanes).transpose(0, 2, 1)
        found: FloatArray = per_lane.reshape(-1, width).take(slots, axis=0)
        return found

    def _native(self) -> Native:
        if self._kernel is None:
            plan, bits = self.engine.plan, self.engine.bits
            signature, n_products = row_signature(plan), self.n_columns - len(self.wanted)
            known = None if self._terms is None else repr(self._terms)
            self._kernel = native(
                "linear_rows",
                signature,
                bits,
                (self.engine.describe(), self.tables.signature, known, n_products),
                lambda: trace(
                    "linear_rows", signature, bits, row_kernel(plan, self.tables, self._terms, n_products)
                ),
            )
        return self._kernel


def _alike(listing: Listing, n: int, n_species: int) -> NDArray[np.int64]:
    """Return an order in which atoms that share a block have about as many neighbours.

    A block has as many rows of neighbours as its longest lane. Only atoms near each other change places: what their
    neighbours add to then stays in the fast memory of the processor.
    """
    counts = np.diff(listing.first).reshape(n, n_species)
    return np.lexsort((*counts.T, np.arange(n) // WINDOW))


def _total(parts: Sequence[FloatArray]) -> FloatArray:
    """Return the sum of what several threads have found, in the memory of the first."""
    for x in parts[1:]:
        np.add(parts[0], x, out=parts[0])
    return parts[0]
