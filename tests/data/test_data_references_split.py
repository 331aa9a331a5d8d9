"""Reference energies and splits."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from forgefield.data import (
    SplitSettings,
    fit_references,
    is_isolated_atom,
    reference_fit,
    relative_energies,
    split,
    with_labels,
)
from forgefield.errors import ConfigError, DataError, LabelError

GIVEN = {13: -56.25, 29: -1345.5}


def frame(symbols, energy, spacing=3.0, **info):
    atoms = Atoms(symbols, cell=[50, 50, 50], pbc=True)
    atoms.positions[:, 0] = spacing * np.arange(len(atoms))
    atoms.info = {"config_type": "default", **info}
    return with_labels(atoms, energy=energy)


def total(symbols):
    return float(sum(GIVEN[z] for z in Atoms(symbols).numbers))


def alloys():
    formulas = ["Al4", "Cu4", "Al3Cu", "AlCu3", "Al2Cu2", "Al8"]
    return [frame(f, total(f)) for f in formulas]


def test_least_squares_recovers_energies_far_below_zero_exactly():
    references = fit_references(alloys(), "least_squares")
    assert references == {z: pytest.approx(value, abs=1e-9) for z, value in GIVEN.items()}
    assert list(references) == sorted(references)
    np.testing.assert_allclose(relative_energies(alloys(), references), 0.0, atol=1e-9)


def test_a_small_binding_energy_survives_the_subtraction():
    frames = [frame(f, total(f) + 1e-7 * len(Atoms(f))) for f in ("Al4", "Cu4", "Al2Cu2")]
    rest = relative_energies(frames, GIVEN)
    np.testing.assert_allclose(rest, 1e-7, atol=1e-11)


def test_fixed_composition_gives_the_minimum_norm_and_says_so():
    frames = [frame("AlCu", -10.0), frame("Al2Cu2", -20.0)]
    fit = reference_fit(frames, "least_squares")
    assert fit.energies == {13: pytest.approx(-5.0), 29: pytest.approx(-5.0)}
    assert fit.rank == 1
    assert "not determined" in fit.note
    np.testing.assert_allclose(relative_energies(frames, fit.energies), 0.0, atol=1e-12)


def test_isolated_atoms_are_used_when_every_element_has_one():
    atoms = [frame("Al", -1.5), frame("Cu", -2.5, config_type="IsolatedAtom")]
    assert fit_references([*alloys(), *atoms]) == {13: -1.5, 29: -2.5}
    assert fit_references([*alloys(), atoms[0]])[13] == pytest.approx(GIVEN[13])
    with pytest.raises(LabelError, match="no isolated atom with an energy for Cu"):
        fit_references([*alloys(), atoms[0]], "isolated_atoms")


def test_a_primitive_cell_is_not_an_isolated_atom():
    long = Atoms("Si", cell=[[10, 0, 0], [9, 4, 0], [0, 0, 9]], pbc=True)
    assert not is_isolated_atom(long)
    assert is_isolated_atom(Atoms("Si", cell=[10, 10, 10], pbc=True))
    assert is_isolated_atom(Atoms("Si"))
    assert not is_isolated_atom(Atoms("Si2", positions=[[0, 0, 0], [0, 0, 9]]))


def test_given_and_none():
    frames = alloys()
    assert fit_references(frames, "given", {"Al": -1, "Cu": -2}) == {13: -1.0, 29: -2.0}
    assert fit_references(frames, "none") == {13: 0.0, 29: 0.0}
    with pytest.raises(LabelError, match="no energy for Cu"):
        fit_references(frames, "given", {"Al": -1})
    with pytest.raises(LabelError, match="'guess' is not known; choose from auto"):
        fit_references(frames, "guess")
    with pytest.raises(LabelError, match="no structure has an energy"):
        fit_references([Atoms("Al2", positions=[[0, 0, 0], [0, 0, 2]])])
    with pytest.raises(LabelError, match="at least one structure"):
        fit_references([])


def groups(n_a=30, n_b=10):
    frames = [frame("Al2", -1.0, 2 + 0.1 * k, config_type="A") for k in range(n_a)]
    return frames + [frame("Cu2", -1.0, 2 + 0.1 * k, config_type="B") for k in range(n_b)]


def test_a_split_is_a_partition_stratified_and_repeatable():
    frames = groups()
    first = split(frames, SplitSettings(valid=0.2, test=0.1, seed=4))
    assert sorted([*first.train, *first.valid, *first.test]) == list(range(40))
    assert (len(first.valid), len(first.test)) == (8, 4)
    assert sum(frames[k].info["config_type"] == "B" for k in first.valid) in (1, 2, 3)
    again = split(frames, SplitSettings(valid=0.2, test=0.1, seed=4))
    np.testing.assert_array_equal(first.valid, again.valid)
    assert set(split(frames, SplitSettings(valid=0.2, seed=5)).valid) != set(first.valid)
    assert first.role(int(first.test[0])) == "test"


def test_whole_groups_and_clusters_stay_together():
    frames = groups(20, 20)
    parts = split(frames, SplitSettings(valid=0.5, by="group"))
    assert {frames[k].info["config_type"] for k in parts.valid}.isdisjoint(
        {frames[k].info["config_type"] for k in parts.train}
    )
    for k, atoms in enumerate(frames):
        atoms.info["cluster"] = k // 5
    parts = split(frames, SplitSettings(valid=0.25, by="cluster"))
    assert {frames[k].info["cluster"] for k in parts.valid}.isdisjoint(
        {frames[k].info["cluster"] for k in parts.train}
    )
    assert len(parts.valid) == 10


def test_twins_stay_on_one_side():
    frames = [frame("Al2", -1.0, 2.0 + 0.3 * (k // 4) + 0.001 * (k % 4)) for k in range(24)]
    parts = split(frames, SplitSettings(valid=0.3, twin_distance=0.05))
    assert {k // 4 for k in parts.valid}.isdisjoint({k // 4 for k in parts.train})
    assert len(parts.valid) == 8


def test_official_splits_are_kept():
    frames = groups(20, 20)
    for k, atoms in enumerate(frames):
        atoms.info["split"] = "test" if k % 4 == 0 else "train"
    parts = split(frames, SplitSettings(valid=0.1, test=0.5))
    assert set(parts.test) == set(range(0, 40, 4))
    assert len(parts.valid) == 3
    ignored = split(frames, SplitSettings(valid=0.1, test=0.5, official=False))
    assert len(ignored.test) == 20


def test_roles_of_files_come_first():
    frames = groups(20, 0)
    for atoms in frames:
        atoms.info["split"] = "train"
    parts = split(frames, SplitSettings(), roles=[""] * 15 + ["valid"] * 5)
    assert list(parts.valid) == list(range(15, 20))
    assert len(parts.test) == 0


def test_isolated_atoms_train():
    frames = [*groups(10, 0), frame("Al", -1.0)]
    for seed in range(10):
        assert 10 in split(frames, SplitSettings(valid=0.5, seed=seed)).train


def test_no_set_is_silently_empty():
    with pytest.raises(DataError, match=r"the valid set would be empty.*split.valid=0"):
        split(groups(3, 0), SplitSettings(valid=0.1))
    with pytest.raises(DataError, match="the valid set would be empty: 20 structures in 1 group and"):
        split(groups(20, 0), SplitSettings(valid=0.3, by="group"))
    with pytest.raises(DataError, match="would be empty: 1 structure and"):
        split(groups(1, 0), SplitSettings(valid=0.1))
    assert len(split(groups(3, 0), SplitSettings(valid=0.0)).train) == 3
    with pytest.raises(DataError, match="no structures to split"):
        split([])
    with pytest.raises(DataError, match="no structure is left for training"):
        split(groups(2, 0), SplitSettings(), roles=["test", "valid"])
    with pytest.raises(ConfigError, match=r"valid \+ test must be < 1"):
        SplitSettings.parse({"valid": 0.6, "test": 0.5})


def test_published_split(shared_data):
    from forgefield.data import read

    frames = read(f"{shared_data}/mlearn_Si/*.xyz")
    parts = split(frames, SplitSettings(valid=0.1))
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (193, 21, 25)
