"""Reports are written again from results.json: from those that are committed, and from those of a run."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forgefield.cli.app import app
from forgefield.errors import ConfigError, DataError, PotentialFileError
from forgefield.studies import STUDIES, StudyError, find_study, redraw_study, run_study
from forgefield.studies.record import read_record

HERE = Path(__file__).parent
COMMITTED = HERE.parents[1] / "studies" / "results"
TOY = "toy_study:Toy"
SAID = ("title", "question", "answer", "claims", "questions", "conclusion")


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


def record_of(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", STUDIES)
def test_every_committed_result_gives_its_report(name, tmp_path):
    source = COMMITTED / f"{name}.json"
    run = redraw_study(name, source, tmp_path)
    before, after = record_of(source), record_of(tmp_path / "results.json")
    kept = {key: value for key, value in after.items() if key not in SAID}
    assert kept == {key: value for key, value in before.items() if key not in SAID}
    assert len(run.results) == after["n_done"] == after["n_cells"]
    verdicts = {claim["verdict"] for claim in after["claims"]}
    assert verdicts <= {"agrees", "disagrees", "undecided", "not run"}
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count('download="results.json"') == 1
    figures = sorted((tmp_path / "figures").iterdir())
    assert len(figures) == html.count("<figure>") > 0
    for file in figures:
        rows = list(csv.reader(file.read_text(encoding="utf-8").splitlines()))
        assert rows[0][0] == "series"
        assert len(rows) > 1, file.name
    assert after["answer"] in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", STUDIES)
def test_reports_do_without_the_first_cells(name, tmp_path):
    """As after failures: whatever is missing, there is a report, and the failures are in it."""
    content = record_of(COMMITTED / f"{name}.json")
    n = len(content["results"]) // 2
    content["failures"] = {one["name"]: "broke down" for one in content["results"][:n]}
    content["results"] = content["results"][n:]
    (tmp_path / "some.json").write_text(json.dumps(content), encoding="utf-8")
    redraw_study(name, tmp_path / "some.json", tmp_path / "out")
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8").count("broke down") >= n
    assert len(record_of(tmp_path / "out" / "results.json")["failures"]) == n


def test_a_run_and_its_report_again_are_the_same(tmp_path):
    run_study(TOY, {"numbers": [1, 2]}, tmp_path / "run")
    redraw_study(TOY, tmp_path / "run" / "results.json", tmp_path / "again")
    for name in ("results.json", "report.html", "report.md"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    record = record_of(tmp_path / "run" / "results.json")
    assert record["answer"] == "That."
    assert record["claims"] == [{"claim": "squares <b>grow</b>", "found": "they do", "verdict": "agrees"}]
    assert record["cpu_seconds"] == sum(one["cpu_seconds"] for one in record["results"])
    figures = [path.name for path in (tmp_path / "again" / "figures").iterdir()]
    assert figures == ["01-all-squares.csv"]


def test_a_conclusion_that_fails_leaves_a_report(tmp_path, monkeypatch):
    import toy_study

    def fails(*_args):
        raise DataError("there is no potential")

    monkeypatch.setattr(toy_study.Toy, "conclude", fails)
    with pytest.raises(StudyError, match=r"all cells are finished, but .*there is no potential"):
        run_study(TOY, {"numbers": [1]}, tmp_path / "run")
    assert "there is no potential" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    redraw_study(TOY, tmp_path / "run" / "results.json", tmp_path / "again")
    assert "there is no potential" not in (tmp_path / "again" / "report.html").read_text(encoding="utf-8")


def test_the_recommendation_is_that_of_the_limits(tmp_path):
    """Other limits, another choice: an export that was not made of it is not claimed."""
    source, found = COMMITTED / "complexity.json", {}
    none = {"max_energy_error": 1e5, "max_property_error": 1e4, "max_transport_error": None}
    for name, limit in (("nothing", 1.0), ("strict", 95.0), ("any", 1e4)):
        redraw_study("complexity", source, tmp_path / name, {**none, "max_force_error": limit})
        record = record_of(tmp_path / name / "results.json")
        found[name] = record["conclusion"]["recommendation"]
        assert found[name]["limits"]["forces"] == record["settings"]["max_force_error"] == limit
    assert found["nothing"]["case"] is None
    strict, loose = found["strict"], found["any"]
    assert strict["test_forces"]["rmse"] < 95.0 < loose["test_forces"]["rmse"]
    assert strict["microseconds_per_atom"] >= loose["microseconds_per_atom"]
    assert loose["exports"] == []
    text = (tmp_path / "any" / "report.md").read_text(encoding="utf-8")
    assert f"{loose['case']}: not exported" in text


def test_the_command_line_writes_a_report_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_study(TOY, {"numbers": [1]}, "study")
    said = CliRunner().invoke(app, ["study", TOY, "--from", "study/results.json", "--json"])
    assert said.exit_code == 0
    assert json.loads(said.stdout) == {"folder": "report-toy", "cells": 1}
    assert (tmp_path / "report-toy" / "report.html").is_file()
    said = CliRunner().invoke(app, ["study", TOY, "--from", "study/results.json", "--small"])
    assert said.exit_code == 2
    assert "--from computes nothing" in said.stderr
    said = CliRunner().invoke(app, ["study", "list", "--json"])
    assert list(json.loads(said.stdout)) == list(STUDIES)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, DataError, "cannot read"),
        ("{", DataError, "is not the results.json of a study"),
        ("[]", DataError, "is not the results.json of a study"),
        ('{"study": "toy"}', DataError, "is not the results.json of a study"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path, content, error, message):
    if content is not None:
        (tmp_path / "results.json").write_text(content, encoding="utf-8")
    with pytest.raises(error, match=message):
        redraw_study(TOY, tmp_path / "results.json", tmp_path / "out")


def test_results_of_another_study_are_refused(tmp_path):
    run_study(TOY, {"numbers": [1]}, tmp_path / "run")
    with pytest.raises(ConfigError, match="holds the study 'toy', not 'complexity'"):
        redraw_study("complexity", tmp_path / "run" / "results.json", tmp_path / "out")
    with pytest.raises(ConfigError, match="unknown setting"):
        redraw_study(TOY, tmp_path / "run" / "results.json", tmp_path / "out", {"number": 1})


def test_a_lost_potential_is_told_with_what_to_do(tmp_path):
    study, record = find_study("complexity"), read_record(COMMITTED / "complexity.json")
    settings = study.Settings.parse(record.settings)
    page = study.page(settings, record.results)
    with pytest.raises(
        PotentialFileError, match=r"potential\.ff: .*; delete .*cells.*\.json and start again"
    ):
        study.conclude(settings, record.results, page, tmp_path)
