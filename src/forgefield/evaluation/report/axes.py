"""Axes of plots: ranges, round ticks and their labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Axis", "linear_ticks", "log_ticks", "padded", "tick_label"]

Array = NDArray[np.float64]

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic map from values to pixels.

    Parameters
    ----------
    low, high : float
        Ends of the range, ``low < high``; both positive where `log`.
    start, end : float
        Pixels of `low` and of `high`.
    log : bool
        Logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def pixels(self, values: ArrayLike) -> Array:
        """Return the pixel coordinates of values."""
        array = np.asarray(values, dtype=np.float64)
        if self.log:
            low, high = math.log(self.low), math.log(self.high)  # their ratio may be too large for a number
            fraction = (np.log(array) - low) / (high - low)
        else:
            width = 0.5 * self.high - 0.5 * self.low
            fraction = (0.5 * array - 0.5 * self.low) / width
        return np.asarray(self.start + fraction * (self.end - self.start), dtype=np.float64)

    def pixel(self, value: float) -> float:
        """Return the pixel coordinate of one value."""
        return float(self.pixels(value))

    def ticks(self, count: int = 5) -> list[tuple[float, str]]:
        """Return about `count` (pixel, label) pairs at round values."""
        values = (
            log_ticks(self.low, self.high, count) if self.log else linear_ticks(self.low, self.high, count)
        )
        step = None if self.log or len(values) < 2 else values[1] - values[0]
        return [(self.pixel(value), tick_label(value, step)) for value in values]


def linear_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten within [low, high], about `count` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * min(
        (factor for factor in (1.0, 2.0, 5.0, 10.0)), key=lambda f: abs(math.log(f * power / raw))
    )
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return powers of ten within [low, high]; with 2 and 5 times them where they are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
        values = [f * 10.0**p for p in range(first, last + 1) for f in factors]
        inside = [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(inside) >= 3:
            every = math.ceil(len(inside) / (count + 1))
            return inside[::every]
    return linear_ticks(low, high, count) if high / low < 10.0 else inside


def tick_label(value: float, step: float | None = None) -> str:
    """Return a short label with a real minus sign; as many decimals as the step between ticks needs."""
    if value == 0.0 or (step is not None and abs(value) < 1e-9 * step):
        return "0"
    size = abs(value)
    if not 1e-3 <= size < 1e5:
        exponent = math.floor(math.log10(size) + 1e-9)
        mantissa = f"{value / 10.0**exponent:.2g}"
        power = "10" + str(exponent).translate(_SUPERSCRIPT)
        text = power if mantissa == "1" else f"{mantissa}×{power}"
    elif step is None:
        text = f"{value:,.0f}" if size >= 100.0 else f"{value:.3g}"
    else:
        text = f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"
    return text.replace("-", "−")


def padded(low: float, high: float, fraction: float = 0.04) -> tuple[float, float]:
    """Widen a range by a fraction on both sides; a single value gets a range around it."""
    width = high - low
    if width <= 1e-12 * max(abs(low), abs(high)):
        width = 0.2 * abs(low) or 1.0
        return low - 0.5 * width, high + 0.5 * width
    return low - fraction * width, high + fraction * width
