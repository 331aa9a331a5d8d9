"""Predictions of a potential for many structures, checked for shape and finite values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield.errors import DataError, PredictionError
from forgefield.evaluation.labels import structure_name

__all__ = ["PotentialLike", "Prediction", "ResultLike", "predict"]

Array = NDArray[np.float64]


class ResultLike(Protocol):
    """What a potential returns for one structure."""

    @property
    def energy(self) -> float:
        """Total energy [eV]."""

    @property
    def forces(self) -> Any:
        """Forces, (n_atoms, 3) [eV/Å]."""

    @property
    def stress(self) -> Any:
        """Stress, (6,) [eV/Å^3], ASE order and sign; None without a volume."""


class PotentialLike(Protocol):
    """What can be evaluated: anything with ``predict(atoms)``.

    A method ``predict_many(list of atoms) -> list of results`` is used instead where there is one.
    """

    def predict(self, atoms: Atoms, /) -> ResultLike:
        """Predict one structure."""


@dataclass(frozen=True)
class Prediction:
    """The prediction for one structure.

    Parameters
    ----------
    energy : float [eV]
        Total energy, reference energies included.
    forces : (n_atoms, 3) [eV/Å]
        ``-dE/dr``.
    stress : (6,) [eV/Å^3] or None
        ``dE/dstrain / |V|``, positive in tension, Voigt xx yy zz yz xz xy; None without a volume.
    energy_spread : float [eV] or None
        Of a committee: standard deviation over its members.
    atomic : dict of name to (n_atoms,) array
        What else is said of every atom, such as ``forces_spread`` [eV/Å] and ``extrapolation``.
    """

    energy: float
    forces: Array
    stress: Array | None = None
    energy_spread: float | None = None
    atomic: dict[str, Array] = field(default_factory=dict)


def predict(
    potential: PotentialLike,
    frames: Sequence[Atoms],
    *,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """Predict energy, forces and stress of every structure.

    Parameters
    ----------
    potential : PotentialLike
        Has ``predict(atoms)`` or, faster, ``predict_many(list of atoms)``.
    frames : sequence of ase.Atoms
        Structures; labels are not looked at.
    batch_size : int, >= 1
        Structures handed to ``predict_many`` at a time; bounds the memory.
    progress : callable(done, total), optional
        Called after every batch with the number of structures done and in all.

    Returns
    -------
    list of Prediction
        In the order of `frames`.

    Raises
    ------
    DataError
        `batch_size` is below 1.
    PredictionError
        A prediction has the wrong shape or is not finite; the structure is named.
    """
    if batch_size < 1:
        raise DataError(f"`batch_size` must be >= 1 structure, got {batch_size}")
    many = cast(
        "Callable[[list[Atoms]], Sequence[ResultLike]] | None", getattr(potential, "predict_many", None)
    )
    predictions: list[Prediction] = []
    for start in range(0, len(frames), batch_size):
        batch = list(frames[start : start + batch_size])
        results = list(many(batch)) if many is not None else [potential.predict(atoms) for atoms in batch]
        if len(results) != len(batch):
            raise PredictionError(
                f"`predict_many` returned {len(results)} results for {len(batch)} structures"
            )
        for offset, (atoms, result) in enumerate(zip(batch, results, strict=True)):
            predictions.append(_checked(atoms, result, structure_name(atoms, start + offset)))
        if progress is not None:
            progress(len(predictions), len(frames))
    return predictions


def _checked(atoms: Atoms, result: ResultLike, name: str) -> Prediction:
    energy = _array(result.energy, (), "energy", name)
    forces = _array(result.forces, (len(atoms), 3), "forces", name)
    stress = None if result.stress is None else _array(result.stress, (6,), "stress", name)
    spread = getattr(result, "energy_spread", None)
    if spread is None:
        return Prediction(float(energy), forces, stress)
    atomic = {
        "forces_spread": _array(getattr(result, "forces_spread", None), (len(atoms),), "forces_spread", name)
    }
    return Prediction(float(energy), forces, stress, float(spread), atomic)


def _array(value: Any, shape: tuple[int, ...], what: str, name: str) -> Array:
    array = np.array(value, dtype=np.float64)
    if array.shape != shape:
        raise PredictionError(
            f"predicted {what} of structure {name!r} has shape {array.shape}, expected {shape}"
        )
    if not np.isfinite(array).all():
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise PredictionError(
            f"predicted {what} of structure {name!r} is not finite ({bad} of {array.size} values); check the structure"
            " for overlapping atoms, and the training log for a diverged loss"
        )
    return array
