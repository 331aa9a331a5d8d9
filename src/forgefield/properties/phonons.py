"""Phonons by finite displacements: force constants, bands, density of states, thermal properties, lowest mode."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from forgefield.errors import ConfigError, StructureError
from forgefield.properties.base import Progress, silent
from forgefield.properties.structures import right_handed

__all__ = ["Bands", "Lowest", "Phonons", "phonons", "supercell_for"]

FloatArray = NDArray[np.float64]

KJ_PER_MOL_PER_EV = 96.48533212
"""One eV per particle in kJ/mol (CODATA 2018)."""
J_PER_K_MOL_PER_KB = 8.31446261815324
"""One Boltzmann constant per particle in J/(K mol) (CODATA 2018)."""
MAX_ATOMS = 4000
"""Atoms of a supercell beyond which its force constants do not fit into memory."""


@dataclass(frozen=True)
class Bands:
    """Frequencies along a path.

    Attributes
    ----------
    labels : list of (str, str)
        Names of the ends of each piece.
    distances : list of (n,) arrays [1/Å]
        Along the path, without the factor 2 pi.
    qpoints : list of (n, 3) arrays
        In units of the reciprocal vectors of the primitive cell.
    frequencies : list of (n, n_bands) arrays [THz]
        Imaginary ones are negative.
    """

    labels: list[tuple[str, str]]
    distances: list[FloatArray]
    qpoints: list[FloatArray]
    frequencies: list[FloatArray]


@dataclass(frozen=True)
class Lowest:
    """The lowest frequency there is.

    Attributes
    ----------
    frequency : float [THz]
        Negative where imaginary.
    q : tuple of float
        In units of the reciprocal vectors of the primitive cell.
    where : str
        On the path (its label if it has one), the mesh, or a q-point commensurate with the supercell.
    """

    frequency: float
    q: tuple[float, float, float]
    where: str


class Phonons:
    """Force constants of a crystal and what follows from them.

    Parameters
    ----------
    engine : phonopy.Phonopy
        With force constants.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    @property
    def n_atoms(self) -> int:
        """Atoms of the primitive cell."""
        return len(self.engine.primitive)

    @property
    def primitive(self) -> Atoms:
        """The primitive cell."""
        return _to_ase(self.engine.primitive)

    def frequencies(self, qpoints: ArrayLike) -> FloatArray:
        """Return frequencies [THz], (n, n_bands), at q-points (n, 3) in units of the primitive reciprocal vectors.

        Imaginary frequencies are negative.
        """
        self.engine.run_qpoints(np.asarray(qpoints, dtype=np.float64).reshape(-1, 3))
        return np.asarray(self.engine.qpoints.frequencies, dtype=np.float64)

    def special_points(self) -> tuple[dict[str, FloatArray], list[tuple[str, str]]]:
        """Return the points of high symmetry and the standard path through them.

        Notes
        -----
        Y. Hinuma et al., Comput. Mater. Sci. 128, 140 (2017), by seekpath.

        Raises
        ------
        ConfigError
            seekpath is not installed.
        """
        try:
            import seekpath
        except ImportError:
            raise ConfigError(
                "the path of phonon bands needs seekpath: pip install 'forgefield[md]'"
            ) from None
        cell = self.engine.primitive
        found = seekpath.get_path_orig_cell(
            (cell.cell, cell.scaled_positions, cell.numbers), symprec=1e-3, threshold=1e-5
        )
        points = {k: np.asarray(q, dtype=np.float64) for k, q in found["point_coords"].items()}
        return points, [(str(a), str(b)) for a, b in found["path"]]

    def bands(self, points: int = 41) -> Bands:
        """Return frequencies along the standard path, with that many q-points on each piece."""
        special, path = self.special_points()
        reciprocal = np.linalg.inv(self.engine.primitive.cell).T
        distances, qpoints, start = [], [], 0.0
        for first, last in path:
            t = np.linspace(0.0, 1.0, points)
            step = special[last] - special[first]
            qpoints.append(special[first] + t[:, None] * step)
            length = float(np.linalg.norm(step @ reciprocal))
            distances.append(start + t * length)
            start += length
        frequencies = self.frequencies(np.concatenate(qpoints))
        return Bands(path, distances, qpoints, list(frequencies.reshape(len(path), points, -1)))

    def mesh(self, density: float = 60.0) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return q-points (n, 3), weights (n,) with sum 1 and frequencies (n, n_bands) [THz] of a regular mesh."""
        self.engine.run_mesh(density)
        found = self.engine.mesh
        weights = np.asarray(found.weights, dtype=np.float64)
        return (
            np.asarray(found.qpoints, dtype=np.float64),
            weights / weights.sum(),
            np.asarray(found.frequencies, dtype=np.float64),
        )

    def density_of_states(self) -> tuple[FloatArray, FloatArray]:
        """Return frequencies [THz] and states per atom and THz; needs `mesh` before."""
        self.engine.run_total_dos()
        found = self.engine.total_dos
        return (
            np.asarray(found.frequency_points, dtype=np.float64),
            np.asarray(found.dos, dtype=np.float64) / self.n_atoms,
        )

    def thermal(self, temperatures: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return free energy [eV/atom], entropy and heat capacity [k_B/atom] at constant volume; needs `mesh` before.

        Modes without a real frequency are left out.
        """
        self.engine.run_thermal_properties(temperatures=temperatures, cutoff_frequency=1e-3)
        found = self.engine.thermal_properties
        scales = {
            "free_energy": KJ_PER_MOL_PER_EV,
            "entropy": J_PER_K_MOL_PER_KB,
            "heat_capacity": J_PER_K_MOL_PER_KB,
        }
        free, entropy, heat = (
            np.asarray(getattr(found, k), dtype=np.float64) / (s * self.n_atoms) for k, s in scales.items()
        )
        return free, entropy, heat

    def lowest(self, bands: Bands | None = None, density: float = 60.0) -> Lowest:
        """Return the lowest frequency on the path, the mesh and the q-points the supercell holds exactly."""
        from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

        matrix = np.linalg.inv(self.engine.primitive.primitive_matrix) @ self.engine.supercell_matrix
        exact = get_commensurate_points(np.rint(matrix).astype(int))
        candidates = [(np.asarray(exact), self.frequencies(exact), "commensurate with the supercell")]
        q, _, found = self.mesh(density)
        candidates.append((q, found, "interpolated, on the mesh"))
        for piece, qs, fs in (
            zip(bands.labels, bands.qpoints, bands.frequencies, strict=True) if bands else ()
        ):
            candidates.append((qs, fs, f"interpolated, between {piece[0]} and {piece[1]}"))
            for label, end in zip(piece, (0, -1), strict=True):
                candidates.append((qs[[end]], fs[[end]], label))
        best = min(candidates, key=lambda c: (round(float(c[1].min()), 6), "interpolated" in c[2]))
        where = int(best[1].min(axis=1).argmin())
        a, b, c = (float(round(x, 6)) for x in best[0][where])
        return Lowest(float(best[1].min()), (a, b, c), best[2])


def supercell_for(atoms: Atoms, length: float) -> tuple[int, int, int]:
    """Return how often to repeat each cell vector so that opposite faces are at least `length` [Å] apart."""
    heights = abs(float(atoms.get_volume())) / np.linalg.norm(
        np.cross(atoms.cell.array[[1, 2, 0]], atoms.cell.array[[2, 0, 1]]), axis=1
    )
    a, b, c = (max(1, int(np.ceil(length / h - 1e-6))) for h in heights)
    return a, b, c


def phonons(
    atoms: Atoms,
    calculator: Any,
    *,
    length: float = 10.0,
    displacement: float = 0.01,
    supercell: tuple[int, int, int] | None = None,
    progress: Progress = silent,
) -> Phonons:
    """Compute force constants of a crystal at rest.

    Parameters
    ----------
    atoms : ase.Atoms
        Any cell of the crystal; not changed.
    calculator : ASE calculator
    length : float [Å]
        Least distance between opposite faces of the supercell.
    displacement : float [Å]
    supercell : three ints, optional
        Repetitions, instead of `length`.
    progress : callable

    Raises
    ------
    ConfigError
        phonopy is not installed; the supercell is too large.
    StructureError
        The crystal has no symmetry that can be found.

    Notes
    -----
    Parlinski, Li and Kawazoe, Phys. Rev. Lett. 78, 4063 (1997). Forces of the undisplaced supercell are taken off;
    force constants are symmetrised so that translations cost nothing.
    """
    try:
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms
    except ImportError:
        raise ConfigError("phonons need phonopy: pip install 'forgefield[md]'") from None
    atoms = right_handed(atoms)
    counts = supercell_for(atoms, length) if supercell is None else supercell
    n_atoms = len(atoms) * int(np.prod(counts))
    if n_atoms > MAX_ATOMS:
        raise ConfigError(
            f"a supercell of {counts} has {n_atoms} atoms (allowed: {MAX_ATOMS}); lower `length` ({length} Å)"
        )
    unit = PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )
    try:
        with warnings.catch_warnings():  # that 'auto', asked for, is now the default
            warnings.filterwarnings("ignore", message="primitive_matrix defaulted")
            engine = Phonopy(unit, np.diag(counts), primitive_matrix="auto", symprec=1e-4)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise StructureError(f"phonopy finds no symmetry in this structure: {error}") from None
    engine.generate_displacements(distance=displacement)
    rest = _forces(engine.supercell, calculator)
    cells = engine.supercells_with_displacements
    forces = []
    for n, cell in enumerate(cells):
        progress(n / len(cells), f"displacement {n + 1} of {len(cells)}, {n_atoms} atoms")
        forces.append(_forces(cell, calculator) - rest)
    engine.forces = np.array(forces)
    engine.produce_force_constants()
    engine.symmetrize_force_constants()
    return Phonons(engine)


def _to_ase(cell: Any) -> Atoms:
    return Atoms(
        cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, masses=cell.masses, pbc=True
    )


def _forces(cell: Any, calculator: Any) -> FloatArray:
    atoms = _to_ase(cell)
    atoms.calc = calculator
    return np.array(atoms.get_forces(), dtype=np.float64)
