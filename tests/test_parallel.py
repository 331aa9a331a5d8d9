"""Threads: how many, and how parts are shared among them."""

from __future__ import annotations

import os
import threading

import pytest

from forgefield import parallel
from forgefield.errors import ConfigError
from forgefield.parallel import get_num_threads, run_parts, set_num_threads


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    monkeypatch.setattr(parallel, "_state", {})


@pytest.mark.parametrize("wrong", [0, -1, 1025, 2.0, "2", True, None])
def test_the_number_must_be_sensible(wrong):
    with pytest.raises(ConfigError, match=r"integer from 1 to 1024, got "):
        set_num_threads(wrong)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3", 3), ("2,4", 2), (" 5 ", 5), ("", None), ("0", None), ("-2", None), ("many", None)],
)
def test_the_environment_is_respected(text, expected, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert get_num_threads() == (expected or available)
    set_num_threads(7)
    assert get_num_threads() == 7


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_every_item_belongs_to_one_part(n, threads):
    parts = []
    run_parts(n, threads, lambda *part: parts.append(part))
    parts.sort()
    assert [p[0] for p in parts] == list(range(min(n, threads)))
    assert [i for _, first, last in parts for i in range(first, last)] == list(range(n))
    assert max(b - a for _, a, b in parts) - min(b - a for _, a, b in parts) <= 1


def test_parts_run_at_the_same_time():
    meeting = threading.Barrier(2, timeout=10)
    run_parts(2, 2, lambda *_: meeting.wait())


@pytest.mark.parametrize("failing", [0, 1])
def test_errors_reach_the_caller_after_all_parts_have_ended(failing):
    others = []

    def task(thread, first, last):
        if thread == failing:
            raise ValueError("part failed")
        threading.Event().wait(0.05)
        others.append(thread)

    with pytest.raises(ValueError, match="part failed"):
        run_parts(2, 2, task)
    assert others == [1 - failing]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_makes_threads_of_its_own():
    run_parts(2, 2, lambda *_: None)
    child = os.fork()
    if child == 0:  # pragma: no cover - its only output is the exit status
        done = []
        run_parts(2, 2, lambda *part: done.append(part))
        os._exit(0 if len(done) == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
