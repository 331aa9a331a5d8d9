"""A potential as an ASE calculator."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from ase import Atoms
from ase.calculators import calculator as ase_calculator
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.outputs import Properties, all_outputs

from forgefield.deployment.load import load
from forgefield.engine.predictor import Backend, fastest
from forgefield.errors import ConfigError
from forgefield.graph import SkinnedNeighbours
from forgefield.keys import matrix_to_voigt
from forgefield.models import committee_file, file
from forgefield.models.committee import Committee, CommitteePrediction
from forgefield.models.extrapolation import Grader
from forgefield.models.file import DTYPES, DtypeName
from forgefield.models.potential import Potential
from forgefield.models.results import Prediction
from forgefield.training.laplace import LastLayerPosterior, stored_posterior

__all__ = ["ForgefieldCalculator"]

SPREADS = ("energy_spread", "energies_spread", "forces_spread", "stress_spread")
"""Results of committees beyond those of every calculator."""

_NOT_COPIED = ("potential", "_neighbours", "_predictor", "_grader", "_posterior", "_lock")


class ForgefieldCalculator(Calculator):  # type: ignore[misc]
    """Energies, forces and stress of a potential for ASE.

    The neighbour list reaches `skin` beyond the cutoff and is made anew only when atoms or cell moved so far that
    it might miss a pair; results do not depend on `skin`. Copies and pickles carry the potential with them. Threads may
    share a calculator, which serves one at a time; to compute side by side give each its own.

    ==============  ==========  ==============================================================
    result          unit        meaning
    ==============  ==========  ==============================================================
    ``energy``      eV          total, reference energies included; ``free_energy`` is the same
    ``energies``    eV          (n_atoms,), sum to ``energy``
    ``forces``      eV/Å        (n_atoms, 3)
    ``stress``      eV/Å^3      (6,) xx yy zz yz xz xy, positive in tension
    ``stresses``    eV/Å^3      (n_atoms, 6), sum to ``stress``: atomic virials of kind I
    ==============  ==========  ==============================================================

    The stresses exist where the cell is periodic in three directions. Of a committee these are means, and there are
    the standard deviations over its members (``calc.results`` or ``calc.get_property``):

    ===================  ==========  =========================================================
    result               unit        meaning
    ===================  ==========  =========================================================
    ``energy_spread``    eV          of the total energy
    ``energies_spread``  eV          (n_atoms,), of the atomic energies
    ``forces_spread``    eV/Å        (n_atoms,), of the force vectors
    ``stress_spread``    eV/Å^3      (6,), of the components
    ===================  ==========  =========================================================

    A single potential trained with ``last_layer: true`` gives all but ``energies_spread`` when asked by `get_property`: the
    standard deviations of the posterior of its last layer, noise of the labels not included.

    ``extrapolation``, (n_atoms,), the extrapolation grade, is computed when asked for by `get_property`; see
    `models.extrapolation.Grader`.

    Parameters
    ----------
    potential : Potential, Committee, str or Path
        A potential, several as one, or a file of either.
    dtype : {'float32', 'float64'}, optional
        Number type to evaluate in; default: the potential's own. The potential itself is not changed.
    threads : int, optional
        CPU threads during a calculation; default: `forgefield.get_num_threads()`, on plain tensors what torch is set to.
    skin : float [Å], >= 0
        Reach of the neighbour list beyond the cutoff; 0 makes the list at every step.
    backend : {'auto', 'compiled', 'torch', 'cuda'}
        Compiled kernels, plain tensors, or kernels wherever there are some (auto); kernels on a GPU.
    """

    name = "forgefield"
    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
        "stresses",
        *SPREADS,
        "extrapolation",
    ]
    default_parameters: ClassVar[dict[str, Any]] = {}
    ignored_changes: ClassVar[set[str]] = {"initial_charges", "initial_magmoms"}
    nolabel = True
    _grader: Grader | None
    _posterior: LastLayerPosterior | None

    def __init__(
        self,
        potential: Potential | Committee | str | Path,
        *,
        dtype: DtypeName | None = None,
        threads: int | None = None,
        skin: float = 1.0,
        backend: Backend = "auto",
    ) -> None:
        if threads is not None and threads < 1:
            raise ConfigError(f"`threads` must be >= 1, got {threads!r}")
        super().__init__()
        self.potential = _in_dtype(potential, dtype)
        self.threads = threads
        self.parameters.update(
            dtype=str(self.potential.dtype).removeprefix("torch."),
            threads=threads,
            skin=float(skin),
            backend=backend,
        )
        self._start()

    @property
    def n_neighbour_builds(self) -> int:
        """How often the neighbour list has been made."""
        return self._neighbours.n_builds if self._predictor is None else self._predictor.n_neighbour_builds

    @property
    def backend(self) -> str:
        """What computes: ``compiled`` or ``torch``."""
        return "torch" if self._predictor is None else self._predictor.backend

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute every property; see `ase.calculators.calculator.Calculator.calculate`.

        Raises
        ------
        UnknownSpeciesError, StructureError
            The potential does not know an element; positions are not finite or atoms coincide.
        PropertyNotImplementedError
            Stress of a structure that is not periodic in three directions.
        """
        with self._lock:
            if system_changes:
                self.results: dict[str, Any] = {}  # an error below must not leave those of other atoms
            super().calculate(atoms, properties, system_changes)
            self.results |= self._computed(properties)
        if {"stress", "stresses"} & set(properties) and "stress" not in self.results:
            raise PropertyNotImplementedError(
                f"stress needs a cell periodic in three directions, got pbc={self.atoms.pbc.tolist()}"
            )

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:  # noqa: ARG002 - exact is cheaper than close
        """Return what changed since the last calculation; charges and magnetic moments do not count."""
        last = self.atoms
        if last is None or len(last) != len(atoms):
            return [name for name in all_changes if name not in self.ignored_changes]
        pairs = {
            "positions": (last.positions, atoms.positions),
            "numbers": (last.numbers, atoms.numbers),
            "cell": (last.cell.array, atoms.cell.array),
            "pbc": (last.pbc, atoms.pbc),
        }
        return [name for name, (then, now) in pairs.items() if not np.array_equal(then, now)]

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """Return a result, computed only where atoms, cell or periodicity changed; see ASE's calculators."""
        with self._lock:
            return super().get_property(name, atoms, allow_calculation)

    def calculate_properties(self, atoms: Atoms, properties: Sequence[str]) -> Properties:
        """Return several results at once; see `ase.Atoms.get_properties`."""
        with self._lock:
            return super().calculate_properties(atoms, properties)

    def export_properties(self) -> Properties:
        """Return those results ASE has names for."""
        return Properties({k: v for k, v in self.results.items() if k in all_outputs})

    def _computed(self, properties: Sequence[str]) -> dict[str, Any]:
        result = self._predict(virials="stresses" in properties)
        found: dict[str, Any] = {
            "energy": result.energy,
            "free_energy": result.energy,
            "energies": result.energies,
            "forces": result.forces,
        }
        if isinstance(result, CommitteePrediction):
            spreads = {name: getattr(result, name) for name in SPREADS}
            found |= {name: value for name, value in spreads.items() if value is not None}
        if "extrapolation" in properties:
            self._grader = self._grader or Grader(self.potential)
            found["extrapolation"] = self._grader.grades(self.atoms)
        if self.potential_posterior is not None and set(SPREADS) & set(properties):
            found |= self._last_layer_spreads(self.potential_posterior)
        if result.stress is not None:
            found["stress"] = result.stress
            if len(result.virials):
                volume = abs(float(np.linalg.det(self.atoms.cell.array)))
                found["stresses"] = -matrix_to_voigt(result.virials) / volume
        return found

    @property
    def potential_posterior(self) -> LastLayerPosterior | None:
        """Posterior of the last layer kept with a single potential; None where there is none."""
        if self._posterior is None and isinstance(self.potential, Potential):
            self._posterior = stored_posterior(self.potential)
        return self._posterior

    def _last_layer_spreads(self, posterior: LastLayerPosterior) -> dict[str, Any]:
        spread = posterior.spread(self.atoms)
        found = {"energy_spread": spread.energy, "forces_spread": spread.forces}
        return found if spread.stress is None else {**found, "stress_spread": spread.stress}

    def _predict(self, *, virials: bool) -> Prediction:
        if self._predictor is not None:
            return self._predictor.predict(self.atoms, virials=virials)
        with _threads(self.threads):
            if isinstance(self.potential, Committee):
                return self.potential.predict(self.atoms)
            return self.potential.predict_graph(self._neighbours.graph(self.atoms))

    def __getstate__(self) -> dict[str, Any]:
        state = {k: v for k, v in self.__dict__.items() if k not in _NOT_COPIED}
        if isinstance(self.potential, Committee):
            state["_potential_file"] = committee_file.to_bytes(self.potential, self_test=False)
        else:
            state["_potential_file"] = file.to_bytes(self.potential, self_test=False)
        state["_potential_device"] = str(self.potential.device)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        content, device = state.pop("_potential_file"), state.pop("_potential_device")
        self.__dict__.update(state)
        kind = committee_file if committee_file.is_committee(content) else file
        self.potential = kind.from_bytes(content, verify=False).to(device)
        self._start()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy everything but the potential, which a calculator never changes."""
        duplicate = self.__class__.__new__(self.__class__)
        memo[id(self)] = duplicate
        own = {k: v for k, v in self.__dict__.items() if k not in _NOT_COPIED}
        duplicate.__dict__.update(copy.deepcopy(own, memo))
        duplicate.potential = self.potential
        duplicate._start()  # noqa: SLF001 - our own kind
        return duplicate

    def _start(self) -> None:
        """Begin without neighbours."""
        self._lock = threading.RLock()
        skin, backend = self.parameters["skin"], self.parameters["backend"]
        self._grader = None
        self._posterior = None
        self._neighbours = SkinnedNeighbours(self.potential.species, self.potential.cutoffs, skin)
        self._predictor = fastest(self.potential, backend, threads=self.threads, skin=skin)


def _in_dtype(
    potential: Potential | Committee | str | Path, dtype: DtypeName | None
) -> Potential | Committee:
    if isinstance(potential, str | Path):
        return load(potential, dtype=dtype)
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"`dtype` must be 'float32' or 'float64', got {dtype!r}")
    if dtype is None or DTYPES[dtype] == potential.dtype:
        return potential
    return copy.deepcopy(potential).to_dtype(DTYPES[dtype])


@contextlib.contextmanager
def _threads(n: int | None) -> Iterator[None]:
    """Let torch use `n` threads for a while."""
    before = torch.get_num_threads()
    if n is None or n == before:
        yield
        return
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


if ForgefieldCalculator.name not in ase_calculator.external_calculators:
    # From here on `ase.calculators.calculator.get_calculator_class("forgefield")` and what builds on it find it.
    ase_calculator.register_calculator_class(ForgefieldCalculator.name, ForgefieldCalculator)
