"""Elastic constants: how the stress answers to a small strain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray
from pydantic import Field

from forgefield.config import Schema
from forgefield.errors import ConfigError
from forgefield.keys import voigt_to_matrix
from forgefield.properties.base import Progress, Property, PropertyResult, Quantity, Table, silent
from forgefield.properties.structures import relax_ions, require_crystal, strained
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["ELASTIC", "CubicElastic", "Elastic", "ElasticSettings", "elastic_constants"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class CubicElastic:
    """The three constants of a cubic crystal [GPa], averaged over equivalent elements of the matrix.

    Attributes
    ----------
    c11, c12, c44 : float [GPa]
    deviation : float [GPa]
        Largest distance of the matrix from cubic symmetry; small only if the crystal is cubic and its axes are
        those of the coordinates.
    """

    c11: float
    c12: float
    c44: float
    deviation: float


@dataclass(frozen=True)
class Elastic:
    """Elastic constants.

    Attributes
    ----------
    matrix : (6, 6) [GPa]
        ``dstress_a / dstrain_b`` in the order xx, yy, zz, yz, xz, xy with engineering shear strains, symmetrised.
    asymmetry : float [GPa]
        Largest element that symmetrising removed, a measure of the numerical error.
    stress : (6,) [GPa]
        Stress of the structure given; the constants are those of a crystal at rest only if it is small.
    relaxed : bool
        Whether ions were relaxed at every strain.
    """

    matrix: FloatArray
    asymmetry: float
    stress: FloatArray
    relaxed: bool

    @property
    def cubic(self) -> CubicElastic:
        """The constants of a cubic crystal."""
        c = self.matrix
        c11 = float(np.mean([c[0, 0], c[1, 1], c[2, 2]]))
        c12 = float(np.mean([c[0, 1], c[0, 2], c[1, 2]]))
        c44 = float(np.mean([c[3, 3], c[4, 4], c[5, 5]]))
        ideal = np.diag([c11 - c12] * 3 + [c44] * 3)
        ideal[:3, :3] += c12
        return CubicElastic(c11, c12, c44, float(np.abs(c - ideal).max()))

    @property
    def bulk_modulus(self) -> float:
        """Voigt average of the bulk modulus [GPa]; exact for cubic crystals."""
        return float(self.matrix[:3, :3].sum() / 9.0)

    @property
    def shear_modulus(self) -> float:
        """Voigt average of the shear modulus [GPa]."""
        c = self.matrix
        normal = c[0, 0] + c[1, 1] + c[2, 2] - c[0, 1] - c[0, 2] - c[1, 2]
        return float((normal + 3.0 * (c[3, 3] + c[4, 4] + c[5, 5])) / 15.0)

    @property
    def stable(self) -> bool:
        """Whether every small strain costs energy (Born's criterion: the matrix is positive definite)."""
        return bool(np.linalg.eigvalsh(self.matrix).min() > 0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers with units in the names."""
        cubic = self.cubic
        return {
            "matrix_GPa": self.matrix.tolist(),
            "asymmetry_GPa": self.asymmetry,
            "stress_GPa": self.stress.tolist(),
            "relaxed": self.relaxed,
            "stable": self.stable,
            "bulk_modulus_GPa": self.bulk_modulus,
            "shear_modulus_GPa": self.shear_modulus,
            "cubic": {
                "c11_GPa": cubic.c11,
                "c12_GPa": cubic.c12,
                "c44_GPa": cubic.c44,
                "deviation_GPa": cubic.deviation,
            },
        }


def elastic_constants(
    atoms: Atoms,
    calculator: Calculator | None = None,
    *,
    strain: float = 0.005,
    relax: bool = True,
    force_tolerance: float = 1e-4,
) -> Elastic:
    """Compute the elastic constants from central differences of the stress.

    Parameters
    ----------
    atoms : ase.Atoms
        A crystal at equilibrium: the cell is not relaxed here. Not changed.
    calculator : ase calculator, optional
        Gives forces and stress; default: the one attached to `atoms`.
    strain : float
        Size of the strain (engineering strain for shear); the error grows with its square.
    relax : bool
        Relax the ions at every strain: the constants an experiment sees. False: clamped ions.
    force_tolerance : float [eV/Å]
        Largest force left by that relaxation.

    Raises
    ------
    StructureError, ConfigError
        Not a crystal; no calculator; a strain that is not small.
    PredictionError
        Ions did not relax.

    Notes
    -----
    ``C_ab = (stress_a(+e_b) - stress_a(-e_b)) / (2 e_b)``, with the deformation ``1 + e`` and e symmetric.
    """
    require_crystal(atoms, "elastic constants")
    calculator = atoms.calc if calculator is None else calculator
    if calculator is None:
        raise ConfigError("no calculator: give `calculator`, or attach one with atoms.calc = ...")
    if not 0.0 < strain <= 0.05:
        raise ConfigError(f"`strain` must be above 0 and at most 0.05, got {strain}")

    def stress(voigt: FloatArray) -> FloatArray:
        full = voigt_to_matrix(voigt / np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0]))
        copy = strained(atoms, np.eye(3) + full)
        copy.calc = calculator
        if relax:
            relax_ions(copy, calculator, force_tolerance)
        return np.asarray(copy.get_stress(), dtype=np.float64) * EV_PER_A3_TO_GPA

    steps = strain * np.eye(6)
    columns = [(stress(step) - stress(-step)) / (2.0 * strain) for step in steps]
    raw = np.stack(columns, axis=1)
    return Elastic(
        matrix=0.5 * (raw + raw.T),
        asymmetry=float(0.5 * np.abs(raw - raw.T).max()),
        stress=stress(np.zeros(6)),
        relaxed=relax,
    )


class ElasticSettings(Schema):
    """Settings of elastic constants."""

    strain: float = Field(0.005, gt=0, le=0.05, description="size of the strain")
    relax: bool = Field(default=True, description="relax the ions at every strain; false: clamped ions")
    force_tolerance: float = Field(1e-4, gt=0, description="largest force left by that relaxation [eV/Å]")


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: ElasticSettings,
    *,
    folder: Path | None = None,  # noqa: ARG001 - nothing is written on the way
    progress: Progress = silent,  # noqa: ARG001 - over in seconds
) -> PropertyResult:
    found = elastic_constants(atoms, calculator, **settings.model_dump())
    cubic = found.cubic
    return PropertyResult(
        name="elastic",
        quantities={
            "bulk_modulus": Quantity(found.bulk_modulus, "GPa", note="Voigt"),
            "shear_modulus": Quantity(found.shear_modulus, "GPa", note="Voigt"),
            "c11": Quantity(cubic.c11, "GPa"),
            "c12": Quantity(cubic.c12, "GPa"),
            "c44": Quantity(cubic.c44, "GPa"),
        },
        conditions={
            "ions": "relaxed" if settings.relax else "clamped",
            "cell": "as given",
            "n_atoms": len(atoms),
            **settings.model_dump(mode="json"),
        },
        tables={"matrix": Table(found.matrix, "GPa", ("stress xx yy zz yz xz xy", "strain"))},
        warnings=() if found.stable else ("the crystal is not elastically stable (Born)",),
    )


ELASTIC = Property("elastic", "elastic constants and moduli", ElasticSettings, _compute)
