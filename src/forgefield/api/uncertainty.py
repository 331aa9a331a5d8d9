"""How sure a potential is of its predictions, atom by atom, and whether that can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from forgefield import evaluation
from forgefield.api.naming import naming
from forgefield.deployment.load import load
from forgefield.engine.predictor import fastest
from forgefield.errors import ConfigError
from forgefield.evaluation import Evaluation, write_predictions
from forgefield.evaluation.calibration import Calibration, calibrate
from forgefield.evaluation.labels import read_labels, structure_name
from forgefield.evaluation.report.calibration import calibration_picture
from forgefield.files import make_folder, write_text
from forgefield.models.committee import Committee
from forgefield.models.extrapolation import Grader
from forgefield.models.potential import Potential
from forgefield.training.laplace import fit_last_layer, stored_posterior

__all__ = ["Uncertainty", "calibrations_of", "uncertainty"]

Array = NDArray[np.float64]

N_BINS = 10
SYMMETRIC = 1e-5
"""Forces [eV/Å] below this are zero by symmetry."""

UNITS = {"forces_spread": "eV/Å", "last_layer_spread": "eV/Å", "extrapolation": ""}
NAMES = {
    "forces_spread": "Spread of the committee",
    "last_layer_spread": "Spread by the last layer",
    "extrapolation": "Extrapolation grade",
}


@dataclass(frozen=True)
class Uncertainty:
    """Predictions with what is known of their errors.

    Attributes
    ----------
    evaluation : Evaluation
        Metrics, structures and predictions; ``predictions[k].atomic`` holds the values of each atom.
    calibrations : dict
        ``forces_spread``, ``last_layer_spread``, ``extrapolation`` (what there is) to the comparison with the force errors; empty
        without enough force labels.
    """

    evaluation: Evaluation
    calibrations: dict[str, Calibration] = field(default_factory=dict)

    def atomic(self, name: str) -> Array:
        """Return ``forces_spread``, ``last_layer_spread`` [eV/Å] or ``extrapolation`` of all atoms of all structures."""
        return np.concatenate([p.atomic[name] for p in self.evaluation.predictions])

    def to_dict(self) -> dict[str, Any]:
        """Return the calibrations fit for JSON."""
        return {name: found.to_dict() for name, found in self.calibrations.items()}

    def write(self, folder: str | Path) -> list[Path]:
        """Write ``predictions.extxyz`` with the values of every atom, and a picture for each calibration.

        Raises
        ------
        ForgefieldError
            The folder or a file cannot be written.
        """
        path = make_folder(folder)
        e = self.evaluation
        written = [write_predictions(path / "predictions.extxyz", e.frames, e.predictions)]
        for name, found in self.calibrations.items():
            picture = calibration_picture(found, NAMES[name], UNITS[name])
            written.append(write_text(path / f"calibration_{name}.svg", picture))
        return written


def uncertainty(
    potential: Potential | Committee | str | Path,
    frames: Sequence[Atoms],
    *,
    train: Sequence[Atoms] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Uncertainty:
    """Predict labelled structures with spread and extrapolation grade of every atom, and compare with the true errors.

    Parameters
    ----------
    potential : Potential, Committee or path
        A committee gives spreads; a potential trained with ``extrapolation: true`` grades; a committee may give both.
    frames : sequence of ase.Atoms
        Labels in ``atoms.calc.results``.
    train : sequence of ase.Atoms, optional
        Labelled structures a single potential was trained on: adds the spread by its last layer (`training.laplace`),
        which a potential trained with ``last_layer: true`` gives without them.
    progress : callable(done, total), optional

    Raises
    ------
    ConfigError
        The potential offers neither.
    DataError, LabelError
        No structure, or not one label.
    """
    loaded = load(potential) if isinstance(potential, str | Path) else potential
    grader = Grader(loaded)
    single = None if isinstance(loaded, Committee) else loaded
    if grader.extrapolation is None and single is not None and train is None and single.last_layer is None:
        raise ConfigError(
            "this potential says nothing of its own errors: give the data it was trained on, train it with "
            "`extrapolation: true` or `last_layer: true`, or several as a committee with `committee: {members: 4}`"
        )
    with naming(loaded, frames):
        found = evaluation.evaluate(fastest(loaded) or loaded, frames, progress=progress)
        predictions = found.predictions
        if grader.extrapolation is not None:
            predictions = [
                replace(p, atomic={**p.atomic, "extrapolation": grader.grades(a)})
                for p, a in zip(predictions, found.frames, strict=True)
            ]
        if single is not None and (train is not None or single.last_layer is not None):
            kept = stored_posterior(single) if train is None else None
            posterior = kept or fit_last_layer(single, train or [])
            predictions = [
                replace(p, atomic={**p.atomic, "last_layer_spread": posterior.spread(a).forces})
                for p, a in zip(predictions, found.frames, strict=True)
            ]
    result = replace(found, predictions=predictions)
    return Uncertainty(result, calibrations_of(result))


def calibrations_of(found: Evaluation, split: str | None = None) -> dict[str, Calibration]:
    """Return the comparison of what is said of every atom with its force error, for all structures or those of a set.

    Atoms whose force is zero by symmetry, true and predicted, are left out: any potential is right about them.

    Parameters
    ----------
    found : Evaluation
    split : str, optional
        Only structures with this ``info["split"]``.
    """
    errors: list[Array] = []
    values: dict[str, list[Array]] = {name: [] for name in found.predictions[0].atomic}
    for n, (atoms, prediction) in enumerate(zip(found.frames, found.predictions, strict=True)):
        forces = read_labels(atoms, structure_name(atoms, n)).forces
        if forces is None or (split is not None and atoms.info.get("split") != split):
            continue
        error = np.linalg.norm(prediction.forces - forces, axis=1)
        size = np.maximum(np.linalg.norm(forces, axis=1), np.linalg.norm(prediction.forces, axis=1))
        known = np.isfinite(error) & (size > SYMMETRIC)
        errors.append(error[known])
        for name, rows in values.items():
            rows.append(prediction.atomic[name][known])
    if not errors:
        return {}
    error = np.concatenate(errors)
    result = {}
    for name, rows in values.items():
        joined = np.concatenate(rows)
        finite = np.isfinite(joined)
        if np.count_nonzero(finite) >= N_BINS and joined[finite].any():
            result[name] = calibrate(error[finite], joined[finite], N_BINS)
    return result
