"""Stored derivatives of features against those of plain tensors and against differences."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from forgefield.descriptors import ACSF, SO3
from forgefield.engine.features import FeatureEngine
from forgefield.engine.gradients import FeatureGradients, GradientEngine
from forgefield.engine.kernel import NotCompiledError

CASES = {
    "two elements": (("C", "Si"), {"n_max": 2, "l_max": 2}),
    "one density": (("C", "Si"), {"n_max": 2, "l_max": 2, "species_weighting": "atomic_number"}),
}


def crystal(elements: tuple[str, ...], pbc: bool = True) -> Atoms:
    """Nine atoms in a skewed cell thinner than the cutoff, one of them outside it."""
    atoms = bulk("Si", cubic=True)
    atoms.set_cell(atoms.cell.array @ [[0.9, 0.1, 0.0], [0.0, 1.1, 0.2], [0.05, 0.0, 1.0]], scale_atoms=True)
    atoms += Atoms("Si", [[-3.0, 1.2, 2.7]])
    atoms.rattle(0.1, seed=1)
    atoms.symbols = np.random.default_rng(2).choice(elements, len(atoms))
    atoms.pbc = pbc
    return atoms


def moved(found: FeatureGradients, atom: int, direction: int) -> np.ndarray:
    """Derivative of all features with respect to one coordinate."""
    total = np.zeros_like(found.features)
    pairs = found.neighbours == atom
    np.add.at(total, found.centres[pairs], found.gradients[pairs, direction])
    total[atom] += found.own[atom, direction]
    return total


@pytest.mark.parametrize("case", CASES)
def test_equals_differences(case: str) -> None:
    elements, settings = CASES[case]
    descriptor = SO3(elements, cutoff=4.0, **settings)
    engine, plain = GradientEngine(descriptor, threads=2), FeatureEngine(descriptor)
    for atoms in (crystal(elements), crystal(elements, pbc=False)):
        found = engine.differentiate(atoms)
        assert np.array_equal(found.features, plain.compute(atoms))
        for atom, direction in ((0, 0), (5, 1), (8, 2)):
            sides = []
            for step in (1e-4, -1e-4):
                other = atoms.copy()
                other.positions[atom, direction] += step
                sides.append(plain.compute(other))
            expected = (sides[0] - sides[1]) / 2e-4
            assert np.abs(moved(found, atom, direction) - expected).max() < 1e-6 * np.abs(expected).max()


def test_pairs_are_where_they_say() -> None:
    atoms = crystal(("C", "Si"))
    found = GradientEngine(SO3(("C", "Si"), cutoff=3.0, n_max=2, l_max=1)).differentiate(atoms)
    atoms.wrap()
    ends = atoms.positions[found.neighbours] + found.shifts @ atoms.cell.array
    distances = np.linalg.norm(ends - atoms.positions[found.centres], axis=1)
    assert len(distances) > 20
    assert distances.min() > 1.0
    assert distances.max() < 3.0
    assert (np.abs(found.gradients).max(axis=(1, 2)) > 0).all()
    sums = np.zeros_like(found.own)
    np.add.at(sums, found.centres, found.gradients)
    assert np.abs(sums + found.own).max() < 1e-13 * np.abs(found.own).max()


def test_single_precision_and_memory_that_is_used_again() -> None:
    atoms, descriptor = crystal(("Si",)), SO3(("Si",), cutoff=4.0, n_max=2, l_max=1)
    exact, engine = GradientEngine(descriptor).differentiate(atoms), GradientEngine(descriptor, "float32")
    first = engine.differentiate(atoms * (2, 1, 1))
    other = engine.differentiate(crystal(("Si",), pbc=False), out=first)
    assert other.gradients.dtype == np.float32
    again = engine.differentiate(atoms, out=other)
    assert again.memory is other.memory is first.memory
    assert engine.differentiate(atoms * (4, 1, 1), out=again).memory is not first.memory
    for name in ("features", "gradients", "own"):
        a, b = getattr(again, name), getattr(exact, name)
        assert a.shape == b.shape
        assert np.abs(a - b).max() < 3e-6 * np.abs(b).max()


def test_other_features_are_refused() -> None:
    with pytest.raises(NotCompiledError, match="ACSF"):
        GradientEngine(ACSF(["Si"]))
