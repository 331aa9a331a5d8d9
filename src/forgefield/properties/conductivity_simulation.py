"""What both conductivities from simulations share: settings, atomic virials to be had, the heat flux proven."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field

from forgefield.deployment.ase import ForgefieldCalculator
from forgefield.errors import ConfigError
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential
from forgefield.models.results import VirialKind
from forgefield.properties.base import Quantity
from forgefield.properties.conductivity_flux import energy_origins, flux_error
from forgefield.properties.dynamics_forces import ForceField, force_field
from forgefield.properties.simulation import RunSettings
from forgefield.properties.structures import require_crystal

__all__ = [
    "UNIT",
    "FluxSettings",
    "FluxSystem",
    "certificate",
    "flux_system",
    "mean_energies",
    "takes_stresses",
]

FloatArray = NDArray[np.float64]

UNIT = "W/(m K)"
LIMIT = 1e-3
"""Relative error of the heat flux, in float64, beyond which it is another quantity."""
CLUSTER = 200
"""Atoms of the cluster on which the heat flux is compared with its definition, at most."""


class FluxSettings(RunSettings):
    """What simulations of the heat flux share."""

    virials: VirialKind = Field("I", description="atomic virial of the heat flux (paper 5); only I is right")
    convective: bool = Field(default=True, description="with the energy that moving atoms carry along")
    pairwise: bool | None = Field(
        default=None,
        description="the ASE calculator is a sum over pairs: take its stresses as atomic virials; null: find out whether "
        "that gives the heat flux",
    )
    certify: bool = Field(
        default=True, description="compare the heat flux with the time derivative it should be, first"
    )
    error: float | None = Field(
        None, gt=0, description="relative standard error wanted; said in a warning where it is not reached"
    )


@dataclass(frozen=True)
class FluxSystem:
    """What is simulated, and what is known of its heat flux.

    Attributes
    ----------
    atoms : ase.Atoms
        The supercell.
    field : ForceField
        With atomic energies and virials.
    quantities : dict of Quantity
    warnings : list of str
    """

    atoms: Atoms
    field: ForceField
    quantities: dict[str, Quantity]
    warnings: list[str]


def flux_system(atoms: Atoms, calculator: Any, settings: FluxSettings) -> FluxSystem:
    """Return the supercell and its force field, after a check that the heat flux is the right one.

    Raises
    ------
    StructureError
        The cell is not periodic.
    ConfigError
        The calculator has no atomic energies and virials, or not those of the heat flux.
    """
    require_crystal(atoms, "thermal conductivity")
    pairwise = takes_stresses(atoms, calculator, settings)
    quantities, warnings = certificate(atoms, calculator, settings.model_copy(update={"pairwise": pairwise}))
    large = atoms * settings.supercell
    field = force_field(calculator, large, virials=settings.virials, pairwise=pairwise)
    return FluxSystem(large, field, quantities, warnings)


def takes_stresses(atoms: Atoms, calculator: Any, settings: FluxSettings) -> bool:
    """Return whether the atomic virials are an ASE calculator's ``stresses``, as those of a sum over pairs are.

    Raises
    ------
    ConfigError
        It has none, or the heat flux made with them is not the time derivative it should be.
    """
    own = isinstance(calculator, Potential | Committee | ForgefieldCalculator)
    if settings.pairwise is not None:
        return settings.pairwise
    if own or (hasattr(calculator, "evaluate") and hasattr(calculator, "reset")):
        return False
    name = type(calculator).__name__
    offered = getattr(calculator, "implemented_properties", ())
    missing = [what for what in ("energies", "stresses") if what not in offered]
    cure = (
        "use a potential of Forgefield (one trained on this calculator, for instance), a calculator that is a sum over "
        "pairs with `energies` and `stresses` (ase:lj), or conductivity-bte, which needs forces alone"
    )
    if missing:
        raise ConfigError(
            f"{name} gives no atomic virials, which the heat flux needs: it offers no {' and no '.join(missing)}; {cure}"
        )
    error = flux_error(_cluster(atoms), calculator, pairwise=True, temperature=settings.temperature)
    if not error < LIMIT:
        raise ConfigError(
            f"the `stresses` of {name} are no atomic virials of the heat flux: with them it differs by {error:.2g} of its "
            f"size from the time derivative it should be (allowed: {LIMIT:g}), as for every many-body potential; {cure}. "
            "pairwise=true takes them all the same"
        )
    return True


def _cluster(atoms: Atoms) -> Atoms:
    small = atoms if len(atoms) <= CLUSTER else atoms[:CLUSTER]
    while len(small) < 8:
        small = small * 2
    return small


def mean_energies(atoms: Atoms, field: ForceField) -> FloatArray:
    """Return `energy_origins` of a structure."""
    energies = field.evaluate(atoms.positions, atoms.cell.array, atomic=True).energies
    return energy_origins(atoms.numbers, np.zeros(len(atoms)) if energies is None else energies)


def certificate(
    atoms: Atoms, calculator: Any, settings: FluxSettings
) -> tuple[dict[str, Quantity], list[str]]:
    """Return the error of the heat flux against its definition, and a warning where it is large."""
    if not settings.certify or (hasattr(calculator, "evaluate") and hasattr(calculator, "reset")):
        return {}, []
    error = flux_error(
        _cluster(atoms),
        calculator,
        virials=settings.virials,
        pairwise=bool(settings.pairwise),
        temperature=settings.temperature,
    )
    found = {"flux_error": Quantity(error, "", note="relative, against d/dt sum r (t + e) of a cluster")}
    if error < LIMIT:
        return found, []
    cure = "take `virials` = I"
    if settings.virials == "I":
        cure = "the calculator is no sum over pairs" if settings.pairwise else "do not trust the conductivity"
    text = (
        f"the heat flux with atomic virials of kind {settings.virials} differs by {error:.2g} of its size from the time "
        f"derivative it should be; {cure}"
    )
    return found, [text]
