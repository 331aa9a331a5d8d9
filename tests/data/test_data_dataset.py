"""Loading a whole data set."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase.io import write
from labelled_copper import label, strained_series

from forgefield.data import DataSettings, content_hash, get_stress, load, with_labels
from forgefield.errors import ConfigError, DataError, LabelError


@pytest.fixture
def files(tmp_path, copper, alloy):
    write(tmp_path / "copper.xyz", copper, format="extxyz")
    write(tmp_path / "alloy.xyz", alloy, format="extxyz")
    return tmp_path


def test_load(files):
    data = load(DataSettings(train=[str(files / "copper.xyz"), str(files / "alloy.xyz")]))
    assert len(data.frames) == 64
    assert (len(data.split.valid), len(data.split.test)) == (6, 0)
    assert data.species == (13, 29)
    assert set(data.references) == {13, 29}
    assert data.audit.total.used == {"energy": 64, "forces": 64, "stress": 64}
    assert len(data.part("train")) == 58
    assert not data.conventions.contradictions
    assert json.loads(json.dumps(data.to_dict()))["hash"] == data.hash


def test_files_by_role(files):
    data = load(DataSettings(train=[str(files / "copper.xyz")], valid=[str(files / "copper.xyz")]))
    assert list(data.split.valid) == list(range(40, 80))
    assert len({a.info["name"] for a in data.frames}) == 80


def test_the_hash_knows_the_content_only(copper):
    first = content_hash(copper)
    renamed = [with_labels(a) for a in copper]
    renamed[0].info["name"] = "other"
    assert content_hash(renamed) == first
    assert len(first) == 64
    moved = [a.copy() for a in copper]
    moved[3].positions[0, 0] += 1e-12
    assert content_hash(moved) != first
    assert content_hash([with_labels(copper[0], stress=None), *copper[1:]]) != first
    assert content_hash(copper[::-1]) != first


def test_filters(files):
    settings = {"train": [str(files / "copper.xyz"), str(files / "alloy.xyz")], "exclude_groups": ["cold"]}
    data = load(DataSettings(**settings))
    assert len(data.dropped["exclude_groups"]) == 12
    data = load(DataSettings(train=settings["train"], max_force=1.5))
    assert max(np.abs(a.get_forces()).max() for a in data.frames) <= 1.5
    assert data.dropped["max_force"]
    with pytest.raises(DataError, match="leave none of 64 structures"):
        load(
            DataSettings(train=settings["train"], max_force=1e-30, exclude_groups=["Elastic", "hot", "cold"])
        )


def test_duplicates_can_be_dropped(tmp_path, copper):
    write(tmp_path / "a.xyz", [*copper, copper[0], copper[1]], format="extxyz")
    data = load(DataSettings(train=[str(tmp_path / "a.xyz")], drop=["duplicate"]))
    assert len(data.frames) == 40
    assert data.dropped == {"duplicate": ["a.xyz#40", "a.xyz#41"]}
    assert "duplicate" not in {finding.code for finding in data.findings}


@pytest.fixture
def wrong(tmp_path, copper):
    path = tmp_path / "wrong.xyz"
    write(path, [with_labels(a, stress=-1602.1766 * get_stress(a)) for a in copper], format="extxyz")
    return str(path)


def test_contradicting_labels_are_refused_corrected_or_trusted(wrong, copper):
    with pytest.raises(LabelError, match=r"sign is opposite.*kbar"):
        load(DataSettings(train=[wrong]))
    for convention in ("detect", "compression, kbar"):
        data = load(DataSettings(train=[wrong], stress_convention=convention))
        np.testing.assert_allclose(
            [get_stress(a) for a in data.frames], [get_stress(a) for a in copper], rtol=1e-6
        )
    trusted = load(DataSettings(train=[wrong], stress_convention="trust"))
    assert np.abs(get_stress(trusted.frames[0])).max() > 1.0


def test_weights_without_labels(tmp_path, copper):
    write(tmp_path / "a.xyz", [with_labels(a, stress=None) for a in copper], format="extxyz")
    settings = DataSettings(train=[str(tmp_path / "a.xyz")])
    assert load(settings).audit.weights["stress"] == 0.0
    with pytest.raises(LabelError, match="none of the 40 structures has a stress label"):
        load(settings, {"energy": 1.0, "forces": 1.0, "stress": 0.1})


def test_an_element_that_only_the_test_set_has(tmp_path):
    write(tmp_path / "a.xyz", strained_series(12), format="extxyz")
    atoms = strained_series(2)[0].copy()
    atoms.numbers[0] = 13
    write(tmp_path / "b.xyz", [label(atoms)], format="extxyz")
    with pytest.raises(DataError, match="elements the training set lacks"):
        load(DataSettings(train=[str(tmp_path / "a.xyz")], test=[str(tmp_path / "b.xyz")]))


def test_settings_explain_what_is_wrong():
    with pytest.raises(DataError, match=r"`data.train` names no files"):
        load(DataSettings())
    for values, match in (
        ({"stress_convention": "vaps"}, "did you mean 'vasp'"),
        ({"drop": ["duplicates"]}, "did you mean 'duplicate'"),
        ({"trian": []}, "did you mean 'train'"),
        ({"split": {"valid": 2}}, "`split.valid`"),
        ({"max_force": 0}, "`max_force`"),
    ):
        with pytest.raises(ConfigError, match=match):
            DataSettings.parse(values)
