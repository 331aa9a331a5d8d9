"""Energies and forces for molecular dynamics, straight from the compiled engine or from any ASE calculator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from numpy.typing import NDArray

from forgefield.deployment.ase import ForgefieldCalculator
from forgefield.engine.inference import Precision
from forgefield.engine.predictor import Predictor, fastest
from forgefield.errors import ConfigError
from forgefield.graph import SkinnedNeighbours
from forgefield.keys import voigt_to_matrix
from forgefield.models.committee import Committee
from forgefield.models.potential import Potential
from forgefield.models.results import VirialKind

__all__ = ["CalculatorForces", "ForceField", "Forces", "PotentialForces", "force_field"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Forces:
    """What a force field says of one configuration; signs as in `keys.py`.

    Attributes
    ----------
    energy : float [eV]
    forces : (n_atoms, 3) [eV/Å]
    virial : (3, 3) [eV] or None
        ``-stress * |V|``, positive when compressed; None where it was not asked for.
    energies : (n_atoms,) [eV] or None
        They sum to `energy`; only with ``atomic=True``.
    virials : (n_atoms, 3, 3) [eV] or None
        ``[i, a, b] = sum_j r_ij_a dE_j/dr_ji_b`` (kind I); they sum to `virial`; only with ``atomic=True``.
    """

    energy: float
    forces: FloatArray
    virial: FloatArray | None = None
    energies: FloatArray | None = None
    virials: FloatArray | None = None


class ForceField(Protocol):
    """Forces for atoms that keep their number and order.

    Wrappers (springs, mixtures of two force fields) have the same two methods.
    """

    def evaluate(
        self, positions: FloatArray, cell: FloatArray, *, virial: bool = False, atomic: bool = False
    ) -> Forces:
        """Compute.

        Parameters
        ----------
        positions : (n_atoms, 3) [Å]
            Not necessarily inside the cell.
        cell : (3, 3) [Å]
        virial : bool
            The total virial is needed too.
        atomic : bool
            Atomic energies and virials are needed too.
        """

    def reset(self) -> None:
        """Forget neighbour lists: what follows then depends on the arguments alone, to the last bit."""


class PotentialForces:
    """A Forgefield potential (or a committee's mean) on its compiled kernels.

    Parameters
    ----------
    potential : Potential or Committee
    atoms : ase.Atoms
        Elements and periodicity; not changed.
    dtype : {'float32', 'float64'}, optional
        Default: the potential's own.
    threads : int, optional
    skin : float [Å]
        Reach of the neighbour list beyond the cutoff.
    virials : {'I', 'II', 'III'}
        Kind of the atomic virials (paper 5, eqs. 12-14); only I gives the right heat flux.

    Raises
    ------
    ConfigError
        Kind II or III of a committee.
    """

    def __init__(
        self,
        potential: Potential | Committee,
        atoms: Atoms,
        *,
        dtype: Precision | None = None,
        threads: int | None = None,
        skin: float = 1.0,
        virials: VirialKind = "I",
    ) -> None:
        if virials not in ("I", "II", "III"):
            raise ConfigError(f"`virials` must be 'I', 'II' or 'III', got {virials!r}")
        if virials != "I" and isinstance(potential, Committee):
            raise ConfigError(f"a committee gives atomic virials of kind I only, got `virials` = {virials!r}")
        self.potential, self.virials, self.skin = potential, virials, skin
        self._predictor = fastest(potential, dtype=dtype, threads=threads, skin=skin)
        self._atoms = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        self._periodic = bool(atoms.pbc.all())
        self.reset()

    def reset(self) -> None:
        """Forget neighbour lists."""
        if self._predictor is not None:
            self._predictor.forget()
        self._neighbours = SkinnedNeighbours(self.potential.species, self.potential.cutoffs, self.skin)

    def evaluate(
        self, positions: FloatArray, cell: FloatArray, *, virial: bool = False, atomic: bool = False
    ) -> Forces:
        """Compute; see `ForceField`."""
        atoms = self._atoms
        atoms.positions[:] = positions
        atoms.cell.array[:] = cell
        if isinstance(self._predictor, Predictor):
            result = self._predictor.predict(atoms, virials=atomic, kind=self.virials)
        elif self._predictor is not None:
            result = self._predictor.predict(atoms, virials=atomic)
        elif isinstance(self.potential, Committee):
            result = self.potential.predict(atoms)
        else:
            result = self.potential.predict_graph(self._neighbours.graph(atoms), virials=self.virials)
        total = None
        if virial and self._periodic and result.stress is not None:
            total = -voigt_to_matrix(result.stress) * abs(float(np.linalg.det(cell)))
        if not atomic:
            return Forces(result.energy, result.forces, total)
        return Forces(result.energy, result.forces, total, result.energies, result.virials)


class CalculatorForces:
    """Any ASE calculator.

    Parameters
    ----------
    calculator : ASE calculator
    atoms : ase.Atoms
        Elements, periodicity and whatever else the calculator reads; not changed.
    pairwise : bool
        The calculator is a sum over pairs, so that its ``stresses`` are atomic virials of kind I. Nobody can see that
        from outside; for a many-body potential the heat flux would be wrong.
    """

    def __init__(self, calculator: Calculator, atoms: Atoms, *, pairwise: bool = False) -> None:
        self.calculator, self.pairwise = calculator, pairwise
        self._atoms = atoms.copy()
        self._atoms.set_constraint()
        self._periodic = bool(atoms.pbc.all())

    def reset(self) -> None:
        """Forget the last result, and neighbours where the calculator can."""
        if hasattr(self.calculator, "reset"):
            self.calculator.reset()
        if hasattr(self.calculator, "nl"):  # of ASE's own pair potentials
            self.calculator.nl = None

    def evaluate(
        self, positions: FloatArray, cell: FloatArray, *, virial: bool = False, atomic: bool = False
    ) -> Forces:
        """Compute; see `ForceField`.

        Raises
        ------
        ConfigError
            The calculator has no stress, or no atomic energies and virials.
        """
        atoms, calculator = self._atoms, self.calculator
        atoms.positions[:] = positions
        atoms.cell.array[:] = cell
        energy = float(calculator.get_property("energy", atoms))
        forces = np.array(calculator.get_property("forces", atoms), dtype=np.float64)
        total = None
        volume = abs(float(np.linalg.det(cell)))
        if virial and self._periodic:
            total = -voigt_to_matrix(self._get("stress")) * volume
        if not atomic:
            return Forces(energy, forces, total)
        if not self.pairwise:
            cure = (
                "take backend='auto' or 'compiled', or give the potential itself"
                if isinstance(calculator, ForgefieldCalculator)
                else "use a potential of Forgefield, or, for a potential that is a sum over pairs and has `energies` and "
                "`stresses`, say pairwise=True"
            )
            raise ConfigError(
                f"{type(calculator).__name__} gives no atomic virials, which the heat flux needs; {cure}"
            )
        return Forces(
            energy, forces, total, self._get("energies"), -voigt_to_matrix(self._get("stresses")) * volume
        )

    def _get(self, name: str) -> FloatArray:
        try:
            found = self.calculator.get_property(name, self._atoms)
        except (PropertyNotImplementedError, NotImplementedError):
            found = None
        if found is None:
            raise ConfigError(
                f"{type(self.calculator).__name__} gives no `{name}`, which is needed here; use a calculator that does"
            )
        return np.array(found, dtype=np.float64)


def force_field(
    source: Any,
    atoms: Atoms,
    *,
    virials: VirialKind = "I",
    pairwise: bool = False,
    skin: float = 1.0,
    dtype: Precision | None = None,
) -> ForceField:
    """Return the fastest way to the forces of a potential.

    Parameters
    ----------
    source : Potential, Committee, ASE calculator or ForceField
        A calculator of a Forgefield potential is replaced by the potential itself; a force field is returned as it is.
    atoms : ase.Atoms
    virials : {'I', 'II', 'III'}
        See `PotentialForces`; other calculators have one kind only.
    pairwise : bool
        See `CalculatorForces`.
    skin : float [Å]
    dtype : {'float32', 'float64'}, optional
        Of the kernels of a Forgefield potential; default: its own.

    Raises
    ------
    ConfigError
        None of these.
    """
    if isinstance(source, Potential | Committee):
        return PotentialForces(source, atoms, virials=virials, skin=skin, dtype=dtype)
    if isinstance(source, ForgefieldCalculator) and source.parameters["backend"] in ("auto", "compiled"):
        options: dict[str, Any] = {"threads": source.threads, "skin": skin, "dtype": dtype}
        return PotentialForces(source.potential, atoms, virials=virials, **options)
    if hasattr(source, "evaluate") and hasattr(source, "reset"):
        found: ForceField = source
        return found
    if not hasattr(source, "get_property"):
        raise ConfigError(
            f"forces come from a Forgefield potential, an ASE calculator or a ForceField, got {type(source).__name__}"
        )
    if virials != "I":
        raise ConfigError(
            f"`virials` = {virials!r} needs a Forgefield potential; {type(source).__name__} has one kind"
        )
    return CalculatorForces(source, atoms, pairwise=pairwise)
