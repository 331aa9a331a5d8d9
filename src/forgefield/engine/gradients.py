"""Derivatives of every feature with respect to every neighbour, stored: for whoever wants the whole Jacobian.

Forces, training and linear fits need no such table, see `inference` and `rows`. It is made here for features that are
sums of products of two coefficients with the same harmonics (power spectra). With ``A = sum_j R_k(r) Y_m``, the
derivative of such a feature along a neighbour needs the coefficients of the other factor only as ``sum_m Y_m A_km`` and
``sum_m (dY_m/dr) A_km``, so it costs a few operations per feature, not one per coefficient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.descriptors.base import Descriptor
from forgefield.engine.features import FeatureEngine
from forgefield.engine.gradient_tables import Bilinear, Group, Pairs
from forgefield.engine.inference import Precision
from forgefield.engine.kernel import ListedEdges, NotCompiledError, Plan, list_signature, make_stage, plane_of
from forgefield.expansions.kernels import TracedExpansion
from forgefield.expansions.spherical import SphericalExpansion
from forgefield.expansions.traced import stretch_of
from forgefield.parallel import run_parts
from forgefield.stages.kernel_stage import KernelArray
from forgefield.tracer.cache import Native, aligned, native
from forgefield.tracer.memory import Indices, Rows
from forgefield.tracer.trace import Int, Kernel, trace
from forgefield.tracer.values import Lanes, Vec

__all__ = ["FeatureGradients", "GradientEngine"]


@dataclass(frozen=True)
class FeatureGradients:
    """Features of a structure and all their derivatives.

    Attributes
    ----------
    features : (n_atoms, n_features)
    centres, neighbours : (n_pairs,) int
        Atoms of every pair, those of the first centre first; a neighbour may occur several times, as different images.
    shifts : (n_pairs, 3) int
        From the neighbour in the cell to the one meant, in units of the cell vectors, as far as atoms were wrapped.
    gradients : (n_pairs, 3, n_features) [1/Å]
        Derivatives of the features of the centre with respect to the position of the neighbour.
    own : (n_atoms, 3, n_features) [1/Å]
        The same with respect to the position of the centre.
    memory : array
        What `gradients` and `own` are views of.
    """

    features: NDArray[np.float64]
    centres: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    shifts: NDArray[np.int32]
    gradients: NDArray[np.floating]
    own: NDArray[np.floating]
    memory: NDArray[np.floating] = field(repr=False)


class GradientEngine(FeatureEngine):
    """A descriptor and its derivatives compiled for the processor at hand.

    Parameters
    ----------
    descriptor, dtype, threads, skin
        See `FeatureEngine`.

    Raises
    ------
    NotCompiledError
        The features are not sums of products of two coefficients.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        dtype: Precision = "float64",
        threads: int | None = None,
        skin: float = 0.0,
    ) -> None:
        super().__init__(descriptor, dtype, threads, skin)
        self._bilinear = Bilinear.of(descriptor, self.engine.plan)
        self._factors = np.ascontiguousarray(self._bilinear.numbers, dtype=self.engine.dtype)
        self._gradients: Native | None = None

    def differentiate(self, atoms: Atoms, out: FeatureGradients | None = None) -> FeatureGradients:
        """Return features and derivatives.

        Parameters
        ----------
        atoms : ase.Atoms
        out : FeatureGradients, optional
            An earlier result of this engine that is not needed any more: its memory is used again where it suffices;
            fresh memory costs about as much as the work itself (featomic's time is 11 times ours with, 20 without).

        Raises
        ------
        UnknownSpeciesError, StructureError
            See `FeatureEngine.compute`.
        """
        engine, kernel = self.engine, self._native_gradients()
        points, lists, block = self._listed(atoms)
        lanes, n = engine.lanes, self.n_features
        rows = engine.memory("features", block.n_blocks * n * lanes)
        pairs = Pairs.of(points, lists[0], engine.plan.n_species)
        n_pairs, n_atoms, size = len(pairs.centres), points.n_atoms, 3 * _padded(n)
        n_records = n_pairs + n_atoms + 1
        if n_records * size // 4 >= 2**31:
            raise NotCompiledError(f"{n_pairs} pairs with {n} features are too many for one table")
        memory = aligned(n_records * size, engine.dtype) if out is None else out.memory
        if memory.size < n_records * size or memory.dtype != engine.dtype:
            memory = aligned(n_records * size, engine.dtype)
        stored = memory[: n_records * size].reshape(n_records, size)
        records = (pairs.records * (size // 4)).astype(np.int32)
        own = ((n_pairs + block.atoms) * (size // 4)).astype(np.int32)

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
                self._bilinear.integers,
                self._factors,
                records,
                own,
                rows,
                stored,
            )

        run_parts(block.n_blocks, engine.threads_for(block), part)
        block.is_picked = True
        table = stored.reshape(n_records, 3, -1)[:, :, :n]
        return FeatureGradients(
            block.layout.by_atom(rows, n),
            pairs.centres,
            pairs.neighbours,
            pairs.shifts,
            table[:n_pairs],
            table[n_pairs:-1],
            memory,
        )

    def _native_gradients(self) -> Native:
        if self._gradients is None:
            engine = self.engine
            own = {
                "terms": "indices",
                "factors": "scalars",
                "records": "indices",
                "own": "indices",
                "features": "rows",
                "gradients": "vectors",
            }
            signature = list_signature(engine.plan) | own
            self._gradients = native(
                "gradients",
                signature,
                engine.bits,
                engine.describe(),
                lambda: trace(
                    "gradients", signature, engine.bits, _gradient_kernel(engine.plan, self._bilinear.groups)
                ),
            )
        return self._gradients


def _padded(n: int) -> int:
    """Return the length of a row of features: whole rows of four."""
    return -(-n // 4) * 4


def _gradient_kernel(plan: Plan, groups: tuple[tuple[Group, ...], ...]) -> Callable[..., None]:
    def kernel(k: Kernel, b0: Int, b1: Int, **arguments: Any) -> None:
        (e,) = plan.expansions
        assert isinstance(e, SphericalExpansion)  # noqa: S101 - checked in `_bilinear`
        with k.range(b0, b1, parallel=True) as block:
            stage = make_stage(k, plan, block, arguments, training=False)
            edges = ListedEdges(k, block, 0, plan, arguments)
            a = stage.array(e.shape[0] * e.shape[1], e.shape[2])
            stretch = stretch_of(e, arguments["table0"], stage.species)
            traced = TracedExpansion(
                k, e, edges, arguments["scratch"], arguments["table0"], stretch, keep=True
            )
            traced.forward(*plane_of(a, 0))
            features = plan.potential.descriptor.features(stage, [a])
            n = arguments["n_features"] = features.shape[0]
            with k.range(n) as i:
                arguments["features"][block * n + i] = features.value(0, i, 0)
            table = _Table(k, block, n, edges, arguments)
            for s in range(plan.n_species):
                table.clear()
                with k.range(*edges.rows(s, 1)) as row:
                    neighbour = _Neighbour(k, traced, row, s)
                    neighbour.differentiate(a, groups[s], arguments, table.row)
                    table.put(s, row)
            table.finish()

    return kernel


class _Table:
    """Where the derivatives of a block go."""

    def __init__(self, k: Kernel, block: Int, n: int, edges: ListedEdges, arguments: dict[str, Any]) -> None:
        self.k, self.edges, self.size = k, edges, _padded(n)
        self.gradients = arguments["gradients"]
        self.records: Indices = arguments["records"]
        self.centres: Lanes = arguments["own"].lanes(block)
        self.runs = [arguments[f"{x}0"] + block * edges.n_species for x in ("starts", "ends")]
        self.row, self.own = k.buffer(3 * self.size), k.buffer(3 * self.size)
        self._clear(self.own)

    def clear(self) -> None:
        """Set the derivatives of a row to zero, as those of features are that the next element takes no part in."""
        self._clear(self.row)

    def _clear(self, rows: Rows) -> None:
        with self.k.range(3 * self.size) as i:
            rows[i] = 0.0

    def put(self, species: int, row: Int) -> None:
        """Write the derivatives of a row of neighbours of one element."""
        starts, ends = (run.lanes(species) for run in self.runs)
        pairs = self.records.pick(starts, ends, row - self.edges.offsets[species])
        with self.k.range(3 * self.size // 4) as g:
            numbers = [self.row[g * 4 + t] for t in range(4)]
            (self.gradients + g).put(pairs, numbers)
            for t, x in enumerate(numbers):
                self.own.add(g * 4 + t, -x)

    def finish(self) -> None:
        """Write the derivatives with respect to the centres."""
        with self.k.range(3 * self.size // 4) as g:
            (self.gradients + g).put(self.centres, [self.own[g * 4 + t] for t in range(4)])


class _Neighbour:
    """Basis functions of a row of neighbours and their derivatives, from what the forward sweep has kept."""

    def __init__(self, k: Kernel, traced: TracedExpansion, row: Int, species: int) -> None:
        e, n, h = traced.expansion, traced.n_functions, traced.n_harmonics
        first, _ = traced.edges.rows(0, traced.n_species)
        self.k, self.radial = k, traced.scratch + (row - first) * traced.stride
        vector, inverse = [self.radial[n + h + c] for c in range(3)], self.radial[n + h + 3]
        self.unit: list[Vec] = [x * inverse for x in vector]
        self.slopes: Rows = self.radial + (n + h + 4)
        if not traced.kept:
            polar, self.slopes = traced.polar(row), k.buffer(n)
            with k.tape() as tape:
                radial = traced.radial(polar, species)
            for i, slope in enumerate(k.jvp(tape, [polar.distance], [1.0], radial)):
                self.slopes[i] = slope
        with k.tape() as tape:
            self.angular = e.angular(*self.unit)
        self.turned = []
        for c in range(3):
            turn = [(float(a == c) - self.unit[a] * self.unit[c]) * inverse for a in range(3)]
            self.turned.append(k.jvp(tape, self.unit, turn, self.angular))

    def differentiate(
        self, a: KernelArray, groups: tuple[Group, ...], arguments: dict[str, Any], record: Rows
    ) -> None:
        """Emit the derivatives of all features, ``size`` for each direction."""
        sums, size = self.k.buffer(6 * a.shape[0]), _padded(arguments["n_features"])
        terms, factors = arguments["terms"], arguments["factors"]
        contracted: tuple[int, ...] = ()
        for g in groups:
            if g.harmonics != contracted:
                self._contract(a, g.harmonics, sums)
                contracted = g.harmonics
            with self.k.range(g.n_features) as i:
                at, first = i * (1 + 2 * g.n_terms) + g.first_index, i * g.n_terms + g.first_number
                totals: list[Any] = [0.0] * 3
                for t in range(g.n_terms):
                    function, row = terms[at + (1 + 2 * t)], terms[at + (2 + 2 * t)] * 6
                    factor = factors[first + t]
                    radial, slope = factor * self.radial[function], factor * self.slopes[function]
                    for c in range(3):
                        totals[c] = totals[c] + slope * sums[row + c] + radial * sums[row + (3 + c)]
                for c in range(3):
                    record[terms[at] + c * size] = totals[c]

    def _contract(self, a: KernelArray, harmonics: tuple[int, ...], sums: Rows) -> None:
        """Emit ``u_c sum_m Y_m A_m`` and ``sum_m (dY_m/dr_c) A_m`` for the three directions c and every row of A."""
        with self.k.range(a.shape[0]) as row:
            values = [a.value(0, row, m) for m in harmonics]
            plain, *turned = (
                sum(functions[m] * v for m, v in zip(harmonics, values, strict=True))
                for functions in (self.angular, *self.turned)
            )
            for c in range(3):
                sums[row * 6 + c] = self.unit[c] * plain
                sums[row * 6 + (3 + c)] = turned[c]
