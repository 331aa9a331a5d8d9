"""Structures in numbers: sizes, distances, neighbours, label ranges."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from forgefield.data import get_energy, get_forces, get_stress
from forgefield.errors import DataError, StructureError
from forgefield.formulas.zbl import COVALENT_RADII
from forgefield.graph import neighbour_pairs
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["FARTHEST", "Survey", "survey"]

FloatArray = NDArray[np.float64]

FARTHEST = 8.0
"""Distances are collected up to here [Å]."""
BIN = 0.1
"""Width of the distance histogram [Å]."""
MAX_ATOMS = 20_000
"""Atoms looked at for distances, in structures evenly spaced over the data."""


@dataclass(frozen=True)
class Survey:
    """What the structures are like.

    Attributes
    ----------
    n_structures, n_atoms : int
    smallest, largest : int
        Atoms per structure.
    atoms_of : dict
        Element to number of atoms.
    compositions : dict
        Chemical formula (reduced) to number of structures, the most frequent first.
    n_with : dict
        energy, forces, stress to number of structures with that label.
    energy_range : (low, high) [eV/atom] or None
    force_rms, force_max : float [eV/Å] or None
    pressure_range : (low, high) [GPa] or None
        Positive under compression.
    nearest : float [Å] or None
        Smallest distance between two atoms.
    nearest_name : str
        The structure it occurs in.
    n_periodic : int
        Structures periodic in three directions.
    counts : (n_bins,)
        Mean number of neighbours at distances ``BIN * k`` to ``BIN * (k + 1)``.
    rdf : (n_bins,)
        Radial distribution function, averaged over the structures with a volume; zeros without one.
    """

    n_structures: int
    n_atoms: int
    smallest: int
    largest: int
    atoms_of: dict[str, int]
    compositions: dict[str, int]
    n_with: dict[str, int]
    energy_range: tuple[float, float] | None
    force_rms: float | None
    force_max: float | None
    pressure_range: tuple[float, float] | None
    nearest: float | None
    nearest_name: str
    nearest_share: float | None
    n_periodic: int
    counts: FloatArray
    rdf: FloatArray

    def neighbours(self, cutoff: float) -> float:
        """Return the mean number of neighbours within a cutoff [Å], at most `FARTHEST`."""
        edges = BIN * np.arange(len(self.counts) + 1)
        return float(np.interp(cutoff, edges, np.concatenate([[0.0], np.cumsum(self.counts)])))

    @property
    def first_peak(self) -> float | None:
        """Position [Å] of the highest point of the first peak of the RDF; None without one."""
        above = np.flatnonzero(self.rdf > 1.0)
        if len(above) == 0:
            return None
        stop = int(above[0])
        while stop < len(self.rdf) and self.rdf[stop] > 1.0:
            stop += 1
        return float(BIN * (above[0] + np.argmax(self.rdf[above[0] : stop]) + 0.5))

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON, units in the names."""
        return {
            "n_structures": self.n_structures,
            "n_atoms": self.n_atoms,
            "atoms_per_structure": [self.smallest, self.largest],
            "n_periodic": self.n_periodic,
            "elements": self.atoms_of,
            "compositions": self.compositions,
            "labels": self.n_with,
            "energy_range_eV_per_atom": self.energy_range,
            "force_rms_eV_per_A": self.force_rms,
            "force_max_eV_per_A": self.force_max,
            "pressure_range_GPa": self.pressure_range,
            "nearest_distance_A": self.nearest,
            "nearest_distance_in": self.nearest_name,
            "first_peak_A": self.first_peak,
            "mean_neighbours": {f"{c:g}": self.neighbours(c) for c in (3.0, 4.0, 5.0, 6.0, 7.0, 8.0)},
            "rdf": {"bin_A": BIN, "g": [round(float(g), 4) for g in self.rdf]},
        }


def survey(frames: Sequence[Atoms]) -> Survey:
    """Measure structures and labels.

    Raises
    ------
    DataError
        No structures.
    StructureError
        Positions that are not finite, a flat cell, two atoms at one place; the structure is named.
    """
    if not frames:
        raise DataError("there are no structures to look at; check the data files")
    energies = [e / len(a) for a in frames if (e := get_energy(a)) is not None]
    forces = [f for a in frames if (f := get_forces(a)) is not None]
    stresses = [s for a in frames if (s := get_stress(a)) is not None]
    pressures = [-float(s[:3].mean()) * EV_PER_A3_TO_GPA for s in stresses]
    flat = np.concatenate([f.ravel() for f in forces]) if forces else np.empty(0)
    numbers = Counter(int(z) for a in frames for z in a.numbers)
    sizes = [len(a) for a in frames]
    counts, rdf, nearest, name, share = _distances(frames)
    return Survey(
        n_structures=len(frames),
        n_atoms=sum(sizes),
        smallest=min(sizes),
        largest=max(sizes),
        atoms_of={chemical_symbols[z]: numbers[z] for z in sorted(numbers)},
        compositions=dict(Counter(_formula(a) for a in frames).most_common()),
        n_with={"energy": len(energies), "forces": len(forces), "stress": len(stresses)},
        energy_range=(min(energies), max(energies)) if energies else None,
        force_rms=float(np.sqrt(np.mean(flat**2))) if len(flat) else None,
        force_max=float(np.abs(flat).max()) if len(flat) else None,
        pressure_range=(min(pressures), max(pressures)) if pressures else None,
        nearest=nearest,
        nearest_name=name,
        nearest_share=share,
        n_periodic=sum(bool(a.pbc.all()) for a in frames),
        counts=counts,
        rdf=rdf,
    )


def _formula(atoms: Atoms) -> str:
    return str(atoms.symbols.formula.reduce()[0].format("metal"))


def _distances(frames: Sequence[Atoms]) -> tuple[FloatArray, FloatArray, float | None, str, float | None]:
    """Return mean neighbours per bin, RDF, the smallest distance [Å], where it occurs, and the smallest in sums of radii."""
    edges = np.arange(round(FARTHEST / BIN) + 1) * BIN
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    total, rdf = np.zeros(len(shells)), np.zeros(len(shells))
    nearest, name, share, n_atoms, n_bulk = np.inf, "", np.inf, 0, 0
    step = max(1, math.ceil(sum(len(a) for a in frames) / MAX_ATOMS))
    for n in range(0, len(frames), step):
        atoms = frames[n]
        label = str(atoms.info.get("name", f"structure {n}"))
        try:
            pairs = neighbour_pairs(atoms, FARTHEST)
        except StructureError as error:
            raise StructureError(f"{label}: {error}") from None
        distances = np.linalg.norm(pairs[3], axis=1)
        histogram = np.histogram(distances, bins=edges)[0].astype(np.float64)
        total += histogram
        n_atoms += len(atoms)
        if atoms.pbc.all():
            n_bulk += len(atoms)
            rdf += histogram / shells * (abs(atoms.get_volume()) / len(atoms))
        if len(distances):
            radii = np.take(COVALENT_RADII, atoms.numbers - 1)
            share = min(share, float((distances / (radii[pairs[0]] + radii[pairs[1]])).min()))
            if distances.min() < nearest:
                nearest, name = float(distances.min()), label
    found = (x if np.isfinite(x) else None for x in (nearest, share))
    return total / max(n_atoms, 1), rdf / max(n_bulk, 1), next(found), name, next(found)
