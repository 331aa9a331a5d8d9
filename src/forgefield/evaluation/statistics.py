"""Error statistics of one set of values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgefield.errors import DataError
from forgefield.evaluation.residuals import Pairs

__all__ = ["ForceVectors", "Statistics", "force_vectors", "statistics"]

Array = NDArray[np.float64]

SMALL_FORCE = 0.1
"""Reference forces below this [eV/Å] have no meaningful direction and are left out of the mean angle."""


@dataclass(frozen=True)
class Statistics:
    """Errors of one property over one set of structures.

    Errors are predicted minus reference, in meV/atom (energy), meV/Å (forces) or GPa (stress).
    Without labels all of `mae`, `rmse`, `max`, `bias`, `r2` and `reference_rms` are None, never 0.

    Parameters
    ----------
    n_structures : int
        Structures with this label.
    n_missing : int
        Structures of the set without it; they are left out.
    n_values : int
        Values compared: structures for the energy, components for forces and stress.
    mae : float or None
        mean |error|
    rmse : float or None
        sqrt(mean error^2)
    max : float or None
        max |error|
    bias : float or None
        mean error
    r2 : float or None
        1 - sum error^2 / sum (reference - mean reference)^2; None where the reference does not vary.
    reference_rms : float or None
        sqrt(mean reference^2), in the unit of the error: what a prediction of zero would give as RMSE.
    """

    n_structures: int
    n_missing: int
    n_values: int
    mae: float | None = None
    rmse: float | None = None
    max: float | None = None
    bias: float | None = None
    r2: float | None = None
    reference_rms: float | None = None

    @property
    def labelled(self) -> bool:
        """Whether there is any label to compare with."""
        return self.n_values > 0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Statistics:
        """Return the statistics written by `to_dict`; unknown fields are ignored."""
        return cls(**_known(cls, values))


@dataclass(frozen=True)
class ForceVectors:
    """Errors of force vectors.

    Parameters
    ----------
    n_vectors : int
        Atoms with all three components labelled.
    magnitude_mae : float [meV/Å]
        mean | |F_predicted| - |F_reference| |
    n_angles : int
        Atoms with a reference force of at least 0.1 eV/Å and a predicted force that is not zero.
    angle_mean : float [degrees] or None
        Mean angle between the two vectors over these atoms.
    """

    n_vectors: int
    magnitude_mae: float
    n_angles: int
    angle_mean: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ForceVectors:
        """Return the values written by `to_dict`; unknown fields are ignored."""
        return cls(**_known(cls, values))


def _known(cls: type[Statistics | ForceVectors], values: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(cls)}
    required = {field.name for field in fields(cls) if field.name.startswith("n_")}
    absent = sorted(required - set(values))
    if absent:
        raise DataError(f"metrics lack {', '.join(absent)}; was this file written by forgefield?")
    return {key: value for key, value in values.items() if key in names}


def statistics(pairs: Pairs, n_structures: int) -> Statistics:
    """Return the error statistics of `pairs`.

    Parameters
    ----------
    pairs : Pairs
        The values of the set.
    n_structures : int
        Structures in the set, with and without the label.
    """
    labelled = len(np.unique(pairs.structure))
    n_values = len(pairs.reference)
    missing = n_structures - labelled
    if n_values == 0:
        return Statistics(0, missing, 0)
    errors = pairs.errors
    spread = pairs.reference - pairs.reference.mean()
    total = float(np.sum(spread**2))
    rounding = n_values * (16.0 * np.finfo(np.float64).eps * float(np.abs(pairs.reference).max())) ** 2
    scale = pairs.quantity.error_scale
    return Statistics(
        n_structures=labelled,
        n_missing=missing,
        n_values=n_values,
        mae=float(np.abs(errors).mean()),
        rmse=float(np.sqrt(np.mean(errors**2))),
        max=float(np.abs(errors).max()),
        bias=float(errors.mean()),
        r2=None if total <= rounding else float(1.0 - np.sum((errors / scale) ** 2) / total),
        reference_rms=float(np.sqrt(np.mean(pairs.reference**2))) * scale,
    )


def force_vectors(forces: Pairs) -> ForceVectors | None:
    """Return the errors of magnitudes and directions, or None where no atom has all three components."""
    atoms = _whole_vectors(forces)
    if len(atoms) == 0:
        return None
    reference = forces.reference[atoms[:, None] + np.arange(3)]
    predicted = forces.predicted[atoms[:, None] + np.arange(3)]
    size_reference = np.linalg.norm(reference, axis=1)
    size_predicted = np.linalg.norm(predicted, axis=1)
    directed = (size_reference >= SMALL_FORCE) & (size_predicted > 0.0)
    angle = None
    if directed.any():
        cosine = np.sum(reference * predicted, axis=1)[directed]
        sine = np.linalg.norm(np.cross(reference, predicted)[directed], axis=1)
        angle = float(np.degrees(np.arctan2(sine, cosine)).mean())
    return ForceVectors(
        n_vectors=len(atoms),
        magnitude_mae=float(np.abs(size_predicted - size_reference).mean()) * forces.quantity.error_scale,
        n_angles=int(np.count_nonzero(directed)),
        angle_mean=angle,
    )


def _whole_vectors(forces: Pairs) -> NDArray[np.intp]:
    """Return the positions of x components that are followed by y and z of the same structure."""
    component, structure = forces.component, forces.structure
    if len(component) < 3:
        return np.zeros(0, dtype=np.intp)
    follows = (component[:-2] == 0) & (component[1:-1] == 1) & (component[2:] == 2)
    return np.flatnonzero(follows & (structure[:-2] == structure[2:]))
