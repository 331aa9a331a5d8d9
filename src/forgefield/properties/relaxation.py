"""Structures at rest: cell and ions relaxed, or a clear refusal of those that are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, LBFGS
from numpy.typing import NDArray
from pydantic import Field

from forgefield.config import Schema
from forgefield.errors import ConfigError, PredictionError, StructureError
from forgefield.properties.base import Curve, Progress, Property, PropertyResult, Quantity, Table, silent
from forgefield.properties.structures import MAX_STEPS, require_crystal, strained
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = [
    "FORCE_LIMIT",
    "RELAX",
    "STRAIN_LIMIT",
    "STRESS_LIMIT",
    "AtRest",
    "RelaxSettings",
    "at_rest",
    "relax_cell",
    "require_relaxed",
    "state_of_rest",
    "strain_to_rest",
]

Cell = Literal["full", "volume", "fixed", "shape"]

STRESS_LIMIT = 0.5
"""Largest component [GPa] of the stress of a structure that counts as relaxed."""
STRAIN_LIMIT = 0.002
"""Largest strain that a structure may be from rest to count as relaxed: what soft crystals are judged by."""
FORCE_LIMIT = 0.02
"""Largest force [eV/Å] in a structure that counts as relaxed."""

PROBE = 0.001
"""Strain that stiffness is measured with."""

DENSE = 60
"""Atoms up to which the whole matrix of second derivatives is built up; its eigenvectors cost the cube of it."""


class AtRest(Schema):
    """Settings of every property that starts from a structure at rest."""

    relax: bool = Field(
        default=False, description="relax cell and ions first; false: the structure must be at rest already"
    )
    force_tolerance: float = Field(1e-3, gt=0, description="largest force left by relaxations [eV/Å]")


def state_of_rest(atoms: Atoms, calculator: Any) -> tuple[float, float]:
    """Return the largest component of the stress [GPa] and the largest force [eV/Å].

    The stress is zero for a calculator without stress and for a structure not periodic in three directions.
    """
    copy = atoms.copy()
    copy.calc = calculator
    force = float(np.linalg.norm(copy.get_forces(), axis=1).max())
    if not copy.pbc.all() or copy.cell.rank < 3:
        return 0.0, force
    try:
        stress = float(np.abs(copy.get_stress()).max()) * EV_PER_A3_TO_GPA
    except PropertyNotImplementedError:
        stress = 0.0
    return stress, force


def strain_to_rest(atoms: Atoms, calculator: Any) -> float:
    """Return the largest component of the strain it takes to relax the stress, ions clamped.

    Zero where there is no stress; see `state_of_rest`.

    Notes
    -----
    The structure is strained by 0.1 % back and forth in the direction of its stress tensor; the stress over the stiffness
    found there is the strain. Shear strains are those of the tensor, half of engineering strains.
    """
    copy = atoms.copy()
    copy.calc = calculator
    if not copy.pbc.all() or copy.cell.rank < 3:
        return 0.0

    def stress(deformation: NDArray[np.float64]) -> NDArray[np.float64]:
        moved = strained(copy, np.eye(3) + deformation)
        moved.calc = calculator
        found: NDArray[np.float64] = np.array(moved.get_stress(voigt=False), dtype=np.float64)
        return found

    try:
        now = stress(np.zeros((3, 3)))
    except PropertyNotImplementedError:
        return 0.0
    size = float(np.linalg.norm(now))
    if size == 0.0:
        return 0.0
    direction = now / size
    change = stress(PROBE * direction) - stress(-PROBE * direction)
    stiffness = abs(float((change * direction).sum())) / (2.0 * PROBE)
    return float(np.abs(now).max() / stiffness) if stiffness > 0.0 else np.inf


def require_relaxed(atoms: Atoms, calculator: Any) -> None:
    """Raise unless stress and forces vanish, as far as matters: in GPa, and for the strain that relaxes the stress.

    Raises
    ------
    StructureError
    """
    _refuse(*state_of_rest(atoms, calculator), strain_to_rest(atoms, calculator))


def _refuse(stress: float, force: float, strain: float) -> None:
    """Raise where one of them [GPa, eV/Å, 1] is too large."""
    if not (stress <= STRESS_LIMIT and force <= FORCE_LIMIT and strain <= STRAIN_LIMIT):
        raise StructureError(
            f"Unrelaxed structure: stress up to {stress:.3g} GPa (allowed: {STRESS_LIMIT}), which takes a strain of "
            f"{100.0 * strain:.2g} % to relax (allowed: {100.0 * STRAIN_LIMIT:g} %), forces up to {force:.3g} eV/Å (allowed: "
            f"{FORCE_LIMIT}); pass relax=true, or give the relaxed structure"
        )


def relax_cell(
    atoms: Atoms,
    calculator: Any,
    *,
    force_tolerance: float = 1e-3,
    pressure: float = 0.0,
    cell: Cell = "full",
    steps: int = MAX_STEPS,
    watch: Callable[[float, float], None] | None = None,
) -> Atoms:
    """Return a relaxed copy.

    Parameters
    ----------
    atoms : ase.Atoms
        Not changed.
    calculator : ASE calculator
    force_tolerance : float [eV/Å]
        Largest force left; of the stress as much is left as makes ``V |stress| / n_atoms`` this many eV.
    pressure : float [GPa]
        External.
    cell : {'full', 'volume', 'fixed', 'shape'}
        What may change of the cell: everything; its size; nothing; its shape at fixed volume.
    steps : int
        After which to give up.
    watch : callable, optional
        Told the energy [eV/atom] and the largest force [eV/Å], of the cell too, before every step.

    Raises
    ------
    StructureError
        Not periodic in three directions and the cell may change.
    PredictionError
        Not relaxed within `steps`; the structure flew apart.

    Notes
    -----
    The cell moves along the logarithm of its deformation: ASE's `FrechetCellFilter`.
    """
    copy = atoms.copy()
    copy.set_constraint()
    copy.calc = calculator
    target: Any = copy
    if cell != "fixed":
        require_crystal(atoms, "the relaxation of a cell")
        target = FrechetCellFilter(
            copy,
            hydrostatic_strain=cell == "volume",
            constant_volume=cell == "shape",
            scalar_pressure=pressure / EV_PER_A3_TO_GPA,
        )
    kind = BFGS if len(copy) <= DENSE else LBFGS
    with kind(target, logfile=None) as optimiser:
        if watch is not None:
            optimiser.attach(lambda: watch(copy.get_potential_energy() / len(copy), _largest(target)))
        done = optimiser.run(fmax=force_tolerance, steps=steps)
    if not done or not np.isfinite(copy.positions).all():
        left = _largest(target)
        raise PredictionError(
            f"the structure did not relax within {steps} steps: {left:.2g} eV/Å left, {force_tolerance:.2g} was asked "
            "for; raise `force_tolerance`, evaluate in float64, or start nearer to equilibrium"
        )
    return copy


def _largest(target: Any) -> float:
    return float(np.linalg.norm(target.get_forces(), axis=1).max())


def at_rest(
    atoms: Atoms, calculator: Any, settings: AtRest, purpose: str = "this property"
) -> tuple[Atoms, dict[str, Any]]:
    """Return the structure to start from and what was done to get it; `purpose` is for messages.

    Raises
    ------
    StructureError, PredictionError
        Not relaxed and not to be relaxed; did not relax.
    """
    require_crystal(atoms, purpose)
    if settings.relax:
        start = relax_cell(atoms, calculator, force_tolerance=settings.force_tolerance)
    else:
        start = atoms.copy()
    start.calc = calculator
    stress, force = state_of_rest(start, calculator)
    strain = strain_to_rest(start, calculator)
    if not settings.relax:
        _refuse(stress, force, strain)
    conditions = {
        "structure": "cell and ions relaxed first" if settings.relax else "as given",
        "n_atoms": len(start),
        "cell_A": np.round(start.cell.array, 8).tolist(),
        "largest_stress_GPa": stress,
        "strain_to_rest": strain,
        "largest_force_eV_per_A": force,
    }
    return start, conditions


# ---- the property --------------------------------------------------------------------------------------------


class RelaxSettings(Schema):
    """Settings of a relaxation."""

    cell: Cell = Field("full", description="what may change: full cell, volume, shape at fixed volume, fixed")
    pressure: float = Field(0.0, description="external pressure [GPa]")
    force_tolerance: float = Field(1e-4, gt=0, description="largest force left [eV/Å]")
    steps: int = Field(MAX_STEPS, ge=1, description="after which to give up")


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: RelaxSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> PropertyResult:
    if settings.cell == "fixed" and settings.pressure:
        raise ConfigError(f"`pressure` ({settings.pressure} GPa) means nothing with cell='fixed'; leave it 0")
    progress(0.0, "relaxing")
    path: list[tuple[float, float]] = []
    relaxed = relax_cell(atoms, calculator, **settings.model_dump(), watch=lambda *now: path.append(now))
    stress, force = state_of_rest(relaxed, calculator)
    n = len(relaxed)
    quantities = {"energy": Quantity(float(relaxed.get_potential_energy()) / n, "eV/atom")}
    if relaxed.cell.rank == 3 and relaxed.pbc.all():
        lengths = zip("abc", relaxed.cell.lengths(), strict=True)
        quantities |= {
            "volume": Quantity(float(relaxed.get_volume()) / n, "Å^3/atom"),
            **{name: Quantity(float(length), "Å") for name, length in lengths},
            "largest_stress": Quantity(stress, "GPa"),
        }
    quantities["largest_force"] = Quantity(force, "eV/Å")
    conditions = {"n_atoms": n, "ions": "relaxed", **settings.model_dump(mode="json")}
    if folder is not None:
        from ase.io import write

        relaxed.calc = None
        write(folder / "relaxed.xyz", relaxed, format="extxyz")
        conditions["structure_file"] = "relaxed.xyz"
    tables = {
        "cell": Table(relaxed.cell.array.copy(), "Å", ("vector", "component")),
        "positions": Table(relaxed.positions.copy(), "Å", ("atom", "component")),
    }
    step = np.arange(len(path), dtype=np.float64)
    energies, forces = np.array(path).T
    curves = {
        "energy": Curve(step, energies, "step", "energy [eV/atom]"),
        "largest force": Curve(step, forces, "step", "largest force, of the cell too [eV/Å]"),
    }
    return PropertyResult(
        name="relax", quantities=quantities, conditions=conditions, curves=curves, tables=tables
    )


RELAX = Property("relax", "cell and ions at rest: energy, volume, lengths", RelaxSettings, _compute)
