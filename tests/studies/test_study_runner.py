"""The runner keeps what is done, repeats what is not, and gives the same with several processes."""

import json
import sys
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from forgefield.errors import ConfigError
from forgefield.studies import STUDIES, StudyError, find_study, plan_study, run_study
from forgefield.studies.cluster import _answer
from forgefield.studies.keys import source_of
from forgefield.studies.registry import absolute_name
from forgefield.studies.work import Job, Outcome, work

HERE = str(Path(__file__).parent)
TOY = "toy_study:Toy"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("PYTHONPATH", HERE)


def visits(folder):
    return sorted(len(path.read_text()) for path in (folder / "runs").glob("*/visits.txt"))


def squares(run):
    return {r.cell.parameters["n"]: r.values["square"] for r in run.results}


def test_cells_are_done_once_and_used_again(tmp_path):
    told = []
    run = run_study(TOY, {"numbers": [1, 2]}, tmp_path, progress=told.append)
    assert squares(run) == {1.0: 1.0, 2.0: 4.0}
    assert [(e.done, e.failed, e.total, e.name) for e in told] == [
        (0, 0, 2, ""),
        (1, 0, 2, "square of 1"),
        (2, 0, 2, "square of 2"),
    ]
    run = run_study(TOY, {"numbers": [1, 2, 5]}, tmp_path)
    assert squares(run) == {1.0: 1.0, 2.0: 4.0, 5.0: 25.0}
    assert visits(tmp_path) == [1, 1, 1]
    record = json.loads((tmp_path / "results.json").read_text())
    assert [r["values"]["square"] for r in record["results"]] == [1.0, 4.0, 25.0]
    assert record["settings"]["numbers"] == [1.0, 2.0, 5.0]
    assert "| squares <b>grow</b> | they do | agrees |" in (tmp_path / "report.md").read_text(
        encoding="utf-8"
    )


def test_a_new_version_of_the_study_forgets_old_cells(tmp_path, monkeypatch):
    run_study(TOY, {"numbers": [1]}, tmp_path)
    toy = sys.modules["toy_study"]
    monkeypatch.setattr(toy.Toy, "version", 2)
    run_study(TOY, {"numbers": [1]}, tmp_path)
    assert visits(tmp_path) == [1, 1]


def test_failed_cells_are_named_and_only_they_are_repeated(tmp_path):
    with pytest.raises(StudyError, match=r"1 of 3 cells failed \(square of 2: this cell cannot be done\)"):
        run_study(TOY, {"numbers": [1, 2, 3], "bad": [2]}, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "this cell cannot be done" in page
    with pytest.raises(StudyError):
        run_study(TOY, {"numbers": [1, 2, 3], "bad": [2]}, tmp_path)
    assert visits(tmp_path) == [1, 1, 2]


def test_several_processes_give_the_same(tmp_path):
    pytest.importorskip("distributed")
    alone = run_study(TOY, {"numbers": [1, 2, 3, 4]}, tmp_path / "alone")
    spread = run_study(TOY, {"numbers": [1, 2, 3, 4]}, tmp_path / "spread", workers=2)
    assert squares(alone) == squares(spread)
    assert [r.cell.name for r in alone.results] == [r.cell.name for r in spread.results]


def test_a_scheduler_that_is_not_there_is_named(tmp_path):
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}),
        pytest.raises(ConfigError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"),
    ):
        run_study(TOY, {"numbers": [1]}, tmp_path, scheduler="tcp://127.0.0.1:9")


def test_a_cell_that_kills_its_workers_is_named():
    distributed = pytest.importorskip("distributed")

    class Future:
        def __init__(self, outcome):
            self.outcome = outcome

        def result(self):
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return self.outcome

    done = Outcome("cell", {"x": 1})
    assert _answer(Future(done), "cell") == done
    outcome = _answer(Future(distributed.KilledWorker("work-1", None, 3)), "large cell")
    assert outcome.cell == "large cell"
    assert "4 workers died over it" in outcome.error
    lost = _answer(Future(CancelledError()), "cell")
    assert "the scheduler was lost" in lost.error
    foreign = _answer(Future(ModuleNotFoundError("No module named 'forgefield'")), "cell")
    assert foreign.error == (
        "the worker could not take it: ModuleNotFoundError: No module named 'forgefield'"
    )


def test_small_form_and_settings_on_top(tmp_path):
    assert squares(run_study(TOY, None, tmp_path, small=True)) == {2.0: 4.0}
    assert squares(run_study(TOY, {"numbers": [3]}, tmp_path, small=True)) == {3.0: 9.0}


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("optimiser", {}, "did you mean"),
        (TOY, {"number": [1]}, "unknown setting `toy_study:Toy.number`"),
        (TOY, {"numbers": [1, 2], "same_name": True}, "same cell twice"),
        ("toy_study:Missing", {}, "cannot be loaded"),
        ("pathlib:Path", {}, "not a Study"),
    ],
)
def test_bad_input_is_explained(tmp_path, name, settings, message):
    with pytest.raises(ConfigError, match=message):
        run_study(name, settings, tmp_path)


@pytest.mark.parametrize(
    ("name", "settings", "where"),
    [
        ("data-efficiency", {"fractions": [-1]}, "fractions"),
        ("data-efficiency", {"fractions": [0.5, 2.0]}, "fractions"),
        ("data-efficiency", {"fractions": [0.1, 0.1001]}, "same cell twice"),
        ("data-efficiency", {"picks": []}, "picks"),
        ("complexity", {"ratios": []}, "ratios"),
        ("complexity", {"ratios": [-1]}, "ratios"),
        ("complexity", {"ratios": [float("inf")]}, "ratios"),
        ("complexity", {"scan": [0]}, "scan"),
        ("complexity", {"loop": {"ratios": [0]}}, "loop.ratios"),
        ("optimisers", {"lengths": [0]}, "lengths"),
        ("optimisers", {"data": []}, "data"),
        ("loss-weighting", {"betas": [-1]}, "betas"),
        ("descriptors", {"descriptors": []}, "descriptors"),
        ("stress-training", {"temperatures": [0]}, "temperatures"),
        (TOY, {"numbers": []}, "no cell"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_a_plan(name, settings, where):
    with pytest.raises(ConfigError, match=where):
        plan_study(name, settings)


@pytest.fixture
def cutoff_study(tmp_path, monkeypatch):
    """The study of the documentation, in a file of the working folder."""
    page = (Path(__file__).parents[2] / "docs" / "studies" / "index.md").read_text(encoding="utf-8")
    code = page.split("## A study of your own")[1].split("```python\n")[1].split("```")[0]
    (tmp_path / "my_study.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["my_study.py:Cutoff", "my_study:Cutoff"])
def test_the_study_of_the_documentation_runs_from_its_file(cutoff_study, name, monkeypatch):
    run = run_study(name, {"cutoffs": [4.0, 5.0]}, cutoff_study / "out")
    assert [r.values["error"] for r in run.results] == [1 / 16, 1 / 25]
    assert "How far?" in (cutoff_study / "out" / "report.html").read_text(encoding="utf-8")
    job = absolute_name(name)  # what workers with another working folder are told
    elsewhere = cutoff_study / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    told = Job(job, source_of(find_study(job)), "5 Å", {"cutoff": 5.0}, str(elsewhere))
    assert work(told).values == {"error": 1 / 25}
    assert absolute_name("complexity") == "complexity"


def test_what_is_wrong_with_a_file_is_said(cutoff_study):
    with pytest.raises(ConfigError, match=r"cannot be loaded.*No such file"):
        find_study("other.py:Cutoff")
    with pytest.raises(ConfigError, match=r"cannot be loaded.*no attribute 'Cutof'"):
        find_study("my_study.py:Cutof")
    (cutoff_study / "my_study.py").write_text("class Cutoff(:", encoding="utf-8")
    with pytest.raises(ConfigError, match="invalid syntax"):
        find_study("my_study.py:Cutoff")


def test_workers_must_be_positive(tmp_path):
    with pytest.raises(ConfigError, match="`workers` must be at least 1, got 0"):
        run_study(TOY, {}, tmp_path, workers=0)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_cells_that_training_accepts(name):
    study = find_study(name)
    assert study.name == name
    full = study.cells(study.Settings())
    small = study.cells(study.Settings.parse(study.small))
    assert 0 < len(small) < len(full)
    assert len({study.key(cell) for cell in full}) == len(full)
    json.dumps([dict(cell.parameters) for cell in full])
