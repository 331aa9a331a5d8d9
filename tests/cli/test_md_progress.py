"""What the md command says while it runs, and the pictures it leaves."""

from __future__ import annotations

import io

import numpy as np
import pytest
from ase.build import bulk
from rich.console import Console
from typer.testing import CliRunner

from forgefield.cli.app import app
from forgefield.cli.md_progress import MDProgress
from forgefield.deployment.lammps_md import ENGINES
from forgefield.descriptors import NEP
from forgefield.models import Network, NetworkSettings
from forgefield.models.potential import Potential


@pytest.fixture
def files(tmp_path):
    d = NEP(["Si"], n_max_radial=2, n_max_angular=2, l_max=2)
    potential = Potential(d, Network(d.n_features, 1, NetworkSettings(hidden=(4,))))
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.01, seed=np.random.default_rng(0).integers(9))
    atoms.write(tmp_path / "start.xyz")
    return potential.save(tmp_path / "a.ff"), tmp_path / "start.xyz"


def test_speed_and_time_left():
    progress = MDProgress(Console(file=io.StringIO()), n_atoms=1000, steps=400)
    note = progress.note({"step": 100, "temperature_K": 301.2}, seconds=2.0)
    assert note == "step 100 of 400, 301 K, 5e+04 atom steps/s, 0:00:06 left"
    assert progress.note({"step": 0, "temperature_K": 300.0}, seconds=0.0) == "step 0 of 400, 300 K"


def test_lines_without_a_terminal_and_a_bar_on_one():
    plain, bar = io.StringIO(), io.StringIO()
    for file, terminal in ((plain, False), (bar, True)):
        progress = MDProgress(Console(file=file, force_terminal=terminal, width=100), n_atoms=8, steps=100)
        with progress.shown():
            for step in range(101):
                progress.on_row({"step": step, "temperature_K": 300.0})
    assert len(plain.getvalue().splitlines()) == 10
    assert "step 100 of 100" in plain.getvalue()
    assert "\x1b" in bar.getvalue()


def test_picture_and_film(files, tmp_path):
    words = ["md", *files, "-n", 6, "--log-interval", 2, "--picture", tmp_path / "a.png", "--movie"]
    done = CliRunner().invoke(app, [str(w) for w in (*words, tmp_path / "a.gif")])
    assert done.exit_code == 0, done.output
    assert "atom steps/s" in done.output
    assert str(tmp_path / "a.gif")[-20:] in done.output.replace("\n", "")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.gif").read_bytes().startswith(b"GIF")
    assert {p.name for p in tmp_path.iterdir()} == {"a.ff", "start.xyz", "a.png", "a.gif"}
    refused = CliRunner().invoke(
        app, [str(w) for w in ("md", *files, "-n", 2, "--movie", tmp_path / "a.mp4")]
    )
    assert refused.exit_code == 2
    assert ".gif" in refused.output
    assert ENGINES[0] == "ase"
