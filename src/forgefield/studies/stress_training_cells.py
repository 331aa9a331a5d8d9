"""What the stress study asks of a potential: pressure, equation of state, expansion, melting, conduction of heat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from numpy.typing import NDArray
from pydantic import Field

from forgefield.config import Schema
from forgefield.errors import ForgefieldError, SimulationError
from forgefield.properties.conductivity_flux import HeatFlux
from forgefield.properties.conductivity_gk import Fluxes, GreenKuboSettings, conductivity_green_kubo
from forgefield.properties.conductivity_simulation import mean_energies
from forgefield.properties.dynamics import Dynamics, Observable
from forgefield.properties.dynamics_forces import ForceField, Forces, force_field
from forgefield.properties.dynamics_state import DynamicsSettings, State
from forgefield.properties.eos import equation_of_state
from forgefield.properties.registry import find_property
from forgefield.properties.simulation import dynamics_settings, equilibrate, produce
from forgefield.studies.base import mean_and_error
from forgefield.studies.numbers import Positive
from forgefield.studies.simulated import kept, labelled, snapshots

__all__ = [
    "Conditions",
    "conduction",
    "expansion",
    "fixed_volume",
    "melting",
    "pressure_error",
    "state_curve",
]

FloatArray = NDArray[np.float64]

HOT = 700.0
"""Temperature that melts a crystal for the liquids [K]."""


class Conditions(Schema):
    """Of structures and simulations."""

    reference: str = Field(
        "argon", description="the truth, a sum over pairs: argon (Lennard-Jones), or ase:NAME:{...}"
    )
    element: str = Field("Ar", description="chemical symbol")
    a: float = Field(5.4, gt=0, description="edge of a cube of four atoms in all training structures [Å]")
    size: int = Field(3, ge=2, description="cubes along each side of the cell of training and simulation")
    temperatures: tuple[Positive, ...] = Field((20.0, 50.0, 80.0), description="of crystals to train on [K]")
    liquids: tuple[Positive, ...] = Field(
        (250.0, 500.0),
        description="of liquids to train on [K]; one hotter than what is simulated shows how close atoms get",
    )
    structures: int = Field(25, ge=2, description="of each temperature")
    melt_steps: int = Field(
        2000, ge=2, description="steps of 5 fs that melt a crystal for the liquids; half as many to cool them"
    )
    temperature: float = Field(50.0, gt=0, description="of thermal expansion [K]")
    expansion: float = Field(40.0, gt=0, description="length of the simulation at zero pressure [ps]")
    flux_temperature: float = Field(250.0, gt=0, description="of the liquid that conducts heat [K]")
    length: float = Field(100.0, gt=0, description="of each simulation of the heat flux [ps]")
    replicas: int = Field(
        4, ge=1, description="such simulations; the reference has twice as many in each run"
    )
    read_at: float = Field(2.0, gt=0, description="upper limit of the integral over its correlation [ps]")
    crystal_temperature: float = Field(80.0, gt=0, description="of the crystal that conducts heat [K]")
    crystal_read_at: float = Field(4.0, gt=0, description="upper limit of the integral for the crystal [ps]")
    melting_pressure: float = Field(0.4, description="of heating and cooling [GPa]")
    melting_low: float = Field(100.0, gt=0, description="lowest temperature of heating and cooling [K]")
    melting_high: float = Field(280.0, gt=0, description="highest [K]")
    melting_interval: float = Field(30.0, gt=0, description="between temperatures [K]")
    melting_steps: int = Field(1000, ge=80, description="steps of 10 fs at each; 0.3 times as many before")

    def crystal(self, length: float | None = None) -> Atoms:
        """Return the cell with a given lattice constant [Å]; default: that of training."""
        return bulk(self.element, "fcc", a=length or self.a, cubic=True).repeat(self.size)


def _bath(temperature: float, seed: int) -> DynamicsSettings:
    return DynamicsSettings(temperature=temperature, timestep=5.0, friction=0.02, seed=seed)


def fixed_volume(settings: Conditions, truth: Any, folder: Path) -> Path:
    """Return the training structures: simulated at one volume, as first-principles dynamics often is, and labelled."""

    def make() -> list[Atoms]:
        frames = []
        for n, t in enumerate((*settings.temperatures, *settings.liquids)):
            liquid = n >= len(settings.temperatures)
            found = snapshots(
                settings.crystal(),
                truth,
                _bath(t, n),
                structures=settings.structures,
                gap=40,
                first=settings.melt_steps // 2 if liquid else None,
                melt=(HOT, settings.melt_steps) if liquid else None,
            )
            frames += [labelled(atoms, truth, f"{t:g} K") for atoms in found]
        return frames

    keys = {"reference", "element", "a", "size", "temperatures", "liquids", "structures", "melt_steps"}
    return kept(folder, settings.model_dump(mode="json", include=keys), make, "fixed-volume")


def pressure_error(settings: Conditions, calculator: Any, truth: Any) -> float:
    """Return the RMS error of the stress [GPa] of crystals strained by up to 3 %."""
    errors = []
    for strain in (-0.03, -0.015, 0.0, 0.015, 0.03):
        atoms = settings.crystal(settings.a * (1.0 + strain))
        stresses = [
            np.asarray(c.get_property("stress", atoms.copy()), dtype=np.float64) for c in (calculator, truth)
        ]
        errors.append(stresses[0] - stresses[1])
    return float(np.sqrt(np.mean(np.square(errors))) * 160.2176634)


def state_curve(settings: Conditions, calculator: Any) -> dict[str, Any]:
    """Return the equation of state at rest."""
    atoms = bulk(settings.element, "fcc", a=settings.a, cubic=True).repeat(2)
    try:
        eos = equation_of_state(atoms, calculator, strains=np.linspace(-0.04, 0.03, 9).tolist())
    except ForgefieldError as error:
        return {"failed": str(error).splitlines()[0]}
    return {
        "a0": eos.length(4),
        "bulk_modulus": eos.bulk_modulus,
        "volumes": eos.volumes.tolist(),
        "energies": eos.energies.tolist(),
    }


def expansion(settings: Conditions, calculator: Any) -> dict[str, Any]:
    """Return the mean lattice constant [Å] at zero pressure and temperature, with its standard error."""
    atoms = settings.crystal()
    dynamics = Dynamics(
        atoms,
        force_field(calculator, atoms),
        DynamicsSettings(
            ensemble="npt",
            temperature=settings.temperature,
            timestep=10.0,
            friction=0.02,
            compressibility=0.5,
            barostat_time=500.0,
        ),
    )
    try:
        records = dynamics.run(round(settings.expansion * 100.0), every=3)
    except SimulationError as error:
        return {"failed": str(error).splitlines()[0]}
    lengths = (records["volume"] / settings.size**3) ** (1.0 / 3.0)
    lengths = lengths[len(lengths) // 4 :]
    blocks = [float(part.mean()) for part in np.array_split(lengths, 5)]
    return {"value": float(lengths.mean()), "error": mean_and_error(blocks)[1]}


def melting(settings: Conditions, calculator: Any, seed: int) -> dict[str, Any]:
    """Return volumes and g(r) of a crystal that is heated until it melts, and cooled (figure 1 of the paper).

    Returns
    -------
    dict
        ``temperatures`` [K] and ``lengths`` [Å] of both ways, ``g`` by way and temperature, ``r`` [Å], and the
        temperatures ``melts`` and ``freezes`` [K] where they were reached; or ``failed``.
    """
    try:
        result = find_property("melting")(
            settings.crystal(0.985 * settings.a),
            calculator,
            low=settings.melting_low,
            high=settings.melting_high,
            interval=settings.melting_interval,
            steps=settings.melting_steps,
            equilibration=max(1, (3 * settings.melting_steps) // 10),
            pressure=settings.melting_pressure,
            compressibility=0.3,
            timestep=10.0,
            friction=0.005,
            rdf_cutoff=7.0,
            rdf_bins=70,
            seed=seed,
        )
    except SimulationError as error:
        return {"failed": str(error).splitlines()[0]}
    ways = ("heating", "cooling")
    volumes = {way: result.curves[f"volume, {way}"] for way in ways}
    profiles = {k: c for k, c in result.curves.items() if k.split()[0] in ways and k.endswith(" K")}
    found: dict[str, Any] = {
        "temperatures": {way: np.asarray(c.x).tolist() for way, c in volumes.items()},
        "lengths": {way: ((4.0 * np.asarray(c.y)) ** (1.0 / 3.0)).tolist() for way, c in volumes.items()},
        "r": np.asarray(next(iter(profiles.values())).x).tolist(),
        "g": {name: np.asarray(c.y).tolist() for name, c in profiles.items()},
    }
    for key, name in (("melts", "superheating_limit"), ("freezes", "undercooling_limit")):
        if name in result.quantities:
            found[key] = float(result.quantities[name].value)
    return found


def conduction(
    settings: Conditions,
    calculator: Any,
    truth: Any,
    folder: Path,
    kinds: Sequence[str],
    *,
    crystal: bool = False,
    pairwise: bool = False,
    replicas: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the conductivity [W/(m K)] with each atomic virial in the heat flux, with its error.

    All kinds are measured in the same simulations, so that their differences are known better than each of them.

    Parameters
    ----------
    settings : Conditions
    calculator, truth : ASE calculators
    folder : Path
        Shared by cells; holds the liquid of the truth from which all simulations start.
    kinds : sequence of {'I', 'II', 'III'}
    crystal : bool
        Of the crystal, not of the liquid; both at the volume of training.
    pairwise : bool
        The calculator is a sum over pairs, which gives kind I only.
    replicas, seed : int
    """
    until = min(settings.crystal_read_at if crystal else settings.read_at, 0.5 * settings.length)
    own = GreenKuboSettings.parse(
        {
            "temperature": settings.crystal_temperature if crystal else settings.flux_temperature,
            "timestep": 10.0,
            "interval": 30.0,
            "friction": 0.02,
            "equilibration": min(5.0, 0.25 * settings.length),
            "length": settings.length,
            "correlation_time": until,
            "read_at": until,
            "blocks": 1,
        },
        where="conduction",
    )
    start = settings.crystal() if crystal else _liquid(settings, truth, folder)
    fields = {
        kind: force_field(calculator, start, virials=kind, pairwise=pairwise)  # type: ignore[arg-type]
        for kind in kinds
    }
    parts: dict[str, list[FloatArray]] = {kind: [] for kind in kinds}
    warmth, volume = [], start.get_volume()
    try:
        for n in range(replicas or settings.replicas):
            one = own.model_copy(update={"seed": 1000 * (seed + 1) + n})
            records = _fluxes(start, fields, one)
            warmth.append(float(records["temperature"].mean()))
            for kind in kinds:
                parts[kind].append(records[kind])
    except SimulationError as error:
        return {kind: {"failed": str(error).splitlines()[0]} for kind in kinds}
    found: dict[str, Any] = {}
    for kind in kinds:
        fluxes = Fluxes(np.stack(parts[kind]), own.spacing / 1000.0, volume, float(np.mean(warmth)), 0.0)
        whole = conductivity_green_kubo(fluxes, correlation_time=own.correlation_time, read_at=own.read_at)
        found[kind] = {"value": whole.value, "error": whole.error}
    return found


def _liquid(settings: Conditions, truth: Any, folder: Path) -> Atoms:
    def make() -> list[Atoms]:
        bath = _bath(settings.flux_temperature, 100)
        melt = (HOT, settings.melt_steps)
        return snapshots(
            settings.crystal(), truth, bath, structures=1, gap=settings.melt_steps // 2, melt=melt
        )

    keys = {"reference", "element", "a", "size", "flux_temperature", "melt_steps"}
    path = kept(folder, settings.model_dump(mode="json", include=keys), make, "liquid")
    atoms: Atoms = ase.io.read(path)
    return atoms


def _fluxes(
    start: Atoms, fields: dict[str, ForceField], settings: GreenKuboSettings
) -> dict[str, FloatArray]:
    """Return the heat flux of every kind and the temperature along one simulation at constant energy."""
    first = next(iter(fields))
    flux = HeatFlux(mean_energies(start, fields[first]))

    def by(kind: str) -> Observable:
        if kind == first:
            return flux
        field = fields[kind]

        def observe(state: State, _forces: Forces) -> FloatArray:
            return flux(state, field.evaluate(state.positions, state.cell, atomic=True))

        return observe

    _, records = produce(
        lambda: equilibrate(start, fields[first], settings)[0],
        fields[first],
        settings,
        dynamics_settings(settings, ensemble="nve"),
        like=start,
        observe={kind: by(kind) for kind in fields},
        atomic=True,
    )
    return records
