"""Rows of linear and quadratic models from compiled kernels, many structures at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.engine.blocks import Block
from forgefield.engine.inference import Engine
from forgefield.engine.kernel import NotCompiledError
from forgefield.engine.many import list_together
from forgefield.engine.row_kernel import row_kernel, row_signature
from forgefield.engine.row_tables import JacobianTerms, RowTables
from forgefield.expansions.triplets import TripletExpansion
from forgefield.models.potential import Potential
from forgefield.parallel import get_num_threads, run_parts
from forgefield.stages.parameters import Shape, ShapeStage
from forgefield.tracer.cache import Native, aligned, native
from forgefield.tracer.trace import trace

__all__ = ["FeatureRows", "Repulsion", "RowEngine"]

FloatArray = NDArray[np.float64]


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
    """Scaled features of atoms and the derivatives of their sums over a structure.

    Columns are the features and, for a quadratic model, their products ``q_a q_b`` for a <= b, halved where a = b.

    Attributes
    ----------
    species : (n_atoms,) int
        Index of each atom's element.
    features : (n_atoms, n_features)
        Without products.
    forces : (n_species, n_columns, n_atoms, 3) [1/Å]
        Minus the derivatives of the sum over the atoms of each element with respect to positions.
    strain : (n_atoms, n_columns, 6)
        Contribution of every atom to the derivatives with respect to strain, `keys.VOIGT` components.
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
        Its model is not looked at; its scaling is.
    products : bool
        Rows of products of features too.
    threads : int, optional
        Default: `parallel.get_num_threads`.

    Raises
    ------
    NotCompiledError
        A part of the descriptor has no kernel, or its coefficients are not sums over single neighbours; products of
        features that are whitened.
    """

    def __init__(self, potential: Potential, *, products: bool = False, threads: int | None = None) -> None:
        if any(isinstance(e, TripletExpansion) for e in potential.descriptor.expansions):
            raise NotCompiledError("rows of triplets of neighbours have no kernel")
        scaler = potential.scaler
        mix = scaler.mix.double().cpu().numpy()
        self._mix = None if np.array_equal(mix, np.eye(len(mix))) else mix
        if products and self._mix is not None:
            raise NotCompiledError("rows of products of whitened features have no kernel")
        self.potential, self.threads = potential, threads
        self.engine = Engine(potential, "float64", threads)
        self.n_features = potential.descriptor.n_features
        a, b = np.triu_indices(self.n_features)
        if not products:
            a, b = a[:0], b[:0]
        self._pairs = np.stack([a, b], axis=1).astype(np.int32).ravel()
        self._halves = np.where(a == b, 0.5, 1.0)
        self.n_columns = self.n_features + len(a)
        self._scales = np.concatenate([x.double().cpu().numpy() for x in (scaler.scale, scaler.shift)])
        self.tables = RowTables.of(potential.descriptor)
        self._terms = self._lay_out()
        self._kernel: Native | None = None

    def _lay_out(self) -> JacobianTerms | None:
        """Put the Jacobian of the descriptor into the memory of the kernel, if it knows it."""
        plan = self.engine.plan
        stage = ShapeStage(self.n_species)
        stage.layout = plan.layout
        shapes = [Shape((e.shape[0] * e.shape[1], e.shape[2])) for e in plan.expansions]
        jacobian = self.potential.descriptor.jacobian(stage, shapes)
        if jacobian is None:
            return None
        terms = JacobianTerms.of(jacobian, self.tables.entries[0], plan.layout.memory)
        self.engine.terms = plan.layout.memory.arrays(self.engine.dtype)
        return terms

    @property
    def n_species(self) -> int:
        """Elements of the potential."""
        return len(self.potential.species)

    def numbers(self, n_atoms: int) -> int:
        """Return how many numbers the rows of so many atoms take."""
        return n_atoms * self.n_columns * (4 * self.n_species + 6)

    def compute(self, frames: Sequence[Atoms]) -> FeatureRows:
        """Return the rows of some structures, their atoms one after the other.

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
        engine, kernel, n = self.engine, self._native(), points.n_atoms
        block = engine.blocks(points, lists)
        lanes, n_blocks = engine.lanes, block.n_blocks
        owners = np.concatenate([np.arange(n), points.owner, [n, n]]).astype(np.int32)
        n_forces = self.n_species * self.n_columns * (n + 1)
        threads = max(1, min(self.threads or get_num_threads(), n_blocks))
        forces = [aligned((n_forces, 4), np.float64) for _ in range(threads)]
        features = engine.memory("rows", n_blocks * self.n_features * lanes)
        strain = engine.memory("row_strain", n_blocks * 6 * self.n_columns * lanes)
        pushed = [aligned((n + 1, 4), np.float64) for _ in range(threads)]
        energies = engine.memory("repulsion", n_blocks * lanes)
        pulled = engine.memory("repulsion_strain", n_blocks * 6 * lanes)
        directions, centre_owners = np.eye(3).ravel(), block.atoms.astype(np.int32)

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
                n + 1,
                owners,
                centre_owners,
                self.tables.integers,
                directions,
                self._scales,
                self._pairs,
                self._halves,
                forces[thread],
                features,
                strain,
                *((pushed[thread], energies, pulled) if engine.plan.repulsion else ()),
            )

        run_parts(n_blocks, threads, part)
        total = forces[0] if threads == 1 else np.sum(forces, axis=0)
        of_atoms = self._by_atom(block, strain, 6 * self.n_columns).reshape(n, self.n_columns, 6)
        rows = total.reshape(self.n_species, self.n_columns, n + 1, 4)[:, :, :n, :3]
        values = self._by_atom(block, features, self.n_features)
        if self._mix is not None:
            values = values @ self._mix
            rows = np.einsum("ab,sanc->sbnc", self._mix, rows, optimize=True)
            of_atoms = np.einsum("ab,nac->nbc", self._mix, of_atoms, optimize=True)
        extra = None
        if engine.plan.repulsion:
            extra = Repulsion(
                self._by_atom(block, energies, 1)[:, 0],
                np.sum(pushed, axis=0)[:n, :3],
                self._by_atom(block, pulled, 6),
            )
        return FeatureRows(points.species, values, rows, of_atoms, extra)

    def _by_atom(self, block: Block, rows: NDArray[Any], width: int) -> FloatArray:
        """Return (n_atoms, width) numbers from `width` rows for each block."""
        lanes = self.engine.lanes
        per_lane = rows[: block.n_blocks * width * lanes].reshape(block.n_blocks, width, lanes)
        result = np.empty((block.n_atoms, width))
        result[block.atoms[block.real]] = per_lane.transpose(0, 2, 1).reshape(-1, width)[block.real]
        return result

    def _native(self) -> Native:
        if self._kernel is None:
            plan, bits = self.engine.plan, self.engine.bits
            signature, n_products = row_signature(plan), self.n_columns - self.n_features
            self._kernel = native(
                "linear_rows",
                signature,
                bits,
                (self.engine.describe(), self.tables.sizes, self._terms, n_products),
                lambda: trace(
                    "linear_rows", signature, bits, row_kernel(plan, self.tables, self._terms, n_products)
                ),
            )
        return self._kernel
