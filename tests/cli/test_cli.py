"""The command line: what it prints, what it writes, and how it fails."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from ase.io import read, write
from typer.testing import CliRunner

import forgefield
from forgefield.cli import guard
from forgefield.cli.app import app

RUNNER = CliRunner()

SMALL = [
    option
    for text in (
        "descriptor.n_max_radial=3",
        "descriptor.n_max_angular=3",
        "descriptor.basis_size_radial=4",
        "descriptor.basis_size_angular=4",
        "descriptor.l_max=2",
        "descriptor.cutoff_radial=4.2",
        "descriptor.cutoff_angular=4.2",
        "model.hidden=[6]",
        "training.checkpoint_seconds=0",
        "threads=1",
    )
    for option in ("--set", text)
]


def call(*arguments, code=0):
    """Run a command; return standard output, or standard error where it is meant to fail."""
    result = RUNNER.invoke(app, [str(a) for a in arguments], catch_exceptions=True)
    assert result.exit_code == code, result.output
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result.stdout if code == 0 else result.stderr


def fails(*arguments, code=2):
    return call(*arguments, code=code)


@pytest.fixture(scope="module")
def config(alloy_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "train.yaml"
    call("init", alloy_file, "-o", path)
    return path


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    call("train", config, "-o", folder, "--set", "training.epochs=3", *SMALL)
    return folder


# ---- start and usage -------------------------------------------------------------------------------------------


def test_version():
    assert call("--version").strip() == f"forgefield {forgefield.__version__}"


def test_help_lists_every_command_and_imports_nothing_heavy():
    code = (
        "import sys\nsys.argv = ['forgefield', '--help']\nfrom forgefield.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'ase', 'numpy', 'pydantic', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("inspect", "init", "train", "evaluate", "info", "md"):
        assert command in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["trian"], ["train"], ["train", "x.yaml", "--sett", "a=b"], ["md", "x", "y", "-T", "hot"], ["info"]],
)
def test_usage_errors(arguments):
    assert "Error" in fails(*arguments) or "Usage" in fails(*arguments)


# ---- init and inspect ------------------------------------------------------------------------------------------


def test_init_writes_paths_seen_from_the_file(alloy_file, tmp_path, monkeypatch):
    monkeypatch.chdir(alloy_file.parent)
    (alloy_file.parent / "sub").mkdir(exist_ok=True)
    call("init", "alloy.xyz", "-o", "sub/a.yaml", "--force")
    assert yaml.safe_load((alloy_file.parent / "sub/a.yaml").read_text())["data"]["train"] == ["../alloy.xyz"]


def test_init_keeps_an_existing_file(alloy_file, tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("mine")
    assert "exists" in fails("init", alloy_file, "-o", path)
    assert path.read_text() == "mine"
    call("init", alloy_file, "-o", path, "--force")
    assert path.read_text() != "mine"


def test_inspect_prints_a_summary(alloy_file):
    text = call("inspect", alloy_file)
    for word in ("copper", "alloy", "mean neighbours", "RDF", "forgefield init", "GPa", "Au (36 atoms)"):
        assert word in text


def test_inspect_as_json(alloy_file):
    found = json.loads(call("inspect", alloy_file, "--json"))
    assert found["survey"]["n_structures"] == 24
    assert found["survey"]["labels"] == {"energy": 24, "forces": 24, "stress": 24}
    assert found["labels"]["total"]["found"]["stress"] == 24
    assert isinstance(found["findings"], list)


# ---- train, evaluate, info, md ---------------------------------------------------------------------------------


def test_train_prints_audit_progress_and_errors(config, tmp_path):
    text = call("train", config, "-o", tmp_path / "run", "--set", "training.epochs=20", *SMALL)
    for word in (
        "Labels",
        "copper",
        "memory about",
        "neighbour lists",
        "F valid",
        "left",
        "Errors",
        "report.html",
    ):
        assert word in text
    lines = [line.split() for line in text.splitlines()]
    epochs = [int(line[0]) for line in lines if len(line) == 9 and line[0].isdigit()]
    assert epochs == [1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20]  # about one line every tenth


def test_train_as_json_prints_nothing_else(config, tmp_path):
    found = json.loads(
        call("train", config, "-o", tmp_path / "run", "--set", "training.epochs=2", *SMALL, "--json")
    )
    assert found["metrics"]["total"]["forces"]["rmse"] > 0
    assert found["folder"] == str(tmp_path / "run")


def test_evaluate(run, alloy_file, tmp_path):
    text = call("evaluate", run / "potential.ff", alloy_file, "--json", tmp_path / "errors.json")
    assert "meV/atom" in text
    found = json.loads((tmp_path / "errors.json").read_text())
    assert json.loads(call("evaluate", run / "potential.ff", alloy_file, "--json", "-")) == found
    assert found["total"]["n_structures"] == 24


def test_evaluate_one_set_of_the_predictions(run):
    frames = run / "predictions.extxyz"
    found = json.loads(call("evaluate", run / "potential.ff", frames, "--split", "valid", "--json", "-"))
    assert found["splits"].keys() == {"valid"}
    assert "sets found: train, valid" in fails("evaluate", run / "potential.ff", frames, "--split", "blind")


def test_info(run):
    text = call("info", run / "potential.ff")
    for word in ("Cu, Au", "nep", "self-test", "passed", "Errors"):
        assert word in text
    about = json.loads(call("info", run / "potential.ff", "--json"))
    assert about["species"] == ["Cu", "Au"]
    assert about["verified"] is True


def test_md(run, alloy_frames, tmp_path):
    write(tmp_path / "start.xyz", alloy_frames[0], format="extxyz")
    options = [
        "-n",
        "20",
        "--timestep",
        "0.5",
        "-T",
        "50",
        "-o",
        tmp_path / "md.xyz",
        "--log",
        tmp_path / "md.csv",
    ]
    found = json.loads(
        call(
            "md",
            run / "potential.ff",
            tmp_path / "start.xyz",
            "--repeat",
            2,
            1,
            1,
            *options,
            "--threads",
            1,
            "--json",
        )
    )
    assert found["n_atoms"] == 8
    assert found["n_steps"] == 20
    assert len(read(tmp_path / "md.xyz", index=":")) == 3
    assert "temperature" in call("md", run / "potential.ff", tmp_path / "start.xyz", "-n", 2)


def test_md_reads_formats_of_ase(run, alloy_frames, tmp_path):
    write(tmp_path / "POSCAR", alloy_frames[0], format="vasp")
    call("md", run / "potential.ff", tmp_path / "POSCAR", "-n", 2)
    (tmp_path / "strange.bin").write_bytes(b"\x00\x01" * 100)
    assert "strange.bin" in fails("md", run / "potential.ff", tmp_path / "strange.bin")
    assert "does not exist" in fails("md", run / "potential.ff", tmp_path / "none.xyz")


# ---- interruption ----------------------------------------------------------------------------------------------


def test_ctrl_c_says_how_to_resume_and_resuming_is_exact(config, tmp_path, monkeypatch):
    from forgefield.cli.progress import PlainListener

    options = ["--set", "training.epochs=4", *SMALL]
    call("train", config, "-o", tmp_path / "whole", *options)
    original = PlainListener.on_epoch

    def interrupt(self, row):
        original(self, row)
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(PlainListener, "on_epoch", interrupt)
    message = fails("train", config, "-o", tmp_path / "parts", *options, code=guard.INTERRUPTED)
    assert "--resume" in message
    assert "best potential" in message
    monkeypatch.setattr(PlainListener, "on_epoch", original)
    call("train", config, "-o", tmp_path / "parts", *options, "--resume")
    for name in ("potential.ff", "metrics.json", "predictions.extxyz"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


# ---- bad input: exit code 2, one message, nothing half-written -------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=10", "did you mean 'epochs'"),
        ("descriptor.lmax=4", "did you mean 'l_max'"),
        ("los.energy=1", "did you mean 'loss'"),
        ("descriptor.kind=nap", "did you mean 'nep'"),
        ("training.epochs=many", "training.epochs"),
        ("training.epochs=0", "greater than or equal to 1"),
        ("loss.energy=-1", "loss.energy"),
        ("descriptor.cutoff_radial=3.0", "must not exceed"),
        ("training.epochs", "key=value"),
        ("title.text=3", "title"),
        ("model.kind=linear", "model"),
    ],
)
def test_bad_settings(override, message, config, tmp_path):
    changes = ["--set", override]
    if override == "model.kind=linear":
        changes += [
            "--set",
            "training.kind=least_squares",
        ]  # leaves settings of Adam and of the network behind
    text = fails("train", config, "-o", tmp_path / "run", *changes)
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
    assert list((tmp_path / "run").iterdir()) == []


def test_mixed_energy_references_are_reported(alloy_frames, tmp_path):
    frames = [a.copy() for a in alloy_frames]
    for k, (old, new) in enumerate(zip(alloy_frames, frames, strict=True)):
        shift = 100.0 * len(old) * (k // 4 % 2)
        new.calc = type(old.calc)(new, energy=old.get_potential_energy() + shift, forces=old.get_forces())
        new.info["config_type"] = "all"
    write(tmp_path / "mixed.xyz", frames, format="extxyz")
    found = json.loads(call("inspect", tmp_path / "mixed.xyz", "--json"))["findings"]
    assert "mixed-references" in [item["code"] for item in found]


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
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "run"]
    assert list((tmp_path / "run").iterdir()) == []


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
