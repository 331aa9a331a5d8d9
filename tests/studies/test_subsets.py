"""Subsets of a training set."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from forgefield.errors import ConfigError
from forgefield.studies.subsets import pick


def structures():
    """Return copies of three crystals and one free atom: most are twins."""
    kinds = [bulk("Si", "diamond", a=a, cubic=True) for a in (5.0, 5.4, 5.8)]
    frames = [kinds[0].copy() for _ in range(8)] + [kinds[1].copy() for _ in range(2)] + [kinds[2].copy()]
    return [*frames, Atoms("Si", cell=[10, 10, 10], pbc=True)]


@pytest.mark.parametrize("how", ["random", "selected"])
def test_free_atoms_are_always_kept_and_the_seed_decides(how):
    frames = structures()
    a, b = (pick(frames, 3, how, seed=4) for _ in range(2))
    assert a.tolist() == b.tolist()
    assert 11 in a
    assert len(a) == 4
    assert len(set(a.tolist())) == 4


def test_selected_structures_differ_from_each_other():
    frames = structures()
    for seed in range(5):
        lengths = {frames[k].cell[0, 0] for k in pick(frames, 3, "selected", seed) if len(frames[k]) > 1}
        assert lengths == {5.0, 5.4, 5.8}


def test_groups_have_the_same_share_or_all_they_have():
    frames = structures()[:11]
    for k, atoms in enumerate(frames):
        atoms.info["config_type"] = "many" if k < 8 else "few"
    for seed in range(5):
        chosen = pick(frames, 4, "groups", seed)
        assert sum(k < 8 for k in chosen) == 2
        chosen = pick(frames, 9, "groups", seed)
        assert sum(k < 8 for k in chosen) == 6
    assert len({tuple(pick(frames, 4, "groups", seed)) for seed in range(9)}) > 1


def test_asking_for_more_than_there_are_gives_all():
    frames = structures()
    assert np.array_equal(pick(frames, 100, "selected", 0), np.arange(12))
    with pytest.raises(ConfigError, match="picked 'random', 'groups' or 'selected', got 'best'"):
        pick(frames, 2, "best", 0)
