"""`predictions.extxyz`: structures with their labels and predictions side by side.

One frame per structure. ``energy``, ``forces`` and ``stress`` are the prediction, so that any program that
reads extended XYZ shows it; the labels are ``REF_energy`` [eV], ``REF_forces`` [eV/Å] and ``REF_stress``
[eV/Å^3, 3 x 3, positive in tension]. Of a committee there are ``energy_spread`` [eV] and ``forces_spread`` [eV/Å] of each
atom, and ``extrapolation`` where the grade was asked for. ``name``, ``config_type``, ``split`` and ``weight`` are kept.
Positions and forces carry 8 decimals, everything else full precision.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import extxyz

from forgefield.errors import DataError
from forgefield.evaluation.labels import read_labels, structure_name
from forgefield.evaluation.predict import Prediction
from forgefield.evaluation.residuals import check_prediction
from forgefield.files import read_text, write_text
from forgefield.keys import matrix_to_voigt, voigt_to_matrix

__all__ = ["read_predictions", "write_predictions"]

ATOMIC = ("forces_spread", "last_layer_spread", "extrapolation")
KEPT = ("config_type", "split", "weight")


def write_predictions(path: str | Path, frames: Sequence[Atoms], predictions: Sequence[Prediction]) -> Path:
    """Write structures, labels and predictions to one extended XYZ file, atomically.

    Parameters
    ----------
    path : path
        Usually ``predictions.extxyz``.
    frames : sequence of ase.Atoms
        Labels in ``atoms.calc.results``; missing ones are left out.
    predictions : sequence of Prediction
        One for each frame.

    Raises
    ------
    DataError
        The lengths differ.
    PredictionError
        A prediction does not fit its structure.
    ForgefieldError
        The file cannot be written; a file that was there is kept.
    """
    if len(frames) != len(predictions):
        raise DataError(
            f"{len(frames)} structures but {len(predictions)} predictions; give one for each structure"
        )
    images = [
        _image(atoms, prediction, structure_name(atoms, index))
        for index, (atoms, prediction) in enumerate(zip(frames, predictions, strict=True))
    ]
    buffer = io.StringIO()
    extxyz.write_xyz(buffer, images)
    return write_text(path, buffer.getvalue())


def _image(atoms: Atoms, prediction: Prediction, name: str) -> Atoms:
    check_prediction(atoms, prediction, name)
    image = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    image.info["name"] = name
    image.info.update({key: atoms.info[key] for key in KEPT if key in atoms.info})
    labels = read_labels(atoms, name)
    if labels.energy is not None:
        image.info["REF_energy"] = labels.energy
    if labels.stress is not None:
        image.info["REF_stress"] = voigt_to_matrix(labels.stress)
    if labels.forces is not None:
        image.arrays["REF_forces"] = labels.forces
    if prediction.energy_spread is not None:
        image.info["energy_spread"] = prediction.energy_spread
    image.arrays.update(prediction.atomic)
    results = {"energy": prediction.energy, "forces": prediction.forces}
    if prediction.stress is not None:
        results["stress"] = prediction.stress
    image.calc = SinglePointCalculator(image, **results)
    return image


def read_predictions(path: str | Path) -> tuple[list[Atoms], list[Prediction]]:
    """Read a file of `write_predictions` back.

    Returns
    -------
    frames : list of ase.Atoms
        With the labels in ``atoms.calc.results`` and ``name``, ``config_type``, ``split``, ``weight`` in ``info``.
    predictions : list of Prediction

    Raises
    ------
    DataError
        The file cannot be read, or a frame has no predicted energy and forces.
    """
    text = read_text(path)
    try:
        images = list(extxyz.read_xyz(io.StringIO(text), slice(None)))
    except (ValueError, KeyError, IndexError, extxyz.XYZError) as error:
        raise DataError(f"{path} is not extended XYZ: {error}") from None
    frames: list[Atoms] = []
    predictions: list[Prediction] = []
    for index, image in enumerate(images):
        results = image.calc.results if image.calc is not None else {}
        if "energy" not in results or "forces" not in results:
            raise DataError(
                f"frame {index} of {path} has no predicted energy and forces; was it written by forgefield?"
            )
        stress = results.get("stress")
        predictions.append(
            Prediction(
                float(results["energy"]),
                np.asarray(results["forces"], dtype=np.float64),
                None if stress is None else np.asarray(stress, dtype=np.float64),
                image.info.get("energy_spread"),
                {name: image.arrays[name].astype(np.float64) for name in ATOMIC if name in image.arrays},
            )
        )
        frames.append(_frame(image))
    for frame, prediction in zip(frames, predictions, strict=True):
        check_prediction(frame, prediction, structure_name(frame, 0))
    return frames, predictions


def _frame(image: Atoms) -> Atoms:
    atoms = Atoms(numbers=image.numbers, positions=image.positions, cell=image.cell, pbc=image.pbc)
    atoms.info.update({key: image.info[key] for key in ("name", *KEPT) if key in image.info})
    labels: dict[str, object] = {}
    if "REF_energy" in image.info:
        labels["energy"] = float(image.info["REF_energy"])
    if "REF_forces" in image.arrays:
        labels["forces"] = np.asarray(image.arrays["REF_forces"], dtype=np.float64)
    if "REF_stress" in image.info:
        labels["stress"] = matrix_to_voigt(
            np.asarray(image.info["REF_stress"], dtype=np.float64).reshape(3, 3)
        )
    if labels:
        atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms
