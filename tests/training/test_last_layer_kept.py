"""The posterior of the last layer kept with the potential: in its file, its calculator, on the command line."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from typer.testing import CliRunner

import forgefield as ff
from forgefield import api
from forgefield.cli.app import app
from forgefield.errors import ConfigError, PotentialFileError
from forgefield.models.results import LastLayer
from forgefield.training.laplace import fit_last_layer, stored_posterior

CONFIG = {
    "descriptor": {"kind": "so3", "cutoff": 4.2, "n_max": 2, "l_max": 2},
    "model": {"kind": "network", "hidden": [6]},
    "training": {"kind": "adam", "epochs": 5, "batch_size": 8},
    "last_layer": True,
}


@pytest.fixture(scope="module")
def trained(alloy_file, tmp_path_factory):
    config = {**CONFIG, "data": {"train": [str(alloy_file)]}}
    return ff.train(config, output=tmp_path_factory.mktemp("kept"))


def test_the_file_keeps_the_posterior_bit_for_bit(trained):
    loaded = ff.load(trained.folder / "potential.ff")
    kept, own = loaded.last_layer, trained.potential.last_layer
    assert kept.covariance.numpy().tobytes() == own.covariance.numpy().tobytes()
    assert (kept.noise, kept.prior, kept.scale) == (own.noise, own.prior, own.scale)
    training = [a for a in trained.evaluation.frames if a.info["split"] == "train"]
    anew = fit_last_layer(loaded, training)
    np.testing.assert_allclose(kept.covariance.numpy(), anew.covariance, rtol=1e-7, atol=1e-16)
    assert set(kept.noise) == set(kept.scale) == {"energy", "forces", "stress"}
    valid = [a for a in trained.evaluation.frames if a.info["split"] == "valid"]
    errors = [np.linalg.norm(loaded.predict(a).forces - a.get_forces(), axis=1) for a in valid]
    spreads = [stored_posterior(loaded).spread(a).forces for a in valid]
    assert np.square(np.concatenate(spreads)).sum() == pytest.approx(
        np.square(np.concatenate(errors)).sum(), rel=1e-3
    )  # on the structures that the scale is from, spreads are as large as errors


def test_files_without_a_scale_are_read_and_written_as_they_were(trained, tmp_path):
    other = copy.deepcopy(trained.potential)
    other.last_layer = LastLayer(other.last_layer.covariance, other.last_layer.noise, 0.5)
    path = other.save(tmp_path / "plain.ff")
    assert b'"scale"' not in path.read_bytes().partition(b'"last_layer":')[2][:300]
    loaded = ff.load(path)
    assert loaded.last_layer.scale == {}
    atoms = trained.evaluation.frames[0]
    expected = stored_posterior(trained.potential)
    by = trained.potential.last_layer.scale["forces"]
    np.testing.assert_allclose(
        by * stored_posterior(loaded).spread(atoms).forces, expected.spread(atoms).forces, rtol=1e-9
    )


def test_the_calculator_gives_its_spreads(trained, alloy_frames):
    atoms = alloy_frames[3].copy()
    atoms.calc = trained.potential.calculator()
    posterior = stored_posterior(trained.potential)
    expected = posterior.spread(atoms)
    for _ in range(2):
        assert atoms.calc.get_property("energy_spread", atoms) == pytest.approx(expected.energy, rel=1e-12)
        np.testing.assert_allclose(atoms.calc.get_property("forces_spread", atoms), expected.forces)
        np.testing.assert_allclose(atoms.calc.get_property("stress_spread", atoms), expected.stress)
        atoms.calc = copy.deepcopy(atoms.calc)
    atoms.get_forces()
    assert expected.energy > 0
    atoms.positions[0] += 0.5  # farther from the data: less sure
    assert np.mean(atoms.calc.get_property("forces_spread", atoms)) > np.mean(expected.forces)


def test_uncertainty_needs_no_training_data_then(trained, alloy_frames):
    found = api.uncertainty(trained.folder / "potential.ff", alloy_frames[:4])
    expected = stored_posterior(trained.potential).spread(alloy_frames[1]).forces
    np.testing.assert_allclose(
        found.evaluation.predictions[1].atomic["last_layer_spread"], expected, rtol=1e-9
    )


def test_structures_are_selected_by_it(trained, alloy_frames):
    posterior = stored_posterior(trained.potential)
    candidates = [a.copy() for a in alloy_frames[:6]]
    candidates[4].rattle(0.4, seed=1)
    expected = [float(posterior.spread(a).forces.max()) for a in candidates]
    assert int(np.argmax(expected)) == 4
    for by in ("auto", "spread"):  # it has no grades
        found = api.select(trained.potential, candidates, 3, by=by)
        assert found.by == "spread"
        assert found.rows[0]["index"] == 4
        assert found.rows[0]["score"] == pytest.approx(expected[4], rel=1e-9)
    assert found.frames[0].arrays["forces_spread"].shape == (len(candidates[4]),)


def test_info_shows_it(trained):
    result = CliRunner().invoke(app, ["info", str(trained.folder / "potential.ff")])
    assert "posterior of the last layer; labels scatter by energy" in result.output


def test_what_does_not_fit_is_an_error(trained, alloy_file, tmp_path):
    config = {**CONFIG, "data": {"train": [str(alloy_file)]}, "model": {"kind": "quadratic"}}
    config["training"] = {"kind": "least_squares"}
    with pytest.raises(ConfigError, match="last_layer: true"):
        ff.train(config, output=tmp_path)
    other = copy.deepcopy(trained.potential)
    kept = other.last_layer
    other.last_layer = LastLayer(kept.covariance[:3, :3].contiguous(), kept.noise, kept.prior)
    with pytest.raises(ConfigError, match="is of 3 weights"):
        stored_posterior(other)
    other.last_layer = LastLayer(kept.covariance[:3], kept.noise, kept.prior)
    path = other.save(tmp_path / "bad.ff")
    with pytest.raises(PotentialFileError, match="not whole"):
        ff.load(path)
