"""The compiled neighbour list against ASE, and the list with a skin."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.neighborlist import neighbor_list

from forgefield.descriptors import make_descriptor
from forgefield.engine import neighbours
from forgefield.engine.inference import Engine
from forgefield.engine.neighbour_kernel import (
    BITS,
    SORT_SIGNATURE,
    list_kernel,
    list_points,
    list_signature,
    sort_points,
)
from forgefield.engine.neighbours import SkinnedList, list_neighbours, spatial_order
from forgefield.engine.points import FAR
from forgefield.errors import ConfigError, StructureError, UnknownSpeciesError
from forgefield.graph import neighbour_pairs
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.parallel import get_num_threads, set_num_threads
from forgefield.testing.interpreter import interpret
from forgefield.tracer import trace
from forgefield.tracer.cache import host

SKEWED = [[4.0, 0.3, 0.1], [2.9, 3.1, -0.4], [-1.8, 2.2, 3.6]]
CELLS = {
    "orthorhombic": [[5.0, 0, 0], [0, 6.0, 0], [0, 0, 7.0]],
    "skewed": SKEWED,
    "left-handed": [SKEWED[1], SKEWED[0], SKEWED[2]],
    "thinner than the cutoff": [[1.6, 0.1, 0], [0.2, 1.9, 0.1], [0.3, -0.2, 2.4]],
    "needle": [[1.7, 0, 0], [0.4, 12.0, 0], [0, 0.5, 9.0]],
}
SPECIES = (8, 14, 29)


def scattered(cell, pbc, n=7, seed=0, spread=(-0.7, 1.6)):
    """Atoms partly outside the cell, at least 0.3 Å apart, of three elements."""
    rng = np.random.default_rng(seed)
    cell = np.array(cell)
    positions = np.empty((0, 3))
    while len(positions) < n:
        more = np.vstack([positions, rng.uniform(*spread, 3) @ cell])
        if len(neighbor_list("i", Atoms("H" * len(more), more, cell=cell, pbc=True), 0.3)) == 0:
            positions = more
    return Atoms(rng.choice(SPECIES, n), positions, cell=cell, pbc=pbc)


def silicon(repeat, seed=1, species=(14,)):
    atoms = bulk("Si", cubic=True) * repeat
    atoms.rattle(0.08, seed=seed)
    atoms.numbers = np.random.default_rng(seed).choice(species, len(atoms))
    return atoms


def listed(atoms, points, listing, species=SPECIES):
    """Return sorted (i, j, S) of a list, checking everything it promises on the way."""
    n, n_species = len(atoms), len(species)
    assert listing.first.dtype == np.int64
    assert listing.neighbours.dtype == np.int32
    assert listing.first.shape == (n * n_species + 1,)
    assert listing.first[0] == 0
    assert listing.first[-1] == len(listing.neighbours)
    last = listing.first[1:] - 1
    padding = np.zeros(len(listing.neighbours), bool)
    padding[last] = True
    assert (listing.neighbours[last] == points.padding).all()
    assert (listing.neighbours[~padding] < points.padding).all()
    runs = np.repeat(np.arange(n * n_species), np.diff(listing.first))[~padding]
    i, kind = np.divmod(runs, n_species)
    target = listing.neighbours[~padding].astype(int)
    j = np.concatenate([np.arange(n), points.owner])[target]
    assert np.array_equal(np.array(species)[kind], atoms.numbers[j])
    wraps = np.zeros((n, 3), int) if points.wraps is None else points.wraps
    shifts = np.concatenate([np.zeros((n, 3), int), points.shifts])[target] + wraps[j] - wraps[i]
    vectors = points.positions[target, :3] - points.positions[i, :3]
    direct = atoms.positions[j] - atoms.positions[i] + shifts @ atoms.cell.array
    assert np.allclose(vectors, direct, rtol=0, atol=1e-10)
    return np.unique(np.column_stack([i, j, shifts]), axis=0), len(i)


def by_vesin(_, atoms, cutoff):
    return neighbour_pairs(atoms, cutoff)[:3]


def check(atoms, cutoffs, species=SPECIES, reference=neighbor_list):
    """Compare the lists of a structure with those of another program; return how many pairs there are."""
    points, lists = list_neighbours(atoms, species, cutoffs)
    total = 0
    for cutoff, listing in zip(cutoffs, lists, strict=True):
        expected = np.column_stack(reference("ijS", atoms, cutoff))
        found, count = listed(atoms, points, listing, species)
        assert count == len(expected)
        assert np.array_equal(found, np.unique(expected, axis=0).reshape(found.shape))
        total += count
    return total


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("pbc", list(itertools.product([True, False], repeat=3)))
def test_pairs_are_ases(cell, pbc):
    assert check(scattered(CELLS[cell], pbc), (4.7, 2.1)) > 0


def test_atoms_far_outside_the_cell():
    atoms = scattered(SKEWED, (True, True, False))
    atoms.positions += np.random.default_rng(3).integers(-400, 400, (7, 2)) @ np.array(SKEWED)[:2]
    assert check(atoms, (4.0,)) > 50


@pytest.mark.parametrize("length", [1.0, 3.0, 6.0])
def test_one_atom_in_a_cell_much_thinner_than_the_cutoff(length):
    atoms = Atoms("Si", [[-7.3, 2.0, 40.0]], cell=length * (np.eye(3) + 0.1), pbc=True)
    assert check(atoms, (3.3 * length,)) > 90


def test_a_molecule_without_a_cell():
    assert check(molecule("C60"), (4.0, 1.7), (6,)) > 60 * 3


def test_a_slab_in_vacuum_needs_no_images_across_it():
    atoms = silicon((2, 2, 1))
    atoms.center(vacuum=20.0, axis=2)
    check(atoms, (5.0,), (14,))
    points, _ = list_neighbours(atoms, (14,), (5.0,))
    assert not points.shifts[:, 2].any()


@pytest.mark.parametrize("species", [(14,), SPECIES, tuple(range(1, 40))])
@pytest.mark.parametrize("cutoffs", [(5.0,), (5.0, 3.5), (3.5, 6.5, 5.0)])
def test_crystals(species, cutoffs):
    assert check(silicon((3, 2, 3), species=species[:30]), cutoffs, species) > 144 * 20


def test_equal_cutoffs_share_their_list():
    _, lists = list_neighbours(silicon((1, 1, 1)), (14,), (5.0, 4.0, 5.0))
    assert lists[0] is lists[2]
    assert len(lists[1].neighbours) < len(lists[0].neighbours)


@pytest.mark.parametrize("species", [(14,), SPECIES])
@pytest.mark.parametrize("estimate", [0.0, 20.0])
def test_more_neighbours_than_estimated(species, estimate, monkeypatch):
    rooms = []

    def kernel(*arguments):
        made = list_kernel(*arguments)

        def call(*given):
            rooms.append(given[-4])
            made(*given)

        call.lanes = made.lanes
        return call

    monkeypatch.setattr(neighbours, "_estimate", lambda *_: estimate)
    monkeypatch.setattr(neighbours, "list_kernel", kernel)
    assert check(silicon((3, 3, 2), species=species), (5.0, 4.0), species, by_vesin) > 144 * 20
    assert len(rooms) > 1
    assert rooms == sorted(rooms)


def test_a_dense_lump_in_a_thin_gas():
    lump = silicon((3, 3, 3))
    lump.set_cell(lump.cell * 0.5, scale_atoms=True)
    gas = 300.0 + np.random.default_rng(5).uniform(0, 3000, (1300, 3))
    atoms = Atoms("Si1300", gas) + Atoms(lump.numbers, lump.positions)
    assert check(atoms, (4.0, 3.0), (14,), by_vesin) > 1000


def test_a_chain_along_the_diagonal_needs_few_bins():
    atoms = Atoms("Si900", np.arange(900)[:, None] * np.array([1.1, 1.3, 1.2]))
    assert check(atoms, (5.0,), (14,), by_vesin) == 2 * (899 + 898)


@pytest.mark.parametrize("species", [(14,), SPECIES])
def test_threads_do_not_change_the_list(species):
    atoms = silicon((5, 5, 4), species=species)
    before = get_num_threads()
    try:
        results = []
        for threads in (1, 3):
            set_num_threads(threads)
            results.append(list_neighbours(atoms, species, (5.0, 3.0)))
    finally:
        set_num_threads(before)
    for one, three in zip(results[0][1], results[1][1], strict=True):
        assert np.array_equal(one.neighbours, three.neighbours)
        assert np.array_equal(one.first, three.first)


@pytest.mark.parametrize("level", ["avx2", "sse2"])
def test_lesser_processors(level, monkeypatch):
    monkeypatch.setenv("FORGEFIELD_SIMD", level)
    host.cache_clear()
    try:
        assert check(silicon((2, 2, 2), species=SPECIES), (5.0, 3.5)) > 64 * 20
        assert check(silicon((2, 2, 2)), (5.0,), (14,)) > 64 * 20
    finally:
        monkeypatch.undo()
        host.cache_clear()


@pytest.mark.parametrize("species", [(14,), (8, 14)])
def test_the_interpreter_agrees(species, monkeypatch):
    atoms = scattered(SKEWED, (True, False, True), n=3)
    atoms.numbers = np.resize(species, 3)
    expected = list_neighbours(atoms, species, (3.0, 2.0))

    class Interpreted:
        lanes = host().lanes(BITS)

        def __init__(self, signature, function):
            self.signature, self.program = signature, trace("kernel", signature, BITS, function)

        def __call__(self, *arguments):
            interpret(self.program, self.lanes, dict(zip(self.signature, arguments, strict=True)))

    monkeypatch.setattr(neighbours, "sort_kernel", lambda: Interpreted(SORT_SIGNATURE, sort_points))
    monkeypatch.setattr(
        neighbours,
        "list_kernel",
        lambda n, s: Interpreted(list_signature(n), list_points(n, s, Interpreted.lanes)),
    )
    got = list_neighbours(atoms, species, (3.0, 2.0))
    for a, b in zip(expected[1], got[1], strict=True):
        assert np.array_equal(a.neighbours, b.neighbours)
        assert np.array_equal(a.first, b.first)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_positions_must_be_finite(value):
    atoms = silicon((1, 1, 1))
    atoms.positions[3, 1] = value
    with pytest.raises(StructureError, match="not finite"):
        list_neighbours(atoms, (14,), (5.0,))


def test_what_is_wrong_with_a_structure_is_said():
    flat = Atoms("Si", cell=[[3, 0, 0], [6, 0, 0], [0, 0, 3]], pbc=True)
    with pytest.raises(StructureError, match="no volume"):
        list_neighbours(flat, (14,), (5.0,))
    with pytest.raises(StructureError, match="no atoms"):
        list_neighbours(Atoms(), (14,), (5.0,))
    with pytest.raises(UnknownSpeciesError, match="Si"):
        list_neighbours(silicon((1, 1, 1)), (8,), (5.0,))
    twice = silicon((1, 1, 1))
    twice.positions[5] = twice.positions[2] + twice.cell.array[0] + [0.005, 0, 0]
    with pytest.raises(StructureError, match=r"atoms 2 and 5 are 0\.0[0-9]* Å apart"):
        list_neighbours(twice, (14,), (5.0,))
    with pytest.raises(StructureError, match="periodic images"):
        list_neighbours(Atoms("Si", cell=[0.002, 0.002, 0.002], pbc=True), (14,), (5.0,))
    with pytest.raises(StructureError, match="from the origin"):
        list_neighbours(Atoms("Si2", [[0, 0, 0], [0, 0, FAR]]), (14,), (5.0,))


def test_points_follow_the_atoms_and_fold_onto_them():
    atoms = scattered(SKEWED, True)
    points, _ = list_neighbours(atoms, SPECIES, (5.0,))
    values = np.random.default_rng(0).standard_normal((len(points.positions), 4)).astype(np.float32)
    expected = values[:7, :3].astype(float)
    np.add.at(expected, points.owner, values[7:-2, :3].astype(float))
    assert np.allclose(points.fold(values), expected, rtol=0, atol=1e-12)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03), scale_atoms=True)
    atoms.rattle(0.1, seed=2)
    points.move(atoms.positions, atoms.cell.array)
    wrapped = atoms.positions + points.wraps @ atoms.cell.array
    assert np.allclose(points.positions[:7, :3], wrapped, rtol=0, atol=1e-12)
    images = wrapped[points.owner] + points.shifts @ atoms.cell.array
    assert np.allclose(points.positions[7:-2, :3], images, rtol=0, atol=1e-12)


def test_spatial_order_brings_near_atoms_together():
    atoms = silicon((6, 6, 6))
    atoms = atoms[np.random.default_rng(0).permutation(len(atoms))]
    atoms.positions += np.random.default_rng(1).integers(-3, 3, (len(atoms), 3)) @ atoms.cell.array
    order = spatial_order(atoms)
    assert np.array_equal(np.sort(order), np.arange(len(atoms)))
    atoms.wrap()

    def distance_in_memory(of):
        i, j = neighbour_pairs(of, 3.0)[:2]
        return np.median(np.abs(i - j))

    assert distance_in_memory(atoms[order]) < 0.2 * distance_in_memory(atoms)


# ---- the list with a skin ----------------------------------------------------------------------------------


def small_potential():
    torch.manual_seed(0)
    settings = {"kind": "nep", "n_max_radial": 2, "n_max_angular": 2, "l_max": 2, "cutoff_angular": 4.0}
    d = make_descriptor(settings | {"cutoff_radial": 5.0}, ["O", "Si"])
    model = make_model({"kind": "network", "hidden": [4]}, d.n_features, 2)
    return Potential(d, model).to_dtype(torch.float64)


def test_energies_along_a_trajectory_are_those_of_fresh_lists():
    potential = small_potential()
    engine = Engine(potential, "float64", 1)
    cutoffs = [e.cutoff for e in potential.descriptor.expansions]
    skinned = SkinnedList(potential.species, cutoffs, skin=0.6)
    atoms = silicon((2, 1, 1), species=(8, 14))
    rng = np.random.default_rng(2)
    builds, block = 0, None
    for step in range(40):
        atoms.positions += rng.normal(0, 0.02, (16, 3)) + np.array([0.05, 0, 0])
        if step % 4 == 0:
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 2e-3, (3, 3))), scale_atoms=True)
        points, lists = skinned.update(atoms)
        if skinned.n_builds != builds:
            builds, block = skinned.n_builds, engine.blocks(points, lists)
        result = engine.evaluate(points, lists, block)
        got = points.fold(result.forces)
        fresh_points, fresh_lists = list_neighbours(atoms, potential.species, cutoffs)
        fresh = engine.evaluate(fresh_points, fresh_lists, engine.blocks(fresh_points, fresh_lists))
        assert np.allclose(result.energies, fresh.energies, rtol=1e-12, atol=0)
        forces = fresh_points.fold(fresh.forces)
        assert np.allclose(got, forces, rtol=0, atol=1e-12 * np.abs(forces).max())
        assert np.allclose(result.strain.sum(axis=0), fresh.strain.sum(axis=0), rtol=0, atol=1e-11)
    assert 1 < builds < 20


def test_the_list_is_kept_until_atoms_moved_by_half_the_skin():
    atoms = silicon((1, 1, 1))
    skinned = SkinnedList((14,), (5.0,), skin=1.0)
    first = skinned.update(atoms)
    atoms.positions[0] += [0.49, 0, 0]
    assert skinned.update(atoms) is first
    assert np.allclose(first[0].positions[0, :3], atoms.positions[0] + (first[0].wraps @ atoms.cell.array)[0])
    atoms.positions[0] += [0.02, 0, 0]
    assert skinned.update(atoms) is not first
    assert skinned.n_builds == 2


@pytest.mark.parametrize("change", ["numbers", "pbc", "cell"])
def test_the_list_is_made_anew_for_another_structure(change):
    atoms = silicon((1, 1, 1))
    skinned = SkinnedList((8, 14), (5.0,), skin=1.0)
    skinned.update(atoms)
    if change == "numbers":
        atoms.numbers[0] = 8
    elif change == "pbc":
        atoms.pbc = (True, True, False)
    else:
        atoms.set_cell(atoms.cell.array * 0.8, scale_atoms=True)
    points, (listing,) = skinned.update(atoms)
    assert skinned.n_builds == 2
    found, _ = listed(atoms, points, listing, (8, 14))
    expected = np.unique(np.column_stack(neighbor_list("ijS", atoms, 6.0)), axis=0)
    assert np.array_equal(found, expected)


def test_without_a_skin_every_step_has_its_own_list():
    atoms = silicon((1, 1, 1))
    skinned = SkinnedList((14,), (5.0,), skin=0.0)
    assert skinned.update(atoms) is not skinned.update(atoms)
    assert skinned.n_builds == 2


@pytest.mark.parametrize("skin", [-0.1, np.nan])
def test_the_skin_must_make_sense(skin):
    with pytest.raises(ConfigError, match="skin"):
        SkinnedList((14,), (5.0,), skin)
