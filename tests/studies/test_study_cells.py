"""What a cell's key covers, damaged files, failures of every kind, and what is told on the way."""

import json
from pathlib import Path

import ase.io
import pytest

from forgefield import data, datasets
from forgefield.errors import ConfigError
from forgefield.studies import Cell, StudyError, find_study, run_study
from forgefield.studies.keys import content_of
from forgefield.studies.progress import Counter, Progress, duration
from forgefield.studies.training import train_cell
from forgefield.studies.work import said
from forgefield.training.settings import RunSettings

HERE = str(Path(__file__).parent)
TOY = "toy_study:Toy"
OWN = """
import numpy as np
import torch
from forgefield.config import Schema
from forgefield.studies import Cell, Page, Study
HELPER = 1.0


class OwnSettings(Schema):
    kinds: tuple[str, ...] = ("fine",)


class Own(Study[OwnSettings]):
    name, summary = "own", "how cells fail"
    Settings = OwnSettings
    small = {}

    def cells(self, settings):
        return [Cell(kind, {"kind": kind}) for kind in settings.kinds]

    def run(self, parameters, folder):
        kind = parameters["kind"]
        if kind == "numpy":
            np.linalg.cholesky(-np.eye(2))
        if kind == "torch":
            torch.linalg.cholesky(-torch.eye(2))
        if kind == "zero":
            return {"value": 1 / 0}
        if kind == "key":
            return {"value": parameters["missing"]}
        if kind == "silent":
            raise ValueError
        if kind == "stop":
            raise KeyboardInterrupt
        return {"value": HELPER}

    def page(self, settings, results):
        return Page("Own", "How?", f"{next(r for r in results if r.cell.name == 'fine').values['value']}", ())
"""


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN, encoding="utf-8")
    return file


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(HERE)


def values(run):
    return {r.cell.name: r.values["value"] for r in run.results}


def test_a_changed_file_is_computed_again(own, tmp_path):
    folder = tmp_path / "out"
    assert values(run_study(f"{own}:Own", {}, folder)) == {"fine": 1.0}
    own.write_text(OWN.replace("HELPER = 1.0", "HELPER = 2.0"), encoding="utf-8")
    assert values(run_study(f"{own}:Own", {}, folder)) == {"fine": 2.0}
    own.write_text(OWN, encoding="utf-8")
    told = []
    assert values(run_study(f"{own}:Own", {}, folder, progress=told.append)) == {"fine": 1.0}
    assert (told[0].done, len(told)) == (1, 1)  # the first result is still there


def test_a_file_that_changes_while_it_runs_mixes_nothing(own, tmp_path):
    def edit(event):
        if event.done == 1:
            own.write_text(OWN.replace("HELPER = 1.0", "HELPER = 2.0"), encoding="utf-8")

    with pytest.raises(StudyError, match="changed while it ran"):
        run_study(f"{own}:Own", {"kinds": ["fine", "other"]}, tmp_path / "out", progress=edit)
    run = run_study(f"{own}:Own", {"kinds": ["fine", "other"]}, tmp_path / "out")
    assert values(run) == {"fine": 2.0, "other": 2.0}


def test_studies_of_this_package_are_told_apart_by_their_version():
    study = find_study("data-efficiency")
    cell = Cell("any", {"n": 2})
    assert study.key(cell) == cell.key("data-efficiency", study.version)
    assert cell.key("data-efficiency", study.version + 1) != study.key(cell)


def test_the_whole_configuration_is_in_the_key(monkeypatch):
    short = {"data": {"train": ["a.xyz"]}, "training": {"kind": "adamw", "epochs": 3}}
    whole = RunSettings.parse(short).model_dump(mode="json")
    assert content_of({"config": short}) == content_of({"config": whole}) == {"config": whole}
    before = Cell("x", {"config": short}).key("s", 1)
    more = {**short, "training": {**short["training"], "batch_size": 8}}
    assert whole["training"]["batch_size"] != 8
    assert Cell("x", {"config": more}).key("s", 1) != before
    dump = RunSettings.model_dump

    def other_default(self, **how):
        return {**dump(self, **how), "new_setting": 1}

    monkeypatch.setattr(RunSettings, "model_dump", other_default)
    assert Cell("x", {"config": short}).key("s", 1) != before


def test_other_things_called_config_are_taken_as_they_are():
    assert content_of({"config": {"depth": 3}, "n": 1}) == {"config": {"depth": 3}, "n": 1}
    assert content_of({"config": "file"}) == {"config": "file"}


def test_files_count_by_what_is_in_them(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.xyz").write_text("same", encoding="utf-8")
    here, there = ({"of": {"files": [str(tmp_path / n / "data.xyz")]}} for n in ("here", "there"))
    assert content_of(here) == content_of(there)
    (tmp_path / "there" / "data.xyz").write_text("other text", encoding="utf-8")
    assert content_of(here) != content_of(there)
    assert content_of({"path": "/no/such/file"}) == {"path": "/no/such/file"}


@pytest.mark.parametrize("kind", ["numpy", "torch", "zero", "key", "silent"])
def test_a_failure_of_any_kind_ends_its_cell_only(own, tmp_path, kind):
    says = {
        "numpy": "LinAlgError: Matrix is not positive definite",
        "torch": "positive-definite",
        "zero": "ZeroDivisionError: division by zero",
        "key": "KeyError: 'missing'",
        "silent": "ValueError",
    }[kind]
    folder = tmp_path / "out"
    with pytest.raises(StudyError, match="1 of 3 cells failed"):
        run_study(f"{own}:Own", {"kinds": [kind, "fine", "last"]}, folder)
    record = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert [r["name"] for r in record["results"]] == ["fine", "last"]
    assert says in record["failures"][kind]
    assert record["answer"] == "1.0"
    assert says.replace("'", "&#39;") in (folder / "report.html").read_text(encoding="utf-8")
    assert "Traceback" in next(folder.glob("runs/*/error.txt")).read_text(encoding="utf-8")


def test_too_few_cells_for_the_page_still_give_a_report(own, tmp_path):
    for kinds, reason in ((["zero", "other"], "StopIteration"), (["zero"], "none is finished")):
        folder = tmp_path / kinds[-1]
        with pytest.raises(StudyError):
            run_study(f"{own}:Own", {"kinds": kinds}, folder)
        report = (folder / "report.html").read_text(encoding="utf-8")
        assert "division by zero" in report
        assert reason in report


def test_an_interrupt_is_no_failure(own, tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_study(f"{own}:Own", {"kinds": ["fine", "stop"]}, folder)
    assert len(list(folder.glob("cells/*.json"))) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', b"\xff", b'{"values": 3, "seconds": 1}', None])
def test_a_damaged_cell_is_named_and_computed_again(tmp_path, content):
    run_study(TOY, {"numbers": [1, 2]}, tmp_path)
    path = min((tmp_path / "cells").iterdir())
    path.write_bytes(path.read_bytes()[:20] if content is None else content)
    told = []
    run = run_study(TOY, {"numbers": [1, 2]}, tmp_path, progress=told.append)
    assert sorted(r.values["square"] for r in run.results) == [1.0, 4.0]
    assert [e.note for e in told if e.note] == [f"{path.resolve()} is damaged: its cell is computed again"]
    assert told[0].done == 1
    again = []
    run_study(TOY, {"numbers": [1, 2]}, tmp_path, progress=again.append)
    assert [(e.done, e.note) for e in again] == [(2, "")]


def test_a_folder_belongs_to_one_study(own, tmp_path):
    folder = tmp_path / "study"
    run_study(TOY, {"numbers": [1]}, folder)
    report = (folder / "report.html").read_bytes()
    for mark in (True, False):
        if not mark:
            (folder / "study.json").unlink()  # as left by an earlier version
        with pytest.raises(ConfigError, match=r"holds the study 'toy'.*choose another folder with -o"):
            run_study(f"{own}:Own", {}, folder)
    assert (folder / "report.html").read_bytes() == report


def test_a_damaged_checkpoint_starts_its_training_anew(tmp_path):
    frames = [atoms for atoms in data.read(datasets.path("silicon")) if len(atoms) == 8][:12]
    ase.io.write(tmp_path / "few.extxyz", frames, format="extxyz")
    config = {
        "data": {
            "train": [str(tmp_path / "few.extxyz")],
            "split": {"official": False, "valid": 0.2, "test": 0.2},
        },
        "descriptor": {"kind": "so3", "n_max": 2, "l_max": 2, "cutoff": 4.0},
        "model": {"kind": "network", "hidden": [4]},
        "training": {"kind": "adam", "epochs": 2, "batch_size": 4},
        "extrapolation": False,
        "threads": 1,
    }
    first = train_cell(config, tmp_path)
    path = tmp_path / "run" / "checkpoint.ff"
    path.write_bytes(path.read_bytes()[:100])
    (tmp_path / "cpu.txt").write_text("1 1000.0\n", encoding="utf-8")
    again = train_cell(config, tmp_path)
    assert [row["epoch"] for row in again.history] == [row["epoch"] for row in first.history]
    assert again.metrics["splits"] == first.metrics["splits"]
    assert not (tmp_path / "cpu.txt").exists()


def test_what_is_told():
    assert [duration(s) for s in (8.4, 200, 1250, 7500)] == ["8 s", "3 min 20 s", "20 min", "2 h 5 min"]
    count = Counter(4, 10)
    assert count.note().line() == "4/10"
    assert count.note("2 worker(s)").line() == "4/10: 2 worker(s)"
    first = count.ended("a")
    assert (first.done, first.failed, first.total) == (5, 0, 10)
    assert first.left == pytest.approx(5 * first.elapsed)
    second = count.ended("b", "it broke")
    assert second.left == pytest.approx(2 * second.elapsed)
    assert Progress(5, 1, 10, 130.0, 260.0, "b", "it broke").line() == (
        "5/10, 1 failed, 2 min 10 s, about 4 min 20 s left: b failed: it broke"
    )


def test_errors_in_one_line():
    assert said(ConfigError("wrong\nmore")) == "wrong"
    assert said(ZeroDivisionError("by zero")) == "ZeroDivisionError: by zero"
    assert said(MemoryError()) == "MemoryError"
