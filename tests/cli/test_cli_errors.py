"""The command line: how it fails."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest
from ase.io import write
from commands import RUNNER, SMALL, call, fails

from forgefield.cli.app import app

# ---- bad input: exit code 2, one message, nothing half-written -------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=10", "did you mean 'epochs'"),
        ("descriptor.lmax=4", "did you mean 'l_max'"),
        ("los.energy=1", "did you mean 'loss'"),
        ("descriptor.kind=nepp", "did you mean 'nep'"),
        ("training.epochs=many", "training.epochs"),
        ("training.epochs=0", "greater than or equal to 1"),
        ("loss.energy=-1", "loss.energy"),
        ("descriptor.cutoff_radial=3.0", "must not exceed"),
        ("training.epochs", "key=value"),
        ("title.text=3", "title"),
        ("descriptor=nep", "`descriptor` must be a mapping such as {kind: ace}, got 'nep'"),
        ("model=network", "`model` must be a mapping such as"),
        ("weights=fixed", "`weights` must be a mapping such as"),
        ("training=[adam]", "`training` must be a mapping such as"),
        ("descriptor.kind=[nep]", "`descriptor.kind` is ['nep']"),
        (
            "descriptor={kind: nep, cutoff_radial: 0.5, cutoff_angular: 0.5}",
            "no atom in the data has a neighbour",
        ),
        ("training.epochs=true", "should be a number, not true or false"),
    ],
)
def test_bad_settings(override, message, config, tmp_path):
    text = fails("train", config, "-o", tmp_path / "run", "--set", override)
    assert message in text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        (b"", "is empty"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"data: [unclosed", "not valid YAML"),
        (b"- a\n- b\n", "key: value"),
        (b"title: x\n", "`data` is required"),
        (b"data: {train: [missing.xyz]}\n", "missing.xyz does not exist"),
    ],
)
def test_bad_configuration_files(content, message, tmp_path):
    path = tmp_path / "train.yaml"
    if content is not None:
        path.write_bytes(content)
    assert message in fails("train", path, "-o", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_marked_for_testing_only(config, alloy_frames, tmp_path):
    frames = [atoms.copy() for atoms in alloy_frames[:3]]
    for atoms, labelled in zip(frames, alloy_frames, strict=False):
        atoms.calc = labelled.calc
        atoms.info["split"] = "test"
    write(tmp_path / "test.xyz", frames)
    text = fails("train", config, "-o", tmp_path / "run", "--set", f"data.train=[{tmp_path / 'test.xyz'}]")
    assert "all 3 are marked in their files (valid 0, test 3)" in text
    assert "data.split.official=false" in text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", [["inspect"], ["init", "-o", "new.yaml"]])
@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02" * 99, b"4\nenergy=1.0\nCu 0 0 0\nCu 0 0 1\n"])
def test_bad_data_files(command, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.xyz").write_bytes(content)
    assert "data.xyz" in fails(command[0], "data.xyz", *command[1:])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.xyz"]


def test_bad_potential_files(run, alloy_file, tmp_path):
    whole = (run / "potential.ff").read_bytes()
    (tmp_path / "cut.ff").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "flipped.ff").write_bytes(whole[:-40] + bytes([whole[-40] ^ 255]) + whole[-39:])
    (tmp_path / "text.ff").write_text("not a potential")
    for name, message in (
        ("cut", "truncated"),
        ("flipped", "damaged"),
        ("text", "not a forgefield"),
        ("no", "cannot read"),
    ):
        assert message in fails("info", tmp_path / f"{name}.ff")
        assert message in fails("evaluate", tmp_path / f"{name}.ff", alloy_file)


def test_unknown_element(run, alloy_frames, tmp_path):
    atoms = alloy_frames[0].copy()
    atoms.numbers[0] = 47
    atoms.calc = type(alloy_frames[0].calc)(atoms, **alloy_frames[0].calc.results)
    write(tmp_path / "silver.xyz", atoms, format="extxyz")
    assert "silver.xyz#0: this potential knows Cu, Au, but the structure contains Ag" in fails(
        "evaluate", run / "potential.ff", tmp_path / "silver.xyz"
    )


def test_overlapping_atoms(run, alloy_frames, tmp_path):
    atoms = alloy_frames[0].copy()
    atoms.positions[1] = atoms.positions[0] + 1e-5
    atoms.calc = type(alloy_frames[0].calc)(atoms, **alloy_frames[0].calc.results)
    write(tmp_path / "overlap.xyz", atoms, format="extxyz")
    assert "overlap.xyz#0: atoms" in fails("evaluate", run / "potential.ff", tmp_path / "overlap.xyz")
    assert "overlap.xyz#0: atoms" in fails("inspect", tmp_path / "overlap.xyz")
    assert "Å" in fails("md", run / "potential.ff", tmp_path / "overlap.xyz")


def test_overlapping_atoms_in_training_are_named(config, alloy_frames, tmp_path):
    frames = [a.copy() for a in alloy_frames]
    for old, new in zip(alloy_frames, frames, strict=True):
        new.calc = type(old.calc)(new, **old.calc.results)
    frames[5].positions[1] = frames[5].positions[0] + 1e-5
    write(tmp_path / "overlap.xyz", frames, format="extxyz")
    text = fails("train", config, "-o", tmp_path / "run", "--set", f"data.train={tmp_path / 'overlap.xyz'}")
    assert "overlap.xyz#5: atoms 0 and 1 are" in text
    assert not (tmp_path / "run").exists()


def test_mixed_energy_references_stop_training(config, alloy_frames, tmp_path):
    frames = [a.copy() for a in alloy_frames]
    for k, (old, new) in enumerate(zip(alloy_frames, frames, strict=True)):
        shift = 100.0 * len(old) * (k // 4 % 2)
        labels = {**old.calc.results, "energy": old.get_potential_energy() + shift}
        new.calc = type(old.calc)(new, **labels)
        new.info["config_type"] = "all"
    write(tmp_path / "mixed.xyz", frames, format="extxyz")
    found = json.loads(call("inspect", tmp_path / "mixed.xyz", "--json"))["findings"]
    assert "mixed-references" in [item["code"] for item in found]
    data = f"data.train={tmp_path / 'mixed.xyz'}"
    text = fails("train", config, "-o", tmp_path / "run", "--set", data)
    assert "form two sets" in text
    assert "data.accept: [mixed-references]" in text
    short = ["--set", "training.epochs=2", *SMALL]
    call(
        "train",
        config,
        "-o",
        tmp_path / "run",
        "--set",
        data,
        "--set",
        "data.accept=[mixed-references]",
        *short,
    )
    assert (tmp_path / "run" / "potential.ff").exists()


def test_structures_without_labels(run, alloy_frames, tmp_path):
    write(
        tmp_path / "bare.xyz",
        [a.copy() for a in alloy_frames[:2]],
        format="extxyz",
        columns=["symbols", "positions"],
    )
    assert "label" in fails("evaluate", run / "potential.ff", tmp_path / "bare.xyz")
    assert "label" in fails("init", tmp_path / "bare.xyz", "-o", tmp_path / "new.yaml")
    assert not (tmp_path / "new.yaml").exists()


def test_stress_label_without_a_volume(alloy_frames, tmp_path):
    atoms = alloy_frames[0].copy()
    atoms.calc = type(alloy_frames[0].calc)(atoms, energy=1.0, stress=np.ones(6))
    atoms.pbc = False
    atoms.cell = None
    write(tmp_path / "flat.xyz", atoms, format="extxyz")
    assert "no volume" in fails("inspect", tmp_path / "flat.xyz")


def test_no_permission_and_full_disk(config, alloy_file, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert "cannot create the folder" in fails("train", config, "-o", tmp_path / "file" / "run")
    assert "cannot write" in fails("init", alloy_file, "-o", tmp_path / "file" / "x.yaml")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in fails("init", alloy_file, "-o", tmp_path / "new.yaml")
    assert "No space left" in fails("train", config, "-o", tmp_path / "run")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_other_errors_of_the_system_are_explained(alloy_file, monkeypatch):
    import forgefield.data

    def refuse(paths):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/secret")

    monkeypatch.setattr(forgefield.data, "read", refuse)
    assert "/secret: Permission denied" in fails("init", alloy_file, "-o", "unused.yaml", "--force")


def test_debug_shows_the_traceback():
    result = RUNNER.invoke(app, ["--debug", "info", "nowhere.ff"])
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert "Error: cannot read nowhere.ff" in result.stderr
