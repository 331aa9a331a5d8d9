"""Training of committees: seeds, folders, interruption, evidence."""

from __future__ import annotations

import json

import numpy as np
import pytest

import forgefield as ff
from forgefield.api.train import Silent
from forgefield.config import apply_overrides
from forgefield.errors import CheckpointError, ConfigError, ForgefieldError
from forgefield.models.committee import Committee

NEP = {
    "kind": "nep",
    "cutoff_radial": 4.0,
    "cutoff_angular": 3.5,
    "n_max_radial": 3,
    "n_max_angular": 2,
    "basis_size_radial": 3,
    "basis_size_angular": 3,
    "l_max": 2,
}


def settings(path, **changes):
    values = {
        "data": {"train": [str(path)]},
        "descriptor": NEP,
        "model": {"kind": "network", "hidden": [6]},
        "training": {"kind": "adam", "epochs": 4, "batch_size": 8, "checkpoint_seconds": 0.0},
    }
    return apply_overrides({"committee": None, **values, **changes}, ["committee.members=3"])


class StopIn(Silent):
    """Interrupts in the second epoch of the second member."""

    def __init__(self):
        self.epochs = 0

    def on_epoch(self, row):  # noqa: ARG002
        self.epochs += 1
        if self.epochs == 6:
            raise KeyboardInterrupt


class Counts(Silent):
    """Counts epochs."""

    epochs = 0

    def on_epoch(self, row):  # noqa: ARG002
        Counts.epochs += 1


@pytest.fixture(scope="module")
def run(alloy_file, tmp_path_factory):
    return ff.train(settings(alloy_file), output=tmp_path_factory.mktemp("committee"))


def test_committee_is_written_with_its_members(run):
    names = {p.name for p in run.folder.iterdir()}
    assert {"potential.ff", "metrics.json", "report.html", "member_1", "member_2", "member_3"} <= names
    loaded = ff.load(run.folder / "potential.ff")
    assert isinstance(loaded, Committee)
    for n, member in enumerate(loaded.members):
        alone = ff.load(run.folder / f"member_{n + 1}" / "potential.ff")
        assert alone.provenance.notes["seed"] == n
        for key, value in alone.state_dict().items():
            assert np.array_equal(value, member.state_dict()[key]), key
    a, b = (m.model.weights[0] for m in loaded.members[:2])
    assert not np.array_equal(a.detach(), b.detach())


def test_errors_are_those_of_the_mean_prediction(run, alloy_frames):
    committee = run.potential
    errors = [
        np.mean([m.predict(a).forces for m in committee.members], axis=0) - a.get_forces()
        for a in alloy_frames
    ]
    rmse = 1000 * np.sqrt(np.mean(np.square(errors)))
    assert json.loads((run.folder / "metrics.json").read_text())["total"]["forces"]["rmse"] == pytest.approx(
        rmse, rel=1e-4
    )
    single = [json.loads((run.folder / f"member_{n}/metrics.json").read_text()) for n in (1, 2, 3)]
    assert rmse < np.mean([m["total"]["forces"]["rmse"] for m in single])


def test_report_compares_members_with_the_committee(run):
    text = (run.folder / "report.html").read_text()
    assert "Committee of 3" in text
    assert "their mean prediction" in text


def test_calibration_of_the_spread_travels_with_the_file(alloy_file, tmp_path):
    config = settings(alloy_file, data={"train": [str(alloy_file)], "split": {"valid": 0.3}})
    run = ff.train(config, output=tmp_path)
    held_out = [
        (np.linalg.norm(p.forces - a.get_forces(), axis=1), p.atomic["forces_spread"])
        for a, p in zip(run.evaluation.frames, run.evaluation.predictions, strict=True)
        if a.info["split"] == "valid"
    ]
    error, spread = (np.concatenate(x) for x in zip(*held_out, strict=True))
    stored = ff.load(tmp_path / "potential.ff").provenance.notes["calibration"]
    assert stored["scale"] == pytest.approx(np.sqrt(np.mean(error**2) / np.mean(spread**2)))


def test_same_split_for_every_member(run):
    splits = [ff.read(run.folder / f"member_{n}" / "predictions.extxyz") for n in (1, 2, 3)]
    kept = [[a.info["split"] for a in frames] for frames in splits]
    assert kept[0] == kept[1] == kept[2]


def test_interrupted_committee_resumes_exactly(run, alloy_file, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        ff.train(settings(alloy_file), output=tmp_path, listener=StopIn())
    assert not (tmp_path / "potential.ff").exists()
    again = ff.train(settings(alloy_file), output=tmp_path, resume=True)
    for own, other in zip(run.potential.members, again.potential.members, strict=True):
        for key, value in own.state_dict().items():
            assert np.array_equal(value, other.state_dict()[key]), key


def test_nothing_to_resume(alloy_file, tmp_path):
    with pytest.raises(CheckpointError, match="nothing to resume"):
        ff.train(settings(alloy_file), output=tmp_path, resume=True)


def test_members_that_would_be_the_same_are_refused(alloy_file, tmp_path):
    linear = {
        "descriptor": {"kind": "so3", "cutoff": 4.2, "n_max": 2, "l_max": 2},
        "model": {"kind": "linear"},
        "training": {"kind": "least_squares"},
    }
    with pytest.raises(ConfigError, match="all members would be the same"):
        ff.train(settings(alloy_file, **linear), output=tmp_path)


def test_what_is_refused_leaves_the_folder_as_it_was(alloy_file, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        ff.train(settings(alloy_file), output=tmp_path, listener=StopIn())
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert {"config.yaml", "checkpoint.ff"} <= {p.name for p in before}
    with pytest.raises(CheckpointError, match="another configuration"):
        ff.train(settings(alloy_file, seed=7), output=tmp_path, resume=True)
    with pytest.raises(ForgefieldError):
        ff.train(settings(tmp_path / "gone.xyz"), output=tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_run_anew_does_not_continue_an_old_one(alloy_file, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        ff.train(settings(alloy_file), output=tmp_path, listener=StopIn())
    ff.train(settings(alloy_file), output=tmp_path, listener=Counts())
    assert Counts.epochs == 12
