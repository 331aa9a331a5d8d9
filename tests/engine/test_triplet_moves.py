"""Changes of sums over pairs of neighbours when one neighbour moves: what rows of linear fits are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from numpy.typing import NDArray

from forgefield.descriptors import make_descriptor
from forgefield.engine.features import FeatureEngine
from forgefield.engine.kernel import ListedEdges, list_signature
from forgefield.expansions.traced import KINDS, Place
from forgefield.tracer import trace
from forgefield.tracer.cache import aligned, native
from forgefield.tracer.trace import Int, Kernel

GRID = {"etas": [0.05, 0.1], "zetas": [1, 2.5], "lambdas": [1.0]}


def moves(engine: FeatureEngine, atoms: Atoms) -> tuple[NDArray[np.float64], Any]:
    """Return the changes of all coefficients for every row of neighbours, (rows, coefficients, 3, lanes), and blocks."""
    inner = engine.engine
    plan, (e,) = inner.plan, inner.plan.expansions
    size, signature = engine.n_features, list_signature(inner.plan) | {"out": "rows"}

    def kernel(k: Kernel, b0: Int, b1: Int, **a: Any) -> None:
        with k.range(b0, b1, parallel=True) as block:
            edges = ListedEdges(k, block, 0, plan, a)
            place = Place(edges, a["scratch"], a["table0"], a["species"][block], (None, None))
            traced = KINDS[type(e)].emit(k, e, place)
            traced.lay_out()
            with k.range(plan.n_species) as s, k.range(*edges.rows(s, 1)) as row:

                def store(i: Any, v: list[Any]) -> None:
                    for c in range(3):
                        a["out"][(row * size + i) * 3 + c] = v[c]

                def add(i: Any, v: list[Any]) -> None:
                    for c in range(3):
                        a["out"].add((row * size + i) * 3 + c, v[c])

                traced.moves(row, s, 1.0, store, add)

    run = native("moves", signature, 64, inner.describe(), lambda: trace("moves", signature, 64, kernel))
    points, lists, block = engine._listed(atoms)
    n_rows, lanes = int(block.lists[0].offsets[-1, -1]), inner.lanes
    out = aligned(n_rows * 3 * size * lanes, np.float64)
    *arguments, scratch = inner.list_arguments(block, lists, 1)
    work, rows = aligned(run.workspace * lanes, np.float64), aligned(scratch, np.float64)
    first = (0, block.n_blocks, points.positions, block.centres, block.species)
    run(*first, *arguments, work, rows, aligned(lanes, np.float64), out)
    return out.reshape(n_rows, size, 3, lanes), block


@pytest.mark.parametrize("kind", ["acsf", "wacsf"])
def test_one_neighbour_at_a_time(kind: str) -> None:
    descriptor = make_descriptor({"kind": kind, "g2": [], "g4": [GRID], "cutoff": 4.0}, ["Si", "O"])
    atoms = bulk("Si", cubic=True)
    atoms.symbols, atoms.pbc = "SiOOSiOSiSiO", False
    atoms.rattle(0.1, seed=1)
    engine = FeatureEngine(descriptor)
    changes, block = moves(engine, atoms)
    table, lanes = block.lists[0], engine.engine.lanes
    of_block = np.repeat(np.arange(block.n_blocks), table.offsets[:, -1] - table.offsets[:, 0])
    centres = block.atoms.reshape(-1, lanes)[of_block]
    for neighbour in (0, 3):
        for c in range(3):
            sides = []
            for step in (1e-4, -1e-4):
                other = atoms.copy()
                other.positions[neighbour, c] += step
                sides.append(descriptor.compute(other))
            expected = (sides[0] - sides[1]) / 2e-4
            expected[neighbour] = 0.0
            got = np.zeros_like(expected)
            row, lane = np.nonzero((table.picked == neighbour) & (centres < len(atoms)))
            np.add.at(got, centres[row, lane], changes[row, :, c, lane])
            assert np.abs(expected).max() > 0
            assert np.abs(got - expected).max() < 1e-6 * np.abs(expected).max()
