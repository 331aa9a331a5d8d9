"""Rows from kernels against rows from tensors, and what they are made of: listing of many structures, patterns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from forgefield.descriptors import DESCRIPTORS
from forgefield.engine import rows
from forgefield.engine.kernel import NotCompiledError
from forgefield.engine.many import list_together
from forgefield.engine.points import Listing
from forgefield.engine.row_tables import LARGEST, RowTables
from forgefield.engine.row_vectors import distinct_features, slopes_of
from forgefield.engine.rows import RowEngine
from forgefield.errors import StructureError
from forgefield.graph import neighbour_pairs
from forgefield.models import make_model
from forgefield.models.potential import Potential
from forgefield.models.zbl import ZBL, ZBLSettings
from forgefield.training.batches import LabelledSet
from forgefield.training.least_squares import LeastSquaresSettings, fit_linear
from forgefield.training.linear import assembly
from forgefield.training.linear.assembly import CompiledRows, TensorRows, make_rows
from forgefield.training.linear.weighting import from_loss
from forgefield.training.loss import LossSettings

TOLERANCE = 1e-12

TRIPLETS = {"etas": (0.05, 0.1), "zetas": (1, 2.5), "lambdas": (1.0,)}

CASES = {
    "snap": ("snap", "linear", {"two_j_max": 3, "weights": {"C": 0.6}, "radii": {"C": 0.4}}),
    "snap quadratic": ("snap", "quadratic", {"two_j_max": 2, "cutoff": 4.0}),
    "snap chemical": ("snap", "linear", {"two_j_max": 2, "chemical": True, "bnorm": True}),
    "snap own products": ("snap", "linear", {"two_j_max": 2, "quadratic": True}),
    "so3": ("so3", "linear", {"n_max": 2, "l_max": 2}),
    "so3 quadratic": ("so3", "quadratic", {"n_max": 2, "l_max": 1}),
    "ace": ("ace", "linear", {"n_max": (3, 2, 1, 1), "l_max": (0, 2, 1, 1)}),
    "pod": (
        "pod",
        "linear",
        {"n_max_two_body": 4, "n_max_three_body": 3, "n_max_four_body": 2, "degree_four_body": 1},
    ),
    "nep": ("nep", "linear", {"l_max": 2}),
    "chebyshev": ("chebyshev", "linear", {}),
    "ead": ("ead", "linear", {"l_max": 1}),
    "acsf": ("acsf", "linear", {"g2": ({"etas": (0.1,)},), "g4": (TRIPLETS,), "g5": (TRIPLETS,)}),
    "wacsf": ("wacsf", "quadratic", {"g2": (), "g4": (TRIPLETS,), "cutoff": 4.0}),
}


def structures() -> list[Atoms]:
    """Return skewed crystals, a thin cell, a slab, a molecule and an atom with made-up labels."""
    rng, result = np.random.default_rng(1), []
    crystal = bulk("Si", cubic=True)
    crystal.set_cell(crystal.cell.array @ (np.eye(3) + 0.08 * rng.standard_normal((3, 3))), scale_atoms=True)
    slab = crystal.repeat((1, 2, 1))
    slab.pbc = True, False, True
    slab.positions += 40.0
    molecule = Atoms("CSi3", [(0, 0, 0), (1.9, 0, 0), (0, 2.1, 0.2), (-0.3, 0.5, 2.2)])
    for atoms in (crystal, bulk("Si"), slab, molecule, Atoms("C", [(1.0, 2.0, 3.0)])):
        atoms.rattle(0.1, seed=len(result))
        atoms.symbols = rng.choice(["C", "Si"], len(atoms))
        results = {"energy": rng.normal(), "forces": rng.normal(size=(len(atoms), 3))}
        if atoms.pbc.all():
            results["stress"] = 0.05 * rng.normal(size=6)
        atoms.calc = SinglePointCalculator(atoms, **results)
        result.append(atoms)
    return result


def made(case: str, *, exact: bool = False, zbl: bool = False) -> Potential:
    kind, model, settings = CASES[case]
    torch.manual_seed(0)
    descriptor = DESCRIPTORS[kind](["C", "Si"], **settings)
    repulsion = ZBL(descriptor.species, ZBLSettings(form="lammps", inner=2.0, outer=3.0)) if zbl else None
    potential = Potential(
        descriptor,
        make_model({"kind": model}, descriptor.n_features, 2),
        {6: -1.0, 14: -2.0},
        1.3,
        exact_free_atom=exact,
        zbl=repulsion,
    )
    features = np.concatenate([descriptor.compute(a) for a in structures()])
    potential.scaler.fit(torch.from_numpy(features), "standard")
    return potential.to_dtype(torch.float64)


def all_rows(make, n):
    """Return rows and labels in an order that does not depend on how structures are taken together."""
    parts = list(make(range(n)))
    structure = np.concatenate([p.structure for p in parts])
    order = np.argsort(structure, kind="stable")
    rows, labels = (np.concatenate([getattr(p, x) for p in parts])[order] for x in ("rows", "labels"))
    return make.spread(rows), labels


def compare(potential: Potential) -> None:
    data = LabelledSet(potential, structures())
    weighting = from_loss(data, LossSettings())
    rows, labels = all_rows(CompiledRows(potential, data, weighting), len(data))
    expected, wanted = all_rows(TensorRows(potential, data, weighting), len(data))
    assert rows.shape == expected.shape
    assert np.abs(rows - expected).max() <= TOLERANCE * np.abs(expected).max()
    assert np.abs(labels - wanted).max() <= TOLERANCE * np.abs(wanted).max()
    # Every column by its own size as well: a small feature is not hidden by a large one.
    sizes = np.abs(expected).max(axis=0)
    assert (np.abs(rows - expected).max(axis=0) <= 1e3 * TOLERANCE * sizes + 1e-14 * sizes.max()).all()


@pytest.mark.parametrize("case", CASES)
def test_rows_of_every_descriptor(case: str) -> None:
    compare(made(case))


@pytest.mark.parametrize("case", ["snap", "so3 quadratic"])
def test_rows_relative_to_the_free_atom_on_top_of_a_repulsion(case: str) -> None:
    compare(made(case, exact=True, zbl=True))


@pytest.mark.parametrize("case", ["so3", "so3 quadratic", "snap chemical"])
def test_rows_of_whitened_features(case: str) -> None:
    potential = made(case, exact=case == "so3 quadratic")
    features = np.concatenate([potential.descriptor.compute(a) for a in structures()])
    potential.scaler.fit(torch.from_numpy(features), "whitened")
    compare(potential)


def test_threads_share_blocks() -> None:
    potential = made("snap")
    one, two = (RowEngine(potential, threads=n).compute(structures()) for n in (1, 2))
    for x in ("features", "forces", "strain"):
        np.testing.assert_allclose(getattr(one, x), getattr(two, x), rtol=0, atol=1e-12)


def test_triplets_that_are_no_products_keep_to_tensors(caplog, monkeypatch) -> None:
    monkeypatch.setattr(rows, "FactoredBasis", type("Nothing", (), {}))
    descriptor = DESCRIPTORS["acsf"](
        ["C", "Si"], g4=(), g5=({"etas": (0.1,), "zetas": (1.5,), "lambdas": (1.0,)},), cutoff_angular=4.0
    )
    potential = Potential(descriptor, make_model({"kind": "linear"}, descriptor.n_features, 2))
    data = LabelledSet(potential, structures())
    weighting = from_loss(data, LossSettings())
    assert make_rows(potential, data, weighting).backend == "torch"
    assert "rows come from tensors" in caplog.text
    with pytest.raises(NotCompiledError, match="triplets"):
        make_rows(potential, data, weighting, "compiled")


def test_fits_by_kernels_and_by_tensors_agree() -> None:
    found = []
    for backend in ("compiled", "torch"):
        potential = made("so3")
        data = LabelledSet(potential, structures())
        settings = LeastSquaresSettings(solver="ridge", ridge=1e-6)
        found.append(fit_linear(potential, data, LossSettings(), settings, backend=backend).solution.values)
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-9 * np.abs(found[1]).max())


def test_structures_listed_together_have_their_own_neighbours() -> None:
    frames, cutoffs = structures(), (4.5, 2.5)
    found = list_together(frames, (6, 14), cutoffs)
    points, start = found.points, 0
    assert found.n_atoms.tolist() == [len(a) for a in frames]
    for atoms in frames:
        for listing, cutoff in zip(found.lists, cutoffs, strict=True):
            i, _, _, vectors = neighbour_pairs(atoms, cutoff)
            for n in range(len(atoms)):
                at = start + n
                listed = np.concatenate(
                    [
                        listing.neighbours[listing.first[s] : listing.first[s + 1] - 1]
                        for s in (2 * at, 2 * at + 1)
                    ]
                )
                own = points.positions[listed, :3] - points.positions[at, :3]
                expected = vectors[i == n]
                assert len(own) == len(expected)
                np.testing.assert_allclose(sorted(own.tolist()), sorted(expected.tolist()), atol=1e-9)
        start += len(atoms)


def test_overlapping_atoms_are_named() -> None:
    twice = Atoms("Si2", [(0, 0, 0), (0, 0, 1e-4)])
    with pytest.raises(StructureError, match="atoms 0 and 1"):
        list_together([*structures(), twice], (6, 14), (4.0,))
    with pytest.raises(StructureError, match="no atoms"):
        list_together([Atoms()], (6, 14), (4.0,))


@pytest.mark.parametrize(
    ("cell", "place", "message"),
    [
        ([(3, 0, 0), (0, 3, 0), (3, 3, 1e-6)], 0.0, "no volume"),
        ([(3, 0, 0), (0, 3, 0), (0, 0, np.nan)], 0.0, "not finite"),
        ([(3, 0, 0), (0, 3, 0), (0, 0, 3)], np.inf, "not finite"),
    ],
)
def test_a_wrong_structure_among_others_is_found(cell, place, message) -> None:
    wrong = Atoms("Si", [(place, 0, 0)], cell=cell, pbc=True)
    with pytest.raises(StructureError, match=message):
        list_together([*structures(), wrong], (6, 14), (4.0,))


def test_atoms_change_places_near_by_for_blocks_of_equal_lengths() -> None:
    counts = np.random.default_rng(0).integers(0, 30, size=(300, 2))
    listing = Listing(np.zeros(0, dtype=np.int32), np.append(0, np.cumsum(counts)))
    order = rows._alike(listing, 300, 2)
    assert sorted(order) == list(range(300))
    assert np.array_equal(order // rows.WINDOW, np.arange(300) // rows.WINDOW)
    longest = [x.reshape(-1, 4, 2).max(axis=1).sum() for x in (counts, counts[order])]
    assert longest[1] < 0.9 * longest[0]


@pytest.mark.parametrize("name", ["CHUNK", "ATOMS"])
def test_rows_do_not_depend_on_how_many_structures_are_together(name, monkeypatch) -> None:
    found = []
    for value in (10**9, 1):
        monkeypatch.setattr(assembly, name, value)
        potential = made("so3")
        data = LabelledSet(potential, structures())
        settings = LeastSquaresSettings(solver="ridge", ridge=1e-6)
        found.append(fit_linear(potential, data, LossSettings(), settings).solution.values)
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-9 * np.abs(found[1]).max())


def test_every_number_of_the_jacobian_is_read_or_repeats_another() -> None:
    descriptor = DESCRIPTORS["snap"](["C", "Si"], two_j_max=4, chemical=True)
    (slopes,), wanted = slopes_of(descriptor), np.unique(distinct_features(descriptor))
    tables, rng = RowTables.of(descriptor, wanted), np.random.default_rng(0)
    (first, stride), (width,) = tables.directory(0), (slopes.shape[2] // 2,)
    for sample in slopes:
        for s in range(2):
            # What the kernel does, for a neighbour of element s whose coefficients change at random.
            change = rng.standard_normal(width)
            products, found = np.zeros(tables.n_products), np.zeros(len(wanted))
            at = first + s * stride
            for size in range(1, LARGEST + 1):
                lo, hi = tables.integers[at + 2 * size - 2 : at + 2 * size]
                for record in tables.integers[lo:hi].reshape(-1, size + 3):
                    *starts, slot, begin, end = record
                    m, inside = tables.integers[begin:end].reshape(-1, 2).T
                    for t, start in enumerate(starts):
                        products[slot + t] = sample.ravel()[start + inside] @ change[m]
            for n, length in enumerate(tables.sums[0]):
                lo, hi = tables.integers[at + 2 * (LARGEST + n) : at + 2 * (LARGEST + n) + 2]
                for f, factor, *slots in tables.integers[lo:hi].reshape(-1, length + 2):
                    found[f] += tables.factors[factor : factor + length] @ products[slots]
            expected = sample[wanted].reshape(len(wanted), 2, width)[:, s] @ change
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    assert len(wanted) < 0.85 * descriptor.n_features  # invariants that only differ in the order of elements
    packed = RowEngine(Potential(descriptor, make_model({"kind": "linear"}, descriptor.n_features, 2))).tables
    assert (
        2 * packed.n_places[0] <= (slopes[:, wanted] != 0).any(axis=0).sum()
    )  # both elements share what they multiply


def test_equal_features_get_equal_coefficients() -> None:
    potential = made("snap chemical")
    engine = RowEngine(potential)
    assert len(engine.wanted) < potential.descriptor.n_features
    first = distinct_features(potential.descriptor)
    data = LabelledSet(potential, structures())
    fit_linear(potential, data, LossSettings(), LeastSquaresSettings(solver="svd"))
    weight = potential.model.weight.detach().numpy()
    alike = (potential.scaler.scale == potential.scaler.scale[first]).numpy()
    np.testing.assert_allclose(weight[:, alike], weight[:, first][:, alike], rtol=1e-6, atol=1e-9)
