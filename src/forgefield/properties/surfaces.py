"""Surface energies from slabs: every cut of a plane, relaxed or not, with their convergence in thickness."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import surface
from numpy.typing import NDArray
from pydantic import Field, field_validator

from forgefield.errors import ConfigError, StructureError
from forgefield.properties.base import Progress, Property, PropertyResult, Quantity, Table, silent
from forgefield.properties.relaxation import AtRest, at_rest, relax_cell

__all__ = ["SURFACES", "Slab", "SurfaceSettings", "conventional_cell", "slabs"]

FloatArray = NDArray[np.float64]
Miller = tuple[int, int, int]

J_PER_M2 = 16.02176634
"""One eV/Å^2 in J/m^2."""
LARGEST = 20.0
"""[J/m^2]; no cut of a crystal costs more: metals stay below 5, diamond, the dearest element, at about 10."""


class SurfaceSettings(AtRest):
    """Settings of surface energies."""

    force_tolerance: float = Field(0.01, gt=0, description="largest force left by relaxations [eV/Å]")
    miller: tuple[Miller, ...] = Field(
        ((1, 0, 0), (1, 1, 0), (1, 1, 1)), description="planes, of the conventional cell"
    )
    thickness: float = Field(15.0, gt=0, description="least thickness of the thicker of two slabs [Å]")
    vacuum: float = Field(10.0, ge=3.0, description="between slabs [Å]; above the cutoff of the potential")
    relaxed: bool = Field(default=True, description="also relax the ions of the slabs; no reconstructions")

    @field_validator("miller")
    @classmethod
    def _planes(cls, value: tuple[Miller, ...]) -> tuple[Miller, ...]:
        if not value or any(m == (0, 0, 0) for m in value):
            raise ValueError("at least one plane, none of them (0, 0, 0)")
        return value


@dataclass(frozen=True)
class Slab:
    """A slab whose composition is that of the crystal.

    Attributes
    ----------
    atoms : ase.Atoms
    area : float [Å^2]
        Of one of its two surfaces.
    gap : float [Å]
        Between the two planes of atoms that were cut apart.
    """

    atoms: Atoms
    area: float
    gap: float


def conventional_cell(atoms: Atoms, tolerance: float = 1e-2) -> Atoms:
    """Return the conventional cell of a crystal, to which Miller indices refer.

    Raises
    ------
    ConfigError
        spglib is not installed.
    StructureError
        It finds no symmetry.
    """
    try:
        import spglib
    except ImportError:
        raise ConfigError("conventional cells need spglib: pip install 'forgefield[md]'") from None
    found = spglib.standardize_cell(
        (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=tolerance
    )
    if found is None:
        raise StructureError(f"no symmetry found within {tolerance} Å; are two atoms in one place?")
    cell, positions, numbers = found
    return Atoms(numbers, cell=cell, scaled_positions=positions, pbc=True)


def slabs(crystal: Atoms, miller: Miller, layers: int, vacuum: float) -> list[Slab]:
    """Return a slab for each place where a plane can cut the crystal.

    Parameters
    ----------
    crystal : ase.Atoms
        Conventional cell.
    miller : three ints
    layers : int
        Repetitions of the shortest lattice translation across the plane.
    vacuum : float [Å]
    """
    # The block does not repeat along its normal, and rounding may put atoms of its first plane on top: two layers more.
    block = surface(crystal, miller, layers + 2, periodic=True)
    area = float(np.linalg.norm(np.cross(*block.cell.array[:2])))
    normal = np.cross(*block.cell.array[:2]) / area
    height = abs(float(block.cell.array[2] @ normal)) / (layers + 2)
    z = block.positions @ normal
    z -= z.min() + height
    planes = _planes(z[(z > -1e-3) & (z < height - 1e-3)])
    found: list[Slab] = []
    for k, plane in enumerate(planes):
        atoms = block[(z > plane - 1e-3) & (z < plane + layers * height - 1e-3)]
        heights = atoms.positions @ normal
        atoms.positions -= np.outer(np.full(len(atoms), heights.min() - 0.5 * vacuum), normal)
        atoms.set_cell([*block.cell.array[:2], (np.ptp(heights) + vacuum) * normal])
        gap = plane - (planes[k - 1] if k else planes[-1] - height)
        found.append(Slab(atoms, area, float(gap)))
    return found


def _planes(heights: FloatArray, tolerance: float = 1e-3) -> list[float]:
    """Return at which heights [Å] there are planes of atoms, from below."""
    planes: list[float] = []
    for z in np.sort(heights):
        if not planes or z - planes[-1] > tolerance:
            planes.append(float(z))
    return planes


def _energies(slab: Slab, bulk: float, calculator: Any, tolerance: float | None) -> float:
    """Return the surface energy [J/m^2]; of relaxed ions if there is a tolerance."""
    atoms = slab.atoms.copy()
    atoms.calc = calculator
    if tolerance is not None:
        atoms = relax_cell(atoms, calculator, cell="fixed", force_tolerance=tolerance)
    excess = float(atoms.get_potential_energy()) - len(atoms) * bulk
    return excess / (2.0 * slab.area) * J_PER_M2


def _doubts(name: str, plane: _Plane) -> list[str]:
    """Return warnings of energies that no surface has."""
    found = []
    for gap, energy in plane.table.values:
        if energy > LARGEST:
            found.append(
                f"({name}): the cut with a gap of {gap:.2f} Å costs {energy:.3g} J/m^2, more than any crystal's (below "
                f"{LARGEST:g}): the potential extrapolates; add such slabs to its training set"
            )
    for what, q in plane.quantities.items():
        if q.value <= 0:
            found.append(
                f"{what}: {q.value:.3g} J/m^2, the crystal would fall apart: the potential extrapolates, or the crystal is "
                "unstable"
            )
    return found


@dataclass(frozen=True)
class _Plane:
    """What was computed of one plane."""

    quantities: dict[str, Quantity]
    table: Table
    layers: int


def _plane(crystal: Atoms, bulk: float, miller: Miller, calculator: Any, settings: SurfaceSettings) -> _Plane:
    name = "".join(map(str, miller))
    one = surface(crystal, miller, 1, periodic=True)
    thin = abs(float(one.get_volume())) / float(np.linalg.norm(np.cross(*one.cell.array[:2])))
    count = max(2, int(np.ceil(settings.thickness / thin)))
    cuts = slabs(crystal, miller, count, settings.vacuum)
    energies = [_energies(s, bulk, calculator, None) for s in cuts]
    best = int(np.argmin(energies))
    thinner = slabs(crystal, miller, count - 1, settings.vacuum)[best]
    change = abs(_energies(thinner, bulk, calculator, None) - energies[best])
    quantities = {
        f"({name}) unrelaxed": Quantity(
            energies[best], "J/m^2", change, f"cheapest of {len(cuts)} cuts, gap {cuts[best].gap:.2f} Å"
        )
    }
    if settings.relaxed:
        relaxed = _energies(cuts[best], bulk, calculator, settings.force_tolerance)
        change = abs(_energies(thinner, bulk, calculator, settings.force_tolerance) - relaxed)
        quantities[f"({name}) relaxed"] = Quantity(relaxed, "J/m^2", change, "not reconstructed")
    values = np.array([[s.gap, e] for s, e in zip(cuts, energies, strict=True)])
    return _Plane(quantities, Table(values, "", ("cut", "gap [Å], unrelaxed energy [J/m^2]")), count)


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: SurfaceSettings,
    *,
    folder: Path | None = None,  # noqa: ARG001 - nothing is written on the way
    progress: Progress = silent,
) -> PropertyResult:
    atoms, conditions = at_rest(atoms, calculator, settings, "a surface energy")
    crystal = conventional_cell(atoms)
    crystal.calc = calculator
    bulk = float(crystal.get_potential_energy()) / len(crystal)
    planes: dict[str, _Plane] = {}
    for n, miller in enumerate(settings.miller):
        name = "".join(map(str, miller))
        progress(n / len(settings.miller), f"({name})")
        planes[name] = _plane(crystal, bulk, miller, calculator, settings)
    quantities = {k: q for plane in planes.values() for k, q in plane.quantities.items()}
    return PropertyResult(
        name="surfaces",
        quantities=quantities,
        conditions={
            **conditions,
            "bulk_energy_eV_per_atom": bulk,
            "layers": {name: plane.layers for name, plane in planes.items()},
            "error": "change when the slab is one layer thinner",
            **settings.model_dump(mode="json"),
        },
        tables={f"({name}) cuts": plane.table for name, plane in planes.items()},
        warnings=tuple(text for name, plane in planes.items() for text in _doubts(name, plane)),
    )


SURFACES = Property("surfaces", "surface energies of planes, relaxed and not", SurfaceSettings, _compute)
