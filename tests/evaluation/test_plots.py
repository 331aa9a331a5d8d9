"""Axes, ticks and density bins of the report's plots."""

from __future__ import annotations

import numpy as np
import pytest

from forgefield.evaluation import Prediction
from forgefield.evaluation.report.axes import Axis, linear_ticks, log_ticks, tick_label
from forgefield.evaluation.report.density import hexagons, levels
from forgefield.evaluation.report.parity import MAX_POINTS, parity
from forgefield.evaluation.residuals import collect


def test_density_bins_hold_every_point_in_the_nearest_hexagon():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 100, 2000), rng.uniform(0, 100, 2000)
    bins = hexagons(x, y, 5.0)
    everything = np.ones(2000, dtype=bool)
    assert bins.counts(everything).sum() == 2000
    distance = np.hypot(x[:, None] - bins.x, y[:, None] - bins.y)
    assert np.allclose(distance.min(axis=1), distance[np.arange(2000), bins.bin_of])
    assert distance[np.arange(2000), bins.bin_of].max() <= 5.0 / np.sqrt(3) + 1e-9


def test_density_levels_are_logarithmic():
    assert levels(np.array([0, 1, 255, 256]), 256).tolist() == [-1, 0, 7, 7]
    assert levels(np.array([1]), 1).tolist() == [0]


def test_number_of_points_decides_between_points_and_density(make_structure):
    for n_atoms, kind in ((MAX_POINTS // 3, "points"), (MAX_POINTS // 3 + 1, "density")):
        atoms = make_structure(f"Si{n_atoms}", forces=np.arange(3.0 * n_atoms).reshape(-1, 3))
        figure = parity(collect([atoms], [Prediction(0.0, np.zeros((n_atoms, 3)))]), "forces")
        assert figure.data["kind"] == kind


@pytest.mark.parametrize("scale", [1e-6, 1.0, 37.0, 1e7])
def test_ticks_are_round_and_inside(scale):
    ticks = linear_ticks(-1.3 * scale, 2.2 * scale)
    assert 3 <= len(ticks) <= 9
    assert -1.3 * scale <= ticks[0] < ticks[-1] <= 2.2 * scale
    step = (ticks[1] - ticks[0]) / 10.0 ** np.floor(np.log10(ticks[1] - ticks[0]) + 1e-9)
    assert np.isclose(step, [1, 2, 5, 10]).any()
    logarithmic = log_ticks(0.02 * scale, 30 * scale)
    assert 3 <= len(logarithmic) <= 9
    assert all(0.02 * scale <= tick <= 30 * scale for tick in logarithmic)


def test_axis_maps_ends_and_middle():
    axis = Axis(1.0, 100.0, 0.0, 200.0, log=True)
    assert axis.pixels([1.0, 10.0, 100.0]).tolist() == pytest.approx([0.0, 100.0, 200.0])
    assert Axis(-1.0, 1.0, 50.0, 0.0).pixel(0.0) == 25.0


@pytest.mark.parametrize(
    ("value", "step", "label"),
    [
        (0.30000000000000004, 0.1, "0.3"),
        (-5.0, 5.0, "−5"),
        (1e-17, 0.2, "0"),
        (1000.0, None, "1,000"),
        (1e-4, None, "10⁻⁴"),
    ],
)
def test_tick_labels(value, step, label):
    assert tick_label(value, step) == label
