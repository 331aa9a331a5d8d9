"""Equations of state: energy as a function of volume and four parameters, and their least-squares fit.

All are given with the energy E0, the volume V0, the bulk modulus B0 and its derivative B0' at zero pressure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from forgefield.errors import DataError

__all__ = [
    "FORMS",
    "FormName",
    "birch_murnaghan",
    "fit_form",
    "murnaghan",
    "poirier_tarantola",
    "standard_errors",
    "vinet",
]

FloatArray = NDArray[np.float64]
Form = Callable[[Any, Any, Any, Any, Any], Any]
FormName = Literal["birch-murnaghan", "murnaghan", "vinet", "poirier-tarantola"]


def birch_murnaghan(v: Any, e0: Any, v0: Any, b0: Any, b1: Any) -> Any:
    """Finite strain, third order: F. Birch, Phys. Rev. 71, 809 (1947).

    ``E = E0 + 9/16 V0 B0 (B0' y^3 + y^2 (2 - 4 y))`` with ``y = (V0/V)^(2/3) - 1``.
    """
    y = (v0 / v) ** (2.0 / 3.0) - 1.0
    return e0 + 9.0 / 16.0 * v0 * b0 * (y**3 * b1 + y**2 * (2.0 - 4.0 * y))


def murnaghan(v: Any, e0: Any, v0: Any, b0: Any, b1: Any) -> Any:
    """Bulk modulus linear in pressure: F. D. Murnaghan, Proc. Natl. Acad. Sci. 30, 244 (1944).

    ``E = E0 + B0 V / B0' ((V0/V)^B0' / (B0' - 1) + 1) - B0 V0 / (B0' - 1)``.
    """
    return e0 + b0 * v / b1 * ((v0 / v) ** b1 / (b1 - 1.0) + 1.0) - b0 * v0 / (b1 - 1.0)


def vinet(v: Any, e0: Any, v0: Any, b0: Any, b1: Any) -> Any:
    """Universal binding energy: P. Vinet et al., J. Phys. C 19, L467 (1986).

    ``E = E0 + 2 B0 V0 / (B0' - 1)^2 (2 - (5 + 3 B0' (x - 1) - 3 x) exp(-3/2 (B0' - 1) (x - 1)))`` with
    ``x = (V/V0)^(1/3)``.
    """
    x = (v / v0) ** (1.0 / 3.0)
    decay = np.exp(-1.5 * (b1 - 1.0) * (x - 1.0))
    return e0 + 2.0 * b0 * v0 / (b1 - 1.0) ** 2 * (2.0 - (5.0 + 3.0 * b1 * (x - 1.0) - 3.0 * x) * decay)


def poirier_tarantola(v: Any, e0: Any, v0: Any, b0: Any, b1: Any) -> Any:
    """Logarithmic strain, third order: J.-P. Poirier, A. Tarantola, Phys. Earth Planet. Inter. 109, 1 (1998).

    ``E = E0 + B0 V0 (s^2 / 2 + (B0' - 2) s^3 / 6)`` with ``s = ln(V0/V)``.
    """
    s = np.log(v0 / v)
    return e0 + b0 * v0 * (s**2 / 2.0 + (b1 - 2.0) * s**3 / 6.0)


FORMS: dict[FormName, Form] = {
    "birch-murnaghan": birch_murnaghan,
    "murnaghan": murnaghan,
    "vinet": vinet,
    "poirier-tarantola": poirier_tarantola,
}
"""Equations of state by name."""


def _jacobian(form: Form, volumes: FloatArray, parameters: FloatArray) -> FloatArray:
    """Return the derivatives, (n, 4), by complex steps: exact to rounding."""
    columns = []
    for k in range(4):
        moved = parameters.astype(np.complex128)
        step = 1e-20 * max(abs(parameters[k]), 1e-10)
        moved[k] += 1j * step
        columns.append(np.asarray(form(volumes, *moved)).imag * np.ones_like(volumes) / step)
    return np.stack(columns, axis=1)


def fit_form(name: FormName, volumes: FloatArray, energies: FloatArray, start: FloatArray) -> FloatArray:
    """Return E0 [eV], V0 [Å^3], B0 [eV/Å^3] and B0' of least squares.

    Parameters
    ----------
    name : str
    volumes, energies : (n,) [Å^3], [eV]
    start : (4,)
        First guess of the same parameters.

    Raises
    ------
    DataError
        The fit does not converge.
    """
    form = FORMS[name]
    # Energies relative to the minimum, in units that make everything about one.
    shift, size = start[0], max(float(np.ptp(energies)), 1e-12)
    unit = np.array([size, start[1], max(abs(start[2]), 1e-12), 1.0])
    first = np.array([0.0, *start[1:]]) / unit

    def residual(x: FloatArray) -> FloatArray:
        return np.asarray((form(volumes, *(x * unit)) + shift - energies) / size, dtype=np.float64)

    def jacobian(x: FloatArray) -> FloatArray:
        return np.asarray(_jacobian(form, volumes, x * unit) * unit / size, dtype=np.float64)

    found = least_squares(residual, first, jacobian, method="lm", xtol=1e-14, ftol=1e-14, gtol=1e-14)
    if not found.success or not np.isfinite(found.x).all():
        raise DataError(f"the {name} equation of state does not fit these energies: {found.message}")
    parameters = np.asarray(found.x * unit, dtype=np.float64)
    parameters[0] += shift
    return parameters


def standard_errors(
    name: FormName, volumes: FloatArray, energies: FloatArray, parameters: FloatArray
) -> FloatArray:
    """Return the standard errors of the four parameters, (4,).

    From the covariance ``s^2 (J^T J)^-1`` of least squares with ``s^2 = |residual|^2 / (n - 4)``: what scatter of the
    energies and the misfit of the form explain. The error of the potential itself is in none of it.
    """
    form = FORMS[name]
    residual = np.asarray(form(volumes, *parameters)) - energies
    jacobian = _jacobian(form, volumes, parameters)
    scale = np.linalg.norm(jacobian, axis=0)
    inverse = np.linalg.pinv((jacobian / scale).T @ (jacobian / scale)) / np.outer(scale, scale)
    variance = float(residual @ residual) / max(len(volumes) - 4, 1)
    return np.asarray(np.sqrt(np.maximum(variance * np.diag(inverse), 0.0)))


if set(FORMS) != set(get_args(FormName)):  # the schema and the table name the same forms
    raise RuntimeError("FormName and FORMS differ")
