"""A potential as a model of torch-sim: many structures at once."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from forgefield.deployment.load import load
from forgefield.engine.predictor import Backend, CommitteePredictor, Predictor, fastest
from forgefield.errors import ConfigError, ForgefieldError
from forgefield.graph import batch, build_graph
from forgefield.keys import voigt_to_matrix
from forgefield.models.committee import Committee
from forgefield.models.file import DTYPES, DtypeName
from forgefield.models.potential import Potential
from forgefield.models.results import Prediction

try:
    import torch_sim as ts
    from torch_sim.models.interface import ModelInterface
except ImportError as _error:
    raise ForgefieldError(
        f"torch-sim cannot be imported ({_error}); install it: pip install torch-sim-atomistic"
    ) from None

__all__ = ["ForgefieldModel"]


class ForgefieldModel(ModelInterface):  # type: ignore[misc]
    """Energies, forces and stress of a potential for torch-sim.

    On a processor every structure is evaluated by compiled kernels with a neighbour list of its own, which is made anew
    only when atoms moved far enough; on a GPU all structures are one batch of tensors.

    ============  =================  =========  ============================
    result        shape              unit       of
    ============  =================  =========  ============================
    ``energy``    (n_systems,)       eV         reference energies included
    ``energies``  (n_atoms,)         eV         sum to ``energy``
    ``forces``    (n_atoms, 3)       eV/Å
    ``stress``    (n_systems, 3, 3)  eV/Å^3     positive in tension
    ============  =================  =========  ============================

    Parameters
    ----------
    potential : Potential, Committee, str or Path
        A potential, several as one (their mean), or a file of either.
    device : torch.device or str, optional
        Default: where the potential is.
    dtype : {'float32', 'float64'} or torch.dtype, optional
        Of states and results, and of the evaluation; default: the potential's own.
    compute_forces, compute_stress : bool
        What is returned; it is computed together anyway.
    backend : {'auto', 'compiled', 'torch', 'cuda'}
        Kernels for one structure after the other on processor (compiled) or GPU (cuda), one batch of tensors (torch);
        auto: compiled on a processor where all parts of the potential have kernels, else torch.
    threads : int, optional
        Of compiled kernels; default: `forgefield.get_num_threads()`.
    skin : float [Å]
        Reach of their neighbour lists beyond the cutoff.

    Raises
    ------
    ConfigError, NotCompiledError
        A setting is unknown, or the backend asked for is not to be had.
    """

    def __init__(
        self,
        potential: Potential | Committee | str | Path,
        device: torch.device | str | None = None,
        dtype: DtypeName | torch.dtype | None = None,
        *,
        compute_forces: bool = True,
        compute_stress: bool = True,
        backend: Backend = "auto",
        threads: int | None = None,
        skin: float = 1.0,
    ) -> None:
        super().__init__()
        loaded = load(potential) if isinstance(potential, str | Path) else copy.deepcopy(potential)
        self._dtype = loaded.dtype if dtype is None else _dtype(dtype)
        self._device = torch.device(loaded.device if device is None else device)
        self.potential = loaded.to(self._device).to_dtype(self._dtype)
        self._compute_forces, self._compute_stress = compute_forces, compute_stress
        self._memory_scales_with = "n_atoms_x_density"
        self._backend, self._threads, self._skin = backend, threads, skin
        first = self._predictor()
        self._predictors = [] if first is None else [first]
        self._last: list[Atoms] = []

    @property
    def compute_forces(self) -> bool:
        """Whether forces are returned."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, value: bool) -> None:
        self._compute_forces = value

    @property
    def compute_stress(self) -> bool:
        """Whether stresses are returned."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, value: bool) -> None:
        self._compute_stress = value

    @property
    def backend(self) -> str:
        """What computes: ``compiled``, ``cuda`` or ``torch``."""
        return self._predictors[0].backend if self._predictors else "torch"

    @property
    def n_neighbour_builds(self) -> int:
        """How often neighbour lists have been made, for all structures of the last state; 0 for ``torch``."""
        return sum(p.n_neighbour_builds for p in self._predictors)

    def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
        """Return the results for all structures of a state.

        Parameters
        ----------
        state : torch_sim.SimState or dict
            Of the model's device and number type.

        Raises
        ------
        ConfigError
            Another device or number type; stress is wanted and the structures are not periodic.
        UnknownSpeciesError, StructureError
            The potential does not know an element; positions are not finite or atoms coincide.
        """
        if isinstance(state, dict):
            state = ts.SimState(**({"masses": torch.ones_like(state["positions"][:, 0])} | state))
        self._check(state)
        frames = _frames(state)
        if self._predictors:
            results = self._each(frames)
        elif isinstance(self.potential, Committee):
            results = [self.potential.predict(atoms) for atoms in frames]
        else:
            return self._wanted(self._batched(self.potential, frames))
        return self._wanted(self._joined(results))

    def _predictor(self) -> Predictor | CommitteePredictor | None:
        return fastest(self.potential, self._backend, threads=self._threads, skin=self._skin)

    def _each(self, frames: list[Atoms]) -> list[Prediction]:
        """Evaluate one structure after the other, each with its own neighbour list."""
        while len(self._predictors) < len(frames):
            another = self._predictor()
            if another is None:  # for the type checker: the first one was none
                raise ConfigError("no compiled kernels")
            self._predictors.append(another)
        known = [*self._last, *([None] * len(frames))]
        self._last = [_unwrapped(atoms, last) for atoms, last in zip(frames, known, strict=False)]
        return [p.predict(atoms) for p, atoms in zip(self._predictors, self._last, strict=False)]

    def _batched(self, potential: Potential, frames: list[Atoms]) -> dict[str, Tensor]:
        """Evaluate all structures as one batch on the device."""
        graph = batch([build_graph(atoms, potential.species, potential.cutoffs) for atoms in frames])
        tensors = potential.tensors(graph)
        out = potential.evaluate(tensors)
        energies = out.energies.double() + potential.references[tensors.species]
        energy = torch.zeros(len(frames), dtype=torch.float64, device=self._device)
        xx, yy, zz, yz, xz, xy = (out.strain_gradient.double() / tensors.volumes[:, None]).unbind(dim=1)
        rows = [torch.stack(row, dim=1) for row in ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))]
        return {
            "energy": energy.index_add(0, tensors.structure, energies),
            "energies": energies,
            "forces": out.forces,
            "stress": torch.stack(rows, dim=1),
        }

    def _joined(self, results: list[Prediction]) -> dict[str, Tensor]:
        stresses = [np.full(6, np.nan) if r.stress is None else r.stress for r in results]
        return {
            "energy": torch.from_numpy(np.array([r.energy for r in results])),
            "energies": torch.from_numpy(np.concatenate([r.energies for r in results])),
            "forces": torch.from_numpy(np.concatenate([np.asarray(r.forces, np.float64) for r in results])),
            "stress": torch.from_numpy(np.stack([voigt_to_matrix(s) for s in stresses])),
        }

    def _wanted(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        left_out = set() if self._compute_forces else {"forces"}
        left_out |= set() if self._compute_stress else {"stress"}
        return {
            k: v.detach().to(device=self._device, dtype=self._dtype)
            for k, v in found.items()
            if k not in left_out
        }

    def _check(self, state: Any) -> None:
        positions = state.positions
        if positions.dtype != self._dtype or positions.device.type != self._device.type:
            raise ConfigError(
                f"the state is {positions.dtype} on {positions.device}, the model {self._dtype} on {self._device}; make both "
                "the same, e.g. torch_sim.initialize_state(atoms, device=model.device, dtype=model.dtype)"
            )
        if self._compute_stress and not _pbc(state).all():
            raise ConfigError(
                f"stress needs cells periodic in three directions, got pbc={_pbc(state).tolist()}; "
                "use ForgefieldModel(..., compute_stress=False)"
            )


def _frames(state: Any) -> list[Atoms]:
    """Return the structures of a state; its cells have the vectors as columns."""
    positions = state.positions.detach().double().cpu().numpy()
    numbers = state.atomic_numbers.cpu().numpy()
    cells = state.cell.detach().double().transpose(-1, -2).cpu().numpy()
    ends = np.cumsum(np.bincount(state.system_idx.cpu().numpy(), minlength=len(cells)))
    pbc = _pbc(state)
    return [
        Atoms(numbers[lo:hi], positions[lo:hi], cell=cell, pbc=pbc)
        for lo, hi, cell in zip([0, *ends[:-1]], ends, cells, strict=True)
    ]


def _unwrapped(atoms: Atoms, last: Atoms | None) -> Atoms:
    """Undo jumps across the cell since the last state, which would cost a new neighbour list."""
    if last is not None and np.array_equal(atoms.numbers, last.numbers) and atoms.pbc.all():
        moved = np.linalg.solve(atoms.cell.array.T, (atoms.positions - last.positions).T).T
        atoms.positions -= np.round(moved) @ atoms.cell.array
    return atoms


def _pbc(state: Any) -> np.ndarray:
    pbc = state.pbc.cpu().numpy() if isinstance(state.pbc, Tensor) else np.asarray(state.pbc)
    return np.broadcast_to(pbc.astype(bool), 3)


def _dtype(dtype: DtypeName | torch.dtype) -> torch.dtype:
    found = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if found is None or found not in DTYPES.values():
        raise ConfigError(f"`dtype` must be 'float32' or 'float64', got {dtype!r}")
    return found
