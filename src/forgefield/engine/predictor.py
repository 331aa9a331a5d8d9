"""Predictions for structures from compiled kernels: what calculators and evaluations use on a processor."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal, get_args, overload

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from forgefield.engine.blocks import Block
from forgefield.engine.inference import Engine, Precision
from forgefield.engine.kernel import NotCompiledError
from forgefield.engine.neighbours import SkinnedList
from forgefield.engine.points import Listing, Points
from forgefield.engine.restricted import restricted
from forgefield.errors import ConfigError
from forgefield.keys import voigt_to_matrix
from forgefield.models.committee import Committee, CommitteePrediction, combine
from forgefield.models.potential import Potential
from forgefield.models.results import Prediction, VirialKind

__all__ = ["Backend", "CommitteePredictor", "Predictor", "fastest"]

Backend = Literal["auto", "compiled", "torch", "cuda"]

FloatArray = NDArray[np.float64]
Listed = tuple[Points, tuple[Listing, ...], Block]

_log = logging.getLogger(__name__)
_said: set[str] = set()


class Predictor:
    """A potential at compiled speed.

    Parameters
    ----------
    potential : Potential
        Its parameters are read when first needed; later changes of them are not seen.
    dtype : {'float32', 'float64'}, optional
        Of the kernels; default: that of the potential.
    threads : int, optional
        Default: `parallel.get_num_threads`.
    skin : float [Å]
        Reach of the neighbour list beyond the cutoff, for structures that move; 0 lists anew every time.

    Raises
    ------
    NotCompiledError
        A part of the potential has no kernel.
    """

    backend = "compiled"

    def __init__(
        self,
        potential: Potential,
        dtype: Precision | None = None,
        threads: int | None = None,
        skin: float = 0.0,
    ) -> None:
        own: Precision = "float32" if potential.dtype == torch.float32 else "float64"
        self.potential, self.threads, self.skin = potential, threads, skin
        self.dtype: Precision = dtype or own
        self._engines: dict[tuple[int, ...], tuple[Engine, FloatArray]] = {}
        self._current: tuple[tuple[int, ...], Engine, FloatArray] | None = None
        self._list: SkinnedList | None = None
        self._block: Listed | None = None
        if not potential.descriptor.restrictable:
            self._engine(potential.species)  # says now what has no kernel

    @property
    def n_neighbour_builds(self) -> int:
        """How often the neighbour list has been made for the elements at hand."""
        return 0 if self._list is None else self._list.n_builds

    def predict(
        self,
        atoms: Atoms,
        *,
        virials: bool = False,
        after: Predictor | None = None,
        kind: VirialKind = "I",
    ) -> Prediction:
        """Return energy, forces, stress and, on request, atomic virials (else an empty array).

        Parameters
        ----------
        atoms : ase.Atoms
        virials : bool
        kind : {'I', 'II', 'III'}
            Of the atomic virials (paper 5, eqs. 12-14).
        after : Predictor, optional
            One that has just predicted these atoms: its lists of neighbours are used where they fit.

        Raises
        ------
        UnknownSpeciesError, StructureError
            Elements the potential does not know; overlapping atoms, no atoms, flat cell.
        """
        engine, offsets = self._for(atoms)
        listed = None if after is None else after.listed_for(engine)
        points, lists, block = self._listed(engine, atoms) if listed is None else listed
        out = engine.evaluate(points, lists, block, virials=virials)
        energies = out.energies + offsets[points.species]
        stress = None
        if atoms.pbc.all():
            stress = out.total_strain / abs(float(np.linalg.det(atoms.cell.array)))
        atomic = np.empty((0, 3, 3))
        if out.virials is not None:
            atomic = np.stack([points.fold(out.virials[:, a]) for a in range(3)], axis=1)
            if kind != "I":  # that of the centre is symmetric, as E_i does not change with rotation
                centre = -voigt_to_matrix(out.strain)
                atomic = centre if kind == "II" else 0.5 * (atomic + centre)
        return Prediction(float(energies.sum()), energies, points.fold(out.forces), stress, atomic)

    def predict_many(self, frames: Sequence[Atoms]) -> list[Prediction]:
        """Return the predictions for many structures."""
        return [self.predict(atoms) for atoms in frames]

    def forget(self) -> None:
        """Drop neighbour lists, so that the next prediction depends on its structure alone, to the last bit."""
        self._current, self._block = None, None

    def listed_for(self, engine: Engine) -> Listed | None:
        """Return the lists and blocks last used if they are what `engine` would make, else None."""
        if self._current is None or self._block is None:
            return None
        own = self._current[1]
        same = own.potential.species == engine.potential.species and own.dtype == engine.dtype
        return self._block if same and own.potential.cutoffs == engine.potential.cutoffs else None

    def _listed(self, engine: Engine, atoms: Atoms) -> Listed:
        if self._list is None:  # `_for` sets it; this is for the type checker
            raise ConfigError("no neighbour list")
        points, lists = self._list.update(atoms)
        if self._block is None or self._block[0] is not points:
            self._block = points, lists, engine.blocks(points, lists)
        return self._block

    def _for(self, atoms: Atoms) -> tuple[Engine, FloatArray]:
        """Return the engine for the elements of a structure and the energy offset of each of them."""
        present = self.potential.species
        if self.potential.descriptor.restrictable:
            found = tuple(np.unique(atoms.numbers).tolist())
            present = found if found and set(found) <= set(present) else present
        if self._current is None or self._current[0] != present:
            self._current = (present, *self._engine(present))
            self._list = SkinnedList(present, self._current[1].potential.cutoffs, self.skin)
            self._block = None
        return self._current[1], self._current[2]

    def _engine(self, present: tuple[int, ...]) -> tuple[Engine, FloatArray]:
        if present not in self._engines:
            potential = self.potential
            if present != potential.species:
                potential = restricted(potential, present)
            offsets = potential.references.cpu().numpy().astype(np.float64)
            if bool(potential.exact_free_atom):
                offsets = offsets - potential.model_offsets()
            self._engines[present] = self._make_engine(potential), offsets
        return self._engines[present]

    def _make_engine(self, potential: Potential) -> Engine:
        return Engine(potential, self.dtype, self.threads)


class CommitteePredictor:
    """A committee at compiled speed; members with the same cutoffs use the same list of neighbours.

    Parameters
    ----------
    committee : Committee
    members : sequence of Predictor
        One for each.
    """

    def __init__(self, committee: Committee, members: Sequence[Predictor]) -> None:
        self.committee, self.members = committee, tuple(members)

    @property
    def backend(self) -> str:
        """What computes."""
        return self.members[0].backend

    @property
    def n_neighbour_builds(self) -> int:
        """How often the lists of the first member have been made."""
        return self.members[0].n_neighbour_builds

    def predict(self, atoms: Atoms, *, virials: bool = False) -> CommitteePrediction:
        """Return means and spreads; see `Predictor.predict`."""
        first, *others = self.members
        results = [first.predict(atoms, virials=virials)]
        results += [member.predict(atoms, virials=virials, after=first) for member in others]
        return combine(results)

    def forget(self) -> None:
        """See `Predictor.forget`."""
        for member in self.members:
            member.forget()

    def predict_many(self, frames: Sequence[Atoms]) -> list[CommitteePrediction]:
        """Return the predictions for many structures."""
        return [self.predict(atoms) for atoms in frames]


@overload
def fastest(
    potential: Potential,
    backend: Backend = ...,
    *,
    dtype: Precision | None = ...,
    threads: int | None = ...,
    skin: float = ...,
) -> Predictor | None: ...


@overload
def fastest(
    potential: Potential | Committee,
    backend: Backend = ...,
    *,
    dtype: Precision | None = ...,
    threads: int | None = ...,
    skin: float = ...,
) -> Predictor | CommitteePredictor | None: ...


def fastest(
    potential: Potential | Committee,
    backend: Backend = "auto",
    *,
    dtype: Precision | None = None,
    threads: int | None = None,
    skin: float = 0.0,
) -> Predictor | CommitteePredictor | None:
    """Return a predictor for a potential, or None where plain tensors have to do.

    Parameters
    ----------
    potential : Potential or Committee
    backend : {'auto', 'compiled', 'torch', 'cuda'}
        ``auto``: compiled on a processor wherever all parts of the potential have kernels; says once where not.
        ``cuda``: compiled on a GPU.
    dtype, threads, skin
        See `Predictor`.

    Raises
    ------
    NotCompiledError
        ``compiled`` or ``cuda`` was asked for and a part of the potential has no kernel.
    ConfigError
        ``cuda`` was asked for and there is no GPU.
    """
    if backend not in get_args(Backend):
        raise ConfigError(f"`backend` must be 'auto', 'compiled', 'torch' or 'cuda', got {backend!r}")
    if isinstance(potential, Committee):
        found = [fastest(m, backend, dtype=dtype, threads=threads, skin=skin) for m in potential.members]
        ready = [member for member in found if member is not None]
        return CommitteePredictor(potential, ready) if len(ready) == len(found) else None
    if backend == "cuda":
        from forgefield.engine.gpu import GPUPredictor

        return GPUPredictor(potential, dtype, skin)
    if backend == "torch" or (backend == "auto" and potential.device.type != "cpu"):
        return None
    try:
        return Predictor(potential, dtype, threads, skin)
    except NotCompiledError as error:
        if backend == "compiled":
            raise
        if str(error) not in _said:
            _said.add(str(error))
            _log.warning("%s; plain tensors compute the same, slower", error)
        return None
