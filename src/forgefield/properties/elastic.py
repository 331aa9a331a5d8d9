"""Elastic constants: how the stress answers to a small strain."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray
from pydantic import Field

from forgefield.errors import ConfigError
from forgefield.keys import voigt_to_matrix
from forgefield.properties.base import Progress, Property, PropertyResult, Quantity, Table, silent
from forgefield.properties.elastic_symmetry import (
    CrystalSymmetry,
    find_symmetry,
    independent_constants,
    moduli,
    project,
    rotated,
)
from forgefield.properties.relaxation import AtRest, at_rest
from forgefield.properties.structures import relax_ions, require_crystal, strained
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["ELASTIC", "CubicElastic", "Elastic", "ElasticSettings", "elastic_constants"]

FloatArray = NDArray[np.float64]

ASYMMETRIC = 0.05
"""Part of the largest constant beyond which a distance from the symmetry of the crystal is worth a warning."""


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
    error : (6, 6) [GPa], optional
        How far a second amplitude of strain moved each element, plus half its asymmetry.
    """

    matrix: FloatArray
    asymmetry: float
    stress: FloatArray
    relaxed: bool
    error: FloatArray | None = None

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
    second_amplitude: bool = False,
    progress: Progress = silent,
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
    second_amplitude : bool
        Also strain by half as much: removes the error of second order and gives `Elastic.error`.
    progress : callable

    Raises
    ------
    StructureError, ConfigError
        Not a crystal; no calculator; a strain that is not small.
    PredictionError
        Ions did not relax.

    Notes
    -----
    ``C_ab = (stress_a(+e_b) - stress_a(-e_b)) / (2 e_b)``, with the deformation ``1 + e`` and e symmetric. With two
    amplitudes Richardson's combination ``(4 C(e/2) - C(e)) / 3``.
    """
    require_crystal(atoms, "elastic constants")
    calculator = atoms.calc if calculator is None else calculator
    if calculator is None:
        raise ConfigError("no calculator: give `calculator`, or attach one with atoms.calc = ...")
    if not 0.0 < strain <= 0.05:
        raise ConfigError(f"`strain` must be above 0 and at most 0.05, got {strain}")
    amplitudes = (strain, 0.5 * strain) if second_amplitude else (strain,)
    n_stresses, done = 12 * len(amplitudes) + 1, 0

    def stress(voigt: FloatArray) -> FloatArray:
        nonlocal done
        progress(done / n_stresses, "strained cells")
        full = voigt_to_matrix(voigt / np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0]))
        copy = strained(atoms, np.eye(3) + full)
        copy.calc = calculator
        if relax:
            relax_ions(copy, calculator, force_tolerance)
        done += 1
        return np.asarray(copy.get_stress(), dtype=np.float64) * EV_PER_A3_TO_GPA

    def differences(size: float) -> FloatArray:
        columns = [(stress(step) - stress(-step)) / (2.0 * size) for step in size * np.eye(6)]
        return np.stack(columns, axis=1)

    found = [differences(size) for size in amplitudes]
    raw = (4.0 * found[1] - found[0]) / 3.0 if second_amplitude else found[0]
    asymmetry = 0.5 * np.abs(raw - raw.T)
    error = 0.5 * (np.abs(raw - found[1]) + np.abs(raw - found[1]).T) if second_amplitude else None
    return Elastic(
        matrix=0.5 * (raw + raw.T),
        asymmetry=float(asymmetry.max()),
        stress=stress(np.zeros(6)),
        relaxed=relax,
        error=None if error is None else error + asymmetry,
    )


# ---- the property --------------------------------------------------------------------------------------------


class ElasticSettings(AtRest):
    """Settings of elastic constants."""

    force_tolerance: float = Field(1e-4, gt=0, description="largest force left by relaxations [eV/Å]")
    strain: float = Field(0.01, gt=0, le=0.05, description="size of the larger of the two strains")
    ions: Literal["relaxed", "clamped"] = Field("relaxed", description="at every strain")
    symmetry_tolerance: float = Field(
        1e-2, gt=0, description="distances that count as equal in the search for symmetry [Å]"
    )


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: ElasticSettings,
    *,
    folder: Path | None = None,  # noqa: ARG001 - nothing is written on the way
    progress: Progress = silent,
) -> PropertyResult:
    atoms, conditions = at_rest(atoms, calculator, settings, "a tensor of elastic constants")
    symmetry = find_symmetry(atoms, settings.symmetry_tolerance)
    found = elastic_constants(
        atoms,
        calculator,
        strain=settings.strain,
        relax=settings.ions == "relaxed",
        force_tolerance=settings.force_tolerance,
        second_amplitude=True,
        progress=progress,
    )
    projected = project(found.matrix, symmetry.rotations)
    standard, constants, deviation = _constants(found, symmetry)
    lowest = float(np.linalg.eigvalsh(projected).min())
    zener = {}
    if symmetry.system == "cubic":
        zener["zener"] = Quantity(
            float(2 * standard[3, 3] / (standard[0, 0] - standard[0, 1])),
            "",
            note="anisotropy, 1 if isotropic",
        )
    return PropertyResult(
        name="elastic",
        quantities={
            **constants,
            **_moduli(projected, found.error),
            **zener,
            "lowest_eigenvalue": Quantity(lowest, "GPa", note="Born: stable if above 0"),
            "deviation": Quantity(deviation, "GPa", note="largest distance from the symmetry of the crystal"),
            "asymmetry": Quantity(found.asymmetry, "GPa", note="of the matrix before symmetrising"),
        },
        conditions={
            **conditions,
            "space_group": f"{symmetry.international} ({symmetry.number})",
            "crystal_system": symmetry.system,
            "constants": "in the conventional orientation; the matrix in that of the structure",
            **settings.model_dump(mode="json"),
        },
        tables={
            "matrix": Table(projected, "GPa", ("stress xx yy zz yz xz xy", "engineering strain")),
            "matrix_as_computed": Table(found.matrix, "GPa", ("stress", "engineering strain")),
        },
        warnings=_warnings(lowest, deviation, float(np.abs(projected).max()), symmetry),
    )


def _constants(found: Elastic, symmetry: CrystalSymmetry) -> tuple[FloatArray, dict[str, Quantity], float]:
    """Return the matrix in the conventional orientation, its independent constants, the distance from symmetry."""
    turn = symmetry.to_standard
    raw = rotated(found.matrix, turn)
    turned = np.einsum("ab,nbc,dc->nad", turn, symmetry.rotations, turn)
    standard = project(raw, turned)
    error = np.zeros((6, 6)) if found.error is None else found.error
    numerical = float(error.max())  # elements mix when axes turn
    if np.allclose(turn, np.eye(3), atol=1e-6):
        numerical_of = {(a, b): float(error[a, b]) for a in range(6) for b in range(6)}
    else:
        numerical_of = {(a, b): numerical for a in range(6) for b in range(6)}
    constants = {}
    for name, elements in independent_constants(turned).items():
        a, b = int(name[1]) - 1, int(name[2]) - 1
        scatter = [raw[i, j] / factor - standard[a, b] for i, j, factor in elements]
        spread = float(np.sqrt(np.mean(np.square(scatter)))) if scatter else 0.0
        constants[name] = Quantity(float(standard[a, b]), "GPa", float(np.hypot(spread, numerical_of[a, b])))
    return standard, constants, float(np.abs(raw - standard).max())


def _moduli(matrix: FloatArray, error: FloatArray | None) -> dict[str, Quantity]:
    """Return the moduli with errors carried over from those of the elements, taken as independent."""
    values = asdict(moduli(matrix))
    squares = dict.fromkeys(values, 0.0)
    if error is not None:
        for a in range(6):
            for b in range(a, 6):
                moved = matrix.copy()
                step = max(float(error[a, b]), 1e-9)
                moved[a, b] += step
                moved[b, a] = moved[a, b]
                for key, value in asdict(moduli(moved)).items():
                    squares[key] += (value - values[key]) ** 2
    units = dict.fromkeys(values, "GPa") | {"poisson": "", "pugh": "", "anisotropy": ""}
    notes = {
        "bulk": "Voigt-Reuss-Hill",
        "shear": "Voigt-Reuss-Hill",
        "pugh": "bulk over shear modulus",
        "anisotropy": "universal index, 0 if isotropic",
    }
    names = {
        "bulk": "bulk_modulus",
        "shear": "shear_modulus",
        "young": "young_modulus",
        "poisson": "poisson_ratio",
    }
    return {
        names.get(k, k): Quantity(v, units[k], float(np.sqrt(squares[k])), notes.get(k, ""))
        for k, v in values.items()
    }


def _warnings(lowest: float, deviation: float, largest: float, symmetry: CrystalSymmetry) -> tuple[str, ...]:
    texts = []
    if not lowest > 0:
        texts.append(f"the crystal is not elastically stable (Born): lowest eigenvalue {lowest:.3g} GPa")
    if deviation > ASYMMETRIC * largest:
        texts.append(
            f"the constants are up to {deviation:.3g} GPa from the symmetry {symmetry.international}: forces not "
            "converged, float32, or a potential that breaks it"
        )
    return tuple(texts)


ELASTIC = Property(
    "elastic", "elastic constants of any crystal, moduli, stability", ElasticSettings, _compute
)
