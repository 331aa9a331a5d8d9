"""Diffusion coefficients and their errors against processes whose diffusion is known, and what is said where there is none."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from scipy.signal import lfilter

from forgefield.config import apply_overrides
from forgefield.errors import ConfigError, DataError, StructureError
from forgefield.properties.diffusion import MSD, MsdSettings, diffusion, doubts_about
from forgefield.properties.displacements import average, default_window, slope_weights
from forgefield.properties.distribution import RDF, RdfSettings
from forgefield.properties.trajectory import Trajectory, from_frames
from forgefield.properties.vibrations import VDOS, VdosSettings

STEP = 0.04  # ps
EDGE = 20.0


def made(positions, cells=None):
    n_frames, n_atoms, _ = positions.shape
    cells = np.broadcast_to(EDGE * np.eye(3), (n_frames, 3, 3)) if cells is None else cells
    return Trajectory(
        positions, cells, np.full(n_atoms, 18), np.full(n_atoms, 40.0), np.array([True] * 3), 1000.0 * STEP
    )


def wandering(seed, time, n_atoms=30, length=20.0, cage=0.0, together=0.0):
    """Atoms whose velocities forget themselves within `time` [ps]; D = 1 - cage Å^2/ps.

    A cage takes its part of D back within 2 ps; `together` is the part of the motion that groups of five atoms share.
    """
    rng = np.random.default_rng(seed)
    n = round(length / STEP) + 1

    def velocities(time, size, atoms):
        keep = np.exp(-STEP / time)
        noise = rng.standard_normal((n, atoms, 3)) * np.sqrt(1.0 - keep**2)
        noise[0] /= np.sqrt(1.0 - keep**2)
        raw = lfilter([1.0], [1.0, -keep], noise, axis=0)
        return raw * np.sqrt(size / (STEP * (0.5 + keep / (1.0 - keep))))

    v = velocities(time, (1.0 - cage) * (1.0 - together), n_atoms)
    if together:
        v = v + np.repeat(velocities(time, (1.0 - cage) * together, n_atoms // 5), 5, axis=1)
    x = v.cumsum(axis=0) * STEP
    if cage:
        keep = np.exp(-STEP / 0.5)
        noise = rng.standard_normal((n, n_atoms, 3)) * np.sqrt(1.0 - keep**2)
        x = x + np.sqrt(cage * 0.5) * lfilter([1.0], [1.0, -keep], noise, axis=0)
    return made(x)


def direct(x, lags, weights, last):
    """The sum over time origins and atoms as it is defined."""
    return np.mean(
        [
            sum(w * ((x[t + k] - x[t]) ** 2).sum(axis=1).mean() for k, w in zip(lags, weights, strict=True))
            for t in range(len(x) - last)
        ]
    )


def test_an_average_is_the_sum_over_time_origins():
    x = 1000.0 + np.random.default_rng(1).standard_normal((60, 4, 3)).cumsum(axis=0)
    lags = np.array([3, 4, 9, 15])
    for weights in (slope_weights(lags.astype(float)), np.array([0.5, 1.0, -2.0, 0.1])):
        assert average(x, lags, weights, 15).value == pytest.approx(direct(x, lags, weights, 15), abs=1e-9)
    assert average(x, lags[:1], np.ones(1), 15).value == pytest.approx(direct(x, [3], [1.0], 15))


@pytest.mark.parametrize(
    "process",
    [{}, {"n_atoms": 60}, {"together": 0.6, "n_atoms": 40}, {"length": 60.0, "n_atoms": 15}, {"time": 0.4}],
)
def test_errors_of_diffusion_cover_the_truth(process):
    given = {"time": 0.05} | process
    n_atoms = given.get("n_atoms", 30)
    found = [diffusion(wandering(seed, **given))["Ar"] for seed in range(40)]
    values, errors = (np.array([getattr(one, k) for one in found]) for k in ("coefficient", "error"))
    shared = given.get("together", 0.0)
    exact = 1.0 - (1.0 + 4.0 * shared) / n_atoms  # relative to the centre of mass
    assert abs(values.mean() - exact) < 3.0 * values.std() / 40**0.5
    assert np.sqrt((((values - exact) / errors) ** 2).mean()) == pytest.approx(1.0, abs=0.3)
    assert 0.75 < np.sqrt((errors**2).mean()) / values.std() < 1.4
    assert np.mean([one.settled for one in found]) > 0.9


def test_error_of_displacements_covers_the_truth():
    found = [diffusion(wandering(seed, 0.03))["Ar"] for seed in range(40)]
    last = len(found[0].time) - 1
    for lag in (last // 4, last):
        scatter = np.std([one.msd[lag] for one in found])
        assert np.mean([one.msd_error[lag] for one in found]) == pytest.approx(scatter, rel=0.35)


def test_the_window_depends_on_the_length_alone():
    moving = wandering(0, 0.05)
    assert diffusion(moving)["Ar"].window == pytest.approx((2.0, 5.0), abs=STEP)
    low, high = default_window(160.0)
    assert (low, high) == pytest.approx((4.0, 10.0))
    windows = {diffusion(moving, window=MsdSettings(blocks=blocks).fit)["Ar"].window for blocks in (4, 20)}
    assert len(windows) == 1


@pytest.mark.parametrize(
    ("process", "way"), [({"time": 1.0}, "rises"), ({"time": 0.05, "cage": 0.7}, "falls")]
)
def test_diffusion_that_is_not_reached_is_said_with_what_reaches_it(process, way):
    exact = (1.0 - process.get("cage", 0.0)) * 79 / 80
    length, told = 4.0, []
    for _ in range(4):
        one = diffusion(wandering(3, n_atoms=80, length=length, **process))["Ar"]
        texts = doubts_about(one, MsdSettings(), length)
        if not texts:
            break
        told += texts
        need = float(re.search(r"(?:for which|a length of) ([\d.]+) ps", texts[0])[1])
        assert need > length
        length = need
    assert told
    assert all(way in text for text in told)
    assert not texts
    assert abs(one.coefficient - exact) < 3.0 * one.error


def test_the_property_says_it(tmp_path):
    moving = wandering(3, 1.0, n_atoms=40, length=4.0)
    frames = [Atoms("Ar40", positions=x, cell=EDGE * np.eye(3), pbc=True) for x in moving.positions]
    write(tmp_path / "run.xyz", frames)
    options = {"trajectory": str(tmp_path / "run.xyz"), "interval": 1000.0 * STEP, "temperature": 90.0}
    result = MSD(frames[0], EMT(), **options)
    assert len(result.warnings) == 1
    assert result.conditions["fit_ps"] == pytest.approx([0.4, 1.0])


def test_a_solid_does_not_diffuse():
    rest = 0.1 * np.random.default_rng(5).standard_normal((400, 20, 3))
    one = diffusion(made(rest))["Ar"]
    assert one.exponent == pytest.approx(0.0, abs=0.1)
    assert abs(one.coefficient) < 3.0 * one.error
    assert "no diffusion seen in 4 ps" in doubts_about(one, MsdSettings(), 16.0)[0]


def test_a_breathing_lattice_does_not_move():
    cells = EDGE * (1.0 + 0.02 * np.sin(np.arange(200) / 9.0))[:, None, None] * np.eye(3)
    cells[:, 0, 1] = 0.5 * np.cos(np.arange(200) / 7.0)
    sites = np.random.default_rng(0).random((30, 3))
    lattice = made(np.einsum("ib,tba->tia", sites, cells), cells)
    assert np.ptp(lattice.positions, axis=0).max() > 0.5
    assert diffusion(lattice)["Ar"].msd.max() < 1e-20
    # With walks on top the answer is that of the walks.
    walk = 0.05 * np.random.default_rng(1).standard_normal((200, 30, 3)).cumsum(axis=0)
    mean = cells.mean(axis=0)
    both = np.einsum("tib,tba->tia", sites + walk @ np.linalg.inv(mean), cells)
    assert diffusion(made(both, cells))["Ar"].coefficient == pytest.approx(
        diffusion(made(walk))["Ar"].coefficient, rel=1e-6
    )


def test_open_directions_need_no_vector():
    walk = 3.0 + 0.1 * np.random.default_rng(2).standard_normal((40, 2, 3)).cumsum(axis=0)
    frames = [Atoms("Ar2", positions=x, cell=[4.0, 5.0, 0.0], pbc=[True, True, False]) for x in walk]
    for frame in frames:
        frame.wrap()
    found = from_frames(frames, interval=10.0).positions
    assert found - found[0] == pytest.approx(walk - walk[0], abs=1e-9)
    for frame in frames:
        frame.cell = [[4.0, 0.0, 0.0], [8.0, 0.0, 0.0], [0.0, 0.0, 5.0]]
    with pytest.raises(DataError, match="no volume"):
        from_frames(frames, interval=10.0)


def test_an_open_file_is_refused_by_properties(tmp_path):
    frames = [
        Atoms("Cu2", positions=[[0, 0, 0], [1, 1, 0.1 * t]], cell=[4, 4, 0], pbc=[1, 1, 0]) for t in range(3)
    ]
    write(tmp_path / "slab.xyz", frames)
    with pytest.raises(StructureError, match="radial distribution function needs a cell periodic in three"):
        RDF(bulk("Cu"), EMT(), trajectory=str(tmp_path / "slab.xyz"), interval=10.0)


def test_settings_of_simulations_do_not_judge_files():
    for settings in (RdfSettings, MsdSettings, VdosSettings):
        for interval in (2000.0, 0.5):
            assert settings(trajectory="run.xyz", interval=interval).interval == interval
            with pytest.raises(ValueError, match=r"too short|must not be below"):
                settings(interval=interval)


def test_commands_of_the_page_have_settings_that_hold():
    page = Path(__file__).resolve().parents[2] / "docs" / "properties" / "diffusion.md"
    text = page.read_text(encoding="utf-8")
    for name, schema in (("msd", MsdSettings), ("vdos", VdosSettings)):
        lines = re.findall(rf"^forgefield property {name} .*$", text, re.MULTILINE)
        assert lines
        for line in lines:
            schema.parse(apply_overrides({}, [word for word in shlex.split(line) if "=" in word]))


def test_vdos_of_default_blocks_and_lag_fits_its_default_length():
    settings = VdosSettings()
    frames = settings.steps // settings.every
    assert frames // settings.blocks >= round(1000.0 * settings.correlation_time / settings.spacing) + 1
    with pytest.raises(ConfigError, match=r"at least 20\.08"):
        VDOS(bulk("Cu"), EMT(), length=20.0)
