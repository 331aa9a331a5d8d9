"""What a result prints and keeps."""

from __future__ import annotations

import pytest

from forgefield.properties.base import Quantity


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (2.3456, 0.0123, "2.346 ± 0.012"),
        (574.3, 75.0, "574 ± 75"),
        (1.4523e-8, 2.1e-10, "(1.452 ± 0.021)e-08"),  # a diffusion coefficient in m^2/s
        (1e-10, 3e-9, "(0.1 ± 3.0)e-09"),
        (0.0, 0.0, "0 ± 0"),
        (5.0, 1e-9, "5.000000 ± 1e-09"),
        (0.0012, 3e-7, "0.001200 ± 3e-07"),
        (float("nan"), 1.0, "nan"),
        (3.0, None, "3"),
    ],
)
def test_numbers_keep_the_digits_that_mean_something(value, error, text):
    assert str(Quantity(value, "u", error)) == f"{text} u"
