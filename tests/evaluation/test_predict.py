"""Prediction in batches, evaluation, and the file of predictions."""

from __future__ import annotations

from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
from ase.calculators.lj import LennardJones

from forgefield.errors import DataError, LabelError, PredictionError
from forgefield.evaluation import Prediction, evaluate, metrics, predict, read_predictions, write_predictions


class OneByOne:
    """A potential without batches: Lennard-Jones of ASE."""

    def predict(self, atoms):
        copy = atoms.copy()
        copy.calc = LennardJones(sigma=2.0, epsilon=0.3, rc=4.0)
        return SimpleNamespace(
            energy=copy.get_potential_energy(), forces=copy.get_forces(), stress=copy.get_stress()
        )


class InBatches(OneByOne):
    def __init__(self):
        self.sizes = []

    def predict_many(self, frames):
        self.sizes.append(len(frames))
        return [super(InBatches, self).predict(atoms) for atoms in frames]


def test_batches_give_the_same_as_one_by_one(labelled):
    frames, _ = labelled
    batches = InBatches()
    done = []
    several = predict(batches, frames, batch_size=5, progress=lambda n, total: done.append((n, total)))
    single = predict(OneByOne(), frames)
    assert batches.sizes == [5, 5, 2]
    assert done == [(5, 12), (10, 12), (12, 12)]
    for a, b in zip(several, single, strict=True):
        assert a.energy == b.energy
        assert np.array_equal(a.forces, b.forces)
        assert np.array_equal(a.stress, b.stress)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"energy": np.nan}, "energy of structure 's0' is not finite"),
        ({"forces": np.zeros((3, 3))}, r"forces of structure 's0' has shape \(3, 3\), expected \(4, 3\)"),
        ({"forces": np.full((4, 3), np.inf)}, "12 of 12 values"),
        ({"stress": np.zeros((3, 3))}, r"expected \(6,\)"),
    ],
)
def test_unusable_predictions_name_the_structure(labelled, result, message):
    good = {"energy": 0.0, "forces": np.zeros((4, 3)), "stress": None}
    potential = SimpleNamespace(predict=lambda atoms: SimpleNamespace(**good | result))
    with pytest.raises(PredictionError, match=message):
        predict(potential, labelled[0][:1])


def test_wrong_batch_size_and_count(labelled):
    with pytest.raises(DataError, match="`batch_size` must be >= 1 structure, got 0"):
        predict(OneByOne(), labelled[0], batch_size=0)
    with pytest.raises(PredictionError, match="returned 0 results for 12 structures"):
        predict(SimpleNamespace(predict_many=lambda frames: []), labelled[0])


def test_evaluate_does_not_touch_the_labels(labelled):
    frames, _ = labelled
    before = [dict(atoms.calc.results) for atoms in frames]
    result = evaluate(OneByOne(), frames)
    assert result.metrics == metrics(frames, result.predictions)
    assert all(
        np.array_equal(old[key], atoms.calc.results[key])
        for old, atoms in zip(before, frames, strict=True)
        for key in old
    )


def test_evaluate_checks_labels_before_predicting(make_structure):
    def fail(atoms):
        raise AssertionError("predicted without need")

    with pytest.raises(LabelError, match="none of the 2 structures"):
        evaluate(SimpleNamespace(predict=fail), [make_structure("Si"), make_structure("Si2")])
    with pytest.raises(DataError, match="no structures"):
        evaluate(SimpleNamespace(predict=fail), [])


def test_file_round_trip(labelled, tmp_path):
    frames, predictions = labelled
    frames[0].info["weight"] = 2.5
    frames[1].info["name"] = 'a "quoted" name = with, signs'
    path = write_predictions(tmp_path / "predictions.extxyz", frames, predictions)
    frames_back, predictions_back = read_predictions(path)
    assert len(frames_back) == 12
    for old, new in zip(frames, frames_back, strict=True):
        assert {k: new.info[k] for k in old.info} == old.info
        assert set(new.calc.results) == set(old.calc.results)
        for key, value in old.calc.results.items():
            assert np.allclose(new.calc.results[key], value, rtol=0, atol=6e-9)
        assert new.calc.results["energy"] == old.calc.results["energy"]
    for old, new in zip(predictions, predictions_back, strict=True):
        assert new.energy == old.energy
        assert np.allclose(new.forces, old.forces, rtol=0, atol=6e-9)
        assert np.allclose(new.stress, old.stress, rtol=1e-14, atol=0)
    again = metrics(frames_back, predictions_back).total
    assert again.forces.rmse == pytest.approx(metrics(frames, predictions).total.forces.rmse, rel=1e-6)


def test_file_shows_the_prediction_to_other_programs(labelled, tmp_path):
    frames, predictions = labelled
    path = write_predictions(tmp_path / "p.extxyz", frames, predictions)
    image = ase.io.read(path, 0)
    assert image.get_potential_energy() == predictions[0].energy
    assert np.allclose(image.get_stress(), predictions[0].stress)
    assert image.info["REF_energy"] == frames[0].calc.results["energy"]
    assert image.arrays["REF_forces"].shape == (4, 3)
    assert image.info["REF_stress"].shape == (3, 3)
    assert "REF_stress" not in ase.io.read(path, 3).info


def test_structures_without_labels_or_volume_round_trip(make_structure, tmp_path):
    atoms = make_structure("SiH", name="free")
    atoms.pbc = False
    path = write_predictions(tmp_path / "p.extxyz", [atoms], [Prediction(-1.0, np.zeros((2, 3)), None)])
    frames, predictions = read_predictions(path)
    assert frames[0].calc is None
    assert not frames[0].pbc.any()
    assert predictions[0].stress is None


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "p.extxyz"
    path.write_text("1\nProperties=species:S:1:pos:R:3\nSi 0 0 0\n")
    with pytest.raises(DataError, match="no predicted energy and forces"):
        read_predictions(path)
    path.write_text("hello\nworld\n")
    with pytest.raises(DataError, match="not extended XYZ"):
        read_predictions(path)
