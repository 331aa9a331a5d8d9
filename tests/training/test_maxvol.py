"""MaxVol on matrices whose answer is known, and the extrapolation grade it gives potentials."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError

import forgefield as ff
from forgefield.deployment.ase import ForgefieldCalculator
from forgefield.descriptors import NEP, SO3
from forgefield.errors import ConfigError
from forgefield.models import Linear
from forgefield.models.committee import Committee
from forgefield.models.extrapolation import Grader
from forgefield.models.potential import Potential
from forgefield.training.maxvol import TOLERANCE, fit_extrapolation, grade_matrix, maxvol


def volume(a: np.ndarray, rows: object) -> float:
    return abs(np.linalg.det(a[list(rows)]))


@pytest.mark.parametrize("seed", range(4))
def test_finds_rows_that_were_hidden(seed):
    # All other rows are convex combinations of +- the hidden ones: no other choice has a larger volume.
    rng = np.random.default_rng(seed)
    r = 6
    hidden = rng.standard_normal((r, r))
    mixes = rng.uniform(-1, 1, (200, r))
    a = np.concatenate([(mixes / np.abs(mixes).sum(axis=1, keepdims=True)) @ hidden, hidden])
    order = rng.permutation(len(a))
    found = maxvol(a[order])
    assert sorted(order[found]) == list(range(200, 206))


def test_volume_is_locally_largest_and_close_to_the_largest():
    rng = np.random.default_rng(1)
    a = rng.standard_normal((12, 3))
    rows = maxvol(a, 1.0)
    own = volume(a, rows)
    for k, i in itertools.product(range(3), range(12)):
        other = rows.copy()
        other[k] = i
        assert volume(a, other) <= own * (1 + 1e-12)
    best = max(volume(a, c) for c in itertools.combinations(range(12), 3))
    assert best / 3**1.5 <= own <= best * (1 + 1e-12)  # Goreinov et al.: within r^(r/2) of the largest


def test_coefficients_in_the_chosen_rows_are_bounded():
    a = np.random.default_rng(2).standard_normal((3000, 25)) ** 3
    coefficients = a @ np.linalg.inv(a[maxvol(a)])
    assert np.abs(coefficients).max() <= TOLERANCE * (1 + 1e-9)


@pytest.mark.parametrize("a", [np.ones((2, 3)), np.ones((5, 2)), np.zeros((4, 1))])
def test_refuses_what_has_no_volume(a):
    with pytest.raises(ConfigError, match="maxvol needs"):
        maxvol(a)


def grade(x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.abs(x @ matrix).max(axis=1)


def test_grade_is_one_on_the_active_set_and_linear_beyond():
    rng = np.random.default_rng(3)
    x = np.concatenate([np.ones((400, 1)), rng.uniform(-1, 1, (400, 1))], axis=1)
    matrix = grade_matrix(x)
    # One feature q in [low, high]: the active set is the two ends, and outside the grade is the coefficient
    # of the nearer end, (q - other end) / (high - low).
    low, high = x[:, 1].min(), x[:, 1].max()
    assert grade(x, matrix).max() == pytest.approx(1.0, abs=1e-9)
    for q in (high + 0.5, high + 3.0):
        expected = (q - low) / (high - low)
        assert grade(np.array([[1.0, q]]), matrix)[0] == pytest.approx(expected, rel=1e-9)


def test_grade_does_not_depend_on_the_basis_of_the_features():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((500, 5))
    new = 1.5 * rng.standard_normal((50, 5))
    mix = rng.standard_normal((5, 5))
    np.testing.assert_allclose(
        grade(new, grade_matrix(x)), grade(new @ mix, grade_matrix(x @ mix)), rtol=1e-8
    )


def test_leaving_the_span_of_the_training_set_is_extrapolation():
    rng = np.random.default_rng(5)
    x = np.zeros((100, 4))
    x[:, :2] = rng.standard_normal((100, 2))
    x[:, 2] = x[:, 0] + x[:, 1]  # no new direction
    matrix = grade_matrix(x)
    assert matrix.shape == (4, 4)
    assert grade(x, matrix).max() <= TOLERANCE
    assert grade(np.array([[0.1, 0.1, 0.2, 0.01]]), matrix)[0] > 1000  # the fourth feature was always zero
    assert grade(np.array([[0.1, 0.1, 0.21, 0.0]]), matrix)[0] > 1000  # a relation that always held


def frames(n: int, size: float = 0.08) -> list[Atoms]:
    found = []
    for k in range(n):
        atoms = bulk("SiC", "zincblende", a=4.36, cubic=True)
        atoms.rattle(size, seed=k)
        found.append(atoms)
    return found


@pytest.fixture(scope="module", params=["nep", "so3"])
def potential(request) -> Potential:
    if request.param == "nep":
        descriptor = NEP(
            ["C", "Si"], cutoff_radial=4.0, cutoff_angular=3.5, n_max_radial=3, n_max_angular=2, l_max=2
        )
        descriptor.reset_parameters(torch.Generator().manual_seed(0))
    else:
        descriptor = SO3(["C", "Si"], cutoff=3.5, n_max=2, l_max=2)
    model = Linear(descriptor.n_features, 2)
    model.reset_parameters(torch.Generator().manual_seed(0))
    potential = Potential(descriptor, model).to_dtype(torch.float32)
    potential.extrapolation = fit_extrapolation(potential, frames(30))
    return potential


def test_training_atoms_are_at_most_one_and_new_ones_beyond(potential):
    grader = Grader(potential)
    known = np.concatenate([grader.grades(a) for a in frames(30)])
    assert known.max() <= TOLERANCE + 1e-6
    assert np.isclose(known, 1.0, atol=2e-3).sum() >= 4
    assert grader.grades(molecule("CH4")[[0]])[0] > 3
    assert np.median(grader.grades(frames(1, 0.5)[0])) > 2


def test_grade_travels_with_the_file_and_the_committee(potential, tmp_path):
    atoms = frames(1, 0.2)[0]
    expected = Grader(potential).grades(atoms)
    loaded = ff.load(potential.save(tmp_path / "potential.ff"))
    np.testing.assert_allclose(Grader(loaded).grades(atoms), expected, rtol=1e-6)
    committee = ff.load(Committee([potential, potential]).save(tmp_path / "two.ff"))
    np.testing.assert_allclose(Grader(committee).grades(atoms), expected, rtol=1e-6)


def test_calculator_gives_the_grade_when_asked(potential):
    atoms = frames(1, 0.2)[0]
    atoms.calc = ForgefieldCalculator(potential)
    atoms.get_forces()
    assert "extrapolation" not in atoms.calc.results
    got = atoms.calc.get_property("extrapolation", atoms)
    np.testing.assert_allclose(got, Grader(potential).grades(atoms), rtol=1e-9)


def test_without_grade_the_error_says_how_to_get_one():
    descriptor = SO3(["Si"], cutoff=3.5, n_max=2, l_max=2)
    bare = Potential(descriptor, Linear(descriptor.n_features, 1))
    with pytest.raises(ConfigError, match="extrapolation: true"):
        Grader(bare).grades(bulk("Si"))
    with pytest.raises((ConfigError, PropertyNotImplementedError)):
        bare.calculator().get_property("extrapolation", bulk("Si"))


def test_element_without_training_atoms_is_infinitely_far():
    descriptor = SO3(["C", "Si"], cutoff=3.5, n_max=2, l_max=2)
    bare = Potential(descriptor, Linear(descriptor.n_features, 2))
    silicon = bulk("Si", cubic=True)
    bare.extrapolation = fit_extrapolation(bare, [silicon])
    grades = Grader(bare).grades(frames(1)[0])
    assert np.isinf(grades[frames(1)[0].numbers == 6]).all()
    assert np.isfinite(grades[frames(1)[0].numbers == 14]).all()


def test_training_stores_it(alloy_file, tmp_path):
    config = {
        "data": {"train": [str(alloy_file)]},
        "descriptor": {"kind": "so3", "cutoff": 4.2, "n_max": 2, "l_max": 2},
        "model": {"kind": "linear"},
        "training": {"kind": "least_squares"},
        "extrapolation": True,
    }
    run = ff.train(config, output=tmp_path)
    grader = Grader(ff.load(tmp_path / "potential.ff"))
    for atoms in run.evaluation.frames:
        if atoms.info["split"] == "train":
            assert grader.grades(atoms).max() <= TOLERANCE + 1e-6
