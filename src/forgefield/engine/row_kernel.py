"""The kernel of the rows of linear models: derivatives of all features, one neighbour at a time, never stored.

For a block of atoms: expansion, features, their Jacobian ``dq/dA``. Then for every neighbour the change of A when it
moves in each direction, times the Jacobian: ``dq/dr_ij``, added to the rows of forces and strain and forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forgefield.descriptors.base import Jacobian
from forgefield.engine.kernel import ListedEdges, Plan, list_signature, make_stage, plane_of, setup
from forgefield.engine.repulsion import emit_repulsion
from forgefield.engine.row_tables import LARGEST, JacobianTerms, RowTables
from forgefield.expansions.terms import evaluate
from forgefield.expansions.traced import KINDS, Place
from forgefield.keys import VOIGT
from forgefield.stages.kernel_stage import KernelArray, KernelStage
from forgefield.tracer.memory import Indices, Rows
from forgefield.tracer.trace import Int, Kernel
from forgefield.tracer.values import Lanes, Vec

__all__ = ["row_kernel", "row_signature"]


def row_signature(plan: Plan) -> dict[str, str]:
    """Return the arguments of `row_kernel`.

    ``owners`` gives the atom of each point, ``centre_owners`` that of each lane of each block, ``tiles`` is `RowTables.integers`, ``directions`` the unit vectors.
    ``forces`` are rows of four: (element of the centre, column, atom), ``n_owners`` atoms each, added to. ``features``
    and ``strain`` have one row, or six, for each feature and block. ``scales`` are factors on the features, then what
    is subtracted from them first; ``pairs`` the two features of each product, and ``halves`` its factor.
    ``repulsion_*``: forces by atom, and energy and strain of each block.
    """
    own = {
        "n_owners": "int",
        "owners": "indices",
        "centre_owners": "indices",
        "tiles": "indices",
        "directions": "scalars",
    }
    own |= {"scales": "scalars", "pairs": "indices", "halves": "scalars"}
    own |= {"forces": "vectors", "features": "rows", "strain": "rows"}
    if plan.repulsion:
        own |= {"repulsion_forces": "vectors", "repulsion_energies": "rows", "repulsion_strain": "rows"}
    return list_signature(plan) | own


class _OneRow:
    """A single row of neighbours as the neighbours of an expansion."""

    def __init__(self, k: Kernel, edges: ListedEdges, row: Int) -> None:
        self.k, self.edges, self.row = k, edges, row

    def rows(self, species: Int | int, count: int) -> tuple[Int, Int]:
        if count == self.edges.n_species:
            return self.row, self.row + 1
        first, last = self.edges.rows(species, count)
        return self.k.integer("max", first, self.row), self.k.integer("min", last, self.row + 1)

    def vector(self, row: Int) -> list[Vec]:
        return self.edges.vector(row)


class _Features:
    """Features of a block and their Jacobian."""

    def __init__(
        self,
        k: Kernel,
        plan: Plan,
        place: tuple[Int, dict[str, Any]],
        stage: KernelStage,
        terms: JacobianTerms | None,
    ) -> None:
        (block, arguments), self.k, self.stage = place, k, stage
        stage.repeats = True
        self.edges, traced, arrays = setup(k, plan, block, arguments, stage, saved=False)
        for t, x in zip(traced, arrays, strict=True):
            t.forward(*plane_of(x, 0))
        descriptor, self.scales = plan.potential.descriptor, arguments["scales"]
        features: KernelArray = descriptor.features(stage, arrays)
        self.n, self.widths = features.shape[0], [x.shape[0] * x.shape[1] for x in arrays]
        self.values = k.buffer(self.n)
        with k.range(self.n) as i:
            self.values[i] = (features.value(0, i, 0) - self.scales[i + self.n]) * self.scales[i]
            arguments["features"][block * self.n + i] = self.values[i]
        self.jacobians = [k.buffer(self.n * width) for width in self.widths]
        if terms is None:
            self._sweep(features, arrays)
            return
        jacobian = descriptor.jacobian(stage, arrays)
        assert jacobian is not None  # noqa: S101 - `terms` were made from it
        self._evaluate(terms, jacobian)

    def _sweep(self, features: KernelArray, arrays: list[KernelArray]) -> None:
        """Emit a reverse sweep over the invariants for each feature."""
        k = self.k
        with k.range(self.n) as f:
            bars = features.base.bars[0]
            with k.range(features.base.size) as i:
                bars[i] = 0.0
            bars[features.at(f, 0)] = self.scales[f]
            for x in arrays:
                if not x.base.uses.any():
                    with k.range(x.base.size) as i:
                        x.base.bars[0][i] = 0.0
            self.stage.backward()
            for x, jacobian in zip(arrays, self.jacobians, strict=True):
                rows, columns = x.shape
                with k.range(rows) as i, k.range(columns) as m:
                    jacobian[f * (rows * columns) + i * columns + m] = x.bar(0, i, m)

    def _evaluate(self, terms: JacobianTerms, jacobian: Jacobian) -> None:
        """Emit the polynomials of a descriptor that knows its Jacobian."""
        k, memory = self.k, self.stage.term_memory
        inputs, unique = k.buffer(terms.n_inputs + 1), k.buffer(terms.n_unique)
        inputs[terms.n_inputs] = 1.0
        self.stage.joined(self.stage.array(terms.n_inputs, 1, [inputs]), jacobian.inputs)

        def store(o: Int, values: list[Any]) -> None:
            unique[o] = values[0]

        evaluate(k, terms.terms, memory, [inputs], store)
        integers, numbers = memory[0] + terms.first_integer, memory[1] + terms.first_number
        with k.range(terms.n_copies) as c:
            polynomial, place, feature = (integers[c * 3 + t] for t in range(3))
            self.jacobians[0][place] = numbers[c] * self.scales[feature] * unique[polynomial]


def row_kernel(
    plan: Plan, tables: RowTables, terms: JacobianTerms | None, n_products: int
) -> Callable[..., None]:
    """Return the kernel.

    Parameters
    ----------
    plan : Plan
    tables : RowTables
        Of the descriptor; the kernel depends on its tile sizes.
    terms : JacobianTerms, optional
        The Jacobian where the descriptor knows it; else it comes from reverse sweeps.
    n_products : int
        Products of two features, whose rows come after those of the features.
    """

    def kernel(k: Kernel, b0: Int, b1: Int, **arguments: Any) -> None:
        with k.range(b0, b1, parallel=True) as block:
            stage = make_stage(k, plan, block, arguments, training=False)
            features = _Features(k, plan, (block, arguments), stage, terms)
            sums = _Sums(k, arguments, stage.species, features, n_products)
            for n, edges in enumerate(features.edges):
                with k.range(plan.n_species) as s, k.range(*edges.rows(s, 1)) as row:
                    changes = _changes(k, plan, n, (edges, row), arguments, stage)
                    sums.clear()
                    for size in tables.sizes[n]:
                        at = ((s + n * plan.n_species) * LARGEST + (size - 1)) * 2
                        _multiply(k, (at, size), arguments["tiles"], (features, n), changes, sums.row)
                    sums.add(edges.at(row), edges.vector(row))
            sums.finish(block)
            if plan.repulsion:
                _repulsion(k, plan, block, arguments, stage.species)

    return kernel


def _changes(
    k: Kernel,
    plan: Plan,
    n: int,
    place: tuple[ListedEdges, Int],
    arguments: dict[str, Any],
    stage: KernelStage,
) -> Rows:
    """Return the changes of the coefficients of expansion n when the neighbours of a row move, direction by direction."""
    (edges, row), e = place, plan.expansions[n]
    one = _OneRow(k, edges, row)
    terms = plan.prepared[n], (arguments["term_integers"], arguments["term_numbers"])
    where = Place(one, arguments["scratch"], arguments[f"table{n}"], stage.species, terms)
    traced = KINDS[type(e)].emit(k, e, where)
    columns = e.shape[2]
    width = e.shape[0] * e.shape[1] * columns
    changes = k.buffer(3 * width)
    with k.range(3) as c:
        unit = [arguments["directions"][c * 3 + a] for a in range(3)]
        start = c * width

        def store(i: Any, m: Any, v: Any) -> None:
            changes[start + i * columns + m] = v

        def add(i: Any, m: Any, v: Any) -> None:
            changes.add(start + i * columns + m, v)

        traced.tangent(store, add, lambda _row: list(unit))
    return changes


def _multiply(
    k: Kernel,
    tile: tuple[Any, int],
    tiles: Indices,
    source: tuple[_Features, int],
    changes: Rows,
    sums: Rows,
) -> None:
    """Emit ``sums[f, c] += sum_m jacobian[f, m] changes[c, m]`` for the tiles of one size."""
    (at, size), (features, n) = tile, source
    jacobian, width = features.jacobians[n], features.widths[n]
    with k.range(tiles[at], tiles[at + 1], size + 2) as record:
        some = [tiles[record + t] for t in range(size)]
        starts = [f * width for f in some]
        totals = k.accumulators(3 * size)
        with k.range(tiles[record + size], tiles[record + (size + 1)]) as c:
            m = tiles[c]
            moved = [changes[m + a * width] for a in range(3)]
            for t in range(size):
                slope = jacobian[m + starts[t]]
                for a in range(3):
                    totals[3 * t + a] += slope * moved[a]
        for t in range(size):
            for a in range(3):
                sums.add(some[t] * 3 + a, totals[3 * t + a])


class _Sums:
    """Rows of forces and strain of a block."""

    def __init__(
        self, k: Kernel, arguments: dict[str, Any], species: Int, features: _Features, n_products: int
    ) -> None:
        self.k, self.arguments, self.n, self.n_products = k, arguments, features.n, n_products
        self.values = features.values
        self.first = species * (self.n + n_products)
        self.row, self.own, self.strain = (k.buffer(m * self.n) for m in (3, 3, 6))
        for memory, size in ((self.own, 3), (self.strain, 6)):
            with k.range(size * self.n) as i:
                memory[i] = 0.0

    def clear(self) -> None:
        """Forget the derivatives of the last row."""
        with self.k.range(3 * self.n) as i:
            self.row[i] = 0.0

    def add(self, j: Lanes, r: list[Vec]) -> None:
        """Add what the derivatives with respect to the vectors r to points j give."""
        owners = self.arguments["owners"].pick(j, j, 0)
        with self.k.range(self.n) as f:
            g = [self.row[f * 3 + a] for a in range(3)]
            self._give(owners, f, [-x for x in g])
            for a in range(3):
                self.own.add(f * 3 + a, g[a])
            for v, (a, b) in enumerate(VOIGT):
                self.strain.add(f * 6 + v, 0.5 * (r[a] * g[b] + r[b] * g[a]) if a != b else r[a] * g[b])
        self._products(lambda p, f: -p * self.row[f], 3, lambda p, g: self._give(owners, p + self.n, g))

    def finish(self, block: Int) -> None:
        """Write what belongs to the atoms of the block."""
        owners = self.arguments["centre_owners"].lanes(block)
        strain = self.arguments["strain"] + block * (6 * (self.n + self.n_products))
        with self.k.range(self.n) as f:
            self._give(owners, f, [self.own[f * 3 + a] for a in range(3)])
        with self.k.range(6 * self.n) as i:
            strain[i] = self.strain[i]
        self._products(lambda p, f: p * self.own[f], 3, lambda p, g: self._give(owners, p + self.n, g))

        def store(p: Int, values: list[Any]) -> None:
            for v, x in enumerate(values):
                strain[(p + self.n) * 6 + v] = x

        self._products(lambda p, f: p * self.strain[f], 6, store)

    def _products(
        self, term: Callable[[Any, Any], Any], size: int, use: Callable[[Int, list[Any]], None]
    ) -> None:
        """Call `use` for ``q_a x_b + q_b x_a`` of every product, of `size` numbers x."""
        if not self.n_products:
            return
        pairs, halves = self.arguments["pairs"], self.arguments["halves"]
        with self.k.range(self.n_products) as p:
            a, b = pairs[p * 2], pairs[p * 2 + 1]
            qa, qb = self.values[a] * halves[p], self.values[b] * halves[p]
            use(p, [term(qa, b * size + c) + term(qb, a * size + c) for c in range(size)])

    def _give(self, owners: Lanes, column: Any, xyz: list[Any]) -> None:
        at = (self.first + column) * self.arguments["n_owners"]
        (self.arguments["forces"] + at).add(owners, xyz)


def _repulsion(k: Kernel, plan: Plan, block: Int, arguments: dict[str, Any], species: Int) -> None:
    """Emit energies, forces and strain of the nuclear repulsion."""
    n = len(plan.expansions)
    edges = ListedEdges(k, block, n, plan, arguments)
    energy, own, strain = k.accumulators(1), k.accumulators(3), k.accumulators(6)
    owners: Indices = arguments["owners"]

    def use(j: Lanes, r: list[Vec], g: list[Any]) -> None:
        arguments["repulsion_forces"].add(owners.pick(j, j, 0), [-x for x in g])
        for a in range(3):
            own[a] += g[a]
        for v, (a, b) in enumerate(VOIGT):
            strain[v] += r[a] * g[b]

    emit_repulsion(k, edges, arguments[f"table{n}"], species, energy, use)
    arguments["repulsion_forces"].add(arguments["centre_owners"].lanes(block), own.values())
    arguments["repulsion_energies"][block] = energy[0]
    for v in range(6):
        arguments["repulsion_strain"][block * 6 + v] = strain[v]
