"""Features of a fixed set of structures and their derivatives, stored: for trainings that never change them.

Nothing else in this package stores derivatives of descriptors; see decision 19 for when it pays. Neighbours that are
images of one atom share their derivatives, and of what an atom does to its own images only the strain is left, so that
small cells need little room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.engine.blocks import Block
from forgefield.engine.features import FeatureEngine
from forgefield.engine.kernel import Plan, list_signature, make_stage, plane_of, setup
from forgefield.engine.many import LONGEST, Together, length_of, list_together
from forgefield.keys import VOIGT
from forgefield.models.scaler import FeatureScaler
from forgefield.parallel import run_parts
from forgefield.tracer.cache import Native, aligned, host, native
from forgefield.tracer.trace import Int, Kernel, trace
from forgefield.tracer.values import Lanes

__all__ = ["DerivativeTable", "TableEngine", "padded_features"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

CHUNK = 4_000_000
"""Numbers computed at a time, four for each feature and pair of atoms."""


@dataclass(frozen=True)
class DerivativeTable:
    """Scaled features of all atoms of a set of structures, and their derivatives.

    Attributes
    ----------
    features : (n_atoms + n_species, n_padded)
        Scaled; then those of an atom of each element without neighbours.
    derivatives : (n_columns, n_padded) [1/Å, strain: 1]
        For every atom the derivatives with respect to x, y, z of each of its `neighbours`, then those with respect to
        the six components of strain (`keys.VOIGT`) where its structure wants them.
    columns : (n_atoms,) int32
        The first row of `derivatives` of each atom.
    first : (n_atoms + 1,) int32
        Where in `neighbours` each atom begins.
    neighbours : (n,) int32
        Other atoms that an atom's features depend on, counted within their structure, each once.
    n_strain : (n_structures,) int32
        6 where derivatives with respect to strain are stored, else 0.
    atom_start : (n_structures + 1,) int32
    species : (n_atoms,) int
    """

    features: NDArray[np.floating]
    derivatives: NDArray[np.floating]
    columns: NDArray[np.int32]
    first: NDArray[np.int32]
    neighbours: NDArray[np.int32]
    n_strain: NDArray[np.int32]
    atom_start: NDArray[np.int32]
    species: IntArray

    @property
    def n_bytes(self) -> int:
        """Memory of the large arrays."""
        return self.features.nbytes + self.derivatives.nbytes + self.neighbours.nbytes


def padded_features(n_features: int, dtype: Any) -> int:
    """Return the length of a row of features: whole vectors of the processor."""
    lanes = host().lanes(8 * np.dtype(dtype).itemsize)
    return -(-n_features // lanes) * lanes


class TableEngine:
    """Makes the table of a set of structures.

    Parameters
    ----------
    engine : FeatureEngine
        In double precision.
    scaler : FeatureScaler
        Scaling of the features, which is taken into the table.
    dtype : numpy dtype
        Of the table.

    Raises
    ------
    NotCompiledError
        A part of the descriptor has no kernel.
    """

    def __init__(self, engine: FeatureEngine, scaler: FeatureScaler, dtype: Any) -> None:
        self.descriptor, self.engine, self.dtype = engine.descriptor, engine.engine, np.dtype(dtype)
        self.n_features = engine.n_features
        self._shift = scaler.shift.double().cpu().numpy()
        self._matrix = (scaler.scale.double()[:, None] * scaler.mix.double()).cpu().numpy()
        self._kernel: Native | None = None

    def build(self, frames: Sequence[Atoms], forces: BoolArray, strain: BoolArray) -> DerivativeTable:
        """Return the table of some structures.

        Parameters
        ----------
        frames : sequence of ase.Atoms
        forces, strain : (n_structures,) bool
            Whose derivatives with respect to positions and to strain are wanted.

        Raises
        ------
        UnknownSpeciesError, StructureError
            See `many.list_together`.
        """
        parts = [self._part(index, frames, forces, strain) for index in self._chunks(frames)]
        width = padded_features(self.n_features, self.dtype)
        features = [self._scaled(p.features, width) for p in parts]
        counts = np.concatenate([p.counts for p in parts])
        first = np.concatenate([[0], np.cumsum(counts)])
        n_atoms = np.array([len(a) for a in frames], dtype=np.int64)
        sixes = np.where(strain, 6, 0)
        of_atoms = np.repeat(sixes, n_atoms)
        columns = 3 * first[:-1] + np.cumsum(of_atoms) - of_atoms
        derivatives = aligned((int(3 * first[-1] + of_atoms.sum()), width), self.dtype)
        done = 0
        for p in parts:
            self._fill(derivatives, columns[done : done + len(p.counts)], p)
            done += len(p.counts)
        free = self._scaled(self._free_features(), width)
        return DerivativeTable(
            np.concatenate([*features, free]),
            derivatives,
            columns.astype(np.int32),
            first.astype(np.int32),
            np.concatenate([p.neighbours for p in parts]).astype(np.int32),
            sixes.astype(np.int32),
            np.concatenate([[0], np.cumsum(n_atoms)]).astype(np.int32),
            np.concatenate([p.species for p in parts]),
        )

    def _chunks(self, frames: Sequence[Atoms]) -> Iterator[list[int]]:
        """Yield structures to be treated together."""
        cutoff, some, atoms, length = max(self.descriptor.cutoffs), list[int](), 0, 0.0
        most = max(1, CHUNK // (4 * 40 * self.n_features))
        for n, frame in enumerate(frames):
            room = length_of(frame, cutoff)
            if some and (atoms + len(frame) > most or length + room > LONGEST):
                yield some
                some, atoms, length = [], 0, 0.0
            some.append(n)
            atoms, length = atoms + len(frame), length + room
        if some:
            yield some

    def _scaled(self, features: FloatArray, width: int) -> NDArray[np.floating]:
        result = np.zeros((len(features), width), dtype=self.dtype)
        result[:, : self.n_features] = (features - self._shift) @ self._matrix
        return result

    def _free_features(self) -> FloatArray:
        """Return the features of an atom of each element without neighbours."""
        single = FeatureEngine(self.descriptor, "float64", 1)
        found = [single.compute(Atoms(numbers=[z], positions=[[0.0] * 3])) for z in self.descriptor.species]
        return np.concatenate(found)

    def _fill(self, table: NDArray[np.floating], columns: IntArray, part: _Part) -> None:
        """Scale the derivatives of some atoms and put them into their places."""
        n, owners = self.n_features, np.repeat(np.arange(len(part.counts)), part.counts)
        ranks = np.arange(len(owners)) - np.repeat(np.cumsum(part.counts) - part.counts, part.counts)
        for c in range(3):
            rows = columns[owners] + 3 * ranks + c
            table[rows, :n] = part.derivatives[:, :, c] @ self._matrix
        some = np.flatnonzero(part.has_strain)
        start = columns[some] + 3 * part.counts[some]
        for v in range(6):
            table[start + v, :n] = part.strain[some, :, v] @ self._matrix

    def _part(
        self, index: Sequence[int], frames: Sequence[Atoms], forces: BoolArray, strain: BoolArray
    ) -> _Part:
        """Return features and derivatives of some structures."""
        engine, n = self.engine, self.n_features
        together = list_together([frames[k] for k in index], self.descriptor.species, self.descriptor.cutoffs)
        points, lists = together.points, together.lists
        slots = _Slots.of(together, forces[list(index)], n)
        block = engine.blocks(points, lists)
        lanes, threads = engine.lanes, engine.threads_for(block)
        rows = engine.memory("features", block.n_blocks * n * lanes)
        size = (len(slots.neighbours) + 1) * n * 4
        derivatives = aligned(
            size, np.float64
        )  # one for all threads: only what nobody reads belongs to two atoms
        strained = engine.memory("table_strain", block.n_blocks * n * 6 * lanes)
        picked = [np.empty_like(b.picked) for b in block.lists]
        kernel = self._native()

        def part(thread: int, first: int, last: int) -> None:
            *arguments, scratch = engine.list_arguments(block, lists, 1)
            kernel(
                first,
                last,
                points.positions,
                block.centres,
                block.species,
                *arguments,
                engine.memory(("work", thread), kernel.workspace * lanes),
                engine.memory(("scratch", thread), scratch),
                rows,
                rows,
                derivatives,
                strained,
                *(x for pair in zip(slots.records, picked, strict=True) for x in pair),
            )

        run_parts(block.n_blocks, threads, part)
        return _Part(
            points.species,
            block.layout.by_atom(rows, n),
            slots.counts,
            slots.neighbours,
            derivatives.reshape(-1, n, 4)[:-1],
            _by_atom(block, strained, n * 6, lanes).reshape(-1, n, 6),
            np.repeat(strain[list(index)], together.n_atoms),
        )

    def _native(self) -> Native:
        if self._kernel is None:
            engine, plan = self.engine, self.engine.plan
            signature = list_signature(plan)
            signature |= {"features": "rows", "derivatives": "vectors", "strain": "rows"}
            for n in range(len(plan.expansions)):
                signature |= {f"records{n}": "indices", f"recorded{n}": "indices"}
            self._kernel = native(
                "table",
                signature,
                engine.bits,
                engine.describe(),
                lambda: trace("table", signature, engine.bits, _table_kernel(plan)),
            )
        return self._kernel


@dataclass(frozen=True)
class _Part:
    """What the kernel says of some structures: unscaled features and derivatives of the atoms and their slots."""

    species: IntArray
    features: FloatArray
    counts: IntArray
    neighbours: IntArray
    derivatives: FloatArray
    strain: FloatArray
    has_strain: BoolArray


@dataclass(frozen=True)
class _Slots:
    """Pairs of different atoms, images taken together.

    Attributes
    ----------
    counts : (n_atoms,) int
        Slots of each atom, one after the other.
    neighbours : (n_slots,) int
        The other atom, counted within its structure.
    records : list of (n_entries,) int32
        For each entry of each listing the first row of its slot; one behind all for those that have none.
    """

    counts: IntArray
    neighbours: IntArray
    records: list[NDArray[np.int32]]

    @classmethod
    def of(cls, together: Together, forces: BoolArray, n_features: int) -> _Slots:
        points, n = together.points, together.points.n_atoms
        n_species = (len(together.lists[0].first) - 1) // n
        of_point = np.concatenate([np.arange(n), points.owner, [-1, -1]])
        wanted = np.repeat(forces, together.n_atoms)
        keys = []
        for listing in together.lists:
            centre = np.repeat(np.arange(n), np.diff(listing.first[::n_species]))
            other = of_point[listing.neighbours]
            real = (other >= 0) & (other != centre) & wanted[centre]
            keys.append(np.where(real, centre * n + other, -1))
        found = np.unique(np.concatenate(keys))
        found = found[found >= 0]
        owners, others = np.divmod(found, n)
        starts = np.repeat(np.cumsum(together.n_atoms) - together.n_atoms, together.n_atoms)
        records = [
            (np.where(k >= 0, np.searchsorted(found, k), len(found)) * n_features).astype(np.int32)
            for k in keys
        ]
        return cls(np.bincount(owners, minlength=n), others - starts[owners], records)


def _by_atom(block: Block, rows: NDArray[Any], width: int, lanes: int) -> FloatArray:
    """Return (n_atoms, width) numbers from `width` rows for each block."""
    per_lane = rows[: block.n_blocks * width * lanes].reshape(block.n_blocks, width, lanes)
    result = np.empty((block.n_atoms, width))
    result[block.atoms[block.real]] = per_lane.transpose(0, 2, 1).reshape(-1, width)[block.real]
    return result


def _table_kernel(plan: Plan) -> Callable[..., None]:
    """Return the kernel: a reverse sweep over invariants and expansions for each feature.

    ``derivatives`` are rows of four, one for each feature of each slot, added to; ``strain`` has six rows for each
    feature and block. ``recorded`` is memory for the records of the rows of neighbours.
    """

    def kernel(k: Kernel, b0: Int, b1: Int, **arguments: Any) -> None:
        with k.range(b0, b1, parallel=True) as block:
            stage = make_stage(k, plan, block, arguments, training=False)
            stage.repeats = True
            edges, traced, arrays = setup(k, plan, block, arguments, stage, saved=False)
            for n, (own, t, x) in enumerate(zip(edges, traced, arrays, strict=True)):
                _record(k, block, n, own.n_species, arguments)
                t.forward(*plane_of(x, 0))
            features = plan.potential.descriptor.features(stage, arrays)
            n_features = features.shape[0]
            bars = features.base.bars[0]
            with k.range(n_features) as f:
                arguments["features"][block * n_features + f] = features.value(0, f, 0)
                with k.range(features.base.size) as i:
                    bars[i] = 0.0
                bars[features.at(f, 0)] = 1.0
                for x in arrays:
                    if not x.base.uses.any():
                        with k.range(x.base.size) as i:
                            x.base.bars[0][i] = 0.0
                stage.backward()
                strain = k.accumulators(6)
                for n, (t, x) in enumerate(zip(traced, arrays, strict=True)):
                    rows: Any = arguments[f"recorded{n}"]
                    target = arguments["derivatives"] + f

                    def use(row: Int, r: Any, g: Any, rows: Any = rows, target: Any = target) -> None:
                        slots: Lanes = rows.lanes(row)
                        target.add(slots, g)
                        for v, (a, b) in enumerate(VOIGT):
                            strain[v] += r[a] * g[b]

                    t.reverse(lambda i, m, x=x: x.bar(0, i, m), use)  # type: ignore[misc]
                for v in range(6):
                    arguments["strain"][(block * n_features + f) * 6 + v] = strain[v]

    return kernel


def _record(k: Kernel, block: Int, n: int, n_species: int, arguments: dict[str, Any]) -> None:
    """Put the records of the neighbours of a block in rows of one per lane."""
    starts, ends = (arguments[f"{x}{n}"] + block * n_species for x in ("starts", "ends"))
    offsets = arguments[f"offsets{n}"] + block * (n_species + 1)
    with k.range(n_species) as s:
        first, last = starts.lanes(s), ends.lanes(s)
        lo = offsets[s]
        with k.range(offsets[s + 1] - lo) as e:
            arguments[f"recorded{n}"].set_lanes(lo + e, arguments[f"records{n}"].pick(first, last, e))
