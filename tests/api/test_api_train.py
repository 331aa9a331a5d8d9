"""From structures to a potential with evidence: both trainers, interruption, bad input."""

from __future__ import annotations

import csv
import errno
import json
import os

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.io import write

import forgefield as ff
from forgefield.api.findings import refuse_errors, report_form
from forgefield.data import Finding
from forgefield.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    ForgefieldError,
    LabelError,
    StructureError,
    UnknownSpeciesError,
)

NEP = {
    "kind": "nep",
    "cutoff_radial": 4.5,
    "cutoff_angular": 4.0,
    "n_max_radial": 4,
    "n_max_angular": 3,
    "basis_size_radial": 5,
    "basis_size_angular": 4,
    "l_max": 3,
}


def network(path, **changes):
    return {
        "data": {"train": [str(path)]},
        "descriptor": NEP,
        "model": {"kind": "network", "hidden": [10]},
        "training": {"kind": "adam", "epochs": 6, "batch_size": 4, "checkpoint_seconds": 0.0},
        "threads": 1,
        **changes,
    }


def linear(path, **changes):
    return {
        "data": {"train": [str(path)]},
        "descriptor": {"kind": "so3", "cutoff": 4.2, "n_max": 2, "l_max": 2},
        "model": {"kind": "linear"},
        "training": {"kind": "least_squares"},
        "dtype": "float64",
        "threads": 1,
        **changes,
    }


class StopAfter:
    """A listener that interrupts after some epochs, as Ctrl-C does."""

    def __init__(self, epochs):
        self.epochs = epochs
        self.rows = []

    def on_data(self, dataset):
        pass

    def on_start(self, settings, potential, memory):
        pass

    def on_epoch(self, row):
        self.rows.append(row)
        if len(self.rows) == self.epochs:
            raise KeyboardInterrupt

    def on_fit(self, done, total):
        pass


def tensors(potential):
    return {k: v.numpy() for k, v in potential.state_dict().items()}


def assert_same(a, b):
    a, b = tensors(a), tensors(b)
    assert a.keys() == b.keys()
    for key in a:
        assert a[key].tobytes() == b[key].tobytes(), key


@pytest.fixture(scope="module")
def trained(alloy_file, tmp_path_factory):
    return ff.train(network(alloy_file), output=tmp_path_factory.mktemp("network"))


def test_network_learns_and_writes_everything(trained, alloy_frames):
    assert sorted(p.name for p in trained.folder.iterdir()) == [
        "checkpoint.ff",
        "config.yaml",
        "log.csv",
        "metrics.json",
        "potential.ff",
        "predictions.extxyz",
        "report.html",
    ]
    with (trained.folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(r["epoch"]) for r in rows] == [1, 2, 3, 4, 5, 6]
    assert float(rows[-1]["forces_rmse_train"]) < 0.7 * float(rows[0]["forces_rmse_train"])
    assert json.loads((trained.folder / "metrics.json").read_text()) == trained.metrics
    assert yaml.safe_load((trained.folder / "config.yaml").read_text())["descriptor"]["l_max"] == 3


def test_loaded_potential_predicts_the_same(trained, alloy_frames):
    loaded = ff.load(trained.folder / "potential.ff")
    for atoms in alloy_frames[:3]:
        a, b = trained.potential.predict(atoms), loaded.predict(atoms)
        assert a.energy == b.energy
        np.testing.assert_array_equal(a.forces, b.forces)
        np.testing.assert_array_equal(a.stress, b.stress)


def test_calculator_agrees_with_predict(trained, alloy_frames):
    atoms = alloy_frames[5].copy()
    atoms.calc = trained.potential.calculator(dtype="float64", threads=1)
    expected = trained.potential.predict(atoms)
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, abs=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-4)


def test_same_seed_same_potential(trained, alloy_file, tmp_path):
    assert_same(trained.potential, ff.train(network(alloy_file), output=tmp_path).potential)


@pytest.mark.parametrize("stop", [1, 4])
def test_interrupted_and_resumed_equals_uninterrupted(stop, trained, alloy_file, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        ff.train(network(alloy_file), output=tmp_path, listener=StopAfter(stop))
    assert ff.load(tmp_path / "potential.ff").elements == ["Cu", "Au"]
    resumed = ff.train(network(alloy_file), output=tmp_path, resume=True)
    assert_same(trained.potential, resumed.potential)
    drop = {"seconds"}
    assert [{k: v for k, v in r.items() if k not in drop} for r in resumed.history] == [
        {k: v for k, v in r.items() if k not in drop} for r in trained.history
    ]


def test_resume_mends_a_log_that_ends_within_a_line_beyond_the_checkpoint(trained, alloy_file, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        ff.train(network(alloy_file), output=tmp_path, listener=StopAfter(3))
    log = tmp_path / "log.csv"
    lines = log.read_text().splitlines(keepends=True)
    assert len(lines) == 4
    log.write_text(
        "".join(lines) + "4,16," + lines[3][5:] + "5,2"
    )  # an epoch that is lost, and half of another
    seen = []

    class Reads(StopAfter):
        def on_epoch(self, row):
            super().on_epoch(row)
            seen.append(log.read_text().splitlines(keepends=True))

    ff.train(network(alloy_file), output=tmp_path, resume=True, listener=Reads(99))
    assert [len(rows) for rows in seen] == [5, 6, 7]
    assert seen[0][:4] == lines
    keep = slice(0, -1)  # all but seconds
    found, expected = (
        [row[keep] for row in csv.reader((folder / "log.csv").open())]
        for folder in (tmp_path, trained.folder)
    )
    assert found == expected


def test_the_log_is_appended_to(alloy_file, tmp_path):
    files = set()

    class Looks(StopAfter):
        def on_epoch(self, row):
            super().on_epoch(row)
            files.add((tmp_path / "log.csv").stat().st_ino)

    ff.train(network(alloy_file), output=tmp_path, listener=Looks(99))
    assert len(files) == 1  # one file, not one for each epoch


def test_checkpoints_of_another_format_are_refused_by_number(alloy_file, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        ff.train(network(alloy_file), output=tmp_path, listener=StopAfter(1))
    path = tmp_path / "checkpoint.ff"
    content = path.read_bytes()
    assert content.count(b'{\\"format\\": 3,') == 1
    path.write_bytes(content.replace(b'{\\"format\\": 3,', b'{\\"format\\": 2,'))
    with pytest.raises(CheckpointError, match="format 2, this version reads 3"):
        ff.train(network(alloy_file), output=tmp_path, resume=True)


def test_resume_refuses_another_run(alloy_file, tmp_path):
    with pytest.raises(CheckpointError, match="nothing to resume"):
        ff.train(network(alloy_file), output=tmp_path, resume=True)
    with pytest.raises(KeyboardInterrupt):
        ff.train(network(alloy_file), output=tmp_path, listener=StopAfter(1))
    with pytest.raises(CheckpointError):
        ff.train(network(alloy_file, seed=5), output=tmp_path, resume=True)


def test_linear_model_fits_a_smooth_classical_potential(alloy_file, alloy_frames, tmp_path):
    run = ff.train(linear(alloy_file), output=tmp_path)
    errors = run.evaluation.metrics.splits["train"]
    spread = np.std(np.concatenate([a.get_forces().ravel() for a in alloy_frames])) * 1000
    assert errors.forces.rmse < 0.2 * spread
    assert errors.energy.rmse < 20.0
    again = ff.evaluate(run.folder / "potential.ff", alloy_file)
    assert again.total.forces.rmse == pytest.approx(run.evaluation.metrics.total.forces.rmse, rel=1e-6)


def test_properties_reach_the_report(alloy_file, tmp_path):
    rows = [{"property": "answer", "dft": 40.0, "potential": 42.0, "unit": "GPa"}]
    run = ff.train(linear(alloy_file), output=tmp_path, properties=lambda potential: {"rows": rows})
    text = (run.folder / "report.html").read_text()
    assert "answer" in text
    assert "+5 %" in text


# ---- input that cannot be used ---------------------------------------------------------------------------------


def test_unknown_element_at_prediction(trained):
    with pytest.raises(UnknownSpeciesError, match=r"knows Cu, Au, but the structure contains Ag"):
        trained.potential.predict(Atoms("Ag", cell=[4, 4, 4], pbc=True))


def test_overlapping_atoms_at_prediction(trained):
    with pytest.raises(StructureError, match="Å"):
        trained.potential.predict(Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 1e-4]], cell=[4, 4, 4], pbc=True))


def test_stress_without_a_volume(trained):
    with pytest.raises(ConfigError, match="periodic in three directions"):
        trained.potential.predict(Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.3]]), ["stress"])


def test_no_labels(trained, alloy_frames, tmp_path):
    bare = [a.copy() for a in alloy_frames]
    write(tmp_path / "bare.xyz", bare, format="extxyz")
    with pytest.raises(LabelError, match=r"label|energy"):
        ff.train(network(tmp_path / "bare.xyz"), output=tmp_path / "run")
    with pytest.raises(LabelError, match=r"none of the 24 structures has"):
        ff.evaluate(trained.potential, bare)


@pytest.mark.parametrize("what", ["energy", "forces"])
def test_nan_label_names_the_structure(what, alloy_frames, tmp_path):
    frames = [a.copy() for a in alloy_frames]
    for old, new in zip(alloy_frames, frames, strict=True):
        new.calc = type(old.calc)(new, **{k: np.copy(v) for k, v in old.calc.results.items()})
    if what == "energy":
        frames[3].calc.results["energy"] = float("nan")
    else:
        frames[3].calc.results["forces"][1, 2] = float("nan")
    write(tmp_path / "nan.xyz", frames, format="extxyz")
    with pytest.raises(DataError, match=r"nan\.xyz, frame 3.*NaN") as error:
        ff.train(network(tmp_path / "nan.xyz"), output=tmp_path / "run")
    assert "remove the structure" in str(error.value)


def test_weight_on_labels_nobody_gave(alloy_frames, tmp_path):
    frames = [a.copy() for a in alloy_frames]
    for old, new in zip(alloy_frames, frames, strict=True):
        new.calc = type(old.calc)(new, energy=old.get_potential_energy(), forces=old.get_forces())
    write(tmp_path / "data.xyz", frames, format="extxyz")
    with pytest.raises(LabelError, match="stress"):
        ff.train(network(tmp_path / "data.xyz"), output=tmp_path / "run")
    run = ff.train(
        linear(tmp_path / "data.xyz", loss={"energy": 1.0, "forces": 1.0, "stress": 0.0}),
        output=tmp_path / "run",
    )
    assert run.metrics["total"]["stress"]["n_values"] == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\x00\x01\x02" * 500, "not recognised|binary|not text"),
        (
            b'12\nLattice="1 0 0 0 1 0 0 0 1" Properties=species:S:1:pos:R:3 energy=1.0\nCu 0 0 0\n',
            "break|end|atoms",
        ),
    ],
    ids=["empty", "binary", "truncated"],
)
def test_damaged_files(content, message, tmp_path):
    path = tmp_path / "data.xyz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        ff.train(network(path), output=tmp_path / "run")


def test_no_permission(alloy_file, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ForgefieldError, match="cannot create the folder"):
        ff.train(network(alloy_file), output=tmp_path / "file" / "run")


def test_full_disk_leaves_the_old_files(alloy_file, tmp_path, monkeypatch):
    run = ff.train(network(alloy_file), output=tmp_path)
    before = {p.name: p.read_bytes() for p in run.folder.iterdir()}

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ForgefieldError, match=r"No space left on device; nothing was changed"):
        ff.train(network(alloy_file), output=tmp_path)
    assert {p.name: p.read_bytes() for p in run.folder.iterdir()} == before


def test_cutoff_larger_than_sense(alloy_file, tmp_path):
    huge = {**NEP, "cutoff_radial": 19.0, "cutoff_angular": 4.0}
    with pytest.raises(ConfigError, match=r"19 Å .* neighbours per atom"):
        ff.train(network(alloy_file, descriptor=huge), output=tmp_path)


def test_bad_data_leave_an_earlier_run_alone(alloy_file, tmp_path):
    run = ff.train(linear(alloy_file), output=tmp_path / "run")
    before = {p.name: p.read_bytes() for p in run.folder.iterdir()}
    (tmp_path / "empty.xyz").write_text("")
    with pytest.raises(DataError, match="empty"):
        ff.train(network(tmp_path / "empty.xyz"), output=run.folder)
    assert {p.name: p.read_bytes() for p in run.folder.iterdir()} == before


def test_findings_of_grave_kind_stop_training():
    grave = Finding("error", "energy-unit", "energies look wrong", ("a#0", "a#1"), (0, 1))
    with pytest.raises(DataError, match=r"energies look wrong \(a#0, a#1\); .*data\.drop: \[energy-unit\]"):
        refuse_errors([grave])
    mild = Finding("warning", "duplicate", "the same again", ("a#0",), (0,))
    refuse_errors([mild])
    assert report_form([mild, Finding("note", "twin", "near")])[1]["severity"] == "info"
