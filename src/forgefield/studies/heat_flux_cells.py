"""What the study of the heat flux simulates: a melt of many-body forces, its structures, its fluxes of every kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from numpy.typing import NDArray
from pydantic import Field

from forgefield.config import Schema
from forgefield.errors import SimulationError
from forgefield.graph import neighbour_pairs
from forgefield.models.results import VirialKind
from forgefield.properties.conductivity_flux import HeatFlux
from forgefield.properties.conductivity_gk import Fluxes, GreenKuboSettings, conductivity_green_kubo
from forgefield.properties.conductivity_simulation import mean_energies
from forgefield.properties.dynamics import Dynamics, Observable
from forgefield.properties.dynamics_forces import ForceField, Forces
from forgefield.properties.dynamics_state import DynamicsSettings, State
from forgefield.properties.simulation import dynamics_settings, equilibrate, produce
from forgefield.studies.simulated import kept, labelled
from forgefield.studies.truths import Truth, sums

__all__ = ["KINDS", "Melt", "TruthForces", "conductivities", "melt_of", "structures"]

FloatArray = NDArray[np.float64]

KINDS: tuple[VirialKind, ...] = ("I", "II", "III")
MEASURED: tuple[VirialKind, ...] = ("I", "II")
"""The flux of kind III is the mean of both."""
HOT = 2.0
"""What melts the crystal, in units of the temperature of the melt."""


class Melt(Schema):
    """A liquid at one volume and temperature, for training and for the conduction of heat."""

    reference: str = Field("silicon-sw", description="the truth, one of the studies' potentials")
    element: str = Field("Si", description="chemical symbol")
    lattice: str = Field("diamond", description="of the crystal that is melted, cubic")
    volume: float = Field(18.805, gt=0, description="per atom [Å^3]")
    size: int = Field(2, ge=1, description="cubes along each side of the cell")
    temperature: float = Field(2500.0, gt=0, description="[K]")
    timestep: float = Field(2.0, gt=0, description="[fs]")
    melt_steps: int = Field(1500, ge=2, description="steps that melt the crystal, at twice the temperature")
    structures: int = Field(60, ge=2, description="to train on, half of them at twice the temperature")
    gap: int = Field(50, ge=1, description="steps between them")
    interval: float = Field(6.0, gt=0, description="between samples of the flux [fs]")
    length: float = Field(20.0, gt=0, description="of each simulation of the heat flux [ps]")
    replicas: int = Field(
        6, ge=2, description="such simulations of every fit and in every run of the reference"
    )
    read_at: float = Field(
        0.15,
        gt=0,
        description="upper limit of the integral over the flux's correlation [ps]; twice that is looked at too",
    )

    def crystal(self) -> Atoms:
        """Return the cell before it melts."""
        cube = bulk(self.element, self.lattice, a=(self.volume * 8) ** (1 / 3), cubic=True)
        cube.set_cell(
            cube.cell.array * (self.volume * len(cube) / cube.get_volume()) ** (1 / 3), scale_atoms=True
        )
        return cube.repeat(self.size)

    def bath(self, temperature: float, seed: int) -> DynamicsSettings:
        """Return the Langevin dynamics that melt and sample."""
        return DynamicsSettings(temperature=temperature, timestep=self.timestep, friction=0.02, seed=seed)


@dataclass(frozen=True)
class _Terms:
    """Pairs, atomic energies and their derivatives of one configuration."""

    positions: FloatArray
    cell: FloatArray
    i: NDArray[np.int64]
    j: NDArray[np.int64]
    vectors: FloatArray
    energies: FloatArray
    slopes: FloatArray


class TruthForces:
    """A `ForceField` of one of `TRUTHS`, whose derivatives of atomic energies give atomic virials of every kind.

    Parameters
    ----------
    truth : Truth
    atoms : ase.Atoms
        Elements and periodicity; not changed.
    virials : {'I', 'II', 'III'}
        Paper 5, eqs. 12-14.
    like : TruthForces, optional
        Of the same truth and atoms, with another kind of virials: what one has computed the other does not compute again.
    """

    def __init__(
        self, truth: Truth, atoms: Atoms, *, virials: VirialKind = "I", like: TruthForces | None = None
    ) -> None:
        self.truth, self.virials = truth, virials
        self.kept: list[_Terms] = [] if like is None else like.kept
        self._atoms = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)

    def reset(self) -> None:
        """Forget the last configuration."""
        self.kept.clear()

    def evaluate(
        self, positions: FloatArray, cell: FloatArray, *, virial: bool = False, atomic: bool = False
    ) -> Forces:
        """Compute; see `ForceField`."""
        now = self._terms(positions, cell)
        i, j, vectors, energies, slopes = now.i, now.j, now.vectors, now.energies, now.slopes
        n = len(positions)
        forces = sums(i, slopes, n) - sums(j, slopes, n)
        if not (virial or atomic):
            return Forces(float(energies.sum()), forces)
        outer = -(vectors[:, :, None] * slopes[:, None, :]).reshape(-1, 9)
        places = {"I": (j,), "II": (i,), "III": (i, j)}[self.virials]
        virials = np.mean([sums(k, outer, n) for k in places], axis=0).reshape(n, 3, 3)
        total = virials.sum(axis=0)
        if not atomic:
            return Forces(float(energies.sum()), forces, total)
        return Forces(float(energies.sum()), forces, total, energies, virials)

    def _terms(self, positions: FloatArray, cell: FloatArray) -> _Terms:
        for last in self.kept:
            if np.array_equal(last.positions, positions) and np.array_equal(last.cell, cell):
                return last
        atoms = self._atoms
        atoms.positions[:] = positions
        atoms.cell.array[:] = cell
        i, j, _, vectors = neighbour_pairs(atoms, self.truth.cutoff)
        energies, slopes = self.truth.terms(i, vectors, len(atoms))
        now = _Terms(positions.copy(), np.array(cell), i, j, vectors, energies, slopes)
        self.kept[:] = [now]
        return now


def melt_of(melt: Melt, truth: Truth, folder: Path) -> Atoms:
    """Return the melt of the truth, from which every simulation starts; it is made once for all cells."""

    def make() -> list[Atoms]:
        atoms = melt.crystal()
        for temperature in (HOT * melt.temperature, melt.temperature):
            dynamics = Dynamics(atoms, TruthForces(truth, atoms), melt.bath(temperature, 100))
            dynamics.run(melt.melt_steps, every=melt.melt_steps)
            atoms = dynamics.atoms()
        return [atoms]

    keys = {"reference", "element", "lattice", "volume", "size", "temperature", "timestep", "melt_steps"}
    atoms: Atoms = ase.io.read(kept(folder, melt.model_dump(mode="json", include=keys), make, "melt"))
    return atoms


def structures(melt: Melt, truth: Truth, folder: Path) -> Path:
    """Return the training structures: the melt at one volume, as first-principles dynamics often is, labelled.

    Half of them are hotter than what is simulated, to show how close atoms get.
    """

    def make() -> list[Atoms]:
        start = melt_of(melt, truth, folder)
        frames = []
        for part, temperature in enumerate((melt.temperature, HOT * melt.temperature)):
            dynamics = Dynamics(start, TruthForces(truth, start), melt.bath(temperature, 200))
            dynamics.run(4 * melt.gap, every=melt.gap)
            for _ in range((melt.structures + 1 - part) // 2):
                dynamics.run(melt.gap, every=melt.gap)
                frames.append(labelled(dynamics.atoms(), truth, f"{temperature:g} K"))
        return frames

    keys = set(Melt.model_fields) - {"interval", "length", "replicas", "read_at"}
    return kept(folder, melt.model_dump(mode="json", include=keys), make, "structures")


def conductivities(
    melt: Melt, start: Atoms, fields: dict[VirialKind, ForceField], seed: int
) -> dict[str, Any]:
    """Return the conductivity [W/(m K)] with each kind of atomic virial, by Green and Kubo, from the same simulations.

    Parameters
    ----------
    melt : Melt
    start : ase.Atoms
    fields : dict of ForceField
        Of kinds I, which moves the atoms, and II.
    seed : int

    Returns
    -------
    dict
        By kind ``value`` and ``error``, one standard error over simulations, of every one ``single``, the integral to twice
        the limit ``late``; or ``failed``.
    """
    own = GreenKuboSettings.parse(
        {
            "temperature": melt.temperature,
            "timestep": melt.timestep,
            "interval": melt.interval,
            "friction": 0.02,
            "equilibration": min(2.0, 0.25 * melt.length),
            "length": melt.length,
            "correlation_time": min(2.0 * melt.read_at, 0.5 * melt.length),
            "read_at": min(melt.read_at, 0.5 * melt.length),
        },
        where="heat flux",
    )
    parts: dict[str, list[FloatArray]] = {kind: [] for kind in KINDS}
    warmth = []
    try:
        for n in range(melt.replicas):
            records = _fluxes(start, fields, own.model_copy(update={"seed": 1000 * (seed + 1) + n}))
            warmth.append(float(records["temperature"].mean()))
            for kind in MEASURED:
                parts[kind].append(records[kind])
            parts["III"].append(0.5 * (records["I"] + records["II"]))
    except SimulationError as error:
        return {kind: {"failed": str(error).splitlines()[0]} for kind in KINDS}
    found: dict[str, Any] = {"temperature": float(np.mean(warmth))}
    volume = start.get_volume()
    for kind in KINDS:
        single, late = [], []
        for flux in parts[kind]:
            one = Fluxes(flux[None], own.spacing / 1000.0, volume, found["temperature"], 0.0)
            whole = conductivity_green_kubo(one, correlation_time=own.correlation_time, read_at=own.read_at)
            single.append(whole.value)
            late.append(float(whole.integral[-1]))
        found[kind] = {
            "value": float(np.mean(single)),
            "error": float(np.std(single, ddof=1)) / len(single) ** 0.5,
            "late": float(np.mean(late)),
            "single": single,
        }
    return found


def _fluxes(
    start: Atoms, fields: dict[VirialKind, ForceField], settings: GreenKuboSettings
) -> dict[str, FloatArray]:
    """Return the heat flux of every kind and the temperature along one simulation at constant energy."""
    flux = HeatFlux(mean_energies(start, fields["I"]))

    def by(kind: VirialKind) -> Observable:
        if kind == "I":
            return flux
        field = fields[kind]

        def observe(state: State, _forces: Forces) -> FloatArray:
            return flux(state, field.evaluate(state.positions, state.cell, atomic=True))

        return observe

    _, records = produce(
        lambda: equilibrate(start, fields["I"], settings)[0],
        fields["I"],
        settings,
        dynamics_settings(settings, ensemble="nve"),
        like=start,
        observe={kind: by(kind) for kind in fields},
        atomic=True,
    )
    return records
