"""From averages and works to free energies: quadratures, switching functions, estimators and their errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logsumexp

from forgefield.errors import ConfigError, DataError

__all__ = [
    "Measured",
    "Quadrature",
    "bennett",
    "forward_backward",
    "jarzynski",
    "quadrature",
    "switching",
]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """A number and its standard error, in one unit.

    Attributes
    ----------
    value, error : float
    """

    value: float
    error: float

    def __add__(self, other: Measured | float) -> Measured:
        if isinstance(other, Measured):
            return Measured(self.value + other.value, math.hypot(self.error, other.error))
        return Measured(self.value + other, self.error)

    def __sub__(self, other: Measured | float) -> Measured:
        return self + (other * -1.0 if isinstance(other, Measured) else -other)

    def __mul__(self, factor: float) -> Measured:
        return Measured(self.value * factor, abs(factor) * self.error)


@dataclass(frozen=True)
class Quadrature:
    """Points of lambda and weights, such that ``sum w f(lambda)`` is the integral of f from 0 to 1.

    Attributes
    ----------
    points, weights : (n,)
    power : float
        k of the map that put them there, see `quadrature`.
    """

    points: FloatArray
    weights: FloatArray
    power: float = 0.0

    def integrate(self, values: ArrayLike, errors: ArrayLike) -> Measured:
        """Return the integral of averages with independent standard errors."""
        f, df = np.asarray(values, dtype=np.float64), np.asarray(errors, dtype=np.float64)
        if f.shape != self.points.shape or df.shape != self.points.shape:
            raise ConfigError(
                f"needs one value and error per point ({len(self.points)}), got {f.shape}, {df.shape}"
            )
        return Measured(float(self.weights @ f), float(np.sqrt((self.weights**2) @ (df**2))))


def quadrature(n: int, power: float = 0.0) -> Quadrature:
    """Return Gauss and Legendre's points, clustered towards lambda = 0 by paper 5's map.

    ``lambda(x) = ((x + 1) / 2)^(1 / (1 - k))`` for x from -1 to 1, and
    ``int_0^1 f dlambda = 1 / (2 (1 - k)) int_-1^1 f(lambda(x)) lambda(x)^k dx``.

    Parameters
    ----------
    n : int, >= 1
        Points; a polynomial of degree 2 n - 1 in lambda is integrated exactly for k = 0.
    power : float, 0 <= k < 1
        Exponent k; 0 leaves lambda as it is. Paper 5 takes 0.85 for the way from the ideal gas.

    Notes
    -----
    Source: equations (8) and (9) of K. Shimamura, A. Koura and F. Shimojo, after M. Rang and G. Kresse, Phys. Rev. B
    99, 184103 (2019).
    """
    if n < 1 or not 0.0 <= power < 1.0:
        raise ConfigError(f"a quadrature needs n >= 1 points and 0 <= power < 1, got {n}, {power}")
    x, w = np.polynomial.legendre.leggauss(n)
    points = ((x + 1.0) / 2.0) ** (1.0 / (1.0 - power))
    return Quadrature(points, w * points**power / (2.0 * (1.0 - power)), power)


def switching(
    fraction: ArrayLike, shape: Literal["smooth", "linear"] = "smooth"
) -> tuple[FloatArray, FloatArray]:
    """Return lambda and its derivative at a fraction of the switching time.

    ``smooth``: ``lambda(t) = t^5 (70 t^4 - 315 t^3 + 540 t^2 - 420 t + 126)``, whose first four derivatives vanish at
    both ends.

    Notes
    -----
    Source: M. de Koning and A. Antonelli, Phys. Rev. E 53, 465 (1996).
    """
    t = np.clip(np.asarray(fraction, dtype=np.float64), 0.0, 1.0)
    if shape == "linear":
        return t, np.ones_like(t)
    value = t**5 * (70.0 * t**4 - 315.0 * t**3 + 540.0 * t**2 - 420.0 * t + 126.0)
    return value, 630.0 * t**4 * (1.0 - t) ** 4


def forward_backward(forward: ArrayLike, backward: ArrayLike) -> tuple[Measured, Measured]:
    """Return the free energy difference and the heat wasted, from works of switching there and back.

    ``dF = (<W_f> - <W_b>) / 2`` and ``Q = (<W_f> + <W_b>) / 2``: near equilibrium both ways waste the same.

    Parameters
    ----------
    forward, backward : (n,)
        Works done on the system; `backward` on the way back.

    Returns
    -------
    Measured, Measured
        Errors are those of the means over n runs; for n = 1 the dissipated work itself stands for the error.
    """
    f, b = _works(forward), _works(backward)
    difference, wasted = 0.5 * (f.mean() - b.mean()), 0.5 * (f.mean() + b.mean())
    if min(len(f), len(b)) < 2:
        return Measured(float(difference), abs(float(wasted))), Measured(float(wasted), abs(float(wasted)))
    error = 0.5 * math.hypot(f.std(ddof=1) / math.sqrt(len(f)), b.std(ddof=1) / math.sqrt(len(b)))
    return Measured(float(difference), error), Measured(float(wasted), error)


def jarzynski(works: ArrayLike, thermal: float) -> Measured:
    """Return ``dF = -k T ln < exp(-W / k T) >``, with the error of leaving out one run at a time.

    Parameters
    ----------
    works : (n,) [eV]
    thermal : float [eV]
        k T.

    Notes
    -----
    Biased upwards unless the works spread by little more than k T. Source: C. Jarzynski, Phys. Rev. Lett. 78, 2690
    (1997).
    """
    w = _works(works)

    def estimate(x: FloatArray) -> float:
        return float(-thermal * (logsumexp(-x / thermal) - math.log(len(x))))

    if len(w) < 2:
        return Measured(estimate(w), math.inf)
    left_out = np.array([estimate(np.delete(w, i)) for i in range(len(w))])
    error = math.sqrt((len(w) - 1) * float(left_out.var()))
    return Measured(estimate(w), error)


def bennett(forward: ArrayLike, backward: ArrayLike, thermal: float) -> Measured:
    """Return the most likely free energy difference given works of both ways (acceptance ratio).

    Parameters
    ----------
    forward, backward : (n,), (m,) [eV]
    thermal : float [eV]

    Notes
    -----
    Source: C. H. Bennett, J. Comput. Phys. 22, 245 (1976); for works: M. R. Shirts, E. Bair, G. Hooker and
    V. S. Pande, Phys. Rev. Lett. 91, 140601 (2003). Error: leaving out one pair of runs at a time.
    """
    f, b = _works(forward) / thermal, _works(backward) / thermal

    def solve(x: FloatArray, y: FloatArray) -> float:
        shift = math.log(len(x) / len(y))

        def excess(d: float) -> float:
            return float(expit(-(shift + x - d)).sum() - expit(-(-shift + y + d)).sum())

        span = 10.0 + float(max(np.ptp(x), np.ptp(y)))
        low, high = min(x.min(), -y.max()) - span, max(x.max(), -y.min()) + span
        return float(brentq(excess, low, high, xtol=1e-12))

    value = solve(f, b)
    n = min(len(f), len(b))
    if n < 2:
        return Measured(value * thermal, math.inf)
    left_out = np.array([solve(np.delete(f, i), np.delete(b, i)) for i in range(n)])
    return Measured(value * thermal, thermal * math.sqrt((n - 1) * float(left_out.var())))


def _works(values: ArrayLike) -> FloatArray:
    w = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if w.size == 0 or not np.isfinite(w).all():
        raise DataError(f"works of switching must be finite and at least one, got {w}")
    return w
