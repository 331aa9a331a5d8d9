"""Errors of correlated series against processes whose error is known."""

from __future__ import annotations

import numpy as np
import pytest

from forgefield.errors import DataError
from forgefield.properties.statistics import (
    autocorrelation,
    block_means,
    blocked_error,
    equilibrated,
    of_replicas,
    series_mean,
    straight_line,
)


def autoregressive(n, memory, seed=0, runs=1):
    """Series with autocorrelation memory^k, variance 1."""
    rng = np.random.default_rng(seed)
    x = np.empty((n, runs))
    x[0] = rng.standard_normal(runs)
    for t in range(1, n):
        x[t] = memory * x[t - 1] + np.sqrt(1 - memory**2) * rng.standard_normal(runs)
    return x


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_error_is_that_of_the_process(memory):
    n, runs = 4000, 60
    series = autoregressive(n, memory, seed=1, runs=runs)
    tau = 0.5 * (1 + memory) / (1 - memory)
    exact = np.sqrt(2 * tau / n)
    estimates = [series_mean(x) for x in series.T]
    assert np.mean([e.error for e in estimates]) == pytest.approx(exact, rel=0.08)
    # and it covers the truth (0) as often as it should: 68 %
    covered = np.mean([abs(e.value) < e.error for e in estimates])
    assert 0.5 < covered < 0.85
    assert estimates[0].n_independent == pytest.approx(n / (2 * tau), rel=0.35)


@pytest.mark.parametrize(("n", "memory"), [(100, 0.8), (100, 0.9), (240, 0.95)])
def test_error_of_a_short_series_is_that_of_the_process(n, memory):
    # 11, 5 and 6 independent samples: without Wolff's correction errors are 0.85, 0.75 and 0.75 of the true ones.
    series = autoregressive(n, memory, seed=7, runs=600)
    k = np.arange(1, n)
    exact = np.sqrt((1 + 2 * ((1 - k / n) * memory**k).sum()) / n)
    stated = np.sqrt(np.mean([series_mean(x).error ** 2 for x in series.T]))
    assert stated == pytest.approx(exact, rel=0.12)


def test_autocorrelation_is_the_direct_sum():
    x = np.random.default_rng(0).standard_normal(50).cumsum()
    y = x - x.mean()
    expected = [y[: 50 - k] @ y[k:] / (y @ y) for k in range(50)]
    assert autocorrelation(x) == pytest.approx(expected, abs=1e-12)
    assert autocorrelation(np.ones(4)) == pytest.approx([1, 0, 0, 0])


def test_blocking_reaches_the_plateau():
    series = autoregressive(2**15, 0.9, seed=2)[:, 0]
    lengths, errors, uncertainties = blocked_error(series)
    exact = np.sqrt(19.0 / len(series))
    far = (lengths > 100) & (lengths < 2000)
    assert np.all(np.abs(errors[far] - exact) < 4 * uncertainties[far])
    assert errors[0] < 0.3 * exact


def test_equilibration_is_left_out():
    series = autoregressive(2000, 0.5, seed=3)[:, 0] + 30 * np.exp(-np.arange(2000) / 60)
    assert 150 <= equilibrated(series) <= 700
    assert equilibrated(autoregressive(2000, 0.5, seed=4)[:, 0]) <= 600


def test_blocks_and_replicas():
    assert block_means(np.arange(11.0), 2) == pytest.approx([3.0, 8.0])
    mean, error = of_replicas([[1.0, 2.0], [3.0, 6.0]])
    assert mean == pytest.approx([2, 4])
    assert error == pytest.approx([1, 2])


def test_straight_line_errors_are_those_of_repeated_fits():
    rng = np.random.default_rng(5)
    x, error = np.linspace(1, 5, 9), np.linspace(0.1, 0.5, 9)
    fits = [straight_line(x, 2 - 3 * x + error * rng.standard_normal(9), error) for _ in range(400)]
    values = np.array([f[0] for f in fits])
    assert values.mean(axis=0) == pytest.approx([2, -3], abs=0.03)
    assert values.std(axis=0) == pytest.approx(fits[0][1], rel=0.15)
    assert np.mean([f[2] for f in fits]) == pytest.approx(1.0, abs=0.1)


def test_length_for_an_error():
    estimate = series_mean(autoregressive(1000, 0.0, seed=6)[:, 0])
    assert estimate.length_for(estimate.error / 2) == pytest.approx(4.0)
    assert estimate.reliable
    assert not series_mean(np.linspace(0, 1, 8)).reliable


def test_bad_input():
    for wrong in ([1.0], [1.0, np.nan], [[1.0, 2.0]]):
        with pytest.raises(DataError):
            series_mean(wrong)
    with pytest.raises(DataError, match="5 blocks"):
        block_means([1.0, 2.0], 5)
    with pytest.raises(DataError, match="two independent"):
        of_replicas([1.0])
