"""Calibration on errors drawn from known distributions."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from scipy.stats import spearmanr

from forgefield.errors import DataError
from forgefield.evaluation.calibration import calibrate, rank_correlation
from forgefield.evaluation.report.calibration import calibration_picture


def drawn(scale: float, n: int = 20000) -> tuple[np.ndarray, np.ndarray]:
    """Errors from normal distributions whose widths are `scale` times what is said of them."""
    rng = np.random.default_rng(0)
    sigma = np.exp(rng.normal(-2.0, 0.8, n))
    return np.abs(rng.standard_normal(n)) * scale * sigma, sigma


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_scale_of_known_distributions_is_found(scale):
    found = calibrate(*drawn(scale))
    assert found.scale == pytest.approx(scale, rel=0.05)
    assert found.miscalibration < 1.05
    np.testing.assert_allclose(found.bin_error / found.bin_uncertainty, scale, rtol=0.1)
    assert (np.diff(found.bin_uncertainty) > 0).all()


def test_uncertainty_without_information_shows():
    error, sigma = drawn(1.0)
    found = calibrate(error, np.random.default_rng(1).permutation(sigma))
    assert abs(found.correlation) < 0.03
    assert found.miscalibration > 1.5


def test_rank_correlation_agrees_with_scipy():
    rng = np.random.default_rng(2)
    a = rng.integers(0, 20, 300).astype(float)  # with ties
    b = a + rng.normal(0, 8, 300)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b)[0], abs=1e-12)
    assert rank_correlation(a, np.ones(300)) == 0.0


@pytest.mark.parametrize(
    ("error", "sigma"),
    [([1.0] * 5, [1.0] * 5), ([1.0] * 20, [0.0] * 20), ([np.nan] * 20, [1.0] * 20), ([1.0] * 20, [1.0] * 19)],
)
def test_what_cannot_be_compared_is_refused(error, sigma):
    with pytest.raises(DataError):
        calibrate(np.array(error), np.array(sigma))


@pytest.mark.parametrize("unit", ["eV/Å", ""])
def test_picture_is_valid_and_inside_its_frame(unit):
    error, sigma = drawn(2.0, 500)
    error[:3] = 0.0
    text = calibration_picture(calibrate(error, sigma), "Spread", unit)
    root = ET.fromstring(text)  # noqa: S314 - our own
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "500 atoms" in text
    assert ('class="ideal"' in text) == bool(unit)
    assert "nan" not in text.lower()
