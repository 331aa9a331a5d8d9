"""What a closed loop is about: a classical potential of LAMMPS as the truth, what it is asked, and how close is close.

Every system is one file of the folder `systems`, with a `System` named SYSTEM; scripts take the name of the file. To add one,
copy `systems/eam_cu.py`.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.build import bulk
from closed_loop_lammps import LammpsCalculator, LammpsForces

from forgefield.deployment.engine_worker import import_lammps
from forgefield.properties.dynamics_forces import ForceField

__all__ = [
    "RESULTS",
    "Coexisting",
    "Conduction",
    "Liquid",
    "System",
    "checksum",
    "find_system",
    "system_names",
]

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"

TOLERANCES = {
    "eos volume": 0.1,
    "eos energy": 0.1,
    "eos bulk_modulus_derivative": 3.0,
    "eos bulk_modulus": 1.0,
    "elastic": 1.0,
    "phonons": 0.5,
    "surfaces": 0.5,
    "vacancy": 1.0,
    "interstitial": 1.0,
    "cold-curve": 1.0,
    "dimer": 1.0,
    "Boltzmann": 5.0,
}
"""Differences in percent up to which a number without a statistical error counts as within; the same for every system."""
ERRORS = 2.0
"""Standard errors of the difference up to which a number with statistical errors does."""


@dataclass(frozen=True)
class Liquid:
    """A simulation of the melt at constant volume.

    Attributes
    ----------
    temperature, melt_temperature : float [K]
        Of the simulation, and of what melts the crystal before.
    volume : float [Å^3]
        Per atom.
    reach : float [Å]
        Neighbours are counted up to here.
    cells : int
        Repeats of the cube.
    timestep : float [fs]
    length : float [ps]
    """

    temperature: float
    melt_temperature: float
    volume: float
    reach: float
    cells: int = 2
    timestep: float = 1.5
    length: float = 32.0


@dataclass(frozen=True)
class Conduction:
    """Thermal conductivity by Green-Kubo and HNEMD, of a crystal or (with `liquid`) of the melt.

    Attributes
    ----------
    temperature : float [K]
    fields : tuple of float [1/Å]
        Driving forces.
    replicas : int
        Simulations of Green-Kubo.
    length, driven_length : float [ps]
        Of each of them; of the driven simulation at each force.
    correlation_time, read_at : float [ps]
        Longest lag, and where the integral is read off: the same of truth and trained potential.
    strain : float
        Of the crystal's lengths: about its expansion.
    cells : int
    timestep, interval : float [fs]
    liquid : bool
    """

    temperature: float
    fields: tuple[float, ...]
    replicas: int
    length: float
    driven_length: float
    correlation_time: float
    read_at: float
    strain: float = 0.0
    cells: int = 2
    timestep: float = 2.0
    interval: float = 8.0
    liquid: bool = False


@dataclass(frozen=True)
class Coexisting:
    """Crystal and melt in one cell.

    Attributes
    ----------
    repeat : (3,)
        Of the cube.
    temperature : float [K], optional
        The guess, of the truth and of the trained potential; default: about where it melts.
    seeds : int
        Simulations.
    melt_temperature : float [K], optional
        What melts one half; default: where free energies melt the crystal.
    melt_steps : int
        For so long, in units of the steps asked for.
    strain : float
        Of the crystal's lengths at the start, here and where free energies are compared: about its expansion.
    compressibility : float [1/GPa]
        Rough, of the hot crystal; sets the pace of the barostat, here and where free energies are compared. Below that of the
        melt by ten times, its volume is far from settled after 10 ps.
    """

    repeat: tuple[int, int, int] = (3, 3, 8)
    temperature: float | None = None
    seeds: int = 1
    melt_temperature: float | None = None
    melt_steps: int = 3
    strain: float = 0.0
    compressibility: float = 0.01


@dataclass(frozen=True)
class System:
    """A classical potential that serves as the truth.

    Attributes
    ----------
    title : str
        Of the truth, in tables.
    elements : mapping of str to float
        In the order of the atom types, with their charges [e].
    formula, lattice, length
        The crystal: what ASE calls it, and the edge of its cube [Å].
    commands : tuple of str
        Of LAMMPS; ``{folder}`` is where its potentials are.
    melting : float [K]
        About where it melts; temperatures of the training set are relative to it.
    compared : float [K], optional
        Where free energies of crystal and melt are compared; default: `melting`.
    around : float
        Relative range of temperatures about it in which absolute free energies are compared.
    melted_at : float
        Where free energies melt the crystal, in units of `melting`.
    cutoff : float [Å]
        Reach of the potential trained on it.
    interstitials : tuple of (str, (3,))
        Elements and open sites, of the cube's edges, of the training set.
    shaken : float [eV/Å]
        Largest force of the random structures and of unrelaxed interstitials of the training set.
    planes : tuple of (3,)
        Surfaces of the training set.
    descriptor : dict
        Settings of the descriptor beside what is suggested, from what is known of the truth.
    epochs : int
        Of the Kalman filter.
    fine : bool
        The training set has primitive cells under small strains too.
    close : (float, float), optional
        The training set has cubes with two atoms between these distances [Å], down to where no simulation comes.
    group_weights : dict of str to float
        Of groups of the training set.
    recipe : dict
        Whole sections of the training run's settings in place of what is suggested: another descriptor, model, optimiser.
    statics : mapping of str to settings
        Properties of the crystal at rest that are compared.
    free_energies : dict of str to int
        Parts of `closed_loop_free_energy.py` that are asked, and their steps at each point.
    coexisting : Coexisting
    liquid, vibrations, conduction, boltzmann
        What is compared in motion: melt, temperature of the density of states [K], conductivity, settings of
        `conductivity-bte`; None: not compared.
    published : tuple, optional
        Melting temperature of the truth elsewhere and its error [K], and the source.
    forces : callable, optional
        A force field with atomic virials of kind I, where LAMMPS has none (`pairwise` False).
    pairwise : bool
        The truth is a sum over pairs, whose heat flux in LAMMPS is right.
    """

    title: str
    elements: dict[str, float]
    formula: str
    lattice: str
    length: float
    commands: tuple[str, ...]
    melting: float
    cutoff: float
    interstitials: tuple[tuple[str, tuple[float, float, float]], ...]
    shaken: float = 25.0
    compared: float | None = None
    around: float = 0.15
    melted_at: float = 2.0
    planes: tuple[tuple[int, int, int], ...] = ((1, 0, 0), (1, 1, 0), (1, 1, 1))
    descriptor: dict[str, Any] = field(default_factory=dict)
    epochs: int = 50
    fine: bool = False
    group_weights: dict[str, float] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    close: tuple[float, float] | None = None
    statics: dict[str, dict[str, Any]] = field(default_factory=dict)
    free_energies: dict[str, int] = field(
        default_factory=lambda: {"direct": 500, "coexistence": 500, "scaling": 500, "absolute": 1200}
    )
    coexisting: Coexisting = field(default_factory=Coexisting)
    liquid: Liquid | None = None
    vibrations: float | None = 300.0
    conduction: tuple[Conduction, ...] = ()
    boltzmann: dict[str, Any] | None = None
    published: tuple[float, float, str] | None = None
    forces: Callable[[Atoms], ForceField] | None = None
    pairwise: bool = False

    @property
    def crystal(self) -> Atoms:
        """The cube at its equilibrium."""
        return bulk(self.formula, self.lattice, a=self.length, cubic=True)

    @property
    def transition(self) -> float:
        """Where free energies of crystal and melt are compared [K]."""
        return self.compared or self.melting

    @property
    def primitive(self) -> Atoms:
        """The primitive cell at its equilibrium."""
        return bulk(self.formula, self.lattice, a=self.length)

    @cached_property
    def resolved(self) -> tuple[str, ...]:
        """Commands with the folder of LAMMPS's potentials."""
        folder = Path(import_lammps().__file__).parent / "share" / "lammps" / "potentials"
        return tuple(line.format(folder=folder) for line in self.commands)

    def calculator(self) -> LammpsCalculator:
        """Return the truth as an ASE calculator."""
        return LammpsCalculator(self.resolved, self.elements)

    def field(self, atoms: Atoms, *, flux: bool = False) -> ForceField:
        """Return the truth for simulations; with `flux` its atomic virials are those of the heat flux."""
        if flux and not self.pairwise:
            if self.forces is None:
                raise ValueError(f"{self.title} has no atomic virials of kind I here")
            return self.forces(atoms)
        return LammpsForces(self.resolved, self.elements, atoms)

    def tolerance(self, what: str) -> float:
        """Return the difference accepted [%] of a quantity, named by its property and itself."""
        return next(limit for start, limit in TOLERANCES.items() if start in what)


def system_names() -> list[str]:
    """Return the names of all systems."""
    return sorted(path.stem for path in (HERE / "systems").glob("*_*.py") if not path.stem.startswith("_"))


def find_system(name: str) -> System:
    """Return a system by the name of its file."""
    found: System = importlib.import_module(f"systems.{name}").SYSTEM
    return found


def checksum(potential: Path | str) -> str:
    """Return what says that results belong to a potential: the beginning of the SHA-256 of its file."""
    return hashlib.sha256(Path(potential).read_bytes()).hexdigest()[:16]
