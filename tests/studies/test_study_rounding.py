"""Digits of numbers: two of the error decide, and what is compared keeps the digits in which it differs."""

import math

import numpy as np
import pytest

from forgefield.studies.rounding import aligned, plain, rounded

NAN = math.nan


@pytest.mark.parametrize(
    ("mean", "error", "expected"),
    [
        (5.47471, 0.000213, "5.47471 ± 0.00021"),
        (1.234, 0.05, "1.234 ± 0.050"),
        (145.0123, 0.0234, "145.012 ± 0.023"),
        (1234.5, 56.7, "1234 ± 57"),
        (12345.0, 678.0, "12340 ± 680"),
        (0.0, 0.31, "0.00 ± 0.31"),
        (-0.001, 0.12, "0.00 ± 0.12"),
        (9.996, 0.0996, "10.00 ± 0.10"),
        (27.0, NAN, "27"),
        (1326.4, NAN, "1330"),
        (NAN, 1.0, "-"),
        (5.392851, 0.0, "5.392851"),
    ],
)
def test_the_error_decides(mean, error, expected):
    assert rounded(mean, error) == expected


def test_two_digits_of_the_error_are_kept_everywhere():
    rng = np.random.default_rng(0)
    for mean, error in zip(10.0 ** rng.uniform(-2, 4, 300), 10.0 ** rng.uniform(-3, 2, 300), strict=True):
        shown_mean, shown_error = (float(part) for part in rounded(mean, error).split(" ± "))
        assert abs(shown_error - error) <= 0.0501 * error
        assert abs(shown_mean - mean) <= 0.0501 * error + 1e-12


def test_what_is_compared_keeps_the_digits_in_which_it_differs():
    assert aligned([(5.47530, NAN), (5.47471, 0.00021), (5.4744, 0.0017)]) == [
        "5.47530",
        "5.47471 ± 0.00021",
        "5.4744 ± 0.0017",
    ]
    assert aligned([(5.4753, NAN), (5.4747, NAN), (NAN, NAN)]) == ["5.4753", "5.4747", "-"]
    assert aligned([(20.0, NAN), (30.0, NAN)]) == ["20", "30"]
    assert aligned([]) == []


def test_no_exponents_in_between():
    assert [plain(v) for v in (1596.0, 20.0, 0.000412)] == ["1600", "20", "0.000412"]
    assert plain(NAN) == "-"
