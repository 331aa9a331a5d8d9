"""Vibrations of moving atoms: velocity autocorrelation and the density of states it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray
from pydantic import Field, model_validator

from forgefield.errors import ConfigError, DataError
from forgefield.properties.base import Curve, Progress, Property, PropertyResult, Quantity, silent
from forgefield.properties.correlation import correlation, spectrum
from forgefield.properties.simulation import SimulationSettings, require_length, short_of, trajectory_of
from forgefield.properties.statistics import of_replicas
from forgefield.properties.trajectory import Trajectory

__all__ = ["VDOS", "Vibrations", "vibrations"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Vibrations:
    """Velocity autocorrelation of one element (or of all atoms).

    Attributes
    ----------
    element : str
    time : (n_lags,) [ps]
    vacf, vacf_error : (n_lags,)
        ``sum_i m_i <v_i(0) v_i(t)>``, 1 at t = 0.
    frequency : (n,) [THz]
    density, density_error : (n,) [1/THz]
        Its integral over positive frequencies is 1.
    mean_frequency, mean_frequency_error : float [THz]
        First moment of the density of states.
    diffusion, diffusion_error : float [Å^2/ps]
        ``integral_0^inf <v(0) v(t)> dt / 3``; of an element.
    """

    element: str
    time: FloatArray
    vacf: FloatArray
    vacf_error: FloatArray
    frequency: FloatArray
    density: FloatArray
    density_error: FloatArray
    diffusion: float
    diffusion_error: float
    mean_frequency: float
    mean_frequency_error: float


def vibrations(
    moving: Trajectory, *, correlation_time: float = 2.0, blocks: int = 10
) -> dict[str, Vibrations]:
    """Return velocity autocorrelation and density of states of every element and of ``"all"``.

    Parameters
    ----------
    moving : Trajectory
        With velocities; frames closer than half the shortest period.
    correlation_time : float [ps]
        Longest lag; the resolution in frequency is about its inverse.
    blocks : int

    Notes
    -----
    ``g(f) = 2 integral sum_i m_i <v_i(0) v_i(t)> cos(2 pi f t) dt / (3 N kT)`` with a Hann window, normalised to 1.

    Raises
    ------
    DataError
        No velocities, or too short.
    """
    if moving.velocities is None:
        raise DataError("the trajectory has no velocities; store momenta, or simulate here")
    step = moving.interval / 1000.0
    n_lags = round(correlation_time / step) + 1
    size = len(moving) // blocks
    if n_lags < 4 or size < n_lags:
        need = n_lags * blocks * step
        raise DataError(
            f"a correlation time of {correlation_time} ps needs frames closer than a quarter of that and {need:.3g} ps "
            f"for {blocks} blocks; got one frame every {step:.4g} ps over {moving.length:.4g} ps"
        )
    mean = np.einsum("i,tia->ta", moving.masses / moving.masses.sum(), moving.velocities)
    velocities = (moving.velocities - mean[:, None])[: size * blocks]
    per_atom = np.empty((blocks, n_lags, len(moving.numbers)))
    for n, part in enumerate(velocities.reshape(blocks, size, -1, 3)):
        per_atom[n] = correlation(part, n_lags).sum(axis=2)
    time = np.asarray(np.arange(n_lags) * step, dtype=np.float64)
    groups = {"all": np.arange(len(moving.numbers))} | {e: moving.of(e) for e in moving.elements}
    result = {}
    for name, chosen in groups.items():
        weighted = np.einsum("i,bti->bt", moving.masses[chosen], per_atom[:, :, chosen])
        normal = weighted / weighted[:, :1]
        vacf, vacf_error = of_replicas(normal)
        spectra = [spectrum(c, step) for c in normal]
        frequency = spectra[0][0]
        densities = np.stack([density for _, density in spectra])
        density, density_error = of_replicas(
            densities / (densities.sum(axis=1, keepdims=True) * frequency[1])
        )
        mean_f, mean_f_error = of_replicas((densities * frequency).sum(axis=1) / densities.sum(axis=1))
        to_ps = (1000.0 * units.fs) ** 2  # of velocities squared: per (ASE time)^2 to per ps^2
        plain = per_atom[:, :, chosen].mean(axis=2) * to_ps / 3.0
        areas = 0.5 * step * (plain[:, 1:] + plain[:, :-1]).sum(axis=1)
        d, d_error = of_replicas(areas)
        # fmt: off
        result[name] = Vibrations(
            name, time, vacf, vacf_error, frequency, density, density_error, float(d), float(d_error),
            float(mean_f), float(mean_f_error),
        )
        # fmt: on
    return result


class VdosSettings(SimulationSettings):
    """Vibrations."""

    length: float = Field(25.0, gt=0, description="of production [ps]")
    interval: float = Field(4.0, gt=0, description="between samples [fs]; below half the shortest period")
    correlation_time: float = Field(2.0, gt=0, description="longest lag [ps]; its inverse is the resolution")
    f_max: float | None = Field(
        None, gt=0, description="largest frequency reported [THz]; null: where it has ended"
    )
    error: float | None = Field(
        None, gt=0, description="relative standard error wanted of the mean frequency; null: any"
    )

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        need = self.blocks * (self.correlation_time + 2e-3 * self.spacing)
        require_length(self, need, f"{self.blocks} blocks of `correlation_time` = {self.correlation_time} ps")
        return self


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: VdosSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> PropertyResult:
    moving, done = trajectory_of(
        atoms,
        calculator,
        settings,
        purpose="a vibrational density of states",
        keep=("positions", "velocities"),
        folder=folder,
        progress=progress,
    )
    found = vibrations(moving, correlation_time=settings.correlation_time, blocks=settings.blocks)
    whole = found["all"]
    ended = np.flatnonzero(np.cumsum(whole.density) > 0.9999 * whole.density.sum())
    f_max = settings.f_max or 1.2 * float(whole.frequency[ended[0] if len(ended) else -1])
    if f_max <= 0:
        raise ConfigError("the density of states is empty; check the trajectory")
    warnings = []
    if whole.density[-max(1, len(whole.density) // 20) :].mean() > 0.01 * whole.density.max():
        warnings.append(
            f"the density of states has not ended at {whole.frequency[-1]:.1f} THz; take a shorter `interval`"
        )
    warnings += short_of(
        whole.mean_frequency,
        whole.mean_frequency_error,
        settings.error,
        lambda times: f"{moving.length * times:.3g} ps",
    )
    seen = whole.frequency <= f_max
    quantities = {
        "mean_frequency": Quantity(whole.mean_frequency, "THz", whole.mean_frequency_error, "of all atoms")
    }
    curves = {}
    for name, one in found.items():
        if name == "all" and len(moving.elements) == 1:
            continue
        curves[f"{name} density"] = Curve(
            one.frequency[seen], one.density[seen], "frequency [THz]", "density of states [1/THz]",
            one.density_error[seen],
        )  # fmt: skip
        curves[f"{name} autocorrelation"] = Curve(
            one.time, one.vacf, "time [ps]", "velocity autocorrelation", one.vacf_error
        )
        if name != "all":
            quantities[f"{name} diffusion"] = Quantity(
                one.diffusion * 1e-8, "m^2/s", one.diffusion_error * 1e-8, "integral of the autocorrelation"
            )
    return PropertyResult(
        name="vdos",
        quantities=quantities | {"resolution": Quantity(1.0 / settings.correlation_time, "THz")},
        conditions=settings.model_dump(mode="json") | done | {"n_frames": len(moving)},
        curves=curves,
        warnings=tuple(warnings),
    )


VDOS = Property("vdos", "velocity autocorrelation and vibrational density of states", VdosSettings, _compute)
