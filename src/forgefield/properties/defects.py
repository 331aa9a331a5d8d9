"""Formation energies of vacancies and interstitials."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray
from pydantic import Field

from forgefield.errors import ConfigError, PredictionError, StructureError
from forgefield.graph import neighbour_pairs
from forgefield.properties.base import Progress, Property, PropertyResult, Quantity, Table, silent
from forgefield.properties.phonons import supercell_for
from forgefield.properties.relaxation import AtRest, at_rest, relax_cell
from forgefield.properties.short_range import CLOSEST_BOND

__all__ = ["INTERSTITIAL", "VACANCY", "Defect", "DefectSettings", "interstitials", "vacancies"]

FloatArray = NDArray[np.float64]

NUDGE = 0.02
"""Displacements [Å] of all atoms before a relaxation: they leave a saddle of high symmetry."""
PULL = 0.2
"""Second try: the atoms around the defect are drawn to it by this part of their distance, so that they may bond."""
SHAKE = 0.5
"""Further tries: they are displaced by up to so much in each direction [Å]."""
MAX_ATOMS = 10_000
"""Atoms of a supercell beyond which its relaxations would never end."""
AROUND = 1.3
"""Atoms that are displaced: within this many nearest distances of the defect."""


class DefectSettings(AtRest):
    """Settings of defects."""

    force_tolerance: float = Field(1e-3, gt=0, description="largest force left by relaxations [eV/Å]")
    length: float = Field(
        12.0, gt=0, description="supercell: least distance between opposite faces [Å], so between images"
    )
    relaxed: bool = Field(default=True, description="also relax the ions around the defect, at fixed cell")
    chemical_potentials: dict[str, float] = Field(
        default_factory=dict,
        description="of each element [eV]; needed for compounds; default: energy of the crystal per atom",
    )
    tries: int = Field(3, ge=1, description="relaxations from different displacements; the lowest counts")
    seed: int = Field(0, ge=0, description="of the displacements before relaxation")


@dataclass(frozen=True)
class Defect:
    """A supercell with a defect.

    Attributes
    ----------
    name : str
    atoms : ase.Atoms
    change : mapping of str to int
        Atoms of each element added (positive) or taken away.
    place : (3,) [Å]
        Where it is.
    """

    name: str
    atoms: Atoms
    change: dict[str, int]
    place: FloatArray


def _dataset(atoms: Atoms) -> Any:
    try:
        import spglib
    except ImportError:
        raise ConfigError("defects need spglib: pip install 'forgefield[md]'") from None
    found = spglib.get_symmetry_dataset(
        (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=1e-2
    )
    if found is None:
        raise StructureError("no symmetry found within 0.01 Å; are two atoms in one place?")
    return found


def vacancies(atoms: Atoms, repeat: tuple[int, int, int]) -> list[Defect]:
    """Return a supercell without one atom for every kind of site."""
    found = []
    for site in np.unique(_dataset(atoms).equivalent_atoms):
        cell = atoms.repeat(repeat)
        symbol = str(atoms.symbols[int(site)])
        del cell[int(site)]
        found.append(Defect(f"vacancy {symbol}{int(site)}", cell, {symbol: -1}, atoms.positions[int(site)]))
    return found


def interstitials(atoms: Atoms, repeat: tuple[int, int, int], symbol: str | None = None) -> list[Defect]:
    """Return supercells with one more atom: in every kind of void, and sharing a site as a dumbbell.

    Parameters
    ----------
    atoms : ase.Atoms
    repeat : three ints
    symbol : str, optional
        Element put in; default: each one of the crystal.

    Notes
    -----
    Voids are the vertices of the Voronoi cells, alike if a symmetry operation takes one into another. Dumbbells lie
    along <100>, <110> and <111> of the Cartesian axes, one on every kind of site of the element, or on every kind of site for
    an element that is given.
    """
    symbols = [symbol] if symbol else sorted(set(atoms.get_chemical_symbols()))
    base, found = atoms.repeat(repeat), []
    nearest = _nearest(base)
    sites = [int(k) for k in np.unique(_dataset(atoms).equivalent_atoms)]
    for element in symbols:
        for n, (place, radius) in enumerate(_voids(atoms)):
            cell = base.copy()
            cell.append(element)
            cell.positions[-1] = place
            found.append(Defect(f"{element} void {n + 1} ({radius:.2f} Å)", cell, {element: 1}, place))
        on = [k for k in sites if symbol or atoms.symbols[k] == element]
        for site, direction in product(on, ((1, 0, 0), (1, 1, 0), (1, 1, 1))):
            cell = base.copy()
            arm = 0.3 * nearest * np.array(direction) / np.linalg.norm(direction)
            cell.append(element)
            cell.positions[-1] = cell.positions[site] + arm
            cell.positions[site] -= arm
            name = f"{element} dumbbell <{''.join(map(str, direction))}>"
            if len(on) > 1:
                name += f" on {atoms.symbols[site]}{site}"
            found.append(Defect(name, cell, {element: 1}, base.positions[site]))
    return found


def _nearest(atoms: Atoms) -> float:
    """Return the shortest distance between two atoms, of which none are nearer than 0.001 Å."""
    cutoff = 2.0
    while True:
        _, _, _, vectors = neighbour_pairs(atoms, cutoff)
        distances = np.linalg.norm(vectors, axis=1)
        distances = distances[distances > 1e-3]
        if len(distances):
            return float(distances.min())
        cutoff *= 2.0


def _voids(atoms: Atoms) -> list[tuple[FloatArray, float]]:
    """Return the place and the distance to the nearest atom [Å] of every kind of void, largest first."""
    from scipy.spatial import Voronoi

    n = max(supercell_for(atoms, 8.0))
    around = atoms.repeat((2 * n + 1,) * 3)
    around.positions -= n * atoms.cell.array.sum(axis=0)
    vertices = Voronoi(around.positions).vertices
    scaled = vertices @ np.linalg.inv(atoms.cell.array)
    inside = (scaled > -1e-6).all(axis=1) & (scaled < 1 - 1e-6).all(axis=1)
    data = _dataset(atoms)
    kept: list[tuple[FloatArray, float]] = []
    for s in scaled[inside]:
        place = s @ atoms.cell.array
        radius = float(np.linalg.norm(around.positions - place, axis=1).min())
        if radius < 1.0 or any(_alike(s, other, data, atoms) for other, _ in kept):
            continue
        kept.append((s, radius))
    return sorted(((s @ atoms.cell.array, r) for s, r in kept), key=lambda item: -item[1])


def _alike(a: FloatArray, b: FloatArray, data: Any, atoms: Atoms) -> bool:
    """Whether a symmetry operation takes one point into the other, or they nearly coincide."""
    images = np.einsum("nij,j->ni", data.rotations, a) + data.translations - b
    images -= np.rint(images)
    return bool((np.linalg.norm(images @ atoms.cell.array, axis=1) < 0.3).any())


# ---- the properties ------------------------------------------------------------------------------------------


def _potentials(atoms: Atoms, energy: float, settings: DefectSettings) -> dict[str, float]:
    elements = sorted(set(atoms.get_chemical_symbols()))
    given = settings.chemical_potentials
    if given:
        missing = [e for e in elements if e not in given]
        if missing:
            raise ConfigError(f"`chemical_potentials` lacks {', '.join(missing)}; got {given}")
        return given
    if len(elements) > 1:
        raise ConfigError(
            f"defects in a compound ({', '.join(elements)}) need `chemical_potentials` [eV] of its elements, e.g. "
            "--set 'chemical_potentials={In: -2.7, P: -5.4}'"
        )
    return {elements[0]: energy / len(atoms)}


def _compute(
    kind: str,
    atoms: Atoms,
    calculator: Any,
    settings: DefectSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> PropertyResult:
    atoms, conditions = at_rest(atoms, calculator, settings, "a point defect")
    energy = float(atoms.get_potential_energy())
    potentials = _potentials(atoms, energy, settings)
    repeat = supercell_for(atoms, settings.length)
    n_atoms = len(atoms) * int(np.prod(repeat))
    if n_atoms > MAX_ATOMS:
        raise ConfigError(
            f"a supercell of {repeat} has {n_atoms} atoms (allowed: {MAX_ATOMS}); lower `length` ({settings.length} Å)"
        )
    defects = vacancies(atoms, repeat) if kind == "vacancy" else interstitials(atoms, repeat)
    rng = np.random.default_rng(settings.seed)
    quantities: dict[str, Quantity] = {}
    rows, doubts = [], []
    for n, defect in enumerate(defects):
        progress(n / len(defects), defect.name)
        reference = energy * int(np.prod(repeat)) + sum(k * potentials[s] for s, k in defect.change.items())
        defect.atoms.calc = calculator
        row = [float(defect.atoms.get_potential_energy()) - reference]
        quantities[f"{defect.name} unrelaxed"] = Quantity(row[0], "eV")
        if settings.relaxed:
            relaxed, lost = _relaxed(defect, calculator, settings, rng)
            doubts += [f"{defect.name}: {lost} of {settings.tries} relaxations collapsed"] if lost else []
            row.append(float(relaxed.get_potential_energy()) - reference)
            quantities[f"{defect.name} relaxed"] = Quantity(row[1], "eV")
            if folder is not None:
                _write(folder / f"{kind}_{n + 1}.xyz", relaxed)
        rows.append(row)
    values = np.array(rows)
    lowest = values[:, -1].min()
    best = defects[int(values[:, -1].argmin())].name
    quantities = {"lowest": Quantity(float(lowest), "eV", note=best), **quantities}
    if not lowest > 0:
        doubts.append(f"{best} costs no energy ({lowest:.3g} eV): the crystal is unstable")
    return PropertyResult(
        name=kind,
        quantities=quantities,
        conditions={
            **conditions,
            "supercell": list(repeat),
            "supercell_atoms": n_atoms,
            "cell": "fixed at that of the crystal",
            **settings.model_dump(mode="json"),
            "chemical_potentials": potentials,
        },
        tables={kind: Table(values, "eV", (", ".join(d.name for d in defects), "unrelaxed, relaxed"))},
        warnings=tuple(doubts),
    )


def _relaxed(
    defect: Defect, calculator: Any, settings: DefectSettings, rng: np.random.Generator
) -> tuple[Atoms, int]:
    """Return the lowest of several relaxations and how many collapsed into a hole of the potential."""
    found, lost = [], 0
    offsets = defect.atoms.positions - defect.place
    scaled = offsets @ np.linalg.inv(defect.atoms.cell.array)
    towards = (scaled - np.rint(scaled)) @ defect.atoms.cell.array
    distances = np.linalg.norm(towards, axis=1)
    near = np.flatnonzero(distances < AROUND * _nearest(defect.atoms))
    closest = CLOSEST_BOND * 2.0 * float(covalent_radii[defect.atoms.numbers].min())
    for n in range(settings.tries):
        start = defect.atoms.copy()
        start.positions += NUDGE * rng.standard_normal((len(start), 3))
        if n == 1:
            start.positions[near] -= PULL * towards[near]
        elif n > 1:
            start.positions[near] += SHAKE * rng.uniform(-1, 1, (len(near), 3))
        try:
            end = relax_cell(
                start, calculator, cell="fixed", force_tolerance=settings.force_tolerance, steps=3000
            )
        except PredictionError:
            lost += 1
            continue
        if _nearest(end) < closest:
            lost += 1
        else:
            found.append(end)
    if not found:
        raise PredictionError(
            f"{defect.name}: none of {settings.tries} relaxations ended in a structure whose atoms are at least "
            f"{closest:.2f} Å apart; the potential may have a hole at short range (see the property dimer), or raise "
            "`force_tolerance`"
        )
    return min(found, key=lambda a: float(a.get_potential_energy())), lost


def _write(path: Path, atoms: Atoms) -> None:
    from ase.io import write

    copy = atoms.copy()
    copy.calc = None
    write(path, copy, format="extxyz")


def _vacancy(atoms: Atoms, calculator: Any, settings: DefectSettings, **rest: Any) -> PropertyResult:
    return _compute("vacancy", atoms, calculator, settings, **rest)


def _interstitial(atoms: Atoms, calculator: Any, settings: DefectSettings, **rest: Any) -> PropertyResult:
    return _compute("interstitial", atoms, calculator, settings, **rest)


VACANCY = Property("vacancy", "formation energy of vacancies", DefectSettings, _vacancy)
INTERSTITIAL = Property(
    "interstitial",
    "formation energy of interstitials in voids and as dumbbells",
    DefectSettings,
    _interstitial,
)
