"""Two atoms, and a crystal from crushed to torn apart: where a potential stops to make sense."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray
from pydantic import Field

from forgefield.config import Schema
from forgefield.errors import ForgefieldError
from forgefield.properties.base import Curve, Progress, Property, PropertyResult, Quantity, silent
from forgefield.properties.structures import require_crystal, strained
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = [
    "CLOSEST_BOND",
    "COLD_CURVE",
    "DIMER",
    "ColdCurveSettings",
    "DimerSettings",
    "Scan",
    "cold_curve",
    "dimer",
]

FloatArray = NDArray[np.float64]

BOX = 20.0
"""Vacuum around a pair of atoms [Å]."""
CLOSEST_BOND = 0.6
"""Of the sum of covalent radii: no two atoms are bonded nearer than this."""
SHORTEST_CELL = 0.8
"""Of its length: no crystal near its equilibrium has its minimum below this."""


@dataclass(frozen=True)
class Scan:
    """Energy along one coordinate that compresses as it falls.

    Attributes
    ----------
    x : (n,)
        Rising.
    energies : (n,) [eV]
        NaN where the potential gives none.
    above : float
        The well lies beyond this value; a minimum before it is a hole.
    """

    x: FloatArray
    energies: FloatArray
    above: float = 0.0

    @property
    def minimum(self) -> int:
        """Index of the lowest energy of the well, which has a repulsive side."""
        e = self.energies
        known = np.isfinite(e)
        wells = [
            k
            for k in range(1, len(e) - 1)
            if known[k - 1 : k + 2].all() and self.x[k] > self.above and e[k] <= e[k - 1] and e[k] < e[k + 1]
        ]
        return min(wells, key=lambda k: float(e[k])) if wells else len(e) - 1

    @property
    def hardest(self) -> int:
        """Index down to which compression costs energy, counted from the well; 0 if it does all the way."""
        e = self.energies
        for k in range(self.minimum, 0, -1):
            if not e[k - 1] >= e[k] - 1e-6:
                return k
        return 0

    @property
    def barrier(self) -> float:
        """Energy [eV] from the well to where the energy turns over, or to the smallest coordinate if it does not."""
        return float(self.energies[self.hardest] - self.energies[self.minimum])


def _energy(atoms: Atoms, calculator: Any) -> float:
    atoms.calc = calculator
    try:
        energy = float(atoms.get_potential_energy())
    except (ForgefieldError, ArithmeticError):  # overlapping atoms are refused
        return float("nan")
    return energy


def dimer(first: str, second: str, calculator: Any, distances: FloatArray) -> Scan:
    """Return the energy of two atoms at distances (n,) [Å], relative to the same atoms far apart.

    Raises
    ------
    ForgefieldError
        The calculator knows not these elements.
    """
    far = Atoms([first, second], positions=[[0, 0, 0], [0.5 * BOX, 0, 0]], cell=3 * [BOX], pbc=True)
    far.calc = calculator
    zero = float(far.get_potential_energy())
    energies = []
    for distance in distances:
        pair = far.copy()
        pair.positions[1, 0] = distance
        energies.append(_energy(pair, calculator) - zero)
    bond = CLOSEST_BOND * float(covalent_radii[far.numbers].sum())
    return Scan(np.asarray(distances, dtype=np.float64), np.array(energies), bond)


def cold_curve(atoms: Atoms, calculator: Any, scales: FloatArray) -> tuple[Scan, FloatArray]:
    """Return energies [eV/atom] of a crystal with all lengths scaled by (n,) factors, and pressures [GPa]."""
    require_crystal(atoms, "a cold curve")
    energies, pressures = [], []
    for scale in scales:
        copy = strained(atoms, scale * np.eye(3))
        energy = _energy(copy, calculator)
        energies.append(energy / len(copy))
        pressure = float("nan")
        if np.isfinite(energy):
            pressure = -float(np.mean(copy.get_stress()[:3])) * EV_PER_A3_TO_GPA
        pressures.append(pressure)
    scan = Scan(np.asarray(scales, dtype=np.float64), np.array(energies), SHORTEST_CELL)
    return scan, np.array(pressures)


# ---- the properties ------------------------------------------------------------------------------------------


class DimerSettings(Schema):
    """Settings of the dimer curve."""

    shortest: float = Field(0.35, gt=0, lt=1, description="shortest distance, in sums of covalent radii")
    longest: float = Field(8.0, gt=0, le=0.5 * BOX, description="longest distance [Å]")
    points: int = Field(120, ge=20, description="distances")
    barrier: float = Field(20.0, gt=0, description="repulsion expected before any hole [eV]")


def _compute_dimer(
    atoms: Atoms,
    calculator: Any,
    settings: DimerSettings,
    *,
    folder: Path | None = None,  # noqa: ARG001 - nothing is written on the way
    progress: Progress = silent,
) -> PropertyResult:
    elements = sorted(set(atoms.get_chemical_symbols()))
    pairs = list(combinations_with_replacement(elements, 2))
    quantities: dict[str, Quantity] = {}
    curves: dict[str, Curve] = {}
    warnings = []
    for n, (first, second) in enumerate(pairs):
        progress(n / len(pairs), f"{first}-{second}")
        radii = sum(float(covalent_radii[Atoms(s).numbers[0]]) for s in (first, second))
        scan = dimer(
            first,
            second,
            calculator,
            np.linspace(settings.shortest * radii, settings.longest, settings.points),
        )
        name = f"{first}-{second}"
        quantities |= _scan_quantities(name, scan, "Å", "eV")
        shown = np.isfinite(scan.energies) & (scan.energies < 50.0)
        curves[name] = Curve(scan.x[shown], scan.energies[shown], "distance [Å]", "energy [eV]")
        warnings += _hole(f"two atoms {name}", scan, "Å", settings.barrier)
    return PropertyResult(
        name="dimer",
        quantities=quantities,
        conditions={"surrounding": f"vacuum, {BOX} Å", **settings.model_dump(mode="json")},
        curves=curves,
        warnings=tuple(warnings),
    )


def _scan_quantities(name: str, scan: Scan, unit: str, energy: str) -> dict[str, Quantity]:
    well = scan.minimum
    depth = float(scan.energies[-1] - scan.energies[well])
    return {
        f"{name} minimum": Quantity(float(scan.x[well]), unit, note="where the energy is lowest"),
        f"{name} depth": Quantity(depth, energy, note="below the energy at the largest value"),
        f"{name} repulsive_down_to": Quantity(float(scan.x[scan.hardest]), unit),
        f"{name} barrier": Quantity(scan.barrier, energy, note="from the minimum to there"),
    }


def _hole(what: str, scan: Scan, unit: str, needed: float) -> list[str]:
    if not np.isfinite(scan.energies[-1]):
        return [f"{what}: no finite energy even at the largest value"]
    if scan.hardest == 0 or scan.barrier >= needed:
        return []
    text = (
        f"{what}: the energy falls again below {scan.x[scan.hardest]:.3g} {unit}, behind a barrier of only "
        f"{scan.barrier:.3g} eV (expected: {needed:.3g}); add `zbl` or compressed structures to the training set"
    )
    return [text]


class ColdCurveSettings(Schema):
    """Settings of the cold curve."""

    smallest: float = Field(0.6, gt=0, lt=1, description="smallest scale of all lengths")
    largest: float = Field(1.6, gt=1, description="largest scale of all lengths")
    points: int = Field(60, ge=20, description="scales")
    barrier: float = Field(2.0, gt=0, description="repulsion expected before any hole [eV/atom]")


def _compute_cold_curve(
    atoms: Atoms,
    calculator: Any,
    settings: ColdCurveSettings,
    *,
    folder: Path | None = None,  # noqa: ARG001 - nothing is written on the way
    progress: Progress = silent,
) -> PropertyResult:
    progress(0.0, "scaled cells")
    scales = np.linspace(settings.smallest, settings.largest, settings.points)
    scan, pressures = cold_curve(atoms, calculator, scales)
    shown = np.isfinite(scan.energies) & (scan.energies < scan.energies[scan.minimum] + 20.0)
    volume = float(atoms.get_volume()) / len(atoms)
    x = scales**3 * volume
    warnings = _hole("the crystal", scan, "of its length", settings.barrier)
    below = scales < scan.x[scan.minimum]
    pushed = np.isfinite(pressures) & below & (scales >= scan.x[scan.hardest])
    return PropertyResult(
        name="cold-curve",
        quantities={
            **_scan_quantities("scale", scan, "", "eV/atom"),
            "highest_pressure": Quantity(
                float(pressures[pushed].max()) if pushed.any() else float("nan"),
                "GPa",
                note="on the repulsive branch",
            ),
        },
        conditions={
            "ions": "clamped",
            "cell": "scaled",
            "n_atoms": len(atoms),
            "volume_A3_per_atom": volume,
            **settings.model_dump(mode="json"),
        },
        curves={
            "energy": Curve(x[shown], scan.energies[shown], "volume [Å^3/atom]", "energy [eV/atom]"),
            "pressure": Curve(x[shown], pressures[shown], "volume [Å^3/atom]", "pressure [GPa]"),
        },
        warnings=tuple(warnings),
    )


DIMER = Property(
    "dimer", "energy of two atoms against their distance; holes at short range", DimerSettings, _compute_dimer
)
COLD_CURVE = Property(
    "cold-curve",
    "crystal from crushed to torn apart; holes under compression",
    ColdCurveSettings,
    _compute_cold_curve,
)
