"""The rule that decides: intervals of Student and Welch, of rank correlations, exact permutations."""

import math

import numpy as np
import pytest
from scipy import stats

from forgefield.studies.verdicts import Interval, Ranks, asked, known_of, not_run, permutation


def test_intervals_decide_or_do_not():
    assert [Interval(0.0, a, b).above() for a, b in ((1, 2), (-2, -1), (-1, 1))] == [
        "agrees",
        "disagrees",
        "undecided",
    ]
    assert [Interval(0.0, a, b).below(3.0) for a, b in ((1, 2), (4, 5), (2, 4))] == [
        "agrees",
        "disagrees",
        "undecided",
    ]
    assert [Interval(0.0, a, b).inside(-1, 1) for a, b in ((-1, 1), (2, 3), (0, 2))] == [
        "agrees",
        "disagrees",
        "undecided",
    ]
    nothing = Interval(5.0, math.nan, math.nan)
    assert nothing.above() == nothing.below() == nothing.inside(0, 9) == "undecided"
    assert str(nothing) == "5.00 (no interval)"


@pytest.mark.parametrize("n", [2, 5])
def test_differences_of_means_are_welchs(n):
    rng = np.random.default_rng(n)
    a, b = rng.normal(1.0, 0.1, n), rng.normal(0.5, 0.4, n + 1)
    found = (known_of(a) - known_of(b)).interval
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-10)
    one = known_of(a).interval
    known = stats.ttest_1samp(a, 0.0).confidence_interval(0.95)
    assert (one.low, one.high) == pytest.approx((known.low, known.high), rel=1e-10)
    assert known_of([1.0]).interval.above() == "undecided"
    assert known_of([1.0, math.nan, 3.0]).freedom == 1


def test_rank_correlations_draw_groups_not_points():
    rng = np.random.default_rng(0)
    groups = [k // 5 for k in range(60)]
    x = rng.normal(size=60)
    y = x + 0.3 * rng.normal(size=60)
    y[7] = math.inf
    ranks = Ranks(groups)
    found = ranks.of(x, y)
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.above() == "agrees"
    # A draw in which every group comes once has the correlation of the points themselves.
    ranks.weights = np.ones_like(ranks.weights)
    assert ranks.samples(x, y)[0] == pytest.approx(found.value)
    # A weight of two is the same as the point twice.
    ranks.weights[:, 3] = 2.0
    twice = [[*v, v[3]] for v in (x, y)]
    assert ranks.samples(x, y)[0] == pytest.approx(stats.spearmanr(*twice).statistic)
    # What differs between groups only is one witness a group, however many points it has.
    level = rng.normal(size=12)
    high, side = level[groups], rng.normal(size=12)[groups]
    wide, narrow = Ranks(groups).of(high, side), Ranks(range(60)).of(high, side)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
    assert Ranks([0, 0, 1, 1]).of([1, 2, 3, 4], [1, 2, 3, 4]).above() == "undecided"


def test_difference_of_two_correlations():
    rng = np.random.default_rng(1)
    x = rng.normal(size=80)
    near, far = x + 0.1 * rng.normal(size=80), rng.normal(size=80)
    ranks = Ranks(range(80))
    assert ranks.difference(x, near, far).above() == "agrees"
    assert ranks.difference(x, far, near).above() == "disagrees"
    assert ranks.difference(x, near, near).above() == "undecided"


@pytest.mark.parametrize("n", [5, 7])
def test_permutations_are_exact(n):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(2, n))
    value, p = permutation(x, y)
    expected = stats.permutation_test(
        (x,), lambda v: stats.spearmanr(v, y).statistic, permutation_type="pairings", n_resamples=np.inf
    )
    assert (value, p) == pytest.approx((expected.statistic, expected.pvalue))
    assert permutation(range(5), range(5))[1] == pytest.approx(2.0 / 120.0)
    assert permutation(range(12), range(12))[1] < 0.01


def test_words():
    assert not_run("that", "no data") == ("that", "no data", "not run")
    assert asked([("a", "b", "agrees"), ("a", "b", "disagrees"), ("a", "b", "undecided")]) == (
        ("a", "b", "yes"),
        ("a", "b", "no"),
        ("a", "b", "undecided"),
    )
