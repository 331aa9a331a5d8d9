"""Cells on a real Dask scheduler whose worker has another working folder, and clusters named in the configuration."""

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forgefield.cli.app import app
from forgefield.config import load_yaml
from forgefield.errors import ConfigError
from forgefield.files import write_text
from forgefield.studies import plan_study, run_study
from forgefield.studies.cluster import ClusterSettings, cluster_of

OWN = """
import os
from dataclasses import replace
from pathlib import Path
from forgefield.config import Schema
from forgefield.errors import DataError
from forgefield.studies import Cell, Page, Study


class OwnSettings(Schema):
    numbers: tuple[int, ...] = (1, 2, 3)


class Own(Study[OwnSettings]):
    name, summary = "own", "where cells are done"
    Settings = OwnSettings
    small = {"numbers": (1,)}

    def cells(self, settings):
        return [Cell(f"number {n}", {"n": n}) for n in settings.numbers]

    def run(self, parameters, folder):
        (folder / "potential.txt").write_text(str(parameters["n"]))
        if parameters["n"] == 3:
            raise DataError("three is not done")
        return {"square": parameters["n"] ** 2, "cwd": os.getcwd(), "pid": os.getpid()}

    def page(self, settings, results):
        return Page("Own", "Where?", "There.", ())

    def conclude(self, settings, results, page, folder):
        files = [folder / "runs" / self.key(r.cell) / "potential.txt" for r in results]
        return replace(page, conclusion={"files": [int(f.read_text()) for f in files]})
"""


@pytest.fixture
def places(tmp_path, monkeypatch):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    (here / "own.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(here)
    return here, elsewhere


@pytest.fixture
def scheduler(places):
    """The scheduler file of one worker, both processes of their own, in another folder than ours."""
    pytest.importorskip("distributed")
    _, elsewhere = places
    file = elsewhere / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    common = ["--scheduler-file", str(file), "--no-dashboard"]
    quiet = {"cwd": elsewhere, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [
        subprocess.Popen([*dask, "scheduler", "--port", "0", "--host", "127.0.0.1", *common], **quiet),
        subprocess.Popen([*dask, "worker", "--nthreads", "1", "--no-nanny", *common], **quiet),
    ]
    try:
        end = time.monotonic() + 60.0
        while not file.exists() and time.monotonic() < end:
            time.sleep(0.05)
        yield file
    finally:
        for process in started:  # nothing of theirs is left to be saved
            process.kill()
            process.wait(timeout=30)


def test_a_cluster_works_in_the_folder_that_was_given(places, scheduler):
    here, elsewhere = places
    before = set(elsewhere.iterdir())
    address = json.loads(scheduler.read_text(encoding="utf-8"))["address"]
    run = run_study("own.py:Own", {"numbers": [1, 2]}, "study", scheduler=address)
    assert [r.values["square"] for r in run.results] == [1, 4]
    assert {r.values["cwd"] for r in run.results} == {str(elsewhere)}
    assert {p.name for p in set(elsewhere.iterdir()) - before} <= {"dask-scratch-space"}
    assert len(list((here / "study" / "runs").glob("*/potential.txt"))) == 2
    record = json.loads((here / "study" / "results.json").read_text(encoding="utf-8"))
    assert record["conclusion"] == {"files": [1, 2]}

    (here / "config.yaml").write_text(f"cluster: {scheduler}\nnumbers: [1, 2, 3, 4]\n", encoding="utf-8")
    said = CliRunner().invoke(app, ["study", "own.py:Own", "config.yaml", "-o", "study"])
    lines = said.stdout.splitlines()
    assert said.exit_code == 2
    assert lines[:2] == ["2/4", "2/4: 1 worker(s)"]
    assert "number 3 failed: three is not done" in said.stdout
    assert "1 of 4 cells failed (number 3: three is not done)" in " ".join(said.stderr.split())
    record = json.loads((here / "study" / "results.json").read_text(encoding="utf-8"))
    assert [r["values"]["square"] for r in record["results"]] == [1, 4, 16]
    assert record["settings"] == {"numbers": [1, 2, 3, 4]}
    assert len({r["values"]["pid"] for r in record["results"]}) == 1


def test_a_cluster_is_started_with_its_options(places):
    pytest.importorskip("distributed")
    here, _ = places
    local = {"n_workers": 0, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    cluster = {"kind": "distributed:LocalCluster", "workers": 1, "options": local}
    told = []
    run = run_study("own.py:Own", {"numbers": [1], "cluster": cluster}, here / "s", progress=told.append)
    assert [r.values["square"] for r in run.results] == [1]
    assert any("worker(s)" in event.note for event in told)


def test_what_a_cluster_may_be():
    assert cluster_of(None) is None
    assert cluster_of("tcp://10.0.0.1:8786") == "tcp://10.0.0.1:8786"
    slurm = {"kind": "SLURMCluster", "workers": 8, "options": {"queue": "long", "cores": 1}}
    assert cluster_of(slurm) == ClusterSettings(kind="SLURMCluster", workers=8, options=slurm["options"])


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (3, r"`cluster` is 3: give the address of a Dask scheduler"),
        ({"kind": "SLURMCluster", "worker": 3}, r"unknown setting `cluster\.worker`.*did you mean.*workers"),
        ({"kind": "nowhere_at_all:Cluster"}, r"needs nowhere_at_all .*install what it is part of"),
        ({"kind": "distributed:NoCluster"}, r"distributed has no 'NoCluster'"),
        ({"kind": "json:JSONDecoder", "options": {"bad": 1}}, r"cannot be started: TypeError.*bad"),
    ],
)
def test_a_cluster_that_cannot_be_is_explained(places, cluster, message):
    pytest.importorskip("distributed")
    with pytest.raises(ConfigError, match=message):
        run_study("own.py:Own", {"cluster": cluster}, "study")


def test_jobqueue_is_asked_for(places, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(ConfigError, match=r"needs dask_jobqueue .*pip install dask-jobqueue"):
        run_study("own.py:Own", {"cluster": {"kind": "SLURMCluster"}}, "study")


def test_jobs_can_only_be_sent_where_they_are_submitted(places, monkeypatch):
    pytest.importorskip("distributed")
    here, _ = places
    code = (
        "class Job:\n    submit_command = 'sbatch-that-is-not-here --now'\nclass Queue:\n    job_cls = Job\n"
    )
    (here / "some_queue.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(here))
    with pytest.raises(ConfigError, match=r"needs `sbatch-that-is-not-here`, which is not here"):
        run_study("own.py:Own", {"cluster": {"kind": "some_queue:Queue"}}, "study")


def test_processes_or_a_cluster(places):
    with pytest.raises(ConfigError, match=r"`workers` is 2.*give one of them"):
        run_study("own.py:Own", {"cluster": "tcp://127.0.0.1:9"}, "study", workers=2)


def test_a_plan_needs_no_cluster(places):
    cells = plan_study("own.py:Own", {"cluster": "tcp://127.0.0.1:9"}, small=True)
    assert [cell.name for cell in cells] == ["number 1"]


def test_the_recipe_of_the_documentation_is_a_configuration(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "studies" / "index.md").read_text(encoding="utf-8")
    blocks = [textwrap.dedent(b.split("  ```")[0]) for b in text.split("  ```yaml\n")[1:]]
    address, slurm = (load_yaml(write_text(tmp_path / f"{n}.yaml", b)) for n, b in enumerate(blocks))
    assert cluster_of(address["cluster"]) == "tcp://10.0.0.1:8786"
    made = cluster_of(slurm["cluster"])
    assert isinstance(made, ClusterSettings)
    assert (made.kind, made.workers, made.options["walltime"]) == ("SLURMCluster", 16, "04:00:00")
    assert plan_study("complexity", slurm, small=True)
