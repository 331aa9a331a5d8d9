"""Thermal conductivity of a crystal from the Boltzmann equation of its phonons, through phono3py."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field, field_validator

from forgefield.errors import ConfigError, StructureError
from forgefield.properties.base import (
    Curve,
    Progress,
    Property,
    PropertyResult,
    Quantity,
    Table,
    floats,
    silent,
)
from forgefield.properties.dynamics_forces import force_field
from forgefield.properties.journal import fingerprint
from forgefield.properties.kept_arrays import KeptArrays
from forgefield.properties.relaxation import AtRest, at_rest
from forgefield.properties.structures import right_handed

__all__ = ["CONDUCTIVITY_BTE", "BteSettings", "Solution", "anharmonic", "solve"]

FloatArray = NDArray[np.float64]

MAX_ATOMS = 1500
"""Atoms of a supercell beyond which its third-order force constants do not fit into memory."""
UNIT = "W/(m K)"
LARGEST = 1e6
"""[W/(m K)]; hundreds of times that of diamond."""
KEPT = "conductivity-bte.npz"
"""File that forces and solutions are kept in, by which a run that was interrupted goes on."""
FORCES = {"relax", "force_tolerance", "supercell", "harmonic_supercell", "displacement", "pair_cutoff"}
"""Settings that the forces depend on."""
SAME = 1e-5
"""Energies per atom [eV] of one potential that differ by less are the same."""


class BteSettings(AtRest):
    """Boltzmann equation of phonons."""

    force_tolerance: float = Field(1e-4, gt=0, description="largest force left by relaxations [eV/Å]")
    supercell: tuple[int, int, int] = Field(
        (2, 2, 2), description="repetitions for third-order force constants"
    )
    harmonic_supercell: tuple[int, int, int] | None = Field(
        None, description="repetitions for second-order force constants; null: the same"
    )
    displacement: float = Field(0.03, gt=0, le=0.2, description="of atoms [Å]")
    pair_cutoff: float | None = Field(
        None, gt=0, description="leave out pairs of displaced atoms farther apart [Å]; null: none"
    )
    meshes: tuple[int, ...] = Field(
        (7, 9, 11), min_length=1, description="q-points along each reciprocal vector; the last is the answer"
    )
    temperatures: tuple[float, ...] = Field((300.0,), min_length=1, description="[K]")
    solution: Literal["rta", "direct"] = Field(
        "direct", description="relaxation times only, or also the direct solution of the linearised equation"
    )
    isotopes: bool = Field(default=False, description="scattering by the natural isotopes")
    imaginary_tolerance: float = Field(
        0.1, ge=0, description="imaginary frequencies up to this are noise [THz]"
    )

    @field_validator("supercell", "harmonic_supercell", "meshes")
    @classmethod
    def _positive(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and min(value) < 1:
            raise ValueError("all must be >= 1")
        return value

    @field_validator("temperatures")
    @classmethod
    def _warm(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0.0 < t < np.inf for t in value):
            raise ValueError("all must be > 0 K")
        return value

    @field_validator("meshes")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError("must rise, the last being the finest")
        return value


@dataclass(frozen=True)
class Solution:
    """Conductivities on one mesh.

    Attributes
    ----------
    mesh : int
    rta : (n_temperatures, 3, 3) [W/(m K)]
    direct : (n_temperatures, 3, 3) [W/(m K)] or None
    lowest : float [THz]
        Frequency; imaginary ones are negative.
    frequency, accumulated : (n_modes,) [THz], (n_modes,) [W/(m K)]
        Of the first temperature: the part (a third of the trace) of modes up to a frequency.
    """

    mesh: int
    rta: FloatArray
    direct: FloatArray | None
    lowest: float
    frequency: FloatArray
    accumulated: FloatArray

    @property
    def best(self) -> FloatArray:
        """The direct solution where there is one."""
        return self.rta if self.direct is None else self.direct


def anharmonic(
    atoms: Atoms,
    calculator: Any,
    settings: BteSettings,
    *,
    kept: KeptArrays | None = None,
    progress: Progress = silent,
) -> tuple[Any, int]:
    """Return a `phono3py.Phono3py` with force constants of second and third order, and how many cells that took.

    Forces that are in `kept` are not computed again.

    Raises
    ------
    ConfigError
        phono3py is missing; the supercell is too large.
    StructureError
        No symmetry can be found.
    """
    try:
        from phono3py import Phono3py
        from phonopy.structure.atoms import PhonopyAtoms
    except ImportError:
        raise ConfigError(
            "the Boltzmann equation needs phono3py: pip install 'forgefield[md]' phono3py"
        ) from None
    n_atoms = len(atoms) * int(np.prod(settings.supercell))
    if n_atoms > MAX_ATOMS:
        raise ConfigError(f"a supercell of {settings.supercell} has {n_atoms} atoms (allowed: {MAX_ATOMS})")
    kept = kept or KeptArrays(None, "")
    atoms = right_handed(atoms)
    unit = PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )
    harmonic = settings.harmonic_supercell
    with warnings.catch_warnings():  # of changed defaults that are given here
        warnings.filterwarnings("ignore", message="primitive_matrix defaulted")
        try:
            engine = Phono3py(
                unit,
                supercell_matrix=np.diag(settings.supercell),
                phonon_supercell_matrix=None if harmonic is None else np.diag(harmonic),
                primitive_matrix="auto",
                symprec=1e-4,
            )
        except (RuntimeError, TypeError, AttributeError) as error:
            raise StructureError(f"phono3py finds no symmetry in this structure: {error}") from None
    engine.generate_displacements(distance=settings.displacement, cutoff_pair_distance=settings.pair_cutoff)
    cells = engine.supercells_with_displacements
    engine.forces = _forces("third", engine.supercell, cells, calculator, kept, progress)
    done = sum(cell is not None for cell in cells)
    if harmonic is not None:
        engine.generate_fc2_displacements(distance=settings.displacement)
        more = engine.phonon_supercells_with_displacements
        engine.phonon_forces = _forces("second", engine.phonon_supercell, more, calculator, kept, progress)
        done += len(more)
        engine.produce_fc2()
    engine.produce_fc3()
    engine.symmetrize_fc3()
    engine.symmetrize_fc2()
    return engine, done


def _forces(
    name: str, rest: Any, cells: Any, calculator: Any, kept: KeptArrays, progress: Progress
) -> FloatArray:
    """Return forces of supercells less those of the undisplaced one; zeros where phono3py left one out."""
    atoms = Atoms(rest.symbols, cell=rest.cell, scaled_positions=rest.scaled_positions, pbc=True)
    found = kept.get(name)
    if found is None:
        found = np.full((len(cells), len(atoms), 3), np.nan)  # what is missing
        found[[cell is None for cell in cells]] = 0.0
    missing = np.flatnonzero(np.isnan(found).any(axis=(1, 2)))
    if len(missing) == 0:
        return found
    field = force_field(calculator, atoms)
    at_start = field.evaluate(atoms.positions, atoms.cell.array).forces
    for n in missing:
        progress(0.5 * n / len(cells), f"displacement {n + 1} of {len(cells)}, {len(atoms)} atoms")
        found[n] = field.evaluate(cells[n].positions, atoms.cell.array).forces - at_start
        kept.put(name, found)
    kept.flush()
    return found


def _solved(engine: Any, mesh: int, settings: BteSettings, kept: KeptArrays) -> Solution:
    """Return the solution on a mesh, from `kept` if it is there."""
    names = [one.name for one in fields(Solution) if one.name != "mesh"]
    asked = settings.model_dump(mode="json", include={"temperatures", "solution", "isotopes"})
    label = f"mesh {mesh} {sorted(asked.items())}"
    before = {name: kept.get(f"{label} {name}") for name in names}
    if before["rta"] is not None:
        lowest = before.pop("lowest")
        return Solution(mesh=mesh, lowest=float(np.asarray(lowest)), **before)  # type: ignore[arg-type]
    one = solve(engine, mesh, settings)
    for name in names:
        value = getattr(one, name)
        if value is not None:
            kept.put(f"{label} {name}", np.asarray(value, dtype=np.float64))
    kept.flush()
    return one


def solve(engine: Any, mesh: int, settings: BteSettings) -> Solution:
    """Solve the Boltzmann equation on a mesh.

    Parameters
    ----------
    engine : phono3py.Phono3py
        See `anharmonic`.
    mesh : int
    settings : BteSettings
    """
    engine.mesh_numbers = [mesh] * 3
    engine.init_phph_interaction()
    direct = settings.solution == "direct"
    engine.run_thermal_conductivity(
        is_LBTE=direct, temperatures=list(settings.temperatures), is_isotope=settings.isotopes
    )
    found = engine.thermal_conductivity
    frequencies = np.asarray(found.frequencies, dtype=np.float64)
    modes = np.asarray(found.mode_kappa, dtype=np.float64)[0, 0, :, :, :3].mean(axis=2) / mesh**3
    order = np.argsort(frequencies, axis=None)
    return Solution(
        mesh,
        _matrices(found.kappa_RTA if direct else found.kappa),
        _matrices(found.kappa) if direct else None,
        float(frequencies.min()),
        frequencies.ravel()[order],
        np.cumsum(modes.ravel()[order]),
    )


def _matrices(kappa: Any) -> FloatArray:
    """Turn phono3py's (1, n_temperatures, 6), order xx yy zz yz xz xy, into matrices."""
    from forgefield.keys import voigt_to_matrix

    return voigt_to_matrix(np.asarray(kappa, dtype=np.float64)[0])


def _mean(kappa: FloatArray) -> FloatArray:
    third: FloatArray = np.trace(kappa, axis1=1, axis2=2) / 3.0
    return third


def _compute(
    atoms: Atoms,
    calculator: Any,
    settings: BteSettings,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> PropertyResult:
    source = calculator.calculator() if hasattr(calculator, "predict_many") else calculator
    start, conditions = at_rest(atoms, source, settings, "thermal conductivity")
    path = None if folder is None else folder / KEPT
    kept = KeptArrays(path, fingerprint(atoms, settings.model_dump(mode="json", include=FORCES)))
    energy = float(start.get_potential_energy()) / len(start)
    kept.require("energy", energy, SAME, "potential: the energy per atom [eV] of the crystal differs")
    engine, cells = anharmonic(start, source, settings, kept=kept, progress=progress)
    found = []
    for n, mesh in enumerate(settings.meshes):
        progress(0.5 + 0.5 * n / len(settings.meshes), f"mesh {mesh} x {mesh} x {mesh}")
        found.append(_solved(engine, mesh, settings, kept))
        _require_stable(found[-1], settings)
        _require_scattering(found[-1], settings)
    last = found[-1]
    quantities: dict[str, Quantity] = {}
    notes: list[str] = []
    best = np.array([_mean(one.best) for one in found])
    for t, temperature in enumerate(settings.temperatures):
        change = float(abs(best[-1, t] - best[-2, t])) if len(found) > 1 else None
        name = "conductivity" if t == 0 else f"conductivity {temperature:g} K"
        note = (
            f"{settings.solution}, {temperature:g} K; error: change from mesh {settings.meshes[-2]}"
            if change
            else ""
        )
        quantities[name] = Quantity(float(best[-1, t]), UNIT, change, note)
        quantities[name.replace("conductivity", "conductivity_rta")] = Quantity(
            float(_mean(last.rta)[t]), UNIT, note="relaxation times only"
        )
        if change is not None and change > 0.05 * best[-1, t]:
            notes.append(
                f"{temperature:g} K: not converged with the mesh: the last step changed the conductivity by "
                f"{100 * change / best[-1, t]:.0f} %; take finer `meshes`"
            )
    quantities["lowest_frequency"] = Quantity(last.lowest, "THz")
    return PropertyResult(
        name="conductivity-bte",
        quantities=quantities,
        conditions=conditions
        | {"supercells_computed": cells, "long_range": "no correction for long-range Coulomb forces"}
        | settings.model_dump(mode="json"),
        curves=_curves(found, best, settings),
        tables={"tensor": Table(last.best, UNIT, ("temperature", "component", "component"))},
        warnings=tuple(notes),
    )


def _require_stable(one: Solution, settings: BteSettings) -> None:
    if one.lowest < -settings.imaginary_tolerance:
        cure = "" if settings.relax else "pass relax=true; "
        raise StructureError(
            f"the crystal is not stable: imaginary mode of {-one.lowest:.3g}i THz on the mesh {one.mesh} (allowed: "
            f"{settings.imaginary_tolerance:g}); {cure}take a larger `harmonic_supercell` if it may be interpolation, and see "
            "`forgefield property phonons` for its wave vector"
        )


def _require_scattering(one: Solution, settings: BteSettings) -> None:
    """Raise where a conductivity is infinite, or as good as that."""
    for temperature, value in zip(settings.temperatures, _mean(one.best), strict=True):
        if not abs(value) < LARGEST:
            raise ConfigError(
                f"on the mesh {one.mesh} phonons find no others to scatter with: {value:.3g} W/(m K) at {temperature:g} K; begin "
                "`meshes` with a finer one"
            )


def _curves(found: list[Solution], best: FloatArray, settings: BteSettings) -> dict[str, Curve]:
    label = "conductivity [W/(m K)]"
    last = found[-1]
    curves = {
        "accumulated": Curve(last.frequency, last.accumulated, "frequency [THz]", f"accumulated {label}"),
        "mesh": Curve(
            floats([one.mesh for one in found]), best[:, 0], "q-points along an axis", label, points=True
        ),
    }
    if len(settings.temperatures) > 1:
        curves["temperature"] = Curve(floats(settings.temperatures), best[-1], "temperature [K]", label)
    return curves


CONDUCTIVITY_BTE = Property(
    "conductivity-bte", "thermal conductivity of a crystal (phonon Boltzmann equation)", BteSettings, _compute
)
