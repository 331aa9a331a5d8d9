"""Progress on a terminal and elsewhere."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from forgefield.cli.inspection import sparkline
from forgefield.cli.progress import LiveListener, PlainListener, duration, make_listener
from forgefield.training.settings import RunSettings


def row(epoch):
    return {
        "epoch": epoch,
        "energy_rmse_train": 12.345,
        "energy_rmse_valid": 1.5,
        "forces_rmse_train": 99.9,
        "forces_rmse_valid": None,
        "learning_rate": 0.01,
        "seconds": 2.0 * epoch,
    }


def start(listener, epochs, neighbours=30.0):
    settings = RunSettings.parse(
        {"data": {"train": ["x.xyz"]}, "training": {"kind": "adam", "epochs": epochs}}
    )
    potential = SimpleNamespace(elements=["Si"], descriptor=SimpleNamespace(n_features=7), n_parameters=99)
    listener.on_start(settings, potential, SimpleNamespace(neighbours=neighbours))


def run(terminal, epochs=30):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    listener = make_listener(console)
    start(listener, epochs)
    for epoch in range(1, epochs + 1):
        listener.on_epoch(row(epoch))
    listener.close()
    return listener, console.file.getvalue()


def test_the_kind_of_output_decides():
    assert type(run(terminal=True)[0]) is LiveListener
    assert type(run(terminal=False)[0]) is PlainListener


def test_plain_lines_about_every_tenth():
    text = run(terminal=False)[1]
    lines = [line.split() for line in text.splitlines()]
    rows = [line for line in lines if len(line) == 9 and line[0].isdigit()]
    assert [int(line[0]) for line in rows] == [1, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30]
    assert rows[0][-1] == "0:58"  # 29 epochs of 2 s to go
    assert rows[-1][-1] == "0:00"
    assert rows[0][1:5] == ["12.3", "1.5", "99.9", "-"]
    assert "\x1b" not in text


def test_live_table_ends_with_the_last_epoch():
    text = run(terminal=True)[1]
    last = text[text.rindex("F valid") :]
    assert "│    30 │" in last
    assert "30/30" in last


@pytest.mark.parametrize("terminal", [True, False])
def test_least_squares_counts_structures(terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    listener = make_listener(console)
    for done in range(1, 41):
        listener.on_fit(done, 40)
    listener.close()
    assert ("40/40" if terminal else "40 of 40") in console.file.getvalue()


def test_many_neighbours_are_a_warning():
    console = Console(file=io.StringIO(), width=200)
    start(PlainListener(console), 10, neighbours=420.0)
    assert "420 neighbours per atom" in console.file.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (61, "1:01"), (3723, "1:02:03"), (-5, "0:00")])
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_sparkline():
    assert sparkline(np.array([0.0, 0.5, 1.0])) == " ▄█"
    assert sparkline(np.zeros(3)) == "   "
