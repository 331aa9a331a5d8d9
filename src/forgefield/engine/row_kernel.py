"""The kernel of the rows of linear models: derivatives of all features, some neighbours at a time, never stored.

For a block of atoms: expansion, features, the distinct parts of their Jacobian ``dq/dA``. Then for every `ROWS` rows of
neighbours the change of A when they move in each direction, times those parts; features are sums of few of the products,
see `row_tables`. They are added to the rows of forces and strain and forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forgefield.descriptors.base import Jacobian
from forgefield.engine.kernel import ListedEdges, Plan, list_signature, make_stage, plane_of, setup
from forgefield.engine.repulsion import emit_repulsion
from forgefield.engine.row_tables import LARGEST, PIECE, ROWS, JacobianTerms, RowTables
from forgefield.engine.row_vectors import lone_channels
from forgefield.expansions.kernels import Edges
from forgefield.expansions.kernels_factored import FactoredTriplets
from forgefield.expansions.kernels_hyperspherical import TracedHyperspherical
from forgefield.expansions.terms import evaluate
from forgefield.expansions.traced import KINDS, Place, Traced
from forgefield.expansions.triplets import TripletExpansion
from forgefield.keys import VOIGT
from forgefield.stages.kernel_stage import KernelArray, KernelStage
from forgefield.tracer.memory import Indices, Rows
from forgefield.tracer.trace import Int, Kernel
from forgefield.tracer.values import Lanes, Vec

__all__ = ["row_kernel", "row_signature"]


def row_signature(plan: Plan) -> dict[str, str]:
    """Return the arguments of `row_kernel`.

    ``owners`` gives the first of the ``forces`` of the atom of each point, ``centre_owners`` that of each lane of each
    block, ``strain_owners`` the first of the ``strain`` of its structure. ``tiles`` is `RowTables.integers`,
    ``directions`` are the unit vectors, then zeros.
    ``forces`` are rows of four: (atom, element of the centre, column), ``strain`` too: (structure, element of the
    centre, column, first or second three of `keys.VOIGT`); both are added to. ``features`` has one row for each wanted
    feature and block; ``wanted`` are their indices. ``scales`` are factors on all features, then what is subtracted from
    them first; ``factors`` are those of `RowTables`, times those on the features; ``pairs`` the two features of each
    product, and ``halves`` its factor. ``atoms`` and ``centre_atoms`` give the atom of each point and lane;
    ``repulsion_*``: forces by atom, and energy and strain of each block.
    """
    own = dict.fromkeys(("owners", "centre_owners", "strain_owners", "tiles"), "indices")
    own |= {"directions": "scalars", "wanted": "indices", "scales": "scalars", "factors": "scalars"}
    own |= {"pairs": "indices", "halves": "scalars"}
    own |= {"forces": "vectors", "features": "rows", "strain": "vectors"}
    if plan.repulsion:
        own |= {"atoms": "indices", "centre_atoms": "indices"}
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
    """Features of a block and the parts of their Jacobian that are read."""

    def __init__(
        self,
        k: Kernel,
        plan: Plan,
        place: tuple[Int, dict[str, Any]],
        stage: KernelStage,
        tables: RowTables,
        terms: JacobianTerms | None,
    ) -> None:
        (block, arguments), self.k, self.stage = place, k, stage
        stage.repeats = True
        self.edges, traced, arrays = setup(k, plan, block, arguments, stage, saved=False)
        for t, x in zip(traced, arrays, strict=True):
            t.forward(*plane_of(x, 0))
        descriptor, scales = plan.potential.descriptor, arguments["scales"]
        features: KernelArray = descriptor.features(stage, arrays)
        self.widths = [x.shape[0] * x.shape[1] for x in arrays]
        self.n, n_all = tables.n_wanted, features.shape[0]
        self.values = k.buffer(self.n)
        with k.range(self.n) as i:
            f = arguments["wanted"][i]
            self.values[i] = (features.value(0, f, 0) - scales[f + n_all]) * scales[f]
            arguments["features"][block * self.n + i] = self.values[i]
        self.jacobians = [k.buffer(size) for size in tables.n_places]
        if terms is None:
            self._sweep(features, arrays)
            return
        jacobian = descriptor.jacobian(stage, arrays)
        assert jacobian is not None  # noqa: S101 - `terms` were made from it
        self._evaluate(terms, jacobian)

    def _sweep(self, features: KernelArray, arrays: list[KernelArray]) -> None:
        """Emit a reverse sweep over the invariants for each feature."""
        k = self.k
        with k.range(features.shape[0]) as f:
            bars = features.base.bars[0]
            with k.range(features.base.size) as i:
                bars[i] = 0.0
            bars[features.at(f, 0)] = 1.0
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
        k = self.k
        inputs = k.buffer(terms.n_inputs + 1)
        inputs[terms.n_inputs] = 1.0
        self.stage.joined(self.stage.array(terms.n_inputs, 1, [inputs]), jacobian.inputs)

        def store(o: Int, values: list[Any]) -> None:
            self.jacobians[0][o] = values[0]

        evaluate(k, terms.terms, self.stage.term_memory, [inputs], store)


def row_kernel(
    plan: Plan, tables: RowTables, terms: JacobianTerms | None, n_products: int
) -> Callable[..., None]:
    """Return the kernel.

    Parameters
    ----------
    plan : Plan
    tables : RowTables
        Of the descriptor; the kernel depends on its `RowTables.signature`.
    terms : JacobianTerms, optional
        The Jacobian where the descriptor knows it; else it comes from reverse sweeps.
    n_products : int
        Products of two features, whose rows come after those of the features.
    """

    def kernel(k: Kernel, b0: Int, b1: Int, **arguments: Any) -> None:
        with k.range(b0, b1, parallel=True) as block:
            stage = make_stage(k, plan, block, arguments, training=False)
            features = _Features(k, plan, (block, arguments), stage, tables, terms)
            sums = _Sums(k, arguments, stage.species, features, n_products)
            for n, edges in enumerate(features.edges):
                rows = _RowsOfNeighbours(k, plan, n, edges, arguments, stage, tables)
                with k.range(plan.n_species) as s:
                    lo, hi = edges.rows(s, 1)
                    with k.range(lo, hi, ROWS) as start:
                        products = rows.multiplied(s, start, hi, features)
                        taken = [k.integer("min", start + r, hi - 1) for r in range(ROWS)]
                        rows.add_up(s, products, sums, taken)
            sums.finish(block)
            if plan.repulsion:
                _repulsion(k, plan, block, arguments, stage.species)

    return kernel


class _RowsOfNeighbours:
    """`ROWS` rows of neighbours of one list; where there is one less, it counts twice and does not move."""

    def __init__(
        self,
        k: Kernel,
        plan: Plan,
        n: int,
        edges: ListedEdges,
        arguments: dict[str, Any],
        stage: KernelStage,
        tables: RowTables,
    ) -> None:
        self.k, self.plan, self.n, self.edges = k, plan, n, edges
        self.arguments, self.stage, self.tables = arguments, stage, tables
        n_channels, n_radial, self.columns = plan.expansions[n].shape
        self.alone = lone_channels(plan.expansions[n]) is not None
        self.width = (1 if self.alone else n_channels) * n_radial * self.columns
        self.changes = k.buffer(ROWS * 3 * self.width)
        self.pairs = self._traced(edges) if isinstance(plan.expansions[n], TripletExpansion) else None
        if isinstance(self.pairs, FactoredTriplets):
            self.pairs.lay_out()
        self.products = k.buffer(ROWS * 3 * tables.n_products)

    def _traced(self, edges: Edges) -> Traced:
        arguments, e = self.arguments, self.plan.expansions[self.n]
        terms = self.plan.prepared[self.n], (arguments["term_integers"], arguments["term_numbers"])
        where = Place(edges, arguments["scratch"], arguments[f"table{self.n}"], self.stage.species, terms)
        return KINDS[type(e)].emit(self.k, e, where)

    def multiplied(self, s: Int, start: Int, end: Int, features: _Features) -> Rows:
        """Return the products of the Jacobian with the changes of some rows, (product, row, direction)."""
        k, tiles = self.k, self.arguments["tiles"]
        with k.range(ROWS) as r:
            row = k.integer("min", start + r, end - 1)
            self._change(s, row, (start + r - row) * 9, r * (3 * self.width))
        first, stride = self.tables.directory(self.n)
        for size in self.tables.sizes[self.n]:
            at = s * stride + (first + 2 * size - 2)
            with k.range(tiles[at], tiles[at + 1], size + 3) as record:
                self._tile(record, size, features.jacobians[self.n])
        return self.products

    def _change(self, s: Int, row: Int, unit: Int, start: Int) -> None:
        """Emit the changes of the coefficients when the neighbours of a row move, direction by direction."""
        k, e, arguments = self.k, self.plan.expansions[self.n], self.arguments
        if isinstance(self.pairs, FactoredTriplets):
            moved = [self.changes + (start + a * self.width) for a in range(3)]

            def put(i: Any, values: list[Any]) -> None:
                for x, v in zip(moved, values, strict=True):
                    x[i] = v

            def put_more(i: Any, values: list[Any]) -> None:
                for x, v in zip(moved, values, strict=True):
                    x.add(i, v)

            self.pairs.moves(row, s, arguments["directions"][unit], put, put_more)
            return
        traced = self._traced(_OneRow(k, self.edges, row))
        if isinstance(traced, TracedHyperspherical) and self.alone:
            weight: Any = sum(traced.weight(s, c) for c in range(e.shape[0]))

            def keep(m: Int, values: list[Any]) -> None:
                for a in range(3):
                    self.changes[start + m + a * self.width] = values[a]

            traced.moves(row, s, weight * arguments["directions"][unit], keep)
            return
        with k.range(3) as c:
            direction = [arguments["directions"][unit + c * 3 + a] for a in range(3)]
            at = start + c * self.width

            def store(i: Any, m: Any, v: Any) -> None:
                self.changes[at + i * self.columns + m] = v

            def add(i: Any, m: Any, v: Any) -> None:
                self.changes.add(at + i * self.columns + m, v)

            traced.tangent(store, add, lambda _row: list(direction))

    def _tile(self, record: Int, size: int, jacobian: Rows) -> None:
        """Emit the products of `size` vectors."""
        k, tiles, wide = self.k, self.arguments["tiles"], 3 * ROWS
        starts = [tiles[record + t] for t in range(size)]
        totals = k.accumulators(wide * size)
        with k.range(tiles[record + (size + 1)], tiles[record + (size + 2)], 2) as column:
            m, inside = tiles[column], tiles[column + 1]
            moved = [self.changes[m + a * self.width] for a in range(wide)]
            for t in range(size):
                slope = jacobian[inside + starts[t]]
                for a in range(wide):
                    totals[wide * t + a] += slope * moved[a]
        place = tiles[record + size] * wide
        for t in range(wide * size):
            self.products[place + t] = totals[t]

    def add_up(self, s: Int, products: Rows, sums: _Sums, rows: list[Int]) -> None:
        """Emit the derivatives of the features with respect to the neighbours of some rows, and add them."""
        k, tiles = self.k, self.arguments["tiles"]
        first, stride = self.tables.directory(self.n)
        sums.start([self.edges.at(row) for row in rows], [self.edges.vector(row) for row in rows])
        for n, length in enumerate(self.tables.sums[self.n]):
            at = s * stride + (first + 2 * (LARGEST + n))
            with k.range(tiles[at], tiles[at + 1], length + 2) as record:
                sums.add(tiles[record], self._sum(record + 2, tiles[record + 1], length, products))
        sums.add_products()

    def _sum(self, slots: Int, factor: Int, length: int, products: Rows) -> list[Any]:
        """Return sums of products, (row, direction)."""
        tiles, factors, wide = self.arguments["tiles"], self.arguments["factors"], 3 * ROWS

        def term(t: Any) -> list[Any]:
            place, value = tiles[slots + t] * wide, factors[factor + t]
            return [value * products[place + a] for a in range(wide)]

        if length <= PIECE:
            parts = [term(t) for t in range(length)]
            return [sum(part[a] for part in parts[1:]) + parts[0][a] for a in range(wide)]
        totals = self.k.accumulators(wide)
        with self.k.range(0, length, PIECE) as start:
            for t in range(PIECE):
                for a, x in enumerate(term(start + t)):
                    totals[a] += x
        return totals.values()


class _Sums:
    """Rows of forces and strain of a block."""

    def __init__(
        self, k: Kernel, arguments: dict[str, Any], species: Int, features: _Features, n_products: int
    ) -> None:
        self.k, self.arguments, self.n, self.n_products = k, arguments, features.n, n_products
        self.values = features.values
        self.first = species * (self.n + n_products)
        self.row = k.buffer(3 * ROWS * self.n if n_products else 1)
        self.own, self.strain = k.buffer(3 * self.n), k.buffer(6 * self.n)
        for memory, size in ((self.own, 3), (self.strain, 6)):
            with k.range(size * self.n) as i:
                memory[i] = 0.0

    def start(self, points: list[Lanes], vectors: list[list[Vec]]) -> None:
        """Begin rows of neighbours: points j and vectors r to them."""
        self.owners = [self.arguments["owners"].pick(j, j, 0) for j in points]
        self.vectors = vectors
        if self.n_products:
            with self.k.range(3 * ROWS * self.n) as i:
                self.row[i] = 0.0

    def add(self, f: Int, slopes: list[Any]) -> None:
        """Add the derivatives of feature f with respect to the vectors, (row, direction)."""
        g = [slopes[3 * r : 3 * r + 3] for r in range(ROWS)]
        for r in range(ROWS):
            self._give(self.owners[r], f, [-x for x in g[r]])
        for a in range(3):
            self.own.add(f * 3 + a, sum(x[a] for x in g[1:]) + g[0][a])
        for v, (a, b) in enumerate(VOIGT):
            terms = [x[a] * y[b] for x, y in zip(self.vectors, g, strict=True)]
            self.strain.add(f * 6 + v, sum(terms[1:]) + terms[0])
        if self.n_products:
            for r in range(ROWS):
                for a in range(3):
                    self.row[f * 3 + (r * 3 * self.n + a)] = g[r][a]

    def add_products(self) -> None:
        """Add the derivatives of the products of features."""
        for r in range(ROWS if self.n_products else 0):
            row, owners = self.row + r * 3 * self.n, self.owners[r]
            self._products(
                lambda p, f, row=row: -p * row[f],  # type: ignore[misc]
                3,
                lambda p, g, owners=owners: self._give(owners, p + self.n, g),  # type: ignore[misc]
            )

    def finish(self, block: Int) -> None:
        """Write what belongs to the atoms of the block and their structures."""
        owners = self.arguments["centre_owners"].lanes(block)
        structures = self.arguments["strain_owners"].lanes(block)
        with self.k.range(self.n) as f:
            self._give(owners, f, [self.own[f * 3 + a] for a in range(3)])
            self._strain(structures, f, [self.strain[f * 6 + v] for v in range(6)])
        self._products(lambda p, f: p * self.own[f], 3, lambda p, g: self._give(owners, p + self.n, g))
        self._products(
            lambda p, f: p * self.strain[f], 6, lambda p, g: self._strain(structures, p + self.n, g)
        )

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
        (self.arguments["forces"] + (self.first + column)).add(owners, xyz)

    def _strain(self, structures: Lanes, column: Any, values: list[Any]) -> None:
        at = (self.first + column) * 2
        for part in range(2):
            (self.arguments["strain"] + (at + part)).add(structures, values[3 * part : 3 * part + 3])


def _repulsion(k: Kernel, plan: Plan, block: Int, arguments: dict[str, Any], species: Int) -> None:
    """Emit energies, forces and strain of the nuclear repulsion."""
    n = len(plan.expansions)
    edges = ListedEdges(k, block, n, plan, arguments)
    energy, own, strain = k.accumulators(1), k.accumulators(3), k.accumulators(6)
    owners: Indices = arguments["atoms"]

    def use(j: Lanes, r: list[Vec], g: list[Any]) -> None:
        arguments["repulsion_forces"].add(owners.pick(j, j, 0), [-x for x in g])
        for a in range(3):
            own[a] += g[a]
        for v, (a, b) in enumerate(VOIGT):
            strain[v] += r[a] * g[b]

    emit_repulsion(k, edges, arguments[f"table{n}"], species, energy, use)
    arguments["repulsion_forces"].add(arguments["centre_atoms"].lanes(block), own.values())
    arguments["repulsion_energies"][block] = energy[0]
    for v in range(6):
        arguments["repulsion_strain"][block * 6 + v] = strain[v]
