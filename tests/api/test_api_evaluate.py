"""Structures to compare with: stress labels in the convention asked for."""

from __future__ import annotations

import numpy as np
import pytest
from ase.io import write

from forgefield import datasets
from forgefield.api.evaluate import read_labelled
from forgefield.data import get_stress, with_labels
from forgefield.errors import ConfigError


@pytest.fixture(scope="module")
def strained(tmp_path_factory):
    """Strained diamond silicon, and a file of it with the signs of the stresses turned."""
    frames = [a for a in datasets.load("silicon") if a.info["config_type"] == "diamond_strain"]
    turned = [
        with_labels(a, energy=a.get_potential_energy(), forces=a.get_forces(), stress=-a.get_stress())
        for a in frames
    ]
    path = tmp_path_factory.mktemp("strained") / "turned.xyz"
    write(path, turned, format="extxyz")
    return frames, path


def test_contradicting_labels_are_named_and_left_or_corrected(strained):
    frames, path = strained
    expected = np.array([get_stress(a) for a in frames])
    for convention, sign, warned in (("auto", -1.0, True), ("trust", -1.0, False), ("detect", 1.0, False)):
        found, warning = read_labelled([path], convention)
        np.testing.assert_allclose([get_stress(a) for a in found], sign * expected, rtol=1e-6, atol=1e-10)
        assert ("'diamond_strain' contradict" in warning) is warned, convention
    found, _ = read_labelled([path], "compression, eV/A3")
    np.testing.assert_allclose([get_stress(a) for a in found], expected, rtol=1e-6, atol=1e-10)


def test_right_labels_give_no_warning(strained, tmp_path):
    write(tmp_path / "right.xyz", strained[0], format="extxyz")
    assert read_labelled([tmp_path / "right.xyz"])[1] == ""


def test_an_unknown_convention_names_the_nearest(strained):
    with pytest.raises(ConfigError, match="did you mean 'vasp'"):
        read_labelled([strained[1]], "vsp")
