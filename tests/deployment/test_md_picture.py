"""Pictures and films of simulations, and what they show."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from PIL import Image

from forgefield.deployment.md import run_md
from forgefield.deployment.md_picture import BINS, REACH, draw_md, film_md, pair_distribution, recorded
from forgefield.errors import ConfigError, SimulationError


def test_pair_distribution_of_a_crystal_and_an_alloy():
    copper = bulk("Cu", cubic=True, a=3.6) * (2, 2, 2)
    r, functions = pair_distribution([copper])
    step = REACH / BINS
    counts = functions["Cu-Cu"] * 4 / 3 * np.pi * ((r + step / 2) ** 3 - (r - step / 2) ** 3) * 4 / 3.6**3
    assert counts[np.abs(r - 3.6 / np.sqrt(2)) < 0.1].sum() == pytest.approx(12)
    assert counts[np.abs(r - 3.6) < 0.1].sum() == pytest.approx(6)
    copper.numbers[::2] = 79
    _, mixed = pair_distribution([copper, copper])
    assert set(mixed) == {"Cu-Cu", "Au-Au", "Au-Cu"}
    rng = np.random.default_rng(0)
    gas = Atoms("Ar200Ne800", rng.uniform(0, 20, (1000, 3)), cell=[20, 20, 20], pbc=True)
    _, uncorrelated = pair_distribution([gas])
    for values in uncorrelated.values():
        assert values[80:].mean() == pytest.approx(1.0, abs=0.03)


def test_a_simulation_is_drawn(tmp_path):
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    picture, movie = tmp_path / "md.png", tmp_path / "md.gif"
    with recorded(None, None, picture, movie) as files:
        trajectory, log = files()
        run_md(atoms, EMT(), steps=12, log_interval=4, trajectory=trajectory, log=log)
    assert not trajectory.exists()
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[0] > 600
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    with Image.open(movie) as film:
        assert film.n_frames == 4
        film.seek(3)
        last = np.asarray(film.convert("RGB")).copy()
        film.seek(0)
        assert np.abs(last.astype(int) - np.asarray(film.convert("RGB"))).max() > 50


def test_files_that_are_kept(tmp_path):
    trajectory, log = tmp_path / "a.xyz", tmp_path / "a.csv"
    with recorded(trajectory, log, tmp_path / "a.svg", None) as files:
        assert files() == (trajectory, log)
        run_md(bulk("Cu", cubic=True), EMT(), steps=2, log_interval=1, trajectory=trajectory, log=log)
    assert trajectory.exists()
    assert "<svg" in (tmp_path / "a.svg").read_text()
    with recorded(None, None, None, None) as files:
        assert files() == (None, None)


def test_what_broke_down_is_drawn_too(tmp_path):
    def break_down():
        with recorded(None, None, tmp_path / "md.png", None) as files:
            trajectory, log = files()
            run_md(
                bulk("Cu", cubic=True),
                EMT(),
                timestep=60.0,
                temperature=3000.0,
                steps=200,
                log_interval=1,
                trajectory=trajectory,
                log=log,
            )

    with pytest.raises(SimulationError):
        break_down()
    assert (tmp_path / "md.png").stat().st_size > 10000


def test_clusters_have_no_pressure(tmp_path):
    cluster = bulk("Cu", cubic=True)
    cluster.pbc = False
    log, trajectory = tmp_path / "a.csv", tmp_path / "a.traj"
    run_md(cluster, EMT(), steps=3, log_interval=1, trajectory=trajectory, log=log)
    with log.open() as file:
        rows = list(csv.DictReader(file))
    assert draw_md(rows, [cluster], tmp_path / "a.png").exists()
    free = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]])
    assert film_md([free, free], tmp_path / "a.gif").exists()


def test_what_cannot_be_drawn(tmp_path):
    with pytest.raises(ConfigError, match=r"\.png"):
        draw_md([{}], [], tmp_path / "a.tab")
    with pytest.raises(ConfigError, match="no rows"):
        draw_md([], [], tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"\.gif"):
        film_md([bulk("Cu")], tmp_path / "a.mp4")
    with pytest.raises(ConfigError, match="no frames"):
        film_md([], tmp_path / "a.gif")
    with (
        pytest.raises(ConfigError, match="does not exist"),
        recorded(None, None, tmp_path / "b" / "a.png", None),
    ):
        pass
