"""Neighbour lists against ASE, batches, and the list with a skin."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from forgefield.errors import ConfigError, StructureError, UnknownSpeciesError
from forgefield.graph import SkinnedNeighbours, batch, build_graph, neighbour_pairs

SKEWED = [[4.0, 0.3, 0.1], [2.9, 3.1, -0.4], [-1.8, 2.2, 3.6]]
CELLS = {
    "orthorhombic": [[5.0, 0, 0], [0, 6.0, 0], [0, 0, 7.0]],
    "skewed": SKEWED,
    "left-handed": [SKEWED[1], SKEWED[0], SKEWED[2]],
    "thinner than the cutoff": [[1.6, 0.1, 0], [0.2, 1.9, 0.1], [0.3, -0.2, 2.4]],
    "needle": [[1.7, 0, 0], [0.4, 12.0, 0], [0, 0.5, 9.0]],
}


def structure(cell, pbc, n=4, seed=0):
    """Atoms partly outside the cell, at least 0.3 Å apart, of two elements."""
    rng = np.random.default_rng(seed)
    cell = np.array(cell)
    positions = np.empty((0, 3))
    while len(positions) < n:
        trial = Atoms(
            "H" * (len(positions) + 1),
            np.vstack([positions, rng.uniform(-0.7, 1.6, 3) @ cell]),
            cell=cell,
            pbc=True,
        )
        if len(neighbor_list("i", trial, 0.3)) == 0:
            positions = trial.positions
    return Atoms(rng.choice([8, 14], n), positions, cell=cell, pbc=pbc)


def as_set(i, j, shifts):
    return sorted(map(tuple, np.column_stack([i, j, shifts]).tolist()))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("pbc", list(itertools.product([True, False], repeat=3)))
def test_pairs_are_ases(cell, pbc):
    atoms = structure(CELLS[cell], pbc, n=7)
    for cutoff in (2.1, 4.7):
        i, j, shifts, vectors = neighbour_pairs(atoms, cutoff)
        assert (np.diff(i) >= 0).all()
        expected = neighbor_list("ijS", atoms, cutoff)
        assert len(expected[0]) > 0 or cutoff < 3 or not any(pbc)
        assert as_set(i, j, shifts) == as_set(*expected)
        direct = atoms.positions[j] - atoms.positions[i] + shifts @ atoms.cell.array
        assert np.allclose(vectors, direct, rtol=0, atol=1e-12)


def test_one_atom_sees_its_own_images():
    i, j, shifts, _ = neighbour_pairs(Atoms("Si", cell=[2.0, 2.0, 2.0], pbc=True), 2.5)
    assert len(i) == 6
    assert not (i | j).any()
    assert (np.abs(shifts).sum(axis=1) == 1).all()


@pytest.mark.parametrize("cell", [None, [[5, 0, 0], [5, 0, 0], [0, 1, 0]], [3, 0, 0]])
def test_a_cell_that_does_not_count_does_not_matter(cell):
    atoms = Atoms("SiSi", [[0, 0, 0], [0, 0, 2.0]], cell=cell, pbc=False)
    assert len(neighbour_pairs(atoms, 3.0)[0]) == 2


def test_graph_rows_hold_each_cutoffs_pairs():
    atoms = structure(SKEWED, True, n=6)
    graph = build_graph(atoms, (8, 14), (4.0, 2.5))
    for pairs, cutoff in zip(graph.pairs, (4.0, 2.5), strict=True):
        i, j, distance = neighbor_list("ijd", atoms, cutoff)
        assert np.array_equal(pairs.counts, np.bincount(i, minlength=6))
        for atom in range(6):
            n = pairs.counts[atom]
            rows = np.linalg.norm(pairs.vectors[atom], axis=1)
            assert np.allclose(np.sort(rows[:n]), np.sort(distance[i == atom]))
            assert sorted(pairs.neighbours[atom, :n]) == sorted(j[i == atom])
            assert (rows[n:] == 2 * cutoff).all()
            assert (pairs.neighbours[atom, n:] == atom).all()
    assert graph.volumes[0] == pytest.approx(abs(np.linalg.det(SKEWED)))
    assert np.isnan(build_graph(structure(SKEWED, (True, True, False)), (8, 14), (3.0,)).volumes[0])


def test_batch_keeps_structures_apart():
    frames = [structure(SKEWED, True, n=n, seed=n) for n in (3, 1, 5)]
    graphs = [build_graph(a, (8, 14), (3.5, 2.5)) for a in frames]
    joined = batch(graphs)
    assert joined.structure.tolist() == [0] * 3 + [1] + [2] * 5
    assert joined.n_atoms_per_structure.tolist() == [3, 1, 5]
    start = 0
    for g in graphs:
        rows = slice(start, start + g.n_atoms)
        assert np.array_equal(joined.species[rows], g.species)
        for one, all_ in zip(g.pairs, joined.pairs, strict=True):
            assert np.array_equal(all_.neighbours[rows, : one.width] - start, one.neighbours)
            assert np.array_equal(all_.vectors[rows, : one.width], one.vectors)
            assert np.array_equal(all_.counts[rows], one.counts)
            assert (all_.vectors[rows, one.width :, 0] == 2 * one.cutoff).all()
        start += g.n_atoms


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.positions.__setitem__((0, 1), np.nan), "not finite"),
        (lambda a: a.positions.__setitem__(1, a.positions[0] + 1e-4), "atoms 0 and 1 are 0.000"),
        (lambda a: a.set_cell([[3, 0, 0], [3, 0, 0], [0, 0, 3]]), "no volume"),
        (lambda a: a.set_cell(np.zeros((3, 3))), "no volume"),
    ],
)
def test_unphysical_structures_are_refused(change, message):
    atoms = structure(SKEWED, True)
    change(atoms)
    with pytest.raises(StructureError, match=message):
        build_graph(atoms, (8, 14), (3.0,))


def test_empty_and_unknown():
    with pytest.raises(StructureError, match="no atoms"):
        build_graph(Atoms(), (14,), (3.0,))
    with pytest.raises(UnknownSpeciesError, match="knows Si, but the structure contains O"):
        build_graph(Atoms("SiO", [[0, 0, 0], [0, 0, 2]]), (14,), (3.0,))


def same_pairs(a, b):
    for p, q in zip(a.pairs, b.pairs, strict=True):
        assert np.array_equal(p.counts, q.counts)
        for atom, n in enumerate(p.counts):
            rows = [np.column_stack([x.neighbours[atom, :n], x.vectors[atom, :n]]) for x in (p, q)]
            left, right = (r[np.lexsort(np.round(r, 8).T)] for r in rows)
            assert np.allclose(left, right, rtol=0, atol=1e-12)


@pytest.mark.parametrize("pbc", [True, False, (True, False, True)])
@pytest.mark.parametrize("deform", [False, True])
def test_skinned_list_never_misses_a_pair(pbc, deform):
    rng = np.random.default_rng(7)
    atoms = structure(CELLS["orthorhombic"], pbc, n=6)
    skinned = SkinnedNeighbours((8, 14), (4.0, 2.5), skin=0.6)
    n_steps = 60
    for _ in range(n_steps):
        same_pairs(skinned.graph(atoms), build_graph(atoms, (8, 14), (4.0, 2.5)))
        if deform:
            matrix = np.eye(3) + 0.004 * rng.standard_normal((3, 3))
            atoms.set_cell(atoms.cell.array @ matrix, scale_atoms=True)
        atoms.positions += 0.02 * rng.standard_normal(atoms.positions.shape)
    assert 2 <= skinned.n_builds < n_steps / 3


def test_skinned_list_notices_other_changes():
    atoms = structure(SKEWED, True)
    skinned = SkinnedNeighbours((8, 14), (3.0,), skin=1.0)

    def check(builds):
        same_pairs(skinned.graph(atoms), build_graph(atoms, (8, 14), (3.0,)))
        assert skinned.n_builds == builds

    check(1)
    atoms.positions += 0.1
    check(1)
    atoms.numbers[0] = 8 if atoms.numbers[0] == 14 else 14
    check(2)
    atoms.pbc = (True, True, False)
    check(3)
    atoms.positions[0] += atoms.cell.array[1]
    check(4)
    del atoms[0]
    check(5)
    atoms.positions[0] = np.nan
    with pytest.raises(StructureError, match="not finite"):
        skinned.graph(atoms)


def test_uniform_compression_is_followed_while_the_skin_allows():
    atoms = structure(CELLS["orthorhombic"], True) * (3, 3, 3)
    skinned = SkinnedNeighbours((8, 14), (3.0,), skin=1.0)
    skinned.graph(atoms)
    for scale, builds in ((0.9, 1), (0.8, 2)):  # 0.72 of the first cell brings in pairs that were not listed
        atoms.set_cell(atoms.cell.array * scale, scale_atoms=True)
        same_pairs(skinned.graph(atoms), build_graph(atoms, (8, 14), (3.0,)))
        assert skinned.n_builds == builds


def test_skin_is_checked():
    with pytest.raises(ConfigError, match="skin"):
        SkinnedNeighbours((14,), (3.0,), skin=-1.0)
