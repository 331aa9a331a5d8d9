"""Free energies at other temperatures: reversible scaling, the equation of Gibbs and Helmholtz, and where phases meet."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ase import units
from numpy.polynomial import Polynomial
from numpy.typing import ArrayLike, NDArray

from forgefield.errors import ConfigError, SimulationError
from forgefield.properties.dynamics_forces import ForceField, Forces
from forgefield.properties.free_energy_estimators import Measured
from forgefield.properties.free_energy_potentials import Scaled

__all__ = ["Crossing", "GibbsCurve", "Ramp", "crossing", "gibbs_helmholtz", "reversible_scaling"]

FloatArray = NDArray[np.float64]


class Ramp:
    """A potential scaled by a factor that changes by one step with every evaluation, and the work of that.

    Parameters
    ----------
    field : ForceField
    first, last : float
        Scales s at the two ends.
    steps : int

    Attributes
    ----------
    scales, works : list of float
        s, and the work ``int U ds`` [eV] done up to there.
    """

    def __init__(self, field: ForceField, first: float, last: float, steps: int) -> None:
        self.scaled = Scaled(field, first)
        self._plan = np.linspace(first, last, steps + 1)
        self.scales: list[float] = []
        self.works: list[float] = []
        self._before = 0.0

    def evaluate(
        self, positions: FloatArray, cell: FloatArray, *, virial: bool = False, atomic: bool = False
    ) -> Forces:
        """Compute; see `ForceField`."""
        k = min(len(self.scales), len(self._plan) - 1)
        self.scaled.scale = float(self._plan[k])
        result = self.scaled.evaluate(positions, cell, virial=virial, atomic=atomic)
        if len(self.scales) < len(self._plan):
            if k:
                step = self._plan[k] - self._plan[k - 1]
                self.works.append(self.works[-1] + 0.5 * float(step) * (self._before + self.scaled.energy))
            else:
                self.works.append(0.0)
            self.scales.append(float(self._plan[k]))
            self._before = self.scaled.energy
        return result

    def reset(self) -> None:
        """Forget neighbour lists; scale and work stay."""
        self.scaled.reset()


def reversible_scaling(
    scales: ArrayLike,
    forward: ArrayLike,
    backward: ArrayLike,
    free_energy: Measured,
    temperature: float,
    n_atoms: int,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the free energy at every temperature ``T = T0 / s``, from works of scaling the potential.

    ``F(T) = F_s / s + 3/2 N k T ln(T0 / T)`` with ``F_s = F(T0) + W(s)``: the configurations of U at T are those of
    ``s U`` at T0, and only the kinetic part has to be put in by hand.

    Parameters
    ----------
    scales : (n,)
        From 1 to the last.
    forward : (n,) [eV]
        Work done up to each scale.
    backward : (n,) [eV]
        Work done from the last scale back to each of them.
    free_energy : Measured [eV]
        Helmholtz, at T0.
    temperature : float [K]
        T0.
    n_atoms : int

    Returns
    -------
    temperatures, free energies, errors : (n,) [K], [eV], [eV]
        The error has that at T0, scaled, and half the work wasted there and back.

    Notes
    -----
    Source: M. de Koning, A. Antonelli and S. Yip, Phys. Rev. Lett. 83, 3973 (1999).
    """
    s = np.asarray(scales, dtype=np.float64)
    f, b = np.asarray(forward, dtype=np.float64), np.asarray(backward, dtype=np.float64)
    if not (s.shape == f.shape == b.shape) or not (s > 0).all():
        raise ConfigError(f"scales must be positive, with one work each way: {s.shape}, {f.shape}, {b.shape}")
    work = 0.5 * (f + (b - b[0]))  # b[0] is the work of the whole way back
    wasted = 0.5 * np.abs(f + (b[0] - b))
    temperatures = temperature / s
    kinetic = 1.5 * n_atoms * units.kB * temperatures * np.log(temperature / temperatures)
    values = (free_energy.value + work) / s + kinetic
    errors = np.hypot(free_energy.error, wasted) / s
    return temperatures, values, errors


@dataclass(frozen=True)
class GibbsCurve:
    """Gibbs energy per atom against temperature at one pressure.

    Attributes
    ----------
    temperature : float [K]
        Where it is known from integration.
    anchor : Measured [eV/atom]
        There.
    enthalpy : Polynomial
        H(T) [eV/atom], kinetic energy included.
    enthalpy_error : float [eV/atom]
        Of the mean enthalpy: what it leaves in G grows with the distance from the anchor.
    covariance : (k, k), optional
        Of the coefficients of `enthalpy` in its own variable [(eV/atom)^2].
    """

    temperature: float
    anchor: Measured
    enthalpy: Polynomial
    enthalpy_error: float
    covariance: FloatArray | None = None

    def heat(self, temperature: float) -> Measured:
        """Return the enthalpy [eV/atom] at a temperature [K] with the error of the fit there."""
        value = float(self.enthalpy(temperature))
        if self.covariance is None:
            return Measured(value, self.enthalpy_error)
        offset, scale = self.enthalpy.mapparms()
        powers = (float(offset) + float(scale) * temperature) ** np.arange(len(self.covariance))
        return Measured(value, math.sqrt(float(powers @ self.covariance @ powers)))

    def __call__(self, temperature: float) -> Measured:
        """Return ``G(T) = T [G0 / T0 - int_T0^T H / T'^2 dT']`` [eV/atom]."""
        t, t0 = temperature, self.temperature
        integral = 0.0
        for power, c in enumerate(np.asarray(self.enthalpy.convert().coef, dtype=np.float64)):
            if power == 1:
                integral += c * math.log(t / t0)
            else:
                integral += c * (t ** (power - 1) - t0 ** (power - 1)) / (power - 1)
        value = t * (self.anchor.value / t0 - integral)
        error = math.hypot(t / t0 * self.anchor.error, self.enthalpy_error * abs(1.0 - t / t0))
        return Measured(value, error)


def gibbs_helmholtz(
    temperature: float, anchor: Measured, temperatures: ArrayLike, enthalpies: ArrayLike, errors: ArrayLike
) -> GibbsCurve:
    """Return the Gibbs energy at all temperatures from one value and enthalpies: ``d(G/T)/dT = -H/T^2``.

    Parameters
    ----------
    temperature : float [K]
    anchor : Measured [eV/atom]
        G there.
    temperatures, enthalpies, errors : (n,) [K], [eV/atom], [eV/atom]
        n = 1: constant; 2: a straight line; more: a parabola, weighted with the errors.
    """
    t, h = np.asarray(temperatures, dtype=np.float64), np.asarray(enthalpies, dtype=np.float64)
    e = np.maximum(np.asarray(errors, dtype=np.float64), 1e-9)
    if t.shape != h.shape or t.ndim != 1 or len(t) == 0 or not (t > 0).all():
        raise ConfigError(f"needs one enthalpy per temperature > 0 K, got {t.shape}, {h.shape}")
    fitted = Polynomial.fit(t, h, min(len(t) - 1, 2), w=1.0 / e)
    offset, scale = fitted.mapparms()
    design = np.vander(offset + scale * t, len(fitted.coef), increasing=True) / e[:, None]
    covariance: FloatArray = np.asarray(np.linalg.inv(design.T @ design), dtype=np.float64)
    return GibbsCurve(temperature, anchor, fitted, float(1.0 / np.sqrt((1.0 / e**2).sum())), covariance)


@dataclass(frozen=True)
class Crossing:
    """Where two phases have one Gibbs energy.

    Attributes
    ----------
    temperature : Measured [K]
    latent_heat : Measured [eV/atom]
        Enthalpy of the second phase minus that of the first.
    entropy : Measured [k_B per atom]
        Of melting: latent heat over temperature.
    """

    temperature: Measured
    latent_heat: Measured
    entropy: Measured


def crossing(solid: GibbsCurve, liquid: GibbsCurve, low: float, high: float) -> Crossing:
    """Return where ``G_solid = G_liquid`` between two temperatures [K].

    The error of the temperature is that of the difference of Gibbs energies over the entropy of melting.

    Raises
    ------
    SimulationError
        They do not meet in between; says which phase is the stable one there.
    """
    from scipy.optimize import brentq

    def difference(t: float) -> float:
        return (liquid(t) - solid(t)).value

    ends = difference(low), difference(high)
    if ends[0] * ends[1] > 0:
        stable = "solid" if ends[0] > 0 else "liquid"
        raise SimulationError(
            f"the Gibbs energies of solid and liquid do not meet between {low:.0f} and {high:.0f} K: the {stable} is "
            f"stable there (difference {1e3 * ends[0]:.2f} and {1e3 * ends[1]:.2f} meV/atom); move or widen the range"
        )
    melting = float(brentq(difference, low, high, xtol=1e-6))
    heat = liquid.heat(melting) - solid.heat(melting)
    entropy = heat.value / melting
    error = (liquid(melting) - solid(melting)).error / max(abs(entropy), 1e-12)
    spread = math.hypot(heat.error / melting, entropy * error / melting)
    return Crossing(Measured(melting, error), heat, Measured(entropy, spread) * (1.0 / units.kB))
