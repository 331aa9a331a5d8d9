"""The command line: what it prints and what it writes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml
from ase.io import read, write
from commands import SMALL, call, fails

import forgefield
from forgefield.cli import guard

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
