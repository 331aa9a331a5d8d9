"""Equation of state: energy against volume, fitted with several forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, field_validator

from forgefield.errors import ConfigError, DataError, did_you_mean
from forgefield.properties.base import Curve, Progress, Property, PropertyResult, Quantity, Table, silent
from forgefield.properties.eos_forms import FORMS, FormName, fit_form, standard_errors
from forgefield.properties.relaxation import AtRest, relax_cell
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
Ions = Literal["clamped", "relaxed", "shape"]

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
    form : str
        Name of the equation, see `eos_forms`.
    errors : mapping
        Standard errors of ``energy``, ``volume``, ``bulk_modulus``, ``bulk_modulus_derivative``, in their units.
    """

    volume: float
    energy: float
    bulk_modulus: float
    bulk_modulus_derivative: float
    fit_error: float
    volumes: FloatArray
    energies: FloatArray
    form: FormName = "birch-murnaghan"
    errors: dict[str, float] = field(default_factory=dict)

    def length(self, atoms_per_cube: int) -> float:
        """Return the edge [Å] of the equilibrium cube that holds so many atoms: 8 for diamond, 4 for fcc."""
        return float((self.volume * atoms_per_cube) ** (1.0 / 3.0))

    def __call__(self, volume: ArrayLike) -> FloatArray:
        """Return the fitted energy [eV/atom] at volumes [Å^3/atom]."""
        v = np.asarray(volume, dtype=np.float64)
        b0 = self.bulk_modulus / EV_PER_A3_TO_GPA
        return np.asarray(FORMS[self.form](v, self.energy, self.volume, b0, self.bulk_modulus_derivative))

    def pressure(self, volume: ArrayLike) -> FloatArray:
        """Return the pressure ``-dE/dV`` [GPa] of the fitted curve at volumes [Å^3/atom]."""
        v = np.asarray(volume, dtype=np.float64)
        b0, step = self.bulk_modulus / EV_PER_A3_TO_GPA, 1e-20
        e = FORMS[self.form](v + 1j * step, self.energy, self.volume, b0, self.bulk_modulus_derivative)
        return np.asarray(-np.asarray(e).imag / step * EV_PER_A3_TO_GPA)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers with units in the names."""
        return {
            "form": self.form,
            "volume_A3_per_atom": self.volume,
            "energy_eV_per_atom": self.energy,
            "bulk_modulus_GPa": self.bulk_modulus,
            "bulk_modulus_derivative": self.bulk_modulus_derivative,
            "fit_error_eV_per_atom": self.fit_error,
            "errors": dict(self.errors),
            "volumes_A3_per_atom": self.volumes.tolist(),
            "energies_eV_per_atom": self.energies.tolist(),
        }


def equation_of_state(
    atoms: Atoms,
    calculator: Calculator | None = None,
    *,
    strains: Sequence[float] = DEFAULT_STRAINS,
    relax: bool | Ions = False,
    force_tolerance: float = 1e-4,
    form: FormName = "birch-murnaghan",
    progress: Progress = silent,
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
    relax : bool or {'clamped', 'relaxed', 'shape'}
        Relax the ions at every volume, not needed where symmetry holds them in place; ``shape`` also relaxes the
        shape of the cell at fixed volume.
    force_tolerance : float [eV/Å]
        Largest force left by that relaxation.
    form : str
        Equation to fit.
    progress : callable

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
    ions: Ions = ("relaxed" if relax else "clamped") if isinstance(relax, bool) else relax
    volumes, energies = [], []
    for n, strain in enumerate(strains):
        progress(n / len(strains), f"strain {strain:+.3f}")
        copy = strained(atoms, (1.0 + strain) * np.eye(3))
        copy.calc = calculator
        if ions == "relaxed":
            relax_ions(copy, calculator, force_tolerance)
        elif ions == "shape":
            copy = relax_cell(copy, calculator, force_tolerance=force_tolerance, cell="shape")
        volumes.append(copy.get_volume() / len(copy))
        energies.append(copy.get_potential_energy() / len(copy))
    return fit_equation_of_state(volumes, energies, form)


def fit_equation_of_state(
    volumes: ArrayLike, energies: ArrayLike, form: FormName = "birch-murnaghan"
) -> EquationOfState:
    """Fit an equation of state.

    Parameters
    ----------
    volumes, energies : (n,) [Å^3/atom], [eV/atom]
        At least five different volumes around the minimum.
    form : {'birch-murnaghan', 'murnaghan', 'vinet', 'poirier-tarantola'}

    Notes
    -----
    Birch and Murnaghan's equation is a cubic polynomial in ``x = V^(-2/3)``, so that its fit is linear and needs no
    guess; V0, B0 and B0' follow from its derivatives at the minimum. They start the fits of the other forms.

    Raises
    ------
    ConfigError
        Fewer than five volumes; no such form.
    DataError
        Not finite, or no minimum inside the range.
    """
    if form not in FORMS:
        raise ConfigError(f"unknown equation of state {form!r}: {did_you_mean(form, FORMS)}")
    v, e = np.asarray(volumes, dtype=np.float64), np.asarray(energies, dtype=np.float64)
    if v.ndim != 1 or v.shape != e.shape or len(np.unique(v)) < 5:
        raise ConfigError(
            f"an equation of state needs five or more volumes with one energy each, got {v.shape}, {e.shape}"
        )
    if not (np.isfinite(v).all() and np.isfinite(e).all() and (v > 0).all()):
        raise DataError("volumes must be positive and energies finite; check the calculator")
    parameters = _polynomial_fit(v, e)
    if form != "birch-murnaghan":
        parameters = fit_form(form, v, e, parameters)
    errors = standard_errors(form, v, e, parameters)
    to_user = np.array([1.0, 1.0, EV_PER_A3_TO_GPA, 1.0])
    names = ("energy", "volume", "bulk_modulus", "bulk_modulus_derivative")
    residual = np.asarray(FORMS[form](v, *parameters)) - e
    return EquationOfState(
        **dict(zip(names, (parameters * to_user).tolist(), strict=True)),
        fit_error=float(np.sqrt(np.mean(residual**2))),
        volumes=v,
        energies=e,
        form=form,
        errors=dict(zip(names, (errors * to_user).tolist(), strict=True)),
    )


def _polynomial_fit(v: FloatArray, e: FloatArray) -> FloatArray:
    """Return E0, V0, B0 [eV/Å^3] and B0' of the third-order Birch-Murnaghan equation."""
    reference = float(np.median(v))
    x = (v / reference) ** (-2.0 / 3.0)
    polynomial = np.polynomial.Polynomial.fit(x, e, 3).convert()
    first, second, third = (polynomial.deriv(n) for n in (1, 2, 3))
    roots = [float(r.real) for r in first.roots() if abs(r.imag) < 1e-9]
    minima = [r for r in roots if x.min() <= r <= x.max() and second(r) > 0]
    if not minima:
        raise DataError(
            f"the energies have no minimum between {v.min():.3f} and {v.max():.3f} Å^3/atom (lowest at "
            f"{v[e.argmin()]:.3f}); pass relax=true, start nearer to equilibrium, or widen `strains`"
        )
    x0 = minima[0]  # a cubic has one minimum
    # With u = V / reference and x = u^(-2/3): d2E/du2 and d3E/du3 where dE/dx = 0.
    curvature = 4.0 / 9.0 * x0**5 * second(x0)
    change = -20.0 / 9.0 * x0**6.5 * second(x0) - 8.0 / 27.0 * x0**7.5 * third(x0)
    u0 = x0**-1.5
    return np.array(
        [polynomial(x0), reference * u0, u0 * curvature / reference, -1.0 - u0 * change / curvature]
    )


# ---- the property --------------------------------------------------------------------------------------------


class EosSettings(AtRest):
    """Settings of the equation of state."""

    strains: tuple[float, ...] = Field(
        DEFAULT_STRAINS, description="changes of the cell lengths; at least five"
    )
    form: FormName = Field("birch-murnaghan", description=f"equation to report: {', '.join(FORMS)}")
    ions: Ions = Field(
        "clamped", description="at every volume: clamped; relaxed; shape: cell shape and ions relaxed"
    )

    @field_validator("strains")
    @classmethod
    def _enough(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) < 5 or not all(-0.5 < s < 1.0 for s in value):
            raise ValueError("at least five different numbers between -0.5 and 1")
        return value


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: EosSettings,
    *,
    folder: Path | None = None,  # noqa: ARG001 - nothing is written on the way
    progress: Progress = silent,
) -> PropertyResult:
    require_crystal(atoms, "an equation of state")
    tolerance = settings.force_tolerance
    if settings.relax:
        atoms = relax_cell(atoms, calculator, force_tolerance=tolerance)
    eos = equation_of_state(
        atoms,
        calculator,
        strains=settings.strains,
        relax=settings.ions,
        force_tolerance=tolerance,
        form=settings.form,
        progress=progress,
    )
    quantities, forms = _quantities(eos)
    grid = np.linspace(eos.volumes.min(), eos.volumes.max(), 101)
    volume, energy = "volume [Å^3/atom]", "energy [eV/atom]"
    return PropertyResult(
        name="eos",
        quantities=quantities,
        conditions={
            "structure": "cell and ions relaxed first" if settings.relax else "as given",
            "cell": "scaled, shape relaxed" if settings.ions == "shape" else "scaled, shape kept",
            "n_atoms": len(atoms),
            "cell_A": np.round(atoms.cell.array, 8).tolist(),
            **settings.model_dump(mode="json"),
        },
        curves={
            "computed": Curve(eos.volumes, eos.energies, volume, energy, points=True),
            "fit": Curve(grid, eos(grid), volume, energy),
            "pressure": Curve(grid, eos.pressure(grid), volume, "pressure [GPa]"),
        },
        tables={"forms": forms},
    )


def _quantities(eos: EquationOfState) -> tuple[dict[str, Quantity], Table]:
    """Return the parameters with how much they depend on the form, and those of every form."""
    others = [fit_equation_of_state(eos.volumes, eos.energies, form) for form in FORMS]
    rows = np.array(
        [[o.volume, o.energy, o.bulk_modulus, o.bulk_modulus_derivative, o.fit_error] for o in others]
    )
    units = {"volume": "Å^3/atom", "energy": "eV/atom", "bulk_modulus": "GPa", "bulk_modulus_derivative": ""}
    quantities = {
        name: Quantity(float(getattr(eos, name)), unit, eos.errors[name], f"forms differ by {spread:.2g}")
        for (name, unit), spread in zip(units.items(), np.ptp(rows, axis=0), strict=False)
    }
    quantities["fit_error"] = Quantity(eos.fit_error, "eV/atom", note="root mean square")
    columns = "V0 [Å^3/atom], E0 [eV/atom], B0 [GPa], B0', fit error [eV]"
    return quantities, Table(rows, "", (", ".join(FORMS), columns))


EOS = Property("eos", "energy against volume: V0, E0, bulk modulus", EosSettings, _compute)
