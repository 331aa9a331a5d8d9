"""Errors of Green-Kubo integrals against made fluxes whose integral is 1.

Two ways to read the running integral off: at a lag fixed beforehand, as the properties do, and, for comparison, where the
integral stands still between t and 2t within its error, which is a choice made by its noise.

    python benchmarks/properties/green_kubo_errors.py [--seeds 48]
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from forgefield.files import write_json, write_text
from forgefield.properties.correlation import GreenKubo, green_kubo

FloatArray = NDArray[np.float64]

RESULTS = Path(__file__).resolve().parent / "results"

FLUXES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "0.05 ps": ((0.05, 0.0, 1.0),),
    "0.5 ps": ((0.5, 0.0, 1.0),),
    "2 ps": ((2.0, 0.0, 1.0),),
    "half 0.05, half 2 ps": ((0.05, 0.0, 0.5), (2.0, 0.0, 0.5)),
    "half 0.05, half 0.5 ps": ((0.05, 0.0, 0.5), (0.5, 0.0, 0.5)),
    "0.5 ps and 6 THz": ((0.5, 0.0, 0.98), (1.0, 6.0, 0.02)),
}
"""Parts of the correlation, ``exp(-t / time) cos(2 pi f t)``: time [ps], f [THz] and weight in the integral."""


@dataclass(frozen=True)
class Case:
    """Simulations as a property makes them.

    Attributes
    ----------
    name : str
    replicas, blocks, components : int
    length, correlation_time, read_at, interval : float [ps]
    fluxes : tuple of str
    """

    name: str
    replicas: int
    length: float
    correlation_time: float
    read_at: float
    interval: float
    fluxes: tuple[str, ...]
    blocks: int = 1
    components: int = 3


ALL = ("0.05 ps", "0.5 ps", "2 ps", "half 0.05, half 2 ps", "0.5 ps and 6 THz")
LIQUID = ("0.05 ps", "half 0.05, half 0.5 ps")
CASES = (
    Case("conductivity, defaults", 8, 40.0, 10.0, 10.0, 0.01, ALL),
    Case("conductivity, 3 replicas of 20 ps", 3, 20.0, 10.0, 10.0, 0.01, ALL[1:]),
    Case("conductivity, rock salt of the closed loop", 48, 30.0, 7.5, 7.5, 0.008, ALL),
    Case("conductivity, silicon of the closed loop", 16, 12.0, 1.0, 0.5, 0.006, ALL[:1]),
    Case("viscosity, defaults", 1, 100.0, 2.0, 2.0, 0.01, LIQUID, 10, 5),
    Case("viscosity of the closed loop, 32 ps", 1, 32.0, 1.5, 1.5, 0.015, LIQUID, 8, 5),
    Case("viscosity of the closed loop, 60 ps", 1, 60.0, 1.5, 1.5, 0.02, LIQUID, 8, 5),
)


def made(case: Case, flux: str, seed: int) -> FloatArray:
    """Return fluxes (n_replicas, n_frames, n_components) whose correlations have the integral 1 by the trapezoid rule."""
    rng = np.random.default_rng(seed)
    shape = (case.replicas, case.components, round(case.length / case.interval))
    total = np.zeros(shape)
    for time, frequency, weight in FLUXES[flux]:
        turn = np.exp((-1.0 / time + 2j * np.pi * frequency) * case.interval)
        noise = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
        noise[..., 1:] *= np.sqrt(1.0 - abs(turn) ** 2)
        area = (case.interval * (0.5 + turn / (1.0 - turn))).real
        total += np.sqrt(weight / area) * lfilter([1.0], [1.0, -turn], noise, axis=-1).real
    return np.moveaxis(total, 1, 2)


def where_still(found: GreenKubo) -> int:
    """Return 2t for the first t from which to 2t the integral changes by no more than its error between each lag and twice it."""
    integral, error = found.integral, found.integral_error
    half = np.arange(1, (len(integral) - 1) // 2 + 1)
    change = np.abs(integral[2 * half] - integral[half])
    for t in half[change <= error[2 * half]]:
        inside = slice(t - 1, min(2 * t, len(half)))
        if np.all(change[inside] <= 1.5 * error[2 * half[inside]]):
            return int(2 * t)
    return len(integral) - 1


def judged(case: Case, flux: str, seeds: int) -> dict[str, float | str]:
    """Return means, errors and pulls of both ways over so many seeds."""
    fixed, still = [], []
    said = np.zeros(2)
    for seed in range(seeds):
        n_lags = min(
            round(case.correlation_time / case.interval) + 1,
            round(case.length / case.interval) // case.blocks // 2,
        )
        one = green_kubo(
            made(case, flux, seed),
            case.interval,
            n_lags=n_lags,
            blocks=case.blocks,
            read_at=case.read_at,
            equivalent=case.components == 5,
        )
        fixed.append((one.value, one.error))
        said += (not one.converged, not one.sampled)
        at = where_still(one)
        still.append((one.integral[at], one.integral_error[at]))
    row: dict[str, float | str] = {"case": case.name, "flux": flux}
    for name, pairs in (("fixed", fixed), ("still", still)):
        values, errors = np.array(pairs).T
        row |= {
            f"{name} mean": float(values.mean()),
            f"{name} scatter": float(values.std(ddof=1)),
            f"{name} stated": float(np.sqrt((errors**2).mean())),
            f"{name} pull": float(np.sqrt((((values - 1.0) / errors) ** 2).mean())),
        }
    return row | {"grows": float(said[0] / seeds), "short": float(said[1] / seeds)}


def main() -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=48)
    options = parser.parse_args()
    rows = [judged(case, flux, options.seeds) for case in CASES for flux in case.fluxes]
    lines = [
        "# Errors of Green-Kubo integrals: made fluxes whose integral is 1",
        "",
        f"{options.seeds} seeds each. Pull: root mean square of (integral - 1) / stated error, 1 where errors are right.",
        "",
        "| settings | flux forgets within | mean | scatter | stated error | pull | said: grows, short | read where it stands still: mean, pull |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['case']} | {r['flux']} | {r['fixed mean']:.2f} | {r['fixed scatter']:.2f} | {r['fixed stated']:.2f} | "
        f"{r['fixed pull']:.2f} | {100 * float(r['grows']):.0f} %, {100 * float(r['short']):.0f} % | "
        f"{r['still mean']:.2f}, {r['still pull']:.1f} |"
        for r in rows
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    content = {"seeds": options.seeds, "cases": [asdict(case) for case in CASES], "rows": rows}
    write_json(RESULTS / "green_kubo_errors.json", content)
    write_text(RESULTS / "green_kubo_errors.md", text)


if __name__ == "__main__":
    main()
