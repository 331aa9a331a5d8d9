"""Absolute free energies: a solid from the Einstein crystal, a liquid from the ideal gas over a soft repulsion."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from forgefield.errors import StructureError
from forgefield.properties.barostat import choose_barostat
from forgefield.properties.dynamics import Observable
from forgefield.properties.dynamics_forces import ForceField
from forgefield.properties.free_energy_checks import (
    check_liquid,
    check_solid,
    excursion,
    flow,
    nearest_distance,
    require_sites,
    square_displacement,
)
from forgefield.properties.free_energy_estimators import Measured, quadrature
from forgefield.properties.free_energy_fluid import FluidFluctuations, bulk_modulus, liquid_correction
from forgefield.properties.free_energy_paths import Leg, path_warnings, walk
from forgefield.properties.free_energy_potentials import (
    EinsteinSprings,
    Mixture,
    Repulsion,
    soft_core,
    uhlenbeck_ford,
)
from forgefield.properties.free_energy_reference import (
    einstein_crystal_free_energy,
    ideal_gas_free_energy,
    volume_per_lattice_point,
)
from forgefield.properties.free_energy_sampling import Walker
from forgefield.properties.free_energy_settings import FreeEnergySettings
from forgefield.properties.free_energy_size import finite_size_correction
from forgefield.units import EV_PER_A3_TO_GPA

__all__ = ["PhaseFreeEnergy", "liquid_free_energy", "solid_free_energy"]

FloatArray = NDArray[np.float64]

SHORTER = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04)
"""Of edges, in parts of them: crystals whose correction for the finite size may stand for that of an unstable one."""


@dataclass(frozen=True)
class PhaseFreeEnergy:
    """The free energy of one phase, of all its atoms.

    Attributes
    ----------
    free_energy : Measured [eV]
        Helmholtz.
    reference : float [eV]
        Of the Einstein crystal with its motion as a whole, or of the ideal gas.
    legs : dict of Leg
    target : dict of Measured
        Averages of the potential itself: ``potential`` [eV], ``pressure`` [eV/Å^3], ...
    volume, temperature, n_atoms
    cell : (3, 3) [Å]
        Of the crystal's sites, or of the liquid.
    conditions : dict
        Numbers of the reference system.
    warnings : tuple of str
    finite_size : Measured, optional [eV]
        What the cell lacks of an infinite system; it is in `free_energy`. None: it was left out.
    volume_error : float, optional [Å^3]
        Standard error; None: the volume was given.
    """

    free_energy: Measured
    reference: float
    legs: dict[str, Leg]
    target: dict[str, Measured]
    volume: float
    temperature: float
    n_atoms: int
    cell: FloatArray
    conditions: dict[str, float | str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    finite_size: Measured | None = None
    volume_error: float | None = None

    def gibbs(self, pressure: float | None) -> Measured:
        """Return ``F + P V`` [eV] with a pressure [GPa] that was given, or else the measured one."""
        if pressure is not None:
            return self.free_energy + pressure / EV_PER_A3_TO_GPA * self.volume
        return self.free_energy + self.target["pressure"] * self.volume

    @property
    def entropy(self) -> Measured:
        """``S = (U - F) / T`` [eV/K], U with the kinetic energy 3/2 N k T."""
        kinetic = float(1.5 * self.n_atoms * units.kB * self.temperature)
        return (self.target["potential"] + kinetic - self.free_energy) * (1.0 / self.temperature)


def solid_free_energy(
    atoms: Atoms, target: ForceField, walker: Walker, settings: FreeEnergySettings
) -> PhaseFreeEnergy:
    """Integrate from an Einstein crystal to the potential (equation (6) of paper 5).

    Parameters
    ----------
    atoms : ase.Atoms
        The crystal on its ideal sites.
    target : ForceField
    walker : Walker
        Made for the same atoms.
    settings : FreeEnergySettings

    Raises
    ------
    SimulationError
        An atom left its site: the crystal melted or its atoms diffuse.
    """
    spacing = nearest_distance(atoms)
    sites, volume, conditions = _sites(atoms, target, walker, settings)
    floating = EinsteinSprings(sites.positions, 1.0)
    species = np.unique(sites.numbers)
    observe: dict[str, Observable] = {
        f"square_{z}": square_displacement(floating, sites.numbers == z) for z in species
    }
    observe["excursion"] = excursion(floating, spacing)
    averages = walker.average(
        "potential",
        target,
        observe,
        steps=settings.target_steps,
        equilibration=settings.equilibration,
    )
    check_solid(averages["excursion"].value, settings.temperature, "with the potential alone")
    thermal = units.kB * settings.temperature
    springs = np.array(
        [settings.springs or 3.0 * thermal / averages[f"square_{z}"].value for z in sites.numbers]
    )
    require_sites(sites, target, springs, settings.temperature)
    einstein = EinsteinSprings(sites.positions, springs)
    leg = walk(
        walker,
        "einstein",
        Mixture(einstein, target),
        quadrature(settings.points),
        settings,
        settings.temperature,
        first_up=True,
        watch=excursion(einstein, spacing),
    )
    lattice = volume_per_lattice_point(sites)
    reference = einstein_crystal_free_energy(springs, sites.get_masses(), settings.temperature, lattice)
    size, warnings = _finite_size(sites, target, settings, lattice)
    conditions |= _facts({"einstein": leg})
    conditions |= {f"spring_{z}_eV_per_A2": float(springs[sites.numbers == z][0]) for z in species}
    conditions |= _correction(size, len(atoms)) | {
        "volume_per_lattice_point_A3": lattice,
        "correction_centre_of_mass_eV": reference
        - einstein_crystal_free_energy(springs, sites.get_masses(), settings.temperature, None),
        "largest_excursion": averages["excursion"].value,
    }
    return PhaseFreeEnergy(
        free_energy=leg.difference + reference + (size or 0.0),
        reference=reference,
        legs={"einstein": leg},
        target=averages,
        volume=volume.value,
        temperature=settings.temperature,
        n_atoms=len(atoms),
        conditions=conditions,
        warnings=path_warnings({"einstein": leg}, len(atoms)) + warnings,
        cell=sites.cell.array.copy(),
        finite_size=size,
        volume_error=volume.error or None,
    )


def _sites(
    atoms: Atoms, target: ForceField, walker: Walker, settings: FreeEnergySettings
) -> tuple[Atoms, Measured, dict[str, float | str]]:
    """Return the crystal on its sites in the cell of the pressure asked for, its volume, and what moved."""
    sites = atoms.copy()
    if settings.pressure is None:
        return sites, Measured(float(sites.get_volume()), 0.0), {}
    barostat = choose_barostat(settings.barostat, atoms)
    walker.dynamics = walker.dynamics.model_copy(update={"barostat": barostat})
    volume = _equilibrium_volume(target, walker, settings)
    cell = sites.cell.array * (volume.value / sites.get_volume()) ** (1.0 / 3.0)
    sites.set_cell(cell if barostat == "isotropic" else walker.profile("volume", "cell"), scale_atoms=True)
    return sites, volume, {"barostat": barostat}


def liquid_free_energy(
    atoms: Atoms, target: ForceField, walker: Walker, settings: FreeEnergySettings
) -> PhaseFreeEnergy:
    """Integrate from the ideal gas to a soft repulsion and from there to the potential (section 2.4 of paper 5).

    Raises
    ------
    SimulationError
        The liquid does not flow: it froze, or never melted.
    """
    if settings.melt_steps:
        hot = settings.melt_temperature or 2.0 * settings.temperature
        ensemble = "nvt" if settings.pressure is None else "npt"
        walker.average(
            "melt", target, {}, steps=settings.melt_steps, equilibration=0, temperature=hot, ensemble=ensemble
        )
    volume = _equilibrium_volume(target, walker, settings)
    distance = (volume.value / len(atoms)) ** (1.0 / 3.0)
    fluid = atoms.copy()  # made of what the journal has, so that a resumed run has the same bits
    fluid.set_cell(atoms.cell.array * (volume.value / atoms.get_volume()) ** (1.0 / 3.0), scale_atoms=True)
    spread = FluidFluctuations(fluid, target, settings.temperature)
    averages = walker.average(
        "potential",
        target,
        {"flow": flow(distance)},
        steps=settings.target_steps,
        equilibration=settings.equilibration,
        fluctuations=spread if settings.finite_size else None,
    )
    time = settings.target_steps * settings.timestep / 1000.0
    check_liquid(averages["flow"].value, settings.temperature, time)
    modulus = bulk_modulus(walker, settings, spread, volume.value) if settings.finite_size else None
    legs, conditions = _liquid_legs(target, walker, settings, distance)
    reference = ideal_gas_free_energy(atoms.numbers, atoms.get_masses(), volume.value, settings.temperature)
    size, facts, warnings = liquid_correction(modulus, spread, walker, settings)
    facts |= _correction(size, len(atoms))
    return PhaseFreeEnergy(
        free_energy=legs["repulsion"].difference + legs["ideal_gas"].difference + reference + (size or 0.0),
        reference=reference,
        legs=legs,
        target=averages,
        volume=volume.value,
        temperature=settings.temperature,
        n_atoms=len(atoms),
        cell=fluid.cell.array.copy(),
        conditions=conditions | _facts(legs) | facts | {"flow": averages["flow"].value},
        warnings=path_warnings(legs, len(atoms)) + warnings,
        finite_size=size,
        volume_error=volume.error or None,
    )


def _liquid_legs(
    target: ForceField, walker: Walker, settings: FreeEnergySettings, distance: float
) -> tuple[dict[str, Leg], dict[str, float | str]]:
    """Walk from the liquid to the soft repulsion and from there to the ideal gas, and back."""
    thermal = units.kB * settings.temperature
    repulsion, conditions = _repulsion(walker.atoms, settings, thermal, distance)
    steps = settings.reference_steps or settings.steps
    parts = {
        "repulsion": (Mixture(repulsion, target), quadrature(settings.points), settings),
        "ideal_gas": (
            Mixture(None, repulsion),
            quadrature(settings.reference_points, _power(settings)),
            settings.model_copy(update={"method": "equilibrium", "steps": steps}),
        ),
    }
    legs = {
        name: walk(walker, name, mixture, rule, chosen, settings.temperature, first_up=False, legs=2)
        for name, (mixture, rule, chosen) in parts.items()
    }
    return legs, conditions


def _correction(size: Measured | None, n_atoms: int) -> dict[str, float | str]:
    return {"finite_size_correction_eV_per_atom": 0.0 if size is None else size.value / n_atoms}


def _facts(legs: dict[str, Leg]) -> dict[str, float | str]:
    return {f"{name}_{key}": value for name, leg in legs.items() for key, value in leg.facts.items()}


def _finite_size(
    sites: Atoms, target: ForceField, settings: FreeEnergySettings, lattice: float
) -> tuple[Measured | None, tuple[str, ...]]:
    """Return the correction of all atoms [eV], and why it is not quite that of the crystal.

    Hot crystals are held on their sites by motion where the sites alone are unstable. The correction, of the order of
    ``k T ln(N) / N``, varies little with the volume, so that of the nearest smaller one that is stable stands for theirs.
    """
    if not settings.finite_size:
        return None, ()
    reason = ""
    for shorter in SHORTER:
        crystal = sites.copy()
        crystal.set_cell(sites.cell.array * (1.0 - shorter), scale_atoms=True)
        try:
            found = finite_size_correction(crystal, target, settings.temperature, lattice)
        except StructureError as error:
            reason = reason or str(error)
            continue
        stands = f"the correction for the finite size of the cell is that of edges {100 * shorter:g} % shorter, for"
        return Measured(len(sites) * found, 0.0), (f"{stands} {reason}",) if reason else ()
    return None, (f"no correction for the finite size of the cell: {reason}",)


def _equilibrium_volume(target: ForceField, walker: Walker, settings: FreeEnergySettings) -> Measured:
    """Return the volume at the pressure asked for, and bring the walker there."""
    if settings.pressure is None:
        return Measured(float(walker.atoms.get_volume()), 0.0)
    found = walker.average(
        "volume",
        target,
        {},
        steps=settings.target_steps,
        equilibration=max(settings.equilibration, settings.target_steps // 2),
        ensemble="npt",
    )
    walker.settle("volume")
    return found["volume"]


def _repulsion(
    atoms: Atoms, settings: FreeEnergySettings, thermal: float, distance: float
) -> tuple[Repulsion, dict[str, float | str]]:
    if settings.reference == "uhlenbeck-ford":
        p, length = settings.reference_strength or 50.0, settings.reference_length or 0.57 * distance
        return uhlenbeck_ford(atoms, p, length, thermal), {
            "uhlenbeck_ford_p": p,
            "uhlenbeck_ford_sigma_A": length,
        }
    strength = thermal * (settings.reference_strength or 0.714)
    length = settings.reference_length or 1.045 * distance
    made = soft_core(atoms, strength, length, settings.reference_exponent)
    return made, {"soft_core_mu_eV": strength, "soft_core_sigma_A": length}


def _power(settings: FreeEnergySettings) -> float:
    if settings.power is not None:
        return settings.power
    return 0.5 if settings.reference == "uhlenbeck-ford" else 0.85
