"""What a potential returns, and where it comes from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from forgefield.errors import ConfigError

__all__ = ["Evaluation", "Extrapolation", "Prediction", "Provenance", "VirialKind"]

VirialKind = Literal["I", "II", "III"]
"""Definitions of the atomic virial: paper 5, eqs. 12-14."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """What a potential says of one structure; units and signs as in `keys.py`.

    Attributes
    ----------
    energy : float [eV]
    energies : (n_atoms,) [eV]
    forces : (n_atoms, 3) [eV/Å]
    stress : (6,) [eV/Å^3] or None
        None where the structure is not periodic in three directions.
    virials : (n_atoms, 3, 3) [eV]
        Atomic virials of the kind asked for (I unless said otherwise); positive trace when compressed.
    """

    energy: float
    energies: FloatArray
    forces: FloatArray
    stress: FloatArray | None
    virials: FloatArray

    def check_asked(self, properties: Collection[str] | None, periodic: Collection[bool]) -> None:
        """Raise if ``stress`` was asked for and the structure has no volume.

        Raises
        ------
        ConfigError
        """
        if properties is not None and "stress" in properties and self.stress is None:
            raise ConfigError(
                f"`stress` needs a cell periodic in three directions, got pbc={list(map(bool, periodic))}; "
                "ask for energy and forces only, or set pbc=True with a cell"
            )


@dataclass(frozen=True)
class Evaluation:
    """Tensors of a batch, differentiable with respect to the parameters when training.

    Attributes
    ----------
    energies : (n_atoms,)
        Atomic energies without reference energies [eV].
    energy : (n_structures,) float64
        Their sums.
    forces : (n_atoms, 3)
    strain_gradient : (n_structures, 6)
        ``dE/dstrain`` in eV: stress times volume, Voigt order of `keys.VOIGT`.
    """

    energies: Tensor
    energy: Tensor
    forces: Tensor
    strain_gradient: Tensor


@dataclass
class Provenance:
    """Where a potential comes from; stored in its file.

    Attributes
    ----------
    metrics : dict
        Errors on the test (or validation) set, as `evaluation.metrics` writes them.
    data_hash : str
        Hash of the training data.
    notes : dict
        Anything else: seed, versions, date.
    """

    metrics: dict[str, Any] = field(default_factory=dict)
    data_hash: str = ""
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Extrapolation:
    """What gives the extrapolation grade of an atom; see `models.extrapolation.Grader`.

    Attributes
    ----------
    matrices : one (n_features + 1, n) float64 tensor for each element
        The grade is the largest ``|x G|`` of a feature vector x; no columns for an element without training atoms.
    """

    matrices: tuple[Tensor, ...]


@dataclass(frozen=True)
class LastLayer:
    """Posterior of the weights of the last layer; see `training.laplace`, which makes and uses it.

    Attributes
    ----------
    covariance : (n, n) float64 tensor
    noise : dict of property to float
        Standard deviation of the labels about the predictions: eV/atom, eV/Å, eV/Å^3.
    prior : float
        Precision of the normal prior of the weights.
    scale : dict of property to float
        Factors on the spreads, from errors on validation structures; 1 where there is none.
    """

    covariance: Tensor
    noise: dict[str, float]
    prior: float
    scale: dict[str, float] = field(default_factory=dict)
