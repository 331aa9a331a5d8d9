"""Errors at many ratios of weights from rows that are made once, against trainings of their own."""

import pytest
from ase.io import write

from forgefield import datasets
from forgefield.errors import ConfigError
from forgefield.studies import find_study
from forgefield.studies.complexity_scan import scan_errors
from forgefield.studies.training import errors_of, train_cell


def test_a_scan_gives_the_errors_of_one_training_for_each_ratio(tmp_path):
    data = tmp_path / "some.extxyz"
    write(data, [a for a in datasets.load("silicon") if 1 < len(a) < 20][::6], format="extxyz")

    def config(ratio):
        return {
            "data": {
                "train": [str(data)],
                "split": {"official": False, "valid": 0.1, "test": 0.2, "seed": 1},
            },
            "descriptor": {"kind": "snap", "two_j_max": 2, "cutoff": 4.0},
            "model": {"kind": "quadratic"},
            "training": {"kind": "least_squares"},
            "loss": {
                "energy": ratio**-0.5,
                "forces": ratio**0.5,
                "stress": 0.0,
                "normalisation": "softadapt",
            },
            "weights": {"kind": "fixed"},
            "dtype": "float64",
        }

    ratios = (1e-3, 30.0)
    found = scan_errors(config(1.0), ratios)
    assert list(found) == ["0.001", "30.0"]
    for split, expected in errors_of(train_cell(config(30.0), tmp_path)).items():
        own = found["30.0"][split]
        assert own["stress"] is None
        assert own["energy"] == pytest.approx(expected["energy"], rel=1e-6)
        assert own["forces"] == pytest.approx(expected["forces"], rel=1e-8)
    assert found["0.001"]["train"]["energy"] < found["30.0"]["train"]["energy"]
    assert found["0.001"]["train"]["forces"] > found["30.0"]["train"]["forces"]
    with pytest.raises(ConfigError, match="least squares"):
        scan_errors(config(1.0) | {"training": {"kind": "adamw"}, "model": {"kind": "network"}}, ratios)


def test_networks_have_ratios_of_their_own():
    study = find_study("complexity")
    base = {"descriptors": ["SO3"], "models": ["linear", "NN 32x32"], "ratios": [1.0, 100.0], "loop": None}
    base |= {"scan": [0.1, 1.0], "splits": 2}

    def trained(model, **more):
        cells = study.cells(study.Settings.parse({**base, **more}))
        return [
            (p["ratio"], p["split"]) for c in cells if (p := c.parameters)["model"] == model and "ratio" in p
        ]

    networks = [(ratio, split) for ratio in (0.1, 1.0, 10.0) for split in (0, 1)]
    assert trained("NN 32x32", network_ratios=[10.0, 0.1, 1.0]) == networks
    assert trained("NN 32x32") == [(ratio, split) for ratio in (1.0, 100.0) for split in (0, 1)]
    for more in ({}, {"network_ratios": [10.0, 0.1, 1.0]}):
        assert trained("linear", **more) == [(1.0, 0), (100.0, 0)]
    assert trained("linear", scan=[]) == trained("NN 32x32")
