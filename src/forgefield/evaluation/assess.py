"""Evaluate a potential on labelled structures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ase import Atoms

from forgefield.errors import DataError, LabelError
from forgefield.evaluation.labels import read_labels, structure_name
from forgefield.evaluation.metrics import MetricsTable, metrics
from forgefield.evaluation.predict import PotentialLike, Prediction, predict

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Parameters
    ----------
    metrics : MetricsTable
        Errors in all, per split and per group.
    predictions : list of Prediction
        One for each frame.
    frames : list of ase.Atoms
        The structures, as given.
    """

    metrics: MetricsTable
    predictions: list[Prediction]
    frames: list[Atoms]


def evaluate(
    potential: PotentialLike,
    frames: Sequence[Atoms],
    *,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Predict every structure and compare with its labels.

    Labels are checked before anything is predicted.

    Parameters
    ----------
    potential : PotentialLike
        Has ``predict(atoms)`` or ``predict_many(list of atoms)``.
    frames : sequence of ase.Atoms
        Labels in ``atoms.calc.results``; any of energy, forces and stress may be missing.
    batch_size : int, >= 1
        Structures predicted at a time.
    progress : callable(done, total), optional
        Called after every batch.

    Raises
    ------
    DataError
        There is no structure.
    LabelError
        Not one structure has a label.
    PredictionError
        A prediction has the wrong shape or is not finite.
    """
    if not frames:
        raise DataError("no structures to evaluate; check the data files and the split")
    if all(read_labels(atoms, structure_name(atoms, n)).empty for n, atoms in enumerate(frames)):
        raise LabelError(
            f"none of the {len(frames)} structures has an energy, force or stress label, so there is nothing to"
            " compare with; check how the file names its labels with `forgefield inspect`"
        )
    predictions = predict(potential, frames, batch_size=batch_size, progress=progress)
    return Evaluation(metrics(frames, predictions), predictions, list(frames))
