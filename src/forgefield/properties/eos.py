"""Equation of state: energy against volume, fitted with Birch and Murnaghan's form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from forgefield.config import Schema
from forgefield.errors import ConfigError, DataError
from forgefield.properties.base import Curve, Progress, Property, PropertyResult, Quantity, silent
from forgefield.properties.structures import relax_ions, require_crystal, strained
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = [
    "DEFAULT_STRAINS",
    "EOS",
    "EosSettings",
    "EquationOfState",
    "equation_of_state",
    "fit_equation_of_state",
]

FloatArray = NDArray[np.float64]

DEFAULT_STRAINS = (-0.03, -0.02, -0.01, -0.005, 0.0, 0.005, 0.01, 0.02, 0.03)
"""Changes of the cell lengths at which the energy is computed."""


@dataclass(frozen=True)
class EquationOfState:
    """Energy of a crystal against its volume, everything per atom.

    Attributes
    ----------
    volume : float [Å^3/atom]
        Equilibrium volume V0.
    energy : float [eV/atom]
        Energy E0 there.
    bulk_modulus : float [GPa]
        B0.
    bulk_modulus_derivative : float
        Derivative B0' of the bulk modulus with respect to pressure.
    fit_error : float [eV/atom]
        Root mean square distance of the energies from the curve.
    volumes, energies : (n,) [Å^3/atom], [eV/atom]
        The points fitted.
    """

    volume: float
    energy: float
    bulk_modulus: float
    bulk_modulus_derivative: float
    fit_error: float
    volumes: FloatArray
    energies: FloatArray

    def length(self, atoms_per_cube: int) -> float:
        """Return the edge [Å] of the equilibrium cube that holds so many atoms: 8 for diamond, 4 for fcc."""
        return float((self.volume * atoms_per_cube) ** (1.0 / 3.0))

    def __call__(self, volume: ArrayLike) -> FloatArray:
        """Return the fitted energy [eV/atom] at volumes [Å^3/atom].

        Source: F. Birch, Phys. Rev. 71, 809 (1947); third order.
        """
        eta = (self.volume / np.asarray(volume, dtype=np.float64)) ** (2.0 / 3.0) - 1.0
        b0 = self.bulk_modulus / EV_PER_A3_TO_GPA
        cubic = eta**3 * self.bulk_modulus_derivative + eta**2 * (2.0 - 4.0 * eta)
        return np.asarray(self.energy + 9.0 / 16.0 * self.volume * b0 * cubic)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers with units in the names."""
        return {
            "volume_A3_per_atom": self.volume,
            "energy_eV_per_atom": self.energy,
            "bulk_modulus_GPa": self.bulk_modulus,
            "bulk_modulus_derivative": self.bulk_modulus_derivative,
            "fit_error_eV_per_atom": self.fit_error,
            "volumes_A3_per_atom": self.volumes.tolist(),
            "energies_eV_per_atom": self.energies.tolist(),
        }


def equation_of_state(
    atoms: Atoms,
    calculator: Calculator | None = None,
    *,
    strains: Sequence[float] = DEFAULT_STRAINS,
    relax: bool = False,
    force_tolerance: float = 1e-4,
) -> EquationOfState:
    """Compute energies of isotropically strained copies and fit them.

    Parameters
    ----------
    atoms : ase.Atoms
        A crystal near its equilibrium volume; not changed.
    calculator : ase calculator, optional
        Default: the one attached to `atoms`.
    strains : sequence of float
        Relative changes of all three cell lengths; at least five.
    relax : bool
        Relax the ions at every volume; not needed where symmetry holds them in place.
    force_tolerance : float [eV/Å]
        Largest force left by that relaxation.

    Raises
    ------
    StructureError, ConfigError
        Not a crystal; too few strains or no calculator.
    DataError
        The energies have no minimum between the smallest and the largest volume.
    """
    require_crystal(atoms, "an equation of state")
    calculator = atoms.calc if calculator is None else calculator
    if calculator is None:
        raise ConfigError("no calculator: give `calculator`, or attach one with atoms.calc = ...")
    bad = [s for s in strains if not -0.5 < s < 1.0]
    if bad:
        raise ConfigError(f"`strains` must lie between -0.5 and 1, got {bad}")
    volumes, energies = [], []
    for strain in strains:
        copy = strained(atoms, (1.0 + strain) * np.eye(3))
        copy.calc = calculator
        if relax:
            relax_ions(copy, calculator, force_tolerance)
        volumes.append(copy.get_volume() / len(copy))
        energies.append(copy.get_potential_energy() / len(copy))
    return fit_equation_of_state(volumes, energies)


def fit_equation_of_state(volumes: ArrayLike, energies: ArrayLike) -> EquationOfState:
    """Fit the third-order Birch-Murnaghan equation of state.

    Parameters
    ----------
    volumes, energies : (n,) [Å^3/atom], [eV/atom]
        At least five different volumes around the minimum.

    Notes
    -----
    The equation is a cubic polynomial in ``x = V^(-2/3)``, so that the fit is linear and needs no guess; V0, B0
    and B0' follow from its derivatives at the minimum.

    Raises
    ------
    ConfigError
        Fewer than five volumes.
    DataError
        Not finite, or no minimum inside the range.
    """
    v, e = np.asarray(volumes, dtype=np.float64), np.asarray(energies, dtype=np.float64)
    if v.ndim != 1 or v.shape != e.shape or len(np.unique(v)) < 5:
        raise ConfigError(
            f"an equation of state needs five or more volumes with one energy each, got {v.shape}, {e.shape}"
        )
    if not (np.isfinite(v).all() and np.isfinite(e).all() and (v > 0).all()):
        raise DataError("volumes must be positive and energies finite; check the calculator")
    reference = float(np.median(v))
    x = (v / reference) ** (-2.0 / 3.0)
    polynomial = np.polynomial.Polynomial.fit(x, e, 3).convert()
    first, second, third = (polynomial.deriv(n) for n in (1, 2, 3))
    roots = [float(r.real) for r in first.roots() if abs(r.imag) < 1e-9]
    minima = [r for r in roots if x.min() <= r <= x.max() and second(r) > 0]
    if not minima:
        raise DataError(
            f"the energies have no minimum between {v.min():.3f} and {v.max():.3f} Å^3/atom (lowest at "
            f"{v[e.argmin()]:.3f}); start nearer to equilibrium or widen `strains`"
        )
    x0 = minima[0]  # a cubic has one minimum
    v0 = reference * x0**-1.5
    # With u = V / reference and x = u^(-2/3): d2E/du2 and d3E/du3 where dE/dx = 0.
    curvature = 4.0 / 9.0 * x0**5 * second(x0)
    change = -20.0 / 9.0 * x0**6.5 * second(x0) - 8.0 / 27.0 * x0**7.5 * third(x0)
    u0 = x0**-1.5
    return EquationOfState(
        volume=float(v0),
        energy=float(polynomial(x0)),
        bulk_modulus=float(u0 * curvature / reference * EV_PER_A3_TO_GPA),
        bulk_modulus_derivative=float(-1.0 - u0 * change / curvature),
        fit_error=float(np.sqrt(np.mean((e - polynomial(x)) ** 2))),
        volumes=v,
        energies=e,
    )


class EosSettings(Schema):
    """Settings of the equation of state."""

    strains: tuple[float, ...] = Field(
        DEFAULT_STRAINS, description="changes of the cell lengths; at least five"
    )
    relax: bool = Field(default=False, description="relax the ions at every volume")
    force_tolerance: float = Field(1e-4, gt=0, description="largest force left by that relaxation [eV/Å]")


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: EosSettings,
    *,
    folder: Path | None = None,  # noqa: ARG001 - nothing is written on the way
    progress: Progress = silent,  # noqa: ARG001 - over in seconds
) -> PropertyResult:
    eos = equation_of_state(
        atoms,
        calculator,
        strains=settings.strains,
        relax=settings.relax,
        force_tolerance=settings.force_tolerance,
    )
    grid = np.linspace(eos.volumes.min(), eos.volumes.max(), 101)
    labels = ("volume [Å^3/atom]", "energy [eV/atom]")
    return PropertyResult(
        name="eos",
        quantities={
            "volume": Quantity(eos.volume, "Å^3/atom"),
            "energy": Quantity(eos.energy, "eV/atom"),
            "bulk_modulus": Quantity(eos.bulk_modulus, "GPa"),
            "bulk_modulus_derivative": Quantity(eos.bulk_modulus_derivative, ""),
            "fit_error": Quantity(eos.fit_error, "eV/atom"),
        },
        conditions={
            "ions": "relaxed" if settings.relax else "clamped",
            "cell": "isotropic strain of the cell given",
            "n_atoms": len(atoms),
            **settings.model_dump(mode="json"),
        },
        curves={
            "computed": Curve(eos.volumes, eos.energies, *labels, points=True),
            "fit": Curve(grid, eos(grid), *labels),
        },
    )


EOS = Property("eos", "energy against volume: V0, E0, bulk modulus", EosSettings, _compute)
